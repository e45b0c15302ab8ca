package pass

import (
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// a is the attributes of an operator.
type a = map[string]any

func TestFoldConstants(t *testing.T) {
	b := newNet(t, "fold")
	x := b.input("x", "batch", 3, 8)
	sum := b.node("sum", "Add", nil, b.weight("p", 8), b.weight("q", 8))
	shape := b.node("shape", "Shape", nil, x)
	picked := b.node("picked", "Gather", nil, shape, b.ints("index", 1, -1))
	batch := b.node("batch", "Gather", nil, shape, b.ints("zero", 0))
	flat := b.node("flat", "Reshape", nil, b.node("biased", "Add", nil, x, sum), b.node("to", "Concat", a{"axis": int64(0)}, batch, picked))
	huge := b.node("huge", "ConstantOfShape", nil, b.ints("huge_shape", 1, 3, 100000))
	codes, err := tensor.FromBytes(tensor.Int8, tensor.Shape{8}, make([]byte, 8))
	if err != nil {
		t.Fatal(err)
	}
	q := b.node("weight", "DequantizeLinear", nil, b.Param("codes", codes), b.Param("scale", tensor.Scalar[float32](0.5)))
	random := b.node("random", "RandomNormal", a{"shape": []int64{8}, "seed": float32(3)})
	known := b.node("known", "Mul", nil, b.node("product", "Mul", nil, sum, q), b.node("cast", "Cast", a{"to": int64(1)}, b.node("size", "Size", nil, b.weight("r", 4, 5))))
	golden(t, "fold", b.graph(flat, known, huge, b.node("noise", "Mul", nil, random, b.weight("s", 8)), sum), FoldConstants)
}

// TestFoldLimits: a result that is larger than what it comes from is folded up to a limit.
func TestFoldLimits(t *testing.T) {
	for _, c := range []struct {
		values int
		folded bool
	}{{foldGrowth / 4, true}, {foldGrowth/4 + 1, false}} {
		b := newNet(t, "limits")
		g := b.graph(b.node("fill", "ConstantOfShape", nil, b.ints("shape", int64(c.values))), b.node("expand", "Expand", nil, b.weight("w", 1), b.ints("to", int64(c.values))))
		if err := FoldConstants(g); err != nil {
			t.Fatal(err)
		}
		if folded := len(g.Nodes) == 0; folded != c.folded {
			t.Errorf("%d values: folded is %v", c.values, folded)
		}
	}
	b := newNet(t, "large") // as large as its input: no growth
	g := b.graph(b.node("transpose", "Transpose", nil, b.weight("w", 300, 301)))
	if err := FoldConstants(g); err != nil || len(g.Nodes) != 0 {
		t.Errorf("%v %v", err, g)
	}
}

func TestFoldReportsWhatCannotBeComputed(t *testing.T) {
	b := newNet(t, "bad")
	g := b.graph(b.node("take", "Gather", nil, b.weight("table", 20000, 4), b.Param("at", tensor.Vector[int64](70000))))
	if err := FoldConstants(g); err == nil || err.Error() == "" {
		t.Error("an index out of range was folded")
	}
}

// TestPickedDims folds what is picked from a shape of which only some dimensions are numbers.
func TestPickedDims(t *testing.T) {
	for _, c := range []struct {
		name  string
		index *tensor.Tensor
		attrs a
		want  bool
	}{
		{"numbers", tensor.Vector[int64](1, 2), nil, true},
		{"scalar from the end", tensor.Scalar[int64](-1), nil, true},
		{"the batch", tensor.Vector[int64](0), nil, false},
		{"with the batch", tensor.Vector[int64](1, 0), nil, false},
		{"a part of the shape", tensor.Vector[int64](1), a{"start": int64(1)}, false},
	} {
		b := newNet(t, c.name)
		x := b.input("x", "batch", 3, 8)
		g := b.graph(b.node("pick", "Gather", nil, b.node("shape", "Shape", c.attrs, x), b.Param("index", c.index)))
		if err := g.Infer(); err != nil {
			t.Fatal(err)
		}
		in := feed(g)
		want := evaluate(t, g, in)
		if err := FoldConstants(g); err != nil {
			t.Fatal(err)
		}
		if folded := len(g.Nodes) == 1; folded != c.want && c.attrs == nil {
			t.Errorf("%s: %v", c.name, g)
		}
		same(t, c.name, want, evaluate(t, g, in))
	}
}

func TestRemoveIdentities(t *testing.T) {
	b := newNet(t, "identities")
	x := b.input("x", 2, 3)
	h := b.node("first", "Identity", nil, x)
	h = b.node("neg", "Neg", nil, h)
	h = b.node("dropout", "Dropout", nil, h, b.Param("ratio", tensor.Scalar[float32](0.5)), b.Param("training", tensor.Scalar(false)))
	h = b.node("cast", "Cast", a{"to": int64(1)}, h)
	h = b.node("order", "Transpose", a{"perm": []int64{0, 1}}, h)
	h = b.node("shape", "Reshape", nil, h, b.ints("to", 2, 3))
	h = b.node("abs", "Abs", nil, h)
	swap := b.node("swap", "Transpose", nil, h)
	last := b.node("last", "Identity", nil, swap)
	masked := b.AddN("masked", 2, b.op("Dropout", nil), h)
	unmasked := b.AddN("unmasked", 2, b.op("Dropout", nil), b.node("exp", "Exp", nil, h))
	through := b.node("through", "Identity", nil, x)                  // a graph output that is a graph input
	constant := b.node("constant", "Identity", nil, b.weight("w", 2)) // and one that is a parameter
	twice := b.node("twice", "Identity", nil, last)
	golden(t, "identities", b.graph(last, twice, masked[0], masked[1], through, constant, unmasked[0]), RemoveIdentities)
}

func TestRemoveDead(t *testing.T) {
	b := newNet(t, "dead")
	x := b.input("x", 2, 4)
	b.node("unused", "Exp", nil, b.node("behind", "Neg", nil, x))
	v := b.AddN("top", 2, b.op("TopK", nil), x, b.ints("k", 2))
	b.node("indices", "Cast", a{"to": int64(1)}, v[1])
	golden(t, "dead", b.graph(b.node("abs", "Abs", nil, v[0])), RemoveDead)
}

// norm adds a BatchNormalization over channels whose second scale is 0.
func (b *net) norm(name string, x *graph.Value, channels int) *graph.Value {
	gamma := normal(b.r, tensor.Shape{channels})
	tensor.Data[float32](gamma)[1] = 0
	variance := normal(b.r, tensor.Shape{channels})
	for i, v := range tensor.Data[float32](variance) {
		tensor.Data[float32](variance)[i] = v*v + 0.1
	}
	return b.node(name, "BatchNormalization", a{"epsilon": float32(1e-3)}, x, b.Param(name+".scale", gamma), b.weight(name+".bias", channels),
		b.weight(name+".mean", channels), b.Param(name+".var", variance))
}

func TestFoldBatchNorm(t *testing.T) {
	b := newNet(t, "norm")
	x := b.input("x", "batch", 4, 6, 6)
	conv := b.norm("bn1", b.node("conv", "Conv", nil, x, b.weight("w1", 5, 4, 3, 3)), 5)
	grouped := b.norm("bn2", b.node("grouped", "Conv", a{"group": int64(2)}, x, b.weight("w2", 6, 2, 1, 1), b.weight("b2", 6)), 6)
	up := b.norm("bn3", b.node("up", "ConvTranspose", a{"group": int64(2), "strides": []int64{2, 2}}, x, b.weight("w3", 4, 3, 3, 3), b.weight("b3", 6)), 6)
	flat := b.node("flat", "Flatten", nil, x)
	dense := b.norm("bn4", b.node("dense", "Gemm", nil, flat, b.weight("w4", 144, 5), b.weight("b4", 5)), 5)
	turned := b.norm("bn5", b.node("turned", "Gemm", a{"transB": int64(1)}, flat, b.weight("w5", 5, 144), b.Param("b5", tensor.Vector[float32](0.3))), 5)
	golden(t, "batchnorm", b.graph(conv, grouped, up, dense, turned), FoldBatchNorm)
}

// TestBatchNormStays lists what folding would change or cannot know.
func TestBatchNormStays(t *testing.T) {
	b := newNet(t, "stays")
	x := b.input("x", 2, 5, 6, 6)
	twice := b.node("twice", "Conv", nil, x, b.weight("w1", 5, 5, 1, 1))
	out := []*graph.Value{b.norm("bn1", twice, 5), b.node("other", "Relu", nil, twice)}
	seen := b.node("seen", "Conv", nil, x, b.weight("w2", 5, 5, 1, 1))
	out = append(out, seen, b.norm("bn2", seen, 5))
	shared := b.weight("w3", 5, 5, 1, 1)
	out = append(out, b.norm("bn3", b.node("shares", "Conv", nil, x, shared), 5), b.norm("bn4", b.node("too", "Conv", nil, x, shared), 5))
	flat := b.node("flat", "Flatten", nil, x)
	out = append(out,
		b.norm("bn5", b.node("scaled", "Gemm", a{"alpha": float32(2)}, flat, b.weight("w5", 180, 5)), 5),
		b.norm("bn6", b.node("matrix", "Gemm", nil, flat, b.weight("w6", 180, 5), b.weight("c6", 2, 5)), 5),
		b.norm("bn7a", b.node("column", "Gemm", nil, b.node("rows", "Reshape", nil, x, b.ints("to", 5, -1)), b.weight("w7", 72, 5), b.weight("c7", 5, 1)), 5),
		b.norm("bn7", b.node("relu", "Relu", nil, x), 5),
		b.norm("bn8", b.node("computed", "Conv", nil, x, b.node("weight", "Neg", nil, b.input("w8", 5, 5, 1, 1))), 5))
	g := b.graph(out...)
	in := feed(g)
	want := evaluate(t, g, in)
	text := g.String()
	if err := FoldBatchNorm(g); err != nil {
		t.Fatal(err)
	}
	if g.String() != text {
		t.Errorf("got\n%v\nwant\n%s", g, text)
	}
	same(t, "stays", want, evaluate(t, g, in))
}

func TestFreezeInputs(t *testing.T) {
	b := newNet(t, "freeze")
	x := b.input("x", 2, 4)
	w := b.weight("w", 4, 3)
	g := b.graph(b.node("dense", "MatMul", nil, x, w))
	g.Inputs = append([]*graph.Value{w}, g.Inputs...)
	if g.IsParam(w) {
		t.Fatal("an input with a default is not a parameter")
	}
	if got := FreezeInputs(g); len(got) != 1 || got[0] != "w" {
		t.Errorf("froze %v", got)
	}
	if !g.IsParam(w) || len(g.Inputs) != 1 || g.Inputs[0] != x {
		t.Errorf("inputs %v", g.Inputs)
	}
	if got := FreezeInputs(g); got != nil {
		t.Errorf("froze %v again", got)
	}
}

// branches returns the two branches of an If, which capture one value: then_branch computes, else_branch hands things through.
func branches(t *testing.T) (yes, no *graph.Graph) {
	n := newNet(t, "yes")
	x := n.input("x", 2, 3)
	h := n.node("layer", "Mul", nil, x, n.weight("w", 3)) // names that the graph around has too
	yes = n.graph(h, h, n.node("abs", "Abs", nil, h))
	m := newNet(t, "no")
	x = m.input("captured", 2, 3)
	no = m.graph(x, m.weight("w", 2, 3), m.node("layer", "Neg", nil, x))
	return yes, no
}

func conditional(t *testing.T, name string, cond bool) *graph.Graph {
	b := newNet(t, name)
	x := b.input("x", 2, 3)
	h := b.node("layer", "Mul", nil, x, b.weight("w", 3))
	yes, no := branches(t)
	o := b.op("If", a{"then_branch": yes, "else_branch": no}).(*op.If)
	o.SetCaptures(1)
	v := b.AddN("choose", 3, o, b.Param("cond", tensor.Scalar(cond)), h)
	return b.graph(v[0], v[1], b.node("last", "Neg", nil, v[2]))
}

func TestInlineIfs(t *testing.T) {
	golden(t, "inline_then", conditional(t, "then", true), InlineIfs)
	golden(t, "inline_else", conditional(t, "else", false), InlineIfs)
}

// TestInlineNested inlines an If inside the branch of an If, the condition of the inner one being captured from outside.
func TestInlineNested(t *testing.T) {
	yes, no := branches(t)
	m := newNet(t, "middle")
	c := m.Input("flag", graph.Shaped(tensor.Bool, tensor.Shape{}))
	x := m.input("x", 2, 3)
	inner := m.op("If", a{"then_branch": yes, "else_branch": no}).(*op.If)
	inner.SetCaptures(1)
	v := m.AddN("inner", 3, inner, c, x)
	middle := m.graph(v[2])
	e := newNet(t, "empty")
	e.Input("flag", graph.Shaped(tensor.Bool, tensor.Shape{}))
	other := e.graph(e.input("x", 2, 3))
	b := newNet(t, "nested")
	in := b.input("x", 2, 3)
	flag := b.Param("flag", tensor.Scalar(false))
	outer := b.op("If", a{"then_branch": middle, "else_branch": other}).(*op.If)
	outer.SetCaptures(2)
	g := b.graph(b.Add("outer", outer, b.Param("cond", tensor.Scalar(true)), flag, in))
	golden(t, "nested", g, Clean)
	if kinds(g) != "Neg" {
		t.Errorf("left: %s", kinds(g))
	}
}

// TestSinkConstants: what a Loop captures and is constant becomes a parameter of its body; the rest stays captured.
func TestSinkConstants(t *testing.T) {
	n := newNet(t, "body")
	n.Input("i", graph.Shaped(tensor.Int64, tensor.Shape{}))
	cond := n.Input("cond", graph.Shaped(tensor.Bool, tensor.Shape{}))
	state := n.input("state", 2, 3)
	w, live := n.input("w", 3, 3), n.input("live", 2, 3)
	next := n.node("next", "Add", nil, n.node("product", "MatMul", nil, state, w), live)
	body := n.graph(n.node("go", "Identity", nil, cond), next)
	b := newNet(t, "sink")
	x := b.input("x", 2, 3)
	o := b.op("Loop", a{"body": body}).(*op.Loop)
	o.SetCaptures(2)
	g := b.graph(b.Add("loop", o, b.Param("trips", tensor.Scalar[int64](2)), nil, x, b.weight("weight", 3, 3), b.node("abs", "Abs", nil, x)))
	golden(t, "sink", g, SinkConstants)
	if o.Captures() != 2 || len(body.Inputs) != 5 {
		t.Error("the operator of the graph before was changed")
	}
}
