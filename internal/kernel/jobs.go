package kernel

import "sync"

// Jobs runs loops of a kind that takes arguments A. They are kept from one loop to the next, so that a loop allocates nothing, as one
// over a closure does. The zero value is ready; it may be used by several goroutines.
type Jobs[A any] struct{ stock stock[job[A]] }

type job[A any] struct {
	args A
	body func(a *A, lo, hi int)
	run  func(lo, hi int)
}

// For is p.For(n, grain, body) with a as the first argument of body, which is a plain function: one that captures nothing.
func (j *Jobs[A]) For(p *Pool, n, grain int, a A, body func(a *A, lo, hi int)) {
	t := j.stock.take()
	if t.run == nil {
		t.run = func(lo, hi int) { t.body(&t.args, lo, hi) }
	}
	defer j.give(t)
	t.args, t.body = a, body
	p.For(n, grain, t.run)
}

func (j *Jobs[A]) give(t *job[A]) {
	var none A
	t.args, t.body = none, nil
	j.stock.give(t)
}

// stock keeps values that are used again and again.
type stock[T any] struct {
	mu   sync.Mutex
	free []*T
}

// take returns one that was given back, or a zero value.
func (s *stock[T]) take() *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.free)
	if n == 0 {
		return new(T)
	}
	t := s.free[n-1]
	s.free = s.free[:n-1]
	return t
}

func (s *stock[T]) give(t *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, t)
}
