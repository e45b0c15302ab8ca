package op

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestElementwise(t *testing.T) { runGolden(t, "elementwise.json") }
func TestActivation(t *testing.T)  { runGolden(t, "activation.json") }
func TestReduce(t *testing.T)      { runGolden(t, "reduce.json") }
func TestSignal(t *testing.T)      { runGolden(t, "signal.json") }

// The codes that ml_dtypes gives for values at the limits of rounding and range.
func TestCastCodes(t *testing.T) {
	raw, err := os.ReadFile("testdata/cast.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		To       string
		Saturate bool
		In       []string
		Codes    []uint16
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		d, err := tensor.ParseDType(c.To)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]float32, len(c.In))
		for i, s := range c.In {
			v, err := strconv.ParseFloat(s, 32)
			if err != nil {
				t.Fatal(err)
			}
			x[i] = float32(v)
		}
		out, err := castTensor(&graph.Env{}, tensor.Vector(x...), d, castMode{saturate: c.Saturate})
		if err != nil {
			t.Fatal(err)
		}
		back, _ := out.Float64s()
		for i, want := range c.Codes {
			got := uint16(out.Bytes()[i*d.Size()])
			if d.Size() == 2 {
				got |= uint16(out.Bytes()[2*i+1]) << 8
			}
			if got != want && !math.IsNaN(float64(x[i])) {
				t.Errorf("%v of %v: want code %#x, got %#x", d, x[i], want, got)
			}
			if math.IsNaN(float64(x[i])) && !math.IsNaN(back[i]) {
				t.Errorf("%v of NaN is %v", d, back[i])
			}
		}
	}
}

func TestCastNumbers(t *testing.T) {
	for _, c := range []struct {
		in, want *tensor.Tensor
	}{
		{tensor.Vector[float32](-9, -1, 1.9, -1.9, 300, 1e10, 4e19, float32(math.NaN())), tensor.Vector[int8](-9, -1, 1, -1, 44, 0, -1, 0)},
		{tensor.Vector(-1.5, 255.9, 256, 1e300), tensor.Vector[uint8](255, 255, 0, 255)},
		{tensor.Vector(1.8e19, -1, 1e30), tensor.Vector[uint64](18e18, math.MaxUint64, math.MaxUint64)},
		{tensor.Vector[uint64](math.MaxUint64, 1<<63), tensor.Vector[int64](-1, math.MinInt64)},
		{tensor.Vector[int64](200, -1), tensor.Vector[int8](-56, -1)},
		{tensor.Vector[int64](1<<53+1, math.MaxInt64), tensor.Vector[uint64](1<<53+1, math.MaxInt64)},
		{tensor.Vector[float32](0, -0.1, float32(math.NaN())), tensor.Vector(false, true, true)},
		{tensor.Vector(true, false), tensor.Vector[float32](1, 0)},
		{tensor.Vector(true, false), tensor.Strings(tensor.Shape{2}, []string{"1", "0"})},
		{
			tensor.Strings(tensor.Shape{6}, []string{"3.14", "1e-5", "1E8", "-INF", "nan", " +inf "}),
			tensor.Vector(float32(3.14), 1e-5, 1e8, float32(math.Inf(-1)), float32(math.NaN()), float32(math.Inf(1))),
		},
		{tensor.Strings(tensor.Shape{3}, []string{"9223372036854775807", "-7", "100.5"}), tensor.Vector[int64](math.MaxInt64, -7, 100)},
		{tensor.Vector[float32](314.15926, 1e-7, 0.1, 3, float32(math.Inf(1))), tensor.Strings(tensor.Shape{5}, []string{"314.15927", "1e-07", "0.1", "3", "INF"})},
		{tensor.Vector[uint64](math.MaxUint64), tensor.Strings(tensor.Shape{1}, []string{"18446744073709551615"})},
	} {
		got, err := castTensor(&graph.Env{}, c.in, c.want.DType, castMode{saturate: true})
		if err != nil {
			t.Errorf("%v to %v: %v", c.in, c.want, err)
			continue
		}
		if c.want.DType == tensor.String {
			if !slices.Equal(got.Text(), c.want.Text()) {
				t.Errorf("%v: want %q, got %q", c.in, c.want.Text(), got.Text())
			}
			continue
		}
		if err := compareGolden(got, c.want, 0); err != nil {
			t.Errorf("%v to %v: %v", c.in, c.want, err)
		}
	}
	for _, bad := range []string{"Hello World!", "", "0x10", "1_000"} {
		if _, err := castTensor(&graph.Env{}, tensor.Strings(tensor.Shape{1}, []string{bad}), tensor.Float32, castMode{}); err == nil {
			t.Errorf("%q became a number", bad)
		}
	}
}

