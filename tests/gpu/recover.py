#!/usr/bin/env python3
"""tests/gpu/recover.py STRATA trap|hang TIMES [--device D] [--model FILE] [--step-timeout S] [--json FILE]: a device that fails in the middle of answers.

Each time two clients stream and three more wait behind them; then the engine's process is told to let its device fault (trap: SIGUSR1) or never
finish a step (hang: SIGUSR2).  What must be so: both streams end with an error event, /health is not 200 until a new engine's process is there,
those who waited get the answers of a quiet run, the server is the same process with as many descriptors as before.

On a GPU the harm is done by a plugin that has the fault built in: STRATA_PLUGINS=build-cuda/faulty; without one, by the program strata-fake.
"""
import argparse, json, os, signal, statistics, sys, threading, time

from served import Server, events

PROMPT, SHORT = "Once upon a time there was", 12


def ask(server, tokens, stream):
    return server.send("/v1/completions", {"prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": stream}, 60)


def begin(server):
    """A stream whose first token is here, and the iterator over its rest."""
    c = ask(server, 900, True)
    e = events(c)
    first = next(e)
    assert "choices" in first, first
    return e


def await_value(what, read, good, seconds=60):
    until = time.monotonic() + seconds
    while not good(value := read()):
        if time.monotonic() > until:
            raise AssertionError(f"{what}: still {value} after {seconds} s")
        time.sleep(0.002)
    return value


def once(server, sig, expected):
    """Seconds from the signal to the streams' errors, to a new engine that is ready, to the last answer."""
    old = server.engine()
    streams = [begin(server) for _ in range(2)]
    waiting = [ask(server, SHORT, False) for _ in range(3)]
    await_value("waiting", lambda: server.metrics()["requests_waiting"], lambda n: n == 3)
    health = []
    since = time.monotonic()
    os.kill(old, sig)
    errors = []
    for s in streams:
        last = None
        for last in s:
            pass
        assert last and "error" in last, f"a stream ended with {last}"
        errors.append(last["error"]["message"])
    told = time.monotonic() - since
    while (status := server.get("/health")[0]) != 200:
        health.append(status)
        assert status == 503 and time.monotonic() - since < 60, (status, time.monotonic() - since)
        time.sleep(0.002)
    ready = time.monotonic() - since
    for c in waiting:
        r = c.getresponse()
        text = r.read()
        c.close()
        assert r.status == 200, (r.status, text)
        got = json.loads(text)["choices"][0]["text"]
        assert got == expected, f"another answer: {got!r} is not {expected!r}"
    done = time.monotonic() - since
    assert health, "/health was 200 all the time"
    assert server.engine() not in (0, old) and server.process.poll() is None, "the engine's process is not a new one, or the server is gone"
    return told, ready, done, errors[0]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("strata")
    a.add_argument("kind", choices=["trap", "hang"])
    a.add_argument("times", type=int)
    a.add_argument("--device", default="cuda")
    a.add_argument("--model", default="models/strata-demo-base-Q4_K_M.gguf")
    a.add_argument("--step-timeout", type=int, default=1)
    a.add_argument("--seconds", type=float, default=1e9, help="no new one after so long")
    a.add_argument("--json")
    o = a.parse_args()
    sig = signal.SIGUSR1 if o.kind == "trap" else signal.SIGUSR2
    rows = []
    with Server(o.strata, o.model, o.device, "--parallel", "2", "--ctx", "1024", "--step-timeout", str(o.step_timeout), "--deterministic") as s:
        pid = s.process.pid
        c = ask(s, SHORT, False)
        expected = json.loads(c.getresponse().read())["choices"][0]["text"]
        c.close()
        start = time.monotonic()
        for i in range(o.times):
            if time.monotonic() - start > o.seconds:
                break
            rows.append(once(s, sig, expected))
            if i == 0:
                time.sleep(0.3)
                before = len(os.listdir(f"/proc/{pid}/fd"))
        left = s.settle()
        time.sleep(0.3)
        after = len(os.listdir(f"/proc/{pid}/fd"))
        restarts = s.metrics()["engine_restarts_total"]
    reason = rows[-1][3]
    print(f"a stream's error: {reason}")
    for name, column in (("streams told", 0), ("ready again", 1), ("all answered", 2)):
        t = sorted(r[column] for r in rows)
        print(f"{name} after: median {statistics.median(t) * 1e3:.0f} ms, p99 {t[int(0.99 * (len(t) - 1))] * 1e3:.0f} ms, most {t[-1] * 1e3:.0f} ms")
    print(f"{len(rows)} of {o.times} {o.kind}s survived; {restarts:.0f} engines replaced; descriptors {before} -> {after}; left behind: {left or 'nothing'}")
    if o.json:
        with open(o.json, "w") as f:
            json.dump({"kind": o.kind, "times": o.times, "error": reason, "seconds": [r[:3] for r in rows], "descriptors": [before, after]}, f)
    assert restarts == len(rows) and not left and abs(after - before) <= 1, (restarts, left, before, after)


main()
