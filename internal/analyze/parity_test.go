package analyze

import (
	"math"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// codedChain quantizes, multiplies with Relu behind it, adds the result of that to what it was made of, and gives it as floats.
func codedChain(t *testing.T) *graph.Graph {
	b := graph.NewBuilder("coded")
	scale, zero := b.Param("scale", tensor.Scalar[float32](0.1)), b.Param("zero", tensor.Scalar[uint8](128))
	pair := func(name string, v *graph.Value) *graph.Value {
		q := b.Add(name+"_q", mk(t, "QuantizeLinear", nil), v, scale, zero)
		return b.Add(name+"_dq", mk(t, "DequantizeLinear", nil), q, scale, zero)
	}
	x := pair("x", b.Input("x", graph.Ranked(tensor.Float32, graph.Named("n"), graph.Known(4))))
	w := make([]float32, 16)
	for i := range w {
		w[i] = float32(math.Sin(float64(i)))
	}
	y := b.Add("product", mk(t, "MatMul", nil), x, b.Param("w", tensor.Of(tensor.Shape{4, 4}, w)))
	y = pair("relu", b.Add("relu", mk(t, "Relu", nil), y))
	b.Output("sum", b.Add("sum", mk(t, "Add", nil), y, x))
	return built(t, b)
}

func TestPartsComputeTheWhole(t *testing.T) {
	g := codedChain(t)
	p := NewParts(g)
	if len(g.Outputs) != 1 || len(g.Inputs) != 1 {
		t.Fatal("the graph was changed")
	}
	if len(p.Apart.Inputs) != 3 || len(p.Whole.Outputs) != 3 {
		t.Fatalf("%s\n%s", p.Whole, p.Apart)
	}
	whole, apart := session(t, p.Whole), session(t, p.Apart)
	in := map[string]*tensor.Tensor{"x": tensor.Of(tensor.Shape{2, 4}, []float32{1, -2, 3, 0.4, -5, 6, 0.07, 8})}
	want, err := whole.RunNamed(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	given := p.Given(want)
	if len(given) != 2 {
		t.Fatalf("given %v", given)
	}
	given["x"] = in["x"]
	got, err := apart.RunNamed(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	sum := NewParitySum(p)
	sum.Add(want, got)
	// A second call in which one code of eight is two off, another one, and a float is.
	off := map[string]*tensor.Tensor{}
	for name, v := range got {
		off[name] = v.Clone()
	}
	q := off["relu_q"]
	if q == nil {
		t.Fatalf("outputs %v", got)
	}
	q.Bytes()[0] += 2
	q.Bytes()[1]++
	tensor.Data[float32](off["sum"])[0] += 0.5
	sum.Add(got, off)
	ops := sum.Operators()
	if len(ops) != 3 {
		t.Fatalf("%+v", ops)
	}
	for i, want := range []struct {
		node, operator string
		equal, within  float64
		bytes          bool
	}{{"x_q", "QuantizeLinear", 1, 1, true}, {"product", "MatMul Relu", 14. / 16, 15. / 16, true}, {"sum", "Add", 15. / 16, 15. / 16, false}} {
		o := ops[i]
		if o.Node != want.node || o.Operator != want.operator || o.Equal != want.equal || o.Within != want.within || o.Bytes() != want.bytes || o.Values != 16 {
			t.Errorf("%+v, want %+v", o, want)
		}
	}
	if ops[1].MaxDiff != 2 || math.Abs(ops[2].MaxDiff-0.5) > 1e-6 {
		t.Errorf("largest differences %v and %v", ops[1].MaxDiff, ops[2].MaxDiff)
	}
}
