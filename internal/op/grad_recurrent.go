package op

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Gradients of recurrent layers go back through time: the states of every step are computed once more and kept, then the gradients of the
// pre-activations follow from the last step to the first (Werbos, "Backpropagation Through Time"). Computed in double precision.

// throughTime is one direction of a recurrent layer on its way back.
type throughTime struct {
	s                *sequence[float64]
	dir              int
	reverse          bool
	act              []activationPair // of the layer's functions
	w, r, wb, rb     []float64        // of the direction; biases nil where there are none
	dw, dr, dwb, drb []float64
	dx               []float64
	h, c             [][]float64 // states before each step, and after the last
	gates            [][]float64 // of each step, after their functions
	extra            [][]float64 // GRU: what the reset gate multiplies
	peephole, dPeep  []float64
}

// activationPair is a function and its derivative, found from the value.
type activationPair struct{ value, slope func(v float64) float64 }

func activationPairs(a *recurrent, dirs, perDir int) ([]activationPair, error) {
	if a.Clip != nil && *a.Clip > 0 {
		return nil, errors.New("there is no gradient of clip")
	}
	names := a.Activations
	if len(names) == 0 {
		names = []string{"Tanh"}
		if perDir > 1 {
			names = []string{"Sigmoid", "Tanh", "Tanh"}[:perDir]
		}
		if dirs == 2 {
			names = append(names[:len(names):len(names)], names...)
		}
	}
	out := make([]activationPair, 0, dirs*perDir)
	for _, n := range names[:dirs*perDir] {
		switch strings.ToLower(n) {
		case "sigmoid":
			out = append(out, activationPair{logistic, func(y float64) float64 { return y * (1 - y) }})
		case "tanh":
			out = append(out, activationPair{math.Tanh, func(y float64) float64 { return 1 - y*y }})
		case "relu":
			out = append(out, activationPair{func(x float64) float64 { return max(x, 0) }, func(y float64) float64 {
				if y > 0 {
					return 1
				}
				return 0
			}})
		default:
			return nil, fmt.Errorf("there is no gradient of activation %s", n)
		}
	}
	return out, nil
}

// recurrentGrad is Backward of all recurrent layers: forward and back compute one direction.
func recurrentGrad(e *graph.Env, a *recurrent, in, dOut []*tensor.Tensor, gates, perDir int, forward func(t *throughTime), back func(t *throughTime, dh, dc []float64)) ([]*tensor.Tensor, error) {
	d := dOut[0]
	for _, t := range dOut {
		if t != nil {
			d = t
		}
	}
	wide := make([]*tensor.Tensor, len(in))
	for i, t := range in {
		if t != nil && t.DType.IsFloat() {
			v, err := t.Float64s()
			if err != nil {
				return nil, err
			}
			t = tensor.Of(t.Shape, v)
		}
		wide[i] = t
	}
	s, err := newSequence[float64](&graph.Env{Pool: e.Workers()}, a, wide, gates, perDir)
	if err != nil {
		return nil, err
	}
	pairs, err := activationPairs(a, s.dirs, perDir)
	if err != nil {
		return nil, err
	}
	grads := make([][]float64, len(in))
	of := func(i int) []float64 {
		if arg(in, i) == nil {
			return nil
		}
		if grads[i] == nil {
			grads[i] = make([]float64, in[i].Len())
		}
		return grads[i]
	}
	var dY, dH, dC []float64
	for k, to := range []*[]float64{&dY, &dH, &dC} {
		if g := arg(dOut, k); g != nil {
			if *to, err = floatsOf(g); err != nil {
				return nil, err
			}
		}
	}
	n, gh := s.hidden, s.gates*s.hidden
	for dir := range s.dirs {
		t := &throughTime{
			s: s, dir: dir, reverse: s.reverse || dir == 1, act: pairs[dir*perDir : (dir+1)*perDir], w: s.w[dir*gh*s.input:][:gh*s.input], r: s.r[dir*gh*n:][:gh*n],
			dw: of(1)[dir*gh*s.input:][:gh*s.input], dr: of(2)[dir*gh*n:][:gh*n], dx: of(0),
		}
		if s.bias != nil {
			t.wb, t.rb = s.bias[dir*2*gh:][:gh], s.bias[dir*2*gh+gh:][:gh]
			t.dwb, t.drb = of(3)[dir*2*gh:][:gh], of(3)[dir*2*gh+gh:][:gh]
		}
		if s.peephole != nil {
			t.peephole, t.dPeep = s.peephole[dir*3*n:][:3*n], of(7)[dir*3*n:][:3*n]
		}
		t.start()
		for range s.steps {
			forward(t)
		}
		dh, dc := make([]float64, s.batch*n), make([]float64, s.batch*n)
		for step := s.steps - 1; step >= 0; step-- {
			t.gates = t.gates[:step+1]
			for b, l := range s.lens {
				at := s.stateRow(dir, b) * n
				row := s.outRow(t.row(step, b), dir) * n
				for i := range n {
					switch {
					case step >= l:
						dh[b*n+i], dc[b*n+i] = 0, 0
						continue
					case step == l-1:
						dh[b*n+i], dc[b*n+i] = 0, 0
						if dH != nil {
							dh[b*n+i] = dH[at+i]
						}
						if dC != nil {
							dc[b*n+i] = dC[at+i]
						}
					}
					if dY != nil {
						dh[b*n+i] += dY[row+i]
					}
				}
			}
			back(t, dh, dc)
		}
		for k, g := range [][]float64{dh, dc} {
			if to := of(5 + k); to != nil {
				for b := range s.batch {
					copy(to[s.stateRow(dir, b)*n:][:n], g[b*n:(b+1)*n])
				}
			}
		}
	}
	out := make([]*tensor.Tensor, len(in))
	for i, g := range grads {
		if g != nil && e.Wants(i) {
			out[i] = e.New(d.DType, in[i].Shape...)
			setFloats(out[i], func(k int) float64 { return g[k] })
		}
	}
	return out, nil
}

