package graph

import (
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// TestInferComputesShapeArithmetic: small results of constants are known before a run; large and random ones are not.
func TestInferComputesShapeArithmetic(t *testing.T) {
	small, evals := tensor.Vector[float32](1, 2), 0
	big := tensor.New(tensor.Float32, maxConst+1)
	for _, c := range []struct {
		name  string
		op    Op
		in    *tensor.Tensor
		known bool
	}{
		{"small", &sumOp{evals: &evals}, small, true},
		{"limit", &sumOp{}, tensor.New(tensor.Float32, maxConst), true},
		{"large", &sumOp{}, big, false},
		{"random", &randomOp{}, small, false},
		{"body", &bodyOp{Sub: &Graph{}}, small, false},
	} {
		w := Param("w", c.in)
		w.Type.Const = nil
		types, err := InferNode(&Node{Name: c.name, Op: c.op, In: []*Value{w, w}})
		if err != nil {
			t.Fatal(err)
		}
		if known := types[0].Const != nil; known != c.known {
			t.Errorf("%s: known is %v", c.name, known)
		}
	}
	if evals != 1 {
		t.Errorf("%d evaluations", evals)
	}
	x := &Value{Name: "x", Type: float(Known(2))}
	if types, err := InferNode(&Node{Op: &sumOp{}, In: []*Value{Param("w", small), x}}); err != nil || types[0].Const != nil {
		t.Errorf("a result of an input is known: %v %v", types, err)
	}
	if _, err := InferNode(&Node{Op: &sumOp{}, In: []*Value{FromSource("broken", failing{})}}); err == nil || err.Error() != `parameter "broken": no disk` {
		t.Errorf("broken: %v", err)
	}
}

func TestInferReportsEveryNode(t *testing.T) {
	x := &Value{Name: "x", Type: float(Known(2))}
	ids := &Value{Name: "ids", Type: Ranked(tensor.Int64, Known(2))}
	a := wire("a", x, ids)
	b := wire("b", a.Out[0])
	c := wire("c", ids, x)
	c.Out[0].Type = Type{}
	g := &Graph{Inputs: []*Value{x, ids}, Nodes: []*Node{a, b, c}, Outputs: []*Value{b.Out[0], c.Out[0]}}
	err := g.Infer()
	if err == nil || strings.Count(err.Error(), "differ") != 2 || !strings.Contains(err.Error(), `node "a" (Sum)`) || !strings.Contains(err.Error(), `node "c" (Sum)`) {
		t.Errorf("got %v", err)
	}
	if b.Out[0].Type.String() != "float32[2]" {
		t.Errorf("what comes after a wrong node has its declared type: %v", b.Out[0].Type)
	}
}

// TestMerge: the inferred type wins where both say something, names give way to numbers, the declared one fills gaps.
func TestMerge(t *testing.T) {
	list := func(e Type) Type { return Type{DType: tensor.Sequence, Elem: &e} }
	for _, c := range []struct{ declared, inferred, want Type }{
		{Type{}, float(Known(2)), float(Known(2))},
		{float(Known(2)), Type{}, float(Known(2))},
		{Unranked(tensor.Int64), float(Known(2)), float(Known(2))},
		{float(Known(3), Known(4)), Unranked(tensor.Float32), float(Known(3), Known(4))},
		{float(Known(3), Named("n")), float(Known(5), Known(4)), float(Known(5), Known(4))},
		{float(Known(3), Known(4)), float(Named("a"), Unknown), float(Known(3), Known(4))},
		{float(Named("n"), Named("m")), float(Unknown, Named("k")), float(Named("n"), Named("k"))},
		{float(Known(3)), float(Unknown, Unknown), float(Unknown, Unknown)},
		{list(float(Known(2))), list(Unranked(tensor.Float32)), list(float(Known(2)))},
		{list(float(Known(2))), Type{DType: tensor.Sequence}, list(float(Known(2)))},
	} {
		declared := c.declared.String()
		if got := merge(c.declared, c.inferred); got.String() != c.want.String() || got.DType != c.want.DType {
			t.Errorf("%v and %v: got %v, want %v", c.declared, c.inferred, got, c.want)
		}
		if c.declared.String() != declared {
			t.Errorf("merging changed %s to %v", declared, c.declared)
		}
	}
}

func TestTypeOf(t *testing.T) {
	v := tensor.New(tensor.Float32, 2, 3)
	if got := TypeOf(v); got.Const != v || got.String() != "float32[2,3]" {
		t.Errorf("%v", got)
	}
	if s, ok := TypeOf(v).Shape(); !ok || !s.Equal(v.Shape) {
		t.Errorf("%v", s)
	}
	if _, ok := float(Known(1), Named("n")).Shape(); ok {
		t.Error("a named dimension is no number")
	}
	if got := TypeOf(tensor.NewSequence(v, v)); got.Elem == nil || got.Elem.String() != "float32[2,3]" || got.Elem.Const != nil {
		t.Errorf("%v", got)
	}
	if got := TypeOf(tensor.NewSequence(v, tensor.New(tensor.Float32, 1))); got.Elem.Ranked {
		t.Errorf("elements differ in shape: %v", got)
	}
	if !(Type{}).IsNone() || (Type{DType: tensor.Float32}).IsNone() || float().IsNone() {
		t.Error("IsNone")
	}
}

func TestEnv(t *testing.T) {
	var none *Env
	if !none.Wants(3) || none.Workers() != nil || none.Context() == nil || none.New(tensor.Float32, 2).Len() != 2 {
		t.Error("a nil Env works")
	}
	e := &Env{Out: []*Value{{Name: "y"}, nil}}
	if !e.Wants(0) || e.Wants(1) || e.Wants(2) {
		t.Error("Wants")
	}
	dirty := make([]byte, 64)
	for i := range dirty {
		dirty[i] = 7
	}
	e.Make = func(d tensor.DType, shape tensor.Shape) *tensor.Tensor {
		t, err := tensor.FromBytes(d, shape, dirty[:d.ByteLen(shape.Len())])
		if err != nil {
			panic(err)
		}
		return t
	}
	if z := e.Zeros(tensor.Int8, 5); tensor.Data[int8](z)[4] != 0 || &z.Bytes()[0] != &dirty[0] {
		t.Error("Zeros")
	}
	n := 0
	(&Env{}).For(10, 3, func(lo, hi int) { n += hi - lo })
	if n != 10 {
		t.Errorf("%d", n)
	}
}
