#!/usr/bin/env python3
"""tests/gpu/serve.py STRATA [--device D] [--model FILE] [--streams N] [--json FILE] [PART ..]: does the server keep its promises on a GPU?

  same      N greedy streams at once against each alone: 99 of 100 identical, and where one differs the two tokens' logits are close
  exact     the same with --deterministic, while other clients leave at random: all of them identical
  cost      host CPU for each token of N streams, of the engine's process and of the server's
  forms     answers in a form, calls of tools, the same whether streamed or not; prefixes that are found again
  figures   the GPU's own figures in /metrics, beside nvidia-smi's

Without PART all.  After each: nothing runs, no page is held.  Run it in the top of the tree; exit status 1: a promise was broken.
"""
import argparse, glob, json, math, random, re, socket, statistics, struct, subprocess, sys, threading, time

from served import Server, at_once, cpu_by_thread, cpu_seconds, events

GAP = 4e-2  # of two logits whose order may change: as in the reference's own tests
BROKEN = []


def check(good, what):
    print(("ok      " if good else "BROKEN  ") + what, flush=True)
    if not good:
        BROKEN.append(what)


def prompts(n, seed):
    """Pieces of the tree's own documents, 3 to 200 words each, no two alike."""
    r = random.Random(seed)
    words = " ".join(open(p, encoding="utf-8").read() for p in sorted(glob.glob("docs/*.md") + glob.glob("notes/*.md"))).split()
    out = []
    for _ in range(n):
        at, length = r.randrange(len(words) - 200), int(3 * 66 ** r.random())
        out.append(" ".join(words[at:at + length])[:900])
    return out


def greedy(server, prompt, tokens=64):
    """[(token, logprob, {token: logprob})] of a stream."""
    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 5, "stream": True, "ignore_eos": True}
    out = []
    for e in events(server.send("/v1/completions", body)):
        assert "error" not in e, e
        l = e["choices"][0]["logprobs"] if e["choices"] else None
        out += zip(l["tokens"], l["token_logprobs"], l["top_logprobs"]) if l else []
    assert len(out) == tokens, (prompt, len(out))
    return out


def compare(alone, together):
    """(identical, [gap at the first difference of each other pair], largest difference of a logprob up to there)."""
    same, gaps, drift = 0, [], 0.0
    for a, t in zip(alone, together):
        for (tok, p, top), (other, q, _) in zip(a, t):
            if tok != other:
                gaps.append(p - top[other] if other in top else math.inf)
                break
            drift = max(drift, abs(p - q))
        else:
            same += 1
    return same, gaps, drift


def part_same(o, report):
    texts = prompts(o.streams, o.seed)
    with Server(o.strata, o.model, o.device, "--parallel", str(o.streams), "--ctx", "1024", *o.more) as s:
        together = at_once(lambda p: greedy(s, p), texts)
        left = s.settle()
    check(not left, f"same: nothing is left behind {left or ''}")
    with Server(o.strata, o.model, o.device, "--parallel", str(o.streams), "--ctx", "1024", *o.more) as s:
        alone = [greedy(s, p) for p in texts]
    same, gaps, drift = compare(alone, together)
    report["same"] = {"streams": o.streams, "identical": same, "gaps": gaps, "largest_logprob_difference": drift}
    check(same >= 0.99 * len(texts) and all(g < GAP for g in gaps),
          f"same: {same} of {len(texts)} streams of 64 greedy tokens as alone; gaps of the others {[round(g, 5) for g in gaps]}; "
          f"log-probabilities differ by at most {drift:.2e}")


