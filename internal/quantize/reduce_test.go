package quantize

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/saturate"
	"github.com/neurotrain/neuroquant/tensor"
)

// weightsOf returns, for every weight of a QDQ graph, its matrix, its scales and what it dequantizes to.
func weightsOf(t *testing.T, g *graph.Graph) map[string]*saturate.Matrix {
	t.Helper()
	out := map[string]*saturate.Matrix{}
	for _, n := range g.Nodes {
		kind := n.Op.Kind()
		if kind != "Conv" && kind != "Gemm" {
			continue
		}
		w, err := n.In[1].Node.In[0].Data.Load()
		if err != nil {
			t.Fatal(err)
		}
		if kind == "Conv" {
			out[n.Name] = saturate.Conv(tensor.Data[int8](w), w.Shape)
		} else {
			out[n.Name] = saturate.Rows(tensor.Data[int8](w), w.Shape)
		}
	}
	return out
}

func TestReduceRange(t *testing.T) {
	noise := map[string]float64{}
	risky := map[string]int{}
	for _, perTensor := range []bool{false, true} {
		plain := map[string][]float32{}
		for _, mode := range ReduceRanges {
			m := &model.Model{Graph: residual(t)}
			p, err := NewPlan(m, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, ReduceRange: mode, PerTensor: perTensor})
			if err != nil {
				t.Fatal(err)
			}
			if why := p.Decisions[0].Why; strings.Contains(why, "16 bits") != (mode != "none") {
				t.Errorf("%s: %s", mode, why)
			}
			if err := Run(context.Background(), m, p, calls(4)); err != nil {
				t.Fatal(err)
			}
			noise[mode], risky[mode] = 0, 0
			for name, w := range weightsOf(t, m.Graph) {
				for c := range w.Channels {
					risky[mode] += len(w.Risky(c))
				}
				for _, v := range w.Codes {
					if mode == "all" && (v > 64 || v < -64) {
						t.Fatalf("%s: code %d of 7 bits", name, v)
					}
				}
				for _, n := range m.Graph.Nodes {
					if n.Name != name {
						continue
					}
					scale, err := n.In[1].Node.In[1].Data.Load()
					if err != nil {
						t.Fatal(err)
					}
					s := tensor.Data[float32](scale)
					switch mode {
					case "none":
						plain[name] = s
					case "needed": // channels that cannot overflow keep their scales
						same := 0
						for i := range s {
							if s[i] < plain[name][i] {
								t.Errorf("%s, channel %d: the scale shrinks from %v to %v", name, i, plain[name][i], s[i])
							}
							if s[i] == plain[name][i] {
								same++
							}
							noise[mode] += float64(s[i]) * float64(s[i]) / float64(len(s))
						}
						if !perTensor && name == "conv1" && same == 0 {
							t.Error("every channel of conv1 is changed")
						}
						continue
					}
					for i := range s {
						noise[mode] += float64(s[i]) * float64(s[i]) / float64(len(s))
					}
				}
			}
		}
		if risky["none"] == 0 || risky["needed"] != 0 || risky["all"] != 0 {
			t.Errorf("pairs that overflow: %v", risky)
		}
		if !(noise["none"] < noise["needed"] && noise["needed"] < noise["all"]) {
			t.Errorf("squared steps: %v", noise)
		}
	}
	if _, err := NewPlan(&model.Model{Graph: residual(t)}, Recipe{Method: "static", Calibrator: Calibrator{Method: "minmax"}, ReduceRange: "some"}); err == nil || !strings.Contains(err.Error(), "want one of none, needed, all") {
		t.Errorf("unknown mode: %v", err)
	}
}

// The codes are those of the weight at the scale that is written.
func TestReducedCodesAreRounded(t *testing.T) {
	w := normal(9, 8*64, 0)
	for _, mode := range []string{"needed", "all"} {
		c, err := quantizeWeight("w", tensor.Of(tensor.Shape{8, 64}, w), 0, true, false)
		if err != nil {
			t.Fatal(err)
		}
		m := saturate.Rows(tensor.Data[int8](bytesTensor(tensor.Int8, c.shape, c.data)), c.shape)
		c.reduce(w, m, mode)
		for i, v := range w {
			want := math.RoundToEven(float64(v / c.scale[i/64]))
			if got := float64(int8(c.data[i])); got != min(max(want, -127), 127) {
				t.Fatalf("%s: value %d has code %v, want %v", mode, i, got, want)
			}
		}
	}
}
