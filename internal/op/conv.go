package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var convOps = table{
	"Conv":                fresh[Conv],
	"ConvTranspose":       fresh[ConvTranspose],
	"DeformConv":          fresh[DeformConv],
	"CausalConvWithState": fresh[CausalConvWithState],
}

// Conv is the ONNX operator Conv: X [batch, C, spatial...] with W [M, C/group, kernel...] and an optional bias [M], over any
// number of spatial axes.
type Conv struct {
	Window
	Group int `attr:"group,1"`

	// ChannelsLast says that X is [batch, spatial..., channels] and so is the result; both are float32 then. Training sets it.
	ChannelsLast bool
}

func (*Conv) Kind() string { return "Conv" }

func (o *Conv) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 3, floats)
	if err != nil {
		return nil, err
	}
	t, err := inferConv(d, &o.Window, o.Group, channelsSecond(in[0], o.ChannelsLast), in[1])
	return one(channelsBack(t, o.ChannelsLast), err)
}

// inferConv returns the type of a convolution of element type d.
func inferConv(d tensor.DType, win *Window, group int, x, w graph.Type) (graph.Type, error) {
	if group < 1 {
		return graph.Type{}, fmt.Errorf("group: want at least 1, got %d", group)
	}
	if !x.Ranked {
		return graph.Unranked(d), nil
	}
	if len(x.Dims) < 3 {
		return graph.Type{}, fmt.Errorf("X: want at least 3 dimensions, got %v", x)
	}
	axes := len(x.Dims) - 2
	if err := win.check(axes); err != nil {
		return graph.Type{}, err
	}
	out := graph.Ranked(d, x.Dims[0], graph.Unknown)
	kernel, known := win.KernelShape, win.KernelShape != nil
	if w.Ranked {
		if len(w.Dims) != len(x.Dims) {
			return graph.Type{}, fmt.Errorf("W: want %d dimensions, got %v", len(x.Dims), w)
		}
		out.Dims[1] = w.Dims[0]
		if c, per := x.Dims[1], w.Dims[1]; c.IsKnown() && per.IsKnown() && c.Size != per.Size*group {
			return graph.Type{}, fmt.Errorf("X has %d channels, W %v takes %d in %d groups", c.Size, w, per.Size*group, group)
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
		for range axes {
			out.Dims = append(out.Dims, graph.Unknown)
		}
		return out, nil
	}
	spatial, err := win.inferDims(x.Dims[2:], kernel, false)
	out.Dims = append(out.Dims, spatial...)
	return out, err
}

// newConvShape resolves a convolution against its operands and returns the shape of the output too.
func newConvShape(win *Window, group int, x, w tensor.Shape) (*kernel.ConvShape, tensor.Shape, error) {
	if len(x) < 3 || len(w) != len(x) {
		return nil, nil, fmt.Errorf("want X and W of one rank of at least 3, got %v and %v", x, w)
	}
	if group < 1 || x[1] < 1 || w[0] < 1 || w[0]%group != 0 || x[1] != w[1]*group {
		return nil, nil, fmt.Errorf("X %v and W %v do not fit %d groups", x, w, group)
	}
	if win.KernelShape != nil && !w[2:].Equal(win.KernelShape) {
		return nil, nil, fmt.Errorf("kernel_shape %v differs from W %v", win.KernelShape, w)
	}
	g, err := win.resolve(x[2:], w[2:], false)
	if err != nil {
		return nil, nil, err
	}
	out := append(tensor.Shape{x[0], w[0]}, g.out...)
	if err := checkSize(out); err != nil {
		return nil, nil, err
	}
	return g.convShape(x[0], x[1], w[0], group), out, nil
}

// ConvShape resolves a window with its groups against an input X and a weight W, as the convolution kernels take it.
func ConvShape(win *Window, group int, x, w tensor.Shape) (*kernel.ConvShape, error) {
	s, _, err := newConvShape(win, group, x, w)
	return s, err
}

// biasOf checks an optional bias of n values.
func biasOf(t *tensor.Tensor, n int) error {
	if t != nil && (t.Rank() != 1 || t.Shape[0] != n) {
		return fmt.Errorf("bias: want %d values, got shape %v", n, t.Shape)
	}
	return nil
}

func (o *Conv) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	x, w, b := in[0], in[1], arg(in, 2)
	if err := sameElems(x, w, b); err != nil {
		return nil, err
	}
	if o.ChannelsLast {
		return o.evalLast(e, x, w, b)
	}
	s, out, err := newConvShape(&o.Window, o.Group, x.Shape, w.Shape)
	if err == nil {
		err = biasOf(b, s.OutC)
	}
	if err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) {
			xs, ws, bs, err := realTriple[float32](x, w, b)
			if err != nil {
				return nil, err
			}
			y, done := realOutput[float32](e, x.DType, out)
			kernel.ConvF32(e.Workers(), s, xs, ws, bs, y)
			return []*tensor.Tensor{done()}, nil
		},
		func() ([]*tensor.Tensor, error) {
			xs, ws, bs, err := realTriple[float64](x, w, b)
			if err != nil {
				return nil, err
			}
			y, done := realOutput[float64](e, x.DType, out)
			convColumns(e, s, xs, ws, bs, y)
			return []*tensor.Tensor{done()}, nil
		})
}

