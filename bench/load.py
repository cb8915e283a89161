#!/usr/bin/env python3
"""load.py STRATA [--runs N] [--priority] [--only NAME,..] [--json FILE]: what the server carries, with the null engine behind it
and `strata bench --url` in front, on two cores.

tokens   server (with its engine) on one core, client on the other: streamed tokens a second                  >= 90 000
first    one request at a time: from sending it to its first text.  The null engine answers at once, so all of
         it is the server's and the client's                                                                  <= 0.3 ms, median
model    the same with the demo draft model, less what the engine alone takes for as long a prompt (strata bench) <= 0.3 ms, median
         beside_step: the mean less the mean of the very steps that computed these texts, as the server counts them
paced    2 000 streams of 20 tokens a second each: gap between texts, p99, beyond the 50 ms                   < 20 ms
idle     the same beside 10 000 silent connections; and the server's memory                                   < 20 ms, < 400 MB
silent   64 active streams of 50 tokens a second beside 1 000 that have begun and say nothing: gap beyond 20 ms, p99 < 20 ms

Each is done --runs times (3); the median and the best are shown.  --priority gives server and client real-time priority
(needs the right to), for machines that do other things meanwhile.  Exit status 1 when a median misses its goal."""
import argparse
import atexit
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

MODEL = "models/strata-demo-draft-Q8_0.gguf"


