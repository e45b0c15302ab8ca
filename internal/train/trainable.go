package train

import (
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// weights lists which inputs of operators are weights, beside the operands of sums and products.
var weights = map[string][]int{
	"Conv": {1, 2}, "ConvTranspose": {1, 2}, "Gemm": {0, 1, 2}, "MatMul": {0, 1}, "com.microsoft.FusedMatMul": {0, 1}, "BatchNormalization": {1, 2}, "InstanceNormalization": {1, 2},
	"GroupNormalization": {1, 2}, "LayerNormalization": {1, 2}, "RMSNormalization": {1}, "PRelu": {1}, "Gather": {0}, "RNN": {1, 2, 3}, "LSTM": {1, 2, 3},
	"GRU": {1, 2, 3}, "Add": {0, 1}, "Sub": {0, 1}, "Mul": {0, 1}, "Div": {0, 1}, "FakeQuantize": {0, 1},
}

// Trainable returns the float32 parameters of a graph that training may change: weights and biases, and constants of more than one value that
// are added or multiplied, but for those that only angles are made of: the frequencies and tables of rotary embeddings.
func Trainable(g *graph.Graph) []*graph.Value {
	var out []*graph.Value
	angles := newAngles(g)
	for _, n := range g.Nodes {
		kind := n.Op.Kind()
		for _, i := range weights[kind] {
			if i >= len(n.In) || !g.IsParam(n.In[i]) || slices.Contains(out, n.In[i]) {
				continue
			}
			v := n.In[i]
			single := v.Data.Shape().Len() <= 1 && kind != "Conv" && kind != "ConvTranspose" && kind != "BatchNormalization" && kind != "FakeQuantize"
			if v.Data.DType() == tensor.Float32 && !single && !angles.only(v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// angles finds the values that only angles of positions are made of.
type angles struct {
	uses  map[*graph.Value][]*graph.Node
	found map[*graph.Value]bool
	real  map[*graph.Value]bool // depends on inputs of real numbers, or on what an embedding holds
}

func newAngles(g *graph.Graph) *angles {
	a := &angles{uses: g.Uses(), found: map[*graph.Value]bool{}, real: map[*graph.Value]bool{}}
	for _, v := range g.Inputs {
		a.real[v] = v.Type.DType.IsFloat()
	}
	for _, v := range g.Outputs {
		a.found[v] = false
	}
	for _, n := range g.Nodes {
		is := n.Op.Kind() == "Gather" && g.IsParam(n.In[0])
		for _, v := range n.In {
			is = is || v != nil && a.real[v]
		}
		for _, v := range n.Out {
			a.real[v] = is
		}
	}
	return a
}

// only reports whether v is used, and for nothing but the sine and cosine of what it is multiplied by, or as a table of a rotary embedding. The
// weights of a network that has sines as activations are none of these: they are multiplied by activations.
func (a *angles) only(v *graph.Value) bool {
	if is, done := a.found[v]; done {
		return is
	}
	a.found[v] = false
	for _, n := range a.uses[v] {
		switch n.Op.Kind() {
		case "Sin", "Cos":
			if a.real[v] {
				return false
			}
		case "RotaryEmbedding", "com.microsoft.RotaryEmbedding":
			if n.In[0] == v {
				return false
			}
		case "Mul", "MatMul", "Gather", "Concat", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Cast", "Slice":
			if !a.only(n.Out[0]) {
				return false
			}
		default:
			return false
		}
	}
	a.found[v] = len(a.uses[v]) > 0
	return a.found[v]
}
