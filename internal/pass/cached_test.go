package pass

import (
	"context"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// decoder is a language model of two layers of attention, each with another form, with random weights.
func decoder(seed uint64, window int, softcap float64, slopes, rotary, interleaved bool) (*graph.Graph, error) {
	const vocab, hidden, heads, kvHeads, size = 11, 12, 6, 3, 4
	r := rand.New(rand.NewPCG(seed, 1))
	b := aten.New("model")
	matrix := func(name string, rows, cols int) *graph.Value {
		t := tensor.New(tensor.Float32, rows, cols)
		for i := range tensor.Data[float32](t) {
			tensor.Data[float32](t)[i] = float32(r.NormFloat64()) / 2
		}
		return b.Param(name, t)
	}
	ids := b.Input("input_ids", graph.Ranked(tensor.Int64, graph.Named("batch"), graph.Named("tokens")))
	row := b.Node("Range", nil, b.Int(0), b.Squeeze(b.Size(ids, 1), 0), b.Int(1))
	at := b.Node("Expand", nil, b.Unsqueeze(row, 0), b.Node("Shape", nil, ids))
	at.Name = "position_ids"
	var mask *graph.Value
	if slopes {
		f := []float32{.5, .25, .125, .06, .03, .01}
		mask = b.Node("Mul", nil, b.Param("slopes", tensor.Of(tensor.Shape{1, heads, 1, 1}, f)), b.Node("Cast", aten.Attrs{"to": int(tensor.Float32)}, row))
	}
	angle := b.Node("Mul", nil, b.Unsqueeze(b.Node("Cast", aten.Attrs{"to": int(tensor.Float32)}, at), 2), b.Param("freq", tensor.Vector[float32](1, 0.3)))
	cos, sin := b.Node("Cos", nil, angle), b.Node("Sin", nil, angle)
	x := b.Embedding(matrix("embed", vocab, hidden), ids)
	for range 2 {
		q, k, v := b.Rows(x, matrix("q", heads*size, hidden)), b.Rows(x, matrix("k", kvHeads*size, hidden)), b.Rows(x, matrix("v", kvHeads*size, hidden))
		if rotary {
			q, k = b.Rotary(q, cos, sin, heads, 0, interleaved), b.Rotary(k, cos, sin, kvHeads, 0, interleaved)
		}
		y := b.Attention(q, k, v, mask, aten.GroupedAttention{Heads: heads, KVHeads: kvHeads, Causal: true, Scale: 0.7, Softcap: softcap, Window: window})
		x = b.Node("Add", nil, x, b.Rows(y, matrix("o", hidden, heads*size)))
	}
	b.Output("logits", b.Rows(b.RMSNorm(x, nil, []int{hidden}, 1e-5), matrix("head", vocab, hidden)))
	return b.Graph()
}

func ints(shape tensor.Shape, f func(i int) int) *tensor.Tensor {
	v := make([]int64, shape.Len())
	for i := range v {
		v[i] = int64(f(i))
	}
	return tensor.Of(shape, v)
}

// TestContinuedSequencesEqualWholeOnes feeds two sequences in pieces of different lengths, alone and together, beyond a page of the
// cache, and compares with the graph that computes them as a whole.
func TestContinuedSequencesEqualWholeOnes(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		window                      int
		softcap                     float64
		slopes, rotary, interleaved bool
		cache                       tensor.DType
		bound                       float64
	}{
		"plain":       {cache: tensor.Float32, bound: 1e-4},
		"rotary":      {rotary: true, cache: tensor.Float32, bound: 1e-4},
		"interleaved": {rotary: true, interleaved: true, cache: tensor.Float32, bound: 1e-4},
		"window":      {window: 9, rotary: true, softcap: 2, cache: tensor.Float32, bound: 1e-4},
		"slopes":      {slopes: true, cache: tensor.Float32, bound: 1e-4},
		"float16":     {rotary: true, cache: tensor.Float16, bound: 2e-2},
		"int8":        {rotary: true, cache: tensor.Int8, bound: 0.2},
	} {
		g, err := decoder(7, c.window, c.softcap, c.slopes, c.rotary, c.interleaved)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := exec.NewSession(g, exec.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		const tokens = 150
		ids := ints(tensor.Shape{2, tokens}, func(i int) int { return (i*i + i/7) % 11 })
		want, err := whole.Run(ctx, []*tensor.Tensor{ids})
		if err != nil {
			t.Fatal(err)
		}
		for _, last := range []bool{false, true} {
			cached, err := Cached(g, CacheOptions{Positions: "position_ids", Type: c.cache, Last: last})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if cached, err = Lower(cached); err != nil {
				t.Fatal(err)
			}
			s, err := exec.NewSession(cached, exec.Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			var h exec.History
			feed := func(from, to int, rows ...int) {
				n := to - from
				part := ints(tensor.Shape{len(rows), n}, func(i int) int { return int(tensor.Data[int64](ids)[rows[i/n]*tokens+from+i%n]) })
				at := ints(part.Shape, func(i int) int { return from + i%n })
				out, err := s.Run(exec.WithHistory(ctx, &h), []*tensor.Tensor{part, at, ints(tensor.Shape{len(rows)}, func(i int) int { return 10 * rows[i] })})
				if err != nil {
					t.Fatalf("%s: tokens %d to %d of %v: %v", name, from, to, rows, err)
				}
				if last {
					from, n = to-1, 1
				}
				got := tensor.Data[float32](out[0])
				if len(got) != len(rows)*n*11 {
					t.Fatalf("%s: %v for %d tokens of %d rows", name, out[0], n, len(rows))
				}
				for b, row := range rows {
					for i, w := range tensor.Data[float32](want[0])[(row*tokens+from)*11 : (row*tokens+from+n)*11] {
						if v := got[b*n*11+i]; !(math.Abs(float64(v-w)) < c.bound) {
							t.Fatalf("%s, last %v: sequence %d from %d: value %d: want %v, got %v", name, last, row, from, i, w, v)
						}
					}
				}
			}
			feed(0, 5, 0)
			feed(0, 70, 1)
			feed(5, 70, 0)
			feed(70, 71, 1, 0)
			feed(71, 140, 0, 1)
			if h.Bytes() == 0 {
				t.Error("nothing is held")
			}
			if c.window == 0 {
				if err := h.Truncate(0, 30); err != nil {
					t.Fatal(err)
				}
				feed(30, 100, 0)
				feed(140, 150, 1)
			}
			s.Close()
		}
		whole.Close()
	}
}

func TestGraphsThatCannotBeContinued(t *testing.T) {
	b := aten.New("g")
	b.Output("y", b.Relu(b.Input("x", graph.Ranked(tensor.Float32, graph.Known(2)))))
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Cached(g, CacheOptions{Positions: "position_ids", Type: tensor.Float16}); err == nil || !strings.Contains(err.Error(), `no value "position_ids"`) {
		t.Error(err)
	}
	model, err := decoder(1, 0, 0, false, true, false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Cached(model, CacheOptions{Positions: "position_ids", Type: tensor.Float16})
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.NewSession(c, exec.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one := func(v int) *tensor.Tensor { return ints(tensor.Shape{1, 1}, func(int) int { return v }) }
	row := ints(tensor.Shape{1}, func(int) int { return 0 })
	if _, err := s.Run(context.Background(), []*tensor.Tensor{one(1), one(0), row}); err == nil || !strings.Contains(err.Error(), "needs a history") {
		t.Error(err)
	}
	ctx := exec.WithHistory(context.Background(), &exec.History{})
	if _, err := s.Run(ctx, []*tensor.Tensor{one(1), one(70), row}); err == nil || !strings.Contains(err.Error(), "the tokens before 70 of sequence 0 never came") {
		t.Error(err)
	}
	if _, err := s.Run(ctx, []*tensor.Tensor{one(1), one(-1), row}); err == nil || !strings.Contains(err.Error(), "want successive positions") {
		t.Error(err)
	}
}