def leaver(server, texts, r, stop, count):
    """A client that leaves: before a byte of the answer, in the middle, with a reset or without."""
    while not stop.is_set():
        body = json.dumps({"prompt": r.choice(texts), "max_tokens": 200, "stream": r.random() < 0.7, "temperature": 1, "n": r.choice([1, 1, 2])}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as c:
            c.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            if r.random() < 0.7:
                c.settimeout(0.5)
                try:
                    c.recv(r.choice([1, 300, 3000]))
                except TimeoutError:
                    pass
            else:
                time.sleep(r.random() * 0.02)
            if r.random() < 0.5:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        count.append(1)


def part_exact(o, report):
    texts, others = prompts(o.streams, 2), prompts(40, 3)
    with Server(o.strata, o.model, o.device, "--parallel", str(o.streams + 16), "--ctx", "1024", "--deterministic", *o.more) as s:
        alone = [greedy(s, p) for p in texts]
    with Server(o.strata, o.model, o.device, "--parallel", str(o.streams + 16), "--ctx", "1024", "--deterministic", *o.more) as s:
        stop, count = threading.Event(), []
        crowd = [threading.Thread(target=leaver, args=(s, others, random.Random(i), stop, count)) for i in range(16)]
        for t in crowd:
            t.start()
        differing = []
        for _ in range(3):  # the second and the third find their prompts in the prefix cache
            same, gaps, drift = compare(alone, at_once(lambda p: greedy(s, p), texts))
            differing += gaps
        stop.set()
        for t in crowd:
            t.join()
        left = s.settle()
        m = s.metrics()
    report["exact"] = {"streams": 3 * o.streams, "differing": len(differing), "left": len(count), "cancelled": m["requests_cancelled_total"]}
    check(not differing, f"exact: {3 * o.streams - len(differing)} of {3 * o.streams} streams as alone, while {len(count)} other clients left; gaps {differing}")
    check(not left, f"exact: nothing is left behind {left or ''}")
    check(m["prefix_cache_hit_tokens_total"] > 0, f"exact: {m['prefix_cache_hit_tokens_total']:.0f} tokens of prompts were found again")


def part_cost(o, report):
    texts = prompts(o.streams, 4)

    def read(prompt):
        c = s.send("/v1/completions", {"prompt": prompt, "max_tokens": 400, "temperature": 0, "stream": True, "ignore_eos": True})
        r = c.getresponse()
        while r.read(1 << 16):
            pass
        c.close()

    with Server(o.strata, o.model, o.device, "--parallel", str(o.streams), "--ctx", "1024", *o.more) as s:
        at_once(read, texts)  # code is loaded, graphs are made
        engine, rows = s.engine(), []
        for _ in range(3):
            m0, t0, e0, h0, w0 = s.metrics(), time.monotonic(), cpu_seconds(engine or s.process.pid), cpu_seconds(s.process.pid), cpu_by_thread(engine or s.process.pid)
            at_once(read, texts)
            m1, t1, e1, h1, w1 = s.metrics(), time.monotonic(), cpu_seconds(engine or s.process.pid), cpu_seconds(s.process.pid), cpu_by_thread(engine or s.process.pid)
            n = m1["generated_tokens_total"] - m0["generated_tokens_total"]
            d = lambda name: (m1[name] - m0[name]) / n * 1e6
            rows.append({"tok_s": n / (t1 - t0), "engine_us": (sum(e1) - sum(e0)) / n * 1e6, "engine_system_us": (e1[1] - e0[1]) / n * 1e6,
                         "server_us": (sum(h1) - sum(h0)) / n * 1e6, "step_host_us": d("step_host_seconds_total"), "step_wait_us": d("step_wait_seconds_total"),
                         "step_ms": (m1["step_seconds_total"] - m0["step_seconds_total"]) / (m1["steps_total"] - m0["steps_total"]) * 1e3,
                         "tokens_a_step": n / (m1["steps_total"] - m0["steps_total"]),
                         "engine_threads_us": sorted(((w1[t] - w0.get(t, 0)) / n * 1e6 for t in w1), reverse=True)[:4]})
        left = s.settle()
    mid = {k: statistics.median(r[k] for r in rows) for k in rows[0] if k != "engine_threads_us"}
    report["cost"] = {"streams": o.streams, "median": mid, "rows": rows}
    check(mid["engine_us"] + mid["server_us"] <= 20,
          f"cost: {o.streams} streams, {mid['tok_s']:.0f} tok/s, {mid['tokens_a_step']:.0f} tokens in a step of {mid['step_ms']:.2f} ms; CPU for each token: engine's process "
          f"{mid['engine_us']:.1f} us ({mid['step_host_us']:.2f} us in steps, {mid['step_wait_us']:.1f} us of waiting), server's {mid['server_us']:.1f} us")
    check(not left, f"cost: nothing is left behind {left or ''}")


TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["city", "days"],
    "additionalProperties": False}}}


def calls_of(server, body):
    if not body.get("stream"):
        c = server.post("/v1/chat/completions", body)["choices"][0]
        return [(t["function"]["name"], t["function"]["arguments"]) for t in c["message"].get("tool_calls") or []], c["finish_reason"]
    calls, reason = {}, None
    for e in events(server.send("/v1/chat/completions", body)):
        for c in e["choices"]:
            reason = c["finish_reason"] or reason
            for t in c["delta"].get("tool_calls") or []:
                name, text = calls.get(t["index"], ("", ""))
                calls[t["index"]] = (name + (t["function"].get("name") or ""), text + (t["function"].get("arguments") or ""))
    return [calls[i] for i in sorted(calls)], reason


