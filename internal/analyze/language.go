package analyze

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/generate"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Protocols of perplexity: what is cut into windows, and which ids of a window count.
const (
	// ProtocolWindows cuts the ids into windows without overlap and drops the rest. In each, all ids but the first are predicted
	// from the earlier ones of the window.
	ProtocolWindows = "windows"
	// ProtocolLlamaCpp is that of llama.cpp's llama-perplexity: the first id of every window becomes the one that begins a text,
	// and only the ids of the second half count.
	ProtocolLlamaCpp = "llama.cpp"
)

// Protocols lists them.
var Protocols = []string{ProtocolWindows, ProtocolLlamaCpp}

// Perplexity is how well a language model predicts a text.
type Perplexity struct {
	Protocol   string  `json:"protocol"`
	Context    int     `json:"context"` // ids of a window
	IDs        int     `json:"ids"`
	Windows    int     `json:"windows"`
	Predicted  int     `json:"predicted"`
	Loss       float64 `json:"loss"` // mean negative log-likelihood, in nats
	Perplexity float64 `json:"perplexity"`
	// StandardError is that of the perplexity, as if the ids were independent.
	StandardError float64 `json:"standard_error"`
}

// Divergence is how far the predictions of a model are from those of a reference on the same ids.
type Divergence struct {
	Mean         float64 `json:"mean"` // Kullback-Leibler divergence of the model from the reference, in nats
	P99          float64 `json:"p99"`
	Max          float64 `json:"max"`
	Top1         float64 `json:"top1"` // share of ids for which both find the same most probable
	Reference    float64 `json:"reference_perplexity"`
	PerplexityUp float64 `json:"perplexity_increase"` // relative
}

// TextOptions say how a text is measured.
type TextOptions struct {
	Protocol string
	Context  int
	Begin    int // the id that begins a text, for ProtocolLlamaCpp; -1: none
}

// window is a part of the ids with how many of its ids are given and not counted.
type window struct {
	ids   []int
	given int
}

func (o TextOptions) windows(ids []int) ([]window, error) {
	if o.Context < 2 {
		return nil, fmt.Errorf("a context of %d; want at least 2 ids", o.Context)
	}
	var out []window
	for at := 0; at+o.Context <= len(ids); at += o.Context {
		w := window{slices.Clone(ids[at : at+o.Context]), 1}
		switch o.Protocol {
		case ProtocolWindows:
		case ProtocolLlamaCpp:
			if o.Begin >= 0 {
				w.ids[0] = o.Begin
			}
			w.given = o.Context/2 + 1
		default:
			return nil, fmt.Errorf("unknown protocol %q; protocols are %v", o.Protocol, Protocols)
		}
		out = append(out, w)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the text has %d ids, fewer than one window of %d; give a longer one or a smaller context", len(ids), o.Context)
	}
	return out, nil
}

