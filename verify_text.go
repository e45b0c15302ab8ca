package neuroquant

import (
	"context"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
)

// WeightError is how far a decoded tensor of a checkpoint is from the same tensor of the original.
type WeightError = analyze.WeightError

// DefaultPrompt is what [Analyzer.VerifyText] runs models on where nothing else is given.
const DefaultPrompt = "Once upon a time, there was"

// Defaults of [VerifyOptions].
const (
	verifiedTokens  = 32
	verifiedWindows = 16
)

// keptPerBit is what each bit of a code keeps, in dB. Rounding weights in groups keeps that for every bit but one, or a little more;
// methods that look at activations keep less of the weights themselves, and codes that are decoded one off much less.
const keptPerBit = 6

// PredictsText reports whether the model is a language model of a checkpoint, with a tokenizer.
func (m *Model) PredictsText() bool {
	if m.m.Config == nil {
		return false
	}
	_, err := m.language()
	return err == nil
}

// VerifyText compares a quantized language model with its original: every tensor, decoded, and what both predict for texts. Without texts that is
// a prompt and what the original makes of it, token after token the most probable. With a Python named in the options it does what
// [Analyzer.Verify] does beside that.
func (a *Analyzer) VerifyText(ctx context.Context, texts []string, description string, o VerifyOptions) (*Verification, error) {
	weights, missing, err := analyze.Weights(ctx, a.Original.m.StateDict(), a.Quantized.m.StateDict())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Quantized.name(), err)
	}
	v := &Verification{Failed: []string{}}
	if !o.WeightsOnly {
		if v, err = a.verifyPredictions(ctx, texts, description, o); err != nil {
			return nil, err
		}
	}
	v.Weights = weights
	if slices.ContainsFunc(weights, func(w WeightError) bool { return w.Rescaled }) {
		v.Notes = append(v.Notes, "normalizations have other weights than the original's: scales of channels were moved into the matrices, whose rows and columns are compared up to a factor each")
	}
	for _, name := range missing {
		v.fail("tensor %q of the original is missing", name)
	}
	v.judgeText(o)
	return v, nil
}

// verifyPredictions runs both models.
func (a *Analyzer) verifyPredictions(ctx context.Context, texts []string, description string, o VerifyOptions) (*Verification, error) {
	l, err := a.Original.language()
	if err != nil {
		return nil, err
	}
	var ids []int
	var cut analyze.TextOptions
	prompt, answer := "", ""
	if len(texts) > 0 {
		limit := o.Windows
		if limit == 0 {
			limit = verifiedWindows
		}
		if ids, cut, err = l.windows(a.Original, texts, TextOptions{Context: o.Context, Limit: limit}); err != nil {
			return nil, err
		}
	} else {
		if prompt = o.Prompt; prompt == "" {
			prompt = DefaultPrompt
		}
		if ids, answer, err = a.continued(ctx, prompt, o.Tokens); err != nil {
			return nil, err
		}
		cut, description = analyze.TextOptions{Protocol: analyze.ProtocolWindows, Context: len(ids), Begin: -1}, "the prompt"
	}
	wide := make([]int64, len(ids))
	for i, id := range ids {
		wide[i] = int64(id)
	}
	set, err := data.Windows(a.Original.m.Graph.Inputs[0].Name, wide, cut.Context)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	o.Here = o.Python == ""
	v, err := a.Verify(ctx, set, description, o)
	if err != nil {
		return nil, err
	}
	v.Prompt, v.Answer = prompt, answer
	for i := range v.Outputs {
		v.Outputs[i].Agreement = nil // of the most probable of all tokens of a window at once
	}
	v.Perplexity, v.Divergence, err = compareText(ctx, a.Quantized, a.Original, ids, cut)
	return v, err
}

// continued returns the ids of a prompt and of the most probable continuation by the original, and the text of that.
func (a *Analyzer) continued(ctx context.Context, prompt string, tokens int) (ids []int, text string, err error) {
	if tokens == 0 {
		tokens = verifiedTokens
	}
	g, err := a.Original.NewGenerator(GeneratorOptions{Products: "float32", Cache: "float32"})
	if err != nil {
		return nil, "", err
	}
	defer g.Close()
	cold, off := 0.0, 1.0
	res, _, err := g.Generate(ctx, []string{prompt}, GenerateOptions{MaxTokens: tokens, Temperature: &cold, RepetitionPenalty: &off, Begin: true, IgnoreEnd: true}, nil)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", a.Original.name(), err)
	}
	return slices.Concat(res[0].PromptIDs, res[0].IDs), res[0].Text, nil
}

func (v *Verification) fail(format string, args ...any) {
	v.Failed = append(v.Failed, fmt.Sprintf(format, args...))
}

// judgeText lists what does not hold of weights and predictions.
func (v *Verification) judgeText(o VerifyOptions) {
	for _, w := range v.Weights {
		least := o.MinWeightSQNR
		if least == 0 {
			least = keptPerBit * float64(w.Bits-2)
		}
		switch {
		case w.NonFinite > 0:
			v.fail("tensor %q (%s): %d values are NaN or infinite in one of the models only", w.Tensor, w.Stored, w.NonFinite)
		case !w.Quantized || w.SQNR == nil:
		case *w.SQNR < least:
			v.fail("tensor %q (%s): SQNR %.1f dB; want at least %g dB", w.Tensor, w.Stored, *w.SQNR, least)
		}
	}
	d := v.Divergence
	if d == nil {
		return
	}
	if d.Top1 < o.MinAgreement {
		v.fail("the same token is the most probable for %.2f %%; want at least %g %%", 100*d.Top1, 100*o.MinAgreement)
	}
	if o.MaxDivergence > 0 && d.Mean > o.MaxDivergence {
		v.fail("mean Kullback-Leibler divergence %.4g; want at most %g", d.Mean, o.MaxDivergence)
	}
}
