package analyze

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// LayerError is how far one value inside the quantized model is from the same value of the original, errors of earlier layers
// included.
type LayerError struct {
	Layer string `json:"layer"` // node of the original that computes the value
	Op    string `json:"op"`
	Value string `json:"value"`
	// Quantized reports whether the quantized model computes the value by other operators than the original.
	Quantized bool `json:"quantized"`
	Error
}

// Layers compares the values that both models name alike, in the order of the original. Both run unfused, so that every value
// is there to see; one batch at a time is held in memory.
func Layers(ctx context.Context, original, quantized *graph.Graph, feeds *Feeds, threads int) ([]LayerError, error) {
	shared := map[string]bool{}
	kind := map[string]string{}
	outer := map[*graph.Node]bool{} // a tap sees the nodes of subgraphs too, whose values may be named like others
	for _, n := range quantized.Nodes {
		outer[n] = true
		for _, v := range n.Out {
			if v != nil {
				shared[v.Name] = true
				kind[v.Name] = n.Op.Kind()
			}
		}
	}
	var out []LayerError
	index := map[string]int{}
	for _, n := range original.Nodes {
		outer[n] = true
		for _, v := range n.Out {
			if v != nil && shared[v.Name] {
				index[v.Name] = len(out)
				out = append(out, LayerError{Layer: n.Name, Op: n.Op.Kind(), Value: v.Name, Quantized: kind[v.Name] != n.Op.Kind()})
			}
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	sums := make([]errorSum, len(out))
	ref := map[string][]float32{}
	keep := func(n *graph.Node, _, res []*tensor.Tensor) {
		if !outer[n] {
			return
		}
		each(n, res, index, func(name string, t *tensor.Tensor) {
			if f := floats(t); f != nil && t.DType.IsFloat() {
				ref[name] = append([]float32(nil), f...)
			}
		})
	}
	compare := func(n *graph.Node, _, res []*tensor.Tensor) {
		if !outer[n] {
			return
		}
		each(n, res, index, func(name string, t *tensor.Tensor) {
			if f := floats(t); f != nil && len(f) == len(ref[name]) {
				sums[index[name]].add(ref[name], f)
				delete(ref, name)
			}
		})
	}
	a, err := exec.NewSession(original, exec.Options{Threads: threads, Tap: keep})
	if err != nil {
		return nil, fmt.Errorf("original model: %w", err)
	}
	defer a.Close()
	b, err := exec.NewSession(quantized, exec.Options{Threads: threads, Tap: compare})
	if err != nil {
		return nil, fmt.Errorf("quantized model: %w", err)
	}
	defer b.Close()
	task := progress.From(ctx).Start("layers", int64(feeds.Samples), "samples")
	defer task.Done()
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return nil, err
		}
		clear(ref)
		if _, err := a.Run(ctx, f.In); err != nil {
			return nil, fmt.Errorf("original model: %w", err)
		}
		if _, err := b.Run(ctx, InputsOf(original, quantized, f.In)); err != nil {
			return nil, fmt.Errorf("quantized model: %w", err)
		}
		task.Add(int64(f.Samples))
	}
	kept := out[:0]
	for i := range out {
		if sums[i].n+sums[i].bad > 0 {
			out[i].Error = sums[i].result()
			kept = append(kept, out[i])
		}
	}
	return kept, nil
}

func each(n *graph.Node, res []*tensor.Tensor, index map[string]int, f func(name string, t *tensor.Tensor)) {
	for i, v := range n.Out {
		if v == nil || i >= len(res) || res[i] == nil {
			continue
		}
		if _, ok := index[v.Name]; ok {
			f(v.Name, res[i])
		}
	}
}
