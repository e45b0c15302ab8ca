package op

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// dimsOf reads the form "n,3,?": names, numbers and unknown dimensions.
func dimsOf(s string) []graph.Dim {
	dims := []graph.Dim{}
	for _, f := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) {
		switch {
		case f == "?":
			dims = append(dims, graph.Unknown)
		case f[0] >= '0' && f[0] <= '9':
			n := 0
			for _, c := range f {
				n = 10*n + int(c-'0')
			}
			dims = append(dims, graph.Known(n))
		default:
			dims = append(dims, graph.Named(f))
		}
	}
	return dims
}

// TestInferNames checks what inference knows where dimensions are names.
func TestInferNames(t *testing.T) {
	x := func(s string) graph.Type { return graph.Ranked(tensor.Float32, dimsOf(s)...) }
	v := func(v ...int64) graph.Type { return graph.TypeOf(i64s(v...)) }
	vague := func(n int) graph.Type { return graph.Ranked(tensor.Int64, graph.Known(n)) }
	for _, c := range []struct {
		op   graph.Op
		in   []graph.Type
		want string // of all outputs
	}{
		{newOp(t, "Reshape"), []graph.Type{x("n,4,8"), v(0, -1)}, "float32[n,32]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,4,8"), v(-1, 32)}, "float32[n,32]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,4,8"), v(-1, 16)}, "float32[?,16]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,s,64"), v(0, 0, 8, -1)}, "float32[n,s,8,8]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,s,64"), v(0, -1, 64)}, "float32[n,s,64]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,s,64"), v(-1, 64)}, "float32[?,64]"},
		{newOp(t, "Reshape"), []graph.Type{x("?,4"), v(0, -1)}, "float32[?,4]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,4"), v(7, -1)}, "float32[7,?]"},
		{newOp(t, "Reshape"), []graph.Type{x("n,4"), vague(3)}, "float32[?,?,?]"},
		{newOp(t, "Reshape"), []graph.Type{graph.Unranked(tensor.Int8), v(0, 5)}, "int8[?,5]"},
		{newOp(t, "Flatten"), []graph.Type{x("n,4,8")}, "float32[n,32]"},
		{newOp(t, "Flatten", "axis", int64(2)), []graph.Type{x("n,4,8")}, "float32[?,8]"},
		{newOp(t, "Squeeze"), []graph.Type{x("n,1,8"), v(1)}, "float32[n,8]"},
		{newOp(t, "Squeeze"), []graph.Type{x("n,1,8")}, "float32[...]"},
		{newOp(t, "Unsqueeze"), []graph.Type{x("n,8"), v(-1, 0)}, "float32[1,n,8,1]"},
		{newOp(t, "Transpose", "perm", []int64{1, 0}), []graph.Type{x("n,8")}, "float32[8,n]"},
		{newOp(t, "Concat", "axis", int64(1)), []graph.Type{x("n,2,?"), x("n,3,5")}, "float32[n,5,5]"},
		{newOp(t, "Concat", "axis", int64(1)), []graph.Type{x("n,s"), x("2,3")}, "float32[2,?]"},
		{newOp(t, "Split", "axis", int64(-1)), []graph.Type{x("n,s"), v(2, 3)}, "float32[n,2] float32[n,3]"},
		{newOp(t, "Split", "num_outputs", int64(2)), []graph.Type{x("7,s")}, "float32[4,s] float32[3,s]"},
		{newOp(t, "Slice"), []graph.Type{x("n,s,6"), v(0, 1), v(math.MaxInt64, -1), v(1, 2)}, "float32[n,s,4]"},
		{newOp(t, "Slice"), []graph.Type{x("n,s,6"), v(1), v(3), v(1)}, "float32[n,?,6]"},
		{newOp(t, "Slice"), []graph.Type{x("n,s,6"), vague(1), vague(1), v(-2)}, "float32[n,?,6]"},
		{newOp(t, "Pad"), []graph.Type{x("n,s,6"), v(0, 0, 1, 0, 0, 2)}, "float32[n,s,9]"},
		{newOp(t, "Tile"), []graph.Type{x("n,3"), v(1, 2)}, "float32[n,6]"},
		{newOp(t, "Expand"), []graph.Type{x("n,1"), v(2, 1, 5)}, "float32[2,n,5]"},
		{newOp(t, "Shape"), []graph.Type{x("n,3")}, "int64[2]"},
		{newOp(t, "Gather", "axis", int64(1)), []graph.Type{x("n,v,6"), graph.Ranked(tensor.Int64, dimsOf("b,2")...)}, "float32[n,b,2,6]"},
		{newOp(t, "TopK"), []graph.Type{x("n,s"), v(3)}, "float32[n,3] int64[n,3]"},
		{newOp(t, "OneHot"), []graph.Type{graph.Ranked(tensor.Int64, dimsOf("n")...), v(4), x("2")}, "float32[n,4]"},
		{newOp(t, "NonZero"), []graph.Type{x("n,s")}, "int64[2,?]"},
		{newOp(t, "DepthToSpace", "blocksize", int64(2)), []graph.Type{x("n,8,h,5")}, "float32[n,2,?,10]"},
		{newOp(t, "GatherND"), []graph.Type{x("n,s,6"), graph.Ranked(tensor.Int64, dimsOf("k,2")...)}, "float32[k,6]"},
		{newOp(t, "CenterCropPad", "axes", []int64{1}), []graph.Type{x("n,s"), v(9)}, "float32[n,9]"},
		{newOp(t, "SplitToSequence"), []graph.Type{x("n,s")}, "sequence(float32[1,s])"},
	} {
		types, err := graph.InferOp(c.op, c.in)
		if err != nil {
			t.Errorf("%s %+v: %v", c.op.Kind(), c.in, err)
			continue
		}
		var got []string
		for _, ty := range types {
			got = append(got, ty.String())
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s of %v: got %s, want %s", c.op.Kind(), c.in, s, c.want)
		}
	}
}

