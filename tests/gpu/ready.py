#!/usr/bin/env python3
"""tests/gpu/ready.py STRATA MODEL [--profile FILE] [--json FILE]: how soon a server on a GPU is ready, and what it takes of the card.

  ready     a file in the page cache answers within 1.2 * bytes / (host to device) + 0.5 s after a context could have been made
  memory    nvidia-smi's figure, less a context's, is within 1.02 of the ledger: weights, KV and scratch; and the sum of what the server itself
            says of the card (code, captured steps and its context are lines of it) is within 1 % of the whole figure
  first     the first request takes at most twice as long as the next of its kind; what it takes without --warmup is told beside it

Warming up is part of being ready.  A context is made alone first, through libcuda, and its time and memory are told apart.  The rate of copies is that of FILE, which `strata
probe` wrote; without it, only times are told.  Nothing else may use the card.  Exit status 1: a promise was broken.
"""
import argparse, json, re, subprocess, sys, time

from served import Server

CONTEXT = """
import ctypes, sys, time
t = time.monotonic()
cuda = ctypes.CDLL("libcuda.so.1")
context = ctypes.c_void_p()
assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
print(time.monotonic() - t, flush=True)
sys.stdin.readline()
"""
OPTIONS = (["--parallel", "8", "--ctx", "4096"], ["--parallel", "1", "--ctx", "2048"], ["--parallel", "128", "--ctx", "8192", "--vram", "80G"])


def used():
    """MiB of the card that are taken."""
    return int(subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True, check=True).stdout)


def at_rest():
    """The same once it has stood still for half a second: who used the card before may still be leaving it."""
    now, since, begin = used(), time.monotonic(), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.1)
        then, now = now, used()
        if now != then:
            since = time.monotonic()
        assert since - begin < 20, "the card's memory changes all the time: another process uses it"
    return now


def context():
    """What a context takes by itself: seconds, MiB."""
    before = at_rest()
    child = subprocess.Popen([sys.executable, "-c", CONTEXT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    seconds = float(child.stdout.readline())
    taken = used() - before
    child.communicate("\n")
    return seconds, taken


def first_text_ms(server, seed):
    """A prompt of 256 tokens that nobody has sent, and one token of an answer."""
    prompt = [16 + (seed * 7919 + i * 131) % 4000 for i in range(256)]
    begin = time.monotonic()
    server.post("/v1/completions", {"prompt": prompt, "max_tokens": 2, "temperature": 0, "ignore_eos": True})
    return round((time.monotonic() - begin) * 1e3, 2)


def serve(args, options, base):
    begin = time.monotonic()
    with Server(args.strata, args.model, "cuda", *options) as s:
        while s.get("/health/ready")[0] != 200:
            time.sleep(0.01)
        ready = time.monotonic() - begin
        time.sleep(0.2)
        said = "".join(line for line in s.log if "model loaded" in line)
        d = {k: float(v) for k, v in re.findall(r"(weight_bytes|kv_bytes|scratch_bytes|device_bytes|warmup_steps|warmup_seconds|seconds)=(\S+)", said)}
        lines = "".join(line for line in s.log if "device memory:" in line)
        idle = used() - base
        first = [first_text_ms(s, i) for i in range(8)]
        s.post("/v1/completions", {"prompt": [5, 6, 7, 8] * 64, "max_tokens": 32, "temperature": 0, "ignore_eos": True})
        whole = used()
    ledger = (d["weight_bytes"] + d["kv_bytes"] + d["scratch_bytes"]) / 2**20
    return {"options": " ".join(options), "ready_s": round(ready, 3), "loaded_s": d["seconds"], "warmup_s": d["warmup_seconds"], "warmup_steps": int(d["warmup_steps"]),
            "first_ms": first[0], "second_ms": first[1], "then_ms": sorted(first[2:])[3], "lines": lines.split("device memory: ")[-1].strip(), "device_mib": round(d["device_bytes"] / 2**20), "idle_mib": idle, "weight_bytes": int(d["weight_bytes"]), "kv_bytes": int(d["kv_bytes"]),
            "scratch_bytes": int(d["scratch_bytes"]), "ledger_mib": round(ledger), "taken_mib": whole - base, "whole_mib": whole}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("strata")
    ap.add_argument("model")
    ap.add_argument("--profile")
    ap.add_argument("--json")
    args = ap.parse_args()
    h2d = json.load(open(args.profile, encoding="utf-8"))["device"]["h2d_gbs"] * 1e9 if args.profile else 0
    subprocess.run(["cat", args.model], stdout=subprocess.DEVNULL, check=True)
    seconds, mib = context()
    print(f"a context alone: {seconds:.3f} s, {mib} MiB")
    base, rows, broken = at_rest(), [], 0
    for options in [o + more for o in OPTIONS for more in ([], ["--no-warmup"])]:
        r = serve(args, options, base)
        r["of_ledger"] = round((r["taken_mib"] - mib) / r["ledger_mib"], 4)
        r["after_context_s"] = round(r["ready_s"] - seconds, 3)
        r["may_take_s"] = round(1.2 * r["weight_bytes"] / h2d + 0.5, 3) if h2d else None
        r["of_told"] = round(r["whole_mib"] / r["device_mib"], 4)
        good = r["of_ledger"] <= 1.02 and abs(r["of_told"] - 1) <= 0.01 and (not h2d or r["after_context_s"] <= r["may_take_s"])
        good = good and ("--no-warmup" in options or r["first_ms"] <= 2 * r["then_ms"])
        broken += not good
        rows.append(r)
        print(("ok      " if good else "BROKEN  ") + json.dumps(r), flush=True)
        at_rest()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"context_s": seconds, "context_mib": mib, "h2d": h2d, "rows": rows}, f, indent=1)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
