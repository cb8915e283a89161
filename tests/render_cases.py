"""The micro-templates behind tests/data/template/cases.jsonl.  `render_oracle.py golden` runs them through Jinja2."""

M = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
T = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "string"}}}}}]}
V = {"n": 7, "f": 2.5, "s": "Hello World", "u": "Straße 日本 🎉", "b": True, "x": None, "l": [3, 1, 2], "e": [], "ed": {},
     "d": {"a": 1, "b": [1, 2], "items": "I", "get": 5}, "k": ["b", "A", "c"], "t": "  pad\t\n",
     "dd": [{"v": 2, "n": "p"}, {"v": 1, "n": "Q"}, {"v": 2, "n": "r"}], "big": 1e308, "deep": {"x": {"y": {"z": "!"}}}}

# group -> templates, each rendered with V
PLAIN = {
    "output": r"""
{{ none }}|{{ true }}|{{ False }}|{{ 1 }}|{{ -1 }}|{{ 1.0 }}|{{ 1e16 }}|{{ 1e15 }}|{{ 1.5e-5 }}|{{ 0.0001 }}|{{ 1e100 }}|{{ 0.1 + 0.2 }}
{{ [1, 'a', "b'c", None, 2.0, [3], (4,), (5, 6), {}] }}
{{ {'a': 1, "b": {'c': [true, none]}, 3: 4.5, none: 'x', (1, 2): 'y'} }}
{{ () }}{{ [] }}{{ {} }}{{ '' }}{{ nope }}{{ [nope] }}
{{ "it's" }}{{ ["it's"] }}{{ ['say "x"'] }}{{ ['both \' and "'] }}
{{ ['\n\t\r\\ \x00 \x7f \xa0 é 日 🎉 \u200b \u2028'] }}
{{ "a" "b" 'c' }}|{{ "\x41\u00e9\U0001F389\101\n\q" }}|{{ "\é" }}|{{ "line\
joined" }}
{{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_000 }} {{ 1_0.5e1_0 }} {{ 00 }}
{{ range(3) }} {{ range(1, 5, 2) }} {{ range(5, 0, -2)|list }} {{ d.keys() }} {{ d.values() }} {{ {'a': 1}.items() }}
{{ namespace(a=1, b='x') }} {{ dict }} {{ namespace }} {{ cycler }} {{ joiner }}
{{ 123456789.123 }} {{ 5684341886080802e-29 }} {{ 9007199254740993.0 }} {{ 2 ** -44 }} {{ 1e22 }} {{ 1e21 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }}
{{ 1, 2 }}{{ (1) }}{{ 1, }}
""",
    "arithmetic": r"""
{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 // -2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 // 2 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ -0.0 }} {{ 0.0 // 3 }} {{ -0.0 % 3 }} {{ 4 ** 0.5 }}
{{ true + true }} {{ 1 + 2.0 }} {{ 3 * 'ab' }} {{ 'ab' * 0 }} {{ [1] * 3 }} {{ [1] + [2] }} {{ (1,) + (2,) }} {{ -true }} {{ +true }}
{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 10 - 3 - 2 }} {{ 100 / 10 / 2 }} {{ -2 ** 2 }} {{ 2 * 3 ~ 4 }}
{{ 1 ~ 2 + 3 }}
{{ -2 ** 2 }} {{ -2 ** n }} {{ (-2) ** (n - 5) }} {{ (1 - 3) ** (n - 5) }} {{ 2 ** n }} {{ -n ** 2 }} {{ -2.0 ** (n - 5) }} {{ n ** 2 ** 2 }}
{{ 1 + 2 ~ 3 }}
{{ 9223372036854775807 - 1 }} {{ -9223372036854775807 - 1 }} {{ 4611686018427387904 + 4611686018427387903 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1.0 % 0 }}
{{ 0 ** -1 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ nope + 1 }}
{{ 1 - nope }}
{{ [] - [] }}
{{ none + 1 }}
{{ -'a' }}
{{ 'a' * 1.5 }}
{{ 10 ** 400.0 }}
""",
    "compare": r"""
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 3 > 2 >= 2 }} {{ 1 == 1.0 == true }} {{ 1 != 2 }} {{ 'a' < 'b' }} {{ 'a' < 'B' }} {{ [1, 2] < [1, 3] }}
{{ (1, 2) == [1, 2] }} {{ [1] == [1.0] }} {{ {'a': 1} == {'a': 1.0} }} {{ none == none }} {{ nope == nada }} {{ nope == none }} {{ '' == nope }}
{{ 'ell' in s }} {{ 3 in l }} {{ 9 not in l }} {{ 'a' in d }} {{ 1 in d.values() }} {{ '' in '' }}
{{ 1 in 1 }}
{{ 1 in nope }} {{ 'x' in nope }} {{ nope in l }} {{ 5 in range(10) }} {{ 5.0 in range(10) }} {{ 'a' in ('a',) }}
{{ not 1 in l }} {{ not true == false }} {{ not not 5 }} {{ 1 < 2 == true }} {{ 1 in [1] in [true] }}
{{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ '' or nope or 3 }} {{ [] and 1 }} {{ 1 or 1/0 }} {{ false and 1/0 }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ nope < 1 }}
{{ 1 in none }}
{{ 1 in 'abc' }}
{{ {} < {} }}
{{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }} {{ 1e308 > 9223372036854775807 }}
""",
    "conditional": r"""
{{ 'y' if b else 'n' }}{{ 'y' if not b else 'n' }}|{{ 'y' if x }}|{{ ('y' if x) is defined }}
{{ 1 if false else 2 if false else 3 }} {{ (1 if true) + 1 }} {{ 'a' if x is none else 'b' }} {{ x if x else s if s }}
{{ [1 if b, 2] }}
{{ ('y' if x).z }}
{{ ('y' if x) + 1 }}
{{ 1 if b else nope.y }} {{ nope.y if not b else 1 }}
{% if x %}a{% elif s %}b{% else %}c{% endif %}{% if e %}a{% elif ed %}b{% else %}c{% endif %}{% if 0.0 %}z{% endif %}{% if '0' %}s{% endif %}
{% if nope %}a{% else %}b{% endif %}{% if nope is defined and nope.x %}a{% endif %}{% if l|length > 2 and l[0] == 3 %}ok{% endif %}
{% if 1, %}t{% endif %}{% if () %}e{% endif %}
""",
    "attributes": r"""
{{ d.a }} {{ d['a'] }} {{ d['items'] }} {{ d.b.0 }} {{ d.b[1] }} {{ d.b[-1] }} {{ deep.x.y.z }} {{ deep['x'].y['z'] }}
{{ d['get'] }} {{ d.get('a') }} {{ d.get('zz') }} {{ d.get('zz', 4) }} {{ d.zz }} {{ d['zz'] }} {{ l[9] }} {{ l['a'] }} {{ l.foo }} {{ s.foo }} {{ n.foo }}
{{ d.items()|list }} {{ d.keys()|list }} {{ d.values()|list }} {{ d|list }} {{ d|length }}
{{ nope.a }}
{{ nope['a'] }}
{{ d.zz.y }}
{{ x.y }}|{{ x['y'] }}|{{ 5['y'] }}
{{ x.y.z }}
{{ s[0] }}{{ s[-1] }}{{ s[99] }}{{ u[4] }}{{ u[-1] }} {{ s['upper'] is callable }} {{ l.append is defined }} {{ l.count(3) }} {{ l.index(1) }}
{{ l.append(1) }}
{{ d.update({}) }}
{{ d.pop('a') }}
{{ l.__class__ }}|{{ d.__class__ is defined }}|{{ d.__nope__ }}|{{ n.__add__ }}
{{ ''.__class__.__mro__ }}
{{ ''.__class__() }}
{{ d|attr('a') }}|{{ d|attr('get') is defined }}|{{ l|attr('nope') }}
{{ l[1.0] }}|{{ l[true] }}|{{ {1: 'i'}[1.0] }}|{{ {true: 't'}[1] }}|{{ l[none] }}|{{ d[[1]] }}
{{ n.real }} {{ n.imag }} {{ n.numerator }} {{ n.bit_length() }} {{ f.is_integer() }} {{ f.real }} {{ b.real }}
{{ s() }}
{{ nope() }}
{{ s.upper(1) }}
{{ s.nope() }}
{{ {'a': {'b': 1}}.a.b }} {{ [1, 2][0] }} {{ (1, 2).1 }} {{ 'abc'[1] }} {{ {}.a }}
""",
    "slices": r"""
{{ l[1:] }} {{ l[:1] }} {{ l[-2:] }} {{ l[::-1] }} {{ l[::2] }} {{ l[5:] }} {{ l[-9:2] }} {{ l[2:0:-1] }} {{ l[:] }} {{ (1, 2, 3)[1:] }}
{{ s[1:4] }}|{{ s[::-1] }}|{{ s[-3:] }}|{{ s[:-3] }}|{{ s[::3] }}|{{ u[2:8] }}|{{ u[::-1] }}|{{ u[::2] }}|{{ u[8:2:-2] }}|{{ range(10)[2:8:3] }}|{{ range(10)[::-1][0] }}
{{ l[none:2] }} {{ l[1:none] }} {{ l[true:] }}
{{ l[::0] }}
{{ l['a':] }}
{{ d[1:] }}
{{ nope[1:] }}
{{ n[1:] }}
{{ l[1:2, 0] }}
""",
    "strings": r"""
{{ s.upper() }} {{ s.lower() }} {{ s.title() }} {{ s.capitalize() }} {{ s.swapcase() }} {{ u.upper() }} {{ u.casefold() }} {{ 'ǆ ŉ ﬁ İ ΑΣ Σ'.title() }} {{ 'ΌΔΟΣ ΑΣ1 Σ'.lower() }} {{ 'ǆﬃ'.capitalize() }}
[{{ t.strip() }}][{{ t.lstrip() }}][{{ t.rstrip() }}][{{ 'xxaxx'.strip('x') }}][{{ 'abcba'.lstrip('ab') }}][{{ 'éaé'.strip('é') }}][{{ '  a '.strip(none) }}]
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.split(',', 1) }} {{ ' a  b c '.split() }} {{ ' a  b c '.split(none, 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ ' a b  c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('bc') }} {{ 'a b'.split(maxsplit=0) }} {{ 'a-b'.split(sep='-') }}
{{ 'a\nb\r\nc\rd\x0be\u2028f'.splitlines() }} {{ 'a\n\nb\n'.splitlines(true) }} {{ ''.splitlines() }} {{ 'a\n'.splitlines(keepends=true) }}
{{ 'a'.join(['x', 'y']) }} {{ ''.join('abc') }} {{ ','.join({'a': 1, 'b': 2}) }} {{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'aaa'.replace('', '-') }} {{ 'aaa'.replace('', '-', 2) }} {{ 'aaa'.replace('aa', 'b') }}
{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('zz') }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }} {{ u.find('日') }} {{ u.rfind('') }} {{ s.find('o', 5) }} {{ s.find('o', 5, 6) }} {{ s.find('o', -4) }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }} {{ 'éé'.rfind('é') }}
{{ s.startswith('He') }} {{ s.endswith(('x', 'ld')) }} {{ s.startswith('lo', 3) }} {{ s.startswith('') }} {{ s.endswith('o', 0, 5) }} {{ ''.startswith('', 1) }}
{{ '12'.isdigit() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ '½一'.isnumeric() }} {{ 'aé'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' \t'.isspace() }} {{ 'Ab'.istitle() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ ''.isdigit() }} {{ 'a_1'.isidentifier() }} {{ 'é'.isascii() }} {{ 'a\n'.isprintable() }} {{ 'ª'.islower() }} {{ 'Ⅷ'.isupper() }} {{ '٣'.isdecimal() }}
[{{ 'a'.center(6) }}][{{ 'ab'.center(5, '*') }}][{{ 'a'.ljust(3, '.') }}][{{ 'a'.rjust(3) }}][{{ '-5'.zfill(4) }}][{{ '日'.center(4, 'é') }}][{{ 'a\tb\n\tc'.expandtabs(4) }}]
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('=') }} {{ 'abc'.rpartition('=') }} {{ 'TestHook'.removeprefix('Test') }} {{ 'x.py'.removesuffix('.py') }} {{ 'abc'.removesuffix('') }}
{{ 'a'.join([1]) }}
{{ 'abc'.index('z') }}
{{ 'abc'.split('') }}
{{ 'a'.center(5, 'xy') }}
{{ s.replace('a') }}
{{ s.startswith(1) }}
""",
    "percent": r"""
{{ '%s %d %5.2f|%-5s|%05d|%+d|%x|%X|%o|%e|%g|%%|%c|%r' % ('a', 3, 2.5, 'b', 42, 7, 255, 255, 8, 12345.678, 0.0001, 'z', "q'") }}
{{ '%(a)s-%(b)05.1f' % {'a': 1, 'b': 2.55} }} {{ '%s' % 'x' }} {{ '%s' % [1, 2] }} {{ '%s' % none }} {{ '%d' % 3.9 }} {{ '%s' % (1,) }} {{ '%*d|%-*d|%.*f' % (5, 3, 4, 2, 2, 1.005) }}
{{ '%5s|%.2s|%5.1s|%-6.3s|' % ('é', '日本語', 'abc', 'abcdef') }} {{ '%#x %#o %#X' % (255, 8, 10) }} {{ '% d' % 5 }} {{ '%i' % true }} {{ '%.3d' % 5 }} {{ '%c' % 233 }} {{ '%a' % 'é' }} {{ '%s' % nope }} {{ 'abc' % [] }} {{ 'abc' % nope }}
{{ '%s %s'|format('a', 'b') }} {{ '%(x)s'|format(x=1) }} {{ '%.3f'|format(2) }} {{ '%g %g %g %G' % (1e10, 1e-10, 100000, 1e-10) }} {{ '%s' % {'a': 1} }} {{ '%%|' % () }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % (1, 2) }}
{{ '%x' % 1.5 }}
{{ '%q' % 1 }}
{{ '%5%' % 1 }}
{{ '%%' % 1 }}
{{ '%' % 1 }}
{{ '%(a)s' % 1 }}
{{ '%(zz)s' % d }}
{{ 'abc' % 1 }}
{{ '%c' % 'ab' }}
""",
    "format": r"""
{{ '{} {}'.format(1, 'a') }} {{ '{1} {0}'.format(1, 2) }} {{ '{a} {b}'.format(a=1, b=none) }} {{ '{{}} {}'.format(1) }} {{ '{0.a} {0[b]}'.format(d) }} {{ '{0[0]}'.format(l) }} {{ '{!r} {!s} {!a}'.format('é', 'b', 'é') }}
{{ '{:>5}|{:<5}|{:^5}|{:*^7}|{:=+6}|{:06.2f}|{:,}|{:_}|{:x}|{:#x}|{:b}|{:o}|{:e}|{:.3g}|{:%}|{:.1%}'.format('a', 'b', 'c', 'd', 5, 3.14159, 1234567, 1234567, 255, 255, 5, 8, 12345.678, 0.00012345, 0.5, 0.256) }}
{{ '{:.2}'.format('abc') }} {{ '{:5}|{:5}|'.format(1, 'a') }} {{ '{:{}}|{:>{w}}|'.format('a', 4, 'b', w=3) }} {{ '{:+} {: } {:-}'.format(1, 2, 3) }} {{ '{:010,}'.format(1234) }} {{ '{:,.2f}'.format(1234.5) }} {{ '{:c}'.format(65) }} {{ '{:d}'.format(true) }} {{ '{}'.format(true) }}
{{ '{:f} {:.0f} {:#.0f} {:g} {:G} {:E}'.format(1.5, 2.5, 2.5, 1e20, 1e-7, 12345.6) }} {{ '{:.3}|{:.1}|{:10.4}|{:.17}'.format(1.5, 12345.0, 3.14159265, 0.1) }} {{ '{:_x} {:_b}'.format(123456789, 1000) }} {{ '{}'.format(nope) }} {{ '{0.zz}'.format(d) }} {{ '{a[b][1]}'.format(a=d) }} {{ '{:05}|{:<05}'.format('ab', 7) }}
{{ '{x}'.format_map({'x': 1}) }} {{ '{:日>5}'.format('é') }} {{ '{:^6.1f}|{:z.1f}'.format(2.25, -0.01) }}
{{ '{'.format(1) }}
{{ '}'.format(1) }}
{{ '{} {0}'.format(1) }}
{{ '{} {}'.format(1) }}
{{ '{a}'.format(1) }}
{{ '{:d}'.format('a') }}
{{ '{:5}'.format([]) }}
{{ '{:.2d}'.format(1) }}
{{ '{!z}'.format(1) }}
{{ '{0.a.}'.format(d) }}
{{ '{:,}'.format('a') }}
{{ '{0.__class__}'.format(1) }}|
""",
    "filters": r"""
{{ -5|abs }} {{ -2.5|abs }} {{ true|abs }} {{ 'x y-z (q'|title }} {{ "don't {stop} <now>"|title }} {{ s|upper }} {{ none|upper }} {{ n|lower }} {{ 'ßé'|capitalize }} {{ 'ab'|center(7) }}|
{{ nope|default('D') }} {{ ''|default('D') }} {{ ''|default('D', true) }} {{ x|d('D') }} {{ none|default('D', boolean=true) }} {{ nope|default }}|{{ d.zz|default(d.a) }}
{{ d|dictsort }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'A': 2, 'c': 0}|dictsort(false, 'value') }} {{ {'b': 1, 'A': 2}|dictsort(reverse=true) }} {{ {'b': 1}|dictsort(by='value') }}
{{ '<a href="x">\'&</a>'|escape }} {{ '<'|e|e }} {{ '<'|e|forceescape }} {{ '<'|safe|e }} {{ ('<'|safe) ~ '&' }} {{ ('<'|safe) + '&' }} {{ '&' + ('<'|safe) }} {{ ['<'|safe] }} {{ none|e }} {{ '%s<'|safe % '&' }} {{ '{}<'|safe }} {{ ('{}'|safe).format('<') }} {{ 'a'|e is escaped }} {{ ('<'|safe).join(['&', '<'|safe]) }}
{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1000|filesizeformat }} {{ 1500000|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ 0|filesizeformat }} {{ 1e30|filesizeformat }} {{ '12345'|filesizeformat }} {{ -5|filesizeformat }} {{ 1.9|filesizeformat }}
{{ l|first }} {{ l|last }} {{ e|first }}|{{ e|last }}|{{ 'abc'|first }} {{ 'abc'|last }} {{ d|first }} {{ d|last }} {{ (e|first) is defined }} {{ nope|first }} {{ nope|last }}
{{ '3.7'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ none|float }} {{ '1e3'|float }} {{ ' 2 '|float }} {{ 'inf'|float }} {{ '-nan'|float }} {{ '1_0.5'|float }} {{ '.5'|float }} {{ '5.'|float }} {{ '0x10'|float }}
{{ '42'|int }} {{ '42.9'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '0x1f'|int(base=16) }} {{ '1f'|int(0, 16) }} {{ '0b11'|int(0, 0) }} {{ '010'|int(5, 0) }} {{ 3.9|int }} {{ -3.9|int }} {{ true|int }} {{ none|int }} {{ ' -7 '|int }} {{ '1_000'|int }} {{ '1__0'|int }} {{ '1e3'|int }} {{ []|int(4) }} {{ '٣'|int }} {{ 'nan'|int }} {{ '9223372036854775807'|int }} {{ '-9223372036854775808'|int }}
{{ 'inf'|int }}
{{ dd|groupby('v') }} {{ dd|groupby('n')|map('first')|list }} {{ dd|groupby('zz', default=3) }} {% for g, items in dd|groupby('v') %}{{ g }}:{{ items|map(attribute='n')|join }};{% endfor %}{% for g in dd|groupby('v') %}{{ g.grouper }}{{ g.list|length }}{{ g[0] }}{% endfor %}
{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ 'a\n\nb'|indent(2, blank=true) }}|{{ 'a\nb'|indent('> ') }}|{{ ''|indent(2, true) }}|{{ 'a\n'|indent(1) }}|{{ 'a\nb'|indent(width=1, first=true) }}
{{ d|items|list }} {{ nope|items|list }} {{ ed|items|list }}
{{ l|join }} {{ l|join(', ') }} {{ [1, none, 'a', 2.0]|join('-') }} {{ dd|join(',', attribute='n') }} {{ 'abc'|join('.') }} {{ d|join }} {{ [[1, 2], [3, 4]]|join(' ', 0) }} {{ e|join('x') }} {{ nope|join }}
{{ l|length }} {{ s|count }} {{ u|length }} {{ nope|length }} {{ range(5)|length }} {{ d.items()|length }} {{ 'abc'|list }} {{ d|list }} {{ range(3)|list }} {{ nope|list }}
{{ k|map('upper')|list }} {{ dd|map(attribute='v')|list }} {{ dd|map(attribute='zz', default='-')|list }} {{ [[1, 2], [3]]|map('sum')|list }} {{ [1, 2]|map('string')|join }} {{ k|map('replace', 'b', 'X')|list }} {{ [deep]|map(attribute='x.y.z')|list }} {{ nope|map('upper')|list }} {{ ['1', 'x']|map('int', default=9)|list }}
{{ l|max }} {{ l|min }} {{ k|max }} {{ k|min }} {{ k|min(case_sensitive=true) }} {{ dd|max(attribute='v') }} {{ dd|min(attribute='n') }} {{ e|max }}|{{ 'hello'|max }}
{{ l|reject('odd')|list }} {{ l|select('odd')|list }} {{ l|select('gt', 1)|list }} {{ [0, 1, '', 'a', none]|select|list }} {{ [0, 1]|reject|list }} {{ dd|selectattr('v', 'equalto', 2)|map(attribute='n')|list }} {{ dd|rejectattr('v', '>', 1)|list }} {{ dd|selectattr('zz')|list }} {{ dd|selectattr('v')|list|length }} {{ l|select('in', [1, 2])|list }} {{ dd|selectattr('n', 'in', ['p', 'r'])|map(attribute='v')|list }} {{ dd|selectattr('zz', 'undefined')|list|length }}
{{ l|reverse|list }} {{ 'abc'|reverse }} {{ u|reverse }} {{ d|reverse|list }} {{ range(3)|reverse|list }} {{ k|map('lower')|reverse }} {{ (1, 2)|reverse|list }}
{{ 42.55|round }} {{ 42.55|round(1) }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 42.51|round(0, 'ceil') }} {{ 5|round }} {{ 1250|round(-2) }} {{ 1350|round(-2) }} {{ 1234.5|round(-2) }} {{ -2.5|round }} {{ 1e20|round(2) }} {{ 7|round(1, 'ceil') }} {{ true|round }} {{ 0.5|round }} {{ 150.0|round(-2) }} {{ 50.0|round(-2) }} {{ -0.4|round }} {{ 2.5|round(none) }}
{{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ [1, 2, 3, 4, 5]|slice(3, 'x')|list }} {{ [1, 2, 3]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 'x')|list }} {{ e|batch(2)|list }} {{ [1]|slice(3)|list }}
{{ l|sort }} {{ k|sort }} {{ k|sort(true) }} {{ k|sort(case_sensitive=true) }} {{ dd|sort(attribute='v')|map(attribute='n')|list }} {{ dd|sort(attribute='v,n')|map(attribute='n')|join }} {{ dd|sort(reverse=true, attribute='v')|map(attribute='n')|join }} {{ [2.5, 1, true]|sort }} {{ dd|sort(attribute='zz')|length }} {{ [[2, 1], [1, 2]]|sort }} {{ 'hello'|sort|join }} {{ d|sort }}
{{ 12|string + 'x' }} {{ none|string }} {{ '<p>Hi <!-- c --> &amp; &lt;b&gt; &#39;x&#39;  y</p>'|striptags }} {{ l|sum }} {{ dd|sum(attribute='v') }} {{ l|sum(start=10) }} {{ [[1], [2]]|sum(start=[]) }} {{ e|sum }} {{ [1.5, 2]|sum }} {{ dd|sum('v') }}
{{ '  x '|trim }}| {{ 'xxaxx'|trim('x') }} {{ 12|trim }} {{ nope|trim }}| {{ ' \n'|trim|length }}
{{ 'foo bar baz qux'|truncate(9) }} {{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo bar baz qux'|truncate(11, false, '...', 0) }} {{ 'abcdefgh'|truncate(5, end='…', leeway=0) }} {{ 'short'|truncate }}
{{ ['a', 'B', 'A', 'b']|unique|list }} {{ ['a', 'A']|unique(true)|list }} {{ dd|unique(attribute='v')|map(attribute='n')|list }} {{ [1, 1.0, true, '1']|unique|list }}
{{ 'a b/ü?&=~'|urlencode }} {{ {'a': 'x y', 'b': 1}|urlencode }} {{ [('k', '/')]|urlencode }} {{ 5|urlencode }} {{ 'Hello, wörld foo_bar 12'|wordcount }} {{ ''|wordcount }}
{{ 'the quick brown fox'|wordwrap(10) }}|{{ 'a-verylongword here'|wordwrap(5) }}|{{ 'averylongword'|wordwrap(5, false) }}|{{ 'foo bar-baz -- qux'|wordwrap(7, wrapstring='/') }}|{{ 'p1 x\np2 y'|wordwrap(4) }}|{{ 'well-known self-contained'|wordwrap(8, break_on_hyphens=false) }}|{{ 'one  two   three'|wordwrap(9) }}
{{ {'class': 'a<b', 'id': none, 'n': 5, 'u': nope}|xmlattr }}|{{ {'a': '"'}|xmlattr(false) }}|{{ {}|xmlattr }}|{{ {'b': 2, 'a': [1, {'d': 1, 'c': 2}]}|pprint }} {{ 'x'|pprint }} {{ [none]|pprint }}
{{ s|nofilter }}
{% if false %}{{ s|nofilter }}{% endif %}ok
{% if true %}{{ s|nofilter }}{% endif %}
{{ s|map('nofilter')|list }}
{{ s|replace('a') }}
{{ s|default(1, 2, 3) }}
{{ s|default(zz=1) }}
{{ 5|length }}
{{ none|length }}
{{ 5|list }}
{{ none|join }}
{{ [1, 'a']|sort }}
{{ 'a'|round }}
{{ 1|round(method='up') }}
{{ [[1]]|unique|list }}
{{ s|indent('a', 'b', 'c', 'd') }}
{{ 5|dictsort }}
{{ d|dictsort(by='zz') }}
{{ ['a', 'b']|sum }}
{{ 'abc'|batch }}
{{ [1]|slice(0)|list }}
{{ {'a b': 1}|xmlattr }}
{{ k|map|list }}
{{ k|map('upper', attribute='x')|list }}
{{ nope|int }}
{{ nope|indent }}
{{ nope|tojson }}
{{ nope|attr('x') }}
{{ dd|groupby('zz') }}
{{ k|map('first')|map('upper')|join|lower }}
{% set g = k|map('upper') %}{{ g|list }}{{ g|list }}{% if k|select('none') %}truthy{% endif %}
{{ 'abc'|last|upper ~ 'x'|first }} {{ -1|abs }} {{ 1 + -2|abs }} {{ 'a'|upper == 'A' }} {{ not 'a'|length > 3 }} {{ 2 ** 3|abs }}
""",
    "tojson": r"""
{{ {'a': [1, 2.0, none, true, 'é"\\\n\t\x01\x7f/<&>'], 'b': {}, 'c': []}|tojson }}
{{ {'a': [1, {'b': 2}], 'c': {}}|tojson(indent=2) }}
{{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ [1, 2]|tojson(separators=(',', ':')) }} {{ {'a': 1}|tojson(separators=[', ', '=']) }} {{ 'é🎉'|tojson(ensure_ascii=true) }} {{ 'é'|tojson(true) }} {{ [1]|tojson(false, 1) }} {{ {'a': 1, 'b': 2}|tojson(indent='->') }} {{ [1, [2]]|tojson(indent=0) }}
{{ {1: 'a', 2.5: 'b', none: 'c', true: 'd'}|tojson }} {{ (1, 2)|tojson }} {{ 'x'|tojson }} {{ 1e16|tojson }} {{ 1.0|tojson }} {{ none|tojson }} {{ true|tojson }} {{ ('<'|safe)|tojson }} {{ 'inf'|float|tojson }} {{ [[], {}]|tojson(indent=4) }}
{{ d|tojson|length }} {{ d|tojson is string }} {{ d|tojson + 'x' }} {{ d|tojson|safe }}
{{ range(3)|tojson }}
{{ d.items()|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ {1: 1, 'a': 2}|tojson(sort_keys=true) }}
{{ namespace()|tojson }}
{{ [nope]|tojson }}
""",
    "tests": r"""
{{ n is defined }} {{ nope is defined }} {{ nope is undefined }} {{ d.zz is defined }} {{ x is none }} {{ x is not none }} {{ nope is none }} {{ n is number }} {{ b is number }} {{ f is float }} {{ n is integer }} {{ b is integer }} {{ b is boolean }} {{ 1 is true }} {{ true is true }} {{ false is false }}
{{ s is string }} {{ l is string }} {{ d is mapping }} {{ l is mapping }} {{ l is sequence }} {{ s is sequence }} {{ d is sequence }} {{ n is sequence }} {{ nope is sequence }} {{ d.keys() is sequence }} {{ l is iterable }} {{ n is iterable }} {{ s is iterable }} {{ nope is iterable }} {{ range is callable }} {{ s.upper is callable }} {{ nope is callable }} {{ s is callable }} {{ k|map('upper') is iterable }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 4.0 is even }} {{ s is lower }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 5 is lower }} {{ 'upper' is filter }} {{ 'nope' is filter }} {{ 'odd' is test }} {{ 1 is eq 1 }} {{ 1 is equalto(2) }} {{ 1 is ne 2 }} {{ 3 is gt 2 }} {{ 3 is greaterthan 2 }} {{ 3 is ge(3) }} {{ 2 is lt 3 }} {{ 2 is lessthan 1 }} {{ 2 is le 2 }}
{{ 1 is in [1, 2] }} {{ 'x' is not in 'xyz' }} {{ x is sameas none }} {{ true is sameas true }} {{ 1 is sameas true }} {{ l is sameas l }} {{ [] is sameas [] }} {{ '<'|e is escaped }} {{ '<' is escaped }}
{{ not nope is defined }} {{ n is defined and n > 5 }} {{ n is not defined or true }} {{ (n is odd) == true }}
{{ n is odd is defined }}
{{ -1 is number }} {{ 1 + 2 is number }} {{ 'a' ~ 'b' is string }} {{ n is eq n|abs }} {{ l is sequence and l is not mapping }}
{{ 5 is number is true }}
{{ 1 if n is defined if true }}
{{ 5 is notest }}
{% if false %}{{ 5 is notest }}{% endif %}ok
{{ 5 is divisibleby 0 }}
{{ 'a' is odd }}
{{ none is odd }}
{{ nope is odd }}
{{ 5 is in 5 }}
{{ 5 is divisibleby }}
{{ [] is filter }}
""",
    "loops": r"""
{% for i in l %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.previtem }} {{ loop.nextitem }} {{ loop.cycle('a', 'b') }} {{ loop.depth }} {{ loop.depth0 }} {{ loop }};{% endfor %}
{% for i in [1, 1, 2, 2, 1] %}{% if loop.changed(i) %}{{ i }}{% endif %}{% endfor %} {% for i in l if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% else %}none{% endfor %} {% for i in e %}x{% else %}empty{% endfor %} {% for i in nope %}x{% else %}undef{% endfor %}
{% for a, b in [[1, 2], (3, 4), 'xy'] %}{{ a }}-{{ b }} {% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for c in 'héy' %}{{ c }}.{% endfor %}{% for k in d %}{{ k }},{% endfor %}{% for i in range(3) %}{{ i }}{% endfor %}
{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i > 5 %}{% break %}{% endif %}{{ i }}{% endfor %}|{% for i in [1] %}{% continue %}{% else %}E{% endfor %}|{% for i in [1] %}{% break %}{% else %}E{% endfor %}|{% for i in [1, 2] %}{{ i }}{% else %}E{% endfor %}
{% for i in [1, [2, [3]], 4] recursive %}{% if i is number %}{{ i }}@{{ loop.depth }}{% else %}({{ loop(i) }}){% endif %}{% endfor %}
{% for a in [1, 2] %}{% set outer = loop %}{% for b in [3, 4] %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}{% for i in l %}{% for i in 'ab' %}{{ i }}{% endfor %}{{ i }}{% endfor %}
{% for i in k|map('upper') %}{{ i }}{{ loop.last }}{{ loop.nextitem }} {% endfor %}{% for i in k|map('upper') %}{{ loop.length }}{{ i }}{{ loop.revindex }}{% endfor %}
{% for i in l recursive %}{{ i }}{% else %}x{% endfor %}{% for i in e recursive %}{% else %}E{% endfor %}{% for i in [1, 2, 3] if loop is defined %}{{ i }}{% endfor %}|{% for i in [[1, 2], [3]] %}{% for j in i if j != loop.index %}{{ j }}{% endfor %}{% endfor %}
{% for a, b in [[1]] %}{% endfor %}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for i in 5 %}{% endfor %}
{% for i in none %}{% endfor %}
{% for i in l %}{{ loop.nope }}{% endfor %}ok
{% for i in l %}{{ loop.cycle() }}{% endfor %}
{% for i in l %}{{ loop(i) }}{% endfor %}
{% for a, in [[1], [2]] %}{{ a }}{% endfor %}
{% for (a,) in [[1], [2]] %}{{ a }}{% endfor %}
{% break %}
{% for i in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for loop in l %}{% endfor %}
{% for i in l %}{% set loop = 1 %}{% endfor %}
{% for i in l %}
{% endfor %}{{ loop }}|{% for i in l %}{{ loop is defined }}{% endfor %}{% for i in l if i is odd %}{{ i }}{% endfor %}
{% for i in [1, 2] %}{% set x %}a{% if i == 1 %}{% continue %}{% endif %}b{% endset %}[{{ x }}]{% endfor %}{% for x in [1, 2] %}{% filter upper %}a{% if x == 1 %}{% break %}{% endif %}{% endfilter %}{% endfor %}|
""",
    "scope": r"""
{% set a = 1 %}{% for i in [1, 2] %}{{ a }}{% set a = a + 10 %}{{ a }} {% endfor %}{{ a }}
{% set a = 1 %}{% if true %}{% set a = 2 %}{% endif %}{{ a }}{% if false %}{% set a = 3 %}{% endif %}{{ a }}{% if false %}{% set n = 99 %}{% endif %}{{ n }}{% if true %}{% set n = 98 %}{% endif %}{{ n }}
{{ n }}{% set n = 1 %}{{ n }}|{% for i in [1] %}{{ s }}{% endfor %}{% set s = 'changed' %}{% for i in [1] %}{{ s }}{% endfor %}
{% for i in [1] %}{{ f }}{% endfor %}{% set f = 'late' %}{{ f }}|{% macro m() %}{{ n }}{{ z }}{% endmacro %}{% set z = 5 %}{{ m() }}
{% if false %}{% set q = 1 %}{% elif true %}{% set q = 2 %}{% endif %}{{ q }}{% if false %}{% set r = 1 %}{% else %}{% endif %}{{ r }}|{% if n %}{% set n = 1 %}{% elif n %}{% set n = 2 %}{% else %}{% set n = 3 %}{% endif %}{{ n }}
{% set ns = namespace(c=0, found=false) %}{% for i in l %}{% set ns.c = ns.c + i %}{% if i == 1 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.c }} {{ ns.found }} {{ ns['c'] }} {{ ns.nope }} {{ ns }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set a, b = b, a %}{{ a }}{{ b }}{% set (c, d2) = [3, 4] %}{{ c }}{{ d2 }}{% set t = 1, 2 %}{{ t }}{% set z = 'a' if b else 'c' %}{{ z }}
{% set x %}hello {{ n }}{% endset %}{{ x }}|{% set x | upper | replace('H', 'J') %}hello{% endset %}{{ x }}|{% set y %}{% set inner = 1 %}{{ inner }}{% endset %}{{ y }}{{ inner }}|{% set ns = namespace() %}{% set ns.t %}body{% endset %}{{ ns.t }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% set n = 5 %}{{ n }}{% endwith %}{{ a }}{{ n }}{% with a = 1, b = a %}[{{ b }}]{% endwith %}{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}{% with (p, q) = (1, 2) %}{{ p }}{{ q }}{% endwith %}
{% filter upper %}abc {{ s }}{% set fb = 1 %}{% endfilter %}{{ fb }}{% filter replace('a', 'b')|upper %}xaa{% endfilter %}{% filter indent(2, first=true) %}a
b{% endfilter %}
{% for i in [1, 2, 3] %}{% if loop.first %}{% set v = i %}{% endif %}[{{ v }}]{% endfor %}{{ v }}|{% for i in [1, 2] %}{% set w = w ~ i %}{{ w }}{% endfor %}|{% for i in [1] %}{% if false %}{% set s = 2 %}{% endif %}{{ s }}{% endfor %}
{% generation %}gen {{ n }}{% set g = 1 %}{% endgeneration %}{{ g }}|{% autoescape false %}<{% set ae = 1 %}{% endautoescape %}{{ ae }}|{% print 1, 'a', n %}
{% set range = 5 %}{{ range }}{% set true_ = 1 %}{{ true_ }}{% set _p = 3 %}{{ _p }}{% set ns = namespace(_h=1) %}{{ ns._h }}|
{% set x.y = 1 %}
{% set nope.y = 1 %}
{% set d.y = 1 %}
{% set a, b = 1 %}
{% set a, b = [1, 2, 3] %}
{% set true = 1 %}
{% set 'a' = 1 %}
{% set a | default(zzz) %}b{% endset %}
""",
    "macros": r"""
{% macro m(a, b=2, c='x') %}[{{ a }},{{ b }},{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c=5) }}{{ m(b=1, a=2) }}{{ m() }}{{ m(none) }}{{ m }}{{ m.name }}{{ m.arguments }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{% macro v(a) %}{{ a }}|{{ varargs }}|{{ kwargs }}{% endmacro %}{{ v(1, 2, 3, x=4) }}{{ v() }}{% macro q(a=b, b=1) %}{{ a }}{{ b }}{% endmacro %}{{ q() }}
{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in {{ n }}{% endcall %}{% macro l2(xs) %}{% for x in xs %}{{ caller(x, loop.index) }};{% endfor %}{% endmacro %}{% call(v, i=0) l2([5, 6]) %}{{ i }}:{{ v }}{% endcall %}
{% macro fact(n) %}{% if n < 2 %}1{% else %}{{ n * fact(n - 1)|int }}{% endif %}{% endmacro %}{{ fact(10) }}{% macro tree(d) %}({% for k, v in d.items() %}{{ k }}{% if v is mapping %}{{ tree(v) }}{% endif %}{% endfor %}){% endmacro %}{{ tree(deep) }}
{% macro m(a) %}{% set a = a + 1 %}{{ a }}{% endmacro %}{% set a = 5 %}{{ m(1) }}{{ a }}{% macro g() %}{{ n }}{{ undefd }}{% endmacro %}{{ g() }}{% set out = m(3) %}{{ out|int + 1 }}{{ m(1) is string }}
{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(*[1], **{'b': 2}) }}{{ m(*(1,), b=3) }}{% macro c(caller=none) %}{{ caller is none }}{% endmacro %}{{ c() }}
{% macro m(x) %}{{ x is defined }}{{ x }}{% endmacro %}{{ m() }}{{ m(nope) }}{% macro e() %}{% endmacro %}[{{ e() }}]{% macro k(kw) %}{{ kwargs }}{% endmacro %}{{ k(kw=1, z=2) }}{% for i in [1, 2] %}{% macro lm() %}{{ i }}{% endmacro %}{{ lm() }}{% endfor %}
{% macro outer() %}{% macro inner_() %}I{{ n }}{% endmacro %}{{ inner_() }}{% endmacro %}{{ outer() }}{{ inner_ is defined }}
{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}
{% call m2() %}x{% endcall %}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro m(a, a) %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% macro r() %}{{ r() }}{% endmacro %}{{ r() }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(a=1, a=2) }}
{{ m() }}{% macro m() %}{% endmacro %}
{% call s %}{% endcall %}
{% macro m() %}{{ caller(1) }}{% endmacro %}{% call m() %}x{% endcall %}
""",
    "whitespace": "\n".join([
        r"a{% if true %}b{% endif %}c", "L1\\n  {% if true %}\\n  in\\n  {% endif %}\\nout\\n", "a\\n\\n", "a\\n", "\\n", "a {{- 1 -}} b", "a {{ 1 -}}\\n\\n b",
        "  {%- if true -%}  x  {%- endif -%}  y", "x\\n  {%+ if true %}y{% endif %}", "x\\n  {% if true +%}\\ny{% endif %}", "{# c #}\\nx", "  {# c #}\\nx",
        "x  {#- c -#}  y", "x{#+ c +#}\\ny", "a\\r\\nb\\rc{% if true %}\\r\\nd{% endif %}", "  {{ 1 }}\\n  {{ 2 }}", "{% raw %}{{ x }}{% if %}{% endraw %}y",
        "a\\n  {% raw %}\\n  b\\n  {% endraw %}\\nc", "a {%- raw -%} b {%- endraw -%} c", "{% raw %}unclosed", "{% raw %}", "{# unclosed", "{#", "{{ '}}' }}{{ {'a': {}} }}{{ {'a':{'b':1}}}}",
        "{% if true %}\\n\\nx{% endif %}", "\\t {% if true %}x{% endif %}", "a\\n\\x0b {% if true %}x{% endif %}", "a\\u00a0{%- if true %}x{% endif %}", "{{ 1 }}\\n{{ 2 }}\\n",
        "{%if true%}x{%endif%}", "{%- for i in [1,2] %}\\n{{ i }}\\n{%- endfor %}\\n", "{% for i in [1,2] -%}\\n {{ i }}\\n{% endfor %}", "x{%\\nif true\\n%}y{%endif%}", "{{\\n1\\n}}",
        "{{ 1 }", "{% if true %}", "{% endif %}", "{{ 1 + }}", "{{ }}", "{{ ( }}", "{{ ) }}", "{{ [1 }}", "{{ 'a }}", "{{ a b }}", "{{ 1 $ 2 }}", "{% nope %}", "{% if %}{% endif %}",
        "{% for %}{% endfor %}", "{% for i on l %}{% endfor %}", "{% set %}", "{% macro %}{% endmacro %}", "{% else %}", "{% if true %}{% endfor %}", "{% %}", "{{ a.'b' }}", "{{ f(a=1, 2) }}",
        "{{ f(**d, *l) }}", "{{ x is }}", "{{ x| }}", "{{ x is defined is defined }}", "{{ {1} }}", "{{ 'a' 'b' 1 }}", "{{ not }}", "{{ 1 if }}", "{{ 1 not 2 }}", "{{ a.1.2 }}", "{{ ~1 }}", "{{ l[] }}|",
        "{{ \"\\\\N{DIGIT ONE}\" }}" if False else "{{ 1 }}", "{{ \"\\\\x4\" }}", "{%- set a = 1 -%}\\n\\n{{- a }}", "a{% endraw %}", "{% if true: %}x{% endif %}", "{{ \"a\\nb\" }}", "é{{ 'ü' }}日{# 本 #}",
        "{{ été }}|{{ наме is defined }}", "{{ 1² }}", "<|im_start|>{{ '<|im_end|>' }}{", "{", "}}", "%}", "{ { x } }", "a{", "{%", "{{",
    ]),
    "rare": r"""
{% macro m(a, caller=none) %}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m.caller }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.explicit_caller }} {{ m.nope }}|{{ m.arguments }}
{{ range(2, 9, 3).start }} {{ range(2, 9, 3).stop }} {{ range(2, 9, 3).step }} {{ range(2, 9, 3).index(5) }} {{ range(5).count(3) }} {{ range(3) == range(3) }} {{ range(0) == range(1, 1) }} {{ range(0, 3, 2) == range(0, 4, 2) }} {{ range(3) == [0, 1, 2] }}
{% set j = joiner('-') %}{{ j.sep }}{{ j.used }}{{ j() }}{{ j.used }} {{ s|map('upper')|attr('nope') }}| {{ d.keys().nope }}|{{ 'a'|e|attr('striptags') is defined }} {{ ('<b>x</b> &amp;'|safe).striptags() }} {{ ('&lt;&#65;&#x42;'|safe).unescape() }} {{ {'k': 1}[((1, 2), 3)] }}|
{{ '5'.zfill(1) }} {{ 'abcb'.rindex('b') }} {{ 'abc'.count('b', 5) }} {{ 'a1_'.isidentifier() }} {{ '1a'.isidentifier() }} {{ 'AbC'.istitle() }} {{ 'Ab Cd'.istitle() }} {{ n.bit_count() }} {{ n.conjugate() }} {{ f.conjugate() }} {{ n.as_integer_ratio() }} {{ 'é'.isidentifier() }}
{{ '{:.3}|{:.2}|{:.1}|{:.4}|{:5.3}|{:.3}'.format(123.0, 123.0, 100.0, 1e10, 1e-5, 1e3) }} {{ '{:e}|{:f}|{:%}|{:.2f}'.format(3, 4, 5, 6) }} {{ '{:=5c}|{:<3c}'.format(65, 66) }} {{ '{:>8}|{:08}'.format(1.5, -1.5) }} {{ '{:F}|{:G}|{:e}|{:5}'.format(big * 10, big * 10 - big * 10, -big * 10, big * 10) }}
{{ '%5.1f|%F|%G|%e|%05f' % (big * 10, big * 10 - big * 10, big * 10, -big * 10, big * 10) }} {{ '%*d|' % (-5, 3) }} {{ '%ld %hd %Lf' % (1, 2, 3.0) }} {{ '%d' % -5 }} {{ '%s' % (nope,) }} {{ '%(a)s %(a)s' % d }} {{ '%(a(b))s' % {'a(b)': 1} }}
{% set x2 = dict([(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), ('a', 11), (none, 12), (1.5, 13), (2.0, 14), (true, 15), ((1, 'x'), 16)]) %}{{ x2 }}{{ x2[2] }}{{ x2[1] }}{{ x2[(1, 'x')] }}{{ x2['zz'] }}{{ x2|length }}{{ x2 == x2.copy() }}{{ {1: 1} == {1: 2} }}
{{ dict([['a', 1]]).items() == dict([['a', 1]]).values() }} {{ 'a' in d.keys() }} {{ ('a', 1) in d.items() }} {{ 1 is sameas 1 }} {{ 2.5 is sameas 2.5 }} {{ 'ab' is sameas 'ab' }} {{ () is sameas () }} {{ s.upper == s.upper }} {{ 1.5 < 2.5 }} {{ 1 <= 1.0 }} {{ 'a' <= 'b' }} {{ range is sameas range }}
{{ 1 ~ 2 ~ 3 ~ 4 ~ 5 ~ 6 ~ 7 ~ 8 ~ 9 ~ 10 ~ none ~ 1.5 }} {{ 1 ** 99999999999 }} {{ (-1) ** 99999999999 }} {{ (-1) ** 2 }} {{ 0 ** 0 }} {{ 0 ** 5 }} {{ 5.5 - 2 }} {{ range(2, n)|list }} {{ 1e308|round(-308) }} {{ 5e-320|round(3) }} {{ 4|round(-30) }} {{ 3.7|round(-400) }} {{ 2.5|round(400) }}
{{ 'em--dash words--here, self-made e-mail a-b -x- it\'s'|wordwrap(6) }}|{{ 'aaa-bbb-ccc'|wordwrap(5) }}|{{ '--- ----x'|wordwrap(3) }}|{{ '   lead  trail   '|wordwrap(5) }}|{{ 'x'|wordwrap }}|{{ 'aé-bç dé'|wordwrap(3) }}
{{ m2 is defined }}{% macro m2(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m2(1, *[2, 3]) }}{{ m2(*[1], *{'b': 2}) if false else 'x' }}
{{ m3(1, *[2], **{'c': 3}) }}{% macro m3(a) %}{% endmacro %}
{% macro m4(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m4(1, *[2]) }}{{ m4(b=2, **{'a': 1}) }}{% for i in [1, 2] %}{% if loop %}{{ loop.changed(1, 2) }}{% endif %}{% endfor %}
{{ strftime_now('%-I:%M%p %C %G-W%V %u %w %D %T %R %n%t|%h %e %k %l') }} {{ strftime_now('100%') }} {{ strftime_now('%E') }}
{{ {'b': 1, 'a': 2, 3: 4, none: 5, 1.5: 6, (1, 2): 7}|pprint }} {{ {nope: 1}|pprint }}
{{ {nope: 1, 'a': 2}|pprint }}
{{ 'a'|indent(width=nope) }}
{{ 5|indent }}
{{ 'abc'|truncate(2) }}
{{ nope|wordwrap }}
{{ 'x'|wordwrap(0) }}
{{ '%s'|format(1, a=2) }}
{{ [(1, 2, 3)]|urlencode }}
{{ 5|xmlattr }}
{{ 'a'|abs }}
{{ nope|float }}
{{ 'x'|filesizeformat }}
{{ nope|filesizeformat }}
{{ (big * 10)|filesizeformat }} {{ (big * 10 - big * 10)|filesizeformat }} {{ big|filesizeformat }}
{{ (big * 10)|round(1, 'ceil') }}
{{ (big * 10)|round(1) }} {{ (big * 10)|int(3) }}
{{ '%(a' % d }}
{{ '%(a)s' % nope }}
{{ '%*d' % ('a', 1) }}
{{ '%.*f' % (2, 1.555) }}
{{ '%d' % nope }}
{{ '%f' % nope }}
{{ '%f' % 'a' }}
{{ '{:,_}'.format(1) }}
{{ '{:,,}'.format(1) }}
{{ '{:.}'.format(1.0) }}
{{ '{:5dd}'.format(1) }}
{{ '{:,x}'.format(1) }}
{{ '{:s}'.format(1.5) }}
{{ '{:s}'.format(1) }}
{{ '{:+c}'.format(1) }}
{{ '{0[a}'.format(d) }}
{{ '{0[a]b}'.format(d) }}
{{ '{a{b}}'.format(1) }}
{{ '{a'.format(1) }}
{{ '{a!'.format(1) }}
{{ '{0!r}'.format(1) }}{{ '{0!rx}'.format(1) }}
{{ '{0:{'.format(1) }}
{{ '{:{:{}}}'.format(1, 2, 3) }}
{{ ('{:5}'|safe).format('a'|safe) }}
{{ 'a'.startswith(('a', 1), 5) }}{{ 'a'.startswith((1, 'a')) }}
{{ '{x}'.format_map(5) }}
{{ l.index(99) }}
{{ range(3).index(9) }}
{% for i in l %}{{ loop.changed(a=1) }}{% endfor %}
{{ m(**5) }}
{% macro m(a) %}{% endmacro %}{{ m(**{1: 2}) }}
{{ 'a,b'.split(',', sep=',') }}
{% set j = joiner() %}{{ j(1) }}
{{ 0.0 ** -1 }}
{{ -nope }}
{{ l[::'a'] }}
{{ 1 < nope }}
{{ dict(1, 2) }}
{{ dict(nope) }}
{{ dict([(1, 2, 3)]) }}
{{ [nope.x] }}
{{ l[nope] }}|{{ l[9][0] }}
{{ [{}, 1][0][1].x }}
{{ {}[1][2] }}
""",
    "globals": r"""
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.pos }}{{ c.reset() }}{{ c.items }}{{ c.next() }}|{% set j = joiner() %}{{ j() }}a{{ j() }}b{{ j() }}{% set j2 = joiner('|') %}{{ j2() }}{{ j2() }}
{{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict({'a': 1}, b=2) }} {{ dict() }} {{ dict([[1, 2]]) }} {{ dict(**{'q': 1}) }} {{ range(3)|list }} {{ range(0)|list }} {{ range(2, 10, 3)|list }}
{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%A, %B %-d, %H:%M:%S') }} {{ strftime_now('%j %U %p %y %%') }} [{{ strftime_now('%Z%z') }}] {{ strftime_now('%f') }} {{ strftime_now('') }} {{ strftime_now('日 %Y') }}
{{ namespace({'a': 1}, b=2).b }} {{ namespace(a=1) == namespace(a=1) }} {{ namespace() is mapping }} {{ d.fromkeys(['a', 'b'], 0) }} {{ d.copy() == d }} {{ l.copy() }}
{{ raise_exception('stop here') }}
{{ raise_exception(1) }}
{{ raise_exception() }}
{% if false %}{{ raise_exception('x') }}{% endif %}fine
{{ range(1, 10, 0) }}
{{ range('a') }}
{{ range(1.5) }}
{{ range(1000000) }}
{{ cycler() }}
{{ dict(1) }}
{{ dict([1]) }}
{{ namespace(1) }}
{{ range() }}
{{ dict(a=1).pop('a') }}
""",
}

