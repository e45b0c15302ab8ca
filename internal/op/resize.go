package op

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Resize is the ONNX operator Resize. Inputs: X, roi, scales, sizes; exactly one of scales and sizes is given and not empty.
type Resize struct {
	Antialias          bool    `attr:"antialias,0"`
	Axes               []int   `attr:"axes"` // nil: all
	Transformation     string  `attr:"coordinate_transformation_mode,half_pixel"`
	CubicA             float32 `attr:"cubic_coeff_a,-0.75"`
	ExcludeOutside     bool    `attr:"exclude_outside,0"`
	ExtrapolationValue float32 `attr:"extrapolation_value,0"`
	AspectRatio        string  `attr:"keep_aspect_ratio_policy,stretch"`
	Mode               string  `attr:"mode,nearest"`
	NearestMode        string  `attr:"nearest_mode,round_prefer_floor"`
}

func (*Resize) Kind() string { return "Resize" }

// check reports attribute values that do not exist.
func (o *Resize) check() error {
	for _, a := range []struct {
		name, value string
		known       []string
	}{
		{"mode", o.Mode, []string{"nearest", "linear", "cubic"}},
		{"nearest_mode", o.NearestMode, []string{"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}},
		{"keep_aspect_ratio_policy", o.AspectRatio, []string{"stretch", "not_larger", "not_smaller"}},
		{"coordinate_transformation_mode", o.Transformation, []string{
			"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",
			"align_corners", "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize",
		}},
	} {
		if !slices.Contains(a.known, a.value) {
			return fmt.Errorf("%s: want one of %q, got %q", a.name, a.known, a.value)
		}
	}
	if o.Antialias && o.Mode == "nearest" {
		return errors.New("antialias: mode nearest has none")
	}
	return nil
}

// resizeAxis says how one axis is resized.
type resizeAxis struct {
	axis       int
	in, out    int
	scale      float64
	start, end float64 // region of interest, normalized
}

// identity reports whether the axis is left as it is.
func (a *resizeAxis) identity() bool {
	return a.in == a.out && a.scale == 1 && a.start == 0 && a.end == 1
}

// plan resolves the axes against an input shape. roi, scales and sizes are nil where they are not given.
func (o *Resize) plan(shape tensor.Shape, roi, scales []float64, sizes []int) ([]resizeAxis, error) {
	axes := o.Axes
	if axes == nil {
		axes = make([]int, len(shape))
		for i := range axes {
			axes[i] = i
		}
	}
	if _, err := axesOf(axes, len(shape)); err != nil {
		return nil, fmt.Errorf("axes: %w", err)
	}
	if (scales == nil) == (sizes == nil) {
		return nil, errors.New("want exactly one of scales and sizes")
	}
	if scales != nil && len(scales) != len(axes) {
		return nil, fmt.Errorf("scales: want %d values, got %d", len(axes), len(scales))
	}
	if sizes != nil && len(sizes) != len(axes) {
		return nil, fmt.Errorf("sizes: want %d values, got %d", len(axes), len(sizes))
	}
	crop := o.Transformation == "tf_crop_and_resize"
	if crop && len(roi) != 2*len(axes) {
		return nil, fmt.Errorf("roi: want %d values, got %d", 2*len(axes), len(roi))
	}
	out := make([]resizeAxis, len(axes))
	for i, a := range axes {
		axis, _ := tensor.Axis(a, len(shape))
		r := resizeAxis{axis: axis, in: shape[axis], end: 1}
		if scales != nil {
			if !(scales[i] > 0) || math.IsInf(scales[i], 1) {
				return nil, fmt.Errorf("scales: want positive numbers, got %v", scales[i])
			}
			// In float32, as ONNX's shape inference and ONNX Runtime do it.
			size := math.Floor(float64(float32(r.in) * float32(scales[i])))
			if size > float64(maxElems) {
				return nil, fmt.Errorf("scales: %v makes an axis of %v elements", scales[i], size)
			}
			r.scale, r.out = scales[i], int(size)
		} else {
			if sizes[i] < 0 || sizes[i] > 0 && r.in == 0 {
				return nil, fmt.Errorf("sizes: axis %d of %d elements cannot have %d", axis, r.in, sizes[i])
			}
			r.out, r.scale = sizes[i], float64(sizes[i])/float64(max(r.in, 1))
		}
		if crop {
			r.start, r.end = roi[i], roi[len(axes)+i]
		}
		out[i] = r
	}
	if sizes != nil && o.AspectRatio != "stretch" && len(out) > 0 {
		scale := out[0].scale
		for _, r := range out {
			if o.AspectRatio == "not_larger" {
				scale = min(scale, r.scale)
			} else {
				scale = max(scale, r.scale)
			}
		}
		for i := range out {
			out[i].scale, out[i].out = scale, int(math.Floor(scale*float64(out[i].in)+0.5))
		}
	}
	return out, nil
}

// Infer knows the output dimensions if scales or sizes are known.
func (o *Resize) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 4); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	x := in[0]
	if !x.Ranked {
		return []graph.Type{graph.Unranked(x.DType)}, nil
	}
	dims := make([]graph.Dim, len(x.Dims))
	shape := make(tensor.Shape, len(x.Dims))
	for i, d := range x.Dims {
		dims[i], shape[i] = d, 1
		if d.IsKnown() {
			shape[i] = d.Size
		}
	}
	var roi, scales []float64
	var sizes []int
	if t := arg(in, 2).Const; t != nil && t.Len() > 0 {
		scales, _ = t.Float64s()
	}
	if t := arg(in, 3); t.Const != nil && t.Const.Len() > 0 {
		sizes, _ = knownInts(t)
	}
	if o.Transformation == "tf_crop_and_resize" {
		roi = make([]float64, 2*max(len(scales), len(sizes)))
	}
	if scales == nil && sizes == nil || sizes != nil && scales != nil {
		axes := o.Axes
		for i := range dims {
			if axes == nil || slices.Contains(axes, i) || slices.Contains(axes, i-len(dims)) {
				dims[i] = graph.Unknown
			}
		}
		return []graph.Type{graph.Ranked(x.DType, dims...)}, nil
	}
	plan, err := o.plan(shape, roi, scales, sizes)
	if err != nil {
		return nil, err
	}
	keep := sizes == nil || o.AspectRatio != "stretch"
	allKnown := true
	for _, r := range plan {
		allKnown = allKnown && x.Dims[r.axis].IsKnown()
	}
	for _, r := range plan {
		switch {
		case !keep || x.Dims[r.axis].IsKnown() && (sizes == nil || allKnown):
			dims[r.axis] = graph.Known(r.out)
		case scales != nil && r.scale == 1:
		default:
			dims[r.axis] = graph.Unknown
		}
	}
	return []graph.Type{graph.Ranked(x.DType, dims...)}, nil
}

