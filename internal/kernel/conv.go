package kernel

import "fmt"

// ActivationKind is a pointwise function that a kernel applies to its result before storing it.
type ActivationKind uint8

// The activations that kernels fuse.
const (
	NoActivation   ActivationKind = iota
	ActivationReLU                // ReLU
	ActivationClip                // Clip to [Lo, Hi]
)

// Activation is an activation with its bounds; the zero value does nothing.
type Activation struct {
	Kind   ActivationKind
	Lo, Hi float32 // for ActivationClip
}

// ConvShape describes a convolution over any number of spatial axes (ONNX Conv). Input is
// [Batch, InC, In...], weights are [OutC, InC/Group, Kernel...], output is [Batch, OutC, Out()...],
// all contiguous. Stride and Dilation may be nil for ones, PadBegin and PadEnd nil for zeros;
// otherwise every slice has one value per spatial axis.
type ConvShape struct {
	Batch, InC, OutC, Group int

	In, Kernel       []int
	Stride, Dilation []int
	PadBegin, PadEnd []int
	Activation       Activation // applied to float results after the bias
}

// Out returns the spatial sizes of the output: 1 + (in + pads - dilation*(kernel-1) - 1) / stride,
// rounded down, and 0 where the kernel is larger than the padded input.
func (s *ConvShape) Out() []int {
	out := make([]int, len(s.In))
	for i := range out {
		span := s.In[i] + axisOr(s.PadBegin, i, 0) + axisOr(s.PadEnd, i, 0) - axisOr(s.Dilation, i, 1)*(s.Kernel[i]-1) - 1
		if span >= 0 {
			out[i] = span/axisOr(s.Stride, i, 1) + 1
		}
	}
	return out
}

func axisOr(v []int, i, otherwise int) int {
	if v == nil {
		return otherwise
	}
	return v[i]
}

func product(v []int) int {
	n := 1
	for _, d := range v {
		n *= d
	}
	return n
}

// check panics on a shape that is inconsistent.
func (s *ConvShape) check() {
	n := len(s.In)
	bad := s.Batch < 0 || s.InC < 1 || s.OutC < 1 || s.Group < 1 || s.InC%max(s.Group, 1) != 0 || s.OutC%max(s.Group, 1) != 0 ||
		len(s.Kernel) != n || n == 0
	for _, v := range [][]int{s.Stride, s.Dilation, s.PadBegin, s.PadEnd} {
		bad = bad || v != nil && len(v) != n
	}
	if !bad {
		for i := range n {
			bad = bad || s.In[i] < 0 || s.Kernel[i] < 1 || axisOr(s.Stride, i, 1) < 1 || axisOr(s.Dilation, i, 1) < 1 ||
				axisOr(s.PadBegin, i, 0) < 0 || axisOr(s.PadEnd, i, 0) < 0
		}
	}
	if bad {
		panic(fmt.Sprintf("kernel: convolution shape %+v", *s))
	}
}

// PackedConvF32 holds the weights of a convolution in the order in which the kernels read them.
// It is read-only and may be used by several goroutines.
type PackedConvF32 struct{ w []float32 }

// PackConvF32 packs the weights of s. Batch, In and pads of s do not matter. The result may keep
// referring to w, which must not change afterwards.
func PackConvF32(s *ConvShape, w []float32) *PackedConvF32 {
	needLen("convolution weights", len(w), s.OutC*s.InC/s.Group*product(s.Kernel))
	return &PackedConvF32{w}
}

// ConvF32 computes a float32 convolution (ONNX Conv: cross-correlation, zero padding):
//
//	y[b, o, q...] = act(bias[o] + sum over c, t... of w[o, c, t...] * x[b, g*InC/Group+c, q*stride+t*dilation-pad...])
//
// with g the group of o. bias is empty or has OutC values.
func ConvF32(p *Pool, s *ConvShape, x, w, bias, y []float32) {
	ConvF32Packed(p, s, x, PackConvF32(s, w), bias, y)
}

// ConvF32Packed is ConvF32 with weights packed before.
func ConvF32Packed(p *Pool, s *ConvShape, x []float32, w *PackedConvF32, bias, y []float32) {
	s.check()
	checkConv(s, len(x), len(y))
	convSimple(p, s, len(y), func(o, b, plane int, at func(int) int) {
		var acc float32
		if len(bias) != 0 {
			acc = bias[o]
		}
		taps := s.InC / s.Group * product(s.Kernel)
		for t := range taps {
			if i := at(t); i >= 0 {
				acc += x[i] * w.w[o*taps+t]
			}
		}
		y[plane] = s.Activation.apply(acc)
	})
}

func (a Activation) apply(v float32) float32 {
	one := [1]float32{v}
	switch a.Kind {
	case ActivationReLU:
		ReLU(one[:], one[:])
	case ActivationClip:
		Clip(one[:], one[:], a.Lo, a.Hi)
	}
	return one[0]
}

