package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// GridSample is the ONNX operator GridSample: X [batch, channels, spatial...] is sampled at the normalized positions grid
// [batch, out spatial..., rank]; a position lists the innermost axis first.
type GridSample struct {
	AlignCorners bool   `attr:"align_corners,0"` // -1 and 1 are the centres of the corner elements, not their outer edges
	Mode         string `attr:"mode,linear"`     // linear, nearest or cubic; the names bilinear and bicubic are the same
	Padding      string `attr:"padding_mode,zeros"`
}

func (*GridSample) Kind() string { return "GridSample" }

// reach returns how many elements along an axis make a sample.
func (o *GridSample) reach() (int, error) {
	switch o.Padding {
	case "zeros", "border", "reflection":
	default:
		return 0, fmt.Errorf("padding_mode: want zeros, border or reflection, got %q", o.Padding)
	}
	switch o.Mode {
	case "nearest":
		return 1, nil
	case "linear", "bilinear":
		return 2, nil
	case "cubic", "bicubic":
		return 4, nil
	}
	return 0, fmt.Errorf("mode: want linear, nearest or cubic, got %q", o.Mode)
}

// Infer takes batch and channels from X and the spatial dimensions from grid.
func (o *GridSample) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if _, err := o.reach(); err != nil {
		return nil, err
	}
	if err := floats.check(1, in[1].DType); err != nil {
		return nil, err
	}
	x, g := in[0], in[1]
	if !x.Ranked || !g.Ranked {
		return []graph.Type{graph.Unranked(x.DType)}, nil
	}
	if len(x.Dims) < 3 || len(g.Dims) != len(x.Dims) {
		return nil, fmt.Errorf("want X and grid of the same rank of at least 3, got %v and %v", x, g)
	}
	dims := append([]graph.Dim{x.Dims[0], x.Dims[1]}, g.Dims[1:len(g.Dims)-1]...)
	return []graph.Type{graph.Ranked(x.DType, dims...)}, nil
}

// Eval computes in float32 (float64 for float64 and integers).
func (o *GridSample) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := floats.check(1, in[1].DType); err != nil {
		return nil, err
	}
	switch d := in[0].DType; {
	case d == tensor.Float64 || d.IsInt() || d == tensor.Bool:
		return one(evalGridSample[float64](e, o, in[0], in[1]))
	case floats.has(d):
		return one(evalGridSample[float32](e, o, in[0], in[1]))
	default:
		return nil, fmt.Errorf("X: element type %v cannot be interpolated", d)
	}
}

func evalGridSample[T float32 | float64](e *graph.Env, o *GridSample, x, grid *tensor.Tensor) (*tensor.Tensor, error) {
	reach, err := o.reach()
	if err != nil {
		return nil, err
	}
	rank := x.Rank() - 2
	if rank < 1 || grid.Rank() != rank+2 || grid.Shape[0] != x.Shape[0] || grid.Shape[rank+1] != rank {
		return nil, fmt.Errorf("shapes %v of X and %v of grid do not fit", x.Shape, grid.Shape)
	}
	var src []T
	if x.DType.IsFloat() {
		src, err = realData[T](x)
	} else {
		var f []float64
		f, err = x.Float64s()
		src, _ = any(f).([]T)
	}
	if err != nil {
		return nil, err
	}
	positions, err := grid.Float64s()
	if err != nil {
		return nil, err
	}
	batch, channels, plane := x.Shape[0], x.Shape[1], x.Shape[2:].Len()
	points := grid.Shape[1 : rank+1].Len()
	shape := append(tensor.Shape{batch, channels}, grid.Shape[1:rank+1]...)
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	if plane == 0 && shape.Len() > 0 {
		return nil, fmt.Errorf("X of shape %v has nothing to sample", x.Shape)
	}
	outType := x.DType
	if !x.DType.IsFloat() {
		outType = tensor.Float64
	}
	y, done := realOutput[T](e, outType, shape)
	s := &gridSampler{spatial: x.Shape[2:], reach: reach, padding: o.Padding, alignCorners: o.AlignCorners, double: grid.DType == tensor.Float64}
	e.For(batch*points, max(1, elementGrain/(16*channels+1)), func(lo, hi int) {
		w := s.newSample()
		for i := lo; i < hi; i++ {
			n := w.at(positions[i*rank : (i+1)*rank])
			for c := range channels {
				from := src[(i/points*channels+c)*plane:][:plane]
				var sum T
				for k, at := range w.index[:n] {
					sum += T(w.weight[k]) * from[at]
				}
				y[(i/points*channels+c)*points+i%points] = sum
			}
		}
	})
	t := done()
	if outType != x.DType {
		return tensor.FromFloat64s(x.DType, shape, tensor.Data[float64](t))
	}
	return t, nil
}

