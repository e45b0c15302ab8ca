package torchop

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// entry is an operator: the names of its arguments in order, with their defaults, and what translates it. All overloads of a name
// are one entry, whose arguments are those of all of them.
type entry struct {
	params string // "input weight bias=None stride=1"
	f      func(c *call) any
}

// table maps the names of operators, without namespace and overload, to entries. A name that ends in "_" and is not listed is
// the operator in place.
type table map[string]entry

var tables = []table{
	convOps, linearOps, normOps, poolOps, activationOps, unaryOps, binaryOps, reduceOps, shapeOps, joinOps, indexOps, scatterOps,
	createOps, attentionOps, recurrentOps, resizeOps, sortOps, castOps, ignoredOps, quantizedOps,
}

// param is an argument of an operator.
type param struct {
	name     string
	def      any
	required bool
}

type operator struct {
	params []param
	f      func(c *call) any
}

var operators = index(tables)

func index(tables []table) map[string]operator {
	all := map[string]operator{}
	for _, t := range tables {
		for name, e := range t {
			o := operator{f: e.f}
			for field := range strings.FieldsSeq(e.params) {
				name, def, has := strings.Cut(field, "=")
				o.params = append(o.params, param{name, parseDefault(def), !has})
			}
			if _, twice := all[name]; twice {
				panic("torchop: operator " + name + " is listed twice")
			}
			all[name] = o
		}
	}
	return all
}

