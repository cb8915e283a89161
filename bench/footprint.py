#!/usr/bin/env python3
"""footprint.py STRATA MODEL [STREAMS [RUNS]]: what a served model takes.

time    from exec to the first 200 of /health, and to the first token of a request sent then; RUNS starts, the first of
        them apart: before it the file is dropped from the page cache (as far as nobody else has it mapped).
        Allowed: 300 ms to ready.
memory  resident while STREAMS clients fill their contexts: each has a prompt of half the context and generates the other
        half.  VmHWM of /proc/PID/status, the most there was.  Allowed: the file, the KV cache of STREAMS contexts, 150 MB.
Exit status 1 when more was taken than is allowed."""
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

CTX, PORT, OVERHEAD, READY = 1024, 18473, 150e6, 0.3


def post(body):
    c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    return r.status, r.read().decode()


def start(strata, model, streams):
    """The process, and the seconds from exec to the first 200 and to the first token."""
    begin = time.monotonic()
    p = subprocess.Popen([strata, "serve", "-m", model, "--host", "127.0.0.1", "--port", str(PORT),
                          "--parallel", str(streams), "-c", str(CTX)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while time.monotonic() - begin < 60:
        try:
            c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            c.request("GET", "/health")
            if c.getresponse().status == 200:
                ready = time.monotonic() - begin
                status, text = post({"prompt": "The", "max_tokens": 1, "model": "any"})
                if status != 200:
                    sys.exit(f"footprint.py: status {status}: {text[:200]}")
                return p, ready, time.monotonic() - begin
        except OSError:
            pass
        time.sleep(0.001)
    sys.exit("footprint.py: not ready after 60 s")


def memory(p):
    with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
        return {k: int(v) * 1024 for k, v in re.findall(r"(VmHWM|VmRSS|RssAnon|RssFile):\s+(\d+) kB", f.read())}


def metric(name):
    c = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    c.request("GET", "/metrics")
    found = re.search(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", c.getresponse().read().decode(), re.M)
    return float(found.group(1)) if found else 0


def stream(i, made):
    status, text = post({"prompt": [(i * 977 + k * 31) % 8000 + 3 for k in range(CTX // 2)], "max_tokens": CTX // 2 - 8,
                         "temperature": 1, "seed": i, "stream": True, "stream_options": {"include_usage": True},
                         "ignore_eos": True, "model": "any"})
    used = re.findall(r'"completion_tokens": ?(\d+)', text)
    made[i] = int(used[-1]) if status == 200 and used else f"status {status}: {text[:200]}"


def kv_bytes(strata, model):
    h = json.loads(subprocess.check_output([strata, "info", "--json", model]))["hyperparameters"]
    return h["layers"] * h["kv_heads"] * h["head_dim"] * 2 * 2 * CTX


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    strata, model = sys.argv[1:3]
    streams = int(sys.argv[3]) if len(sys.argv) > 3 else 8
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 9
    ready, first = [], []
    with open(model, "rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    for i in range(runs):
        p, seconds, token = start(strata, model, streams)
        ready.append(seconds * 1e3)
        first.append(token * 1e3)
        if i + 1 < runs:
            p.terminate()
            p.wait()
    idle, made = memory(p), [None] * streams
    clients = [threading.Thread(target=stream, args=(i, made)) for i in range(streams)]
    for c in clients:
        c.start()
    blocks = running = 0
    while any(c.is_alive() for c in clients):
        blocks = max(blocks, metric("strata_kv_blocks_used"))
        running = max(running, metric("strata_requests_running"))
        time.sleep(0.05)
    loaded = memory(p)
    p.terminate()
    code = p.wait()
    file, kv = os.path.getsize(model), kv_bytes(strata, model) * streams
    limit = file + kv + OVERHEAD
    for name, ms in (("ready", ready), ("first token", first)):
        print(f"{name} after, ms: first start {ms[0]:.0f}, then median {statistics.median(ms[1:]):.0f}, most {max(ms[1:]):.0f}")
    print(f"tokens made by each stream: {made}; most at once: {running:.0f} requests, {blocks:.0f} KV blocks; exit status {code}")
    for name, m in (("one request", idle), ("all streams", loaded)):
        print(f"{name}: most {m['VmHWM'] / 1e6:.1f} MB resident, now {m['VmRSS'] / 1e6:.1f} "
              f"(anonymous {m['RssAnon'] / 1e6:.1f}, of files {m['RssFile'] / 1e6:.1f})")
    print(f"allowed: file {file / 1e6:.1f} + KV {kv / 1e6:.1f} + {OVERHEAD / 1e6:.0f} = {limit / 1e6:.1f} MB; "
          f"taken beyond file and KV: {(loaded['VmHWM'] - file - kv) / 1e6:.1f} MB")
    full = all(m == CTX // 2 - 8 for m in made) and running == streams and code == 0
    sys.exit(0 if full and loaded["VmHWM"] <= limit and max(ready) <= READY * 1e3 else 1)


main()
