package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Det is the ONNX operator Det: the determinants of square matrices [..., M, M].
type Det struct{}

func (*Det) Kind() string { return "Det" }

func (*Det) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	t := in[0]
	if err := floats.check(0, t.DType); err != nil {
		return nil, err
	}
	if !t.Ranked {
		return []graph.Type{graph.Unranked(t.DType)}, nil
	}
	n := len(t.Dims)
	if n < 2 {
		return nil, fmt.Errorf("want at least 2 dimensions, got %v", t)
	}
	if a, b := t.Dims[n-2], t.Dims[n-1]; a.IsKnown() && b.IsKnown() && a != b {
		return nil, fmt.Errorf("want square matrices, got %v", t)
	}
	return []graph.Type{graph.Ranked(t.DType, t.Dims[:n-2]...)}, nil
}

func (*Det) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x := in[0]
	rank := x.Rank()
	if rank < 2 || x.Shape[rank-1] != x.Shape[rank-2] {
		return nil, fmt.Errorf("want square matrices, got %v", x)
	}
	if err := floats.check(0, x.DType); err != nil {
		return nil, err
	}
	v, err := x.Float64s() // a copy, which elimination overwrites
	if err != nil {
		return nil, err
	}
	n := x.Shape[rank-1]
	out := make([]float64, x.Shape[:rank-2].Len())
	for i := range out {
		out[i] = det(v[i*n*n:(i+1)*n*n], n)
	}
	return one(tensor.FromFloat64s(x.DType, x.Shape[:rank-2].Clone(), out))
}

// det is Gaussian elimination with partial pivoting, in place.
func det(a []float64, n int) float64 {
	d := 1.0
	for c := range n {
		p := c
		for r := c + 1; r < n; r++ {
			if math.Abs(a[r*n+c]) > math.Abs(a[p*n+c]) {
				p = r
			}
		}
		pivot := a[p*n+c]
		if pivot == 0 {
			return 0
		}
		if p != c {
			d = -d
			for j := range n {
				a[p*n+j], a[c*n+j] = a[c*n+j], a[p*n+j]
			}
		}
		d *= pivot
		for r := c + 1; r < n; r++ {
			f := a[r*n+c] / pivot
			for j := c + 1; j < n; j++ {
				a[r*n+j] -= f * a[c*n+j]
			}
		}
	}
	return d
}