// row returns the row of X of a step, in the direction's order, and a sample.
func (t *throughTime) row(step, b int) int {
	if t.reverse && step < t.s.lens[b] {
		return t.s.row(t.s.lens[b]-1-step, b)
	}
	return t.s.row(step, b)
}

// start sets the first states.
func (t *throughTime) start() {
	s := t.s
	h, c := make([]float64, s.batch*s.hidden), make([]float64, s.batch*s.hidden)
	for b := range s.batch {
		at := s.stateRow(t.dir, b) * s.hidden
		if s.h0 != nil {
			copy(h[b*s.hidden:(b+1)*s.hidden], s.h0[at:])
		}
		if s.c0 != nil {
			copy(c[b*s.hidden:(b+1)*s.hidden], s.c0[at:])
		}
	}
	t.h, t.c = [][]float64{h}, [][]float64{c}
}

// inputs gathers the rows of X of a step.
func (t *throughTime) inputs(step int) []float64 {
	s := t.s
	x := make([]float64, s.batch*s.input)
	for b := range s.batch {
		copy(x[b*s.input:(b+1)*s.input], s.x[t.row(step, b)*s.input:])
	}
	return x
}

// project returns the input projection of the step that is next, with biases.
func (t *throughTime) project(recurrentBias bool) []float64 {
	s := t.s
	gh := s.gates * s.hidden
	a := make([]float64, s.batch*gh)
	for b := range s.batch {
		for i := range t.wb {
			a[b*gh+i] = t.wb[i]
			if recurrentBias {
				a[b*gh+i] += t.rb[i]
			}
		}
	}
	kernel.GemmF64(s.e.Workers(), false, true, s.batch, gh, s.input, 1, t.inputs(len(t.gates)), max(s.input, 1), t.w, max(s.input, 1), 1, a, gh)
	return a
}

// recur adds x [batch, hidden] times the transpose of rows [lo, hi) of R, in units of hidden, to the columns of a from column at on.
func (t *throughTime) recur(a []float64, at, lda int, x []float64, lo, hi int) {
	n := t.s.hidden
	kernel.GemmF64(t.s.e.Workers(), false, true, t.s.batch, (hi-lo)*n, n, 1, x, n, t.r[lo*n*n:], n, 1, a[at:], lda)
}

// finish adds what the gradients da of the pre-activations of the last step give to W, X and the bias of the input.
func (t *throughTime) finish(da []float64) {
	s := t.s
	gh, step := s.gates*s.hidden, len(t.gates)-1
	x := t.inputs(step)
	kernel.GemmF64(s.e.Workers(), true, false, gh, s.input, s.batch, 1, da, gh, x, max(s.input, 1), 1, t.dw, max(s.input, 1))
	kernel.GemmF64(s.e.Workers(), false, false, s.batch, s.input, gh, 1, da, gh, t.w, max(s.input, 1), 0, x, max(s.input, 1))
	for b := range s.batch {
		to := t.dx[t.row(step, b)*s.input:][:s.input]
		for i := range to {
			to[i] += x[b*s.input+i]
		}
		for i := range t.dwb {
			t.dwb[i] += da[b*gh+i]
		}
	}
}

