package torchop

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// shapeOps give the elements of a tensor another shape or order.
var shapeOps = table{
	"size":            {"self dim=None", size},
	"sym_size":        {"self dim=None", size},
	"dim":             {"self", func(c *call) any { return N(c.Rank(c.tensor("self"))) }},
	"numel":           {"self", numel},
	"sym_numel":       {"self", numel},
	"view":            {"self size", func(c *call) any { return c.reshaped(c.args["size"]) }},
	"reshape":         {"self shape", func(c *call) any { return c.reshaped(c.args["shape"]) }},
	"_unsafe_view":    {"self size", func(c *call) any { return c.reshaped(c.args["size"]) }},
	"_reshape_alias":  {"self size stride", func(c *call) any { return c.reshaped(c.args["size"]) }},
	"view_as":         {"self other", likeOther},
	"reshape_as":      {"self other", likeOther},
	"flatten":         {"self start_dim=0 end_dim=-1", flatten},
	"ravel":           {"self start_dim=0 end_dim=-1", flatten},
	"unflatten":       {"self dim sizes", unflatten},
	"permute":         {"self dims", func(c *call) any { return c.permuted(c.cell("self"), c.ints("dims")) }},
	"transpose":       {"self dim0 dim1", transpose},
	"swapaxes":        {"self axis0 axis1", func(c *call) any { return c.swapped(c.cell("self"), c.known("axis0"), c.known("axis1")) }},
	"swapdims":        {"self dim0 dim1", transpose},
	"t":               {"self", transposed2},
	"numpy_T":         {"self", reversed},
	"mT":              {"self", func(c *call) any { return c.swapped(c.cell("self"), -2, -1) }},
	"movedim":         {"self source destination", moveDim},
	"moveaxis":        {"self source destination", moveDim},
	"squeeze":         {"self dim=None", squeeze},
	"unsqueeze":       {"self dim", unsqueeze},
	"expand":          {"self size implicit=False", func(c *call) any { return c.expand(c.cell("self"), c.sizes("size")) }},
	"broadcast_to":    {"self size", func(c *call) any { return c.expand(c.cell("self"), c.sizes("size")) }},
	"expand_as":       {"self other", func(c *call) any { return c.expand(c.cell("self"), c.sym.Sizes(c.tensor("other"))) }},
	"repeat":          {"self repeats", func(c *call) any { return c.repeat(c.sizes("repeats")) }},
	"tile":            {"self dims", func(c *call) any { return c.repeat(c.sizes("dims")) }},
	"flip":            {"self dims", flip},
	"fliplr":          {"self", func(c *call) any { c.args["dims"] = N(1); return flip(c) }},
	"flipud":          {"self", func(c *call) any { c.args["dims"] = N(0); return flip(c) }},
	"roll":            {"self shifts dims=[]", roll},
	"pixel_shuffle":   {"self upscale_factor", on(func(c *call, x *graph.Value) *graph.Value { return c.PixelShuffle(x, c.known("upscale_factor")) })},
	"pixel_unshuffle": {"self downscale_factor", on(func(c *call, x *graph.Value) *graph.Value { return c.PixelUnshuffle(x, c.known("downscale_factor")) })},
	"channel_shuffle": {"self groups", on(func(c *call, x *graph.Value) *graph.Value { return c.ChannelShuffle(x, c.known("groups")) })},
	"tril":            {"self diagonal=0", triangle(0)},
	"triu":            {"self diagonal=0", triangle(1)},
	"pad":             {"self pad mode=constant value=None", pad},
	"constant_pad_nd": {"self pad value=0", pad},
	"unfold":          {"self dimension size step", unfold},

	"reflection_pad1d": {"self padding", padBy("reflect")}, "replication_pad1d": {"self padding", padBy("replicate")},
	"reflection_pad2d": {"self padding", padBy("reflect")}, "replication_pad2d": {"self padding", padBy("replicate")},
	"reflection_pad3d": {"self padding", padBy("reflect")}, "replication_pad3d": {"self padding", padBy("replicate")},
}

