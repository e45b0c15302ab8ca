package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

func TestBuilder(t *testing.T) {
	b := NewBuilder("net")
	x := b.Input("x", float(Named("batch"), Known(2)))
	limit := 3
	var h *Value
	b.Scope("block", func() {
		b.Scope("0", func() {
			h = b.Add("sum", &sumOp{Scale: 0.5, Axes: []int{1, -1}, Mode: "up", Limit: &limit}, x, b.Param("w", tensor.Vector[float32](1, 2)))
			h = b.Add("sum", &sumOp{Scale: 1}, h, b.Source("w", tensor.InMemory(tensor.Vector[float32](3, 4))))
		})
	})
	sub := NewBuilder("inner")
	sub.Output("out", sub.Add("twice", &sumOp{Scale: 1}, sub.Input("in", float())))
	inner, err := sub.Graph()
	if err != nil {
		t.Fatal(err)
	}
	pair := b.AddN("pair", 2, &bodyOp{sumOp: sumOp{Scale: 1}, Sub: inner}, h)
	b.Output("y", pair[0])
	b.Output("block", h)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	const want = `graph net
  input x: float32[batch,2]
  param block.0.w: float32[2]
  param block.0.w_1: float32[2]
  block.0.sum = Sum(x, block.0.w) {scale=0.5, axes=[1 -1], mode=up, limit=3} -> float32[batch,2]
  block = Sum(block.0.sum, block.0.w_1) -> float32[batch,2]
  y, pair:1 = Sum(block) -> float32[batch,2]
    graph inner
      input in: float32[]
      out = Sum(in) -> float32[]
      output out: float32[]
  output y: float32[batch,2]
  output block: float32[batch,2]
`
	if g.String() != want {
		t.Errorf("got\n%v\nwant\n%s", g, want)
	}
	if g.Nodes[0].Name != "block.0.sum" || g.Nodes[1].Name != "block.0.sum_1" {
		t.Errorf("nodes %q and %q", g.Nodes[0].Name, g.Nodes[1].Name)
	}
}

func TestBuilderErrorsStick(t *testing.T) {
	b := NewBuilder("net")
	x := b.Input("x", float(Known(2)))
	b.Scope("head", func() {
		b.Errorf("%d heads do not divide %d", 3, 8)
		bad := b.Add("mixed", &sumOp{}, x, b.Param("ids", tensor.Vector[int64](1)))
		b.Add("after", &sumOp{}, bad, nil)
	})
	_, err := b.Graph()
	want := []string{
		"head: 3 heads do not divide 8",
		`node "head.mixed" (Sum): types float32[2] and int64[1] differ`,
		`node "head.after" (Sum): input 0 is missing`,
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got %v", err)
	}
	for range 50 {
		b.Add("more", &sumOp{}, nil)
	}
	if _, err := b.Graph(); len(strings.Split(err.Error(), "\n")) > 25 {
		t.Errorf("%d errors", len(strings.Split(err.Error(), "\n")))
	}
}

func TestTypeText(t *testing.T) {
	seq := Type{DType: tensor.Sequence, Elem: &Type{DType: tensor.Float32, Ranked: true, Dims: []Dim{Known(1), Unknown}}}
	for _, c := range []struct {
		t    Type
		want string
	}{
		{float(), "float32[]"},
		{float(Known(2), Named("n"), Unknown), "float32[2,n,?]"},
		{Unranked(tensor.Int8), "int8[...]"},
		{seq, fmt.Sprintf("%v(float32[1,?])", tensor.Sequence)},
	} {
		if c.t.String() != c.want {
			t.Errorf("got %v, want %s", c.t, c.want)
		}
	}
}
