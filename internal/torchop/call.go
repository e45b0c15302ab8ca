package torchop

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
)

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
