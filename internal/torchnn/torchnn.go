// Package torchnn builds graphs from modules of PyTorch: whole ones that were pickled, whose classes say what they compute, and
// state dicts, of which a known architecture says it.
//
// Both are a tree of [Layer]s. A function that builds a network names the layers below its own and says what each is where the
// file does not:
//
//	x = l.Conv("conv1", x, aten.Conv{Stride: []int{2}, Pad: []int{3}})
//	x = l.BatchNorm("bn1", x, 1e-5)
//	x = l.Relu("relu", x)
//
// In a whole module each of these applies the module of that name, whatever its class is and with its own attributes, so that
// one that was exchanged for another is followed; in a state dict it takes the weights of that name and the parameters given.
package torchnn

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Forward records what a module computes from x.
type Forward func(l *Layer, x *graph.Value) *graph.Value

// Net is the network that layers belong to.
type Net struct {
	*aten.Builder
	classes map[string]Forward // by full name
	floats  map[*checkpoint.Tensor]tensor.Source
	weights map[string]*checkpoint.Tensor // of a state dict, by full name
	below   map[string][]string           // names directly below a path of a state dict
	depth   int
}

// Layer is a module of a network, or a path in a state dict.
type Layer struct {
	*Net
	Path   string
	Module *checkpoint.Module // nil in a state dict
}

func newNet(name string, classes map[string]Forward) *Net {
	return &Net{Builder: aten.New(name), classes: classes, floats: map[*checkpoint.Tensor]tensor.Source{}}
}

// FromModule returns the root layer of a whole module. Classes are those that are known beside torch.nn's own.
func FromModule(name string, m *checkpoint.Module, classes map[string]Forward) *Layer {
	return &Layer{Net: newNet(name, table(builtin, classes)), Module: m}
}

