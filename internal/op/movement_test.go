package op

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestMovement(t *testing.T) { runGolden(t, "movement.json") }

// newOp returns an operator with attributes given as name, value pairs.
func newOp(t *testing.T, kind string, attrs ...any) graph.Op {
	t.Helper()
	o, ok := New(kind)
	if !ok {
		t.Fatalf("no operator %s", kind)
	}
	m := map[string]any{}
	for i := 0; i < len(attrs); i += 2 {
		m[attrs[i].(string)] = attrs[i+1]
	}
	if err := SetAttrs(o, m); err != nil {
		t.Fatal(err)
	}
	return o
}

func mustEval(t *testing.T, e *graph.Env, o graph.Op, in ...*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	out, err := o.Eval(e, in)
	if err != nil {
		t.Fatalf("%s: %v", o.Kind(), err)
	}
	return out
}

func i64s(v ...int64) *tensor.Tensor { return tensor.Vector(v...) }

// ofType makes a tensor of any element type whose elements are numbered; label reads the number of an element back.
func ofType(t *testing.T, d tensor.DType, shape tensor.Shape) (x *tensor.Tensor, label func(*tensor.Tensor, int) int) {
	t.Helper()
	n := shape.Len()
	switch d {
	case tensor.String:
		v := make([]string, n)
		for i := range v {
			v[i] = fmt.Sprint("s", i)
		}
		return tensor.Strings(shape, v), func(t *tensor.Tensor, i int) int {
			var k int
			fmt.Sscanf(t.Text()[i], "s%d", &k)
			return k
		}
	case tensor.Complex64:
		v := make([]complex64, n)
		for i := range v {
			v[i] = complex(float32(i), -float32(i))
		}
		return tensor.Of(shape, v), func(t *tensor.Tensor, i int) int { return int(-imag(tensor.Data[complex64](t)[i])) }
	case tensor.Complex128:
		v := make([]complex128, n)
		for i := range v {
			v[i] = complex(float64(i), -float64(i))
		}
		return tensor.Of(shape, v), func(t *tensor.Tensor, i int) int { return int(-imag(tensor.Data[complex128](t)[i])) }
	}
	// Element codes repeat where the type is narrow.
	bits := d.Bits()
	codes := make([]byte, n)
	if bits < 8 {
		for i := range codes {
			codes[i] = byte(i % (1 << bits))
		}
		x, err := tensor.FromBytes(d, shape, tensor.Pack(d, codes))
		if err != nil {
			t.Fatal(err)
		}
		return x, func(t *tensor.Tensor, i int) int {
			return int(tensor.Unpack(d, t.Bytes(), t.Len())[i]) & (1<<bits - 1)
		}
	}
	x = tensor.New(d, shape...)
	size := bits / 8
	for i := range n {
		x.Bytes()[i*size] = byte(i)
	}
	return x, func(t *tensor.Tensor, i int) int { return int(t.Bytes()[i*size]) }
}

