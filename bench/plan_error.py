#!/usr/bin/env python3
"""How far strata plan is from strata bench, on the machine that the profile was measured on.

    strata probe -o here.json
    bench/plan_error.py build/strata here.json --out bench/results/NAME-plan-error.json
    bench/plan_error.py build/strata here.json --again bench/results/NAME-plan-error.json   (plans anew, runs nothing)

Every combination is planned from the profile alone, with the memory that the bench reserves, then run.  A row is a prompt
or a step of so many sequences; the error is prediction / measurement - 1.  Nothing but Python's own library is used.
"""
import argparse
import json
import re
import subprocess
import sys
import time

# Model, device memory (None: all), sequences at once (prompts are of one), tokens made by one sequence, options of both commands.
# A model that is shared with the CPU makes more tokens: the engine's search for the best share takes some hundred steps.
COMBINATIONS = [
    ("synth:llama3.2-3b:q4_k_m", None, [1, 4, 8], 64, []), ("synth:8b:q4_k_m", None, [1, 4, 8, 32], 64, []), ("synth:8b:q8_0", None, [1, 8, 32], 64, []),
    ("synth:8b:f16", None, [1, 8, 32], 64, []), ("synth:8b:q8_0", "6G", [1, 32], 160, []), ("synth:8b:q8_0", "6G", [8], 400, []),
    ("synth:8b:q6_k", "6G", [1, 32], 240, []), ("synth:8b:q6_k", "6G", [8], 480, []),
    ("synth:8b:q4_k_m", "4G", [1], 240, []), ("synth:8b:q8_0", "4G", [1], 12, ["--offload", "stream"]),
    ("synth:8b:q8_0", "4G", [1], 24, ["--offload", "stream", "--ram-format", "q4_k"]),
    ("synth:8b:bf16", "6G", [1], 12, ["--offload", "stream", "--transit", "coded"]),
    ("synth:70b:q4_k_m", None, [1], 32, []), ("synth:70b:q4_k_m", "24G", [1], 32, []), ("synth:70b:q6_k", "24G", [1], 32, []),
    ("synth:70b:q4_k_m", "14G", [1], 32, []), ("synth:70b:q4_k_m", "14G", [8], 64, []),
]
PROMPTS = [512, 2048]


def run(command, seconds):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stderr.strip().splitlines()[-1:]))
    return json.loads(done.stdout)


def plan(args, row):
    """What the plan says of a row, with the memory that its bench reserved."""
    command = [args.strata, "plan", row["model"], "--profile", args.profile, "--ctx", str(row["ctx"]), "--parallel", str(row["parallel"]),
               "--depth", str(row["depth"]), "--batch", str(row["batch"]), "--json"] + row["options"]
    command += ["--vram", row["vram"]] if row["vram"] != "all" else []
    command += ["--cpu-threads", str(args.threads)] if args.threads else []
    p = run(command, 60)
    if row["test"].startswith("pp"):
        return next(x["tok_s"] for x in p["prompts"] if x["tokens"] == int(row["test"][2:]))
    return p["decode"][0]["tok_s"]


def judge(args, row):
    said = plan(args, row)
    row.update({"predicted_tok_s": round(said, 3), "error": round(said / row["measured_tok_s"] - 1, 4)})
    return row


def bench(args, model, vram, prompts, made, batches, options):
    command = [args.strata, "bench", "--device", args.device, "-m", model, "-p", ",".join(map(str, prompts)) or "0", "-n", str(made), "-b", ",".join(map(str, batches)),
               "-r", str(args.runs), "--json"] + options
    command += ["--vram", vram] if vram else []
    command += ["-t", str(args.threads)] if args.threads else []
    return run(command, args.limit), " ".join(command[1:])


def rows_of(args, model, vram, batches, made, options):
    """One bench for one sequence and the prompts, one for all other batch sizes."""
    for some in [[b for b in batches if b == 1], [b for b in batches if b > 1]]:
        if not some:
            continue
        prompts = PROMPTS if some == [1] else []
        n = made if some == [1] else max(made // 2, 16)
        ctx = max(prompts + [n + 1]) + 32  # the bench reserves two pages more
        begin = time.time()
        measured, command = bench(args, model, vram, prompts, n, some, options)
        for m in measured:
            row = {"model": model, "vram": vram or "all", "test": m["test"], "batch": m["batch"], "ctx": ctx, "parallel": max(some),
                   "depth": 0 if m["test"].startswith("pp") else n // 2, "options": options, "measured_tok_s": round(m["tok_s"], 3), "command": command}
            row.update({k: round(m[k], 3) for k in ("step_ms", "cpu_gbs", "cpu_idle_ms", "bus_gbs", "bus_idle_ms", "cpu_share") if k in m})
            yield judge(args, row)
        print("  (%.0f s)" % (time.time() - begin), file=sys.stderr)


def show(r):
    print("%-18s %5s %7s %5d %12.2f %12.2f %+7.1f%% %s" % (r["model"], r["vram"], r["test"], r["batch"], r["predicted_tok_s"], r["measured_tok_s"],
                                                       100 * r["error"], " ".join(r["options"])), flush=True)


def keep(args, rows, failed):
    """After every combination: a run that is cut short has made what it made."""
    if not args.out:
        return
    with open(args.profile) as f:
        profile = json.load(f)
    what = {"what": "strata plan against strata bench", "device": profile.get("device", {}).get("name"), "host": profile["host"]["cpu"],
            "date": time.strftime("%Y-%m-%d"), "profile": profile, "rows": rows, "failed": failed}
    with open(args.out, "w") as f:
        json.dump(what, f, indent=1)
        f.write("\n")


def measure(args, rows, failed):
    for model, vram, batches, made, options in COMBINATIONS:
        if not re.search(args.only, "%s@%sx%s" % (model, vram or "all", ",".join(map(str, batches)))):
            continue
        try:
            for r in rows_of(args, model, vram, batches, made, options):
                rows.append(r)
                show(r)
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            failed.append("%s %s: %s" % (model, vram, e))
            print("failed: " + failed[-1], flush=True)
        keep(args, rows, failed)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("strata")
    ap.add_argument("profile")
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--out", help="write the rows there, as JSON")
    ap.add_argument("--again", help="plan the rows of such a file anew instead of running anything")
    ap.add_argument("--only", default="", help="combinations whose MODEL@VRAMxBATCHES this expression matches, as 8b:q8_0@6Gx8")
    ap.add_argument("--runs", type=int, default=2)
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--limit", type=int, default=300, help="seconds for one bench")
    args = ap.parse_args()
    rows, failed = [], []
    print("%-18s %5s %7s %5s %12s %12s %8s" % ("model", "vram", "test", "batch", "predicted", "measured", "error"))
    if args.again:
        with open(args.again) as f:
            rows = [judge(args, r) for r in json.load(f)["rows"]]
        for r in rows:
            show(r)
        keep(args, rows, failed)
    else:
        measure(args, rows, failed)
    if rows:
        worst = max(rows, key=lambda r: abs(r["error"]))
        near = sum(abs(r["error"]) <= 0.15 for r in rows)
        print("%d of %d rows within 15 %%; the worst: %s %s %s batch %d, %+.1f %%"
              % (near, len(rows), worst["model"], worst["vram"], worst["test"], worst["batch"], 100 * worst["error"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
