package pass

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// joinable is a graph with products of one value by matrices of different encodings: 4 bits, 4 bits with a bias, 8 bits, binary16 twice, float32.
func joinable(t *testing.T) *graph.Graph {
	const cols = 96
	r := rand.New(rand.NewPCG(1, 2))
	b := aten.New("joined")
	x := b.Input("x", graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Named("tokens"), graph.Known(cols)))
	affine := func(name string, bits, rows int) *graph.Value {
		codes, scales := make([]byte, rows*cols), make([]float32, rows*cols/32)
		for i := range codes {
			codes[i] = byte(r.IntN(1 << bits))
		}
		for i := range scales {
			scales[i] = float32(i%7+1) / 64
		}
		m, err := packed.NewAffine(bits, rows, cols, 32, codes, scales, tensor.Float16, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b.Param(name, tensor.NewPacked(tensor.Float32, tensor.Shape{rows, cols}, m))
	}
	half := func(name string, rows int) *graph.Value {
		h := make([]tensor.Half, rows*cols)
		for i := range h {
			h[i] = tensor.ToHalf(float32(r.NormFloat64()))
		}
		n, err := packed.NewNarrow(tensor.Of(tensor.Shape{rows, cols}, h))
		if err != nil {
			t.Fatal(err)
		}
		return b.Param(name, n)
	}
	dense := tensor.New(tensor.Float32, 5, cols)
	for i := range tensor.Data[float32](dense) {
		tensor.Data[float32](dense)[i] = float32(r.NormFloat64())
	}
	bias := tensor.New(tensor.Float32, 70)
	for i := range tensor.Data[float32](bias) {
		tensor.Data[float32](bias)[i] = float32(i)
	}
	b.Output("a", b.Rows(x, affine("int4", 4, 130)))
	b.Output("b", b.Node("Add", nil, b.Rows(x, affine("int4 again", 4, 70)), b.Param("bias", bias)))
	b.Output("c", b.Rows(x, affine("int8", 8, 20)))
	b.Output("d", b.Rows(x, half("half", 33)))
	b.Output("e", b.Rows(x, b.Param("dense", dense)))
	b.Output("f", b.Relu(b.Rows(x, half("half again", 16))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestJoinProducts compares with the same graph whose products stay apart: nothing changes, but for how many nodes there are.
func TestJoinProducts(t *testing.T) {
	lower := func(join bool) *graph.Graph {
		saved := lowering
		defer func() { lowering = saved }()
		if !join {
			lowering = slices.DeleteFunc(slices.Clone(lowering), func(p Named) bool { return p.Name == "join matrix products" })
		}
		l, err := Lower(joinable(t))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	apart, joined := lower(false), lower(true)
	count := map[string]int{}
	for _, n := range joined.Nodes {
		count[n.Op.Kind()]++
	}
	if count["JoinedMatMul"] != 2 || count["PackedMatMul"] != 2 || len(joined.Nodes) != 4 {
		t.Errorf("became %s", kinds(joined))
	}
	for _, tokens := range []int{1, 3, 9} {
		x := tensor.New(tensor.Float32, 1, tokens, 96)
		for i := range x.Len() {
			tensor.Data[float32](x)[i] = float32(i%37)/9 - 2
		}
		in := map[string]*tensor.Tensor{"x": x}
		want, got := execute(t, apart, in), execute(t, joined, in)
		for name, w := range want {
			if !slices.Equal(tensor.Data[float32](w), tensor.Data[float32](got[name])) {
				t.Errorf("%d tokens: output %s differs", tokens, name)
			}
		}
	}
	for _, g := range []*graph.Graph{joined, apart} {
		if err := RoundProducts(g); err != nil {
			t.Fatal(err)
		}
	}
	x := tensor.New(tensor.Float32, 2, 5, 96)
	for i := range x.Len() {
		tensor.Data[float32](x)[i] = float32(i%31)/7 - 2
	}
	in := map[string]*tensor.Tensor{"x": x}
	same(t, "rounded", execute(t, apart, in), execute(t, joined, in))
}
