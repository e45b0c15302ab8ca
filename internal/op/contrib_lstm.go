package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// DynamicQuantizeLSTM is com.microsoft.DynamicQuantizeLSTM: the ONNX operator LSTM with 8-bit weights. Inputs are X, W [directions, input,
// 4*hidden], R [directions, hidden, 4*hidden] (both transposed against LSTM), B, sequence_lens, initial_h, initial_c, P, W_scale,
// W_zero_point, R_scale, R_zero_point; scales and zero points are [directions] or [directions, 4*hidden].
//
// Activations are quantized to uint8 by the rule of DynamicQuantizeLinear: X once for all steps, the hidden state anew in each
// step over the whole batch. (ONNX Runtime may split the batch between threads and then quantizes each part by itself.)
type DynamicQuantizeLSTM struct {
	recurrent
	InputForget bool `attr:"input_forget,0"`
}

func (*DynamicQuantizeLSTM) Kind() string { return "com.microsoft.DynamicQuantizeLSTM" }

func (o *DynamicQuantizeLSTM) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 12, 12); err != nil {
		return nil, err
	}
	if err := dtypes(tensor.Float32).check(0, in[0].DType); err != nil {
		return nil, err
	}
	// As LSTM, with W and R transposed.
	swapped := append([]graph.Type{}, in[:8]...)
	for i := 1; i <= 2; i++ {
		if err := bytes8.check(i, in[i].DType); err != nil {
			return nil, err
		}
		if d := in[i].Dims; in[i].Ranked && len(d) == 3 {
			swapped[i].Dims = []graph.Dim{d[0], d[2], d[1]}
		}
	}
	return o.infer(swapped, 4, 2)
}

func (o *DynamicQuantizeLSTM) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	given := append([]*tensor.Tensor{}, in...)
	for i := 3; i < min(8, len(given)); i++ {
		if given[i] == nil {
			given[i] = &tensor.Tensor{}
		}
	}
	if err := want(given, 12, 12); err != nil {
		return nil, err
	}
	in, err := dense(in)
	if err != nil {
		return nil, err
	}
	x, w, r := in[0], in[1], in[2]
	if x.DType != tensor.Float32 || x.Rank() != 3 || w.Rank() != 3 || r.Rank() != 3 || o.Layout != 0 {
		return nil, fmt.Errorf("want X float32 and W and R of 3 dimensions with layout 0, got %v, %v and %v", x, w, r)
	}
	dirs, err := o.directions()
	if err != nil {
		return nil, err
	}
	s := &sequence[float32]{
		e: e, steps: x.Shape[0], batch: x.Shape[1], input: x.Shape[2], dirs: dirs, hidden: r.Shape[1], gates: 4,
		reverse: o.Direction == "reverse", x: tensor.Data[float32](x),
	}
	gh, state := 4*s.hidden, tensor.Shape{dirs, s.batch, s.hidden}
	if !w.Shape.Equal(tensor.Shape{dirs, s.input, gh}) || !r.Shape.Equal(tensor.Shape{dirs, s.hidden, gh}) {
		return nil, fmt.Errorf("W and R: want [%d, %d, %d] and [%d, %d, %d], got %v and %v", dirs, s.input, gh, dirs, s.hidden, gh, w, r)
	}
	if o.Clip != nil {
		s.clip = *o.Clip
	}
	for _, c := range []struct {
		name  string
		t     *tensor.Tensor
		shape tensor.Shape
		to    *[]float32
	}{
		{"B", in[3], tensor.Shape{dirs, 2 * gh}, &s.bias},
		{"initial_h", in[5], state, &s.h0},
		{"initial_c", in[6], state, &s.c0},
		{"P", in[7], tensor.Shape{dirs, 3 * s.hidden}, &s.peephole},
	} {
		if c.t == nil {
			continue
		}
		if !c.t.Shape.Equal(c.shape) {
			return nil, fmt.Errorf("%s: want shape %v, got %v", c.name, c.shape, c.t.Shape)
		}
		if *c.to, err = realData[float32](c.t); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if s.lens, err = sequenceLens(in[4], s.batch, s.steps); err != nil {
		return nil, err
	}
	if s.activations, err = cellActivations[float32](&o.recurrent, dirs, 3); err != nil {
		return nil, err
	}
	wp, err := newGateWeights("W", w, in[8], in[9])
	if err != nil {
		return nil, err
	}
	rp, err := newGateWeights("R", r, in[10], in[11])
	if err != nil {
		return nil, err
	}
	s.y, s.yTensor = realOutput[float32](e, x.DType, []int{s.steps, dirs, s.batch, s.hidden})
	s.hFinal, s.hFinalTensor = realOutput[float32](e, x.DType, state)
	s.cFinal, s.cFinalTensor = realOutput[float32](e, x.DType, state)

	codes := make([]byte, len(s.x))
	scale, zero := dynamicQuantize(e, codes, s.x)
	for d := range dirs {
		n := s.hidden
		c := &lstmCell[float32]{
			s: s, f: s.activations[3*d], g: s.activations[3*d+1], h: s.activations[3*d+2],
			inputForget: o.InputForget, linear: s.linearBias(d), squashed: make([]float32, s.batch*n), product: rp[d].recurrence(s),
		}
		if s.peephole != nil {
			p := s.peephole[d*3*n:]
			c.peepI, c.peepO, c.peepF = p[:n], p[n:2*n], p[2*n:3*n]
		}
		proj := make([]float32, s.steps*s.batch*gh)
		kernel.GemmInt8F32(e.Workers(), s.steps*s.batch, gh, s.input, codes, max(s.input, 1), false, []int32{zero}, []float32{scale},
			wp[d].packed, wp[d].scale, c.linear, nil, proj, gh)
		s.pass(d, c, proj)
	}
	return []*tensor.Tensor{s.yTensor(), s.hFinalTensor(), s.cFinalTensor()}, nil
}

