package op

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// randomCodes returns parameters of codes of either type.
func randomCodes(r *rand.Rand, scale float32) Codes {
	c := Codes{DType: tensor.Uint8, Scale: scale * (0.5 + r.Float32()), Zero: int32(r.IntN(256))}
	if r.IntN(2) == 1 {
		c.DType, c.Zero = tensor.Int8, c.Zero-128
	}
	return c
}

func (c Codes) tensors() (scale, zero *tensor.Tensor) {
	zero = tensor.New(c.DType)
	zero.Bytes()[0] = byte(c.Zero)
	return tensor.Scalar(c.Scale), zero
}

// randomWeight returns int8 or uint8 codes with scales and zero points per tensor or per channel.
func randomWeight(r *rand.Rand, channels int, shape ...int) (w, scale, zero *tensor.Tensor) {
	d := []tensor.DType{tensor.Int8, tensor.Uint8}[r.IntN(2)]
	n := []int{1, channels}[r.IntN(2)]
	w, scale, zero = randomBytes(r, d, shape...), tensor.New(tensor.Float32, n), randomBytes(r, d, n)
	for i := range n {
		tensor.Data[float32](scale)[i] = 0.01 * (0.5 + r.Float32())
	}
	return
}

func randomBias(r *rand.Rand, n int) []int32 {
	if r.IntN(3) == 0 {
		return nil
	}
	b := make([]int32, n)
	for i := range b {
		b[i] = r.Int32N(20001) - 10000
	}
	return b
}

// limited clamps the codes of t as a fused Relu or Clip does.
func limited(t *tensor.Tensor, y QuantResult) *tensor.Tensor {
	out := tensor.New(t.DType, t.Shape...)
	for i, b := range t.Bytes() {
		out.Bytes()[i] = byte(min(max(valueOf(b, y.signed()), y.Lo), y.Hi))
	}
	return out
}

func sameCodes(t *testing.T, what string, got, want *tensor.Tensor) {
	t.Helper()
	if got.DType != want.DType || !got.Shape.Equal(want.Shape) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Fatalf("%s: codes differ", what)
	}
}

// codeScale is about a hundredth of the deviation of sums of k products of random codes with scales of 0.02 and 0.01.
func codeScale(k int) float64 { return 0.02 * 0.01 * 74 * 74 / 100 * math.Sqrt(float64(k)) }

// randomResult returns parameters of about a scale, half of the time with limits.
func randomResult(r *rand.Rand, scale float64) QuantResult {
	y := QuantResult{Codes: randomCodes(r, float32(scale))}
	y.Lo, y.Hi = y.Limits()
	if r.IntN(2) == 1 {
		y.Lo, y.Hi = y.Lo+int32(r.IntN(100)), y.Hi-int32(r.IntN(100))
	}
	return y
}

func TestPackedQLinearConv(t *testing.T) {
	r := rand.New(rand.NewPCG(71, 1))
	c := chain{t, &graph.Env{Pool: kernel.Shared()}}
	for i := range 60 {
		o := &Conv{Group: 1, Window: Window{AutoPad: "NOTSET", Strides: []int{1 + r.IntN(2), 1 + r.IntN(2)}, Pads: []int{r.IntN(2), r.IntN(2), r.IntN(2), r.IntN(2)}}}
		in, out := 1+r.IntN(9), 1+r.IntN(20)
		per := in
		switch r.IntN(3) {
		case 0: // depthwise
			o.Group, per, out = in, 1, in
		case 1:
			o.Group, per, in, out = 2, in, 2*in, 2*out
		}
		w, scale, zero := randomWeight(r, out, out, per, 1+r.IntN(3), 1+r.IntN(3))
		px := randomCodes(r, 0.02)
		y := randomResult(r, codeScale(per*9))
		bias := randomBias(r, out)
		p, err := NewPackedQLinearConv(o, w, scale, zero, bias, px, y)
		if err != nil {
			t.Fatal(err)
		}
		x := randomBytes(r, px.DType, 1+r.IntN(2), in, 3+r.IntN(9), 3+r.IntN(9))
		sx, zx := px.tensors()
		sy, zy := y.tensors()
		args := []*tensor.Tensor{x, sx, zx, w, scale, zero, sy, zy}
		if bias != nil {
			args = append(args, tensor.Vector(bias...))
		}
		want := c.run(&QLinearConv{Window: o.Window, Group: o.Group}, args...)
		sameCodes(t, fmt.Sprintf("case %d", i), c.run(secondForm{p}, x), limited(want, y))
		types, err := secondForm{p}.Infer([]graph.Type{graph.TypeOf(x)})
		if err != nil || types[0].DType != y.DType {
			t.Fatalf("inferred %v, %v", types, err)
		}
	}
}

func TestPackedQLinearMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(72, 1))
	c := chain{t, &graph.Env{Pool: kernel.Shared()}}
	for i := range 60 {
		m, k, n := 1+r.IntN(20), 1+r.IntN(70), 1+r.IntN(70)
		w, scale, zero := randomWeight(r, n, k, n)
		px := randomCodes(r, 0.02)
		y := randomResult(r, codeScale(k))
		bias := randomBias(r, n)
		packed, err := NewQuantMatMulWeight(w, false, scale, zero)
		if err != nil {
			t.Fatal(err)
		}
		p, err := NewPackedQLinearMatMul(packed, 1, bias, px, y)
		if err != nil {
			t.Fatal(err)
		}
		x := randomBytes(r, px.DType, m, k)
		sx, zx := px.tensors()
		sy, zy := y.tensors()
		var b *tensor.Tensor
		if bias != nil {
			b = tensor.Vector(bias...)
		}
		want := c.run(&QGemm{Alpha: 1}, x, sx, zx, w, scale, zero, b, sy, zy)
		sameCodes(t, fmt.Sprintf("case %d", i), c.run(p, x), limited(want, y))
		if bias == nil {
			want = c.run(&QLinearMatMul{}, x.Reshape(1, m, k), sx, zx, w, scale, zero, sy, zy)
			sameCodes(t, fmt.Sprintf("case %d", i), c.run(p, x.Reshape(1, m, k)), limited(want, y))
		}
	}
}

// What is computed on codes at once is bit for bit what the separate operators compute.
func TestQuantizedBinaryAndTables(t *testing.T) {
	r := rand.New(rand.NewPCG(73, 1))
	c := chain{t, &graph.Env{Pool: kernel.Shared()}}
	deq := func(x *tensor.Tensor, p Codes) *tensor.Tensor {
		s, z := p.tensors()
		return c.run(&DequantizeLinear{Axis: 1}, x, s, z)
	}
	quant := func(x *tensor.Tensor, p Codes) *tensor.Tensor {
		s, z := p.tensors()
		return c.run(&QuantizeLinear{Axis: 1, Saturate: true}, x, s, z)
	}
	shapes := [][2]tensor.Shape{{{3, 700}, {3, 700}}, {{2, 3, 5}, {3, 1}}, {{4, 600}, {1}}, {{1, 90}, {40, 1}}, {{0, 3}, {1, 3}}}
	for i, o := range []graph.Op{&Add{}, &Sub{}, &Mul{}, &Div{}} {
		for j, s := range shapes {
			pa, pb, py := randomCodes(r, 0.1), randomCodes(r, 0.1), randomCodes(r, 0.2)
			lo, hi := float32(math.Inf(-1)), float32(math.Inf(1))
			if j%2 == 0 {
				lo, hi = 0, 6
			}
			a, b := randomBytes(r, pa.DType, s[0]...), randomBytes(r, pb.DType, s[1]...)
			q, ok := NewQuantizedBinary(o, pa, pb, py, lo, hi)
			if !ok {
				t.Fatal("refused")
			}
			sum := c.run(o, deq(a, pa), deq(b, pb))
			if j%2 == 0 {
				sum = c.run(&Clip{}, sum, tensor.Scalar(lo), tensor.Scalar(hi))
			}
			sameCodes(t, fmt.Sprintf("%s %d %d", o.Kind(), i, j), c.run(q, a, b), quant(sum, py))
		}
	}
	for _, f := range []graph.Op{nil, &Relu{}, &LeakyRelu{Alpha: 0.1}, &HardSwish{}, &Neg{}} {
		px, py := randomCodes(r, 0.05), randomCodes(r, 0.05)
		table, err := NewCodeTable(f, make([]*tensor.Tensor, 1), 0, px, py)
		if err != nil {
			t.Fatal(err)
		}
		x := randomBytes(r, px.DType, 3, 5, 41)
		v := deq(x, px)
		if f != nil {
			v = c.run(f, v)
		}
		sameCodes(t, table.Kind(), c.run(table, x), quant(v, py))
	}
	if _, err := NewCodeTable(&Softmax{Axis: -1}, make([]*tensor.Tensor, 1), 0, Codes{tensor.Float32, 1, 0}, Codes{tensor.Uint8, 1, 0}); err == nil {
		t.Error("a table of float32 is not an error")
	}
	p := Codes{tensor.Int8, 0.5, 3}
	if p.Code(0) != 3 || p.Code(-100) != -128 || p.Code(1) != 5 || p.Code(float32(math.Inf(1))) != 127 {
		t.Error("codes of 0, -100, 1 and infinity")
	}
}
