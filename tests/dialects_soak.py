#!/usr/bin/env python3
"""dialects_soak.py STRATA REQUESTS: every API at once, and clients that leave at any moment.

The null engine answers with text and a tool call; of every three clients one reads to the end, one leaves without reading, one in the
middle, half of them with a reset.  Afterwards nothing runs, no descriptor is open and no memory has gone."""
import json, os, random, re, socket, struct, subprocess, sys, threading, time, urllib.request

MODEL = "models/strata-demo-draft-Q8_0.gguf"
SAYS = ('Let me look at this for a while, and then a bit more, before I call.\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Ulm"}}\n</tool_call>')
HI = [{"role": "user", "content": "hi there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
LIMIT_KB = 4096  # of growth in the second half (or a quarter, under a sanitizer): what allocators keep


def some_request(r):
    form = {"type": "object", "properties": {f"k{r.randrange(10**9)}": {"type": "string"}}}
    return r.choice([
        ("/v1/chat/completions", {"messages": HI, "stream": True, "tools": TOOLS, "max_tokens": r.choice([5, 500])}),
        ("/v1/chat/completions", {"messages": HI, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": form}}}),
        ("/v1/chat/completions", {"messages": HI, "tools": TOOLS, "tool_choice": "required", "stream": True, "n": 2}),
        ("/v1/messages", {"messages": HI, "stream": True, "max_tokens": 300, "tools": [{"name": "f", "input_schema": SCHEMA}]}),
        ("/v1/responses", {"input": "hi", "stream": True, "tools": [{"type": "function", "name": "f"}]}),
        ("/api/chat", {"messages": HI, "tools": TOOLS}),
        ("/api/generate", {"prompt": "x", "stream": False}),
        ("/tokenize", {"content": "hello " * r.randrange(3000)}),
        ("/v1/completions", {"prompt": ["a", "b"], "stream": True, "max_tokens": 50, "logprobs": 2}),
    ])


def client(port, seed, n, wrong):
    r = random.Random(seed)
    for _ in range(n):
        path, body = some_request(r)
        body = json.dumps(body).encode()
        s = socket.create_connection(("127.0.0.1", port), timeout=30)
        s.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (path.encode(), len(body)) + body)
        how = r.randrange(3)
        if how == 0:
            got = b""
            while part := s.recv(65536):
                got += part
            if not got.startswith(b"HTTP/1.1 200 "):
                wrong.append((path, got[:300]))
        elif how == 1:
            time.sleep(r.random() * 0.05)
        else:
            s.recv(r.choice([1, 100, 2000]))
        if r.random() < 0.5:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


def crowd(port, seed, n):
    wrong = []
    threads = [threading.Thread(target=client, args=(port, seed + i, n // 8, wrong)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[:3]


def gauges(port):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return [int(re.search(rf"^strata_{name} (\d+)", text, re.M)[1]) for name in
            ("requests_running", "requests_waiting", "kv_blocks_used", "http_generations", "http_preparing", "http_failed_total")]


def settled(port, pid):
    """Resident KB and open descriptors when nothing runs any more."""
    for _ in range(100):
        if gauges(port) == [0] * 6:
            break
        time.sleep(0.05)
    assert gauges(port) == [0] * 6, gauges(port)
    time.sleep(0.3)
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * 4, len(os.listdir(f"/proc/{pid}/fd"))


def main():
    strata, requests = sys.argv[1], int(sys.argv[2])
    little = ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"  # the sanitizer keeps what was freed
    env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + little}
    server = subprocess.Popen([strata, "serve", "--model", MODEL, "--port", "0", "--parallel", "16", "--null-engine",
                               "--null-rate", "2000", "--null-text", SAYS],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
    try:
        port = int(re.search(r":(\d+)/v1", server.stdout.readline())[1])
        crowd(port, 1, requests // 2)
        before = settled(port, server.pid)
        crowd(port, 1000, requests // 2)
        after = settled(port, server.pid)
        print(f"{requests} requests: resident {before[0]} -> {after[0]} KB, descriptors {before[1]} -> {after[1]}")
        assert after[0] - before[0] < max(LIMIT_KB, before[0] // 4) and after[1] == before[1]
    finally:
        server.terminate()
        server.wait(30)
    assert server.returncode == 0, server.returncode


main()
