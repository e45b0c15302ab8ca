package quantize

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// ActivationTypes are what method static holds activations in, the default first.
var ActivationTypes = []string{"quint8", "qint8", "quint16", "qint16"}

// codeForm is how activations are held in codes.
type codeForm struct {
	dtype     tensor.DType // Uint8, Int8, Uint16 or Int16
	symmetric bool         // zero is in the middle of the range
	bits      int          // that are used of dtype; 0: all
}

// activations returns the form that the recipe asks for.
func (r *Recipe) activations() codeForm {
	f := codeForm{tensor.Uint8, r.SymmetricActivations, r.activationBits}
	switch r.Activations {
	case "qint8":
		f.dtype = tensor.Int8
	case "quint16":
		f.dtype = tensor.Uint16
	case "qint16":
		f.dtype = tensor.Int16
	}
	return f
}

// limits returns the least and the largest code.
func (f codeForm) limits() (lo, hi int32) {
	switch {
	case f.bits > 0 && f.dtype == tensor.Int8:
		return -1 << (f.bits - 1), 1<<(f.bits-1) - 1
	case f.bits > 0:
		return 0, 1<<f.bits - 1
	}
	switch f.dtype {
	case tensor.Int8:
		return math.MinInt8, math.MaxInt8
	case tensor.Uint16:
		return 0, math.MaxUint16
	case tensor.Int16:
		return math.MinInt16, math.MaxInt16
	}
	return 0, math.MaxUint8
}

// levels is the number of codes.
func (f codeForm) levels() int {
	lo, hi := f.limits()
	return int(hi-lo) + 1
}

// wide reports whether codes have 16 bits: no runtime multiplies those as integers.
func (f codeForm) wide() bool { return f.levels() > 256 }

// activation is how a value is held in codes: x = scale*(code - zero).
type activation struct {
	codeForm
	scale float32
	zero  int32
}

// of maps a range to codes. The range is widened to hold zero, which then has a code of its own.
func (f codeForm) of(lo, hi float32) activation {
	lo, hi = min(lo, 0), max(hi, 0)
	least, most := f.limits()
	a := activation{codeForm: f}
	s := (float64(hi) - float64(lo)) / float64(most-least)
	if f.symmetric {
		s = float64(max(-lo, hi)) / float64((most-least)/2)
	}
	if s < smallestScale {
		s, lo = 1, 0
	}
	a.scale, a.zero = float32(s), least-int32(math.RoundToEven(float64(lo)/s))
	if f.symmetric {
		a.zero = least + (most-least+1)/2
	}
	return a
}

// code returns the code of a number.
func (a activation) code(x float32) int32 {
	lo, hi := a.limits()
	return int32(min(max(math.RoundToEven(float64(x/a.scale))+float64(a.zero), float64(lo)), float64(hi)))
}

// value returns what a code stands for.
func (a activation) value(code int32) float64 { return float64(a.scale) * float64(code-a.zero) }

// tensor returns codes of numbers.
func (a activation) tensor(shape tensor.Shape, x []float32) (*tensor.Tensor, error) {
	codes := make([]float64, len(x))
	for i, v := range x {
		codes[i] = float64(a.code(v))
	}
	return tensor.FromFloat64s(a.dtype, shape, codes)
}

// zeroPoint returns the zero point of activations as a parameter.
func (w *staticRun) zeroPoint(a activation) *graph.Value { return w.zeros(a.dtype, 1, a.zero) }
