#!/usr/bin/env python3
"""How far strata plan is from strata bench, on the machine that the profile was measured on.

    strata probe -o here.json
    bench/plan_error.py build/strata here.json --out bench/results/NAME-plan-error.json

Every combination is planned from the profile alone, with the memory that the bench reserves, then run.  A row is a prompt
or a step of so many sequences; the error is prediction / measurement - 1.  Nothing but Python's own library is used.
"""
import argparse
import json
import re
import subprocess
import sys
import time

# model, device memory (None: all), sequences at once; prompts are of one sequence
COMBINATIONS = [
    ("synth:8b:q4_k_m", None, [1, 8, 32]), ("synth:8b:q8_0", None, [1, 8, 32]), ("synth:8b:f16", None, [1, 8, 32]), ("synth:8b:q8_0", "6G", [1, 8, 32]),
    ("synth:8b:q6_k", "6G", [1, 8, 32]), ("synth:70b:q4_k_m", None, [1]), ("synth:70b:q4_k_m", "14G", [1, 8]), ("synth:70b:q4_k_m", "24G", [1]),
    ("synth:70b:q6_k", "24G", [1]),
]
PROMPTS, MADE = [512, 2048], 32


def run(command, seconds):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stderr.strip().splitlines()[-1:]))
    return json.loads(done.stdout)


def plan(args, model, vram, parallel, batch, ctx, depth):
    command = [args.strata, "plan", model, "--profile", args.profile, "--ctx", str(ctx), "--parallel", str(parallel), "--depth", str(depth),
               "--batch", str(batch), "--json"]
    command += ["--vram", vram] if vram else []
    command += ["--cpu-threads", str(args.threads)] if args.threads else []
    return run(command, 60)


def bench(args, model, vram, prompts, made, batches):
    command = [args.strata, "bench", "--device", args.device, "-m", model, "-p", ",".join(map(str, prompts)) or "0", "-n", str(made), "-b", ",".join(map(str, batches)),
               "-r", str(args.runs), "--json"]
    command += ["--vram", vram] if vram else []
    command += ["-t", str(args.threads)] if args.threads else []
    return run(command, args.limit), " ".join(command[1:])


def rows_of(args, model, vram, batches):
    """One bench for one sequence and the prompts, one for all other batch sizes."""
    for some in [[b for b in batches if b == 1], [b for b in batches if b > 1]]:
        if not some:
            continue
        prompts = PROMPTS if some == [1] else []
        made = MADE if some == [1] else MADE // 2
        ctx = max(prompts + [made + 1]) + 32  # the bench reserves two pages more
        begin = time.time()
        measured, command = bench(args, model, vram, prompts, made, some)
        for m in measured:
            prompt = m["test"].startswith("pp")
            p = plan(args, model, vram, max(some), m["batch"], ctx, 0 if prompt else made // 2)
            said = next(x["tok_s"] for x in p["prompts"] if x["tokens"] == int(m["test"][2:])) if prompt else p["decode"][0]["tok_s"]
            row = {"model": model, "vram": vram or "all", "test": m["test"], "batch": m["batch"], "predicted_tok_s": round(said, 3),
                   "measured_tok_s": round(m["tok_s"], 3), "error": round(said / m["tok_s"] - 1, 4), "command": command}
            row.update({k: round(m[k], 3) for k in ("step_ms", "cpu_gbs", "cpu_idle_ms", "bus_gbs", "bus_idle_ms", "cpu_share") if k in m})
            yield row
        print("  (%.0f s)" % (time.time() - begin), file=sys.stderr)


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("strata")
    ap.add_argument("profile")
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--out", help="write the rows there, as JSON")
    ap.add_argument("--only", default="", help="combinations whose MODEL@VRAM this expression matches")
    ap.add_argument("--runs", type=int, default=2)
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--limit", type=int, default=300, help="seconds for one bench")
    args = ap.parse_args()
    rows, failed = [], []
    print("%-18s %5s %7s %5s %12s %12s %8s" % ("model", "vram", "test", "batch", "predicted", "measured", "error"))
    for model, vram, batches in COMBINATIONS:
        if not re.search(args.only, "%s@%s" % (model, vram or "all")):
            continue
        try:
            for r in rows_of(args, model, vram, batches):
                rows.append(r)
                print("%-18s %5s %7s %5d %12.2f %12.2f %+7.1f%%" % (r["model"], r["vram"], r["test"], r["batch"], r["predicted_tok_s"],
                                                                  r["measured_tok_s"], 100 * r["error"]), flush=True)
        except (RuntimeError, subprocess.TimeoutExpired) as e:
            failed.append("%s %s: %s" % (model, vram, e))
            print("failed: " + failed[-1], flush=True)
    if rows:
        worst = max(rows, key=lambda r: abs(r["error"]))
        near = sum(abs(r["error"]) <= 0.15 for r in rows)
        print("%d of %d rows within 15 %%; the worst: %s %s %s batch %d, %+.1f %%"
              % (near, len(rows), worst["model"], worst["vram"], worst["test"], worst["batch"], 100 * worst["error"]))
    if args.out:
        with open(args.profile) as f:
            profile = json.load(f)
        what = {"what": "strata plan against strata bench", "device": profile.get("device", {}).get("name"), "host": profile["host"]["cpu"],
                "date": time.strftime("%Y-%m-%d"), "profile": profile, "rows": rows, "failed": failed}
        with open(args.out, "w") as f:
            json.dump(what, f, indent=1)
            f.write("\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