def part_forms(o, report):
    got = subprocess.run([sys.executable, "tests/structured_test.py", o.strata, "60", "--device", o.device, *o.more], capture_output=True, text=True)
    check(got.returncode == 0, f"forms: {(got.stdout + got.stderr).strip().splitlines()[-1]}")
    whole = 0
    with Server(o.strata, o.model, o.device, "--parallel", "32", "--ctx", "1024", "--deterministic", *o.more) as s:
        def one(seed):
            body = {"messages": [{"role": "user", "content": f"What is the weather in city number {seed}?"}], "tools": [TOOL], "tool_choice": "required",
                    "parallel_tool_calls": False, "temperature": 1, "seed": seed, "max_tokens": 120}
            plain, streamed = calls_of(s, body), calls_of(s, {**body, "stream": True})
            assert plain == streamed, (plain, streamed)
            if plain[1] != "tool_calls":
                return 0
            (name, text), = plain[0]
            arguments = json.loads(text)
            assert name == "get_weather" and set(arguments) == {"city", "days"} and 1 <= arguments["days"] <= 7, plain
            return 1
        whole = sum(at_once(one, range(32)))
        check(whole > 16, f"forms: {whole} of 32 calls of a tool whole, all the same in a stream")
        prompt = prompts(1, 9)[0] * 4
        body = {"prompt": (prompt + " ") * 40, "max_tokens": 32, "temperature": 0}
        body["prompt"] = body["prompt"][:1500]
        first, second = s.post("/v1/completions", body), s.post("/v1/completions", body)
        cached, given = second["usage"]["prompt_tokens_details"]["cached_tokens"], second["usage"]["prompt_tokens"]
        check(cached >= given - 32 and first["choices"][0]["text"] == second["choices"][0]["text"],
              f"forms: {cached} of {given} tokens of a prompt were found again, the answer is the same")
        left = s.settle()
    report["forms"] = {"structured": got.stdout.strip(), "calls_whole": whole, "calls": 32, "cached": cached, "prompt": given}
    check(not left, f"forms: nothing is left behind {left or ''}")


def part_figures(o, report):
    with Server(o.strata, o.model, o.device, "--parallel", "8", "--ctx", "1024", *o.more) as s:
        at_once(lambda p: greedy(s, p, 200), prompts(8, 5))
        time.sleep(2.5)
        text = s.get("/metrics")[1]
    ours = dict(re.findall(r"^strata_gpu_(\w+)\{[^}]*\} (\S+)$", text, re.M))
    smi = subprocess.run(["nvidia-smi", "--query-gpu=uuid,temperature.gpu,power.draw,power.limit,clocks.mem,memory.used,memory.total", "--format=csv,noheader,nounits"],
                         capture_output=True, text=True).stdout.strip()
    report["figures"] = {"metrics": ours, "nvidia_smi": smi}
    print(json.dumps(ours), smi, sep="\n")
    theirs = smi.split(", ")
    check(len(theirs) == 7 and f'uuid="{theirs[0]}"' in text and abs(float(ours.get("temperature_celsius", -99)) - float(theirs[1])) <= 5
          and abs(float(ours.get("power_limit_watts", 0)) - float(theirs[3])) < 1 and abs(float(ours.get("memory_total_bytes", 0)) / 2**20 - float(theirs[6])) < 0.01 * float(theirs[6])
          and float(ours.get("sample_age_seconds", 99)) < 3, f"figures: {len(ours)} figures of the GPU in /metrics agree with nvidia-smi")


def main():
    a = argparse.ArgumentParser()
    a.add_argument("strata")
    a.add_argument("part", nargs="*")
    a.add_argument("--device", default="cuda")
    a.add_argument("--model", default="models/strata-demo-base-Q4_K_M.gguf")
    a.add_argument("--streams", type=int, default=128)
    a.add_argument("--seed", type=int, default=1, help="of the part `same`'s prompts")
    a.add_argument("--json")
    a.add_argument("--more", default="", help="more options of strata serve, blanks between")
    o = a.parse_intermixed_args()
    o.more = o.more.split()
    parts = {"same": part_same, "exact": part_exact, "cost": part_cost, "forms": part_forms, "figures": part_figures}
    report = {}
    for name in o.part or parts:
        since = time.monotonic()
        try:
            parts[name](o, report)
        except Exception as e:
            check(False, f"{name}: {type(e).__name__} {e}")
        print(f"        {name}: {time.monotonic() - since:.1f} s", flush=True)
    if o.json:
        with open(o.json, "w") as f:
            json.dump(report, f, indent=1)
    print(f"{len(BROKEN)} broken" if BROKEN else "all kept")
    sys.exit(1 if BROKEN else 0)


main()
