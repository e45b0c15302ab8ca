package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// DeformConv is the ONNX operator DeformConv: a convolution whose taps are displaced by learned offsets, read by linear
// interpolation, and optionally weighted by a mask (Zhu et al., "Deformable ConvNets v2").
type DeformConv struct {
	Window
	Group       int `attr:"group,1"`
	OffsetGroup int `attr:"offset_group,1"`
}

func (*DeformConv) Kind() string { return "DeformConv" }

func (o *DeformConv) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 3, 5, floats)
	if err != nil {
		return nil, err
	}
	return one(inferConv(d, &o.Window, o.Group, in[0], in[1]))
}

func (o *DeformConv) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 5)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalDeform[float32](e, o, in)) },
		func() ([]*tensor.Tensor, error) { return one(evalDeform[float64](e, o, in)) })
}

func evalDeform[T float32 | float64](e *graph.Env, o *DeformConv, in []*tensor.Tensor) (*tensor.Tensor, error) {
	x, w, offset, b, mask := in[0], in[1], in[2], arg(in, 3), arg(in, 4)
	s, shape, err := newConvShape(&o.Window, o.Group, x.Shape, w.Shape)
	if err != nil {
		return nil, err
	}
	if err := biasOf(b, s.OutC); err != nil {
		return nil, err
	}
	axes, taps := len(s.In), tensor.Shape(s.Kernel).Len()
	if o.OffsetGroup < 1 || s.InC%o.OffsetGroup != 0 {
		return nil, fmt.Errorf("offset_group %d does not divide %d channels", o.OffsetGroup, s.InC)
	}
	out := shape[2:]
	if wantShape := append(tensor.Shape{s.Batch, o.OffsetGroup * taps * axes}, out...); !offset.Shape.Equal(wantShape) {
		return nil, fmt.Errorf("offset: want shape %v, got %v", wantShape, offset.Shape)
	}
	if wantShape := append(tensor.Shape{s.Batch, o.OffsetGroup * taps}, out...); mask != nil && !mask.Shape.Equal(wantShape) {
		return nil, fmt.Errorf("mask: want shape %v, got %v", wantShape, mask.Shape)
	}
	xs, ws, bs, err := realTriple[T](x, w, b)
	if err != nil {
		return nil, err
	}
	offsets, _, masks, err := realTriple[T](offset, offset, mask)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, x.DType, shape)
	plane, size := out.Len(), tensor.Shape(s.In).Len()
	perC, perO, perOffset := s.InC/s.Group, s.OutC/s.Group, s.InC/o.OffsetGroup
	col := make([]T, perC*taps*plane)
	for n := range s.Batch {
		for g := range s.Group {
			e.For(perC*taps, 1, func(lo, hi int) {
				pos, tap, at := make([]int, axes), make([]int, axes), make([]float64, axes)
				for r := lo; r < hi; r++ {
					c, t := g*perC+r/taps, r%taps
					for d, rest := axes-1, t; d >= 0; d-- {
						tap[d] = rest % s.Kernel[d]
						rest /= s.Kernel[d]
					}
					group := n*o.OffsetGroup + c/perOffset
					image := xs[(n*s.InC+c)*size:][:size]
					clear(pos)
					for q := range plane {
						for d := range at {
							shift := offsets[((group*taps+t)*axes+d)*plane+q]
							at[d] = float64(pos[d]*s.Stride[d]-s.PadBegin[d]+tap[d]*s.Dilation[d]) + float64(shift)
						}
						v := multilinear(image, s.In, at)
						if masks != nil {
							v *= float64(masks[(group*taps+t)*plane+q])
						}
						col[r*plane+q] = T(v)
						nextPosition(pos, out)
					}
				}
			})
			dst := y[(n*s.OutC+g*perO)*plane:][:perO*plane]
			clear(dst)
			if bs != nil {
				for c := range perO {
					spread(dst[c*plane:(c+1)*plane], bs[g*perO+c])
				}
			}
			gemmReal(e.Workers(), false, false, perO, plane, perC*taps, 1, ws[g*perO*perC*taps:], perC*taps, col, max(plane, 1), 1, dst, max(plane, 1))
		}
	}
	return done(), nil
}

