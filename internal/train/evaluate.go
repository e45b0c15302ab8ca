package train

import (
	"context"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// Evaluate returns the mean loss of the model, with its parameters as they are now, on samples, and the share of right classes, -1 where the loss
// is not of classes.
func (t *Trainer) Evaluate(ctx context.Context, set data.Set, batch int) (loss, accuracy float64, err error) {
	s, err := t.evaluation()
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	kind, err := lossOf(t.task.Loss, 0)
	if err != nil {
		return 0, 0, err
	}
	n, right := 0, 0
	for b, err := range data.Batches(ctx, set, batch) {
		if err != nil {
			return 0, 0, err
		}
		p, err := t.part(b)
		if err != nil {
			return 0, 0, err
		}
		out, err := s.Run(ctx, p.in)
		if err != nil {
			return 0, 0, err
		}
		l, err := kind.Eval(&graph.Env{}, []*tensor.Tensor{out[0], p.target})
		if err != nil {
			return 0, 0, err
		}
		loss += float64(tensor.Item[float32](l[len(l)-1])) * float64(b.Len())
		n += b.Len()
		if classifies(t.task.Loss) {
			right += hits(out[0], b.Labels)
		}
	}
	if n == 0 {
		return 0, 0, fmt.Errorf("there are no samples")
	}
	if loss /= float64(n); math.IsNaN(loss) {
		return loss, 0, errNotFinite
	}
	accuracy = -1
	if classifies(t.task.Loss) {
		accuracy = float64(right) / float64(n)
	}
	return loss, accuracy, nil
}

// Scores returns the first output of a graph on samples, row after row.
func Scores(ctx context.Context, g *graph.Graph, set data.Set, batch, threads int) ([]float32, error) {
	low, err := pass.Lower(g)
	if err != nil {
		return nil, err
	}
	s, err := exec.NewSession(low, exec.Options{Threads: threads})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	names := make([]string, len(g.Inputs))
	for i, v := range g.Inputs {
		names[i] = v.Name
	}
	var all []float32
	for b, err := range data.Batches(ctx, set, batch) {
		if err != nil {
			return nil, err
		}
		in, err := b.For(names)
		if err != nil {
			return nil, err
		}
		out, err := s.Run(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, tensor.Data[float32](out[0])...)
	}
	return all, nil
}

func (t *Trainer) scoresOf(ctx context.Context, b data.Batch) (*tensor.Tensor, error) {
	s, err := t.evaluation()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	p, err := t.part(b)
	if err != nil {
		return nil, err
	}
	out, err := s.Run(ctx, p.in)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// evaluation returns a session of the model as it is now.
func (t *Trainer) evaluation() (*exec.Session, error) {
	g := t.task.Graph.Clone()
	now := map[string]*tensor.Tensor{}
	for i, v := range t.trained {
		now[v.Name] = t.params[i]
	}
	for i, v := range t.stats {
		now[v.Name] = t.statistics[i]
	}
	for _, v := range g.Params() {
		if w := now[v.Name]; w != nil {
			put(v, w)
		}
	}
	if t.task.LoRA != nil { // the weights lie in memory once, as training holds them
		if err := t.task.frozen.apply(g, t.trained); err != nil {
			return nil, err
		}
		return exec.NewSession(g, exec.Options{Threads: t.threads, Seed: t.seed})
	}
	low, err := pass.Lower(g)
	if err != nil {
		return nil, err
	}
	return exec.NewSession(low, exec.Options{Threads: t.threads, Seed: t.seed})
}
