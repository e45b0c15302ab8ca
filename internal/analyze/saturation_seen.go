package analyze

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/saturate"
	"github.com/neurotrain/neuroquant/tensor"
)

// product is a product of 8-bit activations and constant int8 weights.
type product struct {
	weights   *saturate.Matrix
	window    *op.Window // of a convolution, with its groups and weight shape
	group     int
	shape     tensor.Shape
	unordered bool // batches of weights: the rows of the activations are not matched to them
	transX    bool
	x         *coded
	weight    []float32 // scales: one, one per channel, or none known
}

// coded is how activations reach a product: as codes, or as numbers scale*(code-zero).
type coded struct {
	float  bool
	signed bool
	scale  float32 // 0: not known beforehand
	zero   int     // for padding; of codes, read from zeroIn
	zeroIn int     // index of the input with the zero point; -1: zero
}

// integerProduct describes n if it is a product that VPMADDUBSW could compute, else it returns nil.
func integerProduct(g *graph.Graph, n *graph.Node) (*product, error) {
	p := &product{group: 1}
	var weight, scale *graph.Value
	in := func(i int) *graph.Value {
		if i < len(n.In) {
			return n.In[i]
		}
		return nil
	}
	transB := false
	switch o := n.Op.(type) {
	case *op.Conv:
		p.window, p.group = &o.Window, o.Group
	case *op.ConvInteger:
		p.window, p.group = &o.Window, o.Group
	case *op.QLinearConv:
		p.window, p.group = &o.Window, o.Group
	case *op.Gemm:
		transB, p.transX = o.TransB, o.TransA
	case *op.QGemm:
		transB, p.transX = o.TransB, o.TransA
	}
	var xScale *graph.Value
	switch n.Op.Kind() {
	case "Conv", "Gemm", "MatMul":
		x, w := in(0).Node, in(1).Node
		if x == nil || w == nil || x.Op.Kind() != "DequantizeLinear" || w.Op.Kind() != "DequantizeLinear" {
			return nil, nil
		}
		weight, scale, xScale = w.In[0], w.In[1], x.In[1]
		p.x = &coded{float: true, signed: x.In[0].Type.DType == tensor.Int8, zeroIn: -1}
		if x.In[0].Type.DType.Bits() != 8 {
			return nil, nil
		}
		if len(x.In) > 2 && x.In[2] != nil {
			z, err := constant(g, x.In[2])
			if err != nil || len(z) != 1 {
				return nil, err
			}
			p.x.zero = int(z[0])
		}
	case "ConvInteger", "MatMulInteger":
		weight, p.x = in(1), &coded{signed: in(0).Type.DType == tensor.Int8, zeroIn: 2}
	case "QLinearConv", "QLinearMatMul", "com.microsoft.QGemm":
		weight, scale, xScale = in(3), in(4), in(1)
		p.x = &coded{signed: in(0).Type.DType == tensor.Int8, zeroIn: 2}
	default:
		return nil, nil
	}
	if !g.IsParam(weight) || weight.Data.DType() != tensor.Int8 {
		return nil, nil
	}
	t, err := weight.Data.Load()
	if err != nil {
		return nil, fmt.Errorf("weight %q: %w", weight.Name, err)
	}
	p.shape = t.Shape
	codes := tensor.Data[int8](t)
	switch {
	case t.Len() == 0:
		return nil, nil
	case p.window != nil && len(t.Shape) > 2:
		if p.group > 1 && t.Shape[1] == 1 && t.Shape[0] == p.group {
			return nil, nil // depthwise
		}
		p.weights = saturate.Conv(codes, t.Shape)
	case p.window != nil || len(t.Shape) < 2:
		return nil, nil
	case transB:
		p.weights = saturate.Rows(codes, t.Shape)
	default:
		p.weights, p.unordered = saturate.Columns(codes, t.Shape), len(t.Shape) > 2
	}
	if scale != nil {
		if p.weight, err = constant(g, scale); err != nil {
			return nil, err
		}
		xs, err := constant(g, xScale)
		if err != nil {
			return nil, err
		}
		if len(xs) == 1 {
			p.x.scale = xs[0]
		} else if p.x.float {
			return nil, nil // scales along an axis: no runtime computes that on codes
		}
	}
	if n := len(p.weight); n != 1 && n != p.weights.Channels {
		p.weight = nil
	}
	return p, nil
}

// constant returns the numbers of a constant, nil if v is none.
func constant(g *graph.Graph, v *graph.Value) ([]float32, error) {
	t, err := g.Constant(v)
	if err != nil || t == nil {
		return nil, err
	}
	return t.Floats()
}

// watched is a product with what was seen of it.
type watched struct {
	product  *product
	at       int // index of the layer
	channels []watchedChannel
	outputs  int // values of one channel
	signal   float64
}

type watchedChannel struct {
	channel     int
	pairs       []saturate.Pair
	seen        int32
	saturated   int
	most, noise float64
}

