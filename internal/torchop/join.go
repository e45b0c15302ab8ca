package torchop

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
)

// joinOps join tensors and take them apart.
var joinOps = table{
	"cat":               {"tensors dim=0", concat},
	"concat":            {"tensors dim=0", concat},
	"concatenate":       {"tensors dim=0", concat},
	"stack":             {"tensors dim=0", stack},
	"hstack":            {"tensors", hstack},
	"vstack":            {"tensors", vstack},
	"chunk":             {"self chunks dim=0", chunk},
	"unsafe_chunk":      {"self chunks dim=0", chunk},
	"split":             {"self split_size dim=0", split},
	"split_with_sizes":  {"self split_sizes dim=0", split},
	"unsafe_split":      {"self split_size dim=0", split},
	"tensor_split":      {"self sections dim=0", tensorSplit},
	"unbind":            {"self dim=0", unbind},
	"meshgrid":          {"tensors indexing=ij", meshgrid},
	"broadcast_tensors": {"tensors", broadcastTensors},
}

// operands returns tensors converted to their common element type.
func (c *call) operands(name string) []*graph.Value {
	items, _ := Items(c.args[name])
	d := c.resultType(items...)
	list := c.tensors(name)
	for i, v := range list {
		list[i] = c.cast(v, d)
	}
	return list
}

func concat(c *call) any {
	list := slices.DeleteFunc(c.operands("tensors"), func(v *graph.Value) bool { // PyTorch leaves out empty vectors
		s, ok := v.Type.Shape()
		return ok && len(s) == 1 && s[0] == 0
	})
	if c.bad || len(list) == 0 {
		return c.failf("no tensors")
	}
	axis := c.axis("dim", c.Rank(list[0]))
	if c.bad {
		return nil
	}
	return Of(c.joined(axis, list))
}

// joined concatenates, and tells the size of the result where it is a sum of known ones.
func (b *Builder) joined(axis int, list []*graph.Value) *graph.Value {
	y := b.Concat(axis, list...)
	if len(list) == 1 {
		return y
	}
	sizes := b.sym.Sizes(list[0])
	for i := range sizes { // a number is better than a name
		for _, v := range list[1:] {
			if i != axis && i < b.Rank(v) {
				if n := b.sym.Size(v, i); len(n.sum) == 0 {
					sizes[i] = n
				}
			}
		}
	}
	if axis < len(sizes) {
		for _, v := range list[1:] {
			sizes[axis] = sizes[axis].Add(b.sym.Size(v, axis))
		}
	}
	return b.named(y, sizes)
}

func stack(c *call) any {
	list := c.operands("tensors")
	if c.bad || len(list) == 0 {
		return c.failf("no tensors")
	}
	axis := c.axis("dim", c.Rank(list[0])+1)
	for i, v := range list {
		list[i] = c.Unsqueeze(v, axis)
	}
	return Of(c.joined(axis, list))
}

func hstack(c *call) any {
	list := c.operands("tensors")
	if c.bad || len(list) == 0 {
		return c.failf("no tensors")
	}
	return Of(c.joined(min(1, max(c.Rank(list[0])-1, 0)), list))
}

func vstack(c *call) any {
	list := c.operands("tensors")
	if c.bad || len(list) == 0 {
		return c.failf("no tensors")
	}
	for i, v := range list {
		if c.Rank(v) == 1 {
			list[i] = c.Unsqueeze(v, 0)
		}
	}
	return Of(c.joined(0, list))
}

// parts takes a tensor apart along an axis; the parts are views.
func (c *call) parts(axis int, sizes []int) any {
	t := c.cell("self")
	x := c.Of(t)
	if len(sizes) == 0 {
		return c.failf("no parts")
	}
	if len(sizes) > maxParts {
		return c.failf("%d parts; accepted are %d", len(sizes), maxParts)
	}
	out := &List{}
	if len(sizes) == 1 {
		out.Items = append(out.Items, t)
		return out
	}
	values := c.Split(x, sizes, axis)
	start := 0
	for i, n := range sizes {
		at := start
		out.Items = append(out.Items, &Tensor{
			base: t, seen: t.generation(), val: values[i], strided: true,
			read: func(x *graph.Value) *graph.Value { return c.Slice(x, axis, at, at+n, 1) },
			put:  func(base, v *graph.Value) *graph.Value { return c.write(base, v, axis, N(at), N(at+n), 1) },
		})
		start += n
	}
	return out
}

// maxParts bounds what a split gives.
const maxParts = 1 << 12

// pieces returns the sizes of parts of an axis of n, each of size but the last.
func pieces(n, size int) []int {
	if size < 1 || n < 1 || n/size > maxParts {
		return nil
	}
	var out []int
	for ; n > 0; n -= size {
		out = append(out, min(size, n))
	}
	return out
}

