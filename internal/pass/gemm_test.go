package pass

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestSplitGemms takes Gemms apart, which then compute what the definition says, and puts them back.
func TestSplitGemms(t *testing.T) {
	const rows, inner, cols = 3, 5, 4
	at := func(i int) float32 { return float32(math.Sin(float64(i) + 0.3)) }
	for i := range 32 {
		o := &op.Gemm{Alpha: 1, Beta: 1, TransA: i&1 != 0, TransB: i&2 != 0}
		if i&4 != 0 {
			o.Alpha, o.Beta = 0.5, -2
		}
		bias := []tensor.Shape{nil, {cols}, {1, cols}, {rows, 1}}[i>>3]
		name := fmt.Sprintf("%+v, bias %v", *o, bias)
		shape := func(a, b int, turned bool) tensor.Shape {
			if turned {
				a, b = b, a
			}
			return tensor.Shape{a, b}
		}
		fill := func(s tensor.Shape, from int) *tensor.Tensor {
			x := tensor.New(tensor.Float32, s...)
			for j := range tensor.Data[float32](x) {
				tensor.Data[float32](x)[j] = at(from + j)
			}
			return x
		}
		sa := shape(rows, inner, o.TransA)
		b := graph.NewBuilder("g")
		in := []*graph.Value{b.Input("x", graph.Ranked(tensor.Float32, graph.Known(sa[0]), graph.Known(sa[1]))), b.Param("w", fill(shape(inner, cols, o.TransB), 100))}
		if bias != nil {
			in = append(in, b.Param("c", fill(bias, 200)))
		}
		b.Output("y", b.Add("layer", o, in...))
		g, err := b.Graph()
		if err != nil {
			t.Fatal(err)
		}
		x := fill(sa, 0)
		run := func() []float32 {
			s, err := exec.NewSession(g, exec.Options{})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer s.Close()
			out, err := s.Run(context.Background(), []*tensor.Tensor{x})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return tensor.Data[float32](out[0])
		}
		before, whole := slices.Clone(g.Nodes), run()
		list, err := SplitGemms(g)
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: %d were taken apart, %v", name, len(list), err)
		}
		names := map[string]bool{}
		for _, n := range g.Nodes {
			if n.Op.Kind() == "Gemm" || names[n.Name] {
				t.Errorf("%s: node %q (%s)", name, n.Name, n.Op.Kind())
			}
			names[n.Name] = true
		}
		if err := g.Verify(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for j, v := range run() {
			// The definition: Y = alpha * A' * B' + beta * C.
			r, c := j/cols, j%cols
			sum := 0.0
			for k := range inner {
				ia, ib := r*inner+k, k*cols+c
				if o.TransA {
					ia = k*rows + r
				}
				if o.TransB {
					ib = c*inner + k
				}
				sum += float64(at(ia)) * float64(at(100+ib))
			}
			want := float64(o.Alpha) * sum
			switch {
			case bias == nil:
			case bias[len(bias)-1] == 1:
				want += float64(o.Beta) * float64(at(200+r))
			default:
				want += float64(o.Beta) * float64(at(200+c))
			}
			if math.Abs(float64(v)-want) > 1e-5 || math.Abs(float64(whole[j])-want) > 1e-5 {
				t.Fatalf("%s: value %d is %v, whole %v, want %v", name, j, v, whole[j], want)
			}
		}
		RestoreGemms(g, list)
		if !slices.Equal(g.Nodes, before) || g.Nodes[0].Out[0].Node != g.Nodes[0] {
			t.Errorf("%s: not put back as it was", name)
		}
	}
}
