package progress

import (
	"math"
	"testing"
)

func TestCurve(t *testing.T) {
	for _, c := range []struct {
		values []float64
		cells  int
		want   string
	}{
		{nil, 8, ""},
		{[]float64{3}, 8, "▁"},
		{[]float64{7, 6, 5, 4, 3, 2, 1, 0}, 8, "█▇▆▅▄▃▂▁"},
		{[]float64{4, 4, 2, 2, 0, 0}, 3, "█▅▁"},
		{[]float64{1, math.NaN(), 0, math.Inf(1)}, 4, "█ ▁ "},
		{[]float64{1, math.NaN(), 0, 0}, 2, "█▁"},
	} {
		if got := Curve(c.values, c.cells); got != c.want {
			t.Errorf("Curve(%v, %d) = %q, want %q", c.values, c.cells, got, c.want)
		}
	}
}
