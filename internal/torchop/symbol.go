package torchop

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sort"
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
)

// Int is a whole number: a constant, or a sum of products of sizes that are known only at run time. Two that are equal as
// polynomials are equal; quotients and remainders that do not come out are symbols of their own.
type Int struct {
	c    int64
	sum  []term // sorted by name, no coefficient zero
	text string // of the sum; kept because it names symbols
}

// term is a coefficient times a product of symbols.
type term struct {
	coef  int64
	atoms []string // sorted
}

func (t term) name() string { return strings.Join(t.atoms, "*") }

// Bounds of sums and of products in them; a number beyond them is not known.
const (
	maxTerms = 32
	maxAtoms = 8
	maxText  = 400 // of the name of a symbol that stands for an operator
)

// unknowable is a number that is too long to be told.
const unknowable = "a size of too many parts"

// N returns a constant.
func N[T int | int64](v T) Int { return Int{c: int64(v)} }

// Const returns the number if it is known.
func (a Int) Const() (int64, bool) { return a.c, len(a.sum) == 0 }

// Is reports whether the number is known and v.
func (a Int) Is(v int64) bool { return len(a.sum) == 0 && a.c == v }

// Equal reports whether two numbers are certainly equal.
func (a Int) Equal(b Int) bool { return a.c == b.c && a.String() == b.String() }

// String returns a form such as "2*batch+1".
func (a Int) String() string {
	if len(a.sum) == 0 {
		return fmt.Sprint(a.c)
	}
	if a.text != "" {
		return a.text
	}
	var b strings.Builder
	for i, t := range a.sum {
		switch {
		case t.coef == 1 && i > 0:
			b.WriteByte('+')
		case t.coef == -1:
			b.WriteByte('-')
		case t.coef != 1:
			if t.coef > 0 && i > 0 {
				b.WriteByte('+')
			}
			fmt.Fprintf(&b, "%d*", t.coef)
		}
		b.WriteString(t.name())
	}
	if a.c != 0 {
		fmt.Fprintf(&b, "%+d", a.c)
	}
	return b.String()
}

// symbol returns the number that a name stands for.
func symbol(name string) Int { return Int{sum: []term{{1, []string{name}}}} }

// saturated arithmetic: ends of slices are the largest integer.
func addInt(a, b int64) int64 {
	s := a + b
	switch {
	case a > 0 && b > 0 && s < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && s >= 0:
		return math.MinInt64
	}
	return s
}