// recurBack adds what da gives to rows [lo, hi) of R, which multiplied x, and returns what it gives to x.
func (t *throughTime) recurBack(da []float64, at int, x []float64, lo, hi int, dx []float64) {
	s := t.s
	n, gh := s.hidden, s.gates*s.hidden
	kernel.GemmF64(s.e.Workers(), true, false, (hi-lo)*n, n, s.batch, 1, da[at:], gh, x, n, 1, t.dr[lo*n*n:], n)
	kernel.GemmF64(s.e.Workers(), false, false, s.batch, n, (hi-lo)*n, 1, da[at:], gh, t.r[lo*n*n:], n, 1, dx, n)
}

// Backward implements [graph.Differentiable].
func (o *RNN) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return recurrentGrad(e, &o.recurrent, in, dOut, 1, 1, func(t *throughTime) {
		h := t.h[len(t.gates)]
		a := t.project(true)
		t.recur(a, 0, t.s.hidden, h, 0, 1)
		for i, v := range a {
			a[i] = t.act[0].value(v)
		}
		t.gates, t.h, t.c = append(t.gates, a), append(t.h, a), append(t.c, nil)
	}, func(t *throughTime, dh, _ []float64) {
		step := len(t.gates) - 1
		da := make([]float64, len(dh))
		for i, g := range dh {
			da[i] = g * t.act[0].slope(t.gates[step][i])
		}
		t.finish(da)
		t.addRecurrentBias(da)
		clear(dh)
		t.recurBack(da, 0, t.h[step], 0, 1, dh)
	})
}

func (t *throughTime) addRecurrentBias(da []float64) {
	if t.drb == nil {
		return
	}
	for i, v := range da {
		t.drb[i%len(t.drb)] += v
	}
}

// Backward implements [graph.Differentiable].
func (o *LSTM) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if o.InputForget {
		return nil, errors.New("there is no gradient of input_forget")
	}
	return recurrentGrad(e, &o.recurrent, in, dOut, 4, 3, func(t *throughTime) {
		n := t.s.hidden
		step := len(t.gates)
		a := t.project(true)
		t.recur(a, 0, 4*n, t.h[step], 0, 4)
		old := t.c[step]
		c, h := make([]float64, len(old)), make([]float64, len(old))
		for k := range old {
			b, i := k/n, k%n
			g := a[b*4*n:]
			var pi, po, pf float64
			if t.peephole != nil {
				pi, po, pf = t.peephole[i], t.peephole[n+i], t.peephole[2*n+i]
			}
			g[i] = t.act[0].value(g[i] + pi*old[k])
			g[2*n+i] = t.act[0].value(g[2*n+i] + pf*old[k])
			g[3*n+i] = t.act[1].value(g[3*n+i])
			c[k] = g[2*n+i]*old[k] + g[i]*g[3*n+i]
			g[n+i] = t.act[0].value(g[n+i] + po*c[k])
			h[k] = g[n+i] * t.act[2].value(c[k])
		}
		t.gates, t.h, t.c = append(t.gates, a), append(t.h, h), append(t.c, c)
	}, func(t *throughTime, dh, dc []float64) {
		n := t.s.hidden
		step := len(t.gates) - 1
		old, now := t.c[step], t.c[step+1]
		da := make([]float64, 4*len(dh))
		for k, g := range dh {
			b, i := k/n, k%n
			v, d := t.gates[step][b*4*n:], da[b*4*n:]
			y := t.act[2].value(now[k])
			d[n+i] = g * y * t.act[0].slope(v[n+i])
			cell := dc[k] + g*v[n+i]*t.act[2].slope(y)
			if t.peephole != nil {
				cell += d[n+i] * t.peephole[n+i]
				t.dPeep[n+i] += d[n+i] * now[k]
			}
			d[i] = cell * v[3*n+i] * t.act[0].slope(v[i])
			d[2*n+i] = cell * old[k] * t.act[0].slope(v[2*n+i])
			d[3*n+i] = cell * v[i] * t.act[1].slope(v[3*n+i])
			dc[k] = cell * v[2*n+i]
			if t.peephole != nil {
				dc[k] += d[i]*t.peephole[i] + d[2*n+i]*t.peephole[2*n+i]
				t.dPeep[i] += d[i] * old[k]
				t.dPeep[2*n+i] += d[2*n+i] * old[k]
			}
		}
		t.finish(da)
		t.addRecurrentBias(da)
		clear(dh)
		t.recurBack(da, 0, t.h[step], 0, 4, dh)
	})
}

