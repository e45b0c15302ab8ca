package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ConvTranspose is the ONNX operator ConvTranspose, the gradient of Conv with respect to its input: X [batch, C, spatial...]
// with W [C, M/group, kernel...] and an optional bias [M].
type ConvTranspose struct {
	Window
	Group         int   `attr:"group,1"`
	OutputPadding []int `attr:"output_padding"`
	// OutputShape sets the spatial output sizes; pads follow from it.
	OutputShape []int `attr:"output_shape"`
}

func (*ConvTranspose) Kind() string { return "ConvTranspose" }

// transposed is the geometry of the convolution whose gradient is computed: in and out are those of ConvTranspose.
func (o *ConvTranspose) transposed(in, kernel []int) (geometry, error) {
	n := len(in)
	if err := o.check(n); err != nil {
		return geometry{}, err
	}
	if o.KernelShape != nil {
		kernel = o.KernelShape
	}
	outputShape := o.OutputShape
	if len(outputShape) == n+2 {
		outputShape = outputShape[2:] // some exporters give batch and channels too
	}
	if outputShape != nil && len(outputShape) != n {
		return geometry{}, fmt.Errorf("output_shape: want %d values, got %d", n, len(outputShape))
	}
	if o.OutputPadding != nil && len(o.OutputPadding) != n {
		return geometry{}, fmt.Errorf("output_padding: want %d values, got %d", n, len(o.OutputPadding))
	}
	ints := func() []int { return make([]int, n) }
	g := geometry{in: in, kernel: kernel, stride: ints(), dilation: ints(), padBegin: ints(), padEnd: ints(), out: ints()}
	for i := range n {
		g.stride[i], g.dilation[i] = 1, 1
		if o.Strides != nil {
			g.stride[i] = o.Strides[i]
		}
		if o.Dilations != nil {
			g.dilation[i] = o.Dilations[i]
		}
		extra := 0
		if o.OutputPadding != nil {
			extra = o.OutputPadding[i]
		}
		if extra < 0 || extra > maxWindow {
			return geometry{}, fmt.Errorf("output_padding: value %d is out of range", extra)
		}
		if in[i] < 0 {
			g.out[i] = -1
			if outputShape != nil {
				g.out[i] = outputShape[i]
			}
			continue
		}
		full := g.stride[i]*(in[i]-1) + extra + g.dilation[i]*(kernel[i]-1) + 1
		same := o.AutoPad == "SAME_UPPER" || o.AutoPad == "SAME_LOWER"
		switch {
		case outputShape != nil:
			g.out[i] = outputShape[i]
		case same:
			g.out[i] = in[i] * g.stride[i]
		default:
			if o.Pads != nil && o.AutoPad != "VALID" {
				g.padBegin[i], g.padEnd[i] = o.Pads[i], o.Pads[n+i]
			}
			g.out[i] = full - g.padBegin[i] - g.padEnd[i]
		}
		if outputShape != nil || same {
			total := max(full-g.out[i], 0)
			g.padBegin[i] = total / 2
			if o.AutoPad != "SAME_UPPER" {
				g.padBegin[i] = total - total/2
			}
			g.padEnd[i] = total - g.padBegin[i]
		}
		if g.out[i] < 0 {
			return geometry{}, fmt.Errorf("pads %d and %d exceed the output on spatial axis %d", g.padBegin[i], g.padEnd[i], i)
		}
	}
	return g, nil
}

func (o *ConvTranspose) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 3, floats)
	if err != nil {
		return nil, err
	}
	if o.Group < 1 {
		return nil, fmt.Errorf("group: want at least 1, got %d", o.Group)
	}
	x, w := in[0], in[1]
	if !x.Ranked {
		return []graph.Type{graph.Unranked(d)}, nil
	}
	if len(x.Dims) < 3 || w.Ranked && len(w.Dims) != len(x.Dims) {
		return nil, fmt.Errorf("want X and W of one rank of at least 3, got %v and %v", x, w)
	}
	axes := len(x.Dims) - 2
	if err := o.check(axes); err != nil {
		return nil, err
	}
	out := graph.Ranked(d, x.Dims[0], graph.Unknown)
	kernel, known := o.KernelShape, o.KernelShape != nil
	if w.Ranked {
		if w.Dims[1].IsKnown() {
			out.Dims[1] = graph.Known(w.Dims[1].Size * o.Group)
		}
		if x.Dims[1].IsKnown() && w.Dims[0].IsKnown() && x.Dims[1] != w.Dims[0] {
			return nil, fmt.Errorf("X %v and W %v differ in channels", x, w)
		}
		if !known {
			kernel, known = make([]int, axes), true
			for i, k := range w.Dims[2:] {
				kernel[i] = k.Size
				known = known && k.IsKnown()
			}
		}
	}
	if !known {
		kernel = make([]int, axes)
	}
	sizes := make([]int, axes)
	for i, s := range x.Dims[2:] {
		sizes[i] = s.Size
		if !known {
			sizes[i] = -1
		}
	}
	g, err := o.transposed(sizes, kernel)
	if err != nil {
		return nil, err
	}
	for _, n := range g.out {
		out.Dims = append(out.Dims, graph.Dim{Size: n})
	}
	return []graph.Type{out}, nil
}

