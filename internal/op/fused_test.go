package op

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// chain evaluates operators one by one, as the unfused graph does.
type chain struct {
	t *testing.T
	e *graph.Env
}

func (c chain) run(o graph.Op, in ...*tensor.Tensor) *tensor.Tensor { return c.all(o, in...)[0] }

func (c chain) all(o graph.Op, in ...*tensor.Tensor) []*tensor.Tensor {
	c.t.Helper()
	out, err := o.Eval(c.e, in)
	if err != nil {
		c.t.Fatalf("%s: %v", o.Kind(), err)
	}
	return out
}

// dequantized is the tail of a dynamically quantized graph: Cast, Mul by Mul(x scale, weight scale), Add of the bias.
func (c chain) dequantized(acc, sx, sw, bias *tensor.Tensor) *tensor.Tensor {
	y := c.run(&Mul{}, c.run(&Cast{To: int(tensor.Float32)}, acc), c.run(&Mul{}, sx, sw))
	if bias != nil {
		y = c.run(&Add{}, y, bias)
	}
	return y
}

func randomFloats(r *rand.Rand, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	for i := range t.Len() {
		tensor.Data[float32](t)[i] = float32(r.NormFloat64())
	}
	return t
}

func randomBytes(r *rand.Rand, d tensor.DType, shape ...int) *tensor.Tensor {
	t := tensor.New(d, shape...)
	for i := range t.Bytes() {
		t.Bytes()[i] = byte(r.Uint32())
	}
	return t
}

func sameBits(t *testing.T, what string, got, want *tensor.Tensor) {
	t.Helper()
	if got.DType != want.DType || !got.Shape.Equal(want.Shape) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	g, w := tensor.Data[float32](got), tensor.Data[float32](want)
	for i := range w {
		if g[i] != w[i] {
			t.Fatalf("%s: element %d: got %v, want %v", what, i, g[i], w[i])
		}
	}
}

// activations returns the fused and the single form of the functions that are tried.
func activations(t *testing.T) map[string]func(c chain, y *tensor.Tensor) (Activation, *tensor.Tensor) {
	out := map[string]func(c chain, y *tensor.Tensor) (Activation, *tensor.Tensor){
		"none": func(_ chain, y *tensor.Tensor) (Activation, *tensor.Tensor) { return Activation{}, y },
	}
	lo, hi := tensor.Scalar[float32](-0.5), tensor.Scalar[float32](0.7)
	for _, f := range []struct {
		op     graph.Op
		limits []*tensor.Tensor
	}{
		{&Relu{}, nil},
		{&Clip{}, []*tensor.Tensor{lo, hi}},
		{&Clip{}, []*tensor.Tensor{nil, hi}},
		{&Gelu{}, nil},
		{&Gelu{Approximate: "tanh"}, nil},
		{&Sigmoid{}, nil},
		{&Tanh{}, nil},
		{&LeakyRelu{Alpha: 0.1}, nil},
		{&Swish{Alpha: 1}, nil},
	} {
		out[fmt.Sprintf("%s%d", f.op.Kind(), len(out))] = func(c chain, y *tensor.Tensor) (Activation, *tensor.Tensor) {
			in := append([]*tensor.Tensor{nil}, f.limits...)
			a, ok := NewActivation(f.op, in, func(i int) bool { return i < len(in) && in[i] != nil })
			if !ok {
				t.Fatalf("%s cannot be fused", f.op.Kind())
			}
			return a, c.run(f.op, append([]*tensor.Tensor{y}, f.limits...)...)
		}
	}
	return out
}

func TestNewActivation(t *testing.T) {
	limit := func(int) bool { return true }
	if _, ok := NewActivation(&Clip{}, []*tensor.Tensor{nil, nil, nil}, limit); ok {
		t.Error("a Clip whose limits are computed was fused")
	}
	if _, ok := NewActivation(&Add{}, []*tensor.Tensor{nil, nil}, limit); ok {
		t.Error("Add was taken for an activation")
	}
}

// TestPackedMatMul compares with MatMul and Gemm followed by Add and the activation. Sums may be ordered otherwise, so the
// comparison allows for rounding.
func TestPackedMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pool := kernel.NewPool(2)
	defer pool.Close()
	c := chain{t, &graph.Env{Pool: pool}}
	for name, activation := range activations(t) {
		for _, shape := range []tensor.Shape{{7}, {5, 7}, {2, 3, 7}, {0, 7}} {
			for _, trans := range []bool{false, true} {
				x, w, bias := randomFloats(r, shape...), randomFloats(r, 7, 9), randomFloats(r, 9)
				packed := w
				if trans {
					packed = c.run(&Transpose{}, w)
				}
				a, want := activation(c, c.run(&Add{}, c.run(&MatMul{}, x, w), bias))
				weight, err := NewMatMulWeight(packed, trans, nil)
				if err != nil {
					t.Fatal(err)
				}
				o, err := NewPackedMatMul(weight, 1, bias, false, a)
				if err != nil {
					t.Fatal(err)
				}
				if err := compareGolden(c.run(o, x), want, 1e-5); err != nil {
					t.Errorf("%s %v: %v", name, shape, err)
				}
				checkKinds(t, o, c.run(o, x), x)
			}
		}
	}
}

