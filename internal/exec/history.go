package exec

import (
	"context"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// History is what the stateful operators of a session's graph remember from run to run, such as key-value caches. It is used by
// one run at a time. The zero value is empty.
type History struct{ states map[*graph.Node]graph.State }

// Truncate forgets what a row has from a number of tokens on.
func (h *History) Truncate(row, tokens int) error {
	for _, s := range h.states {
		if err := s.Truncate(row, tokens); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is the memory that the states hold.
func (h *History) Bytes() int {
	n := 0
	for _, s := range h.states {
		n += s.Bytes()
	}
	return n
}

type historyKey struct{}

// WithHistory returns a context in which runs of a session go on from h, and add to it.
func WithHistory(ctx context.Context, h *History) context.Context {
	return context.WithValue(ctx, historyKey{}, h)
}

func historyOf(ctx context.Context) *History {
	h, _ := ctx.Value(historyKey{}).(*History)
	return h
}

// evaluate computes a node, by its state where it has one.
func (r *run) evaluate(n *graph.Node, args []*tensor.Tensor) ([]*tensor.Tensor, error) {
	o, ok := n.Op.(graph.Stateful)
	if !ok || r.history == nil {
		return n.Op.Eval(&r.env, args)
	}
	s := r.history.states[n]
	if s == nil {
		if r.history.states == nil {
			r.history.states = map[*graph.Node]graph.State{}
		}
		s = o.NewState()
		r.history.states[n] = s
	}
	return s.Eval(&r.env, args)
}
