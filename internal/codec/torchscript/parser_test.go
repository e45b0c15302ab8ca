package torchscript

import (
	"fmt"
	"strings"
	"testing"
)

const source = `class Net(Module):
  __parameters__ = ["weight", ]
  __buffers__ = []
  weight : Tensor
  training : bool
  stride : Final[Tuple[int, int]] = (2, 2)
  __annotations__["0"] = __torch__.torch.nn.modules.linear.___torch_mangle_1.Linear
  def forward(self: __torch__.net.Net,
    x: Tensor,
    scale: Optional[float]=None) -> Tuple[Tensor, int]:
    _0 = getattr(self, "0")
    a, b, = (_0).forward(x, )
    c, = torch.split(a, [1, -2], dim=-1)
    self.weight = b
    if torch.__is__(scale, None):
      k = -9223372036854775808
    elif True:
      k = annotate(List[int], [])
    else:
      pass
    for i in range(torch.len(x)):
      y = x[i:, 0:1:2][...]
    while bool(k):
      ops.prim.RaiseException("\x41\n'", "E")
    with ctx as c:
      z = {"a": 1., "b": -inf}
    # a comment
    w = a if not b and c is not None or d not in e else -(x ** 2) % 3 // 4 @ b
    return (y, 3)

def free(x: Tensor,
    *,
    k: int=3):
  return None
class P(NamedTuple):
  logits : Tensor
class Color(Enum):
  RED = 1
`

func TestParse(t *testing.T) {
	f, err := Parse("net.py", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Classes) != 3 || len(f.Funcs) != 1 {
		t.Fatalf("%d classes and %d functions", len(f.Classes), len(f.Funcs))
	}
	c := f.Classes[0]
	if c.Base != "Module" || c.Field("stride").Value.String() != "(2, 2)" || c.Field("0").Type.String() != "__torch__.torch.nn.modules.linear.___torch_mangle_1.Linear" || c.Field("weight").Type.String() != "Tensor" {
		t.Errorf("class %+v", c)
	}
	if f.Classes[1].Base != "NamedTuple" || f.Classes[2].Field("RED").Value.String() != "1" {
		t.Errorf("classes %+v and %+v", f.Classes[1], f.Classes[2])
	}
	m := c.Method("forward")
	if m == nil || len(m.Params) != 3 || m.Params[2].Default.String() != "None" || m.Result.String() != "Tuple[Tensor, int]" {
		t.Fatalf("method %+v", m)
	}
	got := describe(m.Body, "")
	const expected = `11: _0 = getattr(self, "0")
12: a, b <- _0.forward(x)
13: c <- torch.split(a, [1, -2], dim=-1)
14: self.weight = b
15: if torch.__is__(scale, None)
 16: k = -9223372036854775808
else
 17: if True
  18: k = annotate(List[int], [])
 else
  20: pass
21: for i in range(torch.len(x))
 22: y = x[i:, 0:1:2][...]
23: while bool(k)
 24: ops.prim.RaiseException("A\n'", "E")
25: with ctx
 26: z = {"a": 1, "b": -Inf}
28: w = (a if ((not b and (c is not None)) or (d not in e)) else (((-(x ** 2) % 3) // 4) @ b))
29: return (y, 3)
`
	if got != expected {
		t.Errorf("got\n%s\nwant\n%s", got, expected)
	}
}

func describe(list []Stmt, in string) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s%d: ", in, s.Pos())
		switch s := s.(type) {
		case *Assign:
			sign := " = "
			if s.Unpack {
				sign = " <- "
			}
			fmt.Fprintln(&b, join(s.Targets)+sign+s.Value.String())
		case *Return:
			fmt.Fprintln(&b, "return", s.Value)
		case *If:
			fmt.Fprintln(&b, "if", s.Cond)
			b.WriteString(describe(s.Then, in+" "))
			if len(s.Else) > 0 {
				b.WriteString(in + "else\n" + describe(s.Else, in+" "))
			}
		case *For:
			fmt.Fprintln(&b, "for", join(s.Targets), "in", s.Seq)
			b.WriteString(describe(s.Body, in+" "))
		case *While:
			fmt.Fprintln(&b, "while", s.Cond)
			b.WriteString(describe(s.Body, in+" "))
		case *With:
			fmt.Fprintln(&b, "with", s.Context)
			b.WriteString(describe(s.Body, in+" "))
		case *ExprStmt:
			fmt.Fprintln(&b, s.X)
		case *Pass:
			fmt.Fprintln(&b, s.Keyword)
		default:
			fmt.Fprintf(&b, "%T\n", s)
		}
	}
	return b.String()
}

