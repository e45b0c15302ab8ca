package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of operators that only move elements. Reshapes and permutations are undone; for the others the operator itself moves the
// numbers of the elements, which says where each element of the output came from, and the gradients are added there. This is right for
// whatever is repeated, dropped or filled in.

// Recalls implements [graph.Recalling].
func (viewing) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (viewing) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return gradList(len(in), e.View(dOut[0], in[0].Shape...)), nil
}

// Recalls implements [graph.Recalling].
func (*Identity) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Identity) Backward(_ *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return gradList(len(in), dOut[0]), nil
}

// Recalls implements [graph.Recalling].
func (*Transpose) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (t *Transpose) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	perm, err := t.perm(in[0].Rank())
	if err != nil {
		return nil, err
	}
	back := make([]int, len(perm))
	for i, p := range perm {
		back[p] = i
	}
	return e.Single(permute(e, dOut[0], dOut[0].Shape, back, nil))
}

// Recalls implements [graph.Recalling].
func (*Expand) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*Expand) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d, err := sumTo(e, dOut[0], in[0].Shape)
	return gradList(len(in), d), err
}

// moved returns the gradients of the inputs in data, whose elements o only moves. The other inputs are as they were.
func moved(e *graph.Env, o graph.Op, in, dOut []*tensor.Tensor, data ...int) ([]*tensor.Tensor, error) {
	args := append([]*tensor.Tensor{}, in...)
	start := make([]int, len(in))
	next := 1 // 0 is what was filled in
	for _, i := range data {
		n := in[i].Len()
		numbers := make([]int64, n)
		for k := range numbers {
			numbers[k] = int64(next + k)
		}
		start[i] = next
		args[i] = tensor.Of(in[i].Shape, numbers)
		next += n
	}
	where, err := o.Eval(&graph.Env{}, args)
	if err != nil {
		return nil, err
	}
	var d *tensor.Tensor
	for _, t := range dOut {
		if t != nil {
			d = t
		}
	}
	sums := make([]float64, next)
	for k, t := range dOut {
		if t == nil || k >= len(where) {
			continue
		}
		g, err := floatsOf(t)
		if err != nil {
			return nil, err
		}
		from := tensor.Data[int64](where[k])
		if len(from) != len(g) {
			return nil, fmt.Errorf("output %d has shape %v, its gradient %v", k, where[k].Shape, t.Shape)
		}
		for i, at := range from {
			sums[at] += g[i]
		}
	}
	out := make([]*tensor.Tensor, len(in))
	for _, i := range data {
		if !e.Wants(i) {
			continue
		}
		out[i] = e.New(d.DType, in[i].Shape...)
		own := sums[start[i]:][:in[i].Len()]
		setFloats(out[i], func(k int) float64 { return own[k] })
	}
	return out, nil
}

// laterInputs is the set of all inputs but the first, which is data that is only moved.
const laterInputs = ^uint64(1)

// Recalls implements [graph.Recalling].
func (*Slice) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *Slice) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	spans, err := o.spans(in)
	if err != nil {
		return nil, err
	}
	d := dOut[0]
	dx := e.Zeros(d.DType, in[0].Shape...)
	at, loops := 0, make([]copyLoop, len(spans))
	to, from := in[0].Shape.Strides(), d.Shape.Strides()
	for i, s := range spans {
		at += s.first * to[i]
		loops[i] = copyLoop{s.n, to[i], from[i]}
		if s.n > 1 {
			loops[i].dst *= s.step
		}
	}
	copyElems(e, elemsOf(dx), at, elemsOf(d), 0, loops)
	return gradList(len(in), dx), nil
}

// Recalls implements [graph.Recalling].
func (*Pad) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable]. The value that is filled in has no gradient.
func (p *Pad) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	plain := append([]*tensor.Tensor{}, in...)
	if len(plain) > 2 {
		plain[2] = nil
	}
	if p.Mode != "constant" {
		return moved(e, p, plain, dOut, 0)
	}
	pads, err := in[1].Ints()
	if err != nil {
		return nil, err
	}
	back := make([]int64, len(pads)) // what was added is taken away
	for i, n := range pads {
		back[i] = -n
	}
	plain[0], plain[1] = dOut[0], tensor.Vector(back...)
	dx, err := p.Eval(e, plain)
	if err != nil {
		return nil, err
	}
	return gradList(len(in), dx[0]), nil
}