// multilinear reads an image at a real position, multilinearly between its 2^n neighbours; outside the image lie zeros.
func multilinear[T float32 | float64](image []T, sizes []int, at []float64) float64 {
	for d, p := range at {
		if !(p > -1 && p < float64(sizes[d])) {
			return 0
		}
	}
	sum := 0.0
	for corner := range 1 << len(at) {
		index, weight := 0, 1.0
		for d, p := range at {
			low := math.Floor(p)
			i, part := int(low), p-low
			if corner>>d&1 == 1 {
				i++
				weight *= part
			} else {
				weight *= 1 - part
			}
			if i < 0 || i >= sizes[d] {
				weight = 0
				break
			}
			index = index*sizes[d] + i
		}
		if weight != 0 {
			sum += weight * float64(image[index])
		}
	}
	return sum
}

// CausalConvWithState is the ONNX operator CausalConvWithState: a depthwise convolution over time that sees only the present
// and the past, with the last kernel-1 inputs carried from call to call. X is [batch, channels, length], W [channels, 1, kernel].
type CausalConvWithState struct {
	Activation string `attr:"activation,none"` // none, silu, swish
}

func (*CausalConvWithState) Kind() string { return "CausalConvWithState" }

func (o *CausalConvWithState) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 4, floats)
	if err != nil {
		return nil, err
	}
	switch o.Activation {
	case "none", "silu", "swish":
	default:
		return nil, fmt.Errorf("activation: want none, silu or swish, got %q", o.Activation)
	}
	x, w := in[0], in[1]
	if x.Ranked && len(x.Dims) != 3 || w.Ranked && len(w.Dims) != 3 {
		return nil, fmt.Errorf("input and weight: want 3 dimensions, got %v and %v", x, w)
	}
	if !x.Ranked {
		return []graph.Type{graph.Unranked(d), graph.Unranked(d)}, nil
	}
	state := graph.Unknown
	if w.Ranked && w.Dims[2].IsKnown() {
		state = graph.Known(max(w.Dims[2].Size-1, 0))
	}
	return []graph.Type{graph.Ranked(d, x.Dims...), graph.Ranked(d, x.Dims[0], x.Dims[1], state)}, nil
}

func (o *CausalConvWithState) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 4)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalCausalConv[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalCausalConv[float64](e, o, in) })
}

func evalCausalConv[T float32 | float64](e *graph.Env, o *CausalConvWithState, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, w, b, past := in[0], in[1], arg(in, 2), arg(in, 3)
	if x.Rank() != 3 || w.Rank() != 3 || w.Shape[0] != x.Shape[1] || w.Shape[1] != 1 || w.Shape[2] < 1 {
		return nil, fmt.Errorf("want input [batch, channels, length] and weight [channels, 1, kernel], got %v and %v", x, w)
	}
	batch, channels, length, taps := x.Shape[0], x.Shape[1], x.Shape[2], w.Shape[2]
	if err := biasOf(b, channels); err != nil {
		return nil, err
	}
	stateShape := tensor.Shape{batch, channels, taps - 1}
	if past != nil && !past.Shape.Equal(stateShape) {
		return nil, fmt.Errorf("past_state: want shape %v, got %v", stateShape, past.Shape)
	}
	xs, ws, bs, err := realTriple[T](x, w, b)
	if err != nil {
		return nil, err
	}
	_, _, ps, err := realTriple[T](x, w, past)
	if err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, x.DType, x.Shape)
	state, stateDone := realOutput[T](e, x.DType, stateShape)
	e.For(batch*channels, max(1, elementGrain/max(length*taps, 1)), func(lo, hi int) {
		line := make([]T, taps-1+length)
		for r := lo; r < hi; r++ {
			c := r % channels
			if ps != nil {
				copy(line, ps[r*(taps-1):][:taps-1])
			}
			copy(line[taps-1:], xs[r*length:][:length])
			kern, dst := ws[c*taps:][:taps], y[r*length:][:length]
			for i := range dst {
				var sum T
				for t, v := range kern {
					sum += v * line[i+t]
				}
				if bs != nil {
					sum += bs[c]
				}
				dst[i] = sum
			}
			if o.Activation != "none" && o.Activation != "" {
				silu(dst)
			}
			copy(state[r*(taps-1):][:taps-1], line[length:])
		}
	})
	return []*tensor.Tensor{done(), stateDone()}, nil
}

// silu is x*sigmoid(x) in place.
func silu[T float32 | float64](x []T) {
	if f, ok := any(x).([]float32); ok {
		kernel.SiLU(f, f)
		return
	}
	for i, v := range x {
		x[i] = T(float64(v) / (1 + math.Exp(-float64(v))))
	}
}