// Eval interpolates in float32 (float64 for float64, 32-bit and wider integers); integers are rounded to nearest, ties to even,
// and saturate. Mode nearest moves elements of any type.
func (o *Resize) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 4)
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	x := in[0]
	plan, err := o.resolved(in)
	if err != nil {
		return nil, err
	}
	shape := x.Shape.Clone()
	for _, r := range plan {
		shape[r.axis] = r.out
	}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	plan = slices.DeleteFunc(plan, func(r resizeAxis) bool { return r.identity() })
	if len(plan) == 0 {
		return []*tensor.Tensor{x}, nil
	}
	if shape.Len() == 0 {
		return []*tensor.Tensor{e.New(x.DType, shape...)}, nil
	}
	// Axes that shrink go first: the intermediate results are smaller.
	slices.SortStableFunc(plan, func(a, b resizeAxis) int { return a.out*b.in - b.out*a.in })
	switch {
	case o.Mode == "nearest" && o.Transformation != "tf_crop_and_resize":
		return one(o.nearest(e, x, shape, plan))
	case x.DType == tensor.Float64 || x.DType.Bits() >= 32 && x.DType.IsInt():
		return one(interpolate[float64](e, o, x, plan))
	case floats.has(x.DType) || x.DType.IsInt() || x.DType == tensor.Bool:
		return one(interpolate[float32](e, o, x, plan))
	}
	return nil, fmt.Errorf("mode %q: element type %v cannot be interpolated", o.Mode, x.DType)
}

// resolved returns how each axis is resized for given inputs.
func (o *Resize) resolved(in []*tensor.Tensor) ([]resizeAxis, error) {
	x := in[0]
	var err error
	var roi, scales []float64
	for i, to := range []*[]float64{&roi, &scales} {
		if t := arg(in, 1+i); t != nil && t.Len() > 0 {
			if *to, err = t.Float64s(); err != nil {
				return nil, fmt.Errorf("%s: %w", []string{"roi", "scales"}[i], err)
			}
		}
	}
	var sizes []int
	if t := arg(in, 3); t != nil && t.Len() > 0 {
		if sizes, err = intsOf(t); err != nil {
			return nil, fmt.Errorf("sizes: %w", err)
		}
	}
	return o.plan(x.Shape, roi, scales, sizes)
}