// TestMovementTypes moves elements of every type through operators with each way of copying and compares with what the same
// operator does to their numbers.
func TestMovementTypes(t *testing.T) {
	all := []tensor.DType{tensor.String, tensor.Complex64, tensor.Complex128}
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		if d.Valid() && d.Bits() > 0 && d != tensor.Complex64 && d != tensor.Complex128 {
			all = append(all, d)
		}
	}
	shape := tensor.Shape{3, 2, 5}
	number := make([]int64, shape.Len())
	for i := range number {
		number[i] = int64(i)
	}
	calls := []struct {
		op   graph.Op
		more []*tensor.Tensor
	}{
		{newOp(t, "Transpose", "perm", []int64{2, 0, 1}), nil},
		{newOp(t, "Slice"), []*tensor.Tensor{i64s(2, 0), i64s(math.MinInt64, 5), i64s(0, 2), i64s(-1, 2)}},
		{newOp(t, "Tile"), []*tensor.Tensor{i64s(1, 3, 2)}},
		{newOp(t, "Expand"), []*tensor.Tensor{i64s(2, 1, 1, 1)}},
		{newOp(t, "Gather", "axis", int64(1)), []*tensor.Tensor{i64s(1, 1, 0)}},
		{newOp(t, "GatherElements", "axis", int64(2)), []*tensor.Tensor{tensor.Of(tensor.Shape{2, 1, 3}, []int64{4, 0, -2, 1, 1, 3})}},
		{newOp(t, "Pad", "mode", "reflect"), []*tensor.Tensor{i64s(1, 0, 3, 0, 1, 2)}},
		{newOp(t, "Compress", "axis", int64(2)), []*tensor.Tensor{tensor.Vector(true, false, true)}},
		{newOp(t, "ReverseSequence"), []*tensor.Tensor{i64s(3, 2)}},
		{newOp(t, "Reshape"), []*tensor.Tensor{i64s(-1, 3)}},
	}
	for _, d := range all {
		x, label := ofType(t, d, shape)
		for _, c := range calls {
			want := mustEval(t, nil, c.op, append([]*tensor.Tensor{tensor.Of(shape, number)}, c.more...)...)[0]
			got := mustEval(t, nil, c.op, append([]*tensor.Tensor{x}, c.more...)...)[0]
			if got.DType != d || !got.Shape.Equal(want.Shape) {
				t.Fatalf("%s of %v: got %v, want shape %v", c.op.Kind(), d, got, want.Shape)
			}
			for i, k := range tensor.Data[int64](want) {
				if b := d.Bits(); b > 0 && b < 8 {
					k %= 1 << b
				}
				if l := label(got, i); l != int(k) {
					t.Fatalf("%s of %v: element %d is number %d, want %d", c.op.Kind(), d, i, l, k)
				}
			}
		}
		// The parts of a split join to the whole again.
		parts := mustEval(t, nil, newOp(t, "Split", "axis", int64(2)), x, i64s(1, 3, 1))
		if got := mustEval(t, nil, newOp(t, "Concat", "axis", int64(2)), parts...)[0]; !slices.Equal(got.Bytes(), x.Bytes()) || !slices.Equal(got.Text(), x.Text()) {
			t.Errorf("%v: Concat of Split differs", d)
		}
		// What was scattered can be gathered.
		at := tensor.Of(tensor.Shape{2, 1}, []int64{2, 0})
		rows := mustEval(t, nil, newOp(t, "GatherND"), x, at)[0]
		blank := tensor.New(d, shape...)
		spread := mustEval(t, nil, newOp(t, "ScatterND"), blank, at, rows)[0]
		if got := mustEval(t, nil, newOp(t, "GatherND"), spread, at)[0]; !slices.Equal(got.Bytes(), rows.Bytes()) || !slices.Equal(got.Text(), rows.Text()) {
			t.Errorf("%v: GatherND of ScatterND differs", d)
		}
	}
}

// TestTransposeLarge compares the blocked and threaded paths with the definition.
func TestTransposeLarge(t *testing.T) {
	pool := kernel.NewPool(4)
	defer pool.Close()
	for _, c := range []struct {
		shape tensor.Shape
		perm  []int
	}{
		{tensor.Shape{700, 301}, []int{1, 0}},
		{tensor.Shape{2, 37, 50, 61}, []int{0, 2, 3, 1}},
		{tensor.Shape{2, 50, 61, 37}, []int{0, 3, 1, 2}},
		{tensor.Shape{3, 128, 12, 64}, []int{0, 2, 1, 3}},
		{tensor.Shape{3, 128, 12, 8}, []int{0, 2, 3, 1}},
		{tensor.Shape{9, 20, 30, 11}, []int{3, 2, 1, 0}},
		{tensor.Shape{100000, 3}, []int{1, 0}},
		{tensor.Shape{3, 100001}, []int{1, 0}},
	} {
		data := make([]float32, c.shape.Len())
		for i := range data {
			data[i] = float32(i)
		}
		got, err := (&Transpose{Perm: c.perm}).Eval(&graph.Env{Pool: pool}, []*tensor.Tensor{tensor.Of(c.shape, data)})
		if err != nil {
			t.Fatal(err)
		}
		strides, index := c.shape.Strides(), make([]int, len(c.shape))
		for i, v := range tensor.Data[float32](got[0]) {
			at := 0
			for k, p := range c.perm {
				at += index[k] * strides[p]
			}
			if v != data[at] {
				t.Fatalf("%v by %v: element %d is %v, want %v", c.shape, c.perm, i, v, data[at])
			}
			advance(index, got[0].Shape)
		}
	}
}

