package analyze

import (
	"context"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Accuracy compares the outputs of two models on the same samples.
type Accuracy struct {
	Samples int `json:"samples"`
	// Original and Quantized are set where the samples have labels.
	Original  *Scores `json:"original,omitempty"`
	Quantized *Scores `json:"quantized,omitempty"`
	// Agreement is the fraction of samples for which both models rank the same class first; set where the scored output is
	// a row of class scores per sample.
	Agreement *float64      `json:"agreement,omitempty"`
	Outputs   []OutputError `json:"outputs"`
}

// OutputError is the error of one output of the quantized model against the original's.
type OutputError struct {
	Name string `json:"name"`
	Error
}

// Evaluate scores a classifier on labelled samples. The class scores are the output named output, or the first output that has
// a row per sample.
func Evaluate(ctx context.Context, s *exec.Session, feeds *Feeds, output string) (*Scores, error) {
	if !feeds.Labeled {
		return nil, fmt.Errorf("the data has no labels: give them with --labels, or use a folder or archive of class folders")
	}
	task := progress.From(ctx).Start("evaluate", int64(feeds.Samples), "samples")
	defer task.Done()
	var sum scoreSum
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return nil, err
		}
		out, err := s.Run(ctx, f.In)
		if err != nil {
			return nil, err
		}
		i, err := scored(s.Graph(), out, f.Samples, output)
		if err != nil {
			return nil, err
		}
		rows, classes := floats(out[i]), classesOf(out[i], f.Samples)
		if err := checkLabels(f, classes); err != nil {
			return nil, err
		}
		sum.add(rows, classes, f.Labels)
		task.Add(int64(f.Samples))
	}
	r := sum.result()
	return &r, nil
}

// scored returns the index of the output that holds class scores.
func scored(g *graph.Graph, out []*tensor.Tensor, samples int, name string) (int, error) {
	for i, v := range g.Outputs {
		if name != "" && v.Name != name {
			continue
		}
		if classesOf(out[i], samples) > 1 {
			return i, nil
		}
		if name != "" {
			return 0, fmt.Errorf("output %q (%v) is not a row of class scores per sample", name, out[i])
		}
	}
	if name != "" {
		return 0, fmt.Errorf("the model has no output %q", name)
	}
	return 0, fmt.Errorf("no output is a row of class scores per sample; the first is %v", out[0])
}

// classesOf returns the length of the row of each sample, or 0 if t does not have one.
func classesOf(t *tensor.Tensor, samples int) int {
	if t == nil || !t.DType.IsFloat() || len(t.Shape) < 2 || t.Shape[0] != samples || samples == 0 {
		return 0
	}
	return t.Len() / samples
}

func checkLabels(b Feed, classes int) error {
	for i, l := range b.Labels {
		if l < 0 || l >= classes {
			return fmt.Errorf("sample %q has label %d; the model has %d classes", b.IDs[i], l, classes)
		}
	}
	return nil
}

// CompareAccuracy runs both models on all samples.
func CompareAccuracy(ctx context.Context, original, quantized *exec.Session, feeds *Feeds, output string) (*Accuracy, error) {
	sum, err := newAccuracySum(original.Graph(), quantized.Graph(), output)
	if err != nil {
		return nil, err
	}
	task := progress.From(ctx).Start("accuracy", int64(feeds.Samples), "samples")
	defer task.Done()
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return nil, err
		}
		outA, err := original.Run(ctx, f.In)
		if err != nil {
			return nil, fmt.Errorf("original model: %w", err)
		}
		outB, err := quantized.Run(ctx, InputsOf(original.Graph(), quantized.Graph(), f.In))
		if err != nil {
			return nil, fmt.Errorf("quantized model: %w", err)
		}
		if err := sum.add(f, outA, outB); err != nil {
			return nil, err
		}
		task.Add(int64(f.Samples))
	}
	return sum.result(), nil
}

// accuracySum accumulates an [Accuracy] over calls of both models.
type accuracySum struct {
	original               *graph.Graph
	output                 string
	pair                   []int // the quantized model's index of each output
	sums                   []errorSum
	a, b                   scoreSum
	agree, ranked, samples int
}

func newAccuracySum(original, quantized *graph.Graph, output string) (*accuracySum, error) {
	s := &accuracySum{original: original, output: output, pair: make([]int, len(original.Outputs)), sums: make([]errorSum, len(original.Outputs))}
	for i, v := range original.Outputs {
		s.pair[i] = -1
		for j, w := range quantized.Outputs {
			if v.Name == w.Name {
				s.pair[i] = j
			}
		}
		if s.pair[i] < 0 {
			if len(original.Outputs) != len(quantized.Outputs) {
				return nil, fmt.Errorf("the quantized model has no output %q", v.Name)
			}
			s.pair[i] = i
		}
	}
	return s, nil
}

// add compares the outputs of one call.
func (s *accuracySum) add(f Feed, outA, outB []*tensor.Tensor) error {
	for i, t := range outA {
		u := outB[s.pair[i]]
		if !t.Shape.Equal(u.Shape) {
			return fmt.Errorf("output %q is %v in the original model and %v in the quantized one", s.original.Outputs[i].Name, t, u)
		}
		fa, fb := floats(t), floats(u)
		if fa != nil && fb != nil {
			s.sums[i].add(fa, fb)
		}
	}
	s.samples += f.Samples
	i, err := scored(s.original, outA, f.Samples, s.output)
	if err != nil {
		if s.output != "" || f.Labels != nil {
			return err
		}
		return nil
	}
	classes := classesOf(outA[i], f.Samples)
	fa, fb := floats(outA[i]), floats(outB[s.pair[i]])
	for r := range f.Samples {
		s.ranked++
		if argmax(fa[r*classes:(r+1)*classes]) == argmax(fb[r*classes:(r+1)*classes]) {
			s.agree++
		}
	}
	if f.Labels != nil {
		if err := checkLabels(f, classes); err != nil {
			return err
		}
		s.a.add(fa, classes, f.Labels)
		s.b.add(fb, classes, f.Labels)
	}
	return nil
}

func (s *accuracySum) result() *Accuracy {
	acc := &Accuracy{Samples: s.samples}
	for i := range s.sums {
		if s.sums[i].n+s.sums[i].bad > 0 {
			acc.Outputs = append(acc.Outputs, OutputError{s.original.Outputs[i].Name, s.sums[i].result()})
		}
	}
	if s.ranked > 0 {
		a := float64(s.agree) / float64(s.ranked)
		acc.Agreement = &a
	}
	if s.a.n > 0 {
		a, b := s.a.result(), s.b.result()
		acc.Original, acc.Quantized = &a, &b
	}
	return acc
}
