package analyze

import (
	"context"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// saturating is a convolution as VPMADDUBSW computes it, channels last, pair after pair, beside the exact one.
func saturating(x []uint8, zero uint8, w []int8, xs, ws tensor.Shape, stride, pad, group int) (exact, sat []int) {
	taps := ws[2] * ws[3]
	oh, ow := (xs[2]+2*pad-ws[2])/stride+1, (xs[3]+2*pad-ws[3])/stride+1
	for b := range xs[0] {
		for m := range ws[0] {
			for y := range oh {
				for xx := range ow {
					var prods []int
					for t := range taps {
						for c := range ws[1] {
							iy, ix := y*stride-pad+t/ws[3], xx*stride-pad+t%ws[3]
							v := zero
							if iy >= 0 && iy < xs[2] && ix >= 0 && ix < xs[3] {
								ch := m/(ws[0]/group)*ws[1] + c
								v = x[((b*xs[1]+ch)*xs[2]+iy)*xs[3]+ix]
							}
							prods = append(prods, int(v)*int(w[(m*ws[1]+c)*taps+t]))
						}
					}
					e, s := 0, 0
					for i := 0; i < len(prods); i += 2 {
						p := prods[i]
						if i+1 < len(prods) {
							p += prods[i+1]
						}
						e += p
						s += min(max(p, -32768), 32767)
					}
					exact, sat = append(exact, e), append(sat, s)
				}
			}
		}
	}
	return exact, sat
}

func TestSaturationAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, test := range []struct {
		name               string
		xs, ws             tensor.Shape
		stride, pad, group int
		signed             bool
	}{
		{"3x3", tensor.Shape{2, 4, 7, 6}, tensor.Shape{5, 4, 3, 3}, 1, 1, 1, false},
		{"odd channels, stride", tensor.Shape{1, 3, 9, 9}, tensor.Shape{4, 3, 3, 3}, 2, 1, 1, false},
		{"groups", tensor.Shape{1, 6, 5, 5}, tensor.Shape{4, 3, 3, 3}, 1, 1, 2, false},
		{"signed activations", tensor.Shape{1, 4, 5, 5}, tensor.Shape{3, 4, 3, 3}, 1, 1, 1, true},
	} {
		x, w := make([]uint8, test.xs.Len()), make([]int8, test.ws.Len())
		for i := range x {
			x[i] = uint8(r.IntN(256))
		}
		for i := range w {
			w[i] = int8(r.IntN(255) - 127)
		}
		// The first channel holds small weights: no activations make it overflow.
		for i := range w[:test.ws[1:].Len()] {
			w[i] /= 2
		}
		const zero, xScale = 77, 0.125
		codes, zeroT := tensor.Of(test.xs, x), tensor.Scalar[uint8](zero)
		if test.signed {
			s := make([]int8, len(x))
			for i, v := range x {
				s[i] = int8(int(v) - 128)
			}
			codes, zeroT = tensor.Of(test.xs, s), tensor.Scalar[int8](zero-128)
		}
		scales := make([]float32, test.ws[0])
		for i := range scales {
			scales[i] = float32(math.Ldexp(1, -i-3))
		}
		exact, sat := saturating(x, zero, w, test.xs, test.ws, test.stride, test.pad, test.group)
		perChannel := len(exact) / test.xs[0] / test.ws[0]
		hits, most, noise := make([]int, test.ws[0]), make([]float64, test.ws[0]), 0.0
		for i := range exact {
			c := i / perChannel % test.ws[0]
			if e := math.Abs(float64(exact[i]-sat[i])) * xScale * float64(scales[c]); e > 0 {
				hits[c]++
				most[c] = max(most[c], e)
				noise += e * e
			}
		}
		for form, g := range map[string]*graph.Graph{
			"QDQ":     qdqConv(t, codes, zeroT, xScale, tensor.Of(test.ws, w), scales, test.stride, test.pad, test.group),
			"integer": integerConv(t, codes, zeroT, tensor.Of(test.ws, w), test.stride, test.pad, test.group),
		} {
			feed := Feed{In: []*tensor.Tensor{codes}, Samples: test.xs[0]}
			feeds := &Feeds{Samples: test.xs[0], Calls: 1, All: func(context.Context) iter.Seq2[Feed, error] {
				return func(yield func(Feed, error) bool) { yield(feed, nil) }
			}}
			got, err := FindSaturation(context.Background(), g, feeds, 1)
			if err != nil {
				t.Fatalf("%s, %s: %v", test.name, form, err)
			}
			if len(got.Layers) != 1 || got.Channels != test.ws[0] || got.Samples != test.xs[0] || got.Layers[0].Outputs != len(exact) {
				t.Fatalf("%s, %s: %+v", test.name, form, got)
			}
			l := got.Layers[0]
			seen, total := 0, 0
			for _, c := range l.Risky {
				if c.Channel == 0 {
					t.Errorf("%s, %s: channel 0 cannot overflow: %+v", test.name, form, c)
				}
				if n := int(math.Round(c.Saturated * float64(len(exact)/test.ws[0]))); n != hits[c.Channel] {
					t.Errorf("%s, %s, channel %d: %d values overflow, want %d", test.name, form, c.Channel, n, hits[c.Channel])
				}
				if want := most[c.Channel]; form == "QDQ" && math.Abs(c.MaxError-want) > 1e-6*want {
					t.Errorf("%s, channel %d: largest error %v, want %v", test.name, c.Channel, c.MaxError, want)
				}
				total += hits[c.Channel]
				if hits[c.Channel] > 0 {
					seen++
				}
				hits[c.Channel] = 0
			}
			if total == 0 || l.Saturated != total || got.Seen != seen || abs(l.Worst) <= 32767 {
				t.Errorf("%s, %s: %d of %d saturated, %d channels seen, want %d; worst %d", test.name, form, l.Saturated, total, got.Seen, seen, l.Worst)
			}
			for c, n := range hits {
				if n != 0 {
					t.Errorf("%s, %s: channel %d overflows %d times and is not listed", test.name, form, c, n)
				}
			}
			if (l.SQNR != nil) != (form == "QDQ") {
				t.Errorf("%s, %s: SQNR %v", test.name, form, l.SQNR)
			}
			for _, c := range l.Risky { // again, for the other form
				n := 0
				for i := range exact {
					if i/perChannel%test.ws[0] == c.Channel && exact[i] != sat[i] {
						n++
					}
				}
				hits[c.Channel] = n
			}
			static, err := FindSaturation(context.Background(), g, nil, 1)
			if err != nil || static.AtRisk != got.AtRisk || static.Seen != 0 || static.Layers[0].Worst != l.Worst {
				t.Errorf("%s, %s, without samples: %+v %v", test.name, form, static, err)
			}
		}
	}
}