// TestViews checks that what only renames dimensions shares the data.
func TestViews(t *testing.T) {
	x := tensor.New(tensor.Float32, 2, 1, 3)
	for _, c := range []struct {
		op   graph.Op
		more []*tensor.Tensor
	}{
		{newOp(t, "Reshape"), []*tensor.Tensor{i64s(3, 2)}},
		{newOp(t, "Flatten"), nil},
		{newOp(t, "Squeeze"), nil},
		{newOp(t, "Unsqueeze"), []*tensor.Tensor{i64s(0)}},
		{newOp(t, "Identity"), nil},
		{newOp(t, "Transpose", "perm", []int64{1, 0, 2}), nil},
		{newOp(t, "Slice"), []*tensor.Tensor{i64s(0), i64s(100)}},
	} {
		got := mustEval(t, nil, c.op, append([]*tensor.Tensor{x}, c.more...)...)[0]
		if &got.Bytes()[0] != &x.Bytes()[0] {
			t.Errorf("%s copies", c.op.Kind())
		}
	}
}

// halves is a packed matrix that decodes to row + col/2.
type halves struct{ cols int }

func (halves) Scheme() tensor.Scheme { return tensor.Scheme{Code: "test"} }
func (halves) ByteLen() int          { return 0 }
func (h halves) Row(dst []float32, row int) {
	for i := range h.cols {
		dst[i] = float32(row) + float32(i)/2
	}
}

func TestPackedMovement(t *testing.T) {
	x := tensor.NewPacked(tensor.Float16, tensor.Shape{5, 2, 3}, halves{3})
	got := mustEval(t, nil, newOp(t, "Gather"), x, i64s(4, -5))[0]
	f, err := got.Floats()
	if err != nil || got.DType != tensor.Float16 {
		t.Fatal(got, err)
	}
	if want := []float32{8, 8.5, 9, 9, 9.5, 10, 0, .5, 1, 1, 1.5, 2}; !slices.Equal(f, want) {
		t.Errorf("Gather: got %v, want %v", f, want)
	}
	f, _ = mustEval(t, nil, newOp(t, "Transpose"), x)[0].Floats()
	if f[0] != 0 || f[1] != 2 || f[5] != 1 || f[10] != .5 {
		t.Errorf("Transpose: got %v", f)
	}
	if got := mustEval(t, nil, newOp(t, "Reshape"), x, i64s(10, 3))[0]; got.Packed == nil {
		t.Error("Reshape that keeps the rows decodes the matrix")
	}
	f, _ = mustEval(t, nil, newOp(t, "Reshape"), x, i64s(-1))[0].Floats()
	if len(f) != 30 || f[29] != 10 {
		t.Errorf("Reshape: got %v", f)
	}
}