func TestParseErrors(t *testing.T) {
	const head = "def f(x):\n"
	for _, c := range []struct{ src, want string }{
		{"x = 1", `t.py:1: found "x"; want a class or a function`},
		{"def f(x) return x", `t.py:1: found "return"; want ":"`},
		{"def f(x, x):\n  pass", "t.py:1: function f has two parameters named x"},
		{head + "return x", `t.py:2: found "return"; want an indented line`},
		{head + "  y = (x", "t.py:2: the file ends within brackets"},
		{head + "  y = x)", "t.py:2: ')' closes nothing"},
		{head + "  y = \"abc\n", "t.py:2: a string without its end"},
		{head + "  y = \"\\x4", "t.py:2: a string without its end"},
		{head + "  y = \"\\U00110000\"", `t.py:2: "\\U00110000" is no character`},
		{head + "  y = 12ab", `t.py:2: "12ab" is not a number`},
		{head + "  y = $", "t.py:2: unexpected character '$'"},
		{head + "  y = f\"{x}\"", "t.py:2: an f-string; torch.jit.save does not write any"},
		{head + "  f(x) = 1", "t.py:2: f(x) cannot be assigned to"},
		{head + "  y = g(a=1, 2)", "t.py:2: an argument without a name after one with a name"},
		{head + "  y = a < b < c", "t.py:2: a chain of comparisons; torch.jit.save does not write any"},
		{head + "  y = x[]", `t.py:2: found "]"; want an index`},
		{head + "  y = lambda x", `t.py:2: found "lambda"; want a name`},
		{head + "    y = 1\n   z = 2", "t.py:3: indentation of 3 columns fits no block"},
		{head + "  y = " + strings.Repeat("(", 300), "t.py:2: more than 200 "},
		{head + "  y = " + strings.Repeat("-", 300) + "x", `t.py:2: found "-"; want fewer signs`},
		{head + "  y = " + strings.Repeat("not ", 300) + "x", `t.py:2: found "not"; want fewer negations`},
		{head + "  y = x" + strings.Repeat("+x", 300), `t.py:2: found "x"; want at most 200 operators in a row`},
		{head + "  y = x" + strings.Repeat(".x", 300), `t.py:2: found "."; want at most 200 calls and attributes in a row`},
		{head + "  y = x" + strings.Repeat("**x", 300), "t.py:2: "},
		{"class C(Module):\n  f(x) = 1", `t.py:2: found f(x); want an attribute`},
	} {
		_, err := Parse("t.py", []byte(c.src))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.60q: got %v, want %s", c.src, err, c.want)
		}
	}
	deep := head
	for i := range 250 {
		deep += strings.Repeat(" ", i+1) + "if x:\n"
	}
	if _, err := Parse("t.py", []byte(deep)); err == nil || !strings.Contains(err.Error(), "in one another") && !strings.Contains(err.Error(), "accepted are") {
		t.Errorf("deep blocks: got %v", err)
	}
}

// FuzzParse checks that no input makes the parser panic, hang or nest without bound, and that what it accepts can be spelled out.
func FuzzParse(f *testing.F) {
	f.Add([]byte(source))
	f.Add([]byte("def f(x: Tensor) -> Tensor:\n  return torch.add(x, CONSTANTS.c0, alpha=1)\n"))
	f.Add([]byte("op_version_set = 1\nclass A(Module):\n  x : List[int]\n  def g(self):\n    return 0x1F + 1e-5 + 2j\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		file, err := Parse("f.py", src)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.py:") {
				t.Fatalf("an error without its place: %v", err)
			}
			return
		}
		for _, c := range file.Classes {
			for _, m := range c.Methods {
				describe(m.Body, "")
			}
		}
		for _, fn := range file.Funcs {
			describe(fn.Body, "")
		}
	})
}
