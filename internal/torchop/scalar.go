package torchop

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// Undecided is a condition on sizes that are not known before a run.
type Undecided string

// scalarOps are operators on values that are no tensors: numbers, texts, lists. They report whether they take the arguments;
// if not, the table of tensor operators is asked.
var scalarOps = map[string]func(b *Builder, a []any) (any, bool){
	"add":          addValues,
	"add_":         addValues,
	"sub":          integers(func(b *Builder, x, y Int) any { return x.Sub(y) }, func(x, y float64) float64 { return x - y }),
	"mul":          mulValues,
	"neg":          func(_ *Builder, a []any) (any, bool) { return negate(a) },
	"div":          divideNumbers,
	"truediv":      divideNumbers,
	"floordiv":     floorNumbers,
	"floor_divide": floorNumbers,
	"remainder":    remainderNumbers,
	"mod":          remainderNumbers,
	"pow":          powNumbers,
	"min":          integers(func(b *Builder, x, y Int) any { return b.sym.Min(x, y) }, math.Min),
	"max":          integers(func(b *Builder, x, y Int) any { return b.sym.Max(x, y) }, math.Max),
	"sym_min":      integers(func(b *Builder, x, y Int) any { return b.sym.Min(x, y) }, math.Min),
	"sym_max":      integers(func(b *Builder, x, y Int) any { return b.sym.Max(x, y) }, math.Max),
	"ceil":         rounded(math.Ceil),
	"floor":        rounded(math.Floor),
	"trunc":        rounded(math.Trunc),
	"round":        rounded(math.RoundToEven),
	"sqrt":         realNumber(math.Sqrt),
	"exp":          realNumber(math.Exp),
	"log":          realNumber(math.Log),
	"abs":          func(_ *Builder, a []any) (any, bool) { return absolute(a) },
	"eq":           compare(func(o int) bool { return o == 0 }, "=="),
	"ne":           compare(func(o int) bool { return o != 0 }, "!="),
	"lt":           compare(func(o int) bool { return o < 0 }, "<"),
	"le":           compare(func(o int) bool { return o <= 0 }, "<="),
	"gt":           compare(func(o int) bool { return o > 0 }, ">"),
	"ge":           compare(func(o int) bool { return o >= 0 }, ">="),
	"__is__":       func(_ *Builder, a []any) (any, bool) { return identical(a, false) },
	"__isnot__":    func(_ *Builder, a []any) (any, bool) { return identical(a, true) },
	"__not__":      func(_ *Builder, a []any) (any, bool) { return not(a) },
	"__and__":      bools(func(x, y bool) bool { return x && y }),
	"__or__":       bools(func(x, y bool) bool { return x || y }),
	"__xor__":      bools(func(x, y bool) bool { return x != y }),
	"len":          length,
	"append":       appendTo,
	"extend":       extend,
	"insert":       insertIn,
	"pop":          pop,
	"list":         copyList,
	"copy":         copyList,
	"__contains__": contains,
	"__getitem__":  getItem,
	"keys":         dictPart(func(d *Dict) []any { return slices.Clone(d.Keys) }),
	"values": dictPart(func(d *Dict) []any {
		var out []any
		for _, k := range d.Keys {
			v, _ := d.Get(k)
			out = append(out, v)
		}
		return out
	}),
	"items": dictPart(func(d *Dict) []any {
		var out []any
		for _, k := range d.Keys {
			v, _ := d.Get(k)
			out = append(out, Tuple{k, v})
		}
		return out
	}),
	"format":         func(_ *Builder, a []any) (any, bool) { return format(a) },
	"percentFormat":  func(_ *Builder, a []any) (any, bool) { return format(a) },
	"numel":          func(_ *Builder, a []any) (any, bool) { _, ok := a[0].(Int); return N(1), ok && len(a) == 1 },
	"slice":          sliceList,
	"sum":            sumList,
	"any":            ofList(func(v []bool) bool { return slices.Contains(v, true) }),
	"all":            ofList(func(v []bool) bool { return !slices.Contains(v, false) }),
	"__range_length": rangeLength,
	"find": func(_ *Builder, a []any) (any, bool) {
		s, ok1 := a[0].(string)
		sub, ok2 := a[min(1, len(a)-1)].(string)
		return N(strings.Index(s, sub)), ok1 && ok2
	},
	"__derive_index": func(_ *Builder, a []any) (any, bool) {
		n, ok := wholes(a, 3)
		if !ok {
			return nil, false
		}
		return n[1].Add(n[0].Mul(n[2])), true
	},
	"is_floating_point":         isFloating,
	"is_grad_enabled":           constantly(false),
	"is_autocast_enabled":       constantly(false),
	"get_fastpath_enabled":      constantly(true),
	"is_scripting":              constantly(true),
	"is_inference_mode_enabled": constantly(false),
	"isinstance":                func(*Builder, []any) (any, bool) { return nil, false },
}