// FromState returns the root layer of a state dict.
func FromState(name string, s *checkpoint.State) *Layer {
	n := newNet(name, nil)
	n.weights, n.below = map[string]*checkpoint.Tensor{}, map[string][]string{}
	for _, t := range s.Tensors {
		n.weights[t.Name] = t.Tensor
		for path, rest := "", t.Name; ; {
			head, tail, deeper := strings.Cut(rest, ".")
			if !slices.Contains(n.below[path], head) {
				n.below[path] = append(n.below[path], head)
			}
			if !deeper {
				break
			}
			path, rest = join(path, head), tail
		}
	}
	return &Layer{Net: n}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Known reports whether the class of a module is one that graphs are built from, or only holds modules of such.
func Known(class string, classes map[string]Forward) bool {
	_, several := severalInputs[strings.TrimPrefix(class, nnModules)]
	return builtin[class] != nil || classes[class] != nil || several || isList(class)
}

// UnknownClasses lists the classes of the tree of m that no graph is built from, sorted, with how often each occurs.
func UnknownClasses(m *checkpoint.Module, classes map[string]Forward) []string {
	count := map[string]int{}
	seen := map[*checkpoint.Module]bool{}
	var walk func(m *checkpoint.Module)
	walk = func(m *checkpoint.Module) {
		if m == nil || seen[m] {
			return
		}
		seen[m] = true
		if !Known(m.Class, classes) {
			count[m.Class]++
		}
		for _, c := range m.Children {
			walk(c.Module)
		}
	}
	walk(m)
	var out []string
	for c, n := range count {
		if n > 1 {
			c = fmt.Sprintf("%s (%d times)", c, n)
		}
		out = append(out, c)
	}
	sort.Strings(out)
	return out
}

// isList reports whether a class only holds other modules, which its owner applies.
func isList(class string) bool {
	switch class {
	case "torch.nn.modules.container.ModuleList", "torch.nn.modules.container.ModuleDict", "torch.nn.modules.container.ParameterList", "torch.nn.modules.container.ParameterDict":
		return true
	}
	return false
}

// Name returns the last part of the path.
func (l *Layer) Name() string { return l.Path[strings.LastIndexByte(l.Path, '.')+1:] }

// Has reports whether there is a layer or weight of a name below l.
func (l *Layer) Has(name string) bool {
	if l.Module != nil {
		return l.Module.Child(name) != nil || l.Module.Param(name) != nil
	}
	path := join(l.Path, name)
	return l.weights[path] != nil || l.below[path] != nil
}

// Child returns the layer of a name. It may be absent: see [Layer.Has].
func (l *Layer) Child(name string) *Layer {
	c := &Layer{Net: l.Net, Path: join(l.Path, name)}
	if l.Module != nil {
		c.Module = l.Module.Child(name)
	}
	return c
}

// At returns the layer of a path below l, such as "layer1.0.conv1".
func (l *Layer) At(path string) *Layer {
	for name := range strings.SplitSeq(path, ".") {
		l = l.Child(name)
	}
	return l
}

// Children returns the layers directly below l: of a module in the order in which they were declared, of a state dict those
// named by numbers in their order, then the others in the order of their weights.
func (l *Layer) Children() []*Layer {
	var out []*Layer
	if l.Module != nil {
		for _, c := range l.Module.Children {
			if c.Module != nil {
				out = append(out, &Layer{Net: l.Net, Path: join(l.Path, c.Name), Module: c.Module})
			}
		}
		return out
	}
	for _, name := range l.below[l.Path] {
		if c := l.Child(name); l.below[c.Path] != nil {
			out = append(out, c)
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		x, err1 := strconv.Atoi(out[i].Name())
		y, err2 := strconv.Atoi(out[j].Name())
		return err1 == nil && (err2 != nil || x < y)
	})
	return out
}

// Tensor returns a weight or buffer of l as the file has it; nil where there is none.
func (l *Layer) Tensor(name string) *checkpoint.Tensor {
	if l.Module != nil {
		return l.Module.Param(name)
	}
	return l.weights[join(l.Path, name)]
}

// Source returns a weight of l in float32, whatever float type the file has it in; nil where there is none. Codes of
// quantized weights become what they stand for.
func (l *Layer) Source(name string) tensor.Source {
	t := l.Tensor(name)
	if t == nil {
		return nil
	}
	if s := l.floats[t]; s != nil {
		return s
	}
	var s tensor.Source = t
	switch {
	case t.Err() != nil:
		l.errorf("%s: %w", join(l.Path, name), t.Err())
	default:
		s = aten.Float32(Real(t))
	}
	l.floats[t] = s
	return s
}

// Real returns a tensor of a file as the source that weights of layers are derived from: the values that it stands for, if it
// is quantized.
func Real(t *checkpoint.Tensor) tensor.Source {
	if t.Quant != nil {
		return real{t}
	}
	return t
}

// real is a quantized tensor as the values that it stands for.
type real struct{ *checkpoint.Tensor }

func (real) DType() tensor.DType { return tensor.Float32 }

func (r real) Load() (*tensor.Tensor, error) { return r.Real() }

// Weight declares a weight as a parameter of the graph; nil where there is none.
func (l *Layer) Weight(name string) *graph.Value {
	s := l.Source(name)
	if s == nil {
		return nil
	}
	return l.Net.Weight(name, s)
}

// need is [Layer.Weight] for a weight that must be there.
func (l *Layer) need(name string) *graph.Value {
	if v := l.Weight(name); v != nil {
		return v
	}
	return l.Fail("%s: weight %s is missing", l.what(), name)
}

// what describes the layer for a message.
func (l *Layer) what() string {
	path := l.Path
	if path == "" {
		path = "the model"
	}
	if l.Module != nil {
		return fmt.Sprintf("%s (%s)", path, l.Module.Class)
	}
	return path
}

func (l *Layer) errorf(format string, a ...any) { l.Errorf(format, a...) }

// maxDepth bounds how deep modules apply one another.
const maxDepth = 200

// Apply records what the module of l computes from x, by its class.
func (l *Layer) Apply(x *graph.Value) *graph.Value {
	if l.Module == nil {
		return l.Fail("%s: the module is missing", l.what())
	}
	f := l.classes[l.Module.Class]
	if f == nil {
		return l.Fail("%s: modules of this class are %w", l.what(), checkpoint.ErrUnsupported)
	}
	return l.scoped(func() *graph.Value { return f(l, x) })
}

// scoped runs f within the scope of the layer's own name.
func (l *Layer) scoped(f func() *graph.Value) (y *graph.Value) {
	if l.depth++; l.depth > maxDepth {
		l.depth--
		return l.Fail("%s: modules are nested deeper than %d", l.Path, maxDepth)
	}
	if l.Path == "" {
		y = f()
	} else {
		l.Scope(l.Name(), func() { y = f() })
	}
	l.depth--
	return y
}

// Or applies the layer of a name: its module, or in a state dict what f records. Where a module has no such layer, the
// function that it stands for is applied all the same, as older versions of a class have it.
func (l *Layer) Or(name string, x *graph.Value, f Forward) *graph.Value {
	c := l.Child(name)
	if l.Module != nil && c.Module != nil {
		return c.Apply(x)
	}
	return c.scoped(func() *graph.Value { return f(c, x) })
}

// Each applies the layers below that of a name one after the other: a Sequential, or in a state dict f on each with its number.
func (l *Layer) Each(name string, x *graph.Value, f func(i int, l *Layer, x *graph.Value) *graph.Value) *graph.Value {
	return l.Or(name, x, func(c *Layer, x *graph.Value) *graph.Value { return c.Sequence(x, f) })
}

// Sequence is [Layer.Each] on the layers directly below l.
func (l *Layer) Sequence(x *graph.Value, f func(i int, l *Layer, x *graph.Value) *graph.Value) *graph.Value {
	for i, c := range l.Children() {
		if c.Module != nil {
			x = c.Apply(x)
			continue
		}
		x = c.scoped(func() *graph.Value { return f(i, c, x) })
	}
	return x
}

// attribute readers: a wrong type is an error, an absent attribute is the default.

// attr returns an attribute of the module.
func (l *Layer) attr(name string) any {
	if l.Module == nil {
		return nil
	}
	return l.Module.Attr(name)
}

// Int returns an attribute that is a whole number.
func (l *Layer) Int(name string, missing int) int {
	switch v := l.attr(name).(type) {
	case nil:
		return missing
	case int64:
		return int(v)
	case bool:
		if v {
			return 1
		}
		return 0
	case pickle.Tuple:
		if len(v) == 1 {
			if n, ok := v[0].(int64); ok {
				return int(n)
			}
		}
		l.wrong(name, v, "a whole number")
	default:
		l.wrong(name, v, "a whole number")
	}
	return missing
}

// wrong records an attribute of a wrong type.
func (l *Layer) wrong(name string, v any, want string) {
	l.errorf("%s: attribute %s is a %s; want %s", l.what(), name, pickle.TypeName(v), want)
}

// Number returns an attribute that is a number.
func (l *Layer) Number(name string, missing float64) float64 {
	switch v := l.attr(name).(type) {
	case nil:
		return missing
	case float64:
		return v
	case int64:
		return float64(v)
	case bool:
		return float64(l.Int(name, 0))
	default:
		l.wrong(name, v, "a number")
	}
	return missing
}

// Bool returns an attribute that is true or false.
func (l *Layer) Bool(name string, missing bool) bool {
	switch v := l.attr(name).(type) {
	case nil:
		return missing
	case bool:
		return v
	case int64:
		return v != 0
	default:
		l.wrong(name, v, "true or false")
	}
	return missing
}

// Text returns an attribute that is a string.
func (l *Layer) Text(name, missing string) string {
	switch v := l.attr(name).(type) {
	case nil:
		return missing
	case string:
		return v
	default:
		l.wrong(name, v, "a text")
	}
	return missing
}

// maxSize bounds sizes that an attribute gives.
const maxSize = 1 << 24

// Ints returns an attribute that is a whole number or a list of them, at most limit; nil where it is absent or None.
func (l *Layer) Ints(name string, limit int) []int {
	v := l.attr(name)
	items, ok := pickle.Items(v)
	switch n := v.(type) {
	case nil:
		return nil
	case int64, bool:
		items, ok = []any{n}, true
	}
	if !ok || len(items) > limit {
		l.wrong(name, v, fmt.Sprintf("at most %d whole numbers", limit))
		return nil
	}
	out := make([]int, len(items))
	for i, x := range items {
		n, ok := x.(int64)
		if x == nil { // "as it is" of an adaptive pooling
			n, ok = -1, true
		}
		if !ok || n > maxSize || n < -maxSize {
			l.wrong(name, v, "whole numbers")
			return nil
		}
		out[i] = int(n)
	}
	return out
}