// Recalls implements [graph.Recalling].
func (*Concat) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (o *Concat) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d := dOut[0]
	axis, err := tensor.Axis(o.Axis, d.Rank())
	if err != nil {
		return nil, err
	}
	out := make([]*tensor.Tensor, len(in))
	inner, at := d.Shape[axis+1:].Len()*d.DType.Size(), 0
	row := d.Shape[axis] * inner
	for i, t := range in {
		n := t.Shape[axis] * inner
		if e.Wants(i) {
			out[i] = e.New(d.DType, t.Shape...)
			to, from := out[i].Bytes(), d.Bytes()
			for r := 0; r*n < len(to) && n > 0; r++ {
				copy(to[r*n:(r+1)*n], from[r*row+at:])
			}
		}
		at += n
	}
	return out, nil
}

// Recalls implements [graph.Recalling].
func (*Split) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (s *Split) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x := in[0]
	axis, err := tensor.Axis(s.Axis, x.Rank())
	if err != nil {
		return nil, err
	}
	var d *tensor.Tensor
	for _, t := range dOut {
		if t != nil {
			d = t
		}
	}
	dx := e.Zeros(d.DType, x.Shape...)
	inner, at := x.Shape[axis+1:].Len()*d.DType.Size(), 0
	row := x.Shape[axis] * inner
	for i, t := range dOut {
		n := out[i].Shape[axis] * inner
		if t != nil {
			for r := 0; r*n < len(t.Bytes()) && n > 0; r++ {
				copy(dx.Bytes()[r*row+at:], t.Bytes()[r*n:(r+1)*n])
			}
		}
		at += n
	}
	return gradList(len(in), dx), nil
}

// Recalls implements [graph.Recalling].
func (*Tile) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *Tile) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*Gather) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable]: the gradients of the rows that an index names are added.
func (o *Gather) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	axis, err := tensor.Axis(o.Axis, x.Rank())
	if err != nil {
		return nil, err
	}
	index, err := intsOf(in[1])
	if err != nil {
		return nil, err
	}
	dx := e.Zeros(d.DType, x.Shape...)
	outer, inner, n := x.Shape[:axis].Len(), x.Shape[axis+1:].Len(), x.Shape[axis]
	return gradList(len(in), dx), byGrad(d.DType,
		func() error {
			return gatherGrad(tensor.Data[float32](dx), tensor.Data[float32](d), index, outer, n, inner)
		},
		func() error {
			return gatherGrad(tensor.Data[float64](dx), tensor.Data[float64](d), index, outer, n, inner)
		})
}

func gatherGrad[T gradElems](dx, d []T, index []int, outer, n, inner int) error {
	for o := range outer {
		for i, k := range index {
			if k < 0 {
				k += n
			}
			if k < 0 || k >= n {
				return fmt.Errorf("index %d is out of range for an axis of %d", index[i], n)
			}
			to, from := dx[(o*n+k)*inner:][:inner], d[(o*len(index)+i)*inner:]
			for j := range to {
				to[j] += from[j]
			}
		}
	}
	return nil
}

// Recalls implements [graph.Recalling].
func (*GatherElements) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *GatherElements) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*TopK) Recalls() (in, out uint64) { return 0, operandSet(1) }

// Backward implements [graph.Differentiable]: the gradients of the values go where those came from.
func (o *TopK) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, &GatherElements{Axis: o.Axis}, []*tensor.Tensor{in[0], out[1]}, dOut[:1], 0)
}

// Recalls implements [graph.Recalling].
func (*GatherND) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *GatherND) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*DepthToSpace) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (o *DepthToSpace) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*SpaceToDepth) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (o *SpaceToDepth) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*ReverseSequence) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *ReverseSequence) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*CenterCropPad) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *CenterCropPad) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*Trilu) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable].
func (o *Trilu) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return moved(e, o, in, dOut, 0)
}

// Recalls implements [graph.Recalling].
func (*Cast) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable]: a cast from one floating-point type to another; others have no gradient.
func (*Cast) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if dOut[0] == nil || !in[0].DType.IsFloat() {
		return make([]*tensor.Tensor, len(in)), nil
	}
	d, err := castTensor(e, dOut[0], in[0].DType, castMode{})
	return gradList(len(in), d), err
}
