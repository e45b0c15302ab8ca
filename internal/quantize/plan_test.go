package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// mixed has two products, a convolution and an embedding.
func mixed(t *testing.T) *graph.Graph {
	b := newNet(t, 21)
	ids := b.Input("ids", graph.Shaped(tensor.Int64, tensor.Shape{10}))
	h := b.node("embed", "Gather", nil, b.weight("words", 40, 32), ids)
	h = b.node("block.first", "MatMul", nil, h, b.weight("block.first.w", 32, 48))
	h = b.node("block.second", "MatMul", nil, h, b.weight("block.second.w", 48, 32))
	h = b.node("image", "Reshape", nil, h, b.Param("shape", tensor.Vector[int64](1, 5, 8, 8)))
	return b.graph(b.node("conv", "Conv", nil, h, b.weight("conv.w", 6, 5, 3, 3)))
}

func plan(t *testing.T, g *graph.Graph, r Recipe) (*Plan, error) {
	t.Helper()
	r.Method = "dynamic"
	return NewPlan(&model.Model{Graph: g}, r)
}

// outcome lists the layers as "name" if quantized, "name: why" if not.
func outcome(p *Plan) string {
	var out []string
	for _, d := range p.Decisions {
		if d.Quantized {
			out = append(out, d.Layer)
		} else {
			out = append(out, d.Layer+": "+d.Why)
		}
	}
	return strings.Join(out, "\n")
}

