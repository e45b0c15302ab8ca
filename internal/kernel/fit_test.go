package kernel

import "testing"

func TestNearestTiesToEven(t *testing.T) {
	for x, want := range map[float32]int{0: 0, 0.5: 0, 1.5: 2, 2.5: 2, -0.5: 0, -1.5: -2, -2.4: -2, 4194303: 4194303, -4194303: -4194303, 7.49: 7} {
		if got := Nearest(x); got != want {
			t.Errorf("%v: %d, want %d", x, got, want)
		}
	}
}