// gateWeights is the packed weight [rows, 4*hidden] of one direction.
type gateWeights struct {
	packed *kernel.PackedInt8
	scale  []float32
}

// newGateWeights packs the weights of all directions.
func newGateWeights(name string, t, scale, zero *tensor.Tensor) ([]gateWeights, error) {
	if !bytes8.has(t.DType) || zero.DType != t.DType {
		return nil, fmt.Errorf("%s: want int8 or uint8 and a zero point alike, got %v and %v", name, t, zero)
	}
	dirs, rows, cols := t.Shape[0], t.Shape[1], t.Shape[2]
	s, err := scale.Floats()
	if err != nil {
		return nil, fmt.Errorf("%s scale: %w", name, err)
	}
	per := 1
	if dirs > 0 {
		per = len(s) / dirs
	}
	if len(s) != dirs*per || per != 1 && per != cols {
		return nil, fmt.Errorf("%s scale: want [%d] or [%d, %d], got shape %v", name, dirs, dirs, cols, scale.Shape)
	}
	z, err := zeroPoints(zero, len(s))
	if err != nil {
		return nil, fmt.Errorf("%s %w", name, err)
	}
	out := make([]gateWeights, dirs)
	for d := range out {
		out[d] = gateWeights{
			packed: kernel.PackInt8(rows, cols, t.Bytes()[d*rows*cols:(d+1)*rows*cols], max(cols, 1), t.DType == tensor.Int8, false, z[d*per:(d+1)*per]),
			scale:  s[d*per : (d+1)*per],
		}
	}
	return out, nil
}

// recurrence returns the function that quantizes the hidden state x [batch, hidden] and adds its product with the weights to dst.
func (g gateWeights) recurrence(s *sequence[float32]) func(dst []float32, ldd int, x []float32) {
	n := 4 * s.hidden
	codes, sum := make([]byte, s.batch*s.hidden), make([]float32, s.batch*n)
	step, live := 0, make([]float32, s.batch*s.hidden)
	return func(dst []float32, ldd int, x []float32) {
		// What a sample computes after its end must not widen the range of the others: its state counts as 0.
		for b, l := range s.lens {
			if row := live[b*s.hidden : (b+1)*s.hidden]; step > l {
				clear(row)
			} else {
				copy(row, x[b*s.hidden:])
			}
		}
		step++
		scale, zero := dynamicQuantize(s.e, codes, live)
		kernel.GemmInt8F32(s.e.Workers(), s.batch, n, s.hidden, codes, max(s.hidden, 1), false, []int32{zero}, []float32{scale},
			g.packed, g.scale, nil, nil, sum, max(n, 1))
		for b := range s.batch {
			kernel.Add(dst[b*ldd:b*ldd+n], dst[b*ldd:b*ldd+n], sum[b*n:(b+1)*n])
		}
	}
}
