package pass

import (
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestFuseGates multiplies by activations of values of the same shape, either way round, and of others, which stay as they are.
func TestFuseGates(t *testing.T) {
	for _, c := range []struct {
		name, want string
		build      func(b *net, x, y *graph.Value) *graph.Value
		row        bool // y is one row
	}{
		{name: "silu", want: "SwishGate", build: func(b *net, x, y *graph.Value) *graph.Value {
			return b.node("out", "Mul", nil, b.node("silu", "Mul", nil, x, b.node("s", "Sigmoid", nil, x)), y)
		}},
		{name: "silu reversed", want: "SwishGate", build: func(b *net, x, y *graph.Value) *graph.Value {
			return b.node("out", "Mul", nil, y, b.node("silu", "Mul", nil, b.node("s", "Sigmoid", nil, x), x))
		}},
		{name: "gelu", want: "GeluTanhGate", build: func(b *net, x, y *graph.Value) *graph.Value {
			return b.node("out", "Mul", nil, b.node("g", "Gelu", map[string]any{"approximate": "tanh"}, x), y)
		}},
		{name: "relu", want: "ReluGate", build: func(b *net, x, y *graph.Value) *graph.Value {
			return b.node("out", "Mul", nil, b.node("r", "Relu", nil, x), y)
		}},
		{name: "itself", want: "Mul", build: func(b *net, x, _ *graph.Value) *graph.Value {
			r := b.node("r", "Relu", nil, x)
			return b.node("out", "Mul", nil, r, r)
		}},
		{name: "broadcast", row: true, want: "Mul", build: func(b *net, x, y *graph.Value) *graph.Value {
			return b.node("out", "Mul", nil, b.node("r", "Relu", nil, x), y)
		}},
		{name: "read twice", want: "Mul", build: func(b *net, x, y *graph.Value) *graph.Value {
			r := b.node("r", "Tanh", nil, x)
			return b.node("sum", "Add", nil, b.node("out", "Mul", nil, r, y), r)
		}},
	} {
		b := newNet(t, "gate")
		x := b.input("x", "batch", "tokens", 70)
		shape := []any{"batch", "tokens", 70}
		if c.row {
			shape = []any{1, 1, 70}
		}
		y := b.input("y", shape...)
		g := b.graph(c.build(b, x, y))
		l, err := Lower(g)
		if err != nil {
			t.Fatal(err)
		}
		if got := kinds(l); !strings.Contains(got, c.want) || strings.Contains(got, "Gate") != strings.HasSuffix(c.want, "Gate") {
			t.Errorf("%s: became %s, want %s", c.name, got, c.want)
		}
		in := map[string]*tensor.Tensor{"x": tensor.New(tensor.Float32, 3, 41, 70), "y": tensor.New(tensor.Float32, 3, 41, 70)}
		if c.row {
			in["y"] = tensor.New(tensor.Float32, 1, 1, 70)
		}
		for i := range in["x"].Len() {
			tensor.Data[float32](in["x"])[i] = float32(i%23)/4 - 3
		}
		for i := range in["y"].Len() {
			tensor.Data[float32](in["y"])[i] = float32(i%17)/3 - 2
		}
		same(t, c.name, execute(t, g, in), execute(t, l, in))
	}
}