// parseDefault returns the value of a default in a table.
func parseDefault(s string) any {
	switch s {
	case "", "None":
		return nil
	case "True":
		return true
	case "False":
		return false
	case "[]":
		return &List{}
	case "inf":
		return math.Inf(1)
	case "-inf":
		return math.Inf(-1)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return N(n)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	return s
}

// Supports reports whether the operator of a name, without namespace, is known.
func Supports(name string) bool {
	_, _, ok := find(name)
	return ok
}

// find looks an operator up by its name with or without overload; inPlace says that it sets its first argument.
func find(name string) (o operator, inPlace, ok bool) {
	if o, ok = operators[name]; ok {
		return o, false, true
	}
	name, _, _ = strings.Cut(name, ".")
	if o, ok = operators[name]; ok {
		return o, false, true
	}
	if base, has := strings.CutSuffix(name, "_"); has && !strings.HasSuffix(base, "_") {
		o, ok = operators[base]
		return o, true, ok
	}
	return o, false, false
}

// Arg is an argument that is given by name.
type Arg struct {
	Name  string
	Value any
}

// call is an operator that is being translated, with its arguments by name.
type call struct {
	*Builder
	op   string
	args map[string]any
	bad  bool // an argument was not as wanted
}

// Unsupported is an operator that cannot be translated, with how often it occurs and where first.
type Unsupported struct {
	Name  string
	Count int
	Where string
}

func (b *Builder) where() string {
	if b.Where == nil {
		return ""
	}
	return b.Where()
}

// Refuse notes that something of a name is not supported. It is reported with all others by [Builder.Finish].
func (b *Builder) Refuse(name string) Missing {
	u := b.unsupported[name]
	if u == nil {
		u = &Unsupported{Name: name, Where: b.where()}
		b.unsupported[name] = u
		b.order = append(b.order, u)
	}
	u.Count++
	return Missing{}
}

// Call translates the operator of a name, without namespace ("conv2d", "add_", "max.dim"), and returns its result. Errors stick
// and are returned by [Builder.Finish]; an operator that is not known gives [Missing].
func (b *Builder) Call(name string, args []any, named []Arg) any {
	if len(args) > 0 && slices.Contains(listOps, name) {
		if _, ok := Items(args[0]); ok {
			if v, ok := b.scalar(name, args, named); ok {
				return v
			}
		}
	}
	missing := false
	for _, v := range args {
		missing = b.missing(v) || missing
	}
	for _, a := range named {
		missing = b.missing(a.Value) || missing
	}
	if missing {
		return Missing{}
	}
	if v, ok := b.scalar(name, args, named); ok {
		return v
	}
	o, inPlace, ok := find(name)
	if !ok {
		return b.Refuse("aten::" + name)
	}
	c := &call{Builder: b, op: name, args: map[string]any{}}
	if err := c.bind(o, args, named); err != nil {
		b.Fault("%w", err)
		return Missing{}
	}
	if b.hints != nil {
		base, _, _ := strings.Cut(name, ".")
		c.note(strings.TrimSuffix(base, "_"))
	}
	result := o.f(c)
	if c.bad {
		return Missing{}
	}
	if inPlace {
		return b.inPlace(c.args[o.params[0].name], result)
	}
	return result
}

// CallNamed is [Builder.Call] with all arguments by name, in the order of the operator's schema. Those that are known by other
// names here count by position.
func (b *Builder) CallNamed(name string, args []Arg) any {
	o, _, ok := find(name)
	var plain []any
	for _, a := range args {
		plain = append(plain, a.Value)
	}
	if !ok {
		return b.Call(name, plain, nil)
	}
	if v, ok := b.scalar(name, plain, nil); ok && !slices.ContainsFunc(plain, b.missing) {
		return v
	}
	known := func(name string) bool {
		return slices.ContainsFunc(o.params, func(p param) bool { return p.name == name })
	}
	byPlace := 0
	for i, a := range args {
		if known(a.Name) || ignoredArgs[a.Name] {
			break
		}
		byPlace = i + 1
	}
	return b.Call(name, plain[:byPlace], args[byPlace:])
}

// inPlace sets a tensor to the result of an operator, which keeps the element type of the tensor.
func (b *Builder) inPlace(self, result any) any {
	t, ok := self.(*Tensor)
	r, ok2 := result.(*Tensor)
	if !ok || !ok2 {
		return result
	}
	b.set(t, b.cast(b.Of(r), b.typeOf(t).DType))
	return t
}

// missing reports whether a value is, or holds, the result of what is not supported.
func (b *Builder) missing(v any) bool {
	switch v := v.(type) {
	case Missing:
		return true
	case Absent:
		b.Refuse(string(v))
		return true
	case *List:
		return slices.ContainsFunc(v.Items, b.missing)
	case Tuple:
		return slices.ContainsFunc(v, b.missing)
	}
	return false
}

// bind puts arguments under their names.
func (c *call) bind(o operator, args []any, named []Arg) error {
	if len(args) > len(o.params) {
		return fmt.Errorf("%d arguments; known are %d: %s", len(args), len(o.params), names(o.params))
	}
	for i, v := range args {
		c.args[o.params[i].name] = v
	}
	for _, a := range named {
		i := slices.IndexFunc(o.params, func(p param) bool { return p.name == a.Name })
		if i < 0 && (a.Name == "self" || a.Name == "input") { // schemas are not of one mind
			i = 0
			a.Name = o.params[0].name
		}
		if i < 0 {
			if ignoredArgs[a.Name] {
				continue
			}
			return fmt.Errorf("unknown argument %q; known are %s", a.Name, names(o.params))
		}
		if i < len(args) && o.params[i].name != "self" {
			return fmt.Errorf("argument %q is given twice", a.Name)
		}
		c.args[a.Name] = a.Value
	}
	for _, p := range o.params {
		if _, ok := c.args[p.name]; !ok {
			if p.required {
				return fmt.Errorf("argument %q is missing", p.name)
			}
			c.args[p.name] = p.def
		}
	}
	return nil
}

// ignoredArgs say where or how a result lies in memory.
var ignoredArgs = map[string]bool{
	"layout": true, "device": true, "pin_memory": true, "memory_format": true, "generator": true, "requires_grad": true, "non_blocking": true, "copy": true,
}

func names(params []param) string {
	var s []string
	for _, p := range params {
		s = append(s, p.name)
	}
	return strings.Join(s, ", ")
}

// Bounds of the errors that are kept, and of those that are reported.
const (
	maxFaults   = 20
	maxReported = 5
)

// Fault records an error with the place in the program.
func (b *Builder) Fault(format string, a ...any) {
	b.faults++
	if b.faults > maxFaults {
		return
	}
	if w := b.where(); w != "" {
		format, a = "%s: "+format, append([]any{w}, a...)
	}
	b.Errorf(format, a...)
}

// Finish returns the graph, or all that is wrong: operators that are not supported first.
func (b *Builder) Finish() (*graph.Graph, error) {
	g, err := b.Graph()
	err = limit(err)
	if len(b.order) == 0 {
		return g, err
	}
	sort.SliceStable(b.order, func(i, j int) bool { return b.order[i].Count > b.order[j].Count })
	var list []string
	for _, u := range b.order {
		s := fmt.Sprintf("%s (%d times", u.Name, u.Count)
		if u.Count == 1 {
			s = fmt.Sprintf("%s (once", u.Name)
		}
		if u.Where != "" {
			s += ", first at " + u.Where
		}
		list = append(list, s+")")
	}
	return nil, errors.Join(fmt.Errorf("operators that are not supported: %s", strings.Join(list, "; ")), err)
}

// limit keeps the first of many errors.
func limit(err error) error {
	many, ok := err.(interface{ Unwrap() []error })
	if !ok || len(many.Unwrap()) <= maxReported {
		return err
	}
	errs := many.Unwrap()
	return errors.Join(append(slices.Clone(errs[:maxReported]), fmt.Errorf("and %d more", len(errs)-maxReported))...)
}

// fail records that an argument is not as wanted.
func (c *call) fail(name, want string) {
	c.bad = true
	c.Fault("%s: argument %q is a %s; want %s", c.op, name, TypeName(c.args[name]), want)
}

// failf records an error of the operator.
func (c *call) failf(format string, a ...any) any {
	c.bad = true
	c.Fault("%s: %w", c.op, fmt.Errorf(format, a...))
	return Missing{}
}

// Rank returns the number of dimensions of an argument; the operator fails if that is not known.
func (c *call) Rank(x *graph.Value) int {
	if !x.Type.Ranked {
		if !c.bad && x.Name != "missing" {
			c.failf("the number of dimensions of %q is not known", x.Name)
		}
		c.bad = true
		return 0
	}
	return len(x.Type.Dims)
}

var placeholder = &graph.Value{Name: "missing"}

// tensor returns an argument that is a tensor, or a number taken for one.
func (c *call) tensor(name string) *graph.Value {
	switch v := c.args[name].(type) {
	case *Tensor:
		return c.Of(v)
	case Int:
		return c.operand(v, tensor.Int64)
	case float64:
		return c.operand(v, tensor.Float32)
	case bool:
		return c.operand(v, tensor.Bool)
	}
	c.fail(name, "a tensor")
	return placeholder
}

// optional is tensor for an argument that may be None.
func (c *call) optional(name string) *graph.Value {
	if c.args[name] == nil {
		return nil
	}
	return c.tensor(name)
}

// cell returns an argument that is a tensor as such.
func (c *call) cell(name string) *Tensor {
	if t, ok := c.args[name].(*Tensor); ok {
		return t
	}
	return Of(c.tensor(name))
}

// source returns the parameter that an argument is, nil for None.
func (c *call) source(name string) tensor.Source {
	switch v := c.args[name].(type) {
	case nil:
		return nil
	case *Tensor:
		if s := c.sourceOf(v); s != nil {
			return s
		}
	}
	c.fail(name, "a parameter of the model")
	return nil
}

// sourceOf returns where the value of a tensor lies if nothing computes it.
func (b *Builder) sourceOf(t *Tensor) tensor.Source {
	if s := t.Source(); s != nil {
		return s
	}
	return b.Of(t).Data
}

// tensors returns an argument that is a list of tensors.
func (c *call) tensors(name string) []*graph.Value {
	items, ok := Items(c.args[name])
	if !ok {
		c.fail(name, "a list of tensors")
		return nil
	}
	out := make([]*graph.Value, len(items))
	for i, v := range items {
		t, ok := v.(*Tensor)
		if !ok {
			c.fail(name, "a list of tensors")
			return nil
		}
		out[i] = c.Of(t)
	}
	return out
}

// int returns an argument that is a whole number.
func (c *call) int(name string) Int {
	if n, ok := c.toInt(c.args[name]); ok {
		return n
	}
	c.fail(name, "a whole number")
	return Int{}
}

// toInt returns a value as a whole number: a tensor too, if it has one known element or is computed.
func (b *Builder) toInt(v any) (Int, bool) {
	switch v := v.(type) {
	case Int:
		return v, true
	case bool:
		if v {
			return N(1), true
		}
		return N(0), true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return N(int64(v)), true
		}
	case *Tensor:
		return b.item(v)
	}
	return Int{}, false
}