// Backward implements [graph.Differentiable].
func (o *GRU) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return recurrentGrad(e, &o.recurrent, in, dOut, 3, 2, func(t *throughTime) {
		n := t.s.hidden
		step := len(t.gates)
		old := t.h[step]
		a := t.project(false)
		for b := range t.s.batch {
			for i := range t.rb {
				if i < 2*n || !o.LinearBeforeReset {
					a[b*3*n+i] += t.rb[i]
				}
			}
		}
		t.recur(a, 0, 3*n, old, 0, 2)
		reset, h := make([]float64, len(old)), make([]float64, len(old))
		for k := range old {
			g := a[k/n*3*n:]
			i := k % n
			g[i], g[n+i] = t.act[0].value(g[i]), t.act[0].value(g[n+i])
			reset[k] = g[n+i] * old[k]
			if o.LinearBeforeReset {
				reset[k] = 0
				if t.rb != nil {
					reset[k] = t.rb[2*n+i]
				}
			}
		}
		if o.LinearBeforeReset { // the product with R, which the gate multiplies
			t.recur(reset, 0, n, old, 2, 3)
			for k := range old {
				a[k/n*3*n+2*n+k%n] += a[k/n*3*n+n+k%n] * reset[k]
			}
		} else {
			t.recur(a, 2*n, 3*n, reset, 2, 3)
		}
		for k := range old {
			g := a[k/n*3*n:]
			i := k % n
			g[2*n+i] = t.act[1].value(g[2*n+i])
			h[k] = (1-g[i])*g[2*n+i] + g[i]*old[k]
		}
		t.gates, t.h, t.c, t.extra = append(t.gates, a), append(t.h, h), append(t.c, nil), append(t.extra, reset)
	}, func(t *throughTime, dh, _ []float64) {
		n := t.s.hidden
		step := len(t.gates) - 1
		old, extra := t.h[step], t.extra[step]
		da, prev := make([]float64, 3*len(dh)), make([]float64, len(dh))
		for k, g := range dh {
			v, d := t.gates[step][k/n*3*n:], da[k/n*3*n:]
			i := k % n
			d[i] = g * (old[k] - v[2*n+i]) * t.act[0].slope(v[i])
			d[2*n+i] = g * (1 - v[i]) * t.act[1].slope(v[2*n+i])
			prev[k] = g * v[i]
		}
		product := make([]float64, len(dh)) // of what the last rows of R are multiplied with
		if o.LinearBeforeReset {
			inner := make([]float64, 3*len(dh)) // the gradient of the product and its bias
			for k := range dh {
				v, d := t.gates[step][k/n*3*n:], da[k/n*3*n:]
				i := k % n
				d[n+i] = d[2*n+i] * extra[k] * t.act[0].slope(v[n+i])
				inner[k/n*3*n+2*n+i] = d[2*n+i] * v[n+i]
				if t.drb != nil {
					t.drb[2*n+i] += d[2*n+i] * v[n+i]
				}
			}
			t.recurBack(inner, 2*n, old, 2, 3, prev)
		} else {
			t.recurBack(da, 2*n, extra, 2, 3, product)
			for k := range dh {
				v, d := t.gates[step][k/n*3*n:], da[k/n*3*n:]
				i := k % n
				d[n+i] = product[k] * old[k] * t.act[0].slope(v[n+i])
				prev[k] += product[k] * v[n+i]
				if t.drb != nil {
					t.drb[2*n+i] += d[2*n+i]
				}
			}
		}
		for k := range dh {
			for _, i := range []int{k % n, n + k%n} {
				if t.drb != nil {
					t.drb[i] += da[k/n*3*n+i]
				}
			}
		}
		t.finish(da)
		t.recurBack(da, 0, old, 0, 2, prev)
		copy(dh, prev)
	})
}