func newOp(t *testing.T, kind string, attrs map[string]any) graph.Op {
	t.Helper()
	o, ok := op.New(kind)
	if !ok {
		t.Fatal(kind)
	}
	if err := op.SetAttrs(o, attrs); err != nil {
		t.Fatal(err)
	}
	return o
}

func convAttrs(stride, pad, group int) map[string]any {
	s, p := int64(stride), int64(pad)
	return map[string]any{"strides": []int64{s, s}, "pads": []int64{p, p, p, p}, "group": int64(group)}
}

func finish(t *testing.T, b *graph.Builder, y *graph.Value) *graph.Graph {
	t.Helper()
	b.Output("y", y)
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func qdqConv(t *testing.T, x, zero *tensor.Tensor, xScale float32, w *tensor.Tensor, scales []float32, stride, pad, group int) *graph.Graph {
	b := graph.NewBuilder("qdq")
	in := b.Input("x", graph.Shaped(x.DType, x.Shape))
	xf := b.Add("dx", newOp(t, "DequantizeLinear", nil), in, b.Param("xs", tensor.Scalar(xScale)), b.Param("xz", zero))
	wf := b.Add("dw", newOp(t, "DequantizeLinear", map[string]any{"axis": int64(0)}), b.Param("w", w), b.Param("ws", tensor.Vector(scales...)))
	return finish(t, b, b.Add("conv", newOp(t, "Conv", convAttrs(stride, pad, group)), xf, wf))
}

func integerConv(t *testing.T, x, zero, w *tensor.Tensor, stride, pad, group int) *graph.Graph {
	b := graph.NewBuilder("integer")
	in := b.Input("x", graph.Shaped(x.DType, x.Shape))
	return finish(t, b, b.Add("conv", newOp(t, "ConvInteger", convAttrs(stride, pad, group)), in, b.Param("w", w), b.Param("xz", zero)))
}

// A matrix product with its weight either way round, and what is not concerned.
func TestSaturationOfMatrices(t *testing.T) {
	w := []int8{100, -100, 60, 100, 100, 60} // [3, 2]: columns 100 60 100 and -100 100 60
	x := []uint8{255, 255, 255, 255, 0, 255}
	build := func(transB, unsigned bool) *graph.Graph {
		b := graph.NewBuilder("matrices")
		in := b.Input("x", graph.Shaped(tensor.Uint8, tensor.Shape{2, 3}))
		xf := b.Add("dx", newOp(t, "DequantizeLinear", nil), in, b.Param("xs", tensor.Scalar[float32](1)))
		wt := tensor.Of(tensor.Shape{3, 2}, w)
		if transB {
			wt = tensor.Of(tensor.Shape{2, 3}, []int8{w[0], w[2], w[4], w[1], w[3], w[5]})
		}
		if unsigned {
			u := make([]uint8, len(w))
			for i, v := range w {
				u[i] = uint8(int(v) + 128)
			}
			wt = tensor.Of(wt.Shape, u)
		}
		wf := b.Add("dw", newOp(t, "DequantizeLinear", nil), b.Param("w", wt), b.Param("ws", tensor.Scalar[float32](1)))
		if transB {
			return finish(t, b, b.Add("gemm", newOp(t, "Gemm", map[string]any{"transB": int64(1)}), xf, wf))
		}
		return finish(t, b, b.Add("matmul", newOp(t, "MatMul", nil), xf, wf))
	}
	feeds := &Feeds{Samples: 2, Calls: 1, All: func(context.Context) iter.Seq2[Feed, error] {
		return func(yield func(Feed, error) bool) {
			yield(Feed{In: []*tensor.Tensor{tensor.Of(tensor.Shape{2, 3}, x)}, Samples: 2}, nil)
		}
	}}
	for _, transB := range []bool{false, true} {
		got, err := FindSaturation(context.Background(), build(transB, false), feeds, 1)
		if err != nil {
			t.Fatal(err)
		}
		// Column 0: 100+60 overflows with 255, 255 (row 0), not with 255, 0. Column 1: -100 and 100 never.
		if got.AtRisk != 1 || got.Seen != 1 || got.Layers[0].Risky[0].Channel != 0 || got.Layers[0].Saturated != 1 || got.Layers[0].Risky[0].Seen != 160*255 || got.Layers[0].Risky[0].MaxError != 160*255-32767 {
			t.Errorf("transposed %v: %+v", transB, got)
		}
	}
	if got, err := FindSaturation(context.Background(), build(false, true), feeds, 1); err != nil || len(got.Layers) != 0 {
		t.Errorf("unsigned weights: %+v %v", got, err)
	}
	depthwise := integerConv(t, tensor.New(tensor.Uint8, 1, 4, 5, 5), tensor.Scalar[uint8](0), tensor.New(tensor.Int8, 4, 1, 3, 3), 1, 1, 4)
	if got, err := FindSaturation(context.Background(), depthwise, nil, 1); err != nil || len(got.Layers) != 0 {
		t.Errorf("depthwise: %+v %v", got, err)
	}
	bad := integerConv(t, tensor.New(tensor.Uint8, 1, 4, 5, 5), tensor.Of(tensor.Shape{2}, []uint8{1, 2}), tensor.Of(tensor.Shape{1, 4, 1, 1}, []int8{100, 100, 1, 1}), 1, 0, 1)
	one := &Feeds{Samples: 1, Calls: 1, All: func(context.Context) iter.Seq2[Feed, error] {
		return func(yield func(Feed, error) bool) {
			yield(Feed{In: []*tensor.Tensor{tensor.New(tensor.Uint8, 1, 4, 5, 5)}, Samples: 1}, nil)
		}
	}}
	if _, err := FindSaturation(context.Background(), bad, one, 1); err == nil || !strings.Contains(err.Error(), `"conv"`) {
		t.Errorf("two zero points: %v", err)
	}
}