// TestResidual compares with an Add behind the product or convolution, of the same shape and of shapes that are broadcast.
func TestResidual(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	pool := kernel.NewPool(2)
	defer pool.Close()
	c := chain{t, &graph.Env{Pool: pool}}
	relu, _ := NewActivation(&Relu{}, nil, nil)
	x, w, bias := randomFloats(r, 2, 3, 7), randomFloats(r, 7, 9), randomFloats(r, 9)
	weight, err := NewMatMulWeight(w, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	codes, scale := randomBytes(r, tensor.Int8, 7, 9), tensor.Scalar[float32](0.01)
	quantWeight, err := NewQuantMatMulWeight(codes, false, scale, nil)
	if err != nil {
		t.Fatal(err)
	}
	product := c.run(&Add{}, c.run(&MatMul{}, x, w), bias)
	q := c.all(&DynamicQuantizeLinear{}, x)
	quantProduct := c.dequantized(c.run(&MatMulInteger{}, q[0], codes, q[2]), q[1], scale, bias)
	for _, shape := range []tensor.Shape{{2, 3, 9}, {3, 9}, {1, 1, 1}, {}, {2, 1, 9}, {4, 1, 3, 9}} {
		residual := randomFloats(r, shape...)
		o, err := NewPackedMatMul(weight, 1, bias, true, relu)
		if err != nil {
			t.Fatal(err)
		}
		got := c.run(o, x, residual)
		if err := compareGolden(got, c.run(&Relu{}, c.run(&Add{}, product, residual)), 1e-5); err != nil {
			t.Errorf("%v: %v", shape, err)
		}
		checkKinds(t, o, got, x, residual)
		d, err := NewDynamicQuantMatMul(quantWeight, bias, true, relu)
		if err != nil {
			t.Fatal(err)
		}
		want := c.run(&Relu{}, c.run(&Add{}, quantProduct, residual))
		sameBits(t, fmt.Sprint(shape), c.run(d, x, residual), want)
		sameBits(t, fmt.Sprint(shape), c.run(d, append(q, residual)...), want)
		checkKinds(t, d, want, x, residual)
	}
	conv := &Conv{Group: 1}
	image, kernels := randomFloats(r, 2, 3, 5, 5), randomFloats(r, 4, 3, 3, 3)
	for _, shape := range []tensor.Shape{{2, 4, 3, 3}, {4, 1, 1}, {1, 4, 3, 1}} {
		residual := randomFloats(r, shape...)
		o, err := NewPackedConv(conv, kernels, nil, true, relu, false)
		if err != nil {
			t.Fatal(err)
		}
		want := c.run(&Relu{}, c.run(&Add{}, c.run(conv, image, kernels), residual))
		if err := compareGolden(c.run(o, image, residual), want, 1e-5); err != nil {
			t.Errorf("%v: %v", shape, err)
		}
		checkKinds(t, o, want, image, residual)
	}
	o, err := NewPackedMatMul(weight, 1, bias, true, relu)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []*tensor.Tensor{randomFloats(r, 5), tensor.New(tensor.Float64, 9)} {
		if _, err := o.Eval(c.e, []*tensor.Tensor{x, bad}); err == nil {
			t.Errorf("accepts the residual %v", bad)
		}
	}
}

// TestDynamicQuantMatMul asserts equality with the chain, bit for bit.
func TestDynamicQuantMatMul(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	pool := kernel.NewPool(2)
	defer pool.Close()
	c := chain{t, &graph.Env{Pool: pool}}
	for name, activation := range activations(t) {
		for _, d := range []tensor.DType{tensor.Int8, tensor.Uint8} {
			for _, channels := range []int{1, 19} {
				x, w, bias := randomFloats(r, 2, 6, 33), randomBytes(r, d, 33, 19), randomFloats(r, 19)
				scale, zero := tensor.Vector(make([]float32, channels)...), randomBytes(r, d, channels)
				for i := range channels {
					tensor.Data[float32](scale)[i] = 0.001 + r.Float32()/50
				}
				q := c.all(&DynamicQuantizeLinear{}, x)
				y := c.dequantized(c.run(&MatMulInteger{}, q[0], w, q[2], zero), q[1], scale, bias)
				a, want := activation(c, y)
				weight, err := NewQuantMatMulWeight(w, false, scale, zero)
				if err != nil {
					t.Fatal(err)
				}
				o, err := NewDynamicQuantMatMul(weight, bias, false, a)
				if err != nil {
					t.Fatal(err)
				}
				sameBits(t, name, c.run(o, x), want)
				sameBits(t, name+" of codes", c.run(o, q...), want)
				checkKinds(t, o, want, x)
			}
		}
	}
}

// TestPackedConv compares with Conv, Add of a residual and the activation.
func TestPackedConv(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pool := kernel.NewPool(2)
	defer pool.Close()
	c := chain{t, &graph.Env{Pool: pool}}
	for name, activation := range activations(t) {
		for _, group := range []int{1, 2, 4} {
			for _, residual := range []bool{false, true} {
				conv := &Conv{Window{Strides: []int{1, 2}, Dilations: []int{2, 1}, Pads: []int{1, 1, 2, 1}}, group, false}
				x, w, bias := randomFloats(r, 2, 4, 7, 6), randomFloats(r, 8, 4/group, 3, 3), randomFloats(r, 8)
				y := c.run(conv, x, w, bias)
				in := []*tensor.Tensor{x}
				if residual {
					in = append(in, randomFloats(r, y.Shape...))
					y = c.run(&Add{}, y, in[1])
				}
				a, want := activation(c, y)
				o, err := NewPackedConv(conv, w, bias, residual, a, false)
				if err != nil {
					t.Fatal(err)
				}
				f := secondForm{o}
				if err := compareGolden(c.run(f, in...), want, 1e-5); err != nil {
					t.Errorf("%s group %d: %v", name, group, err)
				}
				checkKinds(t, f, want, in...)
			}
		}
	}
}

// TestDynamicQuantConv asserts equality with the chain, bit for bit.
func TestDynamicQuantConv(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pool := kernel.NewPool(2)
	defer pool.Close()
	c := chain{t, &graph.Env{Pool: pool}}
	for name, activation := range activations(t) {
		for _, group := range []int{1, 4} {
			for _, channels := range []int{1, 8} {
				for _, residual := range []bool{false, true} {
					conv := &ConvInteger{Window{Strides: []int{2, 1}, Pads: []int{1, 0, 1, 2}}, group}
					x, w, bias := randomFloats(r, 2, 4, 7, 6), randomBytes(r, tensor.Int8, 8, 4/group, 3, 3), randomFloats(r, 8)
					scale, zero := tensor.Vector(make([]float32, channels)...), randomBytes(r, tensor.Int8, channels)
					for i := range channels {
						tensor.Data[float32](scale)[i] = 0.001 + r.Float32()/50
					}
					q := c.all(&DynamicQuantizeLinear{}, x)
					perChannel := func(v *tensor.Tensor) *tensor.Tensor { return v.Reshape(1, v.Len(), 1, 1) }
					y := c.dequantized(c.run(&ConvInteger{conv.Window, group}, q[0], w, q[2], zero), q[1], perChannel(scale), perChannel(bias))
					in := []*tensor.Tensor{x}
					codes := q
					if residual {
						other := randomFloats(r, y.Shape...)
						in, codes = append(in, other), append(codes, other)
						y = c.run(&Add{}, y, other)
					}
					a, want := activation(c, y)
					o, err := NewDynamicQuantConv(conv, w, scale, zero, bias, residual, a)
					if err != nil {
						t.Fatal(err)
					}
					f := secondForm{o}
					sameBits(t, name, c.run(f, in...), want)
					sameBits(t, name+" of codes", c.run(f, codes...), want)
					checkKinds(t, f, want, in...)
				}
			}
		}
	}
}

// checkKinds checks that a lowered operator has no name that a file could give, and that it infers what it computes.
func checkKinds(t *testing.T, o graph.Op, want *tensor.Tensor, in ...*tensor.Tensor) {
	t.Helper()
	if _, ok := New(o.Kind()); ok {
		t.Errorf("%s can be made by name", o.Kind())
	}
	types := make([]graph.Type, len(in))
	for i, x := range in {
		types[i] = graph.TypeOf(x)
	}
	got, err := o.Infer(types)
	if err != nil {
		t.Fatalf("%s: %v", o.Kind(), err)
	}
	checkInferred(t, 0, got[0], want)
	if _, err := o.Eval(&graph.Env{}, []*tensor.Tensor{tensor.New(tensor.Float32, 2)}); err == nil {
		t.Errorf("%s: no error for an input of a wrong shape", o.Kind())
	}
}

// secondForm is a lowered operator on images [batch, channels, spatial...] whatever its own order is.
type secondForm struct{ ChannelsLast }

func (o secondForm) order(in []*tensor.Tensor, perm []int) []*tensor.Tensor {
	out := append([]*tensor.Tensor(nil), in...)
	for i, x := range in {
		if r := o.ImageRank(); r > 0 && x.Rank() == r {
			res, err := (&Transpose{Perm: perm}).Eval(nil, []*tensor.Tensor{x})
			if err != nil {
				panic(err)
			}
			out[i] = res[0]
		}
	}
	return out
}

func (o secondForm) Infer(in []graph.Type) ([]graph.Type, error) {
	last := o.ImageRank() > 0
	in = append([]graph.Type(nil), in...)
	for i, t := range in {
		if len(t.Dims) == o.ImageRank() {
			in[i].Const = nil
			in[i] = channelsBack(t, last)
		}
	}
	out, err := o.ChannelsLast.Infer(in)
	if err == nil {
		out[0] = channelsSecond(out[0], last)
	}
	return out, err
}

func (o secondForm) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out, err := o.ChannelsLast.Eval(e, o.order(in, []int{0, 2, 3, 1}))
	if err != nil {
		return nil, err
	}
	return o.order(out, []int{0, 3, 1, 2}), nil
}
