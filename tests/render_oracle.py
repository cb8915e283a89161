#!/usr/bin/env python3
"""Compares `strata render` with Jinja2 in the environment of transformers' apply_chat_template.

    render_oracle.py [--strata CMD] cases               tests/data/template/cases.jsonl: golden against Jinja2 and strata
    render_oracle.py [--strata CMD] golden              writes that file anew from tests/render_cases.py
    render_oracle.py [--strata CMD] corpus FILE..       each template file times many conversations
    render_oracle.py [--strata CMD] random N [SEED]     N random templates
    render_oracle.py [--strata CMD] mutate N SEED FILE..   N times: a template file with some of it cut, doubled or moved

CMD is the command with its arguments, as one string (default "build/strata render").  Both must print the same
bytes or both must fail.  What strata refuses as not supported is counted apart.  Exit 77: no Jinja2 here."""
import argparse
import collections
import datetime
import json
import os
import random
import resource
import subprocess
import sys
import warnings

try:
    import jinja2
    import jinja2.ext
    import jinja2.sandbox
except ImportError:
    print("skipped: no jinja2 for this Python")
    sys.exit(77)

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))  # 'x'.center(10 ** 10) is a MemoryError
HERE = os.path.dirname(os.path.abspath(__file__))
CASES = os.path.join(HERE, "data", "template", "cases.jsonl")
NOW = 1783168496  # 2026-07-04 12:34:56 UTC