// padBy is for the operators that pad in a mode, of which there is one a number of axes.
func padBy(mode string) func(c *call) any {
	return func(c *call) any { return Of(c.Pad(c.tensor("self"), c.ints("padding"), mode, 0)) }
}

// openSizes are the sizes of a tensor of which not even the number is known, while probing.
type openSizes struct{ of *graph.Value }

func (openSizes) String() string { return "sizes" }

// at returns a size.
func (s openSizes) at(b *Builder, axis int) Int {
	return b.sym.Symbol("", func() *graph.Value { return b.Size(s.of, axis) })
}

// Unpack returns n elements of a sequence, nil and false if it has not so many.
func (b *Builder) Unpack(v any, n int) ([]any, bool) {
	if s, ok := v.(openSizes); ok {
		b.rank(s.of, n)
		out := make([]any, n)
		for i := range out {
			out[i] = s.at(b, i)
		}
		return out, true
	}
	items, ok := Items(v)
	return items, ok && len(items) == n
}

func size(c *call) any {
	x := c.tensor("self")
	if c.hints != nil {
		if n, ok := c.args["dim"].(Int); ok {
			c.atLeast(x, int(n.c))
		}
		if !x.Type.Ranked && !c.has("dim") {
			return openSizes{x}
		}
	}
	if c.has("dim") {
		return c.sym.Size(x, c.known("dim"))
	}
	l := &List{}
	for _, n := range c.sym.Sizes(x) {
		l.Items = append(l.Items, n)
	}
	return l
}

func numel(c *call) any { return product(c.sym.Sizes(c.tensor("self"))) }

func product(sizes []Int) Int {
	n := N(1)
	for _, s := range sizes {
		n = n.Mul(s)
	}
	return n
}

// named gives the dimensions of a value that inference did not tell.
func (b *Builder) named(v *graph.Value, sizes []Int) *graph.Value {
	if v.Name == "missing" {
		return v
	}
	dims := make([]graph.Dim, len(sizes))
	for i, s := range sizes {
		if v.Type.Ranked && i < len(v.Type.Dims) && v.Type.Dims[i].IsKnown() {
			dims[i] = v.Type.Dims[i]
			continue
		}
		dims[i] = b.sym.Dim(s)
	}
	if !v.Type.Ranked || len(v.Type.Dims) == len(dims) {
		v.Type.Ranked, v.Type.Dims = true, dims
	}
	return v
}

// reshape gives x other sizes, of which one may be -1.
func (b *Builder) reshape(x *graph.Value, sizes []Int) *graph.Value {
	sizes = slices.Clone(sizes)
	var have []Int
	if x.Type.Ranked {
		have = b.sym.Sizes(x)
	}
	free := slices.IndexFunc(sizes, func(n Int) bool { return n.Is(-1) })
	if free >= 0 && x.Type.Ranked {
		rest := N(1)
		for i, n := range sizes {
			if i != free {
				rest = rest.Mul(n)
			}
		}
		if n, ok := product(have).quotient(rest); ok {
			sizes[free], free = n, -1
		}
	}
	if x.Type.Ranked && slices.EqualFunc(have, sizes, Int.Equal) {
		return x
	}
	target := make([]int, len(sizes))
	unknown := free
	zero := slices.ContainsFunc(sizes, func(n Int) bool { return n.Is(0) })
	for i, n := range sizes {
		c, ok := n.Const()
		switch {
		case ok:
			target[i] = int(c)
		case !zero && i < len(have) && have[i].Equal(n):
			target[i] = 0
		case unknown < 0:
			target[i], unknown = -1, i
		default:
			target = nil
		}
		if target == nil {
			break
		}
	}
	var y *graph.Value
	if target != nil {
		y = b.Node("Reshape", aten.Attrs{"allowzero": zero}, x, b.Ints(target...))
	} else {
		y = b.Node("Reshape", aten.Attrs{"allowzero": zero}, x, b.sym.Vector(sizes))
	}
	if free >= 0 {
		return y
	}
	return b.named(y, sizes)
}