func TestMovementErrors(t *testing.T) {
	x := tensor.New(tensor.Float32, 2, 3)
	for _, c := range []struct {
		op   graph.Op
		in   []*tensor.Tensor
		want string
	}{
		{newOp(t, "Reshape"), []*tensor.Tensor{x, i64s(4, -1)}, "cannot reshape 2x3 (6 elements) to [4 -1]"},
		{newOp(t, "Reshape"), []*tensor.Tensor{x, i64s(-1, -1)}, "more than one -1"},
		{newOp(t, "Reshape"), []*tensor.Tensor{x, i64s(math.MaxInt64, math.MaxInt64)}, "too large"},
		{newOp(t, "Expand"), []*tensor.Tensor{x, i64s(1<<40, 2, 3)}, "too large"},
		{newOp(t, "Tile"), []*tensor.Tensor{x, i64s(1<<40, 1<<40)}, "too large"},
		{newOp(t, "ConstantOfShape"), []*tensor.Tensor{i64s(1<<30, 1<<30)}, "too large"},
		{newOp(t, "ConstantOfShape"), []*tensor.Tensor{i64s(-1)}, "negative"},
		{newOp(t, "Range"), []*tensor.Tensor{tensor.Scalar[int64](0), tensor.Scalar[int64](math.MaxInt64), tensor.Scalar[int64](1)}, "too long"},
		{newOp(t, "Range"), []*tensor.Tensor{tensor.Scalar[int64](0), tensor.Scalar[int64](1), tensor.Scalar[int64](0)}, "delta is zero"},
		{newOp(t, "Concat", "axis", int64(0)), []*tensor.Tensor{x, tensor.New(tensor.Float32, 2, 2)}, "input 1: shape 2x2 differs from 2x3 beside axis 0"},
		{newOp(t, "Concat", "axis", int64(0)), []*tensor.Tensor{x, tensor.New(tensor.Int8, 2, 3)}, "element type int8 differs"},
		{newOp(t, "Gather"), []*tensor.Tensor{x, i64s(2)}, "index 2 is out of range for dimension 0 of size 2"},
		{newOp(t, "Gather"), []*tensor.Tensor{tensor.NewSequence(x), i64s(0)}, ""},
		{newOp(t, "Slice"), []*tensor.Tensor{x, i64s(0), i64s(1), i64s(0), i64s(0)}, "steps: [0] has a zero"},
		{newOp(t, "Slice"), []*tensor.Tensor{x, i64s(0, 0), i64s(1, 1), i64s(0, -2)}, "axis 0 is given twice"},
		{newOp(t, "Pad"), []*tensor.Tensor{x, i64s(0, -2, 0, -2)}, "dimension 1 of size 3 becomes -1"},
		{newOp(t, "Pad"), []*tensor.Tensor{x, i64s(1, 1)}, "pads: want 4 values, got 2"},
		{newOp(t, "TopK"), []*tensor.Tensor{x, i64s(4)}, "k: 4 is out of range"},
		{newOp(t, "Split"), []*tensor.Tensor{x, i64s(1, 3)}, "split: [1 3] does not divide a dimension of 2"},
		{newOp(t, "SequenceAt"), []*tensor.Tensor{tensor.NewSequence(), i64s(0)}, "out of range for 0"},
		{newOp(t, "Trilu"), []*tensor.Tensor{nil}, "input 0 is missing"},
		{newOp(t, "RegexFullMatch", "pattern", "a)|(b"), []*tensor.Tensor{tensor.Strings(tensor.Shape{1}, []string{"b"})}, "pattern"},
	} {
		_, err := c.op.Eval(nil, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.op.Kind(), err, c.want)
		}
	}
}

// TestNoPanic feeds every operator of these families inputs of random number, type, shape and value: each call must either
// succeed, with outputs that fit what was inferred, or return an error.
func TestNoPanic(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	types := []tensor.DType{tensor.Float32, tensor.Int64, tensor.Int64, tensor.Int64, tensor.Int32, tensor.Bool, tensor.String, tensor.Uint4, tensor.Float16, tensor.Complex64}
	random := func() *tensor.Tensor {
		switch rng.IntN(20) {
		case 0:
			return nil
		case 1:
			return tensor.NewSequence(tensor.New(tensor.Float32, 2), tensor.New(tensor.Float32, 3))
		case 2:
			return tensor.NewOptional(nil)
		}
		shape := make(tensor.Shape, rng.IntN(5))
		for i := range shape {
			shape[i] = rng.IntN(4)
		}
		d := types[rng.IntN(len(types))]
		v := make([]float64, shape.Len())
		for i := range v {
			v[i] = []float64{0, 1, 2, -1, -2, 4, 1e4, -1e4, math.MaxInt64, math.MinInt64, math.NaN()}[rng.IntN(11)]
			if rng.IntN(4) > 0 || math.Abs(v[i]) > 1e9 && d != tensor.Int64 {
				v[i] = float64(rng.IntN(4))
			}
		}
		if x, err := tensor.FromFloat64s(d, shape, v); err == nil {
			return x
		}
		return tensor.New(d, shape...)
	}
	attrs := map[string][]map[string]any{
		"DepthToSpace": {{"blocksize": int64(2)}}, "SpaceToDepth": {{"blocksize": int64(2)}, {"blocksize": int64(0)}},
		"Pad":             {{}, {"mode": "edge"}, {"mode": "reflect"}, {"mode": "wrap"}},
		"Split":           {{}, {"num_outputs": int64(3)}, {"axis": int64(1)}},
		"ScatterElements": {{}, {"reduction": "add"}, {"axis": int64(1), "reduction": "max"}}, "ScatterND": {{}, {"reduction": "mul"}},
		"Gather": {{}, {"axis": int64(-1)}, {"axis": int64(2)}}, "GatherND": {{}, {"batch_dims": int64(1)}},
		"Transpose": {{}, {"perm": []int64{1, 0}}, {"perm": []int64{2, 0, 1}}}, "Unique": {{}, {"axis": int64(0)}, {"axis": int64(1)}},
		"Compress": {{}, {"axis": int64(1)}}, "TopK": {{}, {"axis": int64(0)}}, "ReverseSequence": {{}, {"batch_axis": int64(0), "time_axis": int64(1)}},
		"TensorScatter": {{"axis": int64(1)}, {"mode": "circular"}}, "Concat": {{"axis": int64(0)}, {"axis": int64(-1)}},
		"Shape": {{}, {"start": int64(-1)}, {"end": int64(1)}}, "Flatten": {{}, {"axis": int64(-1)}},
		"TfIdfVectorizer": {{"mode": "TF", "min_gram_length": int64(1), "max_gram_length": int64(2), "max_skip_count": int64(1), "ngram_counts": []int64{0, 2}, "ngram_indexes": []int64{0, 1, 2}, "pool_int64s": []int64{1, 2, 0, 1}}},
		"StringSplit":     {{}, {"delimiter": ",", "maxsplit": int64(0)}},
		"EyeLike":         {{}, {"dtype": int64(7), "k": int64(math.MinInt64)}},
	}
	for _, tab := range []table{shapeOps, indexOps, sequenceOps, stringOps} {
		for _, kind := range slices.Sorted(maps.Keys(tab)) {
			h := fnv.New64a()
			h.Write([]byte(kind))
			rng = rand.New(rand.NewPCG(1, h.Sum64())) // the calls of an operator do not depend on which others there are
			if kind == "SequenceMap" || kind == "Constant" {
				continue
			}
			variants := attrs[kind]
			if variants == nil {
				variants = []map[string]any{{}}
			}
			done := 0
			for range 1500 {
				o, _ := New(kind)
				if err := SetAttrs(o, variants[rng.IntN(len(variants))]); err != nil {
					t.Fatal(kind, err)
				}
				in := make([]*tensor.Tensor, rng.IntN(6))
				for i := range in {
					in[i] = random()
					if i == 0 && strings.Contains(kind, "Sequence") && rng.IntN(2) == 0 {
						in[i] = tensor.NewSequence(tensor.New(tensor.Float32, 2), tensor.New(tensor.Float32, 3))
					}
					if i > 0 && rng.IntN(3) == 0 {
						in[i] = in[0]
					}
				}
				if checkCall(t, o, in) {
					done++
				}
			}
			if done == 0 && kind != "NonMaxSuppression" && kind != "Col2Im" {
				t.Errorf("%s: no random call succeeds", kind)
			}
		}
	}
}

