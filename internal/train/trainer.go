package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// Trainer holds the parameters of a task and changes them step by step.
type Trainer struct {
	task    *Task
	trained []*graph.Value
	stats   []*graph.Value
	// Params and Statistics are the values now, in the order of trained and stats.
	params, statistics []*tensor.Tensor
	decays             []bool // whether weight decay applies: to matrices, not to vectors
	opt                *state
	clip               float64
	pool               *kernel.Pool
	owned              bool
	threads            int
	seed               uint64

	// Profile, if it is set before the first step, is called with the time each node takes.
	Profile func(n *graph.Node, d time.Duration)

	teacher *exec.Session
	best    *best
	bound   []*bound
	sums    [][]float32 // gradients of a step in parts
}

// bound is a program with its session and memory for its outputs.
type bound struct {
	p       *program
	shapes  []tensor.Shape
	session *exec.Session
	in, out []*tensor.Tensor
}

// New returns a trainer with the optimizer's state at its beginning. threads is the number of threads, 0 all.
func New(task *Task, o Optimizer, clip float64, seed uint64, threads int) (*Trainer, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if !(clip >= 0) {
		return nil, fmt.Errorf("clip: want 0 or more, got %v", clip)
	}
	if len(task.Graph.Outputs) == 0 {
		return nil, errors.New("the model has no output")
	}
	t := &Trainer{task: task, trained: task.Trained, clip: clip, threads: threads, seed: seed, stats: task.statistics()}
	if t.trained == nil {
		t.trained = Trainable(task.Graph)
	}
	if len(t.trained) == 0 {
		return nil, errors.New("the model has no parameter that can be trained")
	}
	if task.frozen == nil {
		task.frozen = frozen{}
	}
	var sizes []int
	for _, v := range t.trained {
		w, err := own(v)
		if err != nil {
			return nil, err
		}
		t.params = append(t.params, w)
		t.decays = append(t.decays, w.Rank() > 1)
		sizes = append(sizes, w.Len())
	}
	for _, v := range t.stats {
		w, err := own(v)
		if err != nil {
			return nil, err
		}
		t.statistics = append(t.statistics, w)
	}
	switch threads {
	case 0:
		t.pool = kernel.Shared()
	case 1:
	default:
		t.pool, t.owned = kernel.NewPool(threads), true
	}
	t.opt = newState(o, sizes)
	if task.Teacher != nil {
		low, err := pass.Lower(task.Teacher)
		if err == nil {
			t.teacher, err = exec.NewSession(low, exec.Options{Threads: threads})
		}
		if err != nil {
			return nil, fmt.Errorf("teacher: %w", err)
		}
	}
	return t, nil
}

// own returns a copy of a parameter.
func own(v *graph.Value) (*tensor.Tensor, error) {
	t, err := v.Data.Load()
	if err != nil {
		return nil, fmt.Errorf("parameter %q: %w", v.Name, err)
	}
	if t.DType != tensor.Float32 || t.Packed != nil {
		return nil, fmt.Errorf("parameter %q: want float32 to train, got %v", v.Name, t)
	}
	return t.Clone(), nil
}

// Close ends the sessions and threads.
func (t *Trainer) Close() {
	t.unbind()
	if t.teacher != nil {
		t.teacher.Close()
	}
	if t.owned {
		t.pool.Close()
	}
}

// unbind ends the sessions of steps and lets go of their memory.
func (t *Trainer) unbind() {
	for _, b := range t.bound {
		b.session.Close()
	}
	t.bound = nil
}

// mostPrograms is how many shapes of batches programs are kept for.
const mostPrograms = 4