// quotient divides a product exactly.
func (a Int) quotient(d Int) (Int, bool) {
	if d.Is(0) || d.Is(-1) {
		return Int{}, false
	}
	return a.over(d)
}

// reshaped is a view of self in another shape, self where that is the same.
func (c *call) reshaped(shape any) any {
	t := c.cell("self")
	if _, ok := shape.(Int); ok {
		if _, of := typeCodes[shape.(Int).c]; of && c.op == "view.dtype" {
			return c.failf("a view as another element type")
		}
	}
	c.args["to"] = shape
	sizes := c.sizes("to")
	if c.bad {
		return nil
	}
	return c.reshapeView(t, sizes)
}

func (b *Builder) reshapeView(t *Tensor, sizes []Int) *Tensor {
	v := b.view(t, func(x *graph.Value) *graph.Value { return b.reshape(x, sizes) },
		func(base, v *graph.Value) *graph.Value { return b.reshape(v, b.sym.Sizes(base)) })
	v.strided = t.strided
	return v
}

func likeOther(c *call) any { return c.reshapeView(c.cell("self"), c.sym.Sizes(c.tensor("other"))) }

// axes returns an argument that is a list of axes, counted from the start.
func (c *call) axes(name string, rank int) []int {
	list := slices.Clone(c.ints(name))
	for i, a := range list {
		n, err := tensor.Axis(a, rank)
		if err != nil && !c.bad {
			c.failf("argument %q: %w", name, err)
			return nil
		}
		list[i] = n
	}
	return list
}

func (c *call) axis(name string, rank int) int {
	if a := c.axes(name, rank); len(a) == 1 {
		return a[0]
	}
	return 0
}

func flatten(c *call) any {
	t := c.cell("self")
	x := c.Of(t)
	if !x.Type.Ranked && c.known("start_dim") == 1 && c.known("end_dim") == -1 {
		return Of(c.Flatten(x, 1, -1))
	}
	r := c.Rank(x)
	if r == 0 && !c.bad {
		return c.reshapeView(t, []Int{N(1)})
	}
	start, end := c.axis("start_dim", r), c.axis("end_dim", r)
	if c.bad {
		return nil
	}
	if r > 0 && start == end {
		return t
	}
	if start > end {
		return c.failf("axes %d to %d", start, end)
	}
	if start == 1 && end == r-1 && r > 2 { // the operator that says so
		v := c.view(t, func(x *graph.Value) *graph.Value {
			sizes := c.sym.Sizes(x)
			return c.named(c.Flatten(x, 1, -1), []Int{sizes[0], product(sizes[1:])})
		}, func(base, v *graph.Value) *graph.Value { return c.reshape(v, c.sym.Sizes(base)) })
		v.strided = t.strided
		return v
	}
	sizes := c.sym.Sizes(x)
	return c.reshapeView(t, slices.Concat(sizes[:start], []Int{product(sizes[start : end+1])}, sizes[end+1:]))
}

func unflatten(c *call) any {
	t := c.cell("self")
	have := c.sym.Sizes(c.Of(t))
	axis := c.axis("dim", len(have))
	to := c.sizes("sizes")
	if c.bad || axis >= len(have) {
		return nil
	}
	if free := slices.IndexFunc(to, func(n Int) bool { return n.Is(-1) }); free >= 0 {
		to[free] = N(1)
		n, ok := have[axis].quotient(product(to))
		if !ok {
			n = N(-1)
		}
		to[free] = n
	}
	return c.reshapeView(t, slices.Concat(have[:axis], to, have[axis+1:]))
}

// expand repeats axes of size one; -1 keeps a size.
func (c *call) expand(t *Tensor, sizes []Int) any {
	if c.bad {
		return nil
	}
	return c.view(t, func(x *graph.Value) *graph.Value { return c.expanded(x, sizes) }, nil)
}

