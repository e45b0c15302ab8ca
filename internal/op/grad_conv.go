package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Recalls implements [graph.Recalling].
func (*Conv) Recalls() (in, out uint64) { return operandSet(0, 1), 0 }

// Backward implements [graph.Differentiable]. The gradient of X is the convolution of dY with the weights turned around, that of W
// the products of dY with what lay under each tap.
func (o *Conv) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, w, d := in[0], in[1], dOut[0]
	if err := checkGrad(d.DType); err != nil {
		return nil, err
	}
	out := make([]*tensor.Tensor, len(in))
	if o.ChannelsLast {
		return out, o.backwardLast(e, in, d, out)
	}
	s, _, err := newConvShape(&o.Window, o.Group, x.Shape, w.Shape)
	if err != nil {
		return nil, err
	}
	if e.Wants(0) {
		out[0] = e.Zeros(x.DType, x.Shape...)
	}
	if e.Wants(1) {
		out[1] = e.Zeros(w.DType, w.Shape...)
	}
	err = byGrad(d.DType,
		func() error { convGrad[float32](e, s, x, w, d, out[0], out[1]); return nil },
		func() error { convGrad[float64](e, s, x, w, d, out[0], out[1]); return nil })
	if err == nil && arg(in, 2) != nil && e.Wants(2) {
		out[2], err = channelSumGrad(e, d, in[2].Shape)
	}
	return out, err
}

// channelSumGrad sums a gradient [batch, channels, spatial...] to one value per channel.
func channelSumGrad(e *graph.Env, d *tensor.Tensor, shape tensor.Shape) (*tensor.Tensor, error) {
	wide := make(tensor.Shape, d.Rank()-1)
	for i := range wide {
		wide[i] = 1
	}
	wide[0] = d.Shape[1]
	t, err := sumTo(e, d, wide)
	if err != nil {
		return nil, err
	}
	return e.View(t, shape...), nil
}

// convGrad adds the gradients of both operands of a convolution, nil where one is not wanted, by products over the columns of windows.
func convGrad[T gradElems](e *graph.Env, s *kernel.ConvShape, x, w, d, dx, dw *tensor.Tensor) {
	out := s.Out()
	plane, in := max(tensor.Shape(out).Len(), 1), tensor.Shape(s.In).Len()
	perC, perO := s.InC/s.Group, s.OutC/s.Group
	taps := perC * tensor.Shape(s.Kernel).Len()
	col := kernel.Borrow[T](taps * plane)
	defer col.Release()
	xs, ws, ds := tensor.Data[T](x), tensor.Data[T](w), tensor.Data[T](d)
	if len(ds) == 0 {
		return
	}
	for b := range s.Batch {
		for g := range s.Group {
			dy := ds[(b*s.OutC+g*perO)*plane:][:perO*plane]
			image := (b*s.InC + g*perC) * in
			if dw != nil {
				fillColumns(e, s, out, xs[image:image+perC*in], col.Data)
				gemmReal(e.Workers(), false, true, perO, taps, plane, 1, dy, plane, col.Data, plane, 1, tensor.Data[T](dw)[g*perO*taps:], taps)
			}
			if dx != nil {
				gemmReal(e.Workers(), true, false, taps, plane, perO, 1, ws[g*perO*taps:], taps, dy, plane, 0, col.Data, plane)
				addColumns(e, s, out, tensor.Data[T](dx)[image:image+perC*in], col.Data)
			}
		}
	}
}

// addColumns adds col[c*taps+t][q] to the input under tap t of output position q: the adjoint of fillColumns.
func addColumns[T gradElems](e *graph.Env, s *kernel.ConvShape, out []int, image, col []T) {
	plane, in, taps := tensor.Shape(out).Len(), tensor.Shape(s.In).Len(), tensor.Shape(s.Kernel).Len()
	e.For(len(image)/max(in, 1), 1, func(lo, hi int) {
		tap, pos := make([]int, len(out)), make([]int, len(out))
		for r := lo * taps; r < hi*taps; r++ {
			for d, rest := len(tap)-1, r%taps; d >= 0; d-- {
				tap[d] = rest % s.Kernel[d]
				rest /= s.Kernel[d]
			}
			dst, src := image[r/taps*in:][:in], col[r*plane:(r+1)*plane]
			clear(pos)
			for _, v := range src {
				if i := indexUnder(s, tap, pos); i >= 0 {
					dst[i] += v
				}
				nextPosition(pos, out)
			}
		}
	})
}

