// Package solve quantizes a weight matrix so that its products with given inputs change least: GPTQ (Frantar et al., "GPTQ:
// Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022) with what was found since, and AWQ (Lin et al., "AWQ:
// Activation-aware Weight Quantization for LLM Compression and Acceleration", 2023).
//
// It knows matrices alone: which layers there are, where inputs come from and what files hold is the business of its callers.
package solve

import (
	"fmt"

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
