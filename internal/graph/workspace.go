package graph

import (
	"slices"
	"sync"

	"github.com/neurotrain/neuroquant/tensor"
)

// Workspace is memory for the small things that operators make while they run, lists and headers of tensors, so that runs like the one
// before allocate nothing. All of it is used again after [Workspace.Reset].
type Workspace struct {
	mu    sync.Mutex
	lists stock[[1]*tensor.Tensor]
	views stock[view]
	ints  []int
	used  int // of ints; may be more than there are
	kept  map[*Value][]any
}

// Kept is a value that an operator finds again in the next run, at the same node: memory to work in, what it has worked out for inputs
// of the same shapes.
type Kept[T any] struct {
	V    T
	busy bool
	work *Workspace
}

// Keep returns the value of its type that belongs to the node that is being computed, the zero value the first time, until
// [Kept.Done]. It is never one that is in use.
func Keep[T any](e *Env) *Kept[T] {
	if e == nil || e.Work == nil {
		return &Kept[T]{}
	}
	i := slices.IndexFunc(e.Out, func(v *Value) bool { return v != nil })
	if i < 0 {
		return &Kept[T]{}
	}
	w, node := e.Work, e.Out[i]
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.kept[node] {
		if k, ok := k.(*Kept[T]); ok && !k.busy {
			k.busy = true
			return k
		}
	}
	k := &Kept[T]{busy: true, work: w}
	if w.kept == nil {
		w.kept = map[*Value][]any{}
	}
	w.kept[node] = append(w.kept[node], k)
	return k
}

// Done ends the use of the value.
func (k *Kept[T]) Done() {
	if k.work != nil {
		k.work.mu.Lock()
		k.busy = false
		k.work.mu.Unlock()
	}
}

type view struct {
	tensor tensor.Tensor
	dims   [8]int
}

// stock hands out values and takes all of them back at once.
type stock[T any] struct {
	all  []*T
	used int
}

func (s *stock[T]) take() *T {
	if s.used == len(s.all) {
		s.all = append(s.all, new(T))
	}
	s.used++
	return s.all[s.used-1]
}

// Reset ends the use of all that was taken, but for what is kept.
func (w *Workspace) Reset() {
	for _, l := range w.lists.all[:w.lists.used] {
		l[0] = nil
	}
	for _, v := range w.views.all[:w.views.used] {
		v.tensor = tensor.Tensor{}
	}
	w.lists.used, w.views.used = 0, 0
	if w.used > len(w.ints) {
		w.ints = make([]int, w.used)
	}
	w.used = 0
}

// Overwriting is an operator that may write its first output over an input, see [Env.NewOver].
type Overwriting interface {
	Op
	// Overwrites is the number of that input; negative: none.
	Overwrites() int
}

// Viewing is an operator whose first output lies in the memory of its first input.
type Viewing interface {
	Op
	Views()
}

// NewOver returns memory for an output of the type and shape of in, an input of the node: that of in itself, if nobody reads it any
// more, or fresh one. What in held is there until it is written over.
func (e *Env) NewOver(in *tensor.Tensor) *tensor.Tensor {
	if e != nil && e.Over != nil && e.Over(in) {
		return in
	}
	return e.New(in.DType, in.Shape...)
}

// One returns a list of one output.
func (e *Env) One(t *tensor.Tensor) []*tensor.Tensor {
	if e == nil || e.Work == nil {
		return []*tensor.Tensor{t}
	}
	e.Work.mu.Lock()
	defer e.Work.mu.Unlock()
	l := e.Work.lists.take()
	l[0] = t
	return l[:]
}

// Single is One for what may have failed.
func (e *Env) Single(t *tensor.Tensor, err error) ([]*tensor.Tensor, error) {
	if err != nil {
		return nil, err
	}
	return e.One(t), nil
}

// Ints returns n zeros for as long as the node runs, such as a shape that is handed to [Env.New].
func (e *Env) Ints(n int) []int {
	if e == nil || e.Work == nil {
		return make([]int, n)
	}
	w := e.Work
	w.mu.Lock()
	defer w.mu.Unlock()
	w.used += n
	if w.used > len(w.ints) {
		return make([]int, n)
	}
	s := w.ints[w.used-n : w.used : w.used]
	clear(s)
	return s
}

// View is [tensor.Tensor.Reshape].
func (e *Env) View(t *tensor.Tensor, shape ...int) *tensor.Tensor {
	if e == nil || e.Work == nil || len(shape) > len(view{}.dims) || t.Packed != nil || t.DType.Bits() == 0 {
		return t.Reshape(slices.Clone(shape)...)
	}
	e.Work.mu.Lock()
	defer e.Work.mu.Unlock()
	v := e.Work.views.take()
	v.tensor.Set(t.DType, v.dims[:copy(v.dims[:], shape):len(shape)], t.Bytes())
	return &v.tensor
}
