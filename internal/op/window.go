package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
)

// Window holds the attributes that convolutions and poolings share: how a kernel slides over the spatial axes of
// [batch, channels, spatial...]. Nil Strides and Dilations mean ones, nil Pads zeros; Pads lists all beginnings, then all ends.
type Window struct {
	AutoPad     string `attr:"auto_pad,NOTSET"` // NOTSET, SAME_UPPER, SAME_LOWER, VALID; "" is NOTSET
	KernelShape []int  `attr:"kernel_shape"`
	Strides     []int  `attr:"strides,1"`
	Dilations   []int  `attr:"dilations,1"`
	Pads        []int  `attr:"pads,0"`
}

// maxWindow bounds kernel sizes, strides, dilations and pads, so that sums and products of them do not overflow.
const maxWindow = 1 << 30

// geometry is a Window resolved against an input: one value per spatial axis, and the output sizes.
type geometry struct {
	in, kernel, stride, dilation, padBegin, padEnd, out []int
}

// check reports attribute values that can never be valid for the number of spatial axes.
func (w *Window) check(axes int) error {
	for _, a := range []struct {
		name   string
		v      []int
		n, low int
	}{{"kernel_shape", w.KernelShape, axes, 1}, {"strides", w.Strides, axes, 1}, {"dilations", w.Dilations, axes, 1}, {"pads", w.Pads, 2 * axes, 0}} {
		if a.v == nil {
			continue
		}
		if len(a.v) != a.n {
			return fmt.Errorf("%s: want %d values, got %d", a.name, a.n, len(a.v))
		}
		for _, x := range a.v {
			if x < a.low || x > maxWindow {
				return fmt.Errorf("%s: value %d is out of range", a.name, x)
			}
		}
	}
	switch w.AutoPad {
	case "", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID":
		return nil
	}
	return fmt.Errorf("auto_pad: unknown value %q", w.AutoPad)
}

// resolve computes pads and output sizes for spatial input sizes. kernel is used where the attribute is absent. With ceil the
// output size is rounded up, except that no window starts beyond the input and its leading pad. A negative entry of in is an unknown
// size and gives an unknown (-1) output size.
func (w *Window) resolve(in, kernel []int, ceil bool) (geometry, error) {
	n := len(in)
	if err := w.check(n); err != nil {
		return geometry{}, err
	}
	if w.KernelShape != nil {
		kernel = w.KernelShape
	}
	if len(kernel) != n {
		return geometry{}, fmt.Errorf("kernel_shape: want %d values, got %d", n, len(kernel))
	}
	ints := func() []int { return make([]int, n) }
	g := geometry{in: in, kernel: kernel, stride: ints(), dilation: ints(), padBegin: ints(), padEnd: ints(), out: ints()}
	for i := range n {
		g.stride[i], g.dilation[i] = 1, 1
		if w.Strides != nil {
			g.stride[i] = w.Strides[i]
		}
		if w.Dilations != nil {
			g.dilation[i] = w.Dilations[i]
		}
		if kernel[i] < 1 || kernel[i] > maxWindow {
			return geometry{}, fmt.Errorf("kernel size %d is out of range", kernel[i])
		}
		if in[i] < 0 {
			g.out[i] = -1
			continue
		}
		span := g.dilation[i]*(kernel[i]-1) + 1
		switch w.AutoPad {
		case "SAME_UPPER", "SAME_LOWER":
			g.out[i] = (in[i] + g.stride[i] - 1) / g.stride[i]
			total := max((g.out[i]-1)*g.stride[i]+span-in[i], 0)
			g.padBegin[i] = total / 2
			if w.AutoPad == "SAME_LOWER" {
				g.padBegin[i] = total - total/2
			}
			g.padEnd[i] = total - g.padBegin[i]
			continue
		case "VALID":
		default:
			if w.Pads != nil {
				g.padBegin[i], g.padEnd[i] = w.Pads[i], w.Pads[n+i]
			}
		}
		room := in[i] + g.padBegin[i] + g.padEnd[i] - span
		if room < 0 {
			return geometry{}, fmt.Errorf("kernel spans %d on spatial axis %d, larger than the padded input %d", span, i, room+span)
		}
		g.out[i] = room/g.stride[i] + 1
		if ceil && room%g.stride[i] != 0 && g.out[i]*g.stride[i] < in[i]+g.padBegin[i] {
			g.out[i]++
		}
	}
	return g, nil
}

// inferDims returns the spatial output dimensions. A name is kept where the window leaves every size as it is.
func (w *Window) inferDims(spatial []graph.Dim, kernel []int, ceil bool) ([]graph.Dim, error) {
	in := make([]int, len(spatial))
	for i, d := range spatial {
		in[i] = d.Size
	}
	g, err := w.resolve(in, kernel, ceil)
	if err != nil {
		return nil, err
	}
	out := make([]graph.Dim, len(in))
	for i := range out {
		out[i] = graph.Dim{Size: g.out[i]}
		if in[i] < 0 && g.stride[i] == 1 {
			pads := 0
			if w.Pads != nil && (w.AutoPad == "" || w.AutoPad == "NOTSET") {
				pads = w.Pads[i] + w.Pads[len(in)+i]
			}
			same := w.AutoPad == "SAME_UPPER" || w.AutoPad == "SAME_LOWER"
			if same || pads == g.dilation[i]*(g.kernel[i]-1) {
				out[i].Name = spatial[i].Name
			}
		}
	}
	return out, nil
}

// convShape is g as the convolution kernels take it.
func (g *geometry) convShape(batch, inC, outC, group int) *kernel.ConvShape {
	return &kernel.ConvShape{
		Batch: batch, InC: inC, OutC: outC, Group: group, In: g.in, Kernel: g.kernel,
		Stride: g.stride, Dilation: g.dilation, PadBegin: g.padBegin, PadEnd: g.padEnd,
	}
}

// taps returns the range [lo, hi) of kernel positions on an axis that lie inside the input for output position q, and the
// input position of tap 0, which may be negative.
func (g *geometry) taps(axis, q int) (lo, hi, start int) {
	d, k := g.dilation[axis], g.kernel[axis]
	start = q*g.stride[axis] - g.padBegin[axis]
	if start < 0 {
		lo = (-start + d - 1) / d
	}
	if end := g.in[axis] - start; end <= 0 {
		hi = 0
	} else {
		hi = min(k, (end+d-1)/d)
	}
	return min(lo, hi), hi, start
}

// padded3 returns the geometry with exactly three axes, ones put in front; false if it has more.
func (g geometry) padded3() (geometry, bool) {
	n := len(g.in)
	if n > 3 {
		return g, false
	}
	front := func(v []int, x int) []int {
		out := []int{x, x, x}
		copy(out[3-n:], v)
		return out
	}
	return geometry{
		front(g.in, 1), front(g.kernel, 1), front(g.stride, 1), front(g.dilation, 1),
		front(g.padBegin, 0), front(g.padEnd, 0), front(g.out, 1),
	}, true
}

// lowest is the number below which no element of a pooled tensor lies.
func lowest[T float32 | float64 | int8 | uint8]() T {
	var z T
	switch p := any(&z).(type) {
	case *float32:
		*p = -math.MaxFloat32
	case *float64:
		*p = -math.MaxFloat64
	case *int8:
		*p = math.MinInt8
	}
	return z
}
