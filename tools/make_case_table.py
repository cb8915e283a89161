#!/usr/bin/env python3
"""Writes src/text/template_case_table.h: what Python knows about characters and utf8proc does not.

Source: the Unicode data inside the running Python (unicodedata.unidata_version, printed into the file)."""
import sys
import unicodedata


def cps():
    return (c for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def ranges(pred):
    out = []
    for c in cps():
        if pred(chr(c)):
            if out and out[-1][1] == c - 1:
                out[-1][1] = c
            else:
                out.append([c, c])
    return out


def emit_ranges(name, why, pred):
    r = ranges(pred)
    print(f"/* {why} */\nstatic const uint32_t {name}[][2] = {{")
    line = "   "
    for a, b in r:
        item = f" {{0x{a:x}, 0x{b:x}}},"
        if len(line + item) > 108:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


cat = unicodedata.category
print("/* template_case_table.h - made by tools/make_case_table.py from Unicode",
      unicodedata.unidata_version + "; do not edit. */")
print("#include <stdint.h>\n")
print("/* Characters whose upper or title case is not one character: {c, upper.., title..}, 0 = unused. */")
print("static const struct {\n    uint32_t c;\n    uint32_t upper[3], title[3];\n} case_special[] = {")
for c in cps():
    ch = chr(c)
    u, t = ch.upper(), ch.title()
    if len(u) > 1 or len(t) > 1:
        f = lambda s: ", ".join(f"0x{ord(x):x}" for x in s.ljust(3, "\0")).replace("0x0", "0")
        print(f"    {{0x{c:x}, {{{f(u)}}}, {{{f(t)}}}}},")
print("};")
emit_ranges("digit_not_nd", "str.isdigit() beyond category Nd", lambda c: c.isdigit() and cat(c) != "Nd")
emit_ranges("numeric_letters", "str.isnumeric() beyond categories Nd, Nl, No",
            lambda c: c.isnumeric() and cat(c) not in ("Nd", "Nl", "No"))
emit_ranges("other_lower", "lower case beyond category Ll", lambda c: c.islower() and cat(c) != "Ll")
emit_ranges("other_upper", "upper case beyond category Lu", lambda c: c.isupper() and cat(c) != "Lu")
bad = [c for c in cps() if (cat(chr(c)) == "Ll" and not chr(c).islower()) or (cat(chr(c)) == "Lu" and not chr(c).isupper())]
bad += [c for c in cps() if cat(chr(c)) in ("Nd", "Nl", "No") and not chr(c).isnumeric()]
if bad:
    sys.exit(f"not covered: {[hex(c) for c in bad[:10]]}")
