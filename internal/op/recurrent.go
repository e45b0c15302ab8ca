package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

var recurrentOps = table{
	"RNN":  fresh[RNN],
	"GRU":  fresh[GRU],
	"LSTM": fresh[LSTM],
}

// recurrent holds the attributes that RNN, GRU and LSTM share.
type recurrent struct {
	Activations     []string  `attr:"activations"`
	ActivationAlpha []float32 `attr:"activation_alpha"`
	ActivationBeta  []float32 `attr:"activation_beta"`
	Clip            *float32  `attr:"clip"`
	Direction       string    `attr:"direction,forward"`
	HiddenSize      *int      `attr:"hidden_size"`
	// Layout 0 is X [steps, batch, input] and Y [steps, directions, batch, hidden]; 1 is batch first.
	Layout int `attr:"layout,0"`
}

// directions returns the number of passes over the sequence.
func (a *recurrent) directions() (int, error) {
	switch a.Direction {
	case "forward", "reverse":
		return 1, nil
	case "bidirectional":
		return 2, nil
	}
	return 0, fmt.Errorf("direction: want forward, reverse or bidirectional, got %q", a.Direction)
}

// infer returns the types of Y and of states final states.
func (a *recurrent) infer(in []graph.Type, gates, states int) ([]graph.Type, error) {
	if err := want(in, 3, 8); err != nil {
		return nil, err
	}
	if err := floats.check(0, in[0].DType); err != nil {
		return nil, err
	}
	dirs, err := a.directions()
	if err != nil {
		return nil, err
	}
	if a.Layout != 0 && a.Layout != 1 {
		return nil, fmt.Errorf("layout: want 0 or 1, got %d", a.Layout)
	}
	for i, name := range []string{"X", "W", "R"} {
		if in[i].Ranked && len(in[i].Dims) != 3 {
			return nil, fmt.Errorf("%s: want 3 dimensions, got %v", name, in[i])
		}
	}
	steps, batch, hidden := graph.Unknown, graph.Unknown, graph.Unknown
	if x := in[0]; x.Ranked {
		steps, batch = x.Dims[0], x.Dims[1]
		if a.Layout == 1 {
			steps, batch = batch, steps
		}
	}
	if a.HiddenSize != nil {
		hidden = graph.Known(*a.HiddenSize)
	}
	if r := in[2]; r.Ranked && r.Dims[2].IsKnown() {
		if hidden.IsKnown() && hidden.Size != r.Dims[2].Size {
			return nil, fmt.Errorf("R: want %d columns (hidden_size), got %v", hidden.Size, r)
		}
		hidden = r.Dims[2]
	}
	for i, name := range []string{"X", "W", "R"}[1:] {
		t := in[i+1]
		if t.Ranked && t.Dims[0].IsKnown() && t.Dims[0].Size != dirs {
			return nil, fmt.Errorf("%s: want %d directions, got %v", name, dirs, t)
		}
		if t.Ranked && t.Dims[1].IsKnown() && hidden.IsKnown() && t.Dims[1].Size != gates*hidden.Size {
			return nil, fmt.Errorf("%s: want %d rows, got %v", name, gates*hidden.Size, t)
		}
	}
	y := graph.Ranked(in[0].DType, steps, graph.Known(dirs), batch, hidden)
	final := graph.Ranked(in[0].DType, graph.Known(dirs), batch, hidden)
	if a.Layout == 1 {
		y = graph.Ranked(in[0].DType, batch, steps, graph.Known(dirs), hidden)
		final = graph.Ranked(in[0].DType, batch, graph.Known(dirs), hidden)
	}
	out := []graph.Type{y}
	for range states {
		out = append(out, final)
	}
	return out, nil
}

// sequence is one evaluation of a recurrent operator: its sizes, inputs and outputs as plain slices. Rows of x, proj and y
// are numbered by [sequence.row].
type sequence[T float32 | float64] struct {
	e                                   *graph.Env
	layout, steps, batch, input, dirs   int
	hidden, gates                       int
	reverse                             bool  // the only direction is reverse
	lens                                []int // tokens of each sample
	clip                                T     // 0: none
	x, w, r, bias, h0, c0, peephole     []T
	activations                         []func([]T) // of all directions, in order
	y, hFinal, cFinal                   []T
	yTensor, hFinalTensor, cFinalTensor func() *tensor.Tensor
}

