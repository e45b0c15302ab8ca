package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/onnxruntime"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// OperatorParity says how alike this program and ONNX Runtime compute one operator of a quantized model from the same values.
type OperatorParity = analyze.OperatorParity

// VerifyOptions say what [Analyzer.Verify] compares with.
type VerifyOptions struct {
	// Python is the interpreter that has ONNX Runtime; by default the first in the search path that does. There need be none.
	Python string
	// Here leaves ONNX Runtime out.
	Here bool
	// MinSQNR is what every output of the quantized model has to keep, in dB; 0: anything.
	MinSQNR float64
	// What follows is for language models, see [Analyzer.VerifyText].
	//
	// Prompt is what both models continue where there are no texts; empty: [DefaultPrompt]. Tokens is by how many; 0: 32.
	Prompt string
	Tokens int
	// Context and Windows say what of texts is used, as in [TextOptions]; Windows 0: 16.
	Context, Windows int
	// WeightsOnly compares weights and runs neither model.
	WeightsOnly bool
	// MinWeightSQNR is what every decoded matrix of codes has to keep, in dB; 0: 6 for every bit but two. MinAgreement is the share of tokens for
	// which both models have to find the same most probable; MaxDivergence the largest mean Kullback-Leibler divergence, in nats. 0: anything.
	MinWeightSQNR, MinAgreement, MaxDivergence float64
}

// Verification is what [Analyzer.Verify] found.
type Verification struct {
	Samples int    `json:"samples"`
	Data    string `json:"data"`
	// Runtime is the ONNX Runtime that was compared with; empty where there is none, and then Missing says why.
	Runtime string `json:"runtime,omitempty"`
	Python  string `json:"python,omitempty"`
	Missing string `json:"runtime_missing,omitempty"`
	// Outputs compare the outputs, pair by pair.
	Outputs []OutputCheck `json:"outputs"`
	// Layers are the values inside the quantized model against the original's, here.
	Layers []LayerError `json:"layers"`
	// Operators compare the quantized model with ONNX Runtime's, each operator from the same values.
	Operators []OperatorParity `json:"operators,omitempty"`
	// Weights are the decoded tensors of language models against the original's; Prompt is what both were run on and Answer what the original
	// says to it, where there were no texts; Perplexity and Divergence compare their predictions.
	Weights    []WeightError `json:"weights,omitempty"`
	Prompt     string        `json:"prompt,omitempty"`
	Answer     string        `json:"answer,omitempty"`
	Perplexity *Perplexity   `json:"perplexity,omitempty"`
	Divergence *Divergence   `json:"divergence,omitempty"`
	Notes      []string      `json:"notes,omitempty"`
	// Failed lists what does not hold; none: the model is verified.
	Failed []string `json:"failed"`
}

// OutputCheck compares the outputs of two models, or of one in two runtimes.
type OutputCheck struct {
	What string `json:"what"`
	*Accuracy
}

// The pairs of an [OutputCheck].
const (
	quantHere  = "quantized against original, here"
	quantThere = "quantized against original, ONNX Runtime"
	quantBoth  = "quantized, here against ONNX Runtime"
	origBoth   = "original, here against ONNX Runtime"
)

// What has to hold between this program and ONNX Runtime.
const (
	minWithinOne = 0.999 // of the codes of every operator, computed from the same values
	minFloatSQNR = 40    // of an operator that gives floats, or codes of 16 bits, which runtimes compute in float, in dB
)

// Verify compares the quantized model with the original, and, where ONNX Runtime is installed for Python, both with what that
// computes: the outputs, and every operator of the quantized model from the same values. set may be nil: then inputs are random.
func (a *Analyzer) Verify(ctx context.Context, set data.Set, description string, o VerifyOptions) (*Verification, error) {
	v := &Verification{Data: description, Failed: []string{}}
	if set == nil {
		v.Data = "random inputs"
	}
	orig, quant, threads, err := a.sessions()
	if err != nil {
		return nil, err
	}
	few := set
	if few != nil {
		few = data.Sample(set, layerSamples, a.Seed)
	}
	if v.Layers, err = a.CompareLayers(ctx, few); err != nil {
		return nil, err
	}
	feeds, err := a.feeds(set, max(a.Batch, 1), randomSamples)
	if err != nil {
		return nil, err
	}
	c := &checker{Verification: v, a: a, orig: engine{here: orig}, quant: engine{here: quant}, threads: threads}
	defer c.close()
	if !o.Here {
		if err := c.start(ctx, o.Python); err != nil {
			return nil, err
		}
	}
	if err := c.run(ctx, feeds); err != nil {
		return nil, err
	}
	c.judge(o)
	return v, nil
}

