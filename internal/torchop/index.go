package torchop

import (
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// indexOps take elements by their place.
var indexOps = table{
	"select":                      {"self dim index", func(c *call) any { return c.selectAt(c.axis("dim", c.Rank(c.tensor("self")))) }},
	"slice":                       {"self dim=0 start=None end=None step=1", slice},
	"narrow":                      {"self dim start length", narrow},
	"index":                       {"self indices", index_},
	"_unsafe_index":               {"self indices", index_},
	"index_select":                {"self dim index", indexSelect},
	"gather":                      {"self dim index sparse_grad=False", gather},
	"take_along_dim":              {"self indices dim", func(c *call) any { c.args["index"] = c.args["indices"]; return gather(c) }},
	"embedding":                   {"weight indices padding_idx=-1 scale_grad_by_freq=False sparse=False", func(c *call) any { return Of(c.Embedding(c.tensor("weight"), c.tensor("indices"))) }},
	"_embedding_bag":              {"weight indices offsets scale_grad_by_freq=False mode=0 sparse=False per_sample_weights=None include_last_offset=False padding_idx=-1", embeddingBag},
	"_embedding_bag_forward_only": {"weight indices offsets scale_grad_by_freq=False mode=0 sparse=False per_sample_weights=None include_last_offset=False padding_idx=-1", embeddingBag},
	"embedding_bag":               {"weight indices offsets=None scale_grad_by_freq=False mode=0 sparse=False per_sample_weights=None include_last_offset=False padding_idx=None", embeddingBag},
	"masked_select": {"self mask", func(c *call) any {
		return Of(c.Node("Compress", nil, c.reshape(c.tensor("self"), []Int{N(-1)}), c.reshape(c.tensor("mask"), []Int{N(-1)})))
	}},
	"nonzero":  {"self", func(c *call) any { return Of(c.Transpose(c.Node("NonZero", nil, c.tensor("self")), 0, 1)) }},
	"one_hot":  {"self num_classes=-1", oneHot},
	"diagonal": {"self offset=0 dim1=0 dim2=1", diagonal},
}

// selectAt is self[..., index, ...].
func (c *call) selectAt(axis int) any {
	t, i := c.cell("self"), c.int("index")
	if c.bad {
		return nil
	}
	return c.selected(t, axis, i)
}

// selected is a view of one index of an axis.
func (b *Builder) selected(t *Tensor, axis int, i Int) *Tensor {
	read := func(x *graph.Value) *graph.Value {
		if k, ok := i.Const(); ok {
			return b.Select(x, axis, int(k))
		}
		return b.Squeeze(b.Node("Gather", aten.Attrs{"axis": axis}, x, b.sym.Value(i)), axis)
	}
	return b.view(t, read, func(base, v *graph.Value) *graph.Value {
		at := i
		if k, ok := i.Const(); ok && k < 0 {
			at = b.sym.Size(base, axis).Add(i)
		}
		return b.write(base, b.Unsqueeze(v, axis), axis, at, at.Add(N(1)), 1)
	})
}

// write returns base with v in place of base[start:end:step] along an axis.
func (b *Builder) write(base, v *graph.Value, axis int, start, end Int, step int) *graph.Value {
	n := b.sym.Size(base, axis)
	if step == 1 && start.Is(0) && end.Equal(n) {
		return v
	}
	if step == 1 {
		var parts []*graph.Value
		along, one := b.Ints(axis), b.Ints(1)
		if !start.Is(0) {
			parts = append(parts, b.Node("Slice", nil, base, b.Ints(0), b.sym.Value(start), along, one))
		}
		parts = append(parts, v)
		if !end.Equal(n) {
			parts = append(parts, b.Node("Slice", nil, base, b.sym.Value(end), b.Ints(math.MaxInt64), along, one))
		}
		return b.named(b.Concat(axis, parts...), b.sym.Sizes(base))
	}
	at := b.Node("Range", nil, b.Squeeze(b.sym.Value(start), 0), b.Squeeze(b.sym.Value(end), 0), b.Int(step))
	shape := slices.Repeat([]int{1}, b.Rank(base))
	shape[axis] = -1
	at = b.Node("Expand", nil, b.Node("Reshape", nil, at, b.Ints(shape...)), b.Node("Shape", nil, v))
	return b.named(b.Node("ScatterElements", aten.Attrs{"axis": axis}, base, at, v), b.sym.Sizes(base))
}

// farEnd is from where on an end of a slice stands for the end of the axis.
const farEnd = 1 << 31

func slice(c *call) any {
	t := c.cell("self")
	x := c.Of(t)
	axis := c.axis("dim", c.Rank(x))
	start, end, step := N(0), N(int64(math.MaxInt64)), c.known("step")
	if c.has("start") {
		start = c.int("start")
	}
	if c.has("end") {
		end = c.int("end")
	}
	if c.bad {
		return nil
	}
	if step < 1 {
		return c.failf("a slice at steps of %d", step)
	}
	return c.sliced(t, axis, start, end, step)
}

// bound returns an end of a slice within an axis of n, counted from the start.
func (b *Builder) bound(i, n Int) Int {
	if k, ok := i.Const(); ok {
		switch {
		case k >= farEnd:
			return n
		case k == 0:
			return i
		case k < 0:
			return b.sym.Max(n.Add(i), N(0))
		}
	}
	return b.sym.Min(i, n)
}

// sliced is a view of start:end:step along an axis.
func (c *call) sliced(t *Tensor, axis int, start, end Int, step int) any {
	n := c.sym.Size(c.Of(t), axis)
	lo, hi := c.bound(start, n), c.bound(end, n)
	if lo.Is(0) && hi.Equal(n) && step == 1 { // all of it
		v := c.view(t, func(x *graph.Value) *graph.Value { return x }, func(_, v *graph.Value) *graph.Value { return v })
		v.strided = t.strided
		return v
	}
	length := c.sym.FloorDiv(hi.Sub(lo).Add(N(step-1)), N(step))
	return c.view(t, func(x *graph.Value) *graph.Value {
		s, ok1 := start.Const()
		e, ok2 := end.Const()
		var y *graph.Value
		if ok1 && ok2 {
			y = c.Slice(x, axis, int(s), int(e), step)
		} else {
			y = c.Node("Slice", nil, x, c.sym.Value(start), c.sym.Value(end), c.Ints(axis), c.Ints(step))
		}
		sizes := c.sym.Sizes(x)
		sizes[axis] = length
		return c.named(y, sizes)
	}, func(base, v *graph.Value) *graph.Value { return c.write(base, v, axis, lo, hi, step) })
}

func narrow(c *call) any {
	t := c.cell("self")
	axis, start, length := c.axis("dim", c.Rank(c.Of(t))), c.int("start"), c.int("length")
	if c.bad {
		return nil
	}
	if k, ok := start.Const(); ok && k < 0 {
		start = c.sym.Size(c.Of(t), axis).Add(start)
	}
	return c.sliced(t, axis, start, start.Add(length), 1)
}

// indices returns the index of each axis of x, nil for one that is kept, with masks as the places where they hold.
func (c *call) indices(x *graph.Value) ([]*graph.Value, bool) {
	items, ok := Items(c.args["indices"])
	if !ok || len(items) > c.Rank(x) {
		c.fail("indices", "a list of tensors, at most one an axis")
		return nil, false
	}
	var out []*graph.Value
	for _, it := range items {
		t, ok := it.(*Tensor)
		switch {
		case it == nil:
			out = append(out, nil)
			continue
		case !ok:
			c.fail("indices", "a list of tensors")
			return nil, false
		}
		v := c.Of(t)
		if d := v.Type.DType; d != tensor.Bool && d != tensor.Uint8 {
			out = append(out, c.cast(v, tensor.Int64))
			continue
		}
		r := c.Rank(v)
		places := c.Node("NonZero", nil, v)
		if r == 1 {
			out = append(out, c.Reshape(places, -1))
			continue
		}
		for i := range r {
			out = append(out, c.Select(places, 0, i))
		}
	}
	for len(out) < c.Rank(x) {
		out = append(out, nil)
	}
	return out, len(out) == c.Rank(x)
}

// index_ is x[i, :, j] with tensors as indices.
func index_(c *call) any {
	x := c.tensor("self")
	in, ok := c.indices(x)
	if !ok || c.bad {
		return nil
	}
	var axes []int
	for i, v := range in {
		if v != nil {
			axes = append(axes, i)
		}
	}
	switch len(axes) {
	case 0:
		return Of(x)
	case 1:
		return Of(c.Node("Gather", aten.Attrs{"axis": axes[0]}, x, in[axes[0]]))
	}
	tuples, r := c.tuples(in, axes)
	perm := slices.Clone(axes)
	for i := range in {
		if in[i] == nil {
			perm = append(perm, i)
		}
	}
	y := c.Node("GatherND", nil, c.Permute(x, perm...), tuples) // what is indexed is in front
	first := axes[0]
	if axes[len(axes)-1]-first != len(axes)-1 || first == 0 {
		return Of(y)
	}
	back := make([]int, 0, r+len(in)-len(axes)) // neighbours: the result stands where they stood
	for i := range first {
		back = append(back, r+i)
	}
	for i := range r {
		back = append(back, i)
	}
	for i := r + first; i < r+len(in)-len(axes); i++ {
		back = append(back, i)
	}
	return Of(c.Permute(y, back...))
}

// tuples joins the indices of several axes along a new last axis, and returns their number of dimensions.
func (c *call) tuples(in []*graph.Value, axes []int) (*graph.Value, int) {
	var list []*graph.Value
	for _, a := range axes {
		list = append(list, in[a])
	}
	sizes := c.broadcast(list...)
	for i, v := range list {
		list[i] = c.Unsqueeze(c.expanded(v, sizes), -1)
	}
	return c.Concat(-1, list...), len(sizes)
}

func indexSelect(c *call) any {
	x, i := c.tensor("self"), c.tensor("index")
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	return Of(c.Node("Gather", aten.Attrs{"axis": axis}, x, i))
}

func gather(c *call) any {
	x, i := c.tensor("self"), c.tensor("index")
	axis := c.axis("dim", c.Rank(x))
	if c.bad {
		return nil
	}
	// PyTorch lets an index be shorter than x along other axes, ONNX does not.
	sizes := c.sym.Sizes(x)
	for a, n := range c.sym.Sizes(i) {
		if a >= len(sizes) || a == axis || n.Equal(sizes[a]) {
			continue
		}
		x = c.Node("Slice", nil, x, c.Ints(0), c.sym.Value(n), c.Ints(a), c.Ints(1))
	}
	return Of(c.Node("GatherElements", aten.Attrs{"axis": axis}, x, i))
}

// embeddingBag joins the rows of each bag: the rows of a matrix of indices, or what lies between the offsets in a vector.
func embeddingBag(c *call) any {
	w, i := c.tensor("weight"), c.cast(c.tensor("indices"), tensor.Int64)
	mode := c.known("mode")
	if c.bad {
		return nil
	}
	if mode > 2 || mode < 0 || c.has("per_sample_weights") || c.has("padding_idx") && c.known("padding_idx") >= 0 {
		return c.failf("mode %d, weights of samples, or an index that is left out", mode)
	}
	rest := Absent("the further results of " + c.op)
	if c.Rank(i) == 2 {
		kind := []string{"ReduceSum", "ReduceMean", "ReduceMax"}[mode]
		return Tuple{Of(c.Node(kind, aten.Attrs{"keepdims": 0}, c.Embedding(w, i), c.Ints(1))), rest, rest, rest}
	}
	offsets := c.cast(c.tensor("offsets"), tensor.Int64)
	bags := c.sym.Size(offsets, 0)
	if c.bool("include_last_offset") {
		bags = bags.Sub(N(1))
		offsets = c.Node("Slice", nil, offsets, c.Ints(0), c.Ints(-1), c.Ints(0), c.Ints(1))
	}
	if c.bad {
		return nil
	}
	// The bag of an index is the number of offsets up to its place, less one.
	count := c.sym.Size(i, 0)
	places := c.Node("Range", nil, c.Int(0), c.operand(count, tensor.Int64), c.Int(1))
	before := c.cast(c.Node("LessOrEqual", nil, c.Unsqueeze(offsets, 0), c.Unsqueeze(places, 1)), tensor.Int64)
	bag := c.Node("Sub", nil, c.Node("ReduceSum", aten.Attrs{"keepdims": 1}, before, c.Ints(1)), c.Int(1))
	start, reduction := 0.0, "add"
	if mode == 2 {
		start, reduction = math.Inf(-1), "max"
	}
	size := c.sym.Size(w, 1)
	y := c.Node("ScatterND", aten.Attrs{"reduction": reduction}, c.fill([]Int{bags, size}, w.Type.DType, start), bag, c.Embedding(w, i))
	if mode == 1 {
		ones := c.fill([]Int{count, N(1)}, w.Type.DType, 1)
		n := c.Node("ScatterND", aten.Attrs{"reduction": "add"}, c.fill([]Int{bags, N(1)}, w.Type.DType, 0), bag, ones)
		y = c.Node("Div", nil, y, c.Node("Max", nil, n, c.Number(n, 1)))
	}
	return Tuple{Of(c.named(y, []Int{bags, size})), rest, rest, rest}
}

func oneHot(c *call) any {
	x, n := c.tensor("self"), c.known("num_classes")
	if c.bad || n < 1 {
		return c.failf("a number of classes that is not known before a run")
	}
	return Of(c.Node("OneHot", nil, x, c.Int(n), c.Ints(0, 1)))
}

func diagonal(c *call) any {
	x := c.tensor("self")
	r := c.Rank(x)
	i, j, offset := c.axis("dim1", r), c.axis("dim2", r), c.known("offset")
	if c.bad {
		return nil
	}
	rows, ok1 := c.sym.Size(x, i).Const()
	cols, ok2 := c.sym.Size(x, j).Const()
	if !ok1 || !ok2 || i == j {
		return c.failf("a diagonal of a matrix whose size is not known before a run")
	}
	var at []int64
	for k := range int(rows) {
		if m := k + offset; m >= 0 && m < int(cols) {
			at = append(at, int64(k)*cols+int64(m))
		}
	}
	var perm []int
	for a := range r {
		if a != i && a != j {
			perm = append(perm, a)
		}
	}
	sizes := c.sym.Sizes(x)
	x = c.Permute(x, append(perm, i, j)...)
	var to []Int
	for _, a := range perm {
		to = append(to, sizes[a])
	}
	x = c.reshape(x, append(to, N(rows*cols)))
	return Of(c.Node("Gather", aten.Attrs{"axis": len(perm)}, x, c.Param("diagonal", tensor.Vector(at...))))
}