// cell computes one step: from the gate inputs of the step (gates, batch rows of gates*hidden, the input projection with all
// biases that are added linearly) and the state h and c of the previous step, the new state in place.
type cell[T float32 | float64] interface {
	// bias splits off what is added to the input projection: gates*hidden values, or nil.
	bias() []T
	step(gates, h, c []T)
}

// row returns the row of X that belongs to a step and a sample.
func (s *sequence[T]) row(step, sample int) int {
	if s.layout == 1 {
		return sample*s.steps + step
	}
	return step*s.batch + sample
}

// stateRow returns the row of initial and final states that belongs to a direction and a sample.
func (s *sequence[T]) stateRow(dir, sample int) int {
	if s.layout == 1 {
		return sample*s.dirs + dir
	}
	return dir*s.batch + sample
}

// run evaluates the operator: newCell makes the cell of a direction.
func (s *sequence[T]) run(newCell func(dir int) cell[T]) {
	gh := s.gates * s.hidden
	proj := make([][]T, s.dirs)
	cells := make([]cell[T], s.dirs)
	for d := range s.dirs {
		cells[d] = newCell(d)
		proj[d] = make([]T, s.steps*s.batch*gh)
		beta := T(0)
		if b := cells[d].bias(); b != nil {
			for i := 0; i < len(proj[d]); i += gh {
				copy(proj[d][i:i+gh], b)
			}
			beta = 1
		}
		w := s.w[d*gh*s.input : (d+1)*gh*s.input]
		gemmReal(s.e.Workers(), false, true, s.steps*s.batch, gh, s.input, 1, s.x, s.input, w, s.input, beta, proj[d], gh)
	}
	s.e.For(s.dirs, 1, func(lo, hi int) {
		for d := lo; d < hi; d++ {
			s.pass(d, cells[d], proj[d])
		}
	})
}

// pass runs one direction over the sequence.
func (s *sequence[T]) pass(dir int, c cell[T], proj []T) {
	n, gh := s.hidden, s.gates*s.hidden
	reverse := s.reverse || dir == 1
	h, cs := make([]T, s.batch*n), make([]T, s.batch*n)
	for b := range s.batch {
		if s.h0 != nil {
			copy(h[b*n:(b+1)*n], s.h0[s.stateRow(dir, b)*n:])
		}
		if s.c0 != nil {
			copy(cs[b*n:(b+1)*n], s.c0[s.stateRow(dir, b)*n:])
		}
	}
	final := func(b int) {
		at := s.stateRow(dir, b) * n
		copy(s.hFinal[at:at+n], h[b*n:])
		if s.cFinal != nil {
			copy(s.cFinal[at:at+n], cs[b*n:])
		}
	}
	for b, l := range s.lens {
		if l == 0 {
			final(b)
		}
	}
	gates := make([]T, s.batch*gh)
	for step := range s.steps {
		at := func(b int) int {
			if reverse && step < s.lens[b] {
				return s.row(s.lens[b]-1-step, b)
			}
			return s.row(step, b)
		}
		for b := range s.batch {
			copy(gates[b*gh:(b+1)*gh], proj[at(b)*gh:])
		}
		c.step(gates, h, cs)
		for b, l := range s.lens {
			y := s.y[s.outRow(at(b), dir)*n:][:n]
			if step >= l {
				clear(y)
				continue
			}
			copy(y, h[b*n:(b+1)*n])
			if step == l-1 {
				final(b)
			}
		}
	}
}

// outRow returns the row of Y for a row of X and a direction.
func (s *sequence[T]) outRow(row, dir int) int {
	if s.layout == 1 {
		return row*s.dirs + dir
	}
	step, sample := row/s.batch, row%s.batch
	return (step*s.dirs+dir)*s.batch + sample
}

