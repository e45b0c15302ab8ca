package jinja

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// What jinja2 3.1.6 renders with trim_blocks and lstrip_blocks; interop/check_chat.py compares the same templates with it.
var renderings = []struct{ template, want string }{
	{"a{{ 1 }}b", "a1b"},
	{"  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"},
	{"a {%- if true -%} b {%- endif %} c", "ab c"},
	{"a\n  {%+ if true %}\nb{% endif +%}\nc", "a\n  b\nc"},
	{"{# c #}\nx{#- d -#}\n y", "xy"},
	{"{% raw %}{{ x }}{% endraw %}", "{{ x }}"},
	{"{% for i in range(3) %}{{ loop.index }}{{ ',' if not loop.last }}{% endfor %}", "1,2,3"},
	{"{% for i in [] %}x{% else %}none{% endfor %}", "none"},
	{"{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;b=2;"},
	{"{% for i in range(9) if i is odd %}{% if i == 5 %}{% continue %}{% endif %}{% if i == 7 %}{% break %}{% endif %}{{ i }}{% endfor %}", "13"},
	{"{% set x = 1 %}{% for i in range(2) %}{% set x = x + 1 %}{% endfor %}{{ x }}", "1"},
	{"{% set ns = namespace(n=0) %}{% for i in range(4) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"},
	{"{% set t %}a{{ 1 }}{% endset %}{{ t|upper }}", "A1"},
	{"{% set a, b = 1, 2 %}{{ b }}{{ a }}", "21"},
	{"{% macro m(a, b='x') %}<{{ a }}{{ b }}>{% endmacro %}{{ m(1) }}{{ m(b=2, a=3) }}{{ m(*[4, 5]) }}{{ m(**{'a': 6}) }}", "<1x><32><45><6x>"},
	{"{% macro m() %}[{{ caller('y') }}]{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "[y]"},
	{"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 1 ~ 'a' }} {{ 'ab' * 2 }} {{ 1e16 }} {{ 0.1 + 0.2 }}", "3 -4 2 3.5 1024 1a abab 1e+16 0.30000000000000004"},
	{"{{ [1, 'a', none, true, 1.0, {'k': (1,)}] }}", "[1, 'a', None, True, 1.0, {'k': (1,)}]"},
	{"{{ \"it's\" }} {{ ['it\\'s', '\"', '\\n\\u00e9'] }}", "it's [\"it's\", '\"', '\\né']"},
	{"{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ [1,2,3][-1] }}{{ [1,2,3][:-1] }}{{ 'é日'[1] }}", "bccba3[1, 2]日"},
	{"{{ x is defined }} {{ x.y is defined if x is defined else 'no' }} {{ x }} {{ x or 'd' }} {{ x|default('e') }}", "False no  d e"},
	{"{{ 'a' in 'abc' }} {{ 2 not in [1] }} {{ 'k' in {'k': 1} }} {{ 1 < 2 <= 2 }} {{ not 1 == 2 }}", "True True True True True"},
	{"{{ ' a '.strip() ~ '|' ~ 'xax'.strip('x') ~ '|' ~ 'a,b,c'.split(',', 1) ~ '|' ~ 'a-b'.replace('-', '+') }}", "a|a|['a', 'b,c']|a+b"},
	{"{{ 'x</think>y'.split('</think>')[-1].lstrip('\\n') }} {{ 'ab'.startswith(('x', 'a')) }} {{ 'hello world'.title() }}", "y True Hello World"},
	{"{{ {'b': 1, 'a': [true, none, 1.5, 'é\"<']}|tojson }}", `{"b": 1, "a": [true, null, 1.5, "é\"<"]}`},
	{"{{ {'a': [1, {}], 'b': []}|tojson(indent=2) }}", "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}"},
	{"{{ [{'r': 'u', 'n': 1}, {'r': 'a', 'n': 2}]|selectattr('r', 'equalto', 'u')|map(attribute='n')|list }}", "[1]"},
	{"{{ ['b', 'A', 'c']|sort|join('-') }} {{ [3, 1]|sum }} {{ 'a b'|length }} {{ '3'|int + 1 }} {{ [1, 1, 2]|unique|list }} {{ {'b': 1, 'a': 2}|dictsort }}", "A-b-c 4 3 4 [1, 2] [('a', 2), ('b', 1)]"},
	{"{{ 'a\\nb'|indent(2) }}|{{ ' x '|trim }}|{{ [1, 2]|first }}{{ [1, 2]|last }}|{{ none|string }}|{{ dict(b=1, a=2) }}", "a\n  b|x|12|None|{'b': 1, 'a': 2}"},
	{"{{ 1 if false }}{{ 'a' if 1 is number and 'x' is string else 'b' }}{{ {} is mapping }}{{ [] is iterable }}{{ none is none }}", "aTrueTrueTrue"},
	{"{% generation %}x{% endgeneration %}", "x"},
}

func TestRender(t *testing.T) {
	for _, c := range renderings {
		tpl, err := Parse(c.template)
		if err != nil {
			t.Errorf("%s: %v", c.template, err)
			continue
		}
		if got, err := tpl.Render(nil); err != nil || got != c.want {
			t.Errorf("%s:\n got %q\nwant %q (%v)", c.template, got, c.want, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for template, want := range map[string]string{
		"{{ 1":                             "line 1: a tag has no end, }}",
		"a\n{% if x %}":                    "line 2: want elif or else or endif, got the end of the template",
		"{% include 'x' %}":                `line 1: the statement "include" is not supported; supported are break, call, continue, for`,
		"{{ 1|pprint }}":                   `line 1: the filter "pprint" is not supported; supported are abs`,
		"{{ 1 is prime }}":                 `line 1: the test "prime" is not supported; supported are boolean`,
		"\n{{ x.y.z }}":                    `line 2: "x" is undefined`,
		"{{ f(1) }}":                       `line 1: "f" is undefined`,
		"{{ 'a' + 1 }}":                    "line 1: a string + an integer is not possible",
		"{{ 1 // 0 }}":                     "line 1: division by zero",
		"{{ 9223372036854775807 + 1 }}":    "has more than 64 bits",
		"{{ range(1000000) }}":             "range: more than 100000 items",
		"{{ [].append(1) }}":               "values cannot be changed in a template",
		"{{ 'x' * 999999999999 }}":         "a string of more than",
		"{{ {}|tojson(indent='x', y=1) }}": "an argument it does not know, among indent, y",
		"{% break %}":                      "line 1: break stands outside a loop",
		"{% for i in 5 %}{% endfor %}":     "line 1: for: an integer cannot be gone through",
		"{% set x.y = 1 %}":                "x is no namespace",
		"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}":                                       "nested more than 200 deep",
		"{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}": "takes more than 5000000 steps",
		"{{" + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300) + "}}":                 "nested more than 200 deep",
	} {
		tpl, err := Parse(template)
		if err == nil {
			_, err = tpl.Render(nil)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s:\n got %v\nwant %q", template, err, want)
		}
	}
	tpl, err := Parse("{{ raise_exception('no system ' ~ 'role') }}")
	if err != nil {
		t.Fatal(err)
	}
	var raised *RaisedError
	if _, err := tpl.Render(nil); !errors.As(err, &raised) || raised.Message != "no system role" {
		t.Error(err)
	}
}

func TestStrftime(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if got, err := strftime(now, "%d %b %Y|%Y-%m-%d|%H:%M:%S|%-d|%%"); got != "04 Mar 2026|2026-03-04|05:06:07|4|%" || err != nil {
		t.Error(got, err)
	}
	if _, err := strftime(now, "%Q"); err == nil {
		t.Error("no error")
	}
}

func FuzzTemplate(f *testing.F) {
	for _, c := range renderings {
		f.Add(c.template)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if len(source) > 1<<12 {
			return
		}
		if tpl, err := Parse(source); err == nil {
			_, _ = tpl.Render(map[string]any{"messages": []any{map[string]any{"role": "user", "content": "x"}}})
		}
	})
}
