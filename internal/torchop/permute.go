package torchop

import (
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// permuted is a view with the axes in another order.
func (c *call) permuted(t *Tensor, perm []int) any {
	perm = slices.Clone(perm)
	seen := make([]bool, len(perm))
	for i, a := range perm {
		if a < 0 {
			a += len(perm)
		}
		if a < 0 || a >= len(perm) || seen[a] {
			return c.failf("the order of axes %v", perm)
		}
		perm[i], seen[a] = a, true
	}
	inverse := make([]int, len(perm))
	for i, a := range perm {
		inverse[a] = i
	}
	v := c.view(t, func(x *graph.Value) *graph.Value { return c.Permute(x, perm...) }, func(_, v *graph.Value) *graph.Value { return c.Permute(v, inverse...) })
	v.transposed = len(perm) == 2 && perm[0] == 1
	return v
}

func (c *call) swapped(t *Tensor, i, j int) any {
	r := c.Rank(c.Of(t))
	if r == 0 {
		return t
	}
	c.args["i"], c.args["j"] = N(i), N(j)
	i, j = c.axis("i", r), c.axis("j", r)
	if c.bad {
		return nil
	}
	perm := make([]int, r)
	for k := range perm {
		perm[k] = k
	}
	perm[i], perm[j] = j, i
	return c.permuted(t, perm)
}

func transpose(c *call) any { return c.swapped(c.cell("self"), c.known("dim0"), c.known("dim1")) }

func transposed2(c *call) any {
	t := c.cell("self")
	if c.Rank(c.Of(t)) < 2 {
		return t
	}
	return c.swapped(t, 0, 1)
}

func reversed(c *call) any {
	t := c.cell("self")
	perm := make([]int, c.Rank(c.Of(t)))
	for i := range perm {
		perm[i] = len(perm) - 1 - i
	}
	return c.permuted(t, perm)
}

func moveDim(c *call) any {
	t := c.cell("self")
	r := c.Rank(c.Of(t))
	from, to := c.axes("source", r), c.axes("destination", r)
	if c.bad || len(from) != len(to) {
		return c.failf("axes %v to %v", from, to)
	}
	perm := slices.Repeat([]int{-1}, r)
	for i := range from {
		perm[to[i]] = from[i]
	}
	next := 0
	for i := range perm {
		if perm[i] < 0 {
			for slices.Contains(from, next) {
				next++
			}
			perm[i] = next
			next++
		}
	}
	return c.permuted(t, perm)
}

// squeeze drops axes of size one. Those whose size is not known stay, as they do for sizes of more than one.
func squeeze(c *call) any {
	t := c.cell("self")
	x := c.Of(t)
	r := c.Rank(x)
	if r == 0 {
		return t
	}
	var candidates, drop []int
	if c.has("dim") {
		candidates = c.axes("dim", r)
	} else {
		for i := range r {
			candidates = append(candidates, i)
		}
	}
	if c.bad {
		return nil
	}
	for _, a := range candidates {
		if a < r && c.sym.Size(x, a).Is(1) {
			drop = append(drop, a)
		}
	}
	if len(drop) == 0 {
		return t
	}
	v := c.view(t, func(x *graph.Value) *graph.Value { return c.Squeeze(x, drop...) }, func(_, v *graph.Value) *graph.Value { return c.Unsqueeze(v, drop...) })
	v.strided = t.strided
	return v
}

func unsqueeze(c *call) any {
	t := c.cell("self")
	axis := c.axis("dim", c.Rank(c.Of(t))+1)
	if c.bad {
		return nil
	}
	v := c.view(t, func(x *graph.Value) *graph.Value { return c.Unsqueeze(x, axis) }, func(_, v *graph.Value) *graph.Value { return c.Squeeze(v, axis) })
	v.strided = t.strided
	return v
}

func flip(c *call) any {
	x := c.tensor("self")
	axes := c.axes("dims", c.Rank(x))
	n := len(axes)
	if c.bad || n == 0 {
		return Of(x)
	}
	return Of(c.named(c.Node("Slice", nil, x, c.Ints(slices.Repeat([]int{-1}, n)...), c.Ints(slices.Repeat([]int{math.MinInt64}, n)...), c.Ints(axes...),
		c.Ints(slices.Repeat([]int{-1}, n)...)), c.sym.Sizes(x)))
}

// roll moves elements along axes; those that leave at one end come in at the other.
func roll(c *call) any {
	x := c.tensor("self")
	shifts := c.sizes("shifts")
	dims := c.axes("dims", c.Rank(x))
	if c.bad {
		return nil
	}
	sizes := c.sym.Sizes(x)
	flat := len(dims) == 0
	if flat {
		x, dims = c.reshape(x, []Int{N(-1)}), []int{0}
	}
	if len(shifts) != len(dims) {
		return c.failf("%d shifts of %d axes", len(shifts), len(dims))
	}
	for i, a := range dims {
		n, s := c.sym.Size(x, a), shifts[i]
		if s.Is(0) {
			continue
		}
		if k, ok := n.Const(); ok {
			if s, ok := s.Const(); ok && k > 0 {
				cut := int(((-s)%k + k) % k)
				if cut > 0 {
					x = c.named(c.Concat(a, c.Slice(x, a, cut, math.MaxInt64, 1), c.Slice(x, a, 0, cut, 1)), c.sym.Sizes(x))
				}
				continue
			}
		}
		cut := c.sym.Value(c.sym.Mod(n.Sub(s), n))
		axis, one := c.Ints(a), c.Ints(1)
		tail := c.Node("Slice", nil, x, cut, c.Ints(math.MaxInt64), axis, one)
		head := c.Node("Slice", nil, x, c.Ints(0), cut, axis, one)
		x = c.named(c.Concat(a, tail, head), c.sym.Sizes(x))
	}
	if flat {
		x = c.reshape(x, sizes)
	}
	return Of(x)
}