func TestPatterns(t *testing.T) {
	const kept = "no --only pattern matches"
	for _, c := range []struct {
		name       string
		keep, only []string
		want, err  string
	}{
		{"all", nil, nil, "embed\nblock.first\nblock.second\nconv", ""},
		{"by layer", []string{"block.*"}, nil, "embed\nblock.first: kept by pattern \"block.*\"\nblock.second: kept by pattern \"block.*\"\nconv", ""},
		{"the dot is a dot", []string{"block?first", "block.first"}, nil, "", `pattern "block?first" matches no layer; layers are embed, block.first, block.second, conv`},
		{"by weight", []string{"words"}, nil, "embed: kept by pattern \"words\"\nblock.first\nblock.second\nconv", ""},
		{"by operator", nil, []string{"MatMul"}, "embed: " + kept + "\nblock.first\nblock.second\nconv: " + kept, ""},
		{"both", []string{"*second"}, []string{"block.*"}, "embed: " + kept + "\nblock.first\nblock.second: kept by pattern \"*second\"\nconv: " + kept, ""},
		{"none matches", []string{"x*", "y"}, []string{"z"}, "", "--keep pattern \"x*\" matches no layer; layers are embed, block.first, block.second, conv\n--keep pattern \"y\" matches no layer; layers are embed, block.first, block.second, conv\n--only pattern \"z\""},
		{"empty", []string{" "}, []string{""}, "", "an empty layer pattern\nan empty layer pattern"},
		{"nothing left", []string{"*"}, nil, "", "nothing to quantize: 4 left (kept by pattern \"*\")"},
	} {
		for _, weight := range []string{"qint8", "quint8"} {
			p, err := plan(t, mixed(t), Recipe{Weight: weight, Keep: c.keep, Only: c.only})
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: got error %v, want %q", c.name, err, c.err)
				}
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case outcome(p) != c.want:
				t.Errorf("%s: got\n%s\nwant\n%s", c.name, outcome(p), c.want)
			}
		}
	}
	p, err := plan(t, mixed(t), Recipe{Weight: "float16", Keep: []string{"block.*"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := "embed\nblock.first: kept by pattern \"block.*\"\nblock.second: kept by pattern \"block.*\"\nconv"; outcome(p) != want {
		t.Errorf("float16: got\n%s\nwant\n%s", outcome(p), want)
	}
}

func TestRecipeErrors(t *testing.T) {
	m := &model.Model{Graph: mixed(t)}
	if _, err := NewPlan(m, Recipe{Method: "gptq5"}); err == nil || !strings.Contains(err.Error(), `method "gptq5" is not available; available: dynamic`) {
		t.Errorf("method: %v", err)
	}
	if _, err := NewPlan(m, Recipe{Method: "dynamic", Weight: "qint4"}); err == nil || !strings.Contains(err.Error(), "available: qint8, quint8, float16, bfloat16") {
		t.Errorf("dtype: %v", err)
	}
	b := newNet(t, 1)
	if _, err := plan(t, b.graph(b.node("relu", "Relu", nil, b.input("x", 3))), Recipe{}); err == nil || !strings.Contains(err.Error(), "no layer with constant weights") {
		t.Errorf("no layer: %v", err)
	}
	p, err := plan(t, mixed(t), Recipe{})
	if err != nil || p.Recipe.Weight != "qint8" || p.Quantized() != 4 {
		t.Errorf("the default dtype: %v %v", p, err)
	}
}

// TestReasons: every float weight that stays has a reason, whatever operator it belongs to.
func TestReasons(t *testing.T) {
	b := newNet(t, 22)
	x := b.input("x", 1, 8, 32, 32)
	double := func(shape ...int) *graph.Value {
		n := tensor.Shape(shape).Len()
		v, err := tensor.FromFloat64s(tensor.Float64, shape, make([]float64, n))
		if err != nil {
			t.Fatal(err)
		}
		return b.Param("double", v)
	}
	var out []*graph.Value
	out = append(out,
		b.node("transposed", "ConvTranspose", nil, x, b.weight("wt", 8, 8, 3, 3)),
		b.node("batch", "MatMul", nil, x, b.weight("w4", 8, 32, 4)),
		b.node("act", "MatMul", nil, x, x),
		b.node("table", "Add", nil, x, b.weight("positions", 1, 8, 32, 32)),
		b.node("f64", "MatMul", nil, b.node("wide", "Cast", attrs{"to": int64(tensor.Float64)}, x), double(32, 16)),
		b.node("bias", "Conv", nil, x, b.weight("wb", 8, 8, 1, 1), b.node("computed", "Neg", nil, b.input("cb", 8))),
		b.node("scale", "Mul", nil, x, b.weight("small", 1, 8, 1, 1)),
		b.node("axis", "Gather", attrs{"axis": int64(1)}, b.weight("columns", 32, 64), b.Input("at", graph.Shaped(tensor.Int64, tensor.Shape{2}))),
		b.node("few", "Gather", nil, b.weight("few.w", 4, 8), b.Input("few.at", graph.Shaped(tensor.Int64, tensor.Shape{2}))),
		b.node("dense", "MatMul", nil, x, b.weight("w", 32, 64)),
	)
	g := b.graph(out...)
	p, err := plan(t, g, Recipe{Weight: "qint8"})
	if err != nil {
		t.Fatal(err)
	}
	want := `transposed: ONNX Runtime has no integer kernel for ConvTranspose
batch: the weight has rank 3; the integer form takes matrices
act: the weight is not constant
table: ONNX Runtime has no integer kernel for Add
f64: activations are float64; the integer form takes float32
bias: the bias is not constant
axis: not an embedding: a table of rank 2 looked up by rows
few: a small table (4x8)
dense`
	if got := outcome(p); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, d := range p.Decisions {
		if d.Quantized == (d.Before == d.After) {
			t.Errorf("%+v", d)
		}
	}
}

// TestRecurrentReasons lists what the integer forms of recurrent layers do not have.
func TestRecurrentReasons(t *testing.T) {
	const hidden = 64
	for _, c := range []struct {
		kind string
		a    attrs
		lens bool
		want string
	}{
		{"GRU", attrs{"clip": float32(1)}, false, "clipped gates; the integer form has none"},
		{"GRU", attrs{"activations": []string{"Relu", "Tanh"}}, false, "activations [Relu Tanh]; the integer form has Sigmoid and Tanh"},
		{"GRU", nil, true, "sequences of different lengths in a batch; the integer form takes full ones"},
		{"GRU", attrs{"layout": int64(1)}, false, "batch-first layout; the integer form takes steps first"},
		{"LSTM", attrs{"layout": int64(1)}, false, "batch-first layout; ONNX Runtime's DynamicQuantizeLSTM takes steps first"},
	} {
		b := newNet(t, 23)
		gates, outs := 3, 2
		if c.kind == "LSTM" {
			gates, outs = 4, 3
		}
		a := attrs{"hidden_size": int64(hidden)}
		for k, v := range c.a {
			a[k] = v
		}
		x := b.input("x", 2, 2, 32)
		in := []*graph.Value{x, b.weight("w", 1, gates*hidden, 32), b.weight("r", 1, gates*hidden, hidden)}
		if c.lens {
			in = append(in, nil, b.Input("lens", graph.Shaped(tensor.Int32, tensor.Shape{2})))
		}
		y := b.AddN("layer", outs, b.op(c.kind, a), in...)
		dense := b.node("dense", "MatMul", nil, x, b.weight("v", 32, 4))
		p, err := plan(t, b.graph(y[0], dense), Recipe{Weight: "qint8"})
		if err != nil {
			t.Fatal(err)
		}
		if p.Decisions[0].Why != c.want || p.Decisions[1].Why != c.want || p.Quantized() != 1 {
			t.Errorf("%s: %s", c.kind, outcome(p))
		}
	}
}

// TestSmallGRU: a layer whose codes save less than the nodes of the integer form take stays, unless it is asked for.
func TestSmallGRU(t *testing.T) {
	build := func(hidden int) *graph.Graph {
		b := newNet(t, 24)
		x := b.input("x", 2, 1, 16)
		y := b.AddN("gru", 2, b.op("GRU", attrs{"hidden_size": int64(hidden)}), x, b.weight("w", 1, 3*hidden, 16), b.weight("r", 1, 3*hidden, hidden))
		return b.graph(y[0], b.node("dense", "MatMul", nil, x, b.weight("v", 16, 4)))
	}
	p, err := plan(t, build(16), Recipe{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "small: codes would save 4608 bytes, the nodes of the integer form take about 5200"; p.Decisions[0].Why != want || p.Quantized() != 1 {
		t.Errorf("got %s", outcome(p))
	}
	for _, c := range []struct {
		hidden int
		only   []string
	}{{16, []string{"gru"}}, {32, nil}} {
		p, err := plan(t, build(c.hidden), Recipe{Only: c.only})
		if err != nil {
			t.Fatal(err)
		}
		if !p.Decisions[0].Quantized || !p.Decisions[1].Quantized {
			t.Errorf("hidden size %d: %s", c.hidden, outcome(p))
		}
	}
}

// TestSharedWeights: a weight that several layers have is quantized and written once.
func TestSharedWeights(t *testing.T) {
	b := newNet(t, 25)
	x := b.input("x", 4, 48)
	w := b.weight("w", 48, 48)
	h := b.node("first", "MatMul", nil, x, w)
	h = b.node("second", "MatMul", nil, h, w)
	g := b.graph(h)
	for _, r := range recipes {
		q, p := quantized(t, g, r.Recipe)
		if n := count(q, "_quantized"); r.Weight == "qint8" && n != 1 {
			t.Errorf("%d copies of the codes", n)
		}
		if before, _ := p.Bytes(); before != 4*48*48 {
			t.Errorf("%s: %d bytes before, want %d", r.Weight, before, 4*48*48)
		}
	}
	// One of the two stays: its float weight is still written.
	_, p := quantized(t, g, Recipe{Weight: "qint8", Keep: []string{"second"}})
	if before, after := p.Bytes(); before != 4*48*48 || after != 5*48*48+4*48 {
		t.Errorf("bytes %d and %d", before, after)
	}
	_, p = quantized(t, g, Recipe{Weight: "qint8", Keep: []string{"first"}})
	if before, after := p.Bytes(); before != 4*48*48 || after != 5*48*48+4*48 {
		t.Errorf("bytes %d and %d", before, after)
	}
}

func count(g *graph.Graph, suffix string) int {
	n := 0
	for _, v := range g.Params() {
		if strings.HasSuffix(v.Name, suffix) {
			n++
		}
	}
	return n
}

func TestNotFiniteWeights(t *testing.T) {
	for _, kind := range []string{"MatMul", "LSTM"} {
		for _, weight := range []string{"qint8", "quint8", "float16", "bfloat16"} {
			b := newNet(t, 26)
			x := b.input("x", 2, 1, 20)
			var w *tensor.Tensor
			var y *graph.Value
			if kind == "MatMul" {
				w = b.values(20, 8)
				y = b.node("layer", kind, nil, x, b.Param("w", w))
			} else {
				w = b.values(1, 32, 20)
				y = b.AddN("layer", 3, b.op(kind, attrs{"hidden_size": int64(8)}), x, b.Param("w", w), b.weight("r", 1, 32, 8))[0]
			}
			tensor.Data[float32](w)[43] = float32(math.NaN())
			at := map[string]string{"MatMul": "[5 3]", "LSTM": "[0 2 3]"}[kind]
			m := &model.Model{Graph: b.graph(y)}
			p, err := NewPlan(m, Recipe{Method: "dynamic", Weight: weight})
			if err != nil {
				t.Fatal(err) // headers do not tell
			}
			err = Run(context.Background(), m, p, Samples{})
			want := fmt.Sprintf(`weight "w": 1 of %d values are not finite (the first is NaN at %s)`, w.Len(), at)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s %s: got %v, want %s", kind, weight, err, want)
			}
		}
	}
}

func TestFloat16Overflow(t *testing.T) {
	for _, c := range []struct {
		most float32
		fits bool
	}{{65504, true}, {65519, true}, {65520, false}, {1e6, false}} {
		b := newNet(t, 27)
		w := b.values(20, 8)
		tensor.Data[float32](w)[3] = -c.most
		h := b.node("layer", "MatMul", nil, b.input("x", 2, 20), b.Param("w", w))
		g := b.graph(b.node("other", "MatMul", nil, h, b.weight("v", 8, 20)))
		q, p := quantized(t, g, Recipe{Weight: "float16"})
		if p.Decisions[0].Quantized != c.fits || !p.Decisions[1].Quantized || count(q, "_float16") != p.Quantized() {
			t.Errorf("%v: %s\n%v", c.most, outcome(p), q)
		}
		if !c.fits && (p.Decisions[0].Why != fmt.Sprintf("values up to %.4g do not fit float16", c.most) || p.Decisions[0].After != 4*w.Len() || p.Decisions[0].Stored != "float32") {
			t.Errorf("%v: %+v", c.most, p.Decisions[0])
		}
		if r, _ := quantized(t, g, Recipe{Weight: "bfloat16"}); count(r, "_bfloat16") != 2 {
			t.Errorf("bfloat16 holds every float32 range")
		}
	}
}

// TestInputsWithDefaults: what a caller may replace is no constant.
func TestInputsWithDefaults(t *testing.T) {
	b := newNet(t, 28)
	x := b.input("x", 4, 40)
	w := b.weight("w", 40, 24)
	g := b.graph(b.node("layer", "MatMul", nil, x, w), b.node("dense", "MatMul", nil, x, b.weight("v", 40, 24)))
	g.Inputs = append(g.Inputs, w)
	p, err := plan(t, g, Recipe{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "layer: the weight is not constant\ndense"; outcome(p) != want {
		t.Errorf("got %s", outcome(p))
	}
	p, err = plan(t, g, Recipe{Weight: "float16"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "layer: a graph input with a default, which a caller may replace\ndense"; outcome(p) != want {
		t.Errorf("got %s", outcome(p))
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, weight := range []string{"qint8", "float16"} {
		m := &model.Model{Graph: mixed(t)}
		p, err := NewPlan(m, Recipe{Method: "dynamic", Weight: weight})
		if err != nil {
			t.Fatal(err)
		}
		if err := Run(ctx, m, p, Samples{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", weight, err)
		}
	}
}

// looped has a product inside a Loop, and one inside the branches of an If inside it. The weights of the branches have one name.
func looped(t *testing.T) *graph.Graph {
	b := newNet(t, 29)
	h := b.input("h", 4, 40)
	body := newNet(t, 30)
	scalar := func(n *net, name string, d tensor.DType) *graph.Value {
		return n.Input(name, graph.Shaped(d, tensor.Shape{}))
	}
	scalar(body, "i", tensor.Int64)
	cond := scalar(body, "cond", tensor.Bool)
	state := body.input("state", 4, 40)
	flag := scalar(body, "flag", tensor.Bool) // captured
	next := body.node("inner", "MatMul", nil, state, body.small("w", 40, 40))
	next = body.node("tanh", "Tanh", nil, next)
	branch := func(seed uint64) *graph.Graph {
		n := newNet(t, seed)
		x := n.input("x", 4, 40)
		return n.graph(n.node("deep", "MatMul", nil, x, n.small("w", 40, 40)))
	}
	o := body.op("If", attrs{"then_branch": branch(31), "else_branch": branch(32)}).(*op.If)
	o.SetCaptures(1)
	next = body.node("norm", "Tanh", nil, body.Add("choose", o, flag, next))
	loop := b.op("Loop", attrs{"body": body.graph(body.node("go", "Identity", nil, cond), next)}).(*op.Loop)
	loop.SetCaptures(1)
	y := b.Add("loop", loop, b.Param("trips", tensor.Scalar[int64](3)), nil, h, b.Input("flag", graph.Shaped(tensor.Bool, tensor.Shape{})))
	return b.graph(y)
}

func TestSubgraphs(t *testing.T) {
	g := looped(t)
	text := g.String()
	in := feed(g, 3)
	for _, flag := range []bool{false, true} {
		in[1] = tensor.Scalar(flag)
		want := run(t, g, in)
		for _, r := range recipes {
			q, p := quantized(t, g, r.Recipe)
			if got, want := outcome(p), "loop/choose/deep\nloop/choose/deep_1\nloop/inner"; len(p.Decisions) != 3 || p.Quantized() != 3 {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if db := snr(t, want[0], run(t, q, in)[0]); db < r.least-6 {
				t.Errorf("%s: %.1f dB", r.Weight, db)
			}
		}
	}
	if g.String() != text {
		t.Error("quantizing changed the original's subgraphs")
	}
	_, p := quantized(t, g, Recipe{Weight: "qint8", Keep: []string{"loop/choose/*"}})
	var quant []string
	for _, d := range p.Decisions {
		if d.Quantized {
			quant = append(quant, d.Layer)
		}
	}
	if !slices.Equal(quant, []string{"loop/inner"}) {
		t.Errorf("quantized %v", quant)
	}
}
