package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// AffineGrid is the ONNX operator AffineGrid: theta [batch, rank, rank+1] applied to the normalized positions of an image of the
// given size [batch, channels, spatial...] makes a grid [batch, spatial..., rank] for [GridSample]. The rank is 2 or 3.
type AffineGrid struct {
	AlignCorners bool `attr:"align_corners,0"`
}

func (*AffineGrid) Kind() string { return "AffineGrid" }

// Infer knows the dimensions if size is known.
func (o *AffineGrid) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if size, ok := knownInts(in[1]); ok {
		shape, err := affineShape(size)
		return []graph.Type{graph.Shaped(in[0].DType, shape)}, err
	}
	if s, ok := in[1].Shape(); ok && len(s) == 1 && (s[0] == 4 || s[0] == 5) {
		dims := make([]graph.Dim, s[0])
		for i := range dims {
			dims[i] = graph.Unknown
		}
		if in[0].Ranked && len(in[0].Dims) == 3 {
			dims[0] = in[0].Dims[0]
		}
		dims[len(dims)-1] = graph.Known(s[0] - 2)
		return []graph.Type{graph.Ranked(in[0].DType, dims...)}, nil
	}
	return []graph.Type{graph.Unranked(in[0].DType)}, nil
}

// affineShape returns the shape of the grid for an image size.
func affineShape(size []int) (tensor.Shape, error) {
	if len(size) != 4 && len(size) != 5 {
		return nil, fmt.Errorf("size: want 4 or 5 values, got %d", len(size))
	}
	shape := append(tensor.Shape{size[0]}, size[2:]...)
	shape = append(shape, len(size)-2)
	return shape, checkSize(shape)
}

// Eval computes in float64.
func (o *AffineGrid) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := want(in, 2, 2); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	size, err := intsOf(in[1])
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	shape, err := affineShape(size)
	if err != nil {
		return nil, err
	}
	rank := len(shape) - 2
	if !in[0].Shape.Equal(tensor.Shape{shape[0], rank, rank + 1}) {
		return nil, fmt.Errorf("theta: want shape [%d,%d,%d], got %v", shape[0], rank, rank+1, in[0].Shape)
	}
	theta, err := in[0].Float64s()
	if err != nil {
		return nil, fmt.Errorf("theta: %w", err)
	}
	out, done := realOutput[float64](e, in[0].DType, shape)
	spatial := shape[1 : rank+1]
	points := spatial.Len()
	e.For(shape[0]*points, elementGrain/8, func(lo, hi int) {
		var p [4]float64
		for i := lo; i < hi; i++ {
			rest := i % points
			for k := rank - 1; k >= 0; k-- { // innermost axis first in a position
				p[rank-1-k] = o.position(rest%spatial[k], spatial[k])
				rest /= spatial[k]
			}
			p[rank] = 1
			for r := range rank {
				sum := 0.0
				for c, t := range theta[(i/points*rank+r)*(rank+1):][:rank+1] {
					sum += t * p[c]
				}
				out[i*rank+r] = sum
			}
		}
	})
	return []*tensor.Tensor{done()}, nil
}

// position returns the normalized coordinate of element i of n.
func (o *AffineGrid) position(i, n int) float64 {
	if o.AlignCorners {
		if n == 1 {
			return 0
		}
		return 2*float64(i)/float64(n-1) - 1
	}
	return (2*float64(i)+1)/float64(n) - 1
}
