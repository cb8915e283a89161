#!/usr/bin/env python3
"""strata and llama.cpp on the same files, threads and prompts, alternating; medians of ratios.

usage: bench/peers/compare.py [--build DIR] [--rounds N] [--json FILE] [--bench "ARGS of strata bench"] MODEL.gguf...

Each round runs `strata bench --json` and `peer_llama bench` with the same arguments, in turns (which goes first
alternates), so that what else the machine does hits both.  A row's ratio is the median of the rounds' ratios; the
spread is the smallest and the largest of them.  The build needs -DSTRATA_LLAMA_DIR (bench/peers/setup.sh).
"""
import argparse
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys


def rows(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(f"compare.py: {shlex.join(command)}: exit {done.returncode}")
    return {(r["test"], r["depth"], r["batch"]): r for r in json.loads(done.stdout)}


def main():
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--build", default="build", help="folder with strata and peer_llama (default build)")
    arg.add_argument("--rounds", type=int, default=5, help="pairs of runs (default 5)")
    arg.add_argument("--json", metavar="FILE", help="also write all rows there")
    arg.add_argument("--bench", default="-p 512 -n 64 -d 0,512 -t 2 -r 1", help="arguments for both (default: %(default)s)")
    arg.add_argument("models", nargs="+", metavar="MODEL.gguf")
    a = arg.parse_args()
    bench = shlex.split(a.bench)
    out = []
    print(f"{'model':34} {'test':8} {'depth':>6} {'batch':>5} {'strata':>9} {'llama.cpp':>9} {'ratio':>6}  spread", flush=True)
    for model in a.models:
        ours = [os.path.join(a.build, "strata"), "bench", "--model", model, "--json", *bench]
        theirs = [os.path.join(a.build, "peer_llama"), "bench", "--model", model, *bench]
        rounds = []
        for i in range(a.rounds):
            pair = [None, None]
            for which in (0, 1) if i % 2 == 0 else (1, 0):
                pair[which] = rows((ours, theirs)[which])
            rounds.append(pair)
        for key in rounds[0][0]:
            if any(key not in p[1] for p in rounds):
                continue
            s, l = [p[0][key]["tok_s"] for p in rounds], [p[1][key]["tok_s"] for p in rounds]
            ratio = sorted(x / y for x, y in zip(s, l))
            first = rounds[0][0][key]
            row = {"model": os.path.basename(model), "device": first["device"], "backend": first["backend"], "threads": first["threads"],
                   "test": key[0], "depth": key[1], "batch": key[2], "strata_tok_s": statistics.median(s), "llama_cpp_tok_s": statistics.median(l),
                   "ratio": statistics.median(ratio), "ratio_min": ratio[0], "ratio_max": ratio[-1], "rounds": a.rounds}
            out.append(row)
            print(f"{row['model'][:34]:34} {key[0]:8} {key[1]:6} {key[2]:5} {row['strata_tok_s']:9.1f} {row['llama_cpp_tok_s']:9.1f} "
                  f"{row['ratio']:6.2f}  {ratio[0]:.2f} - {ratio[-1]:.2f}", flush=True)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"date": datetime.date.today().isoformat(), "command": f"bench/peers/compare.py --rounds {a.rounds} --bench {shlex.quote(a.bench)}",
                       "rows": out}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
