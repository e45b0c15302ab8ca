package quantize

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// codes is a weight in 8-bit integers: w = scale*(code - zero). In a rehearsal only the sizes are right.
type codes struct {
	dtype tensor.DType // Int8 or Uint8
	shape tensor.Shape // of the weight
	data  []byte       // nil in a rehearsal
	scale []float32    // one, or one per index of the channel axis
	zero  []int32      // nil: all zero (int8); else as many as scales
	// packed is set for codes of 4 bits, which data holds a byte each.
	packed bool
	// blocks says which weights share a scale where those are not of a channel.
	blocks *blocking

	made    tensor.Source
	flipped *codes
}

// source returns the codes as the data of a parameter, the same at every call.
func (c *codes) source() tensor.Source {
	if c.made != nil {
		return c.made
	}
	c.made = &blank{c.dtype, c.shape}
	switch {
	case c.packed:
		c.made = tensor.InMemory(bytesTensor(tensor.Int4, c.shape, tensor.Pack(tensor.Int4, c.data)))
	case c.data != nil:
		c.made = tensor.InMemory(bytesTensor(c.dtype, c.shape, c.data))
	}
	return c.made
}

// stored is the type of the codes in a file.
func (c *codes) stored() tensor.DType {
	if c.packed {
		return tensor.Int4
	}
	return c.dtype
}

func bytesTensor(d tensor.DType, shape tensor.Shape, data []byte) *tensor.Tensor {
	t, err := tensor.FromBytes(d, shape, data)
	if err != nil {
		panic("quantize: " + err.Error())
	}
	return t
}

// blank stands in a rehearsal for data of which only the size matters.
type blank struct {
	dtype tensor.DType
	shape tensor.Shape
}

func (b *blank) Shape() tensor.Shape           { return b.shape }
func (b *blank) DType() tensor.DType           { return b.dtype }
func (b *blank) Load() (*tensor.Tensor, error) { return tensor.New(b.dtype, b.shape...), nil }

// newCodes returns codes of a weight of the given shape with zero scales and zero points; only a rehearsal leaves them so.
func newCodes(shape tensor.Shape, axis int, signed bool) *codes {
	c := &codes{dtype: tensor.Uint8, shape: shape, scale: make([]float32, 1)}
	if axis >= 0 {
		c.scale = make([]float32, shape[axis])
	}
	if signed {
		c.dtype = tensor.Int8
	} else {
		c.zero = make([]int32, len(c.scale))
	}
	return c
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

// weightForm says what codes a weight is rounded to.
type weightForm struct {
	signed, centred bool
	four            bool      // signed codes of 4 bits, in place of 8
	fit             bool      // signed codes cover the range that loses least, in place of all values
	least           []float32 // scales, one or one per channel, that the chosen ones are not below; nil: any
	limit           float64   // the largest code, if it is not that of 4 or 8 bits
	given           []float32 // scales that are known; nil: they are chosen
}

// most is the largest signed code.
func (f weightForm) most() float64 {
	if f.limit > 0 {
		return f.limit
	}
	if f.four {
		return 7
	}
	return 127
}

// quantizeWeight is roundWeight to 8-bit codes that cover all values.
func quantizeWeight(name string, t *tensor.Tensor, axis int, signed, centred bool) (*codes, error) {
	return roundWeight(name, t, axis, weightForm{signed: signed, centred: centred})
}

// roundWeight rounds a float32 weight to codes. axis is the channel axis that gets scales of its own, -1 for one scale in all.
// Signed codes are symmetric over -127..127 (-7..7) with scale max|w|/127, or a smaller one that loses less; unsigned ones cover
// [min(w,0), max(w,0)] over 0..255, or, with centred, are symmetric around 128. Rounding is to nearest, ties to even, as ONNX
// QuantizeLinear does.
func roundWeight(name string, t *tensor.Tensor, axis int, form weightForm) (*codes, error) {
	w, err := t.Floats()
	if err != nil {
		return nil, fmt.Errorf("weight %q: %w", name, err)
	}
	if err := checkFinite(name, t.Shape, w); err != nil {
		return nil, err
	}
	out := newCodes(t.Shape, axis, form.signed)
	out.packed = form.four
	out.data = make([]byte, len(w))
	channels, inner := len(out.scale), len(w)
	if axis >= 0 {
		inner = t.Shape[axis+1:].Len()
	}
	outer := 0
	if len(w) > 0 {
		outer = len(w) / (channels * inner)
	}
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
			form.round(each, w, out, c)
		}
	})
	return out, nil
}

