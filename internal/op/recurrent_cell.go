package op

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// RNN is the ONNX operator RNN: H' = f(X*Wᵀ + H*Rᵀ + Wb + Rb).
type RNN struct{ recurrent }

func (*RNN) Kind() string { return "RNN" }

func (o *RNN) Infer(in []graph.Type) ([]graph.Type, error) { return o.infer(in, 1, 1) }

func (o *RNN) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalRNN[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalRNN[float64](e, o, in) })
}

func evalRNN[T float32 | float64](e *graph.Env, o *RNN, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	s, err := newSequence[T](e, &o.recurrent, in, 1, 1)
	if err != nil {
		return nil, err
	}
	s.run(func(dir int) cell[T] {
		return &rnnCell[T]{s: s, linear: s.linearBias(dir), f: s.activations[dir], product: s.recurrence(dir, 0, s.hidden)}
	})
	return []*tensor.Tensor{s.yTensor(), s.hFinalTensor()}, nil
}

type rnnCell[T float32 | float64] struct {
	s       *sequence[T]
	linear  []T
	f       func([]T)
	product func(dst []T, ldd int, x []T)
}

func (c *rnnCell[T]) bias() []T { return c.linear }

func (c *rnnCell[T]) step(gates, h, _ []T) {
	c.product(gates, c.s.hidden, h)
	c.s.clipRow(gates)
	c.f(gates)
	copy(h, gates)
}

// GRU is the ONNX operator GRU. Gates are stored in the order update (z), reset (r), hidden (h).
type GRU struct {
	recurrent
	// LinearBeforeReset applies the reset gate to the recurrent product (and its bias) instead of to its input.
	LinearBeforeReset bool `attr:"linear_before_reset,0"`
}

func (*GRU) Kind() string { return "GRU" }

func (o *GRU) Infer(in []graph.Type) ([]graph.Type, error) { return o.infer(in, 3, 1) }

func (o *GRU) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalGRU[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalGRU[float64](e, o, in) })
}

func evalGRU[T float32 | float64](e *graph.Env, o *GRU, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	s, err := newSequence[T](e, &o.recurrent, in, 3, 2)
	if err != nil {
		return nil, err
	}
	s.run(func(dir int) cell[T] {
		n := s.hidden
		c := &gruCell[T]{
			s: s, f: s.activations[2*dir], g: s.activations[2*dir+1], linearBeforeReset: o.LinearBeforeReset,
			linear: s.linearBias(dir), candidate: make([]T, s.batch*n), productZR: s.recurrence(dir, 0, 2*n), productH: s.recurrence(dir, 2*n, 3*n),
		}
		if s.bias != nil && o.LinearBeforeReset {
			b := s.bias[dir*6*n:]
			copy(c.linear[2*n:], b[2*n:3*n])
			c.hiddenBias = b[5*n : 6*n]
		}
		return c
	})
	return []*tensor.Tensor{s.yTensor(), s.hFinalTensor()}, nil
}

type gruCell[T float32 | float64] struct {
	s                   *sequence[T]
	f, g                func([]T)
	linearBeforeReset   bool
	linear, hiddenBias  []T // hiddenBias is the recurrent bias of the hidden gate where the reset gate scales it
	candidate           []T
	productZR, productH func(dst []T, ldd int, x []T)
}

func (c *gruCell[T]) bias() []T { return c.linear }

