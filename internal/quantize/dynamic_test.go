package quantize

import (
	"fmt"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestMatMul(t *testing.T) {
	for name, c := range map[string]struct{ x, w []int }{
		"matrix":  {[]int{5, 40}, []int{40, 24}},
		"vector":  {[]int{40}, []int{40, 24}},
		"batched": {[]int{2, 3, 5, 40}, []int{40, 24}},
		"column":  {[]int{50, 80}, []int{80, 1}},
	} {
		t.Run("right/"+name, func(t *testing.T) {
			b := newNet(t, 1)
			checkLayer(t, b.graph(b.node("layer", "MatMul", nil, b.input("x", c.x...), b.weight("w", c.w...))))
		})
	}
	for name, c := range map[string]struct{ w, x []int }{
		"matrix":  {[]int{24, 40}, []int{40, 5}},
		"vector":  {[]int{24, 40}, []int{40}},
		"batched": {[]int{24, 40}, []int{2, 3, 40, 5}},
		"row":     {[]int{1, 80}, []int{80, 5}},
	} {
		t.Run("left/"+name, func(t *testing.T) {
			b := newNet(t, 2)
			x := b.input("x", c.x...)
			checkLayer(t, b.graph(b.node("layer", "MatMul", nil, b.weight("w", c.w...), x)))
		})
	}
}

// TestGemm covers both orders of both operands, the factors and every shape of C that broadcasts to [rows, cols].
func TestGemm(t *testing.T) {
	const rows, depth, cols = 5, 40, 24
	bias := map[string][]int{"none": nil, "scalar": {}, "vector": {cols}, "row": {1, cols}, "column": {rows, 1}, "matrix": {rows, cols}}
	for _, form := range []struct{ transA, transB int64 }{{0, 0}, {0, 1}, {1, 0}, {1, 1}} {
		for _, f := range [][2]float32{{1, 1}, {0.5, 1}, {1, 2}, {-2, 0}} {
			for kind, shape := range bias {
				for _, computed := range []bool{false, true} {
					if computed && (shape == nil || form.transA == 1 || f[0] == 0.5) {
						continue
					}
					t.Run(fmt.Sprintf("%d%d/%v/%s/%v", form.transA, form.transB, f, kind, computed), func(t *testing.T) {
						b := newNet(t, 3)
						x, w := []int{rows, depth}, []int{depth, cols}
						if form.transA == 1 {
							x = []int{depth, rows}
						}
						if form.transB == 1 {
							w = []int{cols, depth}
						}
						in := []*graph.Value{b.input("x", x...), b.weight("w", w...)}
						switch {
						case shape == nil:
						case computed:
							in = append(in, b.node("computed", "Neg", nil, b.input("c", shape...)))
						default:
							in = append(in, b.weight("c", shape...))
						}
						a := attrs{"transA": form.transA, "transB": form.transB, "alpha": f[0], "beta": f[1]}
						checkLayer(t, b.graph(b.node("layer", "Gemm", a, in...)))
					})
				}
			}
		}
	}
}

func TestConv(t *testing.T) {
	for name, c := range map[string]struct {
		x, w []int
		a    attrs
	}{
		"1-D":       {[]int{2, 6, 50}, []int{8, 6, 5}, attrs{"pads": []int64{2, 2}}},
		"2-D":       {[]int{2, 6, 12, 11}, []int{8, 6, 3, 3}, nil},
		"3-D":       {[]int{1, 4, 6, 5, 7}, []int{6, 4, 3, 2, 3}, attrs{"pads": []int64{1, 0, 1, 1, 1, 1}}},
		"pointwise": {[]int{2, 16, 7, 7}, []int{24, 16, 1, 1}, nil},
		"groups":    {[]int{1, 12, 9, 9}, []int{8, 3, 3, 3}, attrs{"group": int64(4), "pads": []int64{1, 1, 1, 1}}},
		"depthwise": {[]int{2, 16, 9, 9}, []int{16, 1, 3, 3}, attrs{"group": int64(16), "pads": []int64{1, 1, 1, 1}}},
		"strides":   {[]int{2, 6, 12, 11}, []int{8, 6, 3, 3}, attrs{"strides": []int64{2, 3}}},
		"dilations": {[]int{2, 6, 12, 11}, []int{8, 6, 3, 3}, attrs{"dilations": []int64{2, 3}}},
		"uneven":    {[]int{1, 6, 8, 8}, []int{8, 6, 4, 2}, attrs{"pads": []int64{2, 0, 1, 1}}},
		"same":      {[]int{1, 6, 9, 10}, []int{8, 6, 3, 3}, attrs{"auto_pad": "SAME_UPPER", "strides": []int64{2, 2}}},
		"lower":     {[]int{1, 6, 9, 10}, []int{8, 6, 2, 2}, attrs{"auto_pad": "SAME_LOWER"}},
		"valid":     {[]int{1, 6, 9, 10}, []int{8, 6, 3, 3}, attrs{"auto_pad": "VALID"}},
	} {
		for _, bias := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, bias), func(t *testing.T) {
				b := newNet(t, 4)
				in := []*graph.Value{b.input("x", c.x...), b.weight("w", c.w...)}
				if bias {
					in = append(in, b.weight("b", c.w[0]))
				}
				checkLayer(t, b.graph(b.node("layer", "Conv", c.a, in...)))
			})
		}
	}
}