// round rounds the values of scale k of out, over which each goes, and sets the scale.
func (f weightForm) round(each func(func(i int)), w []float32, out *codes, k int) {
	var least, most float32
	each(func(i int) { least, most = min(least, w[i]), max(most, w[i]) })
	s, z := rangeToScale(least, most, f.signed, f.centred)
	if f.signed {
		s = symmetricScale(least, most, f.most())
	}
	out.scale[k] = s
	if f.fit {
		s, out.scale[k] = fittedScale(each, w, s, f.most())
	}
	if f.least != nil {
		if m := f.least[k%len(f.least)]; s < m {
			s, out.scale[k] = m, m
		}
	}
	if f.given != nil {
		s, out.scale[k] = f.given[k], f.given[k]
	}
	if out.zero != nil {
		out.zero[k] = z
	}
	qlo, qhi := 0.0, 255.0
	if f.signed {
		qlo, qhi = -f.most(), f.most()
	}
	each(func(i int) {
		q := math.RoundToEven(float64(w[i]/s)) + float64(z)
		out.data[i] = byte(int32(min(max(q, qlo), qhi)))
	})
}

// symmetricScale maps a value range to codes from -codes to codes.
func symmetricScale(least, most float32, codes float64) float32 {
	s := float64(max(-least, most)) / codes
	if s < smallestScale {
		return 1
	}
	return float32(s)
}

// smallestScale is the smallest normal float32.
const smallestScale = 1.1754943508222875e-38

// fittedScale searches, from the scale that covers all values down, the one whose codes lose least: with few codes, finer steps for
// most values are worth more than the largest values. What counts is the angle between the values and their codes, since the
// length can be made up for: made is the scale that codes of the scale for rounding then have. Without that, sums of products
// would become smaller layer by layer. each goes over the indices of the values in w.
func fittedScale(each func(func(i int)), w []float32, all float32, codes float64) (rounding, made float32) {
	best, at := -1.0, 1.0
	try := func(f float64) {
		s := float64(float32(float64(all) * f))
		var ww, wq, qq float64
		each(func(i int) {
			v := float64(w[i])
			q := min(max(math.RoundToEven(v/s), -codes), codes)
			ww += v * v
			wq += v * q
			qq += q * q
		})
		if qq == 0 {
			return
		}
		if cos := wq * wq / qq; cos > best {
			best, at = cos, f
			rounding, made = float32(s), float32(ww/wq)
		}
	}
	rounding, made = all, all
	const coarse, fine = 1. / 16, 1. / 128
	for f := 1.0; f > 0.25; f -= coarse {
		try(f)
	}
	for middle, k := at, 1; k < int(coarse/fine); k++ {
		try(middle - float64(k)*fine)
		try(min(middle+float64(k)*fine, 1))
	}
	return rounding, made
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
	if s < smallestScale {
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

// zeros returns the zero points: a scalar if there is one, else one per channel.
func (c *codes) zeros() *tensor.Tensor {
	v := make([]uint8, len(c.scale))
	for i, z := range c.zero {
		v[i] = uint8(z)
	}
	t := bytesTensor(c.dtype, tensor.Shape{len(v)}, v)
	if len(v) == 1 {
		return t.Reshape()
	}
	return t
}

// scales returns the scales: a scalar if there is one, else one per channel with trailing dimensions of one.
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

// reordered returns the codes in another order: the code at i comes from at(i).
func (c *codes) reordered(shape tensor.Shape, at func(i int) int) *codes {
	out := &codes{dtype: c.dtype, shape: shape, scale: c.scale, zero: c.zero}
	if c.data != nil {
		out.data = make([]byte, shape.Len())
		for i := range out.data {
			out.data[i] = c.data[at(i)]
		}
	}
	return out
}

// transposed swaps the last two dimensions.
func (c *codes) transposed() *codes {
	if c.flipped != nil {
		return c.flipped
	}
	rank := len(c.shape)
	rows, cols := c.shape[rank-2], c.shape[rank-1]
	shape := c.shape.Clone()
	shape[rank-2], shape[rank-1] = cols, rows
	c.flipped = c.reordered(shape, func(i int) int {
		matrix, r, k := i/(rows*cols)*(rows*cols), i/rows%cols, i%rows
		return matrix + k*cols + r
	})
	return c.flipped
}

// scaled multiplies the weight by a number.
func (c *codes) scaled(f float32) *codes {
	out := &codes{dtype: c.dtype, shape: c.shape, data: c.data, zero: c.zero, made: c.source()}
	out.scale = make([]float32, len(c.scale))
	for i, v := range c.scale {
		out.scale[i] = v * f
	}
	return out
}

// columns cuts columns [lo, hi) out of a matrix whose columns are the channels.
func (c *codes) columns(lo, hi int) *codes {
	rows, cols, n := c.shape[0], c.shape[1], hi-lo
	out := c.reordered(tensor.Shape{rows, n}, func(i int) int { return i/n*cols + lo + i%n })
	if len(c.scale) > 1 {
		out.scale = c.scale[lo:hi]
		if c.zero != nil {
			out.zero = c.zero[lo:hi]
		}
	}
	return out
}

// direction cuts one direction out of recurrent codes [directions, cols, rows] with scales per row or per direction.
func (c *codes) direction(k int) *codes {
	size := c.shape[1] * c.shape[2]
	per := len(c.scale) / c.shape[0]
	out := c.reordered(c.shape[1:].Clone(), func(i int) int { return k*size + i })
	out.scale = c.scale[k*per : (k+1)*per]
	if c.zero != nil {
		out.zero = c.zero[k*per : (k+1)*per]
	}
	return out
}