// item returns the only element of a tensor of whole numbers.
func (b *Builder) item(t *Tensor) (Int, bool) {
	v := b.Of(t)
	if k, ok := constant(v); ok {
		if f, ok := number(k); ok {
			return N(int64(f)), true
		}
		return Int{}, false
	}
	return b.sym.Symbol("", func() *graph.Value { return b.Node("Reshape", nil, b.cast(v, tensor.Int64), b.Ints(1)) }), true
}

// constant returns the elements of a value where they are known and few.
func constant(v *graph.Value) (*tensor.Tensor, bool) {
	if v.Type.Const != nil {
		return v.Type.Const, true
	}
	if v.Data != nil && v.Data.Shape().Len() <= 1<<12 {
		if t, err := v.Data.Load(); err == nil {
			return t, true
		}
	}
	return nil, false
}

// number returns the only element of a tensor.
func number(t *tensor.Tensor) (float64, bool) {
	if t.Len() != 1 {
		return 0, false
	}
	f, err := t.Float64s()
	if err != nil {
		return 0, false
	}
	return f[0], true
}

// known returns an argument that is a whole number and known.
func (c *call) known(name string) int {
	n, ok := c.int(name).Const()
	if !ok && !c.bad {
		c.failf("argument %q is %v, which is not known before a run", name, c.args[name])
	}
	return int(n)
}