// engine is a model as both runtimes have it.
type engine struct {
	here  *exec.Session
	there *onnxruntime.Session // nil: not loaded
}

// checker is the state of [Analyzer.Verify].
type checker struct {
	*Verification
	a       *Analyzer
	threads int

	orig, quant engine
	whole       *exec.Session // the quantized model with the values between its operators as outputs
	apart       engine        // its operators, each from given values
	parts       *analyze.Parts
	parity      *analyze.ParitySum

	runtime *onnxruntime.Runtime
	folder  string
}

func (c *checker) close() {
	for _, s := range []*exec.Session{c.whole, c.apart.here} {
		if s != nil {
			s.Close()
		}
	}
	if c.runtime != nil {
		_ = c.runtime.Close()
	}
	if c.folder != "" {
		_ = os.RemoveAll(c.folder)
	}
}

// start finds ONNX Runtime and loads the models there. That there is none is an error only where a Python was named.
func (c *checker) start(ctx context.Context, python string) error {
	r, err := onnxruntime.Start(ctx, python)
	if errors.Is(err, onnxruntime.ErrNone) && python == "" {
		c.Missing = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	c.runtime, c.Runtime, c.Python = r, "ONNX Runtime "+r.Version, r.Python
	if c.folder, err = os.MkdirTemp("", "neuroquant-verify-"); err != nil {
		return err
	}
	if c.orig.there, err = c.load(ctx, c.a.Original.m, "original"); err != nil {
		c.Notes = append(c.Notes, fmt.Sprintf("the original does not run in ONNX Runtime: %v", err))
	}
	if c.quant.there, err = c.load(ctx, c.a.Quantized.m, "quantized"); err != nil {
		c.Failed = append(c.Failed, err.Error())
		return ctx.Err()
	}
	return c.cut(ctx)
}

// load makes ONNX Runtime load a model: its file, or one that is written for it.
func (c *checker) load(ctx context.Context, m *model.Model, name string) (*onnxruntime.Session, error) {
	path := m.Path
	if m.Format != formatONNX || path == "" {
		path = filepath.Join(c.folder, name+".onnx")
		if err := onnx.Format.Save(ctx, path, m, model.SaveOptions{}); err != nil {
			return nil, err
		}
	}
	return c.runtime.Load(path, c.threads)
}

// cut loads the operators of the quantized model by themselves.
func (c *checker) cut(ctx context.Context) error {
	m := c.a.Quantized.m
	g := m.Graph.Clone()
	if err := g.Infer(); err != nil {
		return err
	}
	c.parts = analyze.NewParts(g)
	var err error
	if c.whole, err = c.session(c.parts.Whole); err != nil {
		return err
	}
	if c.apart.here, err = c.session(c.parts.Apart); err != nil {
		return err
	}
	cut := m.With(c.parts.Apart)
	cut.Path = ""
	if c.apart.there, err = c.load(ctx, cut, "operators"); err != nil {
		return fmt.Errorf("the operators of %s by themselves: %w", c.a.Quantized.name(), err)
	}
	c.parity = analyze.NewParitySum(c.parts)
	return nil
}

func (c *checker) session(g *graph.Graph) (*exec.Session, error) {
	low, err := pass.Lower(g)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.a.Quantized.name(), err)
	}
	return exec.NewSession(low, exec.Options{Threads: c.threads})
}