// newSequence checks the inputs (X, W, R, B, sequence_lens, initial_h, initial_c, P) and converts them.
func newSequence[T float32 | float64](e *graph.Env, a *recurrent, in []*tensor.Tensor, gates, perDir int) (*sequence[T], error) {
	if err := want(in, 3, 8); err != nil {
		return nil, err
	}
	x, w, r := in[0], in[1], in[2]
	dirs, err := a.directions()
	if err != nil {
		return nil, err
	}
	if x.Rank() != 3 || r.Rank() != 3 {
		return nil, fmt.Errorf("X and R: want 3 dimensions, got %v and %v", x, r)
	}
	s := &sequence[T]{
		e: e, layout: a.Layout, steps: x.Shape[0], batch: x.Shape[1], input: x.Shape[2], dirs: dirs,
		hidden: r.Shape[2], gates: gates, reverse: a.Direction == "reverse",
	}
	state := []int{dirs, s.batch, s.hidden}
	yShape := []int{s.steps, dirs, s.batch, s.hidden}
	if a.Layout == 1 {
		s.steps, s.batch = s.batch, s.steps
		state = []int{s.batch, dirs, s.hidden}
		yShape = []int{s.batch, s.steps, dirs, s.hidden}
	}
	if a.HiddenSize != nil && *a.HiddenSize != s.hidden {
		return nil, fmt.Errorf("R: want %d columns (hidden_size), got shape %v", *a.HiddenSize, r.Shape)
	}
	if a.Clip != nil {
		s.clip = T(*a.Clip)
	}
	for _, c := range []struct {
		name  string
		t     *tensor.Tensor
		shape []int
		to    *[]T
	}{
		{"X", x, x.Shape, &s.x},
		{"W", w, []int{dirs, gates * s.hidden, s.input}, &s.w},
		{"R", r, []int{dirs, gates * s.hidden, s.hidden}, &s.r},
		{"B", arg(in, 3), []int{dirs, 2 * gates * s.hidden}, &s.bias},
		{"initial_h", arg(in, 5), state, &s.h0},
		{"initial_c", arg(in, 6), state, &s.c0},
		{"P", arg(in, 7), []int{dirs, 3 * s.hidden}, &s.peephole},
	} {
		if c.t == nil {
			continue
		}
		if !c.t.Shape.Equal(c.shape) {
			return nil, fmt.Errorf("%s: want shape %v, got %v", c.name, tensor.Shape(c.shape), c.t.Shape)
		}
		if *c.to, err = realData[T](c.t); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if s.lens, err = sequenceLens(arg(in, 4), s.batch, s.steps); err != nil {
		return nil, err
	}
	if s.activations, err = cellActivations[T](a, dirs, perDir); err != nil {
		return nil, err
	}
	s.y, s.yTensor = realOutput[T](e, x.DType, yShape)
	s.hFinal, s.hFinalTensor = realOutput[T](e, x.DType, state)
	if gates == 4 {
		s.cFinal, s.cFinalTensor = realOutput[T](e, x.DType, state)
	}
	return s, nil
}

// sequenceLens returns the number of steps of each sample.
func sequenceLens(t *tensor.Tensor, batch, steps int) ([]int, error) {
	lens := make([]int, batch)
	if t == nil {
		for b := range lens {
			lens[b] = steps
		}
		return lens, nil
	}
	v, err := t.Ints()
	if err != nil {
		return nil, fmt.Errorf("sequence_lens: %w", err)
	}
	if len(v) != batch {
		return nil, fmt.Errorf("sequence_lens: want %d values, got %d", batch, len(v))
	}
	for b, l := range v {
		if l < 0 || l > int64(steps) {
			return nil, fmt.Errorf("sequence_lens: %d is out of range for %d steps", l, steps)
		}
		lens[b] = int(l)
	}
	return lens, nil
}

// clipRow bounds the input of an activation.
func (s *sequence[T]) clipRow(x []T) {
	if s.clip <= 0 {
		return
	}
	for i, v := range x {
		x[i] = min(max(v, -s.clip), s.clip)
	}
}

// linearBias returns the sum of the input and the recurrent bias of a direction, or nil.
func (s *sequence[T]) linearBias(dir int) []T {
	if s.bias == nil {
		return nil
	}
	gh := s.gates * s.hidden
	b := s.bias[dir*2*gh:]
	out := make([]T, gh)
	for i := range out {
		out[i] = b[i] + b[gh+i]
	}
	return out
}

// recurrence returns the function that adds x [batch, hidden] times the transpose of rows [lo, hi) of a direction's R to dst.
func (s *sequence[T]) recurrence(dir, lo, hi int) func(dst []T, ldd int, x []T) {
	n, k := hi-lo, s.hidden
	m := s.r[(dir*s.gates*k+lo)*k:][:n*k]
	if f, ok := any(m).([]float32); ok && s.steps > 2 {
		packed := kernel.PackB(true, k, n, f, k)
		return func(dst []T, ldd int, x []T) {
			kernel.GemmF32Packed(s.e.Workers(), false, s.batch, 1, any(x).([]float32), k, packed, 1, any(dst).([]float32), ldd)
		}
	}
	return func(dst []T, ldd int, x []T) {
		gemmReal(s.e.Workers(), false, true, s.batch, n, k, 1, x, k, m, k, 1, dst, ldd)
	}
}
