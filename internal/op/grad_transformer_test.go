package op_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// transformerCases are the operators of transformers: attention with grouped heads, masks, windows and soft caps, more queries than are computed
// at once, and queries that see nothing; rotary embeddings; products with transposed operands.
func transformerCases(r draws) []gradCase {
	n, t, u := 1+r.IntN(2), 1+r.IntN(5), 1+r.IntN(5)
	size, v := 2+2*r.IntN(2), 1+r.IntN(3)
	flat := attr{"q_num_heads": int64(4), "kv_num_heads": int64(2)}
	with := func(more attr) attr {
		all := attr{}
		for _, a := range []attr{flat, more} {
			for k, v := range a {
				all[k] = v
			}
		}
		return all
	}
	three := func(t, u int) []*tensor.Tensor {
		return []*tensor.Tensor{r.real(n, t, 4*size), r.real(n, u, 2*size), r.real(n, u, 2*v)}
	}
	masked := func(in []*tensor.Tensor, mask *tensor.Tensor) []*tensor.Tensor { return append(in, mask) }
	allowed := make([]bool, t*u)
	for i := range allowed {
		allowed[i] = i >= u && r.IntN(3) > 0 // the first query sees nothing
	}
	angles := func(rows int, shape ...int) (cos, sin *tensor.Tensor) {
		c, s := make([]float64, rows), make([]float64, rows)
		for i := range c {
			s[i], c[i] = math.Sincos(6 * r.Float64())
		}
		return tensor.Of(tensor.Shape(shape), c), tensor.Of(tensor.Shape(shape), s)
	}
	cos, sin := angles(5, 5, 1)
	cosOf, sinOf := angles(n*3*2, n, 3, 2)
	ids := tensor.Of(tensor.Shape{n, 3}, []int64{4, 0, 4, 1, 2, 3}[:n*3])
	return []gradCase{
		{kind: "Attention", attrs: flat, in: three(t, u)},
		{kind: "Attention", in: []*tensor.Tensor{r.real(n, 2, t, size), r.real(n, 2, u, size), r.real(n, 2, u, v)}},
		{kind: "Attention", attrs: with(attr{"is_causal": int64(1), "scale": float32(0.7)}), in: three(t, t)},
		{kind: "Attention", attrs: with(attr{"is_causal": int64(1), "left_window_size": int64(1)}), in: three(5, 5)},
		{kind: "Attention", attrs: with(attr{"softcap": float32(1.5)}), in: three(t, u)},
		{kind: "Attention", attrs: flat, in: masked(three(t, u), r.real(t, u))},
		{kind: "Attention", attrs: with(attr{"softcap": float32(2)}), in: masked(three(t, u), r.real(n, 1, 1, u))},
		{kind: "Attention", attrs: flat, in: masked(three(t, u), tensor.Of(tensor.Shape{t, u}, allowed))},
		{kind: "Attention", attrs: attr{"is_causal": int64(1)}, in: []*tensor.Tensor{r.real(1, 1, 67, 1), r.real(1, 1, 67, 1), r.real(1, 1, 67, 1)}},
		{kind: "RotaryEmbedding", in: []*tensor.Tensor{r.real(n, 2, 3, 4), cosOf, sinOf}},
		{kind: "RotaryEmbedding", attrs: attr{"num_heads": int64(2), "rotary_embedding_dim": int64(2)}, in: []*tensor.Tensor{r.real(n, 3, 2*5), cos, sin, ids}},
		{kind: "RotaryEmbedding", attrs: attr{"interleaved": int64(1)}, in: []*tensor.Tensor{r.real(n, 2, 3, 4), cosOf, sinOf}},
		{kind: "com.microsoft.RotaryEmbedding", in: []*tensor.Tensor{r.real(n, 2, 3, 2), ids, cos, sin}},
		{kind: "com.microsoft.FusedMatMul", attrs: attr{"transB": int64(1), "alpha": float32(0.5)}, in: []*tensor.Tensor{r.real(2, n, t), r.real(u, t)}},
		{kind: "com.microsoft.FusedMatMul", attrs: attr{"transA": int64(1)}, in: []*tensor.Tensor{r.real(2, t, n), r.real(t, u)}},
		{kind: "com.microsoft.FusedMatMul", attrs: attr{"transA": int64(1), "transB": int64(1)}, in: []*tensor.Tensor{r.real(t, n), r.real(2, u, t)}},
		{kind: "com.microsoft.FusedMatMul", attrs: attr{"transBatchA": int64(1), "transBatchB": int64(1)}, in: []*tensor.Tensor{r.real(n, 2, t), r.real(t, 2, u)}},
		{kind: "com.microsoft.FusedMatMul", in: []*tensor.Tensor{r.real(t), r.real(2, t, u)}},
	}
}