func mulInt(a, b int64) int64 {
	hi, lo := bits.Mul64(abs(a), abs(b))
	neg := (a < 0) != (b < 0)
	if hi != 0 || lo > math.MaxInt64 {
		if neg {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	if neg {
		return -int64(lo)
	}
	return int64(lo)
}

func abs(a int64) uint64 {
	if a < 0 {
		return uint64(-(a + 1)) + 1
	}
	return uint64(a)
}

// floorDiv rounds down, as Python does.
func floorDiv(a, b int64) int64 {
	if b == -1 {
		return mulInt(a, -1)
	}
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func normal(c int64, sum []term) Int {
	sort.SliceStable(sum, func(i, j int) bool { return sum[i].name() < sum[j].name() })
	var out []term
	for _, t := range sum {
		if n := len(out); n > 0 && slices.Equal(out[n-1].atoms, t.atoms) {
			out[n-1].coef = addInt(out[n-1].coef, t.coef)
		} else {
			out = append(out, t)
		}
	}
	out = slices.DeleteFunc(out, func(t term) bool { return t.coef == 0 })
	if len(out) > maxTerms || slices.ContainsFunc(out, func(t term) bool { return len(t.atoms) > maxAtoms }) {
		return symbol(unknowable)
	}
	a := Int{c: c, sum: out}
	a.text = a.String()
	if len(out) == 0 {
		a.text = ""
	}
	return a
}

// Add returns a + b.
func (a Int) Add(b Int) Int {
	if len(a.sum)+len(b.sum) == 0 {
		return Int{c: addInt(a.c, b.c)}
	}
	return normal(addInt(a.c, b.c), slices.Concat(a.sum, b.sum))
}

// Sub returns a - b.
func (a Int) Sub(b Int) Int { return a.Add(b.Mul(N(-1))) }

// Mul returns a * b.
func (a Int) Mul(b Int) Int {
	if len(a.sum)+len(b.sum) == 0 {
		return Int{c: mulInt(a.c, b.c)}
	}
	var sum []term
	for _, s := range a.sum {
		if b.c != 0 {
			sum = append(sum, term{mulInt(s.coef, b.c), s.atoms})
		}
		for _, t := range b.sum {
			atoms := slices.Concat(s.atoms, t.atoms)
			slices.Sort(atoms)
			sum = append(sum, term{mulInt(s.coef, t.coef), atoms})
		}
	}
	if a.c != 0 {
		for _, t := range b.sum {
			sum = append(sum, term{mulInt(a.c, t.coef), t.atoms})
		}
	}
	return normal(mulInt(a.c, b.c), sum)
}

// over divides exactly, or reports that it does not come out. b is a product: a constant, or one term.
func (a Int) over(b Int) (Int, bool) {
	div := term{coef: b.c}
	switch {
	case len(b.sum) == 1 && b.c == 0:
		div = b.sum[0]
	case len(b.sum) != 0:
		return Int{}, false
	}
	if div.coef == 0 || a.c%div.coef != 0 || a.c != 0 && len(div.atoms) > 0 {
		return Int{}, false
	}
	var sum []term
	for _, t := range a.sum {
		atoms := slices.Clone(t.atoms)
		for _, d := range div.atoms {
			i := slices.Index(atoms, d)
			if i < 0 {
				return Int{}, false
			}
			atoms = slices.Delete(atoms, i, i+1)
		}
		if t.coef%div.coef != 0 {
			return Int{}, false
		}
		sum = append(sum, term{t.coef / div.coef, atoms})
	}
	c := a.c / div.coef
	sum = slices.DeleteFunc(sum, func(t term) bool {
		if len(t.atoms) == 0 {
			c = addInt(c, t.coef)
		}
		return len(t.atoms) == 0
	})
	return normal(c, sum), true
}

// symbols are the symbols of a graph: what each stands for, and how it is computed.
type symbols struct {
	b      *aten.Builder
	source map[string]func() *graph.Value // computes a symbol as a vector of one
	nodes  map[string]*graph.Value        // by the text of an Int
	ints   map[string]Int                 // what the name of a dimension stands for
	fresh  int
}

func newSymbols(b *aten.Builder) *symbols {
	return &symbols{b: b, source: map[string]func() *graph.Value{}, nodes: map[string]*graph.Value{}, ints: map[string]Int{}}
}

// Symbol returns a new symbol of a name, or of one like it if that is taken. It is computed by f, as a vector of one.
func (s *symbols) Symbol(name string, f func() *graph.Value) Int {
	for name == "" || s.source[name] != nil {
		s.fresh++
		name = fmt.Sprint("d", s.fresh)
	}
	s.source[name] = f
	return symbol(name)
}

// compound returns the symbol that stands for an operator between two numbers.
func (s *symbols) compound(kind, text string, a, b Int) Int {
	if len(text) > maxText {
		return symbol(unknowable)
	}
	if s.source[text] == nil {
		s.source[text] = func() *graph.Value { return s.b.Node(kind, nil, s.Value(a), s.Value(b)) }
	}
	return symbol(text)
}

// FloorDiv returns a / b rounded down, as Python has it. b is not zero.
func (s *symbols) FloorDiv(a, b Int) Int {
	if q, ok := a.over(b); ok {
		return q
	}
	if b.Is(0) {
		return b
	}
	d, known := b.Const()
	if known && len(a.sum) == 0 {
		return N(floorDiv(a.c, d))
	}
	if known && d > 0 { // what is divisible comes out
		whole, rest := Int{c: floorDiv(a.c, d)}, Int{c: a.c - d*floorDiv(a.c, d)}
		for _, t := range a.sum {
			one := Int{sum: []term{t}}
			if q, ok := one.over(b); ok {
				whole = whole.Add(q)
			} else {
				rest = rest.Add(one)
			}
		}
		if len(rest.sum) == 0 {
			return whole
		}
		if len(rest.sum) < len(a.sum) || rest.c != a.c {
			return whole.Add(s.FloorDiv(rest, b))
		}
	}
	// ONNX divides toward zero: the same for sizes, which are not negative.
	return s.compound("Div", fmt.Sprintf("(%v)//(%v)", a, b), a, b)
}

// Mod returns the remainder with the sign of b, as Python has it. b is not zero.
func (s *symbols) Mod(a, b Int) Int {
	if _, ok := a.over(b); ok {
		return N(0)
	}
	if d, ok := b.Const(); ok && d != 0 {
		if len(a.sum) == 0 {
			return N(a.c - d*floorDiv(a.c, d))
		}
		rest := N(a.c - d*floorDiv(a.c, d))
		for _, t := range a.sum {
			if one := (Int{sum: []term{t}}); t.coef%d != 0 {
				rest = rest.Add(one)
			}
		}
		if len(rest.sum) == 0 {
			return rest
		}
		a = rest
	}
	return s.compound("Mod", fmt.Sprintf("Mod(%v,%v)", a, b), a, b)
}

// Max returns the larger of two.
func (s *symbols) Max(a, b Int) Int {
	if d, ok := a.Sub(b).Const(); ok {
		if d < 0 {
			return b
		}
		return a
	}
	return s.compound("Max", fmt.Sprintf("Max(%v,%v)", a, b), a, b)
}

// Min returns the smaller of two.
func (s *symbols) Min(a, b Int) Int {
	if d, ok := a.Sub(b).Const(); ok {
		if d > 0 {
			return b
		}
		return a
	}
	return s.compound("Min", fmt.Sprintf("Min(%v,%v)", a, b), a, b)
}

// Less compares two numbers if their difference is known, or if one is a size and the other less than two: sizes that are not
// known are taken for at least two, as torch.export takes them.
func (s *symbols) Less(a, b Int) (less, known bool) {
	d := a.Sub(b)
	if c, ok := d.Const(); ok {
		return c < 0, true
	}
	low, high := d.bounds()
	switch {
	case low >= 0:
		return false, true
	case high < 0:
		return true, true
	}
	return false, false
}

// bounds returns bounds of a number, taking every symbol for at least two.
func (a Int) bounds() (low, high int64) {
	low, high = a.c, a.c
	for _, t := range a.sum {
		least := int64(1)
		for range t.atoms {
			least = mulInt(least, 2)
		}
		if strings.ContainsAny(t.name(), "(-") { // may be zero
			least = 0
		}
		if t.coef > 0 {
			low, high = addInt(low, mulInt(t.coef, least)), math.MaxInt64
		} else {
			high, low = addInt(high, mulInt(t.coef, least)), math.MinInt64
		}
	}
	if low == math.MinInt64 {
		return math.MinInt64, high
	}
	return low, high
}

// Value returns a number as a vector of one in the graph.
func (s *symbols) Value(a Int) *graph.Value {
	if c, ok := a.Const(); ok {
		return s.b.Ints(int(c))
	}
	key := a.String()
	if v := s.nodes[key]; v != nil {
		return v
	}
	var total *graph.Value
	for _, t := range a.sum {
		var product *graph.Value
		for _, name := range t.atoms {
			v := s.atom(name)
			if product != nil {
				v = s.b.Node("Mul", nil, product, v)
			}
			product = v
		}
		if t.coef != 1 {
			product = s.b.Node("Mul", nil, product, s.b.Ints(int(t.coef)))
		}
		if total != nil {
			product = s.b.Node("Add", nil, total, product)
		}
		total = product
	}
	if a.c != 0 {
		total = s.b.Node("Add", nil, total, s.b.Ints(int(a.c)))
	}
	s.nodes[key] = total
	return total
}

func (s *symbols) atom(name string) *graph.Value {
	if v := s.nodes[name]; v != nil {
		return v
	}
	f := s.source[name]
	if f == nil {
		return s.b.Fail("the size %q is not known", name)
	}
	v := f()
	s.nodes[name] = v
	return v
}

// Dim returns a number as a dimension.
func (s *symbols) Dim(a Int) graph.Dim {
	if c, ok := a.Const(); ok {
		if c < 0 {
			return graph.Unknown
		}
		return graph.Known(int(c))
	}
	name := a.String()
	if len(name) > 40 {
		return graph.Unknown
	}
	if _, ok := s.ints[name]; !ok {
		s.ints[name] = a
	}
	return graph.Named(name)
}

// Size returns a dimension of a value; axis may count from the end.
func (s *symbols) Size(v *graph.Value, axis int) Int {
	axis = s.b.Axis(v, axis)
	if !v.Type.Ranked || axis >= len(v.Type.Dims) {
		return s.Symbol("", func() *graph.Value { return s.b.Size(v, axis) })
	}
	d := v.Type.Dims[axis]
	if d.IsKnown() {
		return N(d.Size)
	}
	if a, ok := s.ints[d.Name]; ok && d.Name != "" {
		return a
	}
	a := s.Symbol(d.Name, func() *graph.Value { return s.b.Size(v, axis) })
	name := a.String()
	s.ints[name] = a
	v.Type.Dims = slices.Clone(v.Type.Dims)
	v.Type.Dims[axis] = graph.Named(name)
	return a
}

// Sizes returns all dimensions of a value.
func (s *symbols) Sizes(v *graph.Value) []Int {
	out := make([]Int, s.b.Rank(v))
	for i := range out {
		out[i] = s.Size(v, i)
	}
	return out
}

// Vector returns numbers as a vector in the graph.
func (s *symbols) Vector(list []Int) *graph.Value {
	if c, ok := consts(list); ok {
		return s.b.Ints(c...)
	}
	var parts []*graph.Value
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && len(list[j].sum) == 0 {
			j++
		}
		if j > i {
			c, _ := consts(list[i:j])
			parts = append(parts, s.b.Ints(c...))
			i = j
			continue
		}
		parts = append(parts, s.Value(list[i]))
		i++
	}
	return s.b.Concat(0, parts...)
}

// consts returns numbers that are all known.
func consts(list []Int) ([]int, bool) {
	out := make([]int, len(list))
	for i, a := range list {
		c, ok := a.Const()
		if !ok {
			return nil, false
		}
		out[i] = int(c)
	}
	return out, true
}