// run runs everything on all samples.
func (c *checker) run(ctx context.Context, feeds *analyze.Feeds) error {
	task := progress.From(ctx).Start("verify", int64(feeds.Samples), "samples")
	defer task.Done()
	type pair struct {
		what string
		sum  analyze.AccuracySum
	}
	var pairs []pair
	og, qg := c.orig.here.Graph(), c.quant.here.Graph()
	for _, p := range []struct {
		what     string
		of, with *graph.Graph
		there    bool
	}{
		{quantHere, og, qg, false},
		{quantThere, og, qg, c.orig.there != nil && c.quant.there != nil},
		{quantBoth, qg, qg, c.quant.there != nil},
		{origBoth, og, og, c.orig.there != nil},
	} {
		sum, err := analyze.NewAccuracySum(p.of, p.with, c.a.Output)
		if err != nil {
			return err
		}
		if p.there || len(pairs) == 0 {
			pairs = append(pairs, pair{p.what, sum})
		}
	}
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return err
		}
		o, ot, err := c.both(ctx, &c.orig, f.In)
		if err != nil {
			return fmt.Errorf("original model: %w", err)
		}
		qin := analyze.InputsOf(og, qg, f.In)
		q, qt, err := c.both(ctx, &c.quant, qin)
		if err != nil {
			return fmt.Errorf("quantized model: %w", err)
		}
		for _, p := range pairs {
			ref, got := o, q
			switch p.what {
			case quantThere:
				ref, got = ot, qt
			case quantBoth:
				ref, got = qt, q
			case origBoth:
				ref, got = ot, o
			}
			if err := p.sum.Add(f, ref, got); err != nil {
				return err
			}
		}
		if c.parity != nil {
			if err := c.operators(ctx, qin); err != nil {
				return err
			}
		}
		c.Samples += f.Samples
		task.Add(int64(f.Samples))
	}
	for _, p := range pairs {
		c.Outputs = append(c.Outputs, OutputCheck{p.what, p.sum.Result()})
	}
	if c.parity != nil {
		c.Operators = c.parity.Operators()
	}
	return nil
}

// both runs a model here and, if it is loaded there, in ONNX Runtime, which must give as many outputs.
func (c *checker) both(ctx context.Context, e *engine, in []*tensor.Tensor) (here, there []*tensor.Tensor, err error) {
	if here, err = e.here.Run(ctx, in); err != nil || e.there == nil {
		return here, nil, err
	}
	res, err := e.there.Run(named(e.here.Graph(), in))
	if err != nil {
		return nil, nil, err
	}
	for _, v := range e.here.Graph().Outputs {
		if res[v.Name] == nil {
			return nil, nil, fmt.Errorf("ONNX Runtime gives no output %q that can be compared", v.Name)
		}
		there = append(there, res[v.Name])
	}
	return here, there, nil
}

func (c *checker) operators(ctx context.Context, in []*tensor.Tensor) error {
	given := named(c.quant.here.Graph(), in)
	whole, err := c.whole.RunNamed(ctx, given)
	if err != nil {
		return err
	}
	for name, t := range c.parts.Given(whole) {
		given[name] = t
	}
	ours, err := c.apart.here.RunNamed(ctx, given)
	if err != nil {
		return err
	}
	theirs, err := c.apart.there.Run(given)
	if err == nil {
		c.parity.Add(theirs, ours)
	}
	return err
}

// named returns the inputs of a call by their names.
func named(g *graph.Graph, in []*tensor.Tensor) map[string]*tensor.Tensor {
	out := map[string]*tensor.Tensor{}
	for i, v := range g.Inputs {
		if in[i] != nil {
			out[v.Name] = in[i]
		}
	}
	return out
}

// judge lists what does not hold.
func (c *checker) judge(o VerifyOptions) {
	fail := c.fail
	for _, p := range c.Outputs {
		switch p.What {
		case quantHere, quantThere:
			if s := p.WorstSQNR(); s != nil && o.MinSQNR != 0 && *s < o.MinSQNR {
				fail("%s: SQNR %.1f dB; want at least %g dB", p.What, *s, o.MinSQNR)
			}
		case quantBoth:
			if s, lost := p.WorstSQNR(), c.Outputs[0].WorstSQNR(); s != nil && lost != nil && *s < *lost {
				fail("%s: SQNR %.1f dB, less than the %.1f dB that quantization leaves", p.What, *s, *lost)
			}
		}
	}
	for _, p := range c.Operators {
		switch {
		case p.Bytes() && p.Within < minWithinOne:
			fail("operator %q (%s): %.3f %% of the codes of %q are within one of ONNX Runtime's; want at least %g %%", p.Node, p.Operator, 100*p.Within, p.Value, 100*minWithinOne)
		case !p.Bytes() && p.SQNR != nil && *p.SQNR < minFloatSQNR:
			fail("operator %q (%s): %q is %.1f dB from ONNX Runtime's; want at least %d dB", p.Node, p.Operator, p.Value, *p.SQNR, minFloatSQNR)
		}
	}
}