func TestGradientsOfTransformers(t *testing.T) {
	for seed := range uint64(3) {
		for _, c := range transformerCases(draws{rand.New(rand.NewPCG(2, seed))}) {
			t.Run(c.kind, func(t *testing.T) { checkGradient(t, c) })
		}
	}
}

// The gradient through an encoded weight is that through the matrix it decodes to.
func TestGradientThroughEncodedWeights(t *testing.T) {
	const n, k, rows = 300, 64, 5
	r := rand.New(rand.NewPCG(3, 4))
	w := make([]float32, n*k)
	for i := range w {
		w[i] = float32(r.NormFloat64())
	}
	d := make([]float32, rows*n)
	for i := range d {
		d[i] = float32(r.NormFloat64())
	}
	row := func(dst []float32, i int) { copy(dst, w[i*k:(i+1)*k]) }
	check := func(name string, o graph.Op, in []*tensor.Tensor, decoded func(dst []float32, row int)) {
		t.Helper()
		got, err := o.(graph.Differentiable).Backward(&graph.Env{}, in, nil, []*tensor.Tensor{tensor.Of(tensor.Shape{1, rows, n}, d)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := make([]float64, rows*k)
		line := make([]float32, k)
		for i := range n {
			decoded(line, i)
			for m := range rows {
				for j, v := range line {
					want[m*k+j] += float64(d[m*n+i]) * float64(v)
				}
			}
		}
		for i, v := range tensor.Data[float32](got[0]) {
			if math.Abs(float64(v)-want[i]) > 1e-4*(1+math.Abs(want[i])) {
				t.Fatalf("%s: element %d is %v, want %v", name, i, v, want[i])
			}
		}
	}
	nf4, err := packed.ParseFourBit("nf4")
	if err != nil {
		t.Fatal(err)
	}
	f, err := packed.NewFourBit(nil, nf4, n, k, 64, true, row)
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := op.NewFrozenWeight(tensor.NewPacked(tensor.Float32, tensor.Shape{n, k}, f))
	if err != nil {
		t.Fatal(err)
	}
	o, err := op.NewPackedMatMul(frozen, 1, nil, false, op.Activation{})
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(tensor.Float32, 1, rows, k)
	check("NF4", o, []*tensor.Tensor{x}, f.Row)

	codes, scales := make([]byte, n*k/2), make([]float32, n*k/32)
	for i := range codes {
		codes[i] = byte(r.UintN(256))
	}
	for i := range scales {
		scales[i] = float32(0.1 + r.Float64())
	}
	bits := &op.MatMulNBits{K: k, N: n, Bits: 4, BlockSize: 32}
	in := []*tensor.Tensor{x, tensor.Of(tensor.Shape{n, k / 32, 16}, codes), tensor.Of(tensor.Shape{n, k / 32}, scales)}
	check("MatMulNBits", bits, in, func(dst []float32, i int) {
		for j := range dst {
			at := i*k + j
			dst[j] = (float32(codes[at/2]>>(at%2*4)&15) - 8) * scales[at/32]
		}
	})
}
