package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// MaxUnpool is the ONNX operator MaxUnpool: values go back to where MaxPool's indices say, zeros elsewhere.
type MaxUnpool struct {
	KernelShape []int `attr:"kernel_shape"`
	Strides     []int `attr:"strides"`
	Pads        []int `attr:"pads"`
}

func (*MaxUnpool) Kind() string { return "MaxUnpool" }

// size is the output shape that the attributes imply.
func (o *MaxUnpool) size(x tensor.Shape) (tensor.Shape, error) {
	n := len(x) - 2
	w := Window{KernelShape: o.KernelShape, Strides: o.Strides, Pads: o.Pads}
	if n < 1 || o.KernelShape == nil {
		return nil, fmt.Errorf("want kernel_shape and at least 3 dimensions, got shape %v", x)
	}
	if err := w.check(n); err != nil {
		return nil, err
	}
	out := tensor.Shape{x[0], x[1]}
	for i := range n {
		stride, pads := 1, 0
		if o.Strides != nil {
			stride = o.Strides[i]
		}
		if o.Pads != nil {
			pads = o.Pads[i] + o.Pads[n+i]
		}
		out = append(out, (x[2+i]-1)*stride-pads+o.KernelShape[i])
	}
	return out, checkSize(out)
}

func (o *MaxUnpool) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 3); err != nil {
		return nil, err
	}
	d := in[0].DType
	if err := floats.check(0, d); err != nil {
		return nil, err
	}
	if v, ok := knownInts(arg(in, 2)); ok {
		return []graph.Type{graph.Shaped(d, v)}, nil
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(d)}, nil
	}
	if s, ok := in[0].Shape(); ok && arg(in, 2).IsNone() && len(in) < 3 {
		out, err := o.size(s)
		return one(graph.Shaped(d, out), err)
	}
	dims := append([]graph.Dim{}, in[0].Dims...)
	for i := range dims {
		if i >= 2 || len(in) > 2 {
			dims[i] = graph.Unknown
		}
	}
	return []graph.Type{graph.Ranked(d, dims...)}, nil
}

func (o *MaxUnpool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	x, index := in[0], in[1]
	if err := floats.check(0, x.DType); err != nil {
		return nil, err
	}
	at, err := intsOf(index)
	if err != nil {
		return nil, fmt.Errorf("indices: %w", err)
	}
	if !x.Shape.Equal(index.Shape) {
		return nil, fmt.Errorf("X and indices differ in shape: %v and %v", x, index)
	}
	implied, err := o.size(x.Shape)
	if err != nil {
		return nil, err
	}
	out := implied
	if t := arg(in, 2); t != nil {
		v, err := intsOf(t)
		if err != nil {
			return nil, fmt.Errorf("output_shape: %w", err)
		}
		if out = v; len(v) != len(implied) {
			return nil, fmt.Errorf("output_shape: want %d values, got %d", len(implied), len(v))
		}
		if err := checkSize(out); err != nil {
			return nil, err
		}
	}
	y := e.Zeros(x.DType, out...)
	total, size := implied.Len(), x.DType.Size()
	src, dst := x.Bytes(), y.Bytes()
	for i, j := range at {
		// The index counts in the shape that the attributes imply, which lies in the corner of the output.
		to, stride, inside := 0, 1, j >= 0 && j < total
		for d, rest := len(out)-1, j; d >= 0 && inside; d-- {
			p := rest % implied[d]
			rest /= implied[d]
			inside = p < out[d]
			to += p * stride
			stride *= out[d]
		}
		if !inside {
			return nil, fmt.Errorf("indices: %d is out of range for output shape %v", j, out)
		}
		copy(dst[to*size:(to+1)*size], src[i*size:])
	}
	return []*tensor.Tensor{y}, nil
}

// RoiAlign is the ONNX operator RoiAlign (He et al., "Mask R-CNN"): regions of X [batch, C, H, W] resampled to a fixed size
// with bilinear interpolation. rois is [regions, 4] (x1, y1, x2, y2), batch_indices [regions].
type RoiAlign struct {
	Mode          string  `attr:"mode,avg"`
	CoordMode     string  `attr:"coordinate_transformation_mode,half_pixel"`
	OutputHeight  int     `attr:"output_height,1"`
	OutputWidth   int     `attr:"output_width,1"`
	SamplingRatio int     `attr:"sampling_ratio,0"` // 0: as many samples a bin as input pixels
	SpatialScale  float32 `attr:"spatial_scale,1"`
}

func (*RoiAlign) Kind() string { return "RoiAlign" }

// maxSamples bounds the samples of a bin along an axis.
const maxSamples = 1 << 12