// Perplex measures how well a model predicts ids. With a reference it compares the two on the way.
func Perplex(ctx context.Context, s, reference *exec.Session, ids []int, o TextOptions) (*Perplexity, *Divergence, error) {
	windows, err := o.windows(ids)
	if err != nil {
		return nil, nil, err
	}
	p := &Perplexity{Protocol: o.Protocol, Context: o.Context, IDs: len(ids), Windows: len(windows)}
	var losses, others, divergences []float64
	same := 0
	task := progress.From(ctx).Start("perplexity", int64(len(windows)), "windows")
	defer task.Done()
	for _, w := range windows {
		logits, err := w.run(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		var ref *tensor.Tensor
		if reference != nil {
			if ref, err = w.run(ctx, reference); err != nil {
				return nil, nil, fmt.Errorf("the reference: %w", err)
			}
			if !ref.Shape.Equal(logits.Shape) {
				return nil, nil, fmt.Errorf("the reference gives logits of shape %v, the model of %v", ref.Shape, logits.Shape)
			}
		}
		rows := w.score(logits, ref)
		for _, r := range rows {
			losses, others, divergences = append(losses, r.loss), append(others, r.reference), append(divergences, r.divergence)
			if r.same {
				same++
			}
		}
		task.Add(1)
	}
	p.Predicted = len(losses)
	var spread float64
	p.Loss, spread = meanAndError(losses)
	p.Perplexity = math.Exp(p.Loss)
	p.StandardError = spread * p.Perplexity
	if math.IsNaN(p.Loss) {
		return nil, nil, generate.ErrNotANumber
	}
	if reference == nil {
		return p, nil, nil
	}
	d := &Divergence{Top1: float64(same) / float64(p.Predicted), Max: slices.Max(divergences)}
	d.Mean, _ = meanAndError(divergences)
	loss, _ := meanAndError(others)
	d.Reference = math.Exp(loss)
	d.PerplexityUp = p.Perplexity/d.Reference - 1
	slices.Sort(divergences)
	d.P99 = divergences[(len(divergences)-1)*99/100]
	return p, d, nil
}

// meanAndError returns the mean and its standard error.
func meanAndError(v []float64) (mean, spread float64) {
	for _, x := range v {
		mean += x
	}
	n := float64(len(v))
	mean /= n
	for _, x := range v {
		spread += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(spread / n / max(n-1, 1))
}

// run computes the logits [tokens, vocab] of a window.
func (w window) run(ctx context.Context, s *exec.Session) (*tensor.Tensor, error) {
	ids := make([]int64, len(w.ids))
	for i, id := range w.ids {
		ids[i] = int64(id)
	}
	g := s.Graph()
	if len(g.Inputs) != 1 || len(g.Outputs) != 1 {
		return nil, fmt.Errorf("the model has %d inputs and %d outputs; a language model has one of each: ids and logits", len(g.Inputs), len(g.Outputs))
	}
	out, err := s.Run(ctx, []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(ids)}, ids)})
	if err != nil {
		return nil, err
	}
	t := out[0]
	if t.DType != tensor.Float32 || t.Rank() != 3 || t.Shape[0] != 1 || t.Shape[1] != len(ids) {
		return nil, fmt.Errorf("the output %q is %v; a language model gives float32[1, tokens, vocabulary]", g.Outputs[0].Name, t)
	}
	return t.Reshape(t.Shape[1:]...), nil
}

// predicted is what a model said of one id.
type predicted struct {
	loss, reference, divergence float64
	same                        bool
}

// score looks at the predictions of all ids that count. The reference may be nil.
func (w window) score(logits, reference *tensor.Tensor) []predicted {
	vocab := logits.Shape[1]
	out := make([]predicted, len(w.ids)-w.given)
	kernel.Shared().For(len(out), 1, func(lo, hi int) {
		buf := kernel.Borrow[float32](2 * vocab)
		defer buf.Release()
		p, q := buf.Data[:vocab], buf.Data[vocab:]
		for i := lo; i < hi; i++ {
			at := w.given + i - 1
			id := w.ids[at+1]
			x := tensor.Data[float32](logits)[at*vocab:][:vocab]
			logX, best := normalizer(q, x)
			out[i].loss = logX - float64(x[id])
			if reference == nil {
				continue
			}
			r := tensor.Data[float32](reference)[at*vocab:][:vocab]
			logR, bestR := normalizer(p, r)
			out[i].reference = logR - float64(r[id])
			out[i].same = best == bestR
			top, sum := float64(r[bestR]), 0.0
			for j, e := range p { // e is exp(r-top)
				sum += float64(e) * (float64(r[j]) - logR - (float64(x[j]) - logX))
			}
			out[i].divergence = max(0, sum*math.Exp(top-logR))
		}
	})
	return out
}

// normalizer returns the logarithm of the sum of exponentials of x, and where x is largest. It leaves exp(x-max) in e.
func normalizer(e, x []float32) (log float64, best int) {
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	top := x[best]
	for i, v := range x {
		e[i] = v - top
	}
	kernel.Exp(e, e)
	sum := 0.0
	for _, v := range e {
		sum += float64(v)
	}
	return float64(top) + math.Log(sum), best
}