func (o *ConvTranspose) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	x, w, b := in[0], in[1], arg(in, 2)
	if err := sameElems(x, w, b); err != nil {
		return nil, err
	}
	if x.Rank() < 3 || w.Rank() != x.Rank() {
		return nil, fmt.Errorf("want X and W of one rank of at least 3, got %v and %v", x, w)
	}
	if o.Group < 1 || x.Shape[1] != w.Shape[0] || x.Shape[1]%o.Group != 0 {
		return nil, fmt.Errorf("X %v and W %v do not fit %d groups", x, w, o.Group)
	}
	if o.KernelShape != nil && !w.Shape[2:].Equal(o.KernelShape) {
		return nil, fmt.Errorf("kernel_shape %v differs from W %v", o.KernelShape, w)
	}
	if err := biasOf(b, w.Shape[1]*o.Group); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalConvTranspose[float32](e, o, x, w, b)) },
		func() ([]*tensor.Tensor, error) { return one(evalConvTranspose[float64](e, o, x, w, b)) })
}

// evalConvTranspose computes, per image and group, what each input position contributes to the window it stands for as one
// matrix product, and adds the contributions up.
func evalConvTranspose[T float32 | float64](e *graph.Env, o *ConvTranspose, x, w, b *tensor.Tensor) (*tensor.Tensor, error) {
	xs, ws, bs, err := realTriple[T](x, w, b)
	if err != nil {
		return nil, err
	}
	g, err := o.transposed(x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil, err
	}
	perO := w.Shape[1]
	channels := perO * o.Group
	shape := append(tensor.Shape{x.Shape[0], channels}, g.out...)
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, x.DType, shape)
	perC, taps := x.Shape[1]/o.Group, tensor.Shape(g.kernel).Len()
	plane, in := tensor.Shape(g.out).Len(), tensor.Shape(g.in).Len()
	if err := checkSize(tensor.Shape{perO, taps, in}); err != nil {
		return nil, err
	}
	col := make([]T, perO*taps*in)
	for n := range x.Shape[0] {
		for group := range o.Group {
			from := xs[(n*x.Shape[1]+group*perC)*in:]
			weights := ws[group*perC*perO*taps:]
			gemmReal(e.Workers(), true, false, perO*taps, in, perC, 1, weights, max(perO*taps, 1), from, max(in, 1), 0, col, max(in, 1))
			e.For(perO, 1, func(lo, hi int) {
				for c := lo; c < hi; c++ {
					dst := y[(n*channels+group*perO+c)*plane:][:plane]
					bias := T(0)
					if bs != nil {
						bias = bs[group*perO+c]
					}
					spread(dst, bias)
					for t := range taps {
						scatterTap(&g, t, col[(c*taps+t)*in:][:in], dst)
					}
				}
			})
		}
	}
	return done(), nil
}

// scatterTap adds the contributions of one tap of all input positions to the output plane.
func scatterTap[T float32 | float64](g *geometry, tap int, src, dst []T) {
	n := len(g.in)
	offset := make([]int, n) // where tap of input position 0 falls
	for d := n - 1; d >= 0; d-- {
		offset[d] = tap%g.kernel[d]*g.dilation[d] - g.padBegin[d]
		tap /= g.kernel[d]
	}
	last := n - 1
	pos := make([]int, last)
	for i := 0; i < len(src); i += g.in[last] {
		row, inside := 0, true
		for d, p := range pos {
			q := p*g.stride[d] + offset[d]
			inside = inside && q >= 0 && q < g.out[d]
			row = row*g.out[d] + q
		}
		if inside {
			line := dst[row*g.out[last]:][:g.out[last]]
			for j, v := range src[i : i+g.in[last]] {
				if q := j*g.stride[last] + offset[last]; q >= 0 && q < len(line) {
					line[q] += v
				}
			}
		}
		nextPosition(pos, g.in)
	}
}
