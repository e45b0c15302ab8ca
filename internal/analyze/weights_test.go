package analyze

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestWeights compares a rounded matrix whose error is known by its definition: codes of 8 bits and scale s are off by at most s/2.
func TestWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const rows, cols, scale = 6, 32, 1. / 64
	w, codes := make([]float32, rows*cols), make([]byte, rows*cols)
	err2, ref2 := 0.0, 0.0
	for i := range w {
		w[i] = float32(r.NormFloat64() / 4)
		q := math.Round(float64(w[i]) / scale)
		codes[i] = byte(q + 128)
		ref2 += float64(w[i]) * float64(w[i])
		err2 += (float64(w[i]) - q*scale) * (float64(w[i]) - q*scale)
	}
	scales := make([]float32, rows)
	for i := range scales {
		scales[i] = scale
	}
	a, err := packed.NewAffine(8, rows, cols, cols, codes, scales, tensor.Float32, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	norm, gone := tensor.Of(tensor.Shape{2}, []float32{1, 2}), tensor.Of(tensor.Shape{2}, []float32{3, 4})
	orig := []model.Entry{
		{Name: "w", Source: tensor.InMemory(tensor.Of(tensor.Shape{rows, cols}, w))},
		{Name: "norm", Source: tensor.InMemory(norm)},
		{Name: "gone", Source: tensor.InMemory(gone)},
	}
	quant := []model.Entry{{Name: "norm", Source: tensor.InMemory(norm)}, {Name: "w", Source: a.Source()}}
	list, missing, err := Weights(context.Background(), orig, quant)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Tensor != "w" || list[1].Tensor != "norm" || len(missing) != 1 || missing[0] != "gone" {
		t.Fatalf("compared %+v, missing %v", list, missing)
	}
	if want, got := 10*math.Log10(ref2/err2), list[0]; got.SQNR == nil || math.Abs(*got.SQNR-want) > 1e-4 || !got.Quantized || got.Bits != 8 || got.MaxDiff > scale/2 || got.Rescaled {
		t.Errorf("%+v; want SQNR %v", got, want)
	}
	if n := list[1]; n.SQNR != nil || n.Quantized {
		t.Errorf("a vector that is the same: %+v", n)
	}
}

// TestWeightsUpToScales moves scales of channels out of a normalization into the matrices around, which leaves nothing of an error.
func TestWeightsUpToScales(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const rows, cols = 8, 16
	w, moved, norm, other := make([]float32, rows*cols), make([]byte, rows*cols), make([]float32, cols), make([]float32, cols)
	scales := make([]float32, rows*cols) // in groups of one column
	for j := range cols {
		norm[j], other[j] = 1, float32(math.Exp(r.NormFloat64()))
	}
	for i := range rows {
		up := float32(math.Exp(r.NormFloat64()))
		for j := range cols {
			moved[i*cols+j] = byte(r.IntN(256))
			w[i*cols+j] = float32(int(moved[i*cols+j])-128) / 100
			scales[i*cols+j] = up / other[j] / 100
		}
	}
	a, err := packed.NewAffine(8, rows, cols, 1, moved, scales, tensor.Float32, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	vector := func(v []float32) tensor.Source { return tensor.InMemory(tensor.Of(tensor.Shape{len(v)}, v)) }
	orig := []model.Entry{{Name: "w", Source: tensor.InMemory(tensor.Of(tensor.Shape{rows, cols}, w))}, {Name: "norm", Source: vector(norm)}}
	for _, c := range []struct {
		norm []float32
		want bool
	}{{other, true}, {norm, false}} {
		list, _, err := Weights(context.Background(), orig, []model.Entry{{Name: "w", Source: a.Source()}, {Name: "norm", Source: vector(c.norm)}})
		if err != nil {
			t.Fatal(err)
		}
		near := list[0].SQNR == nil || *list[0].SQNR > 70
		if list[0].Rescaled != c.want || near != c.want {
			t.Errorf("normalization changed %v: %+v", c.want, list[0])
		}
	}
}
