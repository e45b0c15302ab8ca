package op

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// parseStrings reads numbers in plain or scientific notation; infinities and NaN are known by their names in any case. An
// integer type takes the integral part of a number.
func parseStrings(e *graph.Env, t *tensor.Tensor, to tensor.DType, mode castMode) (*tensor.Tensor, error) {
	text := t.Text()
	bad := func(s string) error { return fmt.Errorf("%q is not a number", s) }
	switch {
	case to == tensor.Int64 || to == tensor.Uint64:
		out := e.New(to, t.Shape...)
		v := cells[uint64](out)
		for i, s := range text {
			s = strings.TrimSpace(s)
			if to == tensor.Int64 {
				if x, err := strconv.ParseInt(s, 10, 64); err == nil {
					v[i] = uint64(x)
					continue
				}
			} else if x, err := strconv.ParseUint(s, 10, 64); err == nil {
				v[i] = x
				continue
			}
			f, ok := parseFloat(s, 64)
			switch {
			case !ok:
				return nil, bad(s)
			case to == tensor.Int64:
				v[i] = uint64(floatToInt64(f))
			default:
				v[i] = floatToUint64(f)
			}
		}
		return out, nil
	case to.IsInt() || to == tensor.Bool || to == tensor.Float64:
		f := make([]float64, len(text))
		for i, s := range text {
			var ok bool
			if f[i], ok = parseFloat(s, 64); !ok {
				return nil, bad(s)
			}
		}
		return castTensor(e, tensor.Of(t.Shape, f), to, mode)
	}
	f := make([]float32, len(text))
	for i, s := range text {
		x, ok := parseFloat(s, 32)
		if !ok {
			return nil, bad(s)
		}
		f[i] = float32(x)
	}
	return castTensor(e, tensor.Of(t.Shape, f), to, mode)
}

func parseFloat(s string, bits int) (float64, bool) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "_xX") { // notations that Go knows and the operator does not
		return 0, false
	}
	f, err := strconv.ParseFloat(s, bits)
	return f, err == nil || math.IsInf(f, 0)
}

// formatStrings writes numbers in decimal: floats with the fewest digits that read back as the same value, in plain notation
// where that is reasonable; infinities and NaN as INF, -INF and NaN; bools as 1 and 0.
func formatStrings(t *tensor.Tensor) (*tensor.Tensor, error) {
	out := make([]string, t.Len())
	d := t.DType
	switch {
	case d == tensor.Uint64:
		for i, v := range tensor.Data[uint64](t) {
			out[i] = strconv.FormatUint(v, 10)
		}
	case d.IsInt() || d == tensor.Bool:
		v, err := t.Ints()
		if err != nil {
			return nil, err
		}
		for i, x := range v {
			out[i] = strconv.FormatInt(x, 10)
		}
	default:
		bits := 32
		if d == tensor.Float64 {
			bits = 64
		}
		v, err := t.Float64s()
		if err != nil {
			return nil, err
		}
		for i, x := range v {
			out[i] = formatFloat(x, bits)
		}
	}
	return tensor.Strings(t.Shape, out), nil
}

func formatFloat(x float64, bits int) string {
	switch {
	case x != x:
		return "NaN"
	case math.IsInf(x, 1):
		return "INF"
	case math.IsInf(x, -1):
		return "-INF"
	}
	if a := math.Abs(x); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(x, 'e', -1, bits)
	}
	return strconv.FormatFloat(x, 'f', -1, bits)
}