// constantly is for questions about the machine.
func constantly(v any) func(*Builder, []any) (any, bool) {
	return func(_ *Builder, _ []any) (any, bool) { return v, true }
}

// scalar applies an operator on values that are no tensors.
func (b *Builder) scalar(name string, args []any, named []Arg) (any, bool) {
	base, _, _ := strings.Cut(name, ".")
	f := scalarOps[base]
	if f == nil || len(named) > 0 {
		return nil, false
	}
	if len(args) == 0 {
		if base == "is_grad_enabled" || strings.HasPrefix(base, "is_") || base == "get_fastpath_enabled" {
			return f(b, nil)
		}
		return nil, false
	}
	in := b.numbers(args)
	if in == nil {
		switch base { // lists of tensors are lists
		case "is_floating_point", "len", "append", "extend", "insert", "pop", "list", "copy", "__contains__", "__getitem__", "keys", "values", "items", "__is__", "__isnot__", "format", "percentFormat":
			in = args
		default:
			return nil, false
		}
	}
	if t, ok := in[0].(*Tensor); ok && base != "is_floating_point" && base != "__is__" && base != "__isnot__" && base != "format" && base != "percentFormat" {
		if base == "len" && len(b.Of(t).Type.Dims) > 0 {
			return b.sym.Size(b.Of(t), 0), true
		}
		return nil, false
	}
	return f(b, in)
}

// numbers returns arguments without tensors, nil if there are some. A constant of one whole number beside numbers is a number.
func (b *Builder) numbers(args []any) []any {
	out := slices.Clone(args)
	plain := false
	for _, v := range args {
		if _, ok := v.(Int); ok {
			plain = true
		}
	}
	for i, v := range args {
		t, ok := v.(*Tensor)
		if !ok {
			continue
		}
		ty := b.typeOf(t)
		if !plain || !ty.Ranked || len(ty.Dims) != 0 || category(ty.DType) != 1 {
			return nil
		}
		k, ok := constant(b.Of(t))
		if !ok {
			return nil
		}
		f, ok := number(k)
		if !ok {
			return nil
		}
		out[i] = N(int64(f))
	}
	return out
}

// real returns a number as a float.
func realOf(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case Int:
		k, ok := v.Const()
		return float64(k), ok
	}
	return 0, false
}

// whole returns a number that is no float.
func whole(v any) (Int, bool) {
	switch v := v.(type) {
	case Int:
		return v, true
	case bool:
		if v {
			return N(1), true
		}
		return N(0), true
	}
	return Int{}, false
}

func integers(f func(b *Builder, x, y Int) any, g func(x, y float64) float64) func(*Builder, []any) (any, bool) {
	return func(b *Builder, a []any) (any, bool) {
		if len(a) == 1 {
			if items, ok := Items(a[0]); ok && len(items) > 0 { // the least or largest of a list
				v := items[0]
				for _, w := range items[1:] {
					r, ok := integers(f, g)(b, []any{v, w})
					if !ok {
						return nil, false
					}
					v = r
				}
				return v, true
			}
			return nil, false
		}
		if len(a) != 2 && !(len(a) == 3 && isOne(a[2])) {
			return nil, false
		}
		if x, ok := whole(a[0]); ok {
			if y, ok := whole(a[1]); ok {
				return f(b, x, y), true
			}
		}
		x, ok1 := realOf(a[0])
		y, ok2 := realOf(a[1])
		return g(x, y), ok1 && ok2
	}
}

func isOne(v any) bool {
	n, ok := v.(Int)
	return ok && n.Is(1)
}

func addValues(b *Builder, a []any) (any, bool) {
	if len(a) >= 2 {
		if s, ok := a[0].(string); ok {
			t, ok := a[1].(string)
			return s + t, ok && len(s)+len(t) < 1<<20
		}
		if l, ok := Items(a[0]); ok {
			m, ok := Items(a[1])
			if !ok || len(l)+len(m) > maxList {
				return nil, false
			}
			return &List{slices.Concat(l, m)}, true
		}
	}
	return integers(func(_ *Builder, x, y Int) any { return x.Add(y) }, func(x, y float64) float64 { return x + y })(b, a)
}