# (group, template, variables)
CHAT = [
    ("chatml", "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}", dict(M, add_generation_prompt=True)),
    ("llama2", "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}"
     "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
     "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
     "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
     "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
     "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}", dict(M, bos_token="<s>", eos_token="</s>")),
    ("roles must alternate", "{% for m in messages %}{% if m.role == 'user' and not loop.first %}{{ raise_exception('Only user first, got ' ~ m.role) }}{% endif %}{% endfor %}", M),
    ("tools", "{%- if tools %}\n{%- for tool in tools %}\n{{- '\\n' }}{{ tool | tojson(indent=4) }}\n{%- endfor %}\n{%- endif %}", T),
    ("namespace over messages", "{%- set ns = namespace(sys='', n=0) %}\n{%- for m in messages %}\n    {%- if m.role == 'system' %}\n        {%- set ns.sys = m.content %}\n"
     "    {%- else %}\n        {%- set ns.n = ns.n + 1 %}\n    {%- endif %}\n{%- endfor %}\n{{- ns.sys }}:{{ ns.n }}\n", M),
    ("reverse scan", "{%- set ns = namespace(last=-1) %}{%- for m in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
     "{%- if m.role == 'user' and ns.last == -1 %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }}", M),
    ("think split", "{%- set content = c %}{%- if '</think>' in content %}{%- set r = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
     "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}[{{ r }}][{{ content }}]", {"c": "<think>\nhm\n</think>\n\nok"}),
    ("content parts", "{%- macro text(c) %}{%- if c is string %}{{- c }}{%- elif c is iterable and c is not mapping %}{%- for p in c %}{%- if p.type == 'text' %}{{- p.text }}"
     "{%- elif p.type == 'image' %}{{- '<img>' }}{%- endif %}{%- endfor %}{%- endif %}{%- endmacro %}{{ text('a') }}|{{ text([{'type': 'text', 'text': 'b'}, {'type': 'image'}]) }}|{{ text(none) }}|{{ text({'a': 1}) }}", {}),
    ("arguments as string or dict", "{% for a in args %}{{ a if a is string else a | tojson }};{% endfor %}", {"args": ['{"x": 1}', {"x": "é"}]}),
    ("key order", "{{ d }}{{ d|tojson }}{% for k in d %}{{ k }}{% endfor %}", {"d": {"z": 1, "a": 2, "m": {"q": 1, "b": 2}}}),
    ("many keys", "{{ d|length }}{{ d.k17 }}{{ 'k3' in d }}{{ 'zz' in d }}{{ d|tojson }}", {"d": {f"k{i}": i for i in range(40)}}),
    ("json numbers", "{{ v }}{{ v|tojson }}", {"v": [1, 1.0, -0.0, 1e3, 1.5e-9, 9007199254740993, 1e16, 123456789012345680.0, 0.1]}),
    ("odd keys", "{{ d[''] }}{{ d['a b'] }}{{ d['é'] }}", {"d": {"": 1, "a b": 2, "é": 3}}),
    ("shadowed globals", "{{ range }}{{ dict }}{{ loop }}{{ caller }}", {"range": 1, "dict": 2, "loop": 3, "caller": 4}),
    ("variable named like a method", "{{ m.items is callable }}{{ m.keys is callable }}{{ m['items'] }}{{ m['keys'] is callable }}", {"m": {"items": 1}}),
]


def cases():
    for group, text in PLAIN.items():
        lines = text.strip("\n").split("\n")
        joined = []
        for line in lines:  # a line that leaves a tag open goes on in the next one
            if joined and (joined[-1].count("{%") > joined[-1].count("%}") or joined[-1].endswith("\\")
                           or joined[-1].count("{% for") + joined[-1].count("{%- for") > joined[-1].count("endfor")
                           or joined[-1].count("{% filter") > joined[-1].count("endfilter")) and group not in ("whitespace",):
                joined[-1] += "\n" + line
            else:
                joined.append(line)
        for i, t in enumerate(joined):
            if group == "whitespace":
                t = t.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t").replace("\\x0b", "\x0b") \
                     .replace("\\u00a0", "\u00a0").replace("\0", "\\")
            yield f"{group} {i + 1}", t, V if group != "whitespace" else {"l": [1], "d": {}}
    for name, t, v in CHAT:
        yield f"chat: {name}", t, v