// realTriple converts two operands and an optional third.
func realTriple[T float32 | float64](x, w, b *tensor.Tensor) (xs, ws, bs []T, err error) {
	if xs, err = realData[T](x); err != nil {
		return
	}
	if ws, err = realData[T](w); err != nil || b == nil {
		return
	}
	bs, err = realData[T](b)
	return
}

// convColumns computes a convolution as one matrix product per image and group over the columns of its windows.
func convColumns[T float32 | float64](e *graph.Env, s *kernel.ConvShape, x, w, bias, y []T) {
	out := s.Out()
	plane, in := tensor.Shape(out).Len(), tensor.Shape(s.In).Len()
	perC, perO := s.InC/s.Group, s.OutC/s.Group
	taps := perC * tensor.Shape(s.Kernel).Len()
	col := make([]T, taps*plane)
	for b := range s.Batch {
		for g := range s.Group {
			image := x[(b*s.InC+g*perC)*in:][:perC*in]
			fillColumns(e, s, out, image, col)
			dst := y[(b*s.OutC+g*perO)*plane:][:perO*plane]
			if bias != nil {
				for o := range perO {
					spread(dst[o*plane:(o+1)*plane], bias[g*perO+o])
				}
			} else {
				clear(dst)
			}
			gemmReal(e.Workers(), false, false, perO, plane, taps, 1, w[g*perO*taps:], taps, col, max(plane, 1), 1, dst, max(plane, 1))
		}
	}
}

// fillColumns sets col[c*taps+t][q] to the input under tap t of output position q, zero in the padding, for one group.
func fillColumns[T any](e *graph.Env, s *kernel.ConvShape, out []int, image, col []T) {
	plane, in, taps := tensor.Shape(out).Len(), tensor.Shape(s.In).Len(), tensor.Shape(s.Kernel).Len()
	if plane == 0 {
		return
	}
	e.For(len(col)/plane, max(1, elementGrain/plane), func(lo, hi int) {
		tap, pos := make([]int, len(out)), make([]int, len(out))
		for r := lo; r < hi; r++ {
			for d, rest := len(tap)-1, r%taps; d >= 0; d-- {
				tap[d] = rest % s.Kernel[d]
				rest /= s.Kernel[d]
			}
			src, dst := image[r/taps*in:][:in], col[r*plane:(r+1)*plane]
			clear(pos)
			for q := range dst {
				dst[q] = inputUnder(src, s, tap, pos)
				nextPosition(pos, out)
			}
		}
	})
}

// inputUnder returns the input under a tap of an output position, zero in the padding.
func inputUnder[T any](image []T, s *kernel.ConvShape, tap, pos []int) T {
	index := 0
	for d := range pos {
		i := pos[d]*s.Stride[d] + tap[d]*s.Dilation[d] - s.PadBegin[d]
		if i < 0 || i >= s.In[d] {
			var zero T
			return zero
		}
		index = index*s.In[d] + i
	}
	return image[index]
}

// nextPosition advances a row-major position, the last axis first.
func nextPosition(pos, sizes []int) {
	for d := len(pos) - 1; d >= 0; d-- {
		if pos[d]++; pos[d] < sizes[d] {
			return
		}
		pos[d] = 0
	}
}