// bind returns the program for a batch, with its inputs set.
func (t *Trainer) bind(in []*tensor.Tensor, target, teacher *tensor.Tensor) (*bound, error) {
	var shapes []tensor.Shape
	for _, x := range in {
		shapes = append(shapes, x.Shape)
	}
	shapes = append(shapes, target.Shape)
	i := slices.IndexFunc(t.bound, func(b *bound) bool { return slices.EqualFunc(b.shapes, shapes, tensor.Shape.Equal) })
	if i < 0 {
		var names []string
		for _, v := range t.stats {
			names = append(names, v.Name)
		}
		p, err := t.task.build(t.trained, names, in, target, teacher)
		if err != nil {
			return nil, err
		}
		b := &bound{p: p, in: make([]*tensor.Tensor, len(p.g.Inputs)), out: make([]*tensor.Tensor, len(p.g.Outputs))}
		for _, s := range shapes {
			b.shapes = append(b.shapes, s.Clone())
		}
		if b.session, err = exec.NewSession(p.g, exec.Options{Threads: t.threads, Seed: t.seed, Profile: t.Profile}); err != nil {
			return nil, err
		}
		if len(t.bound) == mostPrograms {
			t.bound[0].session.Close()
			t.bound = t.bound[1:]
		}
		t.bound = append(t.bound, b)
		i = len(t.bound) - 1
	}
	b := t.bound[i]
	n := copy(b.in, in)
	b.in[n] = target
	n++
	if teacher != nil {
		b.in[n] = teacher
		n++
	}
	n += copy(b.in[n:], t.params)
	copy(b.in[n:], t.statistics)
	return b, nil
}

// part is a piece of a batch: the inputs of the model and what its first output is to be.
type part struct {
	in     []*tensor.Tensor
	target *tensor.Tensor
}

// errNotFinite is in the chain of the error of a step whose loss is not finite.
var errNotFinite = errors.New("the loss is not finite")

// step makes one update from the parts of a batch, whose mean loss is minimized, at a learning rate, and returns the loss before it and the
// scores of the last part, which are valid until the next step. Nothing changes where it fails.
func (t *Trainer) step(ctx context.Context, parts []part, rate float64, scores func(part int, s *tensor.Tensor)) (loss float64, err error) {
	var last *bound
	for k, p := range parts {
		b, l, err := t.run(ctx, p, k)
		if err != nil {
			return 0, err
		}
		loss += l / float64(len(parts))
		if scores != nil && classifies(t.task.Loss) {
			scores(k, b.out[1])
		}
		last = b
		if len(parts) > 1 {
			t.collect(b, k, len(parts))
		}
	}
	grads := make([][]float32, len(t.params))
	for i, o := range last.p.grads {
		switch {
		case o < 0:
		case len(parts) > 1:
			grads[i] = t.sums[i]
		default:
			grads[i] = tensor.Data[float32](last.out[o])
		}
	}
	if err := t.clipTo(grads); err != nil {
		return loss, err
	}
	t.opt.step++
	for i, g := range grads {
		if g != nil {
			t.opt.update(t.pool, i, tensor.Data[float32](t.params[i]), g, rate, t.decays[i])
		}
	}
	for i := range t.statistics {
		copy(t.statistics[i].Bytes(), last.out[last.p.stats+i].Bytes())
	}
	if t.task.After != nil {
		t.task.After(t.opt.step)
	}
	return loss, nil
}

// Sample returns what [Trainer.Step] takes for a batch: the inputs of the model and the target of the loss.
func (t *Trainer) Sample(b data.Batch) (in []*tensor.Tensor, target *tensor.Tensor, err error) {
	p, err := t.part(b)
	return p.in, p.target, err
}

// Step makes one update on the inputs of the model and the target of the loss, at a learning rate, and returns the loss before it.
func (t *Trainer) Step(ctx context.Context, in []*tensor.Tensor, target *tensor.Tensor, rate float64) (float64, error) {
	return t.step(ctx, []part{{in, target}}, rate, nil)
}