// indexUnder returns the index of the input under a tap of an output position, -1 in the padding.
func indexUnder(s *kernel.ConvShape, tap, pos []int) int {
	index := 0
	for d := range pos {
		i := pos[d]*s.Stride[d] + tap[d]*s.Dilation[d] - s.PadBegin[d]
		if i < 0 || i >= s.In[d] {
			return -1
		}
		index = index*s.In[d] + i
	}
	return index
}

// lastConv is what a convolution over channels-last images keeps from one run to the next.
type lastConv struct {
	x, w    tensor.Shape
	s, back *kernel.ConvShape // back: of the gradient of x
	y       tensor.Shape
	packed  *kernel.PackedConvF32NHWC
	turned  []float32
	plans   kernel.ConvGradPlans
	sums    []float64
}

// lastKept returns the convolution of x and w, to be ended by Done.
func (o *Conv) lastKept(e *graph.Env, x, w *tensor.Tensor) (*graph.Kept[lastConv], error) {
	k := graph.Keep[lastConv](e)
	if k.V.s != nil && k.V.x.Equal(x.Shape) && k.V.w.Equal(w.Shape) {
		return k, nil
	}
	s, shape, err := newConvShape(&o.Window, o.Group, channelsSecondOf(x.Shape, true), w.Shape)
	if err != nil {
		k.Done()
		return nil, err
	}
	k.V = lastConv{x: x.Shape.Clone(), w: w.Shape.Clone(), s: s, y: channelsBackOf(shape, true)}
	return k, nil
}

// evalLast is Eval on float32 images with channels last.
func (o *Conv) evalLast(e *graph.Env, x, w, b *tensor.Tensor) ([]*tensor.Tensor, error) {
	if x.DType != tensor.Float32 {
		return nil, fmt.Errorf("channels-last images: want float32, got %v", x.DType)
	}
	kept, err := o.lastKept(e, x, w)
	if err != nil {
		return nil, err
	}
	defer kept.Done()
	k := &kept.V
	if err := biasOf(b, k.s.OutC); err != nil {
		return nil, err
	}
	var bias []float32
	if b != nil {
		bias = tensor.Data[float32](b)
	}
	k.pack(k.s, tensor.Data[float32](w))
	y := e.New(tensor.Float32, k.y...)
	kernel.ConvF32NHWC(e.Workers(), k.s, tensor.Data[float32](x), k.packed, bias, nil, tensor.Data[float32](y))
	return e.One(y), nil
}

func (k *lastConv) pack(s *kernel.ConvShape, w []float32) {
	if k.packed == nil {
		k.packed = kernel.PackConvF32NHWC(s, w)
	} else {
		k.packed.Repack(s, w)
	}
}

// backwardLast is Backward on float32 images with channels last.
func (o *Conv) backwardLast(e *graph.Env, in []*tensor.Tensor, d *tensor.Tensor, out []*tensor.Tensor) error {
	x, w := in[0], in[1]
	if d.DType != tensor.Float32 {
		return fmt.Errorf("channels-last images: want float32, got %v", d.DType)
	}
	kept, err := o.lastKept(e, x, w)
	if err != nil {
		return err
	}
	defer kept.Done()
	k, dy := &kept.V, tensor.Data[float32](d)
	s := k.s
	if e.Wants(1) {
		out[1] = e.New(tensor.Float32, w.Shape...)
		if s.Group == s.InC && s.OutC == s.InC && s.Group > 1 {
			kernel.DepthwiseWeightGradF32NHWC(e.Workers(), s, tensor.Data[float32](x), dy, tensor.Data[float32](out[1]))
		} else {
			kernel.ConvWeightGradF32NHWC(e.Workers(), &k.plans, s, tensor.Data[float32](x), dy, tensor.Data[float32](out[1]))
		}
	}
	if arg(in, 2) != nil && e.Wants(2) {
		if k.sums == nil {
			k.sums = make([]float64, s.OutC)
		}
		kernel.ChannelSums(e.Workers(), len(dy)/s.OutC, s.OutC, dy, nil, nil, k.sums, nil)
		out[2] = e.New(tensor.Float32, s.OutC)
		for i, v := range k.sums {
			tensor.Data[float32](out[2])[i] = float32(v)
		}
	}
	if !e.Wants(0) {
		return nil
	}
	if k.back == nil {
		back, ok := s.InputGradShape()
		if !ok {
			return fmt.Errorf("pads %v of a kernel %v reach further than it; there is no gradient on channels-last images", s.PadBegin, s.Kernel)
		}
		k.back, k.turned = back, make([]float32, w.Len())
	}
	kernel.TurnConvWeights(s, k.turned, tensor.Data[float32](w))
	k.pack(k.back, k.turned)
	out[0] = e.New(tensor.Float32, x.Shape...)
	if n := tensor.Shape(k.back.In).Len(); n != tensor.Shape(k.y[1:len(k.y)-1]).Len() {
		wide := kernel.Borrow[float32](s.Batch * s.OutC * n)
		defer wide.Release()
		kernel.SpreadNHWC(e.Workers(), s.Batch, s.OutC, k.y[1:len(k.y)-1], s.Stride, dy, wide.Data)
		dy = wide.Data
	}
	kernel.ConvF32NHWC(e.Workers(), k.back, dy, k.packed, nil, nil, tensor.Data[float32](out[0]))
	return nil
}

