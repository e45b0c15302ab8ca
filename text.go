package neuroquant

import (
	"context"
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/generate"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Results of [EvaluateText].
type (
	// Perplexity is how well a language model predicts a text.
	Perplexity = analyze.Perplexity
	// Divergence is how far the predictions of a language model are from those of a reference.
	Divergence = analyze.Divergence
)

// TextOptions say how a language model is measured on a text.
type TextOptions struct {
	Context  int    // tokens of a window; 0: 512, or what the model was made for if that is less
	Protocol string // "windows" (also "") or "llama.cpp"; see the documentation of the results
	NoBegin  bool   // do not put the token that begins a text before each
	Limit    int    // windows to measure at most; 0: all
}

// EvaluateText measures the perplexity of a language model on texts, one after the other, each with the token that begins a text
// before it. With a reference, which may be nil, it compares the predictions of both; they must have the same tokens.
func EvaluateText(ctx context.Context, m, reference *Model, texts []string, o TextOptions) (*Perplexity, *Divergence, error) {
	l, err := m.language()
	if err != nil {
		return nil, nil, err
	}
	ids, a, err := l.windows(m, texts, o)
	if err != nil {
		return nil, nil, err
	}
	return compareText(ctx, m, reference, ids, a)
}

// windows returns the ids of texts, as many as are measured, and how they are cut into windows.
func (l *language) windows(m *Model, texts []string, o TextOptions) ([]int, analyze.TextOptions, error) {
	a := analyze.TextOptions{Protocol: o.Protocol, Context: o.Context, Begin: l.begin}
	if a.Protocol == "" {
		a.Protocol = analyze.ProtocolWindows
	}
	if a.Context == 0 {
		a.Context = 512
		if l.context > 0 {
			a.Context = min(a.Context, l.context)
		}
	}
	if l.context > 0 && a.Context > l.context {
		return nil, a, fmt.Errorf("%s: a context of %d; the model was made for %d tokens", m.name(), a.Context, l.context)
	}
	if o.NoBegin {
		a.Begin = -1
	}
	var ids []int
	for _, t := range texts {
		if a.Begin >= 0 {
			ids = append(ids, a.Begin)
		}
		more, err := l.tokenizer.Encode(t, false)
		if err != nil {
			return nil, a, err
		}
		ids = append(ids, more...)
		if o.Limit > 0 && len(ids) >= o.Limit*a.Context {
			ids = ids[:o.Limit*a.Context]
			break
		}
	}
	return ids, a, nil
}

// compareText measures a model on ids, and with a reference, which may be nil, compares the predictions of both.
func compareText(ctx context.Context, m, reference *Model, ids []int, a analyze.TextOptions) (*Perplexity, *Divergence, error) {
	if err := m.prepare(); err != nil {
		return nil, nil, err
	}
	if reference == nil {
		p, _, err := analyze.Perplex(ctx, m.session, nil, ids, a)
		return p, nil, m.failed(err)
	}
	l, err := m.language()
	if err != nil {
		return nil, nil, err
	}
	r, err := reference.language()
	if err != nil {
		return nil, nil, err
	}
	if r.vocab != l.vocab || r.tokenizer.Size() != l.tokenizer.Size() {
		return nil, nil, errors.New("the model and the reference do not have the same tokens")
	}
	if err := reference.prepare(); err != nil {
		return nil, nil, err
	}
	p, d, err := analyze.Perplex(ctx, m.session, reference.session, ids, a)
	return p, d, m.failed(err)
}

// failed names the model in an error, and the tensor that is the reason of logits which are not numbers.
func (m *Model) failed(err error) error {
	if err == nil {
		return nil
	}
	return damaged(context.Background(), m.m, fmt.Errorf("%s: %w", m.name(), err))
}

// damaged returns, for an error about values that are not finite, the tensor of the checkpoint that is the reason, if there is one.
func damaged(ctx context.Context, m *model.Model, err error) error {
	if errors.Is(err, generate.ErrNotANumber) || errors.Is(err, kernel.ErrNotFinite) {
		if reason := m.Damaged(ctx, true); reason != nil {
			return reason
		}
	}
	return err
}
