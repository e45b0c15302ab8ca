package tensor

import (
	"math"
	"testing"
)

func TestNaN(t *testing.T) {
	for _, d := range []DType{Float16, BFloat16, Float32, Float64} {
		for n := range 40 {
			for at := -1; at < n; at++ {
				values := make([]float64, n)
				for i := range values {
					values[i] = []float64{math.Inf(1), math.Inf(-1), -1.5, 0, 65504}[i%5]
				}
				if at >= 0 {
					values[at] = math.NaN()
				}
				x, err := FromFloat64s(d, Shape{n}, values)
				if err != nil {
					t.Fatal(err)
				}
				if got := x.NaN(); got != at {
					t.Fatalf("%v, %d elements: want %d, got %d", d, n, at, got)
				}
			}
		}
	}
	for _, bits := range []uint16{0x7C01, 0xFC01, 0x7E00, 0xFFFF} {
		x := New(Float16, 9)
		Data[Half](x)[8] = Half(bits)
		if x.NaN() != 8 {
			t.Errorf("%#x as float16 is not found", bits)
		}
	}
	if New(Int64, 4).NaN() != -1 {
		t.Error("whole numbers are numbers")
	}
}

func BenchmarkNaN(b *testing.B) {
	for _, d := range []DType{BFloat16, Float32} {
		b.Run(d.String(), func(b *testing.B) {
			x := New(d, 1<<22)
			b.SetBytes(int64(len(x.Bytes())))
			for b.Loop() {
				x.NaN()
			}
		})
	}
}
