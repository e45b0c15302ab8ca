package analyze

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Reference is a model with its outputs on samples, for comparing many others with it: what fits into memory is computed and
// read once.
type Reference struct {
	// Digest is the SHA-256 of all inputs and labels: two references of one digest are of the same data.
	Digest  string
	Samples int
	Labeled bool
	Scores  *Scores // of the model itself, where there are labels

	session *exec.Session
	feeds   *Feeds
	output  string
	calls   []referenceCall // as far as the budget went
}

type referenceCall struct {
	feed Feed
	out  []*tensor.Tensor
}

// NewReference runs a model on all samples. Inputs and outputs are kept as far as budgetBytes goes, the others are read and
// computed again at every comparison, so s must stay open. output names the output with class scores, as for [Evaluate].
func NewReference(ctx context.Context, s *exec.Session, feeds *Feeds, output string, budgetBytes int) (*Reference, error) {
	r := &Reference{session: s, feeds: feeds, output: output, Labeled: feeds.Labeled}
	task := progress.From(ctx).Start("reference", int64(feeds.Samples), "samples")
	defer task.Done()
	h := sha256.New()
	var sum scoreSum
	full := false
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return nil, err
		}
		out, err := s.Run(ctx, f.In)
		if err != nil {
			return nil, fmt.Errorf("original model: %w", err)
		}
		hashFeed(h, f)
		if i, err := scored(s.Graph(), out, f.Samples, output); err == nil && f.Labels != nil {
			classes := classesOf(out[i], f.Samples)
			if err := checkLabels(f, classes); err != nil {
				return nil, err
			}
			sum.add(floats(out[i]), classes, f.Labels)
		} else if err != nil && (output != "" || f.Labels != nil) {
			return nil, err
		}
		for _, t := range append(append([]*tensor.Tensor(nil), f.In...), out...) {
			if t != nil {
				budgetBytes -= t.ByteLen()
			}
		}
		if full = full || budgetBytes < 0; !full {
			r.calls = append(r.calls, referenceCall{f, out})
		}
		r.Samples += f.Samples
		task.Add(int64(f.Samples))
	}
	if r.Samples == 0 {
		return nil, fmt.Errorf("the data has no samples")
	}
	if sum.n > 0 {
		scores := sum.result()
		r.Scores = &scores
	}
	r.Digest = hex.EncodeToString(h.Sum(nil))
	return r, nil
}

func hashFeed(h hash.Hash, f Feed) {
	number := func(n int) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		h.Write(b[:])
	}
	for _, t := range f.In {
		if t == nil {
			number(-1)
			continue
		}
		number(int(t.DType))
		number(len(t.Shape))
		for _, d := range t.Shape {
			number(d)
		}
		for _, s := range t.Text() {
			number(len(s))
			h.Write([]byte(s))
		}
		h.Write(t.Bytes())
	}
	number(len(f.Labels))
	for _, l := range f.Labels {
		number(l)
	}
}

// Compare runs another model on the samples, on all or, if samples is not 0, on the calls that hold the first so many.
func (r *Reference) Compare(ctx context.Context, other *exec.Session, samples int) (*Accuracy, error) {
	sum, err := newAccuracySum(r.session.Graph(), other.Graph(), r.output)
	if err != nil {
		return nil, err
	}
	if samples <= 0 {
		samples = math.MaxInt
	}
	compare := func(f Feed, out []*tensor.Tensor) error {
		got, err := other.Run(ctx, InputsOf(r.session.Graph(), other.Graph(), f.In))
		if err != nil {
			return fmt.Errorf("quantized model: %w", err)
		}
		return sum.add(f, out, got)
	}
	for _, c := range r.calls {
		if sum.samples >= samples {
			return sum.result(), nil
		}
		if err := compare(c.feed, c.out); err != nil {
			return nil, err
		}
	}
	if sum.samples >= min(samples, r.Samples) {
		return sum.result(), nil
	}
	skip := len(r.calls)
	for f, err := range r.feeds.All(ctx) {
		if err != nil {
			return nil, err
		}
		if skip > 0 {
			skip--
			continue
		}
		if sum.samples >= samples {
			break
		}
		out, err := r.session.Run(ctx, f.In)
		if err != nil {
			return nil, fmt.Errorf("original model: %w", err)
		}
		if err := compare(f, out); err != nil {
			return nil, err
		}
	}
	return sum.result(), nil
}

// WorstSQNR returns the lowest SQNR of the outputs, in dB; nil where all are exact.
func (a *Accuracy) WorstSQNR() *float64 {
	var worst *float64
	for _, o := range a.Outputs {
		if o.SQNR != nil && (worst == nil || *o.SQNR < *worst) {
			worst = o.SQNR
		}
	}
	return worst
}

// First returns the inputs of the first call and how many samples it holds.
func (r *Reference) First(ctx context.Context) (in []*tensor.Tensor, samples int, err error) {
	if len(r.calls) > 0 {
		return r.calls[0].feed.In, r.calls[0].feed.Samples, nil
	}
	for f, err := range r.feeds.All(ctx) {
		return f.In, f.Samples, err
	}
	return nil, 0, fmt.Errorf("the data has no samples")
}

// Session returns what runs the model itself.
func (r *Reference) Session() *exec.Session { return r.session }
