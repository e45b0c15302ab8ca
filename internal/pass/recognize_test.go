package pass

import (
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/shapes"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestLowerEncoder lowers an encoder whose batch and length are free: its attention, GELU, biases and residuals are taken up.
func TestLowerEncoder(t *testing.T) {
	g, err := shapes.BERT{Layers: 2, Hidden: 16, Heads: 4, Intermediate: 24, Vocabulary: 50, Positions: 12, Seed: 1}.Graph()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Lower(g)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, n := range l.Nodes {
		count[n.Op.Kind()]++
	}
	for kind, want := range map[string]int{
		"Attention": 2, "PackedMatMulGelu": 2, "PackedMatMulAdd": 4, "PackedMatMul": 6, "LayerNormalization": 5,
		"Softmax": 0, "MatMul": 0, "Erf": 0, "Transpose": 0, "Reshape": 0,
	} {
		if count[kind] != want {
			t.Errorf("%d nodes %s, want %d", count[kind], kind, want)
		}
	}
	for _, tokens := range []int{1, 7, 12} {
		ids, mask := tensor.New(tensor.Int64, 3, tokens), tensor.New(tensor.Int64, 3, tokens)
		for i := range ids.Len() {
			tensor.Data[int64](ids)[i] = int64(i * 7 % 50)
			tensor.Data[int64](mask)[i] = int64(min(1, (i+1)%4))
		}
		in := map[string]*tensor.Tensor{"input_ids": ids, "attention_mask": mask, "token_type_ids": tensor.New(tensor.Int64, 3, tokens)}
		same(t, "encoder", execute(t, g, in), execute(t, l, in))
	}
}

// splitNet is attention of two heads of four, with the shapes of its Reshape nodes as given.
func splitNet(t *testing.T, split, merge []int64) *graph.Graph {
	b := newNet(t, "attention")
	x := b.input("x", "batch", "tokens", 8)
	heads := func(name string, perm ...int64) *graph.Value {
		y := b.node(name, "MatMul", nil, x, b.weight(name+".weight", 8, 8))
		return b.node(name+".order", "Transpose", map[string]any{"perm": perm}, b.node(name+".heads", "Reshape", nil, y, b.ints(name+".split", split...)))
	}
	scores := b.node("scores", "MatMul", nil, heads("q", 0, 2, 1, 3), heads("k", 0, 2, 3, 1))
	probs := b.node("softmax", "Softmax", map[string]any{"axis": int64(-1)}, scores)
	mixed := b.node("order", "Transpose", map[string]any{"perm": []int64{0, 2, 1, 3}}, b.node("mixed", "MatMul", nil, probs, heads("v", 0, 2, 1, 3)))
	return b.graph(b.node("merge", "Reshape", nil, mixed, b.ints("merged", merge...)))
}

func TestRecognizeAttentionWhereHeadsAreCertain(t *testing.T) {
	for _, c := range []struct {
		split, merge []int64
		want         bool
	}{
		{[]int64{0, 0, 2, 4}, []int64{0, 0, 8}, true},
		{[]int64{0, -1, 2, 4}, []int64{0, -1, 8}, true},
		{[]int64{-1, 0, 2, 4}, []int64{0, 0, 8}, true},
		{[]int64{1, -1, 2, 4}, []int64{1, -1, 8}, false}, // joins what lies in the batch
	} {
		g := splitNet(t, c.split, c.merge)
		l, err := Lower(g)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(kinds(l), "Attention"); got != c.want {
			t.Errorf("%v, %v: recognized: %v, want %v", c.split, c.merge, got, c.want)
		}
		x := tensor.New(tensor.Float32, 1, 3, 8)
		for i := range x.Len() {
			tensor.Data[float32](x)[i] = float32(i%5) - 2
		}
		in := map[string]*tensor.Tensor{"x": x}
		same(t, "attention", execute(t, g, in), execute(t, l, in))
	}
}