// TrainsChannelsLast reports whether the convolution of float32 images, which a graph has with channels second, is faster on channels-last
// ones, forward and backward, for a weight of the given shape.
func (o *Conv) TrainsChannelsLast(w tensor.Shape) bool {
	if len(w) < 3 || o.Group < 1 || w[0]%o.Group != 0 {
		return false
	}
	s := &kernel.ConvShape{InC: w[1] * o.Group, OutC: w[0], Group: o.Group, Kernel: w[2:]}
	if !kernel.PrefersChannelsLast(s) {
		return false
	}
	for i, p := range o.Pads {
		dilation := 1
		if o.Dilations != nil {
			dilation = o.Dilations[i%(len(w)-2)]
		}
		if p > dilation*(w[2+i%(len(w)-2)]-1) {
			return false
		}
	}
	return o.AutoPad == "" || o.AutoPad == "NOTSET" || o.AutoPad == "VALID"
}

// Recalls implements [graph.Recalling].
func (*ConvTranspose) Recalls() (in, out uint64) { return operandSet(0, 1), 0 }

// Backward implements [graph.Differentiable]: the roles of input and output are those of a Conv exchanged.
func (o *ConvTranspose) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, w, d := in[0], in[1], dOut[0]
	if err := checkGrad(d.DType); err != nil {
		return nil, err
	}
	g, err := o.transposed(x.Shape[2:], w.Shape[2:])
	if err != nil {
		return nil, err
	}
	// The convolution from dY's side: its input is the output here.
	s := &kernel.ConvShape{
		Batch: x.Shape[0], InC: d.Shape[1], OutC: x.Shape[1], Group: o.Group, In: d.Shape[2:], Kernel: w.Shape[2:],
		Stride: g.stride, Dilation: g.dilation, PadBegin: g.padBegin, PadEnd: make([]int, len(g.in)),
	}
	for i := range g.in { // as many windows as there are inputs
		s.PadEnd[i] = (g.in[i]-1)*g.stride[i] + g.dilation[i]*(w.Shape[2+i]-1) + 1 - d.Shape[2+i] - g.padBegin[i]
	}
	out := make([]*tensor.Tensor, len(in))
	if e.Wants(0) {
		out[0] = e.Zeros(x.DType, x.Shape...)
	}
	if e.Wants(1) {
		out[1] = e.Zeros(w.DType, w.Shape...)
	}
	err = byGrad(d.DType,
		func() error { convTransposeGrad[float32](e, s, g.in, x, w, d, out[0], out[1]); return nil },
		func() error { convTransposeGrad[float64](e, s, g.in, x, w, d, out[0], out[1]); return nil })
	if err == nil && arg(in, 2) != nil && e.Wants(2) {
		out[2], err = channelSumGrad(e, d, in[2].Shape)
	}
	return out, err
}

func convTransposeGrad[T gradElems](e *graph.Env, s *kernel.ConvShape, positions []int, x, w, d, dx, dw *tensor.Tensor) {
	plane, in := tensor.Shape(positions).Len(), tensor.Shape(s.In).Len()
	perC, perO := s.InC/s.Group, s.OutC/s.Group
	taps := perC * tensor.Shape(s.Kernel).Len()
	xs, ws, ds := tensor.Data[T](x), tensor.Data[T](w), tensor.Data[T](d)
	if len(xs) == 0 || len(ds) == 0 {
		return
	}
	col := kernel.Borrow[T](taps * plane)
	defer col.Release()
	for b := range s.Batch {
		for g := range s.Group {
			image := ds[(b*s.InC+g*perC)*in:][:perC*in]
			fillColumns(e, s, positions, image, col.Data)
			at := (b*s.OutC + g*perO) * plane
			if dx != nil {
				gemmReal(e.Workers(), false, false, perO, plane, taps, 1, ws[g*perO*taps:], taps, col.Data, plane, 0, tensor.Data[T](dx)[at:], plane)
			}
			if dw != nil {
				gemmReal(e.Workers(), false, true, perO, taps, plane, 1, xs[at:], plane, col.Data, plane, 1, tensor.Data[T](dw)[g*perO*taps:], taps)
			}
		}
	}
}
