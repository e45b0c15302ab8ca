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

// A turned image is the image turned by 0, 90, 180 or 270 degrees; all four come up, and a sample of an epoch is always turned alike.
func TestAugmentTurns(t *testing.T) {
	turned := map[[4]float32]int{{1, 2, 3, 4}: 0, {2, 4, 1, 3}: 0, {4, 3, 2, 1}: 0, {3, 1, 4, 2}: 0}
	a := Augment{Turn: true}
	for sample := range 64 {
		var last [4]float32
		for again := range 2 {
			x := tensor.Of(tensor.Shape{1, 1, 2, 2}, []float32{1, 2, 3, 4})
			if err := a.apply(x, 1, 0, []int{sample}); err != nil {
				t.Fatal(err)
			}
			got := [4]float32(tensor.Data[float32](x))
			if _, ok := turned[got]; !ok {
				t.Fatalf("%v is no turn of the image", got)
			}
			if again == 1 && got != last {
				t.Errorf("sample %d is turned to %v and to %v", sample, last, got)
			}
			last = got
			turned[got]++
		}
	}
	for image, n := range turned {
		if n == 0 {
			t.Errorf("%v never comes up", image)
		}
	}
	if err := a.apply(tensor.New(tensor.Float32, 1, 1, 2, 3), 1, 0, []int{0}); err == nil {
		t.Error("an image that is not square is turned")
	}
}
