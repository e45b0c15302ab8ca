package kernel

import (
	"fmt"
	"math"
)

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
		out[i] = s.outAt(i)
	}
	return out
}

// outAt is Out()[i].
func (s *ConvShape) outAt(i int) int {
	span := s.In[i] + axisOr(s.PadBegin, i, 0) + axisOr(s.PadEnd, i, 0) - axisOr(s.Dilation, i, 1)*(s.Kernel[i]-1) - 1
	if span < 0 {
		return 0
	}
	return span/axisOr(s.Stride, i, 1) + 1
}

// outs is the number of outputs of a channel.
func (s *ConvShape) outs() int {
	n := 1
	for i := range s.In {
		n *= s.outAt(i)
	}
	return n
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
	for _, v := range [...][]int{s.Stride, s.Dilation, s.PadBegin, s.PadEnd} {
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

func checkConv(s *ConvShape, lenX, lenY, lenBias int) {
	s.check()
	needLen("convolution input", lenX, s.Batch*s.InC*product(s.In))
	needLen("convolution output", lenY, s.Batch*s.OutC*s.outs())
	if lenBias != 0 {
		needLen("convolution bias", lenBias, s.OutC)
	}
}

// bounds returns the clamp that stands for the activation.
func (a Activation) bounds() (lo, hi float32) {
	switch a.Kind {
	case ActivationReLU:
		return 0, float32(math.Inf(1))
	case ActivationClip:
		return a.Lo, a.Hi
	}
	return float32(math.Inf(-1)), float32(math.Inf(1))
}