// check reports attribute values that can never be valid.
func (o *RoiAlign) check() error {
	if o.Mode != "avg" && o.Mode != "max" {
		return fmt.Errorf("mode: want avg or max, got %q", o.Mode)
	}
	if o.CoordMode != "half_pixel" && o.CoordMode != "output_half_pixel" {
		return fmt.Errorf("coordinate_transformation_mode: unknown value %q", o.CoordMode)
	}
	if o.OutputHeight < 1 || o.OutputWidth < 1 || o.OutputHeight > maxWindow || o.OutputWidth > maxWindow || o.SamplingRatio < 0 || o.SamplingRatio > maxSamples {
		return fmt.Errorf("output %d x %d or sampling_ratio %d is out of range", o.OutputHeight, o.OutputWidth, o.SamplingRatio)
	}
	return nil
}

func (o *RoiAlign) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	d, err := sameDType(in[:2]...)
	if err == nil {
		err = floats.check(0, d)
	}
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return one(inferRegions(d, in[0], in[1], 4, o.OutputHeight, o.OutputWidth))
}

// inferRegions is [regions, C, height, width] for X [batch, C, H, W] and rois [regions, values].
func inferRegions(d tensor.DType, x, rois graph.Type, values, height, width int) (graph.Type, error) {
	out := graph.Ranked(d, graph.Unknown, graph.Unknown, graph.Known(height), graph.Known(width))
	if x.Ranked {
		if len(x.Dims) != 4 {
			return out, fmt.Errorf("X: want 4 dimensions, got %v", x)
		}
		out.Dims[1] = x.Dims[1]
	}
	if rois.Ranked {
		if len(rois.Dims) != 2 || rois.Dims[1].IsKnown() && rois.Dims[1].Size != values {
			return out, fmt.Errorf("rois: want [regions, %d], got %v", values, rois)
		}
		out.Dims[0] = rois.Dims[0]
	}
	return out, nil
}

func (o *RoiAlign) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 3)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in[:2]...); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalRoiAlign[float32](e, o, in)) },
		func() ([]*tensor.Tensor, error) { return one(evalRoiAlign[float64](e, o, in)) })
}

func evalRoiAlign[T float32 | float64](e *graph.Env, o *RoiAlign, in []*tensor.Tensor) (*tensor.Tensor, error) {
	x, rois := in[0], in[1]
	if x.Rank() != 4 || rois.Rank() != 2 || rois.Shape[1] != 4 {
		return nil, fmt.Errorf("want X [batch, C, H, W] and rois [regions, 4], got %v and %v", x, rois)
	}
	batch, err := intsOf(in[2])
	if err != nil {
		return nil, fmt.Errorf("batch_indices: %w", err)
	}
	regions := rois.Shape[0]
	if len(batch) != regions {
		return nil, fmt.Errorf("batch_indices: want %d values, got %d", regions, len(batch))
	}
	for _, b := range batch {
		if b < 0 || b >= x.Shape[0] {
			return nil, fmt.Errorf("batch_indices: %d is out of range for %d images", b, x.Shape[0])
		}
	}
	xs, err := realData[T](x)
	if err != nil {
		return nil, err
	}
	boxes, err := rois.Float64s()
	if err != nil {
		return nil, err
	}
	channels, height, width := x.Shape[1], x.Shape[2], x.Shape[3]
	shape := tensor.Shape{regions, channels, o.OutputHeight, o.OutputWidth}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, x.DType, shape)
	offset := 0.0
	if o.CoordMode == "half_pixel" {
		offset = 0.5
	}
	scale := float64(o.SpatialScale)
	plane := o.OutputHeight * o.OutputWidth
	e.For(regions, 1, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			x1, y1 := boxes[r*4]*scale-offset, boxes[r*4+1]*scale-offset
			w, h := boxes[r*4+2]*scale-offset-x1, boxes[r*4+3]*scale-offset-y1
			if offset == 0 {
				w, h = max(w, 1), max(h, 1)
			}
			binW, binH := w/float64(o.OutputWidth), h/float64(o.OutputHeight)
			countX, countY := o.SamplingRatio, o.SamplingRatio
			if countX == 0 {
				// A region cannot usefully be sampled more densely than the image it covers.
				countX = int(min(max(math.Ceil(binW), 0), float64(4*width+4)))
				countY = int(min(max(math.Ceil(binH), 0), float64(4*height+4)))
			}
			for c := range channels {
				image := xs[(batch[r]*channels+c)*height*width:][:height*width]
				dst := y[(r*channels+c)*plane:][:plane]
				for i := range dst {
					left, top := x1+float64(i%o.OutputWidth)*binW, y1+float64(i/o.OutputWidth)*binH
					sum, best, first := 0.0, 0.0, true
					for iy := range countY {
						py := top + (float64(iy)+0.5)*binH/float64(countY)
						for ix := range countX {
							px := left + (float64(ix)+0.5)*binW/float64(countX)
							v, m := sampleRegion(image, height, width, py, px)
							sum += v
							if first || m > best {
								best, first = m, false
							}
						}
					}
					if o.Mode == "max" {
						dst[i] = T(best)
					} else {
						dst[i] = T(sum / float64(max(countX*countY, 1)))
					}
				}
			}
		}
	})
	return done(), nil
}