func chunk(c *call) any {
	x := c.tensor("self")
	axis, n := c.axis("dim", c.Rank(x)), c.known("chunks")
	if c.bad || n < 1 || n > maxParts {
		return c.failf("%d chunks", n)
	}
	length, ok := c.sym.Size(x, axis).Const()
	if !ok { // taken to come out even, as the number of results says
		out := &List{}
		part, even := c.sym.Size(x, axis).over(N(n))
		for _, v := range c.Chunk(x, n, axis) {
			if even {
				sizes := c.sym.Sizes(x)
				sizes[axis] = part
				v = c.named(v, sizes)
			}
			out.Items = append(out.Items, Of(v))
		}
		return out
	}
	return c.parts(axis, pieces(int(length), (int(length)+n-1)/n))
}

func split(c *call) any {
	x := c.tensor("self")
	axis := c.axis("dim", c.Rank(x))
	name := "split_size"
	if _, ok := c.args["split_sizes"]; ok {
		name = "split_sizes"
	}
	if _, ok := Items(c.args[name]); ok {
		sizes := c.sizes(name)
		known, ok := consts(sizes)
		if c.bad {
			return nil
		}
		if ok {
			return c.parts(axis, known)
		}
		out := &List{}
		for i, v := range c.Nodes(len(sizes), "Split", aten.Attrs{"axis": axis}, x, c.sym.Vector(sizes)) {
			to := c.sym.Sizes(x)
			to[axis] = sizes[i]
			out.Items = append(out.Items, Of(c.named(v, to)))
		}
		return out
	}
	n, size := c.sym.Size(x, axis), c.int(name)
	if c.bad {
		return nil
	}
	if q, ok := n.over(size); ok { // so many equal parts, also of a size that is not known
		if k, known := q.Const(); known && k >= 1 && k <= maxParts && len(size.sum) > 0 {
			c.args["chunks"] = N(k)
			return chunk(c)
		}
	}
	length, ok1 := n.Const()
	per, ok2 := size.Const()
	if !ok1 || !ok2 {
		return c.failf("parts of %v of an axis of %v: how many is not known before a run", size, n)
	}
	return c.parts(axis, pieces(int(length), int(per)))
}

func tensorSplit(c *call) any {
	x := c.tensor("self")
	axis := c.axis("dim", c.Rank(x))
	length, ok := c.sym.Size(x, axis).Const()
	if !ok || c.bad {
		return c.failf("an axis of a size that is not known before a run")
	}
	var sizes []int
	if _, list := Items(c.args["sections"]); list {
		at := 0
		for _, n := range append(c.ints("sections"), int(length)) {
			n = min(max(n, at), int(length))
			sizes, at = append(sizes, n-at), n
		}
	} else if n := c.known("sections"); n > 0 && n <= maxParts {
		for i := range n {
			size := int(length) / n
			if i < int(length)%n {
				size++
			}
			sizes = append(sizes, size)
		}
	}
	return c.parts(axis, sizes)
}

func unbind(c *call) any {
	t := c.cell("self")
	x := c.Of(t)
	axis := c.axis("dim", c.Rank(x))
	n, ok := c.sym.Size(x, axis).Const()
	if !ok || c.bad || n > maxParts {
		return c.failf("an axis of %v, which cannot be taken apart", c.sym.Size(x, axis))
	}
	out := &List{}
	for i := range int(n) {
		out.Items = append(out.Items, c.selected(t, axis, N(i)))
	}
	return out
}

// meshgrid lays vectors along an axis each, repeated along those of the others.
func meshgrid(c *call) any {
	list := c.tensors("tensors")
	xy := c.text("indexing") == "xy"
	if c.bad {
		return nil
	}
	out := &List{}
	var sizes []Int
	for _, v := range list {
		sizes = append(sizes, product(c.sym.Sizes(v)))
	}
	axis := make([]int, len(list))
	for i := range axis {
		axis[i] = i
	}
	if xy && len(list) > 1 {
		sizes[0], sizes[1] = sizes[1], sizes[0]
		axis[0], axis[1] = 1, 0
	}
	for i, v := range list {
		shape := slices.Repeat([]Int{N(1)}, len(list))
		shape[axis[i]] = sizes[axis[i]]
		out.Items = append(out.Items, Of(c.expanded(c.reshape(v, shape), sizes)))
	}
	return out
}

func broadcastTensors(c *call) any {
	list := c.tensors("tensors")
	if c.bad || len(list) == 0 {
		return nil
	}
	sizes := c.broadcast(list...)
	out := &List{}
	for _, v := range list {
		out.Items = append(out.Items, Of(c.expanded(v, sizes)))
	}
	return out
}

// broadcast returns the sizes that values have together.
func (b *Builder) broadcast(list ...*graph.Value) []Int {
	var out []Int
	for _, v := range list {
		sizes := b.sym.Sizes(v)
		for len(out) < len(sizes) {
			out = slices.Insert(out, 0, N(1))
		}
		for i, n := range sizes {
			if at := len(out) - len(sizes) + i; !n.Is(1) && (out[at].Is(1) || len(n.sum) == 0) {
				out[at] = n
			}
		}
	}
	return out
}