// run computes loss and gradients of part k of an update.
func (t *Trainer) run(ctx context.Context, p part, k int) (*bound, float64, error) {
	var teacher *tensor.Tensor
	if t.teacher != nil {
		out, err := t.teacher.Run(ctx, p.in)
		if err != nil {
			return nil, 0, fmt.Errorf("teacher: %w", err)
		}
		teacher = out[0]
	}
	b, err := t.bind(p.in, p.target, teacher)
	if err != nil {
		return nil, 0, err
	}
	// What is drawn at random follows from the update alone, so that a training that goes on draws what it would have drawn.
	b.session.Reseed(rand.NewPCG(t.seed, uint64(t.opt.step)<<16|uint64(k)).Uint64())
	if err := b.session.RunInto(ctx, b.in, b.out); err != nil {
		return nil, 0, err
	}
	loss := float64(tensor.Item[float32](b.out[0]))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return nil, 0, fmt.Errorf("%w (%v): %s", errNotFinite, loss, t.firstBroken(ctx, b))
	}
	return b, loss, nil
}

// collect adds the gradients of one of n parts.
func (t *Trainer) collect(b *bound, k, n int) {
	if t.sums == nil {
		t.sums = make([][]float32, len(t.params))
	}
	for i, o := range b.p.grads {
		if o < 0 {
			continue
		}
		g := tensor.Data[float32](b.out[o])
		if t.sums[i] == nil {
			t.sums[i] = make([]float32, len(g))
		}
		if k == 0 {
			clear(t.sums[i])
		}
		kernel.AXPY(1/float32(n), g, t.sums[i])
	}
}

// clipTo scales all gradients so that their norm together is at most the limit.
func (t *Trainer) clipTo(grads [][]float32) error {
	sum := 0.0
	for i, g := range grads {
		own := float64(kernel.Dot(g, g))
		if own-own != 0 {
			return fmt.Errorf("%w: the gradient of parameter %q is not", errNotFinite, t.trained[i].Name)
		}
		sum += own
	}
	if norm := math.Sqrt(sum); t.clip > 0 && norm > t.clip {
		for _, g := range grads {
			kernel.Scale(g, g, float32(t.clip/norm))
		}
	}
	return nil
}

// firstBroken runs a program again and names the first node whose output is not finite though its inputs are.
func (t *Trainer) firstBroken(ctx context.Context, b *bound) string {
	for i, v := range b.p.g.Inputs {
		if !finite(b.in[i]) {
			return fmt.Sprintf("%q has values that are not finite", v.Name)
		}
	}
	found := ""
	s, err := exec.NewSession(b.p.g, exec.Options{Threads: t.threads, Seed: t.seed, Tap: func(n *graph.Node, _, out []*tensor.Tensor) {
		if found == "" && slices.ContainsFunc(out, func(x *tensor.Tensor) bool { return !finite(x) }) {
			found = fmt.Sprintf("node %q (%s) is the first that produces values that are not", n.Name, n.Op.Kind())
		}
	}})
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	if _, err := s.Run(ctx, b.in); err != nil {
		return err.Error()
	}
	return found
}

func finite(t *tensor.Tensor) bool {
	if t == nil || t.DType != tensor.Float32 || t.Packed != nil {
		return true
	}
	for _, v := range tensor.Data[float32](t) {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// Store puts the parameters and statistics, as they are now, into the graph of the task.
func (t *Trainer) Store() {
	for i, v := range t.trained {
		put(v, t.params[i])
	}
	for i, v := range t.stats {
		put(v, t.statistics[i])
	}
}

func put(v *graph.Value, w *tensor.Tensor) {
	c := w.Clone()
	v.Data = tensor.InMemory(c)
	v.Type = graph.TypeOf(c)
}

// Param returns the values of a trained parameter as they are now, nil if it is none. They are the trainer's own.
func (t *Trainer) Param(name string) *tensor.Tensor {
	for i, v := range t.trained {
		if v.Name == name {
			return t.params[i]
		}
	}
	return nil
}