func (c *gruCell[T]) step(gates, h, _ []T) {
	s, n := c.s, c.s.hidden
	grain := max(1, 4096/(3*n+1))
	c.productZR(gates, 3*n, h)
	if c.linearBeforeReset {
		clear(c.candidate)
		if c.hiddenBias != nil {
			for b := range s.batch {
				copy(c.candidate[b*n:(b+1)*n], c.hiddenBias)
			}
		}
		c.productH(c.candidate, n, h)
	}
	s.e.For(s.batch, grain, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			zr, cand := gates[b*3*n:][:2*n], c.candidate[b*n:][:n]
			s.clipRow(zr)
			c.f(zr)
			for i, r := range zr[n:] {
				if c.linearBeforeReset {
					cand[i] = gates[b*3*n+2*n+i] + r*cand[i]
				} else {
					cand[i] = r * h[b*n+i]
				}
			}
		}
	})
	if !c.linearBeforeReset {
		// The product is added to the projection, which is then the candidate's input.
		c.productH(gates[2*n:], 3*n, c.candidate)
		for b := range s.batch {
			copy(c.candidate[b*n:(b+1)*n], gates[b*3*n+2*n:])
		}
	}
	s.e.For(s.batch, grain, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			z, cand, hb := gates[b*3*n:][:n], c.candidate[b*n:][:n], h[b*n:][:n]
			s.clipRow(cand)
			c.g(cand)
			for i := range hb {
				hb[i] = (1-z[i])*cand[i] + z[i]*hb[i]
			}
		}
	})
}

// LSTM is the ONNX operator LSTM with peepholes. Gates are stored in the order input, output, forget, cell.
type LSTM struct {
	recurrent
	// InputForget couples the gates: forget = 1 - input.
	InputForget bool `attr:"input_forget,0"`
}

func (*LSTM) Kind() string { return "LSTM" }

func (o *LSTM) Infer(in []graph.Type) ([]graph.Type, error) { return o.infer(in, 4, 2) }

func (o *LSTM) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return byReal(in,
		func() ([]*tensor.Tensor, error) { return evalLSTM[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return evalLSTM[float64](e, o, in) })
}

func evalLSTM[T float32 | float64](e *graph.Env, o *LSTM, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	s, err := newSequence[T](e, &o.recurrent, in, 4, 3)
	if err != nil {
		return nil, err
	}
	s.run(func(dir int) cell[T] {
		n := s.hidden
		c := &lstmCell[T]{
			s: s, f: s.activations[3*dir], g: s.activations[3*dir+1], h: s.activations[3*dir+2],
			inputForget: o.InputForget, linear: s.linearBias(dir), squashed: make([]T, s.batch*n), product: s.recurrence(dir, 0, 4*n),
		}
		if s.peephole != nil {
			p := s.peephole[dir*3*n:]
			c.peepI, c.peepO, c.peepF = p[:n], p[n:2*n], p[2*n:3*n]
		}
		return c
	})
	return []*tensor.Tensor{s.yTensor(), s.hFinalTensor(), s.cFinalTensor()}, nil
}

type lstmCell[T float32 | float64] struct {
	s                   *sequence[T]
	f, g, h             func([]T)
	inputForget         bool
	linear              []T
	peepI, peepO, peepF []T // nil: no peepholes
	squashed            []T // h of the cell state
	product             func(dst []T, ldd int, x []T)
}

func (c *lstmCell[T]) bias() []T { return c.linear }

func (c *lstmCell[T]) step(gates, h, state []T) {
	s, n := c.s, c.s.hidden
	c.product(gates, 4*n, h)
	s.e.For(s.batch, max(1, 4096/(4*n+1)), func(lo, hi int) {
		for b := lo; b < hi; b++ {
			row, cs, sq := gates[b*4*n:][:4*n], state[b*n:][:n], c.squashed[b*n:][:n]
			in, out, forget, cand := row[:n], row[n:2*n], row[2*n:3*n], row[3*n:]
			if c.peepI != nil {
				for i, v := range cs {
					in[i] += c.peepI[i] * v
					forget[i] += c.peepF[i] * v
				}
			}
			s.clipRow(in)
			s.clipRow(row[2*n:])
			c.f(in)
			if c.inputForget {
				for i, v := range in {
					forget[i] = 1 - v
				}
			} else {
				c.f(forget)
			}
			c.g(cand)
			for i := range cs {
				cs[i] = forget[i]*cs[i] + in[i]*cand[i]
			}
			if c.peepO != nil {
				for i, v := range cs {
					out[i] += c.peepO[i] * v
				}
			}
			s.clipRow(out)
			c.f(out)
			copy(sq, cs)
			c.h(sq)
			for i, v := range sq {
				h[b*n+i] = out[i] * v
			}
		}
	})
}