func TestEmbedding(t *testing.T) {
	for name, shape := range map[string][]int{"scalar": {}, "vector": {9}, "matrix": {3, 9}} {
		t.Run(name, func(t *testing.T) {
			b := newNet(t, 5)
			ids := b.Input("ids", graph.Shaped(tensor.Int64, shape))
			checkLayer(t, b.graph(b.node("layer", "Gather", nil, b.weight("table", 40, 32), ids)))
		})
	}
}

// TestRecurrent covers directions, biases, initial states and, for GRU, the place of the reset gate. Weights have the scale of
// trained ones, so that a state does not only saturate.
func TestRecurrent(t *testing.T) {
	const steps, batch, input, hidden = 6, 2, 20, 16
	for _, kind := range []string{"LSTM", "GRU"} {
		gates := map[string]int{"LSTM": 4, "GRU": 3}[kind]
		for _, direction := range []string{"forward", "reverse", "bidirectional"} {
			dirs := 1
			if direction == "bidirectional" {
				dirs = 2
			}
			for _, extras := range []string{"bare", "bias", "state", "bias and state"} {
				for _, before := range []int64{0, 1} {
					if kind == "LSTM" && before == 1 {
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/%d", kind, direction, extras, before), func(t *testing.T) {
						b := newNet(t, 6)
						in := []*graph.Value{b.input("x", steps, batch, input), b.small("w", dirs, gates*hidden, input), b.small("r", dirs, gates*hidden, hidden), nil, nil, nil}
						if extras == "bias" || extras == "bias and state" {
							in[3] = b.small("b", dirs, 2*gates*hidden)
						}
						if extras == "state" || extras == "bias and state" {
							in[5] = b.input("h", dirs, batch, hidden)
							if kind == "LSTM" {
								in = append(in, b.input("c", dirs, batch, hidden))
							}
						}
						a := attrs{"direction": direction, "hidden_size": int64(hidden)}
						outs := 3
						if kind == "GRU" {
							a["linear_before_reset"], outs = before, 2
						}
						checkLayer(t, b.graph(b.AddN("layer", outs, b.op(kind, a), in...)...))
					})
				}
			}
		}
	}
}

// TestRecurrentOutputsMayBeUnused leaves out each output but one.
func TestRecurrentOutputsMayBeUnused(t *testing.T) {
	for _, kind := range []string{"LSTM", "GRU"} {
		gates, outs := 3, 2
		if kind == "LSTM" {
			gates, outs = 4, 3
		}
		for keep := range outs {
			b := newNet(t, 8)
			v := b.AddN("layer", outs, b.op(kind, attrs{"hidden_size": int64(16)}), b.input("x", 3, 1, 20), b.weight("w", 1, gates*16, 20), b.weight("r", 1, gates*16, 16))
			g := b.graph(v[keep])
			for i := range v {
				if i != keep {
					g.Nodes[0].Out[i] = nil
				}
			}
			in := feed(g, 1)
			q, _ := quantized(t, g, Recipe{Weight: "qint8", Only: []string{"layer"}})
			if db := snr(t, run(t, g, in)[0], run(t, q, in)[0]); db < 25 {
				t.Errorf("%s with output %d only: %.1f dB", kind, keep, db)
			}
		}
	}
}