// see counts the overflows of one call.
func (w *watched) see(in, out []*tensor.Tensor) error {
	p := w.product
	x, zero, err := p.x.codes(in)
	if err != nil {
		return err
	}
	var at func(k int) (base int, offset []int32)
	positions := 0
	if p.window != nil {
		at, positions, err = p.windows(in[0].Shape)
		if err != nil {
			return err
		}
	} else {
		at, positions = p.rows(in[0].Shape)
	}
	if f := floats(out[0]); f != nil && out[0].DType.IsFloat() {
		for _, v := range f {
			w.signal += float64(v) * float64(v)
		}
	}
	images := 1
	plane := len(x)
	if p.window != nil {
		images = in[0].Shape[0]
		plane = len(x) / max(images, 1)
	}
	w.outputs += positions * images
	perGroup := p.weights.Channels / p.group
	kernel.Shared().For(len(w.channels), 1, func(lo, hi int) {
		lost := make([]int64, positions)
		hit := make([]bool, positions)
		for i := lo; i < hi; i++ {
			c := &w.channels[i]
			shift := 0
			if p.window != nil {
				shift = c.channel / perGroup * p.shape[1] * (plane / (p.shape[1] * p.group))
			}
			scale := 0.0
			if p.x.scale != 0 && p.weight != nil {
				scale = float64(p.x.scale) * float64(p.weight[min(c.channel, len(p.weight)-1)])
			}
			for b := range images {
				clear(lost)
				clear(hit)
				image := x[b*plane:][:plane]
				code := func(base int, offset int32) uint8 {
					if offset < 0 {
						return zero
					}
					return image[base+int(offset)]
				}
				for _, pair := range c.pairs {
					b0, o0 := at(pair.K)
					b1, o1 := at(pair.K + 1)
					for q := range positions {
						excess, sum := pair.Excess(code(b0+shift, o0[q]), code(b1+shift, o1[q]))
						if max(sum, -sum) > max(c.seen, -c.seen) {
							c.seen = sum
						}
						if excess != 0 {
							hit[q] = true
							lost[q] += int64(excess)
						}
					}
				}
				for q, h := range hit {
					if h {
						c.saturated++
						e := math.Abs(float64(lost[q])) * scale
						c.most = max(c.most, e)
						c.noise += e * e
					}
				}
			}
		}
	})
	return nil
}

// codes returns the activations as the unsigned codes that the instruction takes, and the code of zero. Signed ones are moved
// by 128, as runtimes do.
func (c *coded) codes(in []*tensor.Tensor) (x []uint8, zero uint8, err error) {
	z := c.zero
	if c.zeroIn >= 0 && c.zeroIn < len(in) && in[c.zeroIn] != nil {
		v, err := in[c.zeroIn].Ints()
		if err != nil {
			return nil, 0, err
		}
		if len(v) != 1 {
			return nil, 0, fmt.Errorf("zero point of the activations: want one, got shape %v", in[c.zeroIn].Shape)
		}
		z = int(v[0])
	}
	flip := uint8(0)
	if c.signed {
		flip = 128
	}
	if !c.float {
		x = in[0].Bytes()
		if c.signed {
			x = append([]uint8(nil), x...)
			for i := range x {
				x[i] ^= flip
			}
		}
		return x, uint8(z) ^ flip, nil
	}
	f, err := in[0].Floats()
	if err != nil {
		return nil, 0, err
	}
	x = make([]uint8, len(f))
	for i, v := range f { // a multiple of the scale: the quotient is within rounding of a whole number
		x[i] = uint8(int(math.RoundToEven(float64(v/c.scale)))+z) ^ flip
	}
	return x, uint8(z) ^ flip, nil
}

// windows tells where in an image of a convolution's input the activations for depth k lie: the base of the channel and, for
// every output position, the offset in its plane, or -1 in the padding.
func (p *product) windows(x tensor.Shape) (at func(k int) (int, []int32), positions int, err error) {
	s, err := op.ConvShape(p.window, p.group, x, p.shape)
	if err != nil {
		return nil, 0, err
	}
	out := s.Out()
	positions = tensor.Shape(out).Len()
	taps := tensor.Shape(s.Kernel).Len()
	offsets := make([][]int32, taps)
	for t := range taps {
		offsets[t] = make([]int32, positions)
		for q := range positions {
			offset, stride, restQ, restT := 0, 1, q, t
			for d := len(out) - 1; d >= 0; d-- {
				i := restQ%out[d]*s.Stride[d] - s.PadBegin[d] + restT%s.Kernel[d]*s.Dilation[d]
				restQ, restT = restQ/out[d], restT/s.Kernel[d]
				if i < 0 || i >= s.In[d] {
					offset = -1
					break
				}
				offset += i * stride
				stride *= s.In[d]
			}
			offsets[t][q] = int32(offset)
		}
	}
	plane := tensor.Shape(s.In).Len()
	return func(k int) (int, []int32) { return k % p.shape[1] * plane, offsets[k/p.shape[1]] }, positions, nil
}

// rows is windows for a matrix: the positions are its rows.
func (p *product) rows(x tensor.Shape) (at func(k int) (int, []int32), positions int) {
	depth := p.weights.Depth
	positions = x.Len() / max(depth, 1)
	offsets := make([]int32, positions)
	if p.transX { // rows lie beside each other
		for i := range offsets {
			offsets[i] = int32(i)
		}
		return func(k int) (int, []int32) { return k * positions, offsets }, positions
	}
	for i := range offsets {
		offsets[i] = int32(i * depth)
	}
	return func(k int) (int, []int32) { return k, offsets }, positions
}
