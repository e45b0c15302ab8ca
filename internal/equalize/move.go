package equalize

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// move follows channels through a node that rearranges values. It reports false where they cannot be followed.
func (f *finder) move(n *graph.Node, s site, in int) bool {
	y := n.Out[0]
	switch o := n.Op.(type) {
	case *op.Concat:
		return f.concat(n, o, s, in)
	case *op.Slice:
		first, step, ok := f.sliced(n, s.axis)
		if !ok {
			return false
		}
		if in < 0 {
			f.link(s, n.In[0], s.axis, func(i int) int { return first + i*step })
			return true
		}
		_, taken := f.at(y, s.axis)
		if taken == 0 {
			return false
		}
		f.link(s, y, s.axis, func(i int) int {
			if j := (i - first) / step; j*step == i-first && j >= 0 && j < taken {
				return j
			}
			return -1
		})
		return true
	case *op.Pad:
		before, ok := f.padded(n, o, s.axis)
		if !ok {
			return false
		}
		if in >= 0 {
			f.link(s, y, s.axis, func(i int) int { return i + before })
			return true
		}
		_, inside := f.at(n.In[0], s.axis)
		f.link(s, n.In[0], s.axis, func(i int) int {
			if i < before || inside > 0 && i >= before+inside { // zero, whatever the factor
				return -1
			}
			return i - before
		})
		return true
	case *op.Transpose:
		perm := o.Perm
		if perm == nil {
			return false
		}
		if in < 0 {
			f.link(s, n.In[0], int(perm[s.axis]), same)
		} else {
			f.link(s, y, slices.IndexFunc(perm, func(p int) bool { return p == s.axis }), same)
		}
		return true
	}
	return f.reshaped(n, s, in)
}

func (f *finder) concat(n *graph.Node, o *op.Concat, s site, in int) bool {
	y := n.Out[0]
	axis, err := tensor.Axis(o.Axis, len(y.Type.Dims))
	if err != nil {
		return false
	}
	offset := 0
	for i, v := range n.In {
		if axis != s.axis {
			offset = 0
		}
		_, size := f.at(v, s.axis)
		if size == 0 {
			return false
		}
		start := offset
		switch {
		case in < 0:
			f.link(s, v, s.axis, func(j int) int {
				if j -= start; j < 0 || j >= size {
					return -1
				}
				return j
			})
		case i == in:
			f.link(s, y, s.axis, func(j int) int { return start + j })
		}
		offset += size
	}
	return true
}

// ints returns a constant input of whole numbers; nil if it is omitted.
func (f *finder) ints(n *graph.Node, i int) ([]int64, bool) {
	if i >= len(n.In) || n.In[i] == nil {
		return nil, true
	}
	t, err := f.g.Constant(n.In[i])
	if err != nil || t == nil {
		return nil, false
	}
	v, err := t.Ints()
	return v, err == nil
}

// axisOf finds axis among axes, which count from the end if negative; nil is all in order.
func axisOf(axes []int64, axis, rank int) int {
	if axes == nil {
		return axis
	}
	return slices.IndexFunc(axes, func(a int64) bool { return int(a) == axis || int(a)+rank == axis })
}

// sliced returns which channels a Slice takes.
func (f *finder) sliced(n *graph.Node, axis int) (first, step int, ok bool) {
	starts, ok1 := f.ints(n, 1)
	axes, ok2 := f.ints(n, 3)
	steps, ok3 := f.ints(n, 4)
	if !ok1 || !ok2 || !ok3 {
		return 0, 0, false
	}
	k := axisOf(axes, axis, len(n.In[0].Type.Dims))
	if k < 0 || k >= len(starts) {
		return 0, 1, true
	}
	size := n.In[0].Type.Dims[axis].Size
	first, step = int(max(starts[k], -int64(size))), 1
	if steps != nil {
		step = int(steps[k])
	}
	if first < 0 {
		first += size
	}
	return first, step, step > 0 && size > 0
}

// padded returns how many channels a Pad puts in front; what it fills in must be zero if it does.
func (f *finder) padded(n *graph.Node, o *op.Pad, axis int) (before int, ok bool) {
	pads, ok1 := f.ints(n, 1)
	axes, ok2 := f.ints(n, 3)
	if !ok1 || !ok2 {
		return 0, false
	}
	zero := true
	if len(n.In) > 2 && n.In[2] != nil {
		t, err := f.g.Constant(n.In[2])
		zero = err == nil && t != nil && t.DType == tensor.Float32 && t.Len() == 1 && tensor.Item[float32](t) == 0
	}
	k := axisOf(axes, axis, len(n.In[0].Type.Dims))
	if k < 0 || len(pads)%2 != 0 || k >= len(pads)/2 {
		return 0, k < 0 && (zero || o.Mode != "constant")
	}
	b, a := pads[k], pads[k+len(pads)/2]
	if o.Mode != "constant" {
		return 0, b == 0 && a == 0
	}
	return int(b), zero && b >= 0 && a >= 0
}

// reshaped follows channels through a node that keeps the order of the values: the channel dimension stays one, or is joined with
// known dimensions behind it into one.
func (f *finder) reshaped(n *graph.Node, s site, in int) bool {
	x, y := n.In[0].Type, n.Out[0].Type
	if !x.Ranked || !y.Ranked {
		return false
	}
	if in < 0 { // found from the input
		for a := range x.Dims {
			if b, inner, ok := carried(x, y, a); ok && b == s.axis {
				f.link(s, n.In[0], a, func(i int) int { return i / inner })
				return true
			}
		}
		return false
	}
	b, inner, ok := carried(x, y, s.axis)
	if !ok {
		return false
	}
	f.link(s, n.Out[0], b, func(i int) int { return i * inner }) // the rest is joined from the output
	return true
}

// carried returns the dimension of y that holds dimension a of x, joined with inner values of dimensions behind it.
func carried(x, y graph.Type, a int) (b, inner int, ok bool) {
	c := x.Dims[a].Size
	if c < 2 {
		return 0, 0, false
	}
	// Dimensions in front are alike but for those of one.
	i, j := 0, 0
	for i < a {
		switch {
		case x.Dims[i].Size == 1:
			i++
		case j < len(y.Dims) && y.Dims[j].Size == 1:
			j++
		case j < len(y.Dims) && (x.Dims[i] == y.Dims[j] && (x.Dims[i].IsKnown() || x.Dims[i].Name != "") || i == 0 && j == 0):
			i++
			j++
		default:
			return 0, 0, false
		}
	}
	for j < len(y.Dims) && y.Dims[j].Size == 1 {
		j++
	}
	if j == len(y.Dims) || !y.Dims[j].IsKnown() || y.Dims[j].Size%c != 0 {
		return 0, 0, false
	}
	// The rest holds as many values on both sides.
	rest := func(d []graph.Dim) (n int, known bool) {
		n = 1
		for _, d := range d {
			if !d.IsKnown() {
				return 0, false
			}
			n *= d.Size
		}
		return n, true
	}
	rx, ok1 := rest(x.Dims[a+1:])
	ry, ok2 := rest(y.Dims[j+1:])
	inner = y.Dims[j].Size / c
	switch {
	case ok1 && ok2:
		return j, inner, rx == inner*ry
	case inner == 1: // unknown sizes behind
		return j, 1, len(x.Dims)-a == len(y.Dims)-j
	}
	return 0, 0, false
}