// checkCall reports whether a call succeeds; it must fit the inference on types of known and of unknown values.
func checkCall(t *testing.T, o graph.Op, in []*tensor.Tensor) bool {
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("%s %+v of %v: panic: %v", o.Kind(), o, in, p)
		}
	}()
	valued, shaped, vague := make([]graph.Type, len(in)), make([]graph.Type, len(in)), make([]graph.Type, len(in))
	for i, x := range in {
		if x != nil {
			valued[i] = graph.TypeOf(x)
			shaped[i] = valued[i]
			shaped[i].Const = nil
			vague[i] = shaped[i]
			vague[i].Dims = unknownDims(len(shaped[i].Dims))
			for k := range vague[i].Dims {
				vague[i].Dims[k].Name = fmt.Sprintf("d%d.%d", i, k)
			}
		}
	}
	out, err := o.Eval(nil, in)
	for what, types := range map[string][]graph.Type{"values": valued, "shapes": shaped, "ranks": vague} {
		inferred, ierr := o.Infer(types)
		if err != nil {
			continue
		}
		if ierr != nil {
			t.Errorf("%s %+v of %v: Eval succeeds, Infer of %s says %v", o.Kind(), o, in, what, ierr)
			continue
		}
		for i, x := range out {
			if i < len(inferred) && x.DType != tensor.Sequence && x.DType != tensor.Optional {
				ty := inferred[i]
				if ty.DType == tensor.Invalid {
					ty.DType = x.DType
				}
				checkInferred(t, i, ty, x)
				for k, d := range ty.Dims {
					var from, dim int
					if n, _ := fmt.Sscanf(d.Name, "d%d.%d", &from, &dim); n == 2 && x.Shape[k] != in[from].Shape[dim] {
						t.Errorf("%s %+v of %v: dimension %d is inferred to be %s, is %d", o.Kind(), o, in, k, d.Name, x.Shape[k])
					}
				}
			}
		}
	}
	return err == nil
}