class Server:
    def __init__(self, a, core, *options):
        self.a, self.out = a, tempfile.TemporaryFile("w+")
        self.p = subprocess.Popen([a.strata, "serve", "-m", MODEL, "--port", "0", "--connections", "60000", "--connections-per-address", "60000",
                                   "--drain-timeout", "1", *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  preexec_fn=lambda: settle(a, core))
        atexit.register(self.p.kill) # whatever ends us
        line = self.p.stdout.readline()
        found = re.match(r"ready: (http://[^/]*)/v1", line)
        if not found:
            sys.exit(f"load.py: the server did not start: {line}")
        self.url = found[1]

    def cpu(self):
        with open(f"/proc/{self.p.pid}/stat", encoding="ascii") as f:
            v = f.read().rsplit(")", 1)[1].split()
        return (int(v[11]) + int(v[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        with open(f"/proc/{self.p.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) * 1024

    def gauge(self, name):
        with urllib.request.urlopen(self.url + "/metrics") as r:
            return float(re.search(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", r.read().decode(), re.M)[1])

    def load(self, core, *options):
        """Starts the client; wait() gives its row."""
        return subprocess.Popen([self.a.strata, "bench", "--url", self.url, "--json", "--warmup", "0", *options], stdout=subprocess.PIPE, text=True,
                                preexec_fn=lambda: settle(self.a, core))

    def stop(self):
        self.p.terminate()
        self.p.wait()
        self.p.stdout.close()
        atexit.unregister(self.p.kill)


def settle(a, core):
    if core is not None:
        os.sched_setaffinity(0, [a.cores[core]])
    if a.priority:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))


def wait(client):
    text, _ = client.communicate()
    row = json.loads(text)["rows"][0]
    if row["errors"]:
        sys.exit(f"load.py: {row['errors']}: {row['messages']}")
    return row


def tokens(a):
    s = Server(a, 0, "--null-engine", "--null-endless", "--parallel", "64")
    row = wait(s.load(1, "--concurrency", "64", "--duration", "4", "--prompt-tokens", "16", "--max-tokens", "2000"))
    cpu = s.cpu()
    s.stop()
    return {"tok_s": row["tok_s"], "events_s": row["events_s"], "server_us_per_token": cpu / row["tokens"] * 1e6}


def first(a):
    s = Server(a, None, "--null-engine", "--parallel", "64")
    row = wait(s.load(None, "--concurrency", "1", "--requests", "3000", "--prompt-tokens", "32", "--max-tokens", "1"))
    s.stop()
    return {"first_ms": row["ttft_ms"]["p50"], "p99_ms": row["ttft_ms"]["p99"]}


def model(a):
    """In turns, for each process is as fast as the machine and its memory let it be: the median of the rounds' differences."""
    s = Server(a, None, "--device", "cpu", "--threads", "1", "--engine", "thread")
    first_ms, engine, beside = [], [], []
    for i in range(6):
        steps, waited = s.gauge("strata_steps_total"), s.gauge("strata_step_wait_seconds_total")
        row = wait(s.load(None, "--api", "completions", "--concurrency", "1", "--requests", "150", "--prompt-tokens", "32", "--max-tokens", "1", "--seed", str(i)))
        step = (s.gauge("strata_step_wait_seconds_total") - waited) / (s.gauge("strata_steps_total") - steps) * 1e3
        beside.append(row["ttft_ms"]["mean"] - step)
        n = round(row["prompt_tokens"])
        alone = json.loads(subprocess.run([a.strata, "bench", "-m", MODEL, "--device", "cpu", "-t", "1", "-p", str(n), "-n", "0", "-r", "100", "--json"], text=True,
                                          stdout=subprocess.PIPE, check=True, preexec_fn=lambda: settle(a, None)).stdout)[0]
        first_ms.append(row["ttft_ms"]["p50"])
        engine.append(n / alone["tok_s"] * 1e3)
    s.stop()
    return {"over_engine_ms": statistics.median(f - e for f, e in zip(first_ms, engine)), "first_ms": statistics.median(first_ms),
            "engine_ms": statistics.median(engine), "beside_step_ms": statistics.median(beside)}


def paced(a, idle=0):
    s = Server(a, None, "--null-engine", "--null-endless", "--null-rate", "20", "--parallel", "4096")
    before = s.cpu()
    row = wait(s.load(None, "--concurrency", "2000", "--duration", "12", "--prompt-tokens", "16", "--max-tokens", "4000", "--idle", str(idle)))
    r = {"late_p99_ms": row["gap_ms"]["p99"] - 50, "late_max_ms": row["gap_ms"]["max"] - 50, "tok_s": row["tok_s"], "memory_mb": s.memory() / 1e6,
         "server_cores": (s.cpu() - before) / row["seconds"], "idle_lost": row["idle_lost"]}
    s.stop()
    return r


def silent(a):
    s = Server(a, None, "--null-engine", "--null-endless", "--null-rate", "50", "--null-prompt-rate", "5", "--parallel", "4096")
    beside = s.load(None, "--api", "completions", "--concurrency", "1000", "--duration", "25", "--prompt-tokens", "500", "--max-tokens", "8")
    for _ in range(200):
        if s.gauge("strata_requests_running") == 1000:
            break
        time.sleep(0.05)
    row = wait(s.load(None, "--api", "completions", "--concurrency", "64", "--duration", "10", "--prompt-tokens", "4", "--max-tokens", "4000"))
    running = s.gauge("strata_requests_running")
    held = wait(beside)
    s.stop()
    return {"late_p99_ms": row["gap_ms"]["p99"] - 20, "late_max_ms": row["gap_ms"]["max"] - 20, "tok_s": row["tok_s"], "silent": held["cut"], "running": running}


GOALS = {  # what: function, figure, is it good
    "tokens": (tokens, "tok_s", lambda r: r["tok_s"] >= 90e3),
    "first": (first, "first_ms", lambda r: r["first_ms"] <= 0.3),
    "model": (model, "over_engine_ms", lambda r: r["over_engine_ms"] <= 0.3),
    "paced": (paced, "late_p99_ms", lambda r: r["late_p99_ms"] < 20),
    "idle": (lambda a: paced(a, 10000), "late_p99_ms", lambda r: r["late_p99_ms"] < 20 and r["memory_mb"] < 400 and r["idle_lost"] == 0),
    "silent": (silent, "late_p99_ms", lambda r: r["late_p99_ms"] < 20 and r["silent"] == 1000),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("strata")
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--priority", action="store_true")
    p.add_argument("--only", default=",".join(GOALS))
    p.add_argument("--json")
    a = p.parse_args()
    a.cores = sorted(os.sched_getaffinity(0))[:2]
    if len(a.cores) < 2:
        sys.exit("load.py: needs two cores")
    os.sched_setaffinity(0, a.cores)
    rows, missed = [], 0
    for name in a.only.split(","):
        what, figure, good = GOALS[name]
        runs = sorted((what(a) for _ in range(a.runs)), key=lambda r: r[figure])
        middle = runs[len(runs) // 2]
        best = runs[-1] if figure == "tok_s" else runs[0]
        missed += not good(middle)
        rows.append({"what": name, "good": good(middle), "median": middle, "best": best, "runs": len(runs)})
        print(f"{name:8} {'ok  ' if good(middle) else 'MISS'} " + ", ".join(f"{k} {v:.4g} (best {best[k]:.4g})" for k, v in middle.items()), flush=True)
    if a.json:
        with open(a.json, "w", encoding="utf-8") as f:
            json.dump({"date": time.strftime("%Y-%m-%d"), "command": "bench/load.py " + " ".join(["build/strata", *sys.argv[2:]]), "cores": 2,
                       "load_average": os.getloadavg()[0], "rows": rows}, f, indent=1)
            f.write("\n")
    return missed > 0


if __name__ == "__main__":
    sys.exit(main())