// gridSampler turns positions into elements and weights.
type gridSampler struct {
	spatial      tensor.Shape
	reach        int // elements per axis
	padding      string
	alignCorners bool
	double       bool // positions are float64; else they are scaled in float32
}

// gridPoint is the elements that make up one sample.
type gridPoint struct {
	s      *gridSampler
	index  []int
	weight []float64
	axis   [4]int     // elements of one axis
	coeff  [4]float64 // their weights
}

func (s *gridSampler) newSample() *gridPoint {
	n := 1
	for range s.spatial {
		n *= s.reach
	}
	return &gridPoint{s: s, index: make([]int, n), weight: make([]float64, n)}
}

// at sets index and weight for a position and returns how many there are.
func (w *gridPoint) at(position []float64) int {
	s := w.s
	w.index[0], w.weight[0] = 0, 1
	n, stride := 1, 1
	for k := len(s.spatial) - 1; k >= 0; k-- {
		taps := w.along(position[len(s.spatial)-1-k], s.spatial[k])
		if taps == 0 {
			return 0
		}
		// The first tap replaces the entries in place, so it comes last.
		for r := taps - 1; r >= 0; r-- {
			for j := range n {
				w.index[r*n+j], w.weight[r*n+j] = w.index[j]+w.axis[r]*stride, w.weight[j]*w.coeff[r]
			}
		}
		n *= taps
		stride *= s.spatial[k]
	}
	return n
}

// along sets axis and coeff for a normalized coordinate and returns how many elements count.
func (w *gridPoint) along(p float64, size int) int {
	s := w.s
	lo, hi := -0.5, float64(size)-0.5
	if s.alignCorners {
		lo, hi = 0, float64(size-1)
	}
	var x float64
	switch {
	case s.double && s.alignCorners:
		x = (p + 1) / 2 * float64(size-1)
	case s.double:
		x = ((p+1)*float64(size) - 1) / 2
	case s.alignCorners:
		x = float64((float32(p) + 1) / 2 * float32(size-1))
	default:
		x = float64(((float32(p)+1)*float32(size) - 1) / 2)
	}
	if s.reach == 1 {
		x = math.RoundToEven(x)
	}
	if !(x >= lo && x <= hi) {
		switch s.padding {
		case "zeros":
			if !(x > -3 && x < float64(size)+3) { // NaN too
				return 0
			}
		case "border":
			x = min(max(x, 0), float64(size-1))
		default:
			x = mirror(x, lo, hi)
		}
		if math.IsNaN(x) {
			x = 0
		}
	}
	base := math.Floor(x)
	f := x - base
	var coeff [4]float64
	first := int(base)
	switch s.reach {
	case 1:
		coeff[0] = 1
	case 2:
		coeff[0], coeff[1] = 1-f, f
	default:
		first--
		for i := range coeff {
			coeff[i] = gridCubic(float64(i-1) - f)
		}
	}
	n := 0
	for r := range s.reach {
		i := first + r
		switch {
		case i >= 0 && i < size:
		case s.padding == "zeros":
			continue
		case s.padding == "border":
			i = min(max(i, 0), size-1)
		default:
			i = min(max(int(mirror(float64(i), lo, hi)), 0), size-1)
		}
		if coeff[r] != 0 {
			w.axis[n], w.coeff[n] = i, coeff[r]
			n++
		}
	}
	return n
}

var gridCubic = cubicKernel(-0.75)

// mirror reflects x at the borders until it lies between them; NaN if x is not finite.
func mirror(x, lo, hi float64) float64 {
	width := hi - lo
	if width <= 0 {
		return lo
	}
	d := lo - x
	if x > hi {
		d = x - hi
	} else if x >= lo {
		return x
	}
	n := math.Floor(d / width)
	r := d - n*width
	if (math.Mod(n, 2) == 0) == (x < lo) {
		return lo + r
	}
	return hi - r
}