// The table of the ONNX Cast operator for powers of two.
func TestRoundE8M0(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		v                 float32
		up, down, nearest uint8
	}{
		{1, 127, 127, 127},
		{1.25, 128, 127, 127},
		{1.5, 128, 127, 128},
		{1.75, 128, 127, 128},
		{0.124, 124, 123, 124},
		{0, 0, 0, 0},
		{inf, 254, 254, 254},
		{3.4e38, 254, 254, 254},
		{0x1p-127, 0, 0, 0},
		{0x1.8p-127, 1, 0, 1},
		{0x1p-140, 0, 0, 0},
	} {
		for mode, want := range map[string]uint8{"up": c.up, "down": c.down, "nearest": c.nearest} {
			if got := roundE8M0(c.v, castMode{true, mode}); got != want {
				t.Errorf("%v %s: want %d, got %d", c.v, mode, want, got)
			}
		}
	}
	if got := roundE8M0(float32(math.NaN()), castMode{saturate: true}); got != 0xff {
		t.Errorf("NaN: got %d", got)
	}
	if got := roundE8M0(inf, castMode{round: "nearest"}); got != 0xff {
		t.Errorf("infinity without saturation: got %d", got)
	}
}

// Random shapes and operands against plain index arithmetic, large enough for several threads and chunks.
func TestBroadcastWalk(t *testing.T) {
	pool := kernel.NewPool(3)
	defer pool.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		out := make(tensor.Shape, r.IntN(6))
		for i := range out {
			out[i] = []int{1, 2, 3, 5, 17}[r.IntN(5)]
		}
		if len(out) > 0 && r.IntN(4) == 0 {
			out[r.IntN(len(out))] = []int{0, 700, 3000}[r.IntN(3)]
		}
		if out.Len() > 100000 {
			continue
		}
		operand := func() (tensor.Shape, []int32) {
			s := out[r.IntN(len(out)+1):].Clone()
			for i := range s {
				if r.IntN(3) == 0 {
					s[i] = 1
				}
			}
			v := make([]int32, s.Len())
			for i := range v {
				v[i] = r.Int32N(1000)
			}
			return s, v
		}
		sa, a := operand()
		sb, b := operand()
		got := make([]int32, out.Len())
		zip(&graph.Env{Pool: pool}, newBroadcast(out, sa, sb), got, a, b, func(dst, a, b []int32) {
			for i := range dst {
				dst[i] = a[i]*1000 + b[i]
			}
		})
		for i := range got {
			if want := at(out, sa, a, i)*1000 + at(out, sb, b, i); got[i] != want {
				t.Fatalf("%v with %v to %v: element %d is %d, want %d", sa, sb, out, i, got[i], want)
			}
		}
	}
}

// at returns the element of an operand that is broadcast to output element i.
func at(out, shape tensor.Shape, v []int32, i int) int32 {
	offset, stride := 0, 1
	for d := len(out) - 1; d >= 0; d-- {
		k := i % out[d]
		i /= out[d]
		if j := d - (len(out) - len(shape)); j >= 0 {
			if shape[j] != 1 {
				offset += k * stride
			}
			stride *= shape[j]
		}
	}
	return v[offset]
}

func TestBroadcastManyDimensions(t *testing.T) {
	for rank := range 14 {
		for operands := range 6 {
			out := make(tensor.Shape, rank)
			shapes := make([]tensor.Shape, operands)
			for k := range shapes {
				shapes[k] = make(tensor.Shape, rank)
			}
			for d := range out {
				out[d] = 2
				for k := range shapes {
					shapes[k][d] = 1 + d>>k&1
				}
			}
			seen := 0
			newBroadcast(out, shapes...).each(0, out.Len(), func(at, n int, _ []int) {
				if at != seen {
					t.Errorf("rank %d: run at %d, want %d", rank, at, seen)
				}
				seen += n
			})
			if seen != out.Len() {
				t.Errorf("rank %d: %d elements, want %d", rank, seen, out.Len())
			}
		}
	}
}