func checkConv(s *ConvShape, lenX, lenY int) {
	needLen("convolution input", lenX, s.Batch*s.InC*product(s.In))
	needLen("convolution output", lenY, s.Batch*s.OutC*product(s.Out()))
}

// PackedConvInt8 holds the 8-bit weights of a convolution in the order in which the kernels read
// them. It is read-only and may be used by several goroutines.
type PackedConvInt8 struct{ w []int16 }

// PackConvInt8 packs the weights of s (two's complement if signed). wzp is the zero point: empty
// for 0, one value for all, or OutC values. Batch, In and pads of s do not matter.
func PackConvInt8(s *ConvShape, w []byte, signed bool, wzp []int32) *PackedConvInt8 {
	per := s.InC / s.Group * product(s.Kernel)
	needLen("convolution weights", len(w), s.OutC*per)
	checkBroadcast("convolution weight zero point", len(wzp), s.OutC, true)
	q := &PackedConvInt8{make([]int16, s.OutC*per)}
	for i := range q.w {
		v := int32(w[i])
		if signed {
			v = int32(int8(w[i]))
		}
		q.w[i] = int16(v - at(wzp, i/per))
	}
	return q
}

// ConvInt8 computes the exact integer convolution of ONNX ConvInteger,
//
//	y[b, o, q...] = sum over c, t... of (w[o, c, t...]-wzp[o]) * (x[...]-xzp)   in int32
//
// with padding that counts as xzp. x is two's complement if xSigned. Nothing saturates; where the
// sum leaves int32 it wraps.
func ConvInt8(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, w *PackedConvInt8, y []int32) {
	s.check()
	checkConv(s, len(x), len(y))
	convInt8Simple(p, s, x, xSigned, xzp, w, len(y), func(o, plane int, acc int32) { y[plane] = acc })
}

// ConvInt8F32 is ConvInt8 followed by what ONNX's dynamically quantized graphs do with its result,
// each step rounded to float32, and the activation of s:
//
//	y = act(float32(acc)*(xScale*wScale[o]) + bias[o])
//
// wScale has 1 or OutC values, bias is empty or has OutC.
func ConvInt8F32(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, xScale float32, w *PackedConvInt8, wScale, bias []float32, y []float32) {
	s.check()
	checkConv(s, len(x), len(y))
	checkBroadcast("convolution weight scale", len(wScale), s.OutC, false)
	convInt8Simple(p, s, x, xSigned, xzp, w, len(y), func(o, plane int, acc int32) {
		v := float32(float32(acc) * float32(xScale*at(wScale, o)))
		if len(bias) != 0 {
			v += bias[o]
		}
		y[plane] = s.Activation.apply(v)
	})
}

func convInt8Simple(p *Pool, s *ConvShape, x []byte, xSigned bool, xzp int32, w *PackedConvInt8, lenY int, store func(o, plane int, acc int32)) {
	taps := s.InC / s.Group * product(s.Kernel)
	convSimple(p, s, lenY, func(o, b, plane int, at func(int) int) {
		var acc int32
		for t := range taps {
			if i := at(t); i >= 0 {
				v := int32(x[i])
				if xSigned {
					v = int32(int8(x[i]))
				}
				acc += (v - xzp) * int32(w.w[o*taps+t])
			}
		}
		store(o, plane, acc)
	})
}

// convSimple calls one for each output element with its channel, image and index in y, and a
// function that gives the index in x of each tap, or -1 in the padding.
func convSimple(p *Pool, s *ConvShape, lenY int, one func(o, b, plane int, at func(tap int) int)) {
	out := s.Out()
	plane, kernel, in := product(out), product(s.Kernel), product(s.In)
	perGroup, outPerGroup := s.InC/s.Group, s.OutC/s.Group
	p.For(s.Batch*s.OutC, 1, func(lo, hi int) {
		pos := make([]int, len(out))
		for bo := lo; bo < hi; bo++ {
			b, o := bo/s.OutC, bo%s.OutC
			for q := range plane {
				for rest, d := q, len(out)-1; d >= 0; d-- {
					pos[d] = rest % out[d]
					rest /= out[d]
				}
				one(o, b, bo*plane+q, func(tap int) int {
					c, rest := tap/kernel, tap%kernel
					index, step := 0, 1
					for d := len(out) - 1; d >= 0; d-- {
						i := pos[d]*axisOr(s.Stride, d, 1) + rest%s.Kernel[d]*axisOr(s.Dilation, d, 1) - axisOr(s.PadBegin, d, 0)
						rest /= s.Kernel[d]
						if i < 0 || i >= s.In[d] {
							return -1
						}
						index += i * step
						step *= s.In[d]
					}
					return (b*s.InC+o/outPerGroup*perGroup+c)*in + index
				})
			}
		}
	})
}
