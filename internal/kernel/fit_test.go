package kernel

import (
	"math"
	"strings"
	"testing"
)

func TestNearestTiesToEven(t *testing.T) {
	for x, want := range map[float32]int{0: 0, 0.5: 0, 1.5: 2, 2.5: 2, -0.5: 0, -1.5: -2, -2.4: -2, 4194303: 4194303, -4194303: -4194303, 7.49: 7} {
		if got := Nearest(x); got != want {
			t.Errorf("%v: %d, want %d", x, got, want)
		}
	}
}

func TestCheckFinite(t *testing.T) {
	onEach(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 16, 33, 100} {
			x := make([]float32, n)
			for i := range x {
				x[i] = -math.MaxFloat32
			}
			if err := CheckFinite(x); err != nil {
				t.Error(err)
			}
			for i := range x {
				for bad, want := range map[float32]string{float32(math.Inf(-1)): "-Inf", float32(math.NaN()): "NaN"} {
					x[i] = bad
					if err := CheckFinite(x); err == nil || !strings.Contains(err.Error(), want) {
						t.Errorf("value %d of %d is %v: %v", i, n, bad, err)
					}
				}
				x[i] = 1
			}
		}
	})
}
