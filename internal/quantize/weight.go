package quantize

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// codes is a weight in 8-bit integers: w = scale*(code - zero).
type codes struct {
	codes *tensor.Tensor // Int8 or Uint8, the shape of the weight
	scale []float32      // one, or one per index of the channel axis
	zero  []int32        // nil: all zero (int8) ; else one, or one per channel
}

// checkFinite reports NaN and infinite values of a weight with the place of the first.
func checkFinite(name string, shape tensor.Shape, w []float32) error {
	bad, at := 0, 0
	for i, v := range w {
		if v-v != 0 {
			if bad == 0 {
				at = i
			}
			bad++
		}
	}
	if bad == 0 {
		return nil
	}
	idx := make([]int, len(shape))
	for i, rest := len(shape)-1, at; i >= 0; i-- {
		idx[i] = rest % shape[i]
		rest /= shape[i]
	}
	return fmt.Errorf("weight %q: %d of %d values are not finite (the first is %v at %v); a quantized weight needs finite values", name, bad, len(w), w[at], idx)
}

// quantizeWeight rounds a float32 weight to 8-bit codes. axis is the channel axis that gets scales of its own, -1 for one
// scale in all. Signed codes are symmetric over -127..127 with scale max|w|/127; unsigned ones cover [min(w,0), max(w,0)]
// over 0..255, or, with centred, are symmetric around 128. Rounding is to nearest, ties to even, as ONNX QuantizeLinear does.
func quantizeWeight(name string, t *tensor.Tensor, axis int, signed, centred bool) (*codes, error) {
	w, err := t.Floats()
	if err != nil {
		return nil, fmt.Errorf("weight %q: %w", name, err)
	}
	if err := checkFinite(name, t.Shape, w); err != nil {
		return nil, err
	}
	channels, inner := 1, len(w)
	if axis >= 0 {
		channels, inner = t.Shape[axis], t.Shape[axis+1:].Len()
	}
	outer := 0
	if len(w) > 0 {
		outer = len(w) / (channels * inner)
	}
	dt := tensor.Uint8
	if signed {
		dt = tensor.Int8
	}
	out := &codes{codes: tensor.New(dt, t.Shape...), scale: make([]float32, channels)}
	if !signed {
		out.zero = make([]int32, channels)
	}
	dst := out.codes.Bytes()
	kernel.Shared().For(channels, max(1, 1<<16/max(1, outer*inner)), func(lo, hi int) {
		for c := lo; c < hi; c++ {
			each := func(f func(i int)) {
				for o := range outer {
					base := (o*channels + c) * inner
					for i := base; i < base+inner; i++ {
						f(i)
					}
				}
			}
			var least, most float32
			each(func(i int) { least, most = min(least, w[i]), max(most, w[i]) })
			s, z := rangeToScale(least, most, signed, centred)
			out.scale[c] = s
			if out.zero != nil {
				out.zero[c] = z
			}
			qlo, qhi := 0.0, 255.0
			if signed {
				qlo, qhi = -127, 127
			}
			each(func(i int) {
				q := math.RoundToEven(float64(w[i]/s)) + float64(z)
				dst[i] = byte(int32(min(max(q, qlo), qhi)))
			})
		}
	})
	return out, nil
}

// rangeToScale maps a value range to scale and zero point. An empty range, or one too small for a normal float32, gets scale 1.
func rangeToScale(least, most float32, signed, centred bool) (scale float32, zero int32) {
	var s float64
	switch {
	case signed, centred:
		s = float64(max(-least, most)) / 127
	default:
		s = (float64(most) - float64(least)) / 255
	}
	if s < 1.1754943508222875e-38 { // the smallest normal float32
		s = 1
		least = 0
	}
	switch {
	case signed:
	case centred:
		zero = 128
	default:
		zero = int32(math.RoundToEven(-float64(least) / s))
	}
	return float32(s), zero
}

// zeros returns the zero points as a tensor of the codes' type, a scalar if all are equal.
func (c *codes) zeros() *tensor.Tensor {
	if c.zero == nil {
		return tensor.New(c.codes.DType)
	}
	same := true
	for _, z := range c.zero {
		same = same && z == c.zero[0]
	}
	if same {
		return tensor.Scalar(uint8(c.zero[0]))
	}
	v := make([]uint8, len(c.zero))
	for i, z := range c.zero {
		v[i] = uint8(z)
	}
	return tensor.Vector(v...)
}

// scales returns the scales as a scalar, or shaped with n trailing dimensions of one.
func (c *codes) scales(trailing int) *tensor.Tensor {
	if len(c.scale) == 1 {
		return tensor.Scalar(c.scale[0])
	}
	shape := tensor.Shape{len(c.scale)}
	for range trailing {
		shape = append(shape, 1)
	}
	return tensor.Of(shape, c.scale)
}