// sampleRegion reads an image bilinearly, the border repeated up to one pixel outside and zero beyond. Beside the interpolated
// value it returns the largest of the four weighted neighbours, which the max mode compares.
func sampleRegion[T float32 | float64](image []T, height, width int, y, x float64) (sum, largest float64) {
	if height == 0 || width == 0 || !(y >= -1 && y <= float64(height) && x >= -1 && x <= float64(width)) {
		return 0, 0
	}
	y, x = max(y, 0), max(x, 0)
	y0, x0 := int(y), int(x)
	y1, x1 := y0+1, x0+1
	if y0 >= height-1 {
		y0, y1, y = height-1, height-1, float64(height-1)
	}
	if x0 >= width-1 {
		x0, x1, x = width-1, width-1, float64(width-1)
	}
	ly, lx := y-float64(y0), x-float64(x0)
	a := (1 - ly) * (1 - lx) * float64(image[y0*width+x0])
	b := (1 - ly) * lx * float64(image[y0*width+x1])
	c := ly * (1 - lx) * float64(image[y1*width+x0])
	d := ly * lx * float64(image[y1*width+x1])
	return a + b + c + d, max(a, b, c, d)
}

// MaxRoiPool is the ONNX operator MaxRoiPool (Girshick, "Fast R-CNN"): the maximum in each bin of regions of X
// [batch, C, H, W]; rois is [regions, 5] (image, x1, y1, x2, y2).
type MaxRoiPool struct {
	PooledShape  []int   `attr:"pooled_shape"`
	SpatialScale float32 `attr:"spatial_scale,1"`
}

func (*MaxRoiPool) Kind() string { return "MaxRoiPool" }

func (o *MaxRoiPool) Infer(in []graph.Type) ([]graph.Type, error) {
	d, err := inferCommon(in, 2, 2, floats)
	if err != nil {
		return nil, err
	}
	if len(o.PooledShape) != 2 || min(o.PooledShape[0], o.PooledShape[1]) < 1 || max(o.PooledShape[0], o.PooledShape[1]) > maxWindow {
		return nil, fmt.Errorf("pooled_shape: want height and width, got %v", o.PooledShape)
	}
	return one(inferRegions(d, in[0], in[1], 5, o.PooledShape[0], o.PooledShape[1]))
}

func (o *MaxRoiPool) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 2)
	if err != nil {
		return nil, err
	}
	if err := sameElems(in...); err != nil {
		return nil, err
	}
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return one(evalMaxRoi[float32](e, o, in[0], in[1])) },
		func() ([]*tensor.Tensor, error) { return one(evalMaxRoi[float64](e, o, in[0], in[1])) })
}

func evalMaxRoi[T float32 | float64](e *graph.Env, o *MaxRoiPool, x, rois *tensor.Tensor) (*tensor.Tensor, error) {
	if x.Rank() != 4 || rois.Rank() != 2 || rois.Shape[1] != 5 || len(o.PooledShape) != 2 {
		return nil, fmt.Errorf("want X [batch, C, H, W] and rois [regions, 5], got %v and %v", x, rois)
	}
	xs, err := realData[T](x)
	if err != nil {
		return nil, err
	}
	boxes, err := rois.Float64s()
	if err != nil {
		return nil, err
	}
	regions, channels, height, width := rois.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	ph, pw := o.PooledShape[0], o.PooledShape[1]
	shape := tensor.Shape{regions, channels, ph, pw}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	for r := range regions {
		if b := boxes[r*5]; !(b >= 0 && b < float64(x.Shape[0])) {
			return nil, fmt.Errorf("rois: image %v is out of range for %d images", b, x.Shape[0])
		}
	}
	y, done := realOutput[T](e, x.DType, shape)
	scale := float64(o.SpatialScale)
	edge := func(start int, bin float64, i, size int) (lo, hi int) {
		lo = start + int(math.Floor(float64(i)*bin))
		hi = start + int(math.Ceil(float64(i+1)*bin))
		return min(max(lo, 0), size), min(max(hi, 0), size)
	}
	// Coordinates are bounded so that no conversion to an integer overflows.
	pixel := func(v float64) int { return int(min(max(math.Round(v*scale), -maxWindow), maxWindow)) }
	e.For(regions, 1, func(lo, hi int) {
		for r := lo; r < hi; r++ {
			box := boxes[r*5:]
			x1, y1, x2, y2 := pixel(box[1]), pixel(box[2]), pixel(box[3]), pixel(box[4])
			binH, binW := float64(max(y2-y1+1, 1))/float64(ph), float64(max(x2-x1+1, 1))/float64(pw)
			for c := range channels {
				image := xs[(int(box[0])*channels+c)*height*width:][:height*width]
				dst := y[(r*channels+c)*ph*pw:][:ph*pw]
				for i := range dst {
					h0, h1 := edge(y1, binH, i/pw, height)
					w0, w1 := edge(x1, binW, i%pw, width)
					best := T(0)
					for h := h0; h < h1; h++ {
						for w := w0; w < w1; w++ {
							if v := image[h*width+w]; v > best || h == h0 && w == w0 {
								best = v
							}
						}
					}
					dst[i] = best
				}
			}
		}
	})
	return done(), nil
}
