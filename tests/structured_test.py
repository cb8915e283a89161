#!/usr/bin/env python3
"""structured_test.py STRATA SEEDS [OPTION ..]: the program itself, asked for answers in a form, by many clients at once.

The small bundled model at temperature 1 says nothing sensible; that its answers are valid all the same is the server's doing.
Every answer is parsed by Python's json and checked by the few lines of a validator here; streams must join to the same
text as the answer in one piece with the same seed."""
import concurrent.futures, datetime, json, re, socket, subprocess, sys, time, urllib.error, urllib.request

MODEL = "models/strata-demo-draft-Q8_0.gguf"
PERSON = {"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 12},
    "age": {"type": "integer", "minimum": 0, "maximum": 120},
    "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1, "maxItems": 3},
    "born": {"type": "string", "format": "date"},
    "score": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]}},
    "required": ["name", "age", "tags", "born", "score"], "additionalProperties": False}


def is_person(v):
    datetime.date.fromisoformat(v["born"].replace("0000-", "0004-", 1))
    return (list(v) == list(PERSON["properties"]) and isinstance(v["name"], str) and len(v["name"]) <= 12
            and type(v["age"]) is int and 0 <= v["age"] <= 120 and 1 <= len(v["tags"]) <= 3
            and set(v["tags"]) <= {"red", "green", "blue"} and (v["score"] is None or 0 <= v["score"] <= 1))


# What is asked for, and what a whole answer must be.
FORMS = [
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}}, lambda t: is_person(json.loads(t))),
    ({"json_schema": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}},
     lambda t: 2 <= len(json.loads(t)) <= 4 and all(type(x) is bool for x in json.loads(t))),
    ({"response_format": {"type": "json_object"}}, lambda t: isinstance(json.loads(t), dict)),
    ({"structured_outputs": {"regex": r"[A-Z]{2}-\d{3}(-[a-z]+)?"}}, lambda t: re.fullmatch(r"[A-Z]{2}-\d{3}(-[a-z]+)?", t)),
    ({"guided_choice": ["yes", "no", "maybe so"]}, lambda t: t in ("yes", "no", "maybe so")),
    ({"grammar": 'root ::= "<" [0-9]+ ("," [0-9]+){2} ">"'}, lambda t: re.fullmatch(r"<\d+(,\d+){2}>", t)),
]


def ask(port, body):
    r = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.urlopen(r, timeout=120)


def answers(port, body):
    """[(text, reason)] by choice."""
    if not body.get("stream"):
        return [(c["message"]["content"], c["finish_reason"]) for c in json.load(ask(port, body))["choices"]]
    text, reason = [""] * body.get("n", 1), [None] * body.get("n", 1)
    for line in ask(port, body):
        if line.startswith(b"data: {"):
            for c in json.loads(line[6:])["choices"]:
                text[c["index"]] += c["delta"].get("content") or ""
                reason[c["index"]] = c["finish_reason"] or reason[c["index"]]
    return list(zip(text, reason))


def one(port, seed):
    form, good = FORMS[seed % len(FORMS)]
    body = {"messages": [{"role": "user", "content": f"Tell me something, number {seed}."}], "temperature": 1, "seed": seed, "max_tokens": 250, "n": 1 + seed % 2, **form}
    got = answers(port, body)
    streamed = answers(port, {**body, "stream": True})
    assert got == streamed, f"{form}: {got} is not the stream's {streamed}"
    whole = 0
    for text, reason in got:
        assert reason in ("stop", "length"), (form, text, reason)
        if reason == "stop":
            assert good(text), f"{form}: {text!r}"
            whole += 1
    return whole, len(got)


def refused(port):
    for form, says in [({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "integer", "multipleOf": 2}}}}, "#/multipleOf"),
                       ({"grammar": "root ::= root"}, "matches no text"), ({"guided_regex": "a(?=b)"}, "look-around")]:
        try:
            ask(port, {"messages": [{"role": "user", "content": "x"}], **form})
            raise AssertionError(f"{form} was not refused")
        except urllib.error.HTTPError as e:
            error = json.load(e)["error"]
            assert e.code == 400 and says in error["message"] and error["param"] == list(form)[0], (form, e.code, error)


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    extra = sys.argv[3:]
    server = subprocess.Popen([sys.argv[1], "serve", "--model", MODEL, "--host", "127.0.0.1", "--port", str(port), "--parallel", "8", *extra],
                              stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        refused(port)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda seed: one(port, seed), range(int(sys.argv[2]))))
        whole, total = sum(w for w, _ in results), sum(n for _, n in results)
        print(f"{whole} of {total} answers whole, the others cut by max_tokens")
        assert whole >= total * 0.6 # nothing bounds the strings of any object, and this model never comes to an end
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
