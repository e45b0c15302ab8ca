package train

import (
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Frequencies of rotary embeddings are no weights; those of a layer whose activation is a sine are, and so are gathered positions.
func TestTrainable(t *testing.T) {
	b := graph.NewBuilder("positions")
	ids := b.Input("ids", graph.Ranked(tensor.Int64, graph.Named("batch"), graph.Known(5)))
	table := b.Param("embedding", draw(1, 1, 7, 8))
	x := b.Add("embed", newOp(t, "Gather", nil), table, ids)
	x = b.Add("position", newOp(t, "Add", nil), x, b.Add("positions", newOp(t, "Gather", nil), b.Param("position_table", draw(2, 1, 7, 8)), ids))
	at := b.Add("cast", newOp(t, "Cast", map[string]any{"to": int64(1)}), ids)
	at = b.Add("rank3", newOp(t, "Unsqueeze", nil), at, b.Param("axis", tensor.Vector[int64](-1)))
	angle := b.Add("angle", newOp(t, "Mul", nil), at, b.Param("frequencies", draw(3, 1, 2)))
	cos, sin := b.Add("cos", newOp(t, "Cos", nil), angle), b.Add("sin", newOp(t, "Sin", nil), angle)
	x = b.Add("rotary", newOp(t, "RotaryEmbedding", map[string]any{"num_heads": int64(2)}), x, cos, sin)
	x = b.Add("hidden", newOp(t, "MatMul", nil), x, b.Param("sine_layer", draw(4, 1, 8, 6)))
	x = b.Add("activation", newOp(t, "Sin", nil), x)
	b.Output("scores", b.Add("head", newOp(t, "com.microsoft.FusedMatMul", map[string]any{"transB": int64(1)}), x, b.Param("head_weight", draw(5, 1, 7, 6))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range Trainable(g) {
		got = append(got, v.Name)
	}
	slices.Sort(got)
	if want := []string{"embedding", "head_weight", "position_table", "sine_layer"}; !slices.Equal(got, want) {
		t.Errorf("trained are %q, want %q", got, want)
	}
}
