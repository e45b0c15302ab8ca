// Package solve quantizes a weight matrix so that its products with given inputs change least: GPTQ (Frantar et al., "GPTQ:
// Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022) with what was found since, and AWQ (Lin et al., "AWQ:
// Activation-aware Weight Quantization for LLM Compression and Acceleration", 2023).
//
// It knows matrices alone: which layers there are, where inputs come from and what files hold is the business of its callers.
package solve

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/kernel"
)

// Hessian sums what the inputs of a layer say about the error of its output: for inputs X of one row a token, the sum of X^T*X in
// float64. It is the same for any number of threads, as long as the tokens come in the same pieces.
type Hessian struct {
	width, tokens int
	sum           []float64 // the lower triangle of a width x width matrix
}

// NewHessian returns a sum over no tokens for inputs of the given width.
func NewHessian(width int) *Hessian {
	return &Hessian{width: width, sum: make([]float64, width*width)}
}

// Add takes inputs, one row after the other. It panics if they are no whole rows.
func (h *Hessian) Add(p *kernel.Pool, x []float32) {
	rows := len(x) / max(h.width, 1)
	if rows*h.width != len(x) {
		panic(fmt.Sprintf("solve: %d values are no rows of %d", len(x), h.width))
	}
	kernel.SyrkF32F64(p, false, true, h.width, rows, 1, x, h.width, h.sum, h.width)
	h.tokens += rows
}

// diagonal returns the diagonal of the sum times 2/tokens, which is the Hessian of the mean squared error.
func (h *Hessian) diagonal() []float64 {
	d := make([]float64, h.width)
	for i := range d {
		d[i] = h.sum[i*h.width+i] * h.scale()
	}
	return d
}

func (h *Hessian) scale() float64 { return 2 / float64(max(h.tokens, 1)) }

// Drift sums how the inputs of a layer in a quantized network differ from those in the original one: the sum of (X0-X)^T*X, with X0
// of the original (Li et al., "GPTAQ: Efficient Finetuning-Free Quantization for Asymmetric Calibration", 2025).
type Drift struct {
	width, tokens int
	sum           []float32
	difference    []float32
}

// NewDrift returns a sum over no tokens.
func NewDrift(width int) *Drift { return &Drift{width: width, sum: make([]float32, width*width)} }

// Add takes the inputs of the same tokens in both networks.
func (d *Drift) Add(p *kernel.Pool, original, x []float32) {
	rows := len(x) / max(d.width, 1)
	if rows*d.width != len(x) || len(original) != len(x) {
		panic(fmt.Sprintf("solve: %d and %d values are no equal rows of %d", len(original), len(x), d.width))
	}
	if len(d.difference) < len(x) {
		d.difference = make([]float32, len(x))
	}
	diff := d.difference[:len(x)]
	kernel.Sub(diff, original, x)
	kernel.GemmF32(p, true, false, d.width, d.width, rows, 1, diff, d.width, x, d.width, 1, d.sum, d.width)
	d.tokens += rows
}

// factor is a Hessian ready for the solver.
type factor struct {
	u    []float32 // upper triangle with U^T*U = (H + damping)^-1, rows and columns in the order of the solver
	damp float64   // what was added to the diagonal, as a share of its mean
	dead int       // columns of inputs that are always 0
}

// factorize permutes H, in which rows of dead columns are those of the unit matrix, adds damping to the diagonal and inverts it. Where that
// fails for want of precision the damping grows, first by steps of o.DampStep up to 1, then tenfold from a millionth of the greatest element.
func (h *Hessian) factorize(p *kernel.Pool, perm []int, o *GPTQOptions) (*factor, error) {
	n, scale := h.width, h.scale()
	diag := h.diagonal()
	f := &factor{damp: o.Damp}
	mean, most := 0.0, 0.0
	for i, d := range diag {
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return nil, fmt.Errorf("the inputs of column %d are not finite", i)
		}
		if d == 0 {
			f.dead++
			diag[i] = 1
		}
		mean += diag[i] / float64(n)
		most = max(most, diag[i])
	}
	work := make([]float64, n*n)
	floor := 0.0
	for {
		p.For(n, 0, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				for j := range i + 1 {
					r, c := max(perm[i], perm[j]), min(perm[i], perm[j])
					work[i*n+j] = h.sum[r*n+c] * scale
				}
				work[i*n+i] = max(diag[perm[i]], floor) + f.damp*mean + floor
			}
		})
		err := kernel.InverseFactorF64(p, n, work, n)
		if err == nil {
			break
		}
		switch {
		case f.damp+o.DampStep < 1 && o.DampStep > 0:
			f.damp += o.DampStep
		case floor < 0.1*most:
			f.damp = o.Damp
			floor = max(10*floor, 1e-6*most)
		default:
			return nil, fmt.Errorf("the inputs give no positive matrix: %w", err)
		}
	}
	f.u = make([]float32, n*n)
	p.For(n, 0, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			for j := i; j < n; j++ {
				f.u[i*n+j] = float32(work[i*n+j])
			}
		}
	})
	return f, nil
}

// correction returns alpha * strict_upper(D*U^T) * U, rows and columns in the order of the solver.
func (d *Drift) correction(p *kernel.Pool, perm []int, dead func(column int) bool, u []float32, alpha float64) []float32 {
	n := d.width
	scale := float32(2 / float64(max(d.tokens, 1)))
	a, b := make([]float32, n*n), make([]float32, n*n)
	for i := range n {
		for j := range n {
			if !dead(perm[j]) && !dead(perm[i]) {
				a[i*n+j] = d.sum[perm[i]*n+perm[j]] * scale
			}
		}
	}
	kernel.GemmF32(p, false, true, n, n, n, float32(alpha), a, n, u, n, 0, b, n)
	for i := range n {
		clear(b[i*n : i*n+i+1])
	}
	kernel.GemmF32(p, false, false, n, n, n, 1, b, n, u, n, 0, a, n)
	return a
}