class Generation(jinja2.ext.Extension):
    """{% generation %}: transformers' AssistantTracker without the tracking."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _support(self, context, caller):
        return caller()


def environment(now):
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(format):
        t = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(tzinfo=None)
        return t.strftime(format)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


ENV = {}
COMPILED = {}


def jinja(template, variables, now=NOW):
    """("out", text) or ("error", message)"""
    env = ENV.setdefault(now, None) or environment(now)
    ENV[now] = env
    try:
        if template not in COMPILED:
            if len(COMPILED) > 200:
                COMPILED.clear()
            COMPILED[template] = env.from_string(template)
        out = COMPILED[template].render(**variables)
        out.encode("utf-8")  # a lone surrogate cannot leave the program either
        return "out", out
    except RecursionError:
        return "error", "recursion"
    except Exception as e:  # whatever Python raises is an error to the caller of apply_chat_template
        return "error", f"{type(e).__name__}: {e}"


class Strata:
    def __init__(self, cmd):
        whole = resource.getrlimit(resource.RLIMIT_AS)[1]  # a sanitizer reserves terabytes
        self.p = subprocess.Popen(cmd.split() + ["--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (whole, whole)))

    def render(self, template, variables, now=NOW):
        req = json.dumps({"template": template, "vars": variables, "now": now}, ensure_ascii=False)
        self.p.stdin.write(req.encode("utf-8", "surrogatepass") + b"\n")
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        if not line:
            raise SystemExit(f"strata ended on: {req[:2000]}")
        a = json.loads(line)
        return ("out", a["out"]) if "out" in a else ("error", a["error"])


UNSUPPORTED = ("is not supported", "printing a ", "past 64 bits", "escape in a string", "surrogate", ": sets", "complex", "comparing the keys",
               "ordering the keys", "of a generator", "of a dict view", "this method of", "random", "HTML entity", "pprint of more",
               "a precision of", "a width of", "grouped digits", "iterating over the loop", "'#' in a format",
               "nested deeper", "does not fit", "of memory", "memory limit")


class Tally:
    def __init__(self, show):
        self.n = collections.Counter()
        self.show = show
        self.refused = collections.Counter()
        self.reasons = collections.Counter()

    def compare(self, strata, name, template, variables, now=NOW):
        want, got = jinja(template, variables, now), strata.render(template, variables, now)
        raised = want[0] == "error" and want[1].startswith("TemplateError: ")
        if want == got or (raised and got[0] == "error" and got[1] == want[1][15:].replace("\n", "\\n")[:390]):
            self.n["equal" if want[0] == "out" else "raised alike"] += 1
            return
        if want[0] == got[0] == "error" and not raised:
            # the reason is compared where Jinja2 words it itself; Python's own messages are not copied
            undefined = want[1].startswith("UndefinedError: ") and "inline if" not in want[1] and "parameter" not in want[1]
            alike = not undefined or got[1].split(": ", 1)[-1][:60] == want[1][16:][:60]
            refused = any(u in got[1] for u in UNSUPPORTED)
            self.n["both fail" if alike and not refused else "both fail, for other reasons"] += 1
            if not alike or refused:
                self.reasons[(want[1][:70], got[1][:70])] += 1
            return
        if got[0] == "error" and any(u in got[1] for u in UNSUPPORTED):
            self.n["not supported"] += 1
            self.refused[got[1].split(": ", 1)[-1][:60]] += 1
            return
        if ("not subscriptable" in got[1] or "slice indices must" in got[1]) and ":" in template:
            self.n["folded slice"] += 1  # Jinja2 folds a slice of a constant int or None to undefined: known, not copied
            return
        self.n["different"] += 1
        if self.n["different"] <= self.show:
            print(f"--- {name}\n  template {template if len(template) < 600 else '..'!r}")
            print(f"  vars     {json.dumps(variables, ensure_ascii=False)[:600]}")
            i = 0
            if want[0] == got[0] == "out":
                while i < min(len(want[1]), len(got[1])) and want[1][i] == got[1][i]:
                    i += 1
            print(f"  jinja2   {want[0]} {want[1][max(0, i - 40):i + 200]!r}")
            print(f"  strata   {got[0]} {got[1][max(0, i - 40):i + 200]!r}")

    def report(self):
        print(", ".join(f"{v} {k}" for k, v in self.n.most_common()) or "nothing compared")
        for k, v in self.refused.most_common(20):
            print(f"  not supported {v:6d}  {k}")
        for k, v in self.reasons.most_common(self.show):
            print(f"  both fail {v:6d}  {k[0]!r} | {k[1]!r}")
        return 1 if self.n["different"] else 0


# ---- conversations ----

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather of a place, \"now\" <or> then & later",
    "parameters": {"type": "object", "properties": {
        "location": {"type": "string", "description": "City, e.g. Zürich"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": "integer", "nullable": True},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": ["number", "null"]}},
                  "required": ["lat"]},
        "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["location"]},
    "return": {"type": "string"}}}
PLAIN = {"type": "function", "function": {"name": "ping", "description": "", "parameters": {"type": "object", "properties": {}}}}
BARE = {"name": "bare", "description": "no wrapper", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}


def call(name, args, cid="call_1"):
    return {"id": cid, "type": "function", "function": {"name": name, "arguments": args}}


def conversations():
    u = lambda t: {"role": "user", "content": t}
    a = lambda t, **k: dict({"role": "assistant", "content": t}, **k)
    s = lambda t: {"role": "system", "content": t}
    tool = lambda t, **k: dict({"role": "tool", "content": t}, **k)
    text = lambda *t: [{"type": "text", "text": x} for x in t]
    d = {"location": "Zürich", "days": 3, "deep": {"a": [1, 2.5, None, True]}, "q": "it's \"so\""}
    yield "user", [u("Hello")]
    yield "system", [s("Be brief."), u("Hi\n there ")]
    yield "turns", [s("  S  "), u("1"), a("2"), u("3"), a("4"), u("5")]
    yield "ends with assistant", [u("1"), a("2")]
    yield "empty texts", [s(""), u(""), a(""), u("")]
    yield "no messages", []
    yield "unicode", [s("Ünïcödé 日本語 🎉"), u("ß straße İ Σας \u2028 line"), a("नमस्ते"), u("a\tb\r\nc\x01")]
    yield "markup", [u("<b>&amp;</b> {{ x }} {% if %} <|im_end|> </s> [INST]")]
    yield "two users", [u("1"), u("2")]
    yield "two systems", [s("1"), s("2"), u("3")]
    yield "late system", [u("1"), s("2"), a("3"), u("4")]
    yield "developer", [{"role": "developer", "content": "dev"}, u("x")]
    yield "unknown role", [u("1"), {"role": "critic", "content": "c"}]
    yield "parts", [{"role": "user", "content": text("one", "two")}, {"role": "assistant", "content": text("three")}, u("4")]
    yield "system parts", [{"role": "system", "content": text("sys")}, {"role": "user", "content": text("u")}]
    yield "image", [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"},
                                                {"type": "image_url", "image_url": {"url": "u"}}]}]
    yield "none content", [u("1"), {"role": "assistant", "content": None}, u("2")]
    yield "no content", [u("1"), {"role": "assistant"}, u("2")]
    yield "think", [u("q"), a("<think>\nhm\n</think>\n\nanswer"), u("again"), a("<think>x</think>y</think>z"), u("!")]
    yield "reasoning", [u("q"), a("ans", reasoning_content="because\n"), u("more"), a("b", reasoning="why", thinking="t"), u("e")]
    for kind, args in (("dict", d), ("string", json.dumps(d, ensure_ascii=False)), ("empty", {}), ("empty string", "{}")):
        yield f"tool call {kind}", [u("w?"), {"role": "assistant", "content": None, "tool_calls": [call("get_weather", args)]},
                                    tool('{"t": 21}', name="get_weather", tool_call_id="call_1"), a("21°"), u("thanks")]
    yield "call with text", [u("w?"), a("let me see", tool_calls=[call("get_weather", d)]), tool("21", tool_call_id="call_1")]
    yield "call no content", [u("w?"), {"role": "assistant", "tool_calls": [call("get_weather", d)]}, tool("ok")]
    yield "two calls", [u("w?"), a("", tool_calls=[call("get_weather", d, "abcdefghi"), call("ping", {}, "123456789")]),
                        tool("1", tool_call_id="abcdefghi", name="get_weather"), tool("2", tool_call_id="123456789", name="ping"),
                        a("done"), u("x")]
    yield "call at end", [u("w?"), a("", tool_calls=[call("get_weather", d)])]
    yield "reasoned call", [u("w?"), a("", reasoning_content="need tool", tool_calls=[call("get_weather", d)]), tool("r"), a("z")]
    yield "call list id", [u("w"), a(None, tool_calls=[{"name": "ping", "arguments": {"a": 1}, "id": "000000001"}]),
                           {"role": "tool_response", "content": "r"}, {"role": "function", "name": "ping", "content": "f"}]
    yield "tool dict", [u("w?"), a("", tool_calls=[call("ping", {"n": 1.0, "m": -0.0, "big": 12345678901234567, "e": 1e22})]),
                        tool({"ok": True, "v": [1, "x"]}), u("y")]
    yield "tool parts", [u("w?"), a("", tool_calls=[call("ping", {})]), {"role": "tool", "content": text("p1", "p2")}, u("y")]
    yield "ipython", [u("code"), {"role": "ipython", "content": "1+1"}]


def contexts():
    tools = [WEATHER, PLAIN]
    docs = [{"title": "T1", "text": "body one", "doc_id": 1}, {"title": "T<2>", "text": "zwei\n\"q\"", "doc_id": 2}]
    base = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    yield "plain", base
    yield "generate", dict(base, add_generation_prompt=True)
    yield "tools", dict(base, add_generation_prompt=True, tools=tools)
    yield "bare tool", dict(base, add_generation_prompt=True, tools=[BARE, WEATHER])
    yield "no tools", dict(base, add_generation_prompt=False, tools=None, documents=None)
    yield "empty tools", dict(base, add_generation_prompt=True, tools=[])
    yield "thinking", dict(base, add_generation_prompt=True, enable_thinking=True, thinking=True, reasoning_effort="high",
                           tools=tools)
    yield "no thinking", dict(base, add_generation_prompt=True, enable_thinking=False, thinking=False, reasoning_effort="low")
    yield "documents", dict(base, add_generation_prompt=True, documents=docs, date_string="26 Jul 2024", controls={"length": 3})
    yield "flags", dict(base, add_generation_prompt=True, tools=tools, tools_in_user_message=False, builtin_tools=["wolfram"],
                        keep_past_thinking=True, preserve_thinking=True, clear_thinking=False, model_identity="I am M.",
                        continue_final_message=False, xml_tools=["x"], response_schema={"a": 1}, truncate_history_thinking=False)
    yield "nothing", {}


def corpus(strata, files, tally):
    for f in files:
        with open(f, encoding="utf-8") as h:
            template = h.read()
        before = tally.n.copy()
        for mname, messages in conversations():
            for cname, ctx in contexts():
                tally.compare(strata, f"{os.path.basename(f)}: {mname}, {cname}", template, dict(ctx, messages=messages))
        d = tally.n - before
        print(f"{os.path.basename(f):60s} " + ", ".join(f"{v} {k}" for k, v in d.items()))


# ---- random templates ----

VARS = {
    "s": "Hello World", "e": "", "u": "Straße ÀÉ 日本 🎉x", "t": "  a b\tc\nd  ", "w": "don't_stop 42", "n": 7, "z": 0,
    "m": -13, "f": 2.5, "g": -0.125, "h": 1e16, "b": True, "c": False, "x": None, "l": [3, 1, 2], "k": ["b", "A", "c", "a"],
    "mix": [1, "a", None, 2.5, [1], {"k": 1}], "el": [], "d": {"a": 1, "b": [1, 2], "items": "I", "Z": None},
    "ed": {}, "dd": {"x": {"y": {"z": "deep"}}, "l": [{"v": 2, "n": "p"}, {"v": 1, "n": "Q"}, {"v": 2, "n": "r"}]},
    "q": "quo'te\"s\\back\nnl\x07", "num": " 42 ", "fl": "3.75", "hx": "0x1F",
}
NAMES = {
    "str": ["s", "e", "u", "t", "w", "q", "num", "fl", "hx"], "int": ["n", "z", "m"], "float": ["f", "g", "h"],
    "bool": ["b", "c"], "none": ["x"], "list": ["l", "k", "mix", "el", "dd.l"], "dict": ["d", "ed", "dd", "dd.l[0]"],
    "undef": ["nope", "d.nope", "l[9]"],
}
STRS = ["''", "'a'", "'o'", "'l'", "' '", "'lo W'", "'ß'", "', '", "'{}'", "'%s'", "'é\\n'", '"it\'s"', "'A-b c_d'", "'<b>&'"]


class Random:
    """Expressions that mostly make sense: each is built for a kind it should have; now and then any kind."""

    def __init__(self, rng):
        self.r = rng

    def pick(self, *a):
        return self.r.choice(a)

    def any(self, depth):
        return self.expr(self.pick("str", "int", "float", "bool", "list", "dict", "str", "list", "none", "undef"), depth)

    def expr(self, kind, depth):
        if self.r.random() < 0.04:
            kind = self.pick("str", "int", "float", "bool", "list", "dict", "none", "undef")
        if depth <= 0 or self.r.random() < 0.15:
            return self.atom(kind)
        e = getattr(self, "e_" + kind)(depth - 1)
        return f"({e})" if "|" in e else e  # else "x|f.g()" would name a filter

    def atom(self, kind):
        if self.r.random() < 0.6 or kind in ("undef", "dict"):
            return self.pick(*NAMES[kind])
        if kind == "str":
            return self.pick(*STRS)
        if kind == "int":
            return self.pick("0", "1", "2", "3", "5", "10", "-1", "-2", "100", "0x1f", "1_000")
        if kind == "float":
            return self.pick("0.5", "1.0", "2.675", "1e3", "1.5e-7", "123456789.125", "3.14", "0.1")
        if kind == "list":
            return self.pick("[]", "[1, 2, 3]", "['x', 'y']", "(1, 'a')", "range(4)", "[[1, 2], [3]]", "(5,)", "'abc'|list")
        return {"bool": "true", "none": "none"}[kind]

    e_none = lambda self, d: self.pick("none", "x", f"{self.expr('dict', d)}.get('zz')")
    e_undef = lambda self, d: self.pick(*NAMES["undef"], f"({self.any(d)} if false)", f"[]|first", f"{self.expr('dict', d)}.zz")

    def e_str(self, d):
        s, i, a = lambda: self.expr("str", d), lambda: self.expr("int", d), lambda: self.any(d)
        m = self.pick
        return m(
            lambda: f"({a()} ~ {a()})", lambda: f"({a()} ~ {a()} ~ {a()})", lambda: f"({s()} + {s()})",
            lambda: f"({s()} * {m('0', '1', '2', '3', '-1')})",
            lambda: f"{s()}[{i()}]", lambda: f"{s()}[{i()}:{i()}]", lambda: f"{s()}[::{m('1', '2', '-1', '-2')}]",
            lambda: f"{s()}[{i()}:]", lambda: f"{s()}[:{i()}]",
            lambda: f"{s()}|{m('upper', 'lower', 'title', 'capitalize', 'trim', 'string', 'reverse', 'striptags', 'escape', 'e', 'safe', 'forceescape', 'urlencode', 'indent', 'wordwrap(5)', 'center(15)', 'truncate(6)', 'truncate(5, true)', 'truncate(4, false, chr, 0)', 'indent(2, true)', 'indent(1, blank=true)', 'pprint')}",
            lambda: f"{s()}|replace({s()}, {s()})", lambda: f"{s()}|replace({s()}, {s()}, {i()})",
            lambda: f"{s()}|trim({s()})", lambda: f"{self.expr('list', d)}|join({m('', s())})",
            lambda: f"{self.expr('list', d)}|join({s()}, attribute={m('0', repr('v'))})",
            lambda: f"{a()}|tojson", lambda: f"{a()}|tojson(indent={m('1', '2', '0', 'none', repr(' '))})",
            lambda: f"{a()}|tojson({m('sort_keys=true', 'ensure_ascii=true', 'true', 'separators=(repr, repr)', 'separators=[1, 2]')})"
            .replace("repr", "','"),
            lambda: f"{a()}|string", lambda: f"{a()}|pprint", lambda: f"{a()}|upper", lambda: f"{a()}|escape",
            lambda: f"{s()}.{m('upper()', 'lower()', 'title()', 'capitalize()', 'swapcase()', 'casefold()', 'strip()', 'lstrip()', 'rstrip()', 'expandtabs()', 'expandtabs(4)')}",
            lambda: f"{s()}.{m('strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix')}({s()})",
            lambda: f"{s()}.{m('center', 'ljust', 'rjust', 'zfill')}({i()})",
            lambda: f"{s()}.{m('center', 'ljust', 'rjust')}({i()}, {m(repr('*'), s())})",
            lambda: f"{s()}.replace({s()}, {s()})", lambda: f"{s()}.replace({s()}, {s()}, {i()})",
            lambda: f"{s()}.join({self.expr('list', d)})",
            lambda: f"{s()}.join({self.expr('list', d)}|map('string'))",
            lambda: f"({self.fmt()} % {a()})", lambda: f"({self.fmt()} % ({a()}, {a()}))", lambda: f"{self.fmt()}|format({a()}, {a()})",
            lambda: f"{self.fmt2()}.format({a()}, {a()}, k={a()})",
            lambda: f"{self.expr('float', d)}|filesizeformat{m('', '(true)')}",
            lambda: f"{self.expr('dict', d)}|xmlattr", lambda: f"{self.expr('dict', d)}|urlencode",
            lambda: f"({s()} if {self.expr('bool', d)} else {s()})", lambda: f"({a()} or {s()})", lambda: f"{a()}|default({s()})",
            lambda: f"{a()}|default({s()}, true)", lambda: f"({s()})|e ~ {s()}", lambda: f"({s()}|safe + {s()})",
            lambda: f"({s()}|safe % ({a()},))", lambda: f"{s()}|safe|replace({s()}, {s()})",
            lambda: f"{a()}.{m('a', 'items', 'x.y', 'append', '__class__', 'upper', 'get', 'keys', 'real')}",
            lambda: f"strftime_now({m(*map(repr, ('%Y-%m-%d', '%d %b %Y', '%H:%M:%S %p %j', '%A %B %-d', '%z%Z|%f|%%|%e', '%c %x %X %U', '%', '%Q', '%5Y|%_d|%^a')))})",
        )()

    def fmt(self):
        one = lambda: self.pick("%s", "%d", "%r", "%5s|", "%-5s|", "%05d", "%.2f", "%+d", "%x", "%e", "%g", "%%", "%c", "%.3s", "%8.3f",
                                "% d", "%#x", "%o", "%i", "%G", "%a")
        return "'" + self.pick("", "a ") + one() + self.pick("", " ", "-" + one()) + "'"

    def fmt2(self):
        spec = lambda: self.pick("", "", ":>8", ":<5", ":^9", ":*^9", ":05", ":.2f", ":d", ":x", ":,", "!r", "!s:>6", ":+", ":e", ":g", ":%",
                                 ":_", ":b", ":#x", ":.3", ":10.4", ":{k}", ":=+8", ":s", ":08.2f", ":,.2f", "!a")
        key = lambda: self.pick("", "", "0", "1", "k", "k.a", "0[0]", "k[a]", "2")
        return "'" + self.pick("", "{{x}} ") + "{" + key() + spec() + "}" + self.pick("", " {" + key() + spec() + "}", "}}", "}") + "'"

    def e_int(self, d):
        i, s = lambda: self.expr("int", d), lambda: self.expr("str", d)
        m = self.pick
        return m(
            lambda: f"({i()} {m('+', '-', '*', '//', '%')} {i()})", lambda: f"(-{i()})", lambda: f"(+{i()})",
            lambda: f"{i()} ** {m('0', '1', '2', '3')}", lambda: f"{self.any(d)}|length", lambda: f"{self.any(d)}|count",
            lambda: f"{self.any(d)}|int", lambda: f"{self.any(d)}|int({i()})", lambda: f"{s()}|int(0, {m('16', '8', '2', '0', '36')})",
            lambda: f"{i()}|abs", lambda: f"{self.expr('list', d)}|sum", lambda: f"{i()}|round",
            lambda: f"{s()}.{m('find', 'rfind', 'index', 'rindex', 'count')}({s()})",
            lambda: f"{s()}.{m('find', 'rfind', 'count')}({s()}, {i()}, {i()})",
            lambda: f"{self.expr('list', d)}.{m('index', 'count')}({self.any(d)})", lambda: f"{s()}|wordcount",
            lambda: f"{self.expr('list', d)}|{m('max', 'min', 'first', 'last')}", lambda: f"{i()}|round({m('-1', '-2', '0', '2')})",
            lambda: f"({i()} if {self.expr('bool', d)} else {i()})", lambda: f"{self.expr('list', d)}[{i()}]",
            lambda: f"{i()}.{m('bit_length()', 'real', 'numerator', 'conjugate()')}", lambda: f"-{i()}|abs",
        )()

    def e_float(self, d):
        f = lambda: self.expr(self.pick("float", "float", "int"), d)
        m = self.pick
        return m(
            lambda: f"({f()} {m('+', '-', '*', '/', '//', '%')} {f()})", lambda: f"({f()} / {f()})", lambda: f"{self.any(d)}|float",
            lambda: f"{f()}|round", lambda: f"{f()}|round({m('1', '2', '3', '-1')})", lambda: f"{f()} ** {m('0.5', '2', '-1', '-2')}",
            lambda: f"{f()}|round({m('0', '1', '2')}, '{m('floor', 'ceil', 'common')}')", lambda: f"{f()}|abs", lambda: f"(-{f()})",
        )()

    def e_bool(self, d):
        a, i = lambda: self.any(d), lambda: self.expr("int", d)
        m = self.pick
        test = lambda: m("defined", "undefined", "none", "string", "number", "mapping", "sequence", "iterable", "callable", "boolean",
                         "integer", "float", "true", "false", "odd", "even", "lower", "upper", "escaped", "not defined", "not none",
                         "filter", "test", f"divisibleby({i()})", f"divisibleby 3", f"sameas({a()})", f"in({a()})", f"eq({a()})",
                         f"ne({a()})", f"lt({a()})", f"ge({a()})", f"equalto {self.atom('int')}")
        return m(
            lambda: f"({a()} is {test()})", lambda: f"({a()} is {test()})", lambda: f"({a()} {m('==', '!=')} {a()})",
            lambda: f"({i()} {m('<', '<=', '>', '>=')} {i()})", lambda: f"({a()} {m('<', '>')} {a()})",
            lambda: f"({i()} < {i()} {m('<', '<=', '==', '!=')} {i()})", lambda: f"({a()} {m('in', 'not in')} {self.expr('list', d)})",
            lambda: f"({self.expr('str', d)} {m('in', 'not in')} {self.expr('str', d)})", lambda: f"(not {a()})",
            lambda: f"({a()} {m('and', 'or')} {a()})", lambda: f"({a()} in {self.expr('dict', d)})",
            lambda: f"{self.expr('str', d)}.{m('startswith', 'endswith')}({self.expr('str', d)})",
            lambda: f"{self.expr('str', d)}.{m('startswith', 'endswith')}(({self.expr('str', d)}, 'H'), {i()})",
            lambda: f"{self.expr('str', d)}.{m('isdigit', 'isalpha', 'isalnum', 'isspace', 'isupper', 'islower', 'istitle', 'isnumeric', 'isdecimal', 'isidentifier', 'isascii', 'isprintable')}()",
        )()

    def e_list(self, d):
        l, i, s, a = (lambda: self.expr("list", d)), (lambda: self.expr("int", d)), (lambda: self.expr("str", d)), (lambda: self.any(d))
        m = self.pick
        return m(
            lambda: f"[{a()}, {a()}]", lambda: f"({a()}, {a()})", lambda: f"[{a()}]", lambda: f"({l()} + {l()})",
            lambda: f"({l()} * {m('0', '1', '2')})", lambda: f"{l()}[{i()}:{i()}]", lambda: f"{l()}[::{m('1', '-1', '2')}]",
            lambda: f"{l()}|{m('sort', 'reverse|list', 'list', 'unique|list', 'sort(reverse=true)', 'sort(case_sensitive=true)', 'batch(2)|list', 'slice(2)|list', 'batch(2, 0)|list', 'slice(3, 9)|list')}",
            lambda: f"{l()}|map('{m('upper', 'string', 'length', 'int', 'abs', 'tojson', 'title', 'list', 'first')}')|list",
            lambda: f"{l()}|map(attribute={m('0', repr('v'), repr('n'), repr('x.y'))}{m('', ', default=1')})|list",
            lambda: f"{l()}|{m('select', 'reject')}|list",
            lambda: f"{l()}|{m('select', 'reject')}('{m('string', 'number', 'odd', 'defined', 'none', 'mapping')}')|list",
            lambda: f"{l()}|{m('select', 'reject')}('{m('gt', 'eq', 'in', 'ne', 'lessthan', '>=')}', {a()})|list",
            lambda: f"{l()}|{m('selectattr', 'rejectattr')}({m(repr('v'), '0')}{m('', ', ' + repr('equalto') + ', 2', ', ' + repr('defined'))})|list",
            lambda: f"{s()}.{m('split()', 'splitlines()', 'rsplit()', 'splitlines(true)')}", lambda: f"{s()}.{m('split', 'rsplit')}({s()})",
            lambda: f"{s()}.{m('split', 'rsplit')}({m('none', s())}, {i()})", lambda: f"{s()}.{m('partition', 'rpartition')}({s()})",
            lambda: f"{self.expr('dict', d)}.{m('items()', 'keys()', 'values()')}|list", lambda: f"{self.expr('dict', d)}|items|list",
            lambda: f"{self.expr('dict', d)}|dictsort{m('', '(true)', '(false, ' + repr('value') + ')', '(reverse=true)')}",
            lambda: f"{self.expr('dict', d)}|list", lambda: f"{s()}|list", lambda: f"range({i()}, {i()})|list",
            lambda: f"range({i()}, {i()}, {i()})|list", lambda: f"dd.l|groupby('{m('v', 'n', 'zz')}')|list",
            lambda: f"dd.l|groupby('{m('v', 'n', 'zz')}', default=0)|map('last')|list",
            lambda: f"dd.l|sort(attribute='{m('v', 'n', 'v,n', 'n,v')}')|map(attribute='n')|list",
            lambda: f"{l()}|map('replace', {s()}, {s()})|list", lambda: f"{self.expr('dict', d)}.items()", lambda: f"{l()}.copy()",
        )()

    def e_dict(self, d):
        a, m = lambda: self.any(d), self.pick
        return m(
            lambda: f"{{'a': {a()}, 'b': {a()}}}", lambda: f"{{{a()}: {a()}}}", lambda: f"dict(a={a()}, z={a()})", lambda: f"dd.x",
            lambda: f"dict({self.expr('dict', d)}, q={a()})", lambda: f"{self.expr('dict', d)}.copy()", lambda: f"{{1: {a()}, true: {a()}}}",
            lambda: f"dict({self.expr('list', d)}|batch(2))",
        )()

    # statements

    def body(self, depth):
        return "".join(self.stmt(depth) for _ in range(self.r.randint(1, 3)))

    def ws(self):
        return self.pick("", "", "", "-", "+") if self.r.random() < 0.5 else ""

    def tag(self, text):
        close = self.pick("%}", "-%}", "+%}") if self.r.random() < 0.3 else "%}"
        return self.pick("", "", "\n", "  ", "\n   ") + "{%" + self.ws() + " " + text + " " + close + self.pick("", "", "\n", "  \n")

    def stmt(self, depth):
        v = lambda: self.pick("a1", "a2", "s", "n", "l", "ns.v")
        e = lambda n=2: self.any(self.r.randint(0, n))
        m = self.pick
        if depth <= 0 or self.r.random() < 0.35:
            return m(lambda: "{{" + self.pick("", "-") + " " + e(3) + " " + self.pick("}}", "-}}"), lambda: m("text", " x ", "\n", "  \n  ", "é\n"),
                     lambda: self.tag(f"set {v()} = {e()}"), lambda: "{{ " + m("a1", "a2", "s", "n", "ns.v", "ns") + " }}",
                     lambda: "{#" + m("", "-") + " c " + m("", "-") + "#}" + m("", "\n"),
                     lambda: self.tag(f"set a1, a2 = {self.expr('list', 1)}"))()
        b = lambda: self.body(depth - 1)
        loopvar = lambda: m("loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex", "loop.revindex0",
                            "loop.previtem", "loop.nextitem", "loop.cycle('a', 'b')", "loop.changed(i)", "loop.depth", "loop")
        it = lambda: m(self.expr("list", 2), self.expr("list", 1), "d", "s", "dd.l", "l|map('string')", "nope")
        return m(
            lambda: self.tag(f"if {e()}") + b() + m("", self.tag(f"elif {e()}") + b()) + m("", self.tag("else") + b()) + self.tag("endif"),
            lambda: self.tag(f"for i in {it()}") + "{{ i }}" + b() + self.tag("endfor"),
            lambda: self.tag(f"for i in {it()}{m('', ' if ' + e(1))}") + "{{ " + loopvar() + " }}" + b() + m("", self.tag("else") + b()) + self.tag("endfor"),
            lambda: self.tag(f"for p, q in {m('d.items()', 'd|dictsort', '[[1,2],[3,4]]', it())}") + "{{ p }}={{ q }}" + b() + self.tag("endfor"),
            lambda: self.tag(f"for i in {it()}") + self.tag(f"if {e(1)}") + self.tag(m("break", "continue")) + self.tag("endif") + b()
            + m("", self.tag("else") + "else") + self.tag("endfor"),
            lambda: self.tag(f"macro mm(p, q={e(1)})") + "{{ p }}{{ q }}" + m("", "{{ varargs }}", "{{ kwargs }}", "{{ caller is defined }}") + b()
            + self.tag("endmacro") + "{{ mm(" + m("", e(1), f"{e(1)}, {e(1)}", f"q={e(1)}", f"{e(1)}, zz={e(1)}", f"1, 2, 3") + ") }}",
            lambda: self.tag("macro cc()") + "<{{ caller(" + m("", "1") + ") }}>" + self.tag("endmacro") + self.tag("call" + m("", "(r)", "(r=5)") + " cc()")
            + b() + "{{ r }}" + self.tag("endcall"),
            lambda: self.tag(f"set {v()}{m('', '|upper', '|trim|length')}") + b() + self.tag("endset"),
            lambda: self.tag(f"filter {m('upper', 'trim', 'replace(' + repr('a') + ', s)', 'indent(2)')}") + b() + self.tag("endfilter"),
            lambda: self.tag(f"with a1 = {e(1)}, n = a1") + "{{ a1 }}{{ n }}" + b() + self.tag("endwith"),
            lambda: self.tag("generation") + b() + self.tag("endgeneration"),
            lambda: self.tag("raw") + m("{{ x }}", "{% if %}", " a\n") + self.tag("endraw"),
            lambda: self.tag("for i in [[1, [2, 3]], [4, []]] recursive") + "{{ loop.depth }}{{ i if i is number else '' }}"
            + "{% if i is iterable %}({{ loop(i) }}){% endif %}" + m("", b()) + self.tag("endfor"),
        )()


def random_templates(strata, n, seed, tally):
    rng = random.Random(seed)
    for i in range(n):
        g = Random(rng)
        if i % 3:
            t = "{{ " + g.any(rng.randint(1, 4)) + " }}"
        else:
            t = "{% set ns = namespace(v=0) %}{% set chr = '..' %}" + "".join(g.stmt(3) for _ in range(rng.randint(1, 4)))
        tally.compare(strata, f"random {seed}/{i}", t, VARS)


def mutant(rng, text):
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        i = rng.randrange(len(text) + 1)
        j = min(len(text), i + int(rng.expovariate(0.15)))
        how = rng.randrange(6)
        if how == 0:
            text = text[:i] + text[j:]
        elif how == 1:
            text = text[:j] + text[i:]
        elif how == 2:
            k = rng.randrange(len(text) + 1)
            text = text[:k] + text[i:j] + text[k:]
        else:  # whole tags, operators and names say more than bytes do
            word = rng.choice(["{%", "%}", "{{", "}}", "-%}", "{%-", "{% endif %}", "{% endfor %}", "{% else %}", " | ", "|length", "|trim",
                               "|tojson", " not ", " is ", " defined ", " none ", "(", ")", "[", "]", "[0]", "[1:]", "[::-1]", ".", ",", "'",
                               "\\n", " ~ ", " + ", " if ", " else ", " and ", " or ", " in ", " == ", "{#", "#}", "loop.last", "messages",
                               "content", "1", "-1", "namespace()", "{% set x = 1 %}", "{% break %}", "\n", "  ", "{% raw %}", "*", "**", "%"])
            text = text[:i] + word + text[i if how < 5 else j:]
    return text


def mutate(strata, n, seed, files, tally):
    rng = random.Random(seed)
    texts = []
    for f in files:
        with open(f, encoding="utf-8") as h:
            texts.append((os.path.basename(f), h.read()))
    talks, ctxs = list(conversations()), list(contexts())
    for i in range(n):
        name, text = rng.choice(texts)
        (mname, messages), (cname, ctx) = rng.choice(talks), rng.choice(ctxs)
        tally.compare(strata, f"mutant {seed}/{i} of {name}: {mname}, {cname}", mutant(rng, text), dict(ctx, messages=messages))


# ---- golden cases ----


def read_cases():
    with open(CASES, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def golden():
    sys.path.insert(0, HERE)
    import render_cases
    os.makedirs(os.path.dirname(CASES), exist_ok=True)
    with open(CASES, "w", encoding="utf-8") as f:
        table = list(render_cases.cases())
        with open(os.path.join(HERE, "data", "template", "tools.jinja"), encoding="utf-8") as t:
            source = t.read()
        ctx = dict(contexts())["tools"]
        for i, (name, messages) in enumerate(conversations()):
            if i % 3 == 0:
                table.append((f"tools.jinja: {name}", source, dict(ctx, messages=messages)))
        for name, template, variables in table:
            kind, text = jinja(template, variables)
            case = {"name": name, "template": template}
            if variables:
                case["vars"] = variables
            case.update({"out": text} if kind == "out" else {"error": text.split("\n")[0][:200]})
            f.write(json.dumps(case, ensure_ascii=False) + "\n")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--strata", default="build/strata render")
    ap.add_argument("--show", type=int, default=10, help="differences to print")
    ap.add_argument("mode", choices=["cases", "golden", "corpus", "random", "mutate"])
    ap.add_argument("args", nargs="*")
    o = ap.parse_args()
    if o.mode == "golden":
        golden()
        return 0
    strata, tally = Strata(o.strata), Tally(o.show)
    print(f"jinja2 {jinja2.__version__}, Python {sys.version.split()[0]}")
    if o.mode == "corpus":
        corpus(strata, o.args, tally)
    elif o.mode == "random":
        random_templates(strata, int(o.args[0]), int(o.args[1]) if len(o.args) > 1 else 1, tally)
    elif o.mode == "mutate":
        mutate(strata, int(o.args[0]), int(o.args[1]), o.args[2:], tally)
    else:
        for c in read_cases():
            want = jinja(c["template"], c.get("vars", {}))
            if want[0] not in c or (want[0] == "out" and want[1] != c["out"]):
                tally.n["different"] += 1
                print(f"golden {c['name']!r}: Jinja2 now says {want!r}")
            tally.compare(strata, c["name"], c["template"], c.get("vars", {}))
    return tally.report()


sys.exit(main())
