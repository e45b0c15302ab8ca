package analyze

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// WeightError is how far a decoded tensor of a checkpoint is from the same tensor of the original.
type WeightError struct {
	Tensor string `json:"tensor"`
	Stored string `json:"stored"` // its scheme, or element type where it is no matrix of codes
	Shape  []int  `json:"shape"`
	// Quantized is set for matrices of codes, Bits is how many each code has.
	Quantized bool `json:"quantized"`
	Bits      int  `json:"bits,omitempty"`
	// Rescaled is set where the rows and columns were compared up to a factor each.
	Rescaled bool `json:"rescaled,omitempty"`
	Error
}

// keptSQNR is what tensors keep that were only stored in another float type, in dB: bfloat16 keeps about 50.
const keptSQNR = 40

// Weights compares every tensor of an original checkpoint with what the quantized one decodes to, in the order of the original. missing are
// those that the quantized one does not have.
//
// Methods such as AWQ and SmoothQuant move scales of channels from activations into weights, so that a matrix W becomes diag(a) W diag(b) and a
// normalization before it has other weights. Where such weights changed by more than storing them does, matrices of codes are compared as
// diag(a) Q diag(b) with the factors for which that is nearest to W, found by alternating least squares.
func Weights(ctx context.Context, original, quantized []model.Entry) (list []WeightError, missing []string, err error) {
	of := map[string]tensor.Source{}
	for _, e := range quantized {
		of[e.Name] = e.Source
	}
	order := slices.Clone(original) // vectors first: they say whether channels were scaled
	slices.SortStableFunc(order, func(a, b model.Entry) int { return min(len(a.Shape()), 2) - min(len(b.Shape()), 2) })
	task := progress.From(ctx).Start("verify weights", int64(len(order)), "tensors")
	defer task.Done()
	found := map[string]WeightError{}
	rescaled := false
	for _, e := range order {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		q := of[e.Name]
		if q == nil {
			continue
		}
		w, err := compareTensor(e, q, rescaled)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		rescaled = rescaled || len(w.Shape) == 1 && w.SQNR != nil && *w.SQNR < keptSQNR
		found[e.Name] = *w
		task.Add(1)
	}
	for _, e := range original {
		if w, ok := found[e.Name]; ok {
			list = append(list, w)
		} else {
			missing = append(missing, e.Name)
		}
	}
	return list, missing, nil
}

// compareTensor compares a tensor with what stands for it.
func compareTensor(e model.Entry, q tensor.Source, rescaled bool) (*WeightError, error) {
	defer tensor.Release(e.Source)
	defer tensor.Release(q)
	w := &WeightError{Tensor: e.Name, Stored: q.DType().String(), Shape: e.Shape()}
	if !q.Shape().Equal(e.Shape()) {
		return nil, fmt.Errorf("shape %v became %v", []int(e.Shape()), []int(q.Shape()))
	}
	ref, _, err := decoded(e.Source)
	if err != nil {
		return nil, fmt.Errorf("the original: %w", err)
	}
	got, scheme, err := decoded(q)
	if err != nil {
		return nil, err
	}
	if scheme != nil {
		w.Quantized, w.Bits, w.Stored = true, scheme.Bits, scheme.String()
	}
	if w.Quantized && rescaled && len(w.Shape) == 2 {
		w.Rescaled = true
		unscale(ref, got, w.Shape[1])
	}
	var sum errorSum
	sum.add(ref, got)
	w.Error = sum.result()
	return w, nil
}

// decoded returns the values of a tensor, and its scheme, nil if it is not held in codes. They are the caller's.
func decoded(s tensor.Source) (values []float32, scheme *tensor.Scheme, err error) {
	t, err := s.Load()
	if err != nil {
		return nil, nil, err
	}
	if _, half := t.Packed.(*packed.Narrow); t.Packed != nil && !half {
		of := t.Packed.Scheme()
		scheme = &of
	}
	f, err := t.Floats()
	return slices.Clone(f), scheme, err
}

// unscale multiplies the rows and columns of got by the factors with which it is nearest to ref: given those of the rows, a column's is the sum
// of ref*got over that of got*got, and the other way round.
func unscale(ref, got []float32, cols int) {
	const rounds, still = 24, 1e-4
	rows := len(ref) / cols
	a, b := make([]float64, rows), make([]float64, cols)
	for i := range a {
		a[i] = 1
	}
	up, down := make([]float64, cols), make([]float64, cols)
	for range rounds {
		clear(up)
		clear(down)
		for i := range rows {
			for j := range cols {
				q := a[i] * float64(got[i*cols+j])
				up[j] += float64(ref[i*cols+j]) * q
				down[j] += q * q
			}
		}
		moves := 0.0
		for j := range b {
			was := b[j]
			b[j] = ratio(up[j], down[j])
			moves = max(moves, math.Abs(was/b[j]-1))
		}
		for i := range rows {
			n, d := 0.0, 0.0
			for j := range cols {
				q := b[j] * float64(got[i*cols+j])
				n += float64(ref[i*cols+j]) * q
				d += q * q
			}
			a[i] = ratio(n, d)
		}
		if moves < still {
			break
		}
	}
	for i := range rows {
		for j := range cols {
			got[i*cols+j] = float32(a[i] * b[j] * float64(got[i*cols+j]))
		}
	}
}

// ratio is n/d, or 1 where that is no number to scale by.
func ratio(n, d float64) float64 {
	if r := n / d; r-r == 0 && r != 0 {
		return r
	}
	return 1
}