func TestBroadcastDims(t *testing.T) {
	n, m, one, u := graph.Named("n"), graph.Named("m"), graph.Known(1), graph.Unknown
	for _, c := range []struct{ a, b, want []graph.Dim }{
		{[]graph.Dim{n, graph.Known(3)}, []graph.Dim{graph.Known(3)}, []graph.Dim{n, graph.Known(3)}},
		{[]graph.Dim{n}, []graph.Dim{n}, []graph.Dim{n}},
		{[]graph.Dim{n}, []graph.Dim{m}, []graph.Dim{u}},
		{[]graph.Dim{n}, []graph.Dim{one}, []graph.Dim{n}},
		{[]graph.Dim{one}, []graph.Dim{n}, []graph.Dim{n}},
		{[]graph.Dim{n}, []graph.Dim{graph.Known(7)}, []graph.Dim{graph.Known(7)}},
		{[]graph.Dim{u}, []graph.Dim{u}, []graph.Dim{u}},
		{[]graph.Dim{u}, []graph.Dim{n, one}, []graph.Dim{n, u}},
	} {
		for _, ab := range [][2][]graph.Dim{{c.a, c.b}, {c.b, c.a}} {
			got, err := broadcastDims(ab[0], ab[1])
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%v with %v: got %v, %v, want %v", ab[0], ab[1], got, err, c.want)
			}
		}
	}
	if _, err := broadcastDims([]graph.Dim{graph.Known(2)}, []graph.Dim{graph.Known(3)}); err == nil {
		t.Error("2 and 3 broadcast")
	}
}

func TestReduceInfersNames(t *testing.T) {
	o := &ReduceMean{Reduce{KeepDims: false}}
	x := graph.Ranked(tensor.Float32, graph.Named("batch"), graph.Known(4), graph.Named("tokens"))
	axes := graph.TypeOf(tensor.Vector[int64](-2))
	out, err := o.Infer([]graph.Type{x, axes})
	if err != nil || out[0].String() != "float32[batch,tokens]" {
		t.Errorf("got %v, %v", out, err)
	}
	axes.Const = nil
	if out, _ = o.Infer([]graph.Type{x, axes}); out[0].String() != "float32[?,?]" {
		t.Errorf("got %v", out)
	}
}

func TestDivideByZero(t *testing.T) {
	for _, kind := range []string{"Div", "Mod"} {
		o, _ := New(kind)
		_, err := o.Eval(&graph.Env{}, []*tensor.Tensor{tensor.Vector[int32](1, 2), tensor.Vector[int32](1, 0)})
		if err == nil {
			t.Errorf("%s: no error", kind)
		}
	}
}

// A sum does not depend on the number of threads, and one over rows is near the exact value.
func TestReduceThreads(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, 1<<17)
	var exact float64
	for i := range x {
		x[i] = r.Float32() - 0.3
		exact += float64(x[i])
	}
	pool := kernel.NewPool(4)
	defer pool.Close()
	for _, shape := range []tensor.Shape{{1 << 17}, {512, 256}, {8, 64, 256}, {2, 1 << 16}, {1 << 15, 4}} {
		for mask := range 1 << len(shape) {
			var axes []int64
			for i := range shape {
				if mask>>i&1 == 1 {
					axes = append(axes, int64(i))
				}
			}
			in := []*tensor.Tensor{tensor.Of(shape, x), tensor.Vector(axes...)}
			o := &ReduceSum{Reduce{Noop: true}}
			a, err := o.Eval(&graph.Env{}, in)
			if err != nil {
				t.Fatal(err)
			}
			b, err := o.Eval(&graph.Env{Pool: pool}, in)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a[0].Bytes(), b[0].Bytes()) {
				t.Errorf("%v over %v depends on the number of threads", shape, axes)
			}
			var sum float64
			for _, v := range tensor.Data[float32](a[0]) {
				sum += float64(v)
			}
			if math.Abs(sum-exact) > 1e-5*math.Abs(exact) {
				t.Errorf("%v over %v: the sum of sums is %v, want %v", shape, axes, sum, exact)
			}
		}
	}
}