func (b *Builder) expanded(x *graph.Value, sizes []Int) *graph.Value {
	have := b.sym.Sizes(x)
	if len(sizes) < len(have) {
		return b.Fail("an expansion of %v to %d dimensions", x.Type, len(sizes))
	}
	target, full := slices.Clone(sizes), slices.Clone(sizes)
	same := len(sizes) == len(have)
	for i := range sizes {
		j := i - (len(sizes) - len(have))
		if j < 0 {
			continue
		}
		if sizes[i].Is(-1) || have[j].Equal(sizes[i]) {
			target[i], full[i] = N(1), have[j]
		} else {
			same = false
		}
	}
	if same {
		return x
	}
	return b.named(b.Node("Expand", nil, x, b.sym.Vector(target)), full)
}

func (c *call) repeat(times []Int) any {
	x := c.tensor("self")
	have := c.sym.Sizes(x)
	if c.bad {
		return nil
	}
	for len(times) < len(have) {
		times = slices.Insert(times, 0, N(1))
	}
	if n := len(times) - len(have); n > 0 {
		have = append(slices.Repeat([]Int{N(1)}, n), have...)
		x = c.reshape(x, have)
	}
	full := make([]Int, len(have))
	for i := range have {
		full[i] = have[i].Mul(times[i])
	}
	if slices.EqualFunc(full, have, Int.Equal) {
		return Of(x)
	}
	return Of(c.named(c.Node("Tile", nil, x, c.sym.Vector(times)), full))
}

func triangle(upper int) func(c *call) any {
	return func(c *call) any {
		x, k := c.tensor("self"), c.int("diagonal")
		if c.bad {
			return nil
		}
		return Of(c.Node("Trilu", aten.Attrs{"upper": upper}, x, c.Squeeze(c.sym.Value(k), 0)))
	}
}

func pad(c *call) any {
	x, around := c.tensor("self"), c.sizes("pad")
	mode, value := "constant", 0.0
	if c.has("mode") {
		mode = c.text("mode")
	}
	if c.has("value") {
		value = c.float("value")
	}
	if c.bad {
		return nil
	}
	known, ok := consts(around)
	sizes := c.sym.Sizes(x)
	for i := range len(around) / 2 {
		if a := len(sizes) - 1 - i; a >= 0 {
			sizes[a] = sizes[a].Add(around[2*i]).Add(around[2*i+1])
		}
	}
	if ok {
		return Of(c.named(c.Pad(x, known, mode, value), sizes))
	}
	if mode != "constant" || len(around)/2 > len(sizes) {
		return c.failf("pads that are not known before a run in mode %q", mode)
	}
	n := len(around) / 2
	both := make([]Int, 2*n)
	axes := make([]int, n)
	for i := range n {
		both[n-1-i], both[2*n-1-i] = around[2*i], around[2*i+1]
		axes[n-1-i] = len(sizes) - 1 - i
	}
	return Of(c.named(c.Node("Pad", nil, x, c.sym.Vector(both), c.Number(x, value), c.Ints(axes...)), sizes))
}

// unfold lays the windows along an axis out as a new last axis.
func unfold(c *call) any {
	x := c.tensor("self")
	r := c.Rank(x)
	axis, n, step := c.axis("dimension", r), c.known("size"), c.known("step")
	if c.bad {
		return nil
	}
	length, ok := c.sym.Size(x, axis).Const()
	if !ok || n < 1 || step < 1 || int(length) < n || (int(length)-n)/step*n > 1<<22 {
		return c.failf("windows of %d at steps of %d along an axis of %v", n, step, c.sym.Size(x, axis))
	}
	count := (int(length)-n)/step + 1
	index := make([]int64, 0, count*n)
	for w := range count {
		for i := range n {
			index = append(index, int64(w*step+i))
		}
	}
	y := c.Node("Gather", aten.Attrs{"axis": axis}, x, c.Param("windows", tensor.Of(tensor.Shape{count, n}, index)))
	perm := make([]int, 0, r+1) // the second axis of the index goes last
	for i := range r + 1 {
		if i != axis+1 {
			perm = append(perm, i)
		}
	}
	return Of(c.Permute(y, append(perm, axis+1)...))
}
