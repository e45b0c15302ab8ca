package packed

import (
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

func TestNarrowMatricesDecodeToWhatACastGives(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float8E4M3FN, tensor.Float8E5M2} {
		var v []float64
		for i := range 3 * 37 {
			v = append(v, float64(i-50)*0.37)
		}
		dense, err := tensor.FromFloat64s(d, tensor.Shape{3, 37}, v)
		if err != nil {
			t.Fatal(err)
		}
		want, err := dense.Floats()
		if err != nil {
			t.Fatal(err)
		}
		s := NarrowSource(tensor.InMemory(dense))
		m, err := s.Load()
		if err != nil || m.DType != tensor.Float32 || s.DType() != tensor.Float32 || m.ByteLen() != dense.ByteLen() {
			t.Fatalf("%v: %v", m, err)
		}
		if got, err := m.Floats(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: want %v, got %v", d, want, got)
		}
		row := make([]float32, 37)
		if m.Packed.Row(row, 2); !slices.Equal(row, want[2*37:]) {
			t.Errorf("%v: row 2 is %v", d, row)
		}
		if c := m.Packed.Scheme().String(); c != d.String() {
			t.Errorf("scheme %q", c)
		}
	}
	if _, err := NewNarrow(tensor.New(tensor.Int8, 2, 2)); err == nil {
		t.Error("integers were taken")
	}
}