func mulValues(b *Builder, a []any) (any, bool) {
	if len(a) == 2 {
		if l, ok := a[0].(*List); ok {
			n, ok := a[1].(Int)
			k, known := n.Const()
			if !ok || !known || k < 0 || k*int64(len(l.Items)) > maxList || k > maxList {
				return nil, false
			}
			return &List{slices.Repeat(l.Items, int(k))}, true
		}
	}
	return integers(func(_ *Builder, x, y Int) any { return x.Mul(y) }, func(x, y float64) float64 { return x * y })(b, a)
}

func negate(a []any) (any, bool) {
	if n, ok := whole(a[0]); ok {
		return n.Mul(N(-1)), true
	}
	f, ok := realOf(a[0])
	return -f, ok
}

func absolute(a []any) (any, bool) {
	if n, ok := whole(a[0]); ok {
		k, ok := n.Const()
		if k < 0 {
			k = -k
		}
		return N(k), ok
	}
	f, ok := realOf(a[0])
	return math.Abs(f), ok
}

func divideNumbers(b *Builder, a []any) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	if x, ok := a[0].(Int); ok {
		if y, ok := a[1].(Int); ok {
			if _, ok := x.Const(); !ok {
				if q, ok := x.over(y); ok { // a whole quotient of sizes
					if k, ok := q.Const(); ok {
						return float64(k), true
					}
				}
			}
		}
	}
	x, ok1 := realOf(a[0])
	y, ok2 := realOf(a[1])
	return x / y, ok1 && ok2 && y != 0
}

func floorNumbers(b *Builder, a []any) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	x, ok1 := whole(a[0])
	y, ok2 := whole(a[1])
	if ok1 && ok2 && !y.Is(0) {
		return b.sym.FloorDiv(x, y), true
	}
	f, ok1 := realOf(a[0])
	g, ok2 := realOf(a[1])
	return math.Floor(f / g), ok1 && ok2 && g != 0
}

func remainderNumbers(b *Builder, a []any) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	x, ok1 := whole(a[0])
	y, ok2 := whole(a[1])
	if ok1 && ok2 && !y.Is(0) {
		return b.sym.Mod(x, y), true
	}
	f, ok1 := realOf(a[0])
	g, ok2 := realOf(a[1])
	return f - math.Floor(f/g)*g, ok1 && ok2 && g != 0
}

func powNumbers(_ *Builder, a []any) (any, bool) {
	if len(a) != 2 {
		return nil, false
	}
	x, ok1 := whole(a[0])
	y, ok2 := whole(a[1])
	if k, ok := y.Const(); ok1 && ok2 && ok && k >= 0 && k <= 64 {
		p := N(1)
		for range k {
			p = p.Mul(x)
		}
		return p, true
	}
	f, ok1 := realOf(a[0])
	g, ok2 := realOf(a[1])
	return math.Pow(f, g), ok1 && ok2
}

// rounded gives a whole number.
func rounded(f func(float64) float64) func(*Builder, []any) (any, bool) {
	return func(_ *Builder, a []any) (any, bool) {
		if n, ok := a[0].(Int); ok {
			return n, true
		}
		x, ok := realOf(a[0])
		y := f(x)
		if !ok || math.Abs(y) >= 1<<62 {
			return nil, false
		}
		return N(int64(y)), true
	}
}

func realNumber(f func(float64) float64) func(*Builder, []any) (any, bool) {
	return func(_ *Builder, a []any) (any, bool) {
		x, ok := realOf(a[0])
		return f(x), ok
	}
}

// format is the text of a message; what stands for values in it is not needed.
func format(a []any) (any, bool) {
	s, ok := a[0].(string)
	for _, v := range a[1:] {
		part := TypeName(v)
		switch v.(type) {
		case Int, float64, bool, string:
			part = fmt.Sprint(v)
		}
		if i := strings.Index(s, "{}"); i >= 0 && len(s) < 1<<12 {
			s = s[:i] + part + s[i+2:]
		}
	}
	return s, ok
}

// wholes returns arguments that are so many whole numbers.
func wholes(a []any, n int) ([]Int, bool) {
	out := make([]Int, len(a))
	for i, v := range a {
		k, ok := whole(v)
		if !ok {
			return nil, false
		}
		out[i] = k
	}
	return out, len(a) == n
}

func isFloating(b *Builder, a []any) (any, bool) {
	t, ok := a[0].(*Tensor)
	if !ok {
		return nil, false
	}
	d := b.typeOf(t).DType
	return category(d) == 2, d != tensor.Invalid
}
