package quantize

import (
	"context"
	"math"
	"testing"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// TestMatMulNBits writes rounded weights of few bits as MatMulNBits, which computes what the codes stand for.
func TestMatMulNBits(t *testing.T) {
	for _, bits := range []int{2, 4, 8} {
		for _, group := range []int{16, 64} {
			for _, symmetric := range []bool{true, false} {
				b := graph.NewBuilder("g")
				x := b.Input("x", graph.Ranked(tensor.Float32, graph.Known(3), graph.Known(80)))
				w := tensor.New(tensor.Float32, 80, 24)
				for i := range tensor.Data[float32](w) {
					tensor.Data[float32](w)[i] = float32(math.Sin(float64(i)))
				}
				b.Output("y", b.Add("layer", &op.MatMul{}, x, b.Param("w", w)))
				g, err := b.Graph()
				if err != nil {
					t.Fatal(err)
				}
				m := &model.Model{Graph: g}
				p, err := NewPlan(m, Recipe{Method: "rtn", WeightOnly: WeightSettings{Bits: bits, Group: group, Symmetric: symmetric, ScaleType: tensor.Float16, Refuse: RefuseNBits}})
				if err != nil {
					t.Fatal(err)
				}
				if err := Run(context.Background(), m, p, Samples{}); err != nil {
					t.Fatal(err)
				}
				in := tensor.New(tensor.Float32, 3, 80)
				for i := range tensor.Data[float32](in) {
					tensor.Data[float32](in)[i] = float32(i%7 - 3)
				}
				run := func() []float32 {
					s, err := exec.NewSession(g, exec.Options{})
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					out, err := s.Run(context.Background(), []*tensor.Tensor{in})
					if err != nil {
						t.Fatal(err)
					}
					return tensor.Data[float32](out[0])
				}
				want := run()
				if err := ToMatMulNBits(g); err != nil {
					t.Fatal(err)
				}
				if k := g.Nodes[0].Op.Kind(); k != "com.microsoft.MatMulNBits" {
					t.Fatalf("the layer is a %s", k)
				}
				for i, v := range run() {
					if math.Abs(float64(v-want[i])) > 1e-4 {
						t.Fatalf("%d bits, group %d, symmetric %v: output %d is %v, want %v", bits, group, symmetric, i, v, want[i])
					}
				}
			}
		}
	}
}
