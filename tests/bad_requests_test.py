#!/usr/bin/env python3
"""bad_requests_test.py STRATA: every kind of bad request gets its status and its error object, and the server goes on as before.

After each one a good request is answered with the same bytes as at the start.  Then: a model whose logits are not numbers (500, and
the server stays), and what must not be seen in logs and metrics."""
import json, os, re, shutil, socket, struct, subprocess, sys, tempfile, threading, time

MODEL = "models/strata-demo-draft-Q8_0.gguf"
KEY, PROMPT, FOLDER = "canary-key-5512", "canary-prompt-7391", "canary-folder-2288"
HI = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def chat(**more):
    return (CHAT, json.dumps({**HI, **more}).encode())


def schema(s):
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": s}})


def nested(depth):
    s = {"type": "string"}
    for _ in range(depth):
        s = {"type": "object", "properties": {"a": s}}
    return s


def head(line="POST " + CHAT + " HTTP/1.1", *headers, body=b""):
    return ("\r\n".join([line, "Host: t", "Authorization: Bearer " + KEY, "Connection: close", *headers]) + "\r\n\r\n").encode("latin-1") + body


def deep(n):
    return b'{"messages":' + b"[" * n + b"]" * n + b"}"


# name, request (path and body, or raw bytes), status, what the error's message, param or code holds
KINDS = [
    ("an empty body", (CHAT, b""), 400, "empty"),
    ("no JSON", (CHAT, b"hello"), 400, "JSON"),
    ("JSON and more", (CHAT, json.dumps(HI).encode() + b" x"), 400, "JSON"),
    ("NaN", (CHAT, b'{"temperature":NaN}'), 400, "JSON"),
    ("1e999", (CHAT, b'{"temperature":1e999}'), 400, "JSON"),
    ("a key twice", (CHAT, b'{"n":1,"n":2}'), 400, "JSON"),
    ("100,000 levels", (CHAT, deep(100000)), 400, "nested deeper than 64"),
    ("8 MiB of brackets", (CHAT, b"[" * (8 << 20)), 400, "nested deeper than 64"),
    ("half a surrogate pair", (CHAT, b'{"messages":[{"role":"user","content":"\\ud800"}]}'), 400, "JSON"),
    ("bytes that are not UTF-8", (CHAT, b'{"messages":[{"role":"user","content":"\xff\xfe"}]}'), 400, "JSON"),
    ("a list for an object", (CHAT, b"[]"), 400, "object"),
    ("2 million values", (CHAT, b"[" + b"0," * 2000000 + b"0]"), 400, "values"),
    ("no messages", (CHAT, b"{}"), 400, "messages"),
    ("an unknown role", chat(messages=[{"role": "king", "content": "x"}]), 400, "messages[0].role"),
    ("content that is a number", chat(messages=[{"role": "user", "content": 5}]), 400, "messages[0].content"),
    ("100,000 messages", chat(messages=HI["messages"] * 100000), 400, "messages"),
    ("a prompt longer than the context", chat(messages=[{"role": "user", "content": "word " * 20000}]), 400, "context_length_exceeded"),
    ("temperature 3", chat(temperature=3), 400, "temperature"),
    ("n 17", chat(n=17), 400, "n"),
    ("max_tokens -1", chat(max_tokens=-1), 400, "max_tokens"),
    ("top_p 1e308", chat(top_p=1e308), 400, "top_p"),
    ("a fraction for a seed", chat(seed=1.5), 400, "seed"),
    ("a string for a number", chat(top_k="5"), 400, "top_k"),
    ("a bias outside the vocabulary", chat(logit_bias={"999999999": 1}), 400, "logit_bias"),
    ("17 stop strings", chat(stop=["a"] * 17), 400, "stop"),
    ("a stop string of 257 bytes", chat(stop="x" * 257), 400, "stop"),
    ("token ids outside the vocabulary", (TEXT, b'{"prompt":[99999999]}'), 400, "prompt"),
    ("a prompt of no form", (TEXT, b'{"prompt":{}}'), 400, "prompt"),
    ("n_discard of no range", (TEXT, b'{"prompt":"x","n_keep":-1,"n_discard":-5}'), 200, None),
    ("257 tools", chat(tools=[{"type": "function", "function": {"name": f"f{i}"}} for i in range(257)]), 400, "tools"),
    ("a tool without a name", chat(tools=[{"type": "function", "function": {"name": 5}}]), 400, "tools"),
    ("a tool's pattern of no form", chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {
        "a": {"type": "string", "pattern": "("}}}}}], tool_choice="required"), 400, "pattern"),
    ("a schema of no form", schema({"type": "thing"}), 400, "response_format"),
    ("a schema 200 levels deep", schema(nested(200)), 400, "deeper than 64"),
    ("a schema of 100 KB", schema({"enum": ["x" * 100000]}), 400, "response_format"),
    ("a grammar 60,000 levels deep", chat(grammar="root ::= " + "(" * 60000 + ")" * 60000), 400, "grammar"),
    ("a regular expression of nested counts", chat(guided_regex="((((a{999}){999}){999}){999})"), 200, None), # a rule each, not 10^12 states
    ("an expression with look-around", chat(guided_regex="a(?=b)"), 400, "guided_regex"),
    ("an image", chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:LISTENER/x"}}]}]), 400, "messages[0].content"),
    ("an unknown path", head("GET /etc/passwd HTTP/1.1"), 404, None),
    ("GET for POST", head("GET " + CHAT + " HTTP/1.1"), 405, None),
    ("no key", b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 401, None),
    ("a wrong key", b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer canary\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 401, None),
    ("a body of 40 MB", head("POST " + CHAT + " HTTP/1.1", "Content-Length: 40000000"), 413, None),
    ("a head of 40 KB", head("POST " + CHAT + " HTTP/1.1", "X: " + "x" * 40000), 431, None),
    ("a target of 10 KB", head("GET /" + "x" * 10000 + " HTTP/1.1"), 414, None),
    ("length and chunks", head("POST " + CHAT + " HTTP/1.1", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400, None),
    ("two lengths", head("POST " + CHAT + " HTTP/1.1", "Content-Length: 2", "Content-Length: 3", body=b"{}"), 400, None),
    ("a negative length", head("POST " + CHAT + " HTTP/1.1", "Content-Length: -2", body=b"{}"), 400, None),
    ("a chunk of no size", head("POST " + CHAT + " HTTP/1.1", "Transfer-Encoding: chunked", body=b"zz\r\n"), 400, None),
    ("a chunk of 2^64", head("POST " + CHAT + " HTTP/1.1", "Transfer-Encoding: chunked", body=b"ffffffffffffffff\r\n"), (400, 413), None),
    ("an unknown transfer encoding", head("POST " + CHAT + " HTTP/1.1", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (400, 501), None),
    ("a folded header", head("POST " + CHAT + " HTTP/1.1", "X: a", " b"), 400, None),
    ("a control byte in a header", head("POST " + CHAT + " HTTP/1.1", "X: a\x1b[31mb"), 400, None),
    ("a zero byte in a target", head("GET /he\0alth HTTP/1.1"), 400, None),
    ("no host", b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", 400, None),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505), None),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n", 400, None),
]
TRAVERSALS = ["/ui/../../../../etc/passwd", "/ui/..%2f..%2f..%2fetc%2fpasswd", "/ui/%2e%2e/%2e%2e/etc/passwd", "/ui//etc/passwd", "/ui/....//etc/passwd",
              "/../etc/passwd", "/v1/models/../../etc/passwd", "/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models//etc/passwd", "/ui/..\\..\\etc\\passwd",
              "/ui/app.js/../../x", "/v2/models/../../etc/passwd/ready", "/ui/%00", "/ui/app.js%00.html"]
NAMES = ["../../etc/passwd", "/etc/passwd", "..\\x", "a\u0000b", "\u001b[31m\nforged line", "x" * 5000, "%2e%2e/x", ".", "..", ""]


class Server:
    def __init__(self, model, *options):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = tempfile.TemporaryFile()
        self.p = subprocess.Popen([sys.argv[1], "serve", "--model", model, "--port", str(self.port), "--device", "cpu", "--threads", "1", *options],
                                  stdout=subprocess.DEVNULL, stderr=self.log, env={**os.environ, "STRATA_API_KEY": KEY})
        for _ in range(300):
            try:
                if self.raw(head("GET /health HTTP/1.1"))[0] == 200:
                    return
            except OSError:
                pass
            assert self.p.poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError("not ready")

    def raw(self, data):
        """(status, body) of what comes back; the body without its chunks' sizes is good enough here."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR) if data.startswith(b"PRI") else None
            except (BrokenPipeError, ConnectionResetError):
                pass # it has answered already
            got = b""
            try:
                while part := s.recv(65536):
                    got += part
            except ConnectionResetError:
                pass
        assert got.startswith(b"HTTP/1.1 "), got[:200]
        self.head, _, body = got.partition(b"\r\n\r\n")
        return int(got[9:12]), body

    def post(self, path, body):
        return self.raw(head(f"POST {path} HTTP/1.1", "Content-Type: application/json", f"Content-Length: {len(body)}", body=body))

    def text(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "backslashreplace")

    def end(self):
        self.p.terminate()
        assert self.p.wait(60) == 0
        return self.text()


def answer(server):
    status, body = server.post(TEXT, json.dumps({"prompt": PROMPT, "max_tokens": 6, "temperature": 0, "ignore_eos": True}).encode())
    assert status == 200, (status, body)
    return json.loads(body)["choices"]


def is_error(status, body):
    e = json.loads(body)["error"]
    assert isinstance(e["message"], str) and e["message"] and isinstance(e["type"], str) and "param" in e and "code" in e, e
    assert not any(w in body.decode() for w in (KEY, FOLDER, "/etc/", "src/")), body
    return f"{e['message']} {e['param']} {e['code']}"


def table(server, listener):
    good, worst = answer(server), (0.0, "")
    for name, request, status, says in KINDS:
        if isinstance(request, tuple):
            request = (request[0], request[1].replace(b"LISTENER", str(listener).encode()))
        began = time.monotonic()
        got, body = server.post(*request) if isinstance(request, tuple) else server.raw(request)
        worst = max(worst, (time.monotonic() - began, name))
        wanted = status if isinstance(status, tuple) else (status,)
        assert got in wanted, f"{name}: {got} {body[:300]}"
        if got != 200:
            text = is_error(got, body)
            assert says is None or says in text, f"{name}: {text}"
        assert answer(server) == good, name
    print(f"{len(KINDS)} kinds of bad requests refused as they should, the longest in {worst[0] * 1000:.0f} ms ({worst[1]})")
    assert worst[0] < 30


def paths(server):
    for t in TRAVERSALS:
        status, body = server.raw(head(f"GET {t} HTTP/1.1"))
        assert status in (400, 404) and b"root:" not in body, (t, status, body[:200])
    for name in NAMES:
        for path, body in ((CHAT, {**HI, "model": name}), (TEXT, {"prompt": "x", "model": name, "max_tokens": 1}), ("/api/show", {"model": name})):
            status, got = server.post(path, json.dumps(body).encode())
            assert status == (404 if name or path != "/api/show" else 400) and b"root:" not in got, (path, name[:40], status, got[:200])
    print(f"{len(TRAVERSALS)} paths and {len(NAMES)} names of models lead nowhere")


def logits_that_are_no_numbers(folder):
    """Every weight of the last norm NaN: an error of the request, again and again, and a server that stays."""
    model = os.path.join(folder, "nan.gguf")
    shutil.copy(MODEL, model)
    data = bytearray(open(model, "rb").read())
    at = data.find(b"output_norm.weight")
    dims, = struct.unpack_from("<I", data, at + 18)
    n, = struct.unpack_from("<Q", data, at + 22)
    form, offset = struct.unpack_from("<IQ", data, at + 22 + 8 * dims)
    assert form == 0, "the norm is not f32"
    start = data_start(data)
    data[start + offset:start + offset + 4 * n] = struct.pack("<I", 0x7FC00000) * n
    open(model, "wb").write(data)
    server = Server(model)
    for stream in (False, True, False):
        status, body = server.post(CHAT, json.dumps({**HI, "stream": stream}).encode())
        if stream and status == 200:
            assert b'data: {"error":' in body, body
        else:
            assert status == 500 and b"X-Should-Retry: false" in server.head, (status, server.head, body)
            is_error(status, body)
        assert server.raw(head("GET /health HTTP/1.1"))[0] == 200
    server.end()
    print("logits that are not numbers: 500, and the server stays")


def data_start(data):
    """Where the tensors' data begin: the header is walked."""
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    n_tensors, n_kv = struct.unpack_from("<QQ", data, 8)
    at = 24

    def string():
        nonlocal at
        n, = struct.unpack_from("<Q", data, at)
        at += 8 + n

    def value(t):
        nonlocal at
        if t == 8:
            string()
        elif t == 9:
            item, n = struct.unpack_from("<IQ", data, at)
            at += 12
            if item in size:
                at += size[item] * n
            else:
                for _ in range(n):
                    value(item)
        else:
            at += size[t]

    for _ in range(n_kv):
        string()
        t, = struct.unpack_from("<I", data, at)
        at += 4
        value(t)
    for _ in range(n_tensors):
        string()
        dims, = struct.unpack_from("<I", data, at)
        at += 4 + 8 * dims + 12
    return (at + 31) // 32 * 32


def main():
    hits = []
    with tempfile.TemporaryDirectory() as top, socket.socket() as trap:
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.settimeout(0.2)
        folder = os.path.join(top, FOLDER)
        os.mkdir(folder)
        model = os.path.join(folder, "small.gguf")
        shutil.copy(MODEL, model)
        server = Server(model, "--strict-model")
        try:
            table(server, trap.getsockname()[1])
            paths(server)
            metrics = server.raw(head("GET /metrics HTTP/1.1"))[1].decode()
        finally:
            log = server.end()
        try:
            hits.append(trap.accept())
        except socket.timeout:
            pass
        assert not hits, "the server has opened a connection"
        totals = re.findall(r"^# TYPE (strata_\w+_total) (?!counter$)\w+$", metrics, re.M)
        assert not totals, f"no counters, and called so: {totals}"
        for canary in (KEY, PROMPT, FOLDER, "forged"):
            assert canary not in metrics, f"{canary} in /metrics"
            assert not any(canary in line for line in log.split("\n") if "forged" not in canary or line.startswith("forged")), f"{canary} in the log"
        assert "\x1b" not in log and all(re.match(r"\d\d:\d\d:\d\d\.\d{3} ", line) for line in log.split("\n") if line), "a line was forged"
        print(f"no key, prompt or path in {len(log)} bytes of log and {len(metrics)} of metrics")
        logits_that_are_no_numbers(folder)


main()