// sizes returns an argument that is a list of whole numbers; a single one is a list of one.
func (c *call) sizes(name string) []Int {
	items, ok := Items(c.args[name])
	if !ok {
		items = []any{c.args[name]}
		if t, is := c.args[name].(*Tensor); is {
			if k, known := constant(c.Of(t)); known && k.DType == tensor.Int64 {
				items = nil
				for _, n := range tensor.Data[int64](k) {
					items = append(items, N(n))
				}
			}
		}
	}
	out := make([]Int, len(items))
	for i, v := range items {
		n, ok := c.toInt(v)
		if !ok {
			c.fail(name, "a list of whole numbers")
			return nil
		}
		out[i] = n
	}
	return out
}

// ints returns an argument that is a list of whole numbers that are known; nil for None.
func (c *call) ints(name string) []int {
	if c.args[name] == nil {
		return nil
	}
	list, ok := consts(c.sizes(name))
	if !ok && !c.bad {
		c.failf("argument %q is not known before a run", name)
	}
	return list
}

// float returns an argument that is a number.
func (c *call) float(name string) float64 {
	switch v := c.args[name].(type) {
	case float64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	case Int:
		if n, ok := v.Const(); ok {
			return float64(n)
		}
	case *Tensor:
		if k, ok := constant(c.Of(v)); ok {
			if f, ok := number(k); ok {
				return f
			}
		}
	}
	c.fail(name, "a number")
	return 0
}

// floats returns an argument that is a list of numbers; nil for None.
func (c *call) floats(name string) []float64 {
	if c.args[name] == nil {
		return nil
	}
	items, ok := Items(c.args[name])
	if !ok {
		return []float64{c.float(name)}
	}
	var out []float64
	for _, v := range items {
		switch v := v.(type) {
		case float64:
			out = append(out, v)
		case Int:
			n, _ := v.Const()
			out = append(out, float64(n))
		default:
			c.fail(name, "a list of numbers")
		}
	}
	return out
}

// bool returns an argument that says yes or no.
func (c *call) bool(name string) bool {
	switch v := c.args[name].(type) {
	case bool:
		return v
	case Int:
		if n, ok := v.Const(); ok {
			return n != 0
		}
	}
	c.fail(name, "True or False")
	return false
}

// text returns an argument that is a string; "" for None.
func (c *call) text(name string) string {
	switch v := c.args[name].(type) {
	case nil:
		return ""
	case string:
		return v
	}
	c.fail(name, "a string")
	return ""
}

// dtype returns an argument that is an element type; missing where it is None.
func (c *call) dtype(name string, missing tensor.DType) tensor.DType {
	if c.args[name] == nil {
		return missing
	}
	if n, ok := c.args[name].(Int); ok {
		if code, ok := n.Const(); ok {
			if d, ok := typeCodes[code]; ok {
				return d
			}
		}
	}
	c.fail(name, "the number of an element type")
	return missing
}

// has reports whether an argument is not None.
func (c *call) has(name string) bool { return c.args[name] != nil }