// TestShapeIsKnown follows the shape arithmetic that exporters write around a reshape.
func TestShapeIsKnown(t *testing.T) {
	infer := func(op graph.Op, in ...graph.Type) graph.Type {
		t.Helper()
		types, err := graph.InferOp(op, in)
		if err != nil {
			t.Fatal(err)
		}
		return types[0]
	}
	x := graph.Ranked(tensor.Float32, dimsOf("n,3,4,5")...)
	// Of a partly known shape the known part is a constant.
	hw := infer(newOp(t, "Shape", "start", int64(2)), x)
	size := infer(newOp(t, "Slice"), hw, graph.TypeOf(i64s(-1)), graph.TypeOf(i64s(math.MaxInt64)))
	target := infer(newOp(t, "Concat", "axis", int64(0)), graph.TypeOf(i64s(0, -1)), size)
	if got, ok := knownInts(target); !ok || !slices.Equal(got, []int{0, -1, 5}) {
		t.Fatalf("target shape: got %v", got)
	}
	if got := infer(newOp(t, "Reshape"), x, target).String(); got != "float32[n,12,5]" {
		t.Errorf("Reshape: got %s", got)
	}
	zeros := infer(newOp(t, "ConstantOfShape"), size)
	if zeros.Const == nil || zeros.Const.Len() != 5 {
		t.Errorf("ConstantOfShape: got %v", zeros)
	}
	if n := infer(newOp(t, "Size"), graph.Ranked(tensor.Float32, dimsOf("3,4")...)); n.Const == nil || tensor.Item[int64](n.Const) != 12 {
		t.Errorf("Size: got %v", n)
	}
}

func TestConstant(t *testing.T) {
	for _, c := range []struct {
		name  string
		value any
		want  string
		text  []string
	}{
		{"value_float", float32(2), "float32[scalar]", nil},
		{"value_floats", []float32{2, 3}, "float32[2]", nil},
		{"value_int", int64(2), "int64[scalar]", nil},
		{"value_ints", []int64{}, "int64[0]", nil},
		{"value_string", "ab", "string[scalar]", []string{"ab"}},
		{"value_strings", []string{"a", "b"}, "string[2]", []string{"a", "b"}},
		{"value", tensor.New(tensor.Int4, 3), "int4[3]", nil},
	} {
		o := newOp(t, "Constant", c.name, c.value)
		types, err := o.Infer(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := types[0].Const; got.String() != c.want || !slices.Equal(got.Text(), c.text) {
			t.Errorf("%s: got %v %q", c.name, got, got.Text())
		}
	}
	if _, err := newOp(t, "Constant", "value_int", int64(1), "value_float", float32(1)).Infer(nil); err == nil {
		t.Error("two values are accepted")
	}
}