// nearest copies the element that each output position falls on.
func (o *Resize) nearest(e *graph.Env, x *tensor.Tensor, shape tensor.Shape, plan []resizeAxis) (*tensor.Tensor, error) {
	index := make([][]int, len(shape)) // per axis: distance in elements of the source
	strides := x.Shape.Strides()
	for d, n := range shape {
		index[d] = make([]int, n)
		for i := range n {
			index[d][i] = i * strides[d]
		}
	}
	for _, r := range plan {
		for i := range r.out {
			index[r.axis][i] = o.nearestIndex(r.source(o.Transformation, i), r.in) * strides[r.axis]
		}
	}
	out := e.New(x.DType, shape...)
	switch {
	case x.DType == tensor.String:
		gatherGrid(e, out.Text(), x.Text(), index)
	case x.DType.Size() == 1:
		gatherGrid(e, cells[uint8](out), cells[uint8](x), index)
	case x.DType.Size() == 2:
		gatherGrid(e, cells[uint16](out), cells[uint16](x), index)
	case x.DType.Size() == 4:
		gatherGrid(e, cells[uint32](out), cells[uint32](x), index)
	case x.DType.Size() == 8:
		gatherGrid(e, cells[uint64](out), cells[uint64](x), index)
	case x.DType.Size() == 16:
		gatherGrid(e, cells[[2]uint64](out), cells[[2]uint64](x), index)
	default:
		return nil, fmt.Errorf("element type %v is not supported", x.DType)
	}
	return out, nil
}

func (o *Resize) nearestIndex(at float64, n int) int {
	var i float64
	switch o.NearestMode {
	case "floor":
		i = math.Floor(at)
	case "ceil":
		i = math.Ceil(at)
	case "round_prefer_ceil":
		i = math.Floor(at + 0.5)
	default:
		i = math.Ceil(at - 0.5)
	}
	return int(min(max(i, 0), float64(n-1)))
}

// gatherGrid fills dst, row-major, with the elements of src whose offset is the sum of one index of each axis.
func gatherGrid[W any](e *graph.Env, dst, src []W, index [][]int) {
	last := index[len(index)-1]
	rows := len(dst) / len(last)
	e.For(rows, max(1, elementGrain/len(last)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			base, rest := 0, r
			for d := len(index) - 2; d >= 0; d-- {
				base += index[d][rest%len(index[d])]
				rest /= len(index[d])
			}
			row := dst[r*len(last):][:len(last)]
			for i, at := range last {
				row[i] = src[base+at]
			}
		}
	})
}

// interpolate resizes axis after axis: the interpolation is separable.
func interpolate[T float32 | float64](e *graph.Env, o *Resize, x *tensor.Tensor, plan []resizeAxis) (*tensor.Tensor, error) {
	var src []T
	var err error
	if x.DType.IsFloat() {
		src, err = realData[T](x)
	} else {
		var f []float64
		if f, err = x.Float64s(); err == nil {
			src = make([]T, len(f))
			for i, v := range f {
				src[i] = T(v)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	shape := x.Shape.Clone()
	for i, r := range plan {
		shape[r.axis] = r.out
		t := resizeTaps[T](o, r)
		outer, inner := shape[:r.axis].Len(), shape[r.axis+1:].Len()
		if i == len(plan)-1 && x.DType.IsFloat() {
			dst, done := realOutput[T](e, x.DType, shape)
			t.apply(e, dst, src, outer, r.in, inner)
			return done(), nil
		}
		dst := make([]T, shape.Len())
		t.apply(e, dst, src, outer, r.in, inner)
		src = dst
	}
	f := make([]float64, len(src))
	for i, v := range src {
		f[i] = float64(v)
	}
	return tensor.FromFloat64s(x.DType, shape, f)
}

// apply resizes the middle axis of src [outer, n, inner].
func (t *taps[T]) apply(e *graph.Env, dst, src []T, outer, n, inner int) {
	rows := len(t.index) / t.n
	e.For(outer*rows, max(1, elementGrain/(inner*t.n)), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			o, r := i/rows, i%rows
			d := dst[i*inner:][:inner]
			if t.outside[r] {
				for j := range d {
					d[j] = t.fill
				}
				continue
			}
			at, w := t.index[r*t.n:][:t.n], t.weight[r*t.n:][:t.n]
			if inner == 1 {
				var sum T
				for k, x := range at {
					if w[k] != 0 {
						sum += w[k] * src[o*n+x]
					}
				}
				d[0] = sum
				continue
			}
			clear(d)
			for k, x := range at {
				if w[k] != 0 {
					axpy(w[k], src[(o*n+x)*inner:][:inner], d)
				}
			}
		}
	})
}

// axpy adds a*x to y.
func axpy[T float32 | float64](a T, x, y []T) {
	if f, ok := any(x).([]float32); ok {
		kernel.AXPY(float32(a), f, any(y).([]float32))
		return
	}
	for i, v := range x {
		y[i] += a * v
	}
}
