package neuroquant

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/generate"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/report"
	"github.com/neurotrain/neuroquant/tensor"
)

// CalibrationText says of calibration samples that the model wrote itself how they came about.
type CalibrationText struct {
	Samples int    `json:"samples"`
	Tokens  int    `json:"tokens"` // of each
	Seed    uint64 `json:"seed"`
}

// String says it in words.
func (c *CalibrationText) String() string {
	return fmt.Sprintf("calibrated without data: the model wrote %d samples of %d tokens itself (seed %d); texts like those that it will see, given as data, serve it better", c.Samples, c.Tokens, c.Seed)
}

// WritesCalibration reports whether method m, with its settings, calibrates language models that get no data with texts of their own.
func (c Config) WritesCalibration() bool {
	return solvesLayers(c.Method) || c.Method == "w8a8" && c.SmoothQuant
}

// writtenBytes is what the key-value caches of sequences that are written together take at most, but for one.
const writtenBytes = 256 << 20

// ownText returns what the model would write to calibrate itself, nil where it does not: there is data, the method takes none, or it is no
// language model.
func (m *Manager) ownText(orig *model.Model) *CalibrationText {
	w := &Model{m: orig}
	if m.calibration != nil || m.statistics != nil || !m.config.WritesCalibration() || !w.PredictsText() {
		return nil
	}
	c := &CalibrationText{Samples: m.config.NumCalibrationSamples, Tokens: m.config.CalibrationLength, Seed: m.config.CalibrationSeed}
	if l, err := w.language(); err == nil && l.context > 0 {
		c.Tokens = min(c.Tokens, l.context)
	}
	return c
}

// writtenTogether is how many sequences are written at once after the first, of which the cache of one takes so many bytes.
func writtenTogether(cache int) int { return max(min(writtenBytes/max(cache, 1), 16), 1) }

// memory is what writing takes of the heap, and of the files of the model.
func (c *CalibrationText) memory(orig *model.Model) (heap, mapped int) {
	cache := 0
	for _, n := range orig.Graph.Nodes {
		if n.Op.Kind() != "Attention" {
			continue
		}
		for _, v := range n.In[1:3] { // keys and values
			if d := v.Type.Dims; len(d) > 0 && d[len(d)-1].IsKnown() {
				cache += 4 * (c.Tokens + 63) / 64 * 64 * d[len(d)-1].Size
			}
		}
	}
	vocabulary := 0
	if d := orig.Graph.Outputs[0].Type.Dims; len(d) > 0 && d[len(d)-1].IsKnown() {
		vocabulary = d[len(d)-1].Size
	}
	together := min(writtenTogether(cache), c.Samples)
	// Matrices of 16 bits are multiplied by as they lie in their files; of others there are packed copies beside those.
	mapped = int(diskBytes(orig))
	for _, v := range orig.Graph.Params() {
		stored := v.Data
		if d, ok := stored.(tensor.Derived); ok && len(d.Parts()) == 1 {
			stored = d.Parts()[0]
		}
		if stored.DType() == tensor.Float32 {
			mapped += 4 * stored.Shape().Len()
		}
	}
	// Logits, and what a draw makes of them; values of a step.
	return max(cache, min(together*cache, writtenBytes)) + 32*together*vocabulary + 4<<20, mapped
}

// calibrationWriter is a model that writes texts.
type calibrationWriter struct {
	*Generator
	orig *model.Model
}

func (c *CalibrationText) generator(orig *model.Model) (*calibrationWriter, error) {
	g, err := (&Model{m: orig}).NewGenerator(GeneratorOptions{Products: "float32", Cache: "float32"})
	if err != nil {
		return nil, err
	}
	return &calibrationWriter{g, orig}, nil
}

// end gives up the memory of the model, which methods that follow hold a part of at a time.
func (w *calibrationWriter) end() {
	w.Close()
	for _, v := range w.orig.Graph.Params() {
		tensor.Release(v.Data)
	}
	debug.FreeOSMemory()
}

// first is the token that a text begins with.
func (w *calibrationWriter) first(random *rand.Rand) int {
	if w.l.begin >= 0 {
		return w.l.begin
	}
	return random.IntN(w.l.tokenizer.Size())
}

// timedSteps is how many tokens of a text are written to time all.
const timedSteps = 8

// time estimates how long writing takes: a step at the beginning of a text tells what one takes, for one text and for those that are written
// together, and one at the end how that grows with the text.
func (c *CalibrationText) time(ctx context.Context, orig *model.Model) (time.Duration, error) {
	heap, _ := c.memory(orig)
	defer quantize.HoldLasting(heap)()
	start := time.Now()
	g, err := c.generator(orig)
	if err != nil {
		return 0, err
	}
	defer g.end()
	random := rand.New(rand.NewPCG(c.Seed, uint64(c.Tokens)))
	cache := 0
	step := func(texts, behind int) (float64, error) {
		r := generate.Request{Tokens: timedSteps, Sampling: generate.Sampling{Temperature: 1}}
		for range texts {
			prompt := make([]int, behind+1)
			for i := range prompt {
				prompt[i] = g.first(random)
			}
			r.Prompts = append(r.Prompts, prompt)
		}
		least := math.Inf(1)
		for range 2 {
			_, timing, err := g.e.Run(ctx, r)
			if err != nil {
				return 0, damaged(ctx, orig, err)
			}
			least, cache = min(least, float64(timing.Decode)/(timedSteps-1)), timing.CacheBytes/texts
		}
		return least, nil
	}
	if _, err := step(1, 0); err != nil { // prepares the model
		return 0, err
	}
	opening := time.Since(start)
	one, err := step(1, 0)
	if err != nil {
		return 0, err
	}
	late, err := step(1, max(c.Tokens-timedSteps-1, 0))
	if err != nil {
		return 0, err
	}
	grows := max(late-one, 0) / 2 // on average
	together := min(writtenTogether(cache), c.Samples)
	all, err := step(together, 0)
	if err != nil {
		return 0, err
	}
	steps, rest := float64(c.Tokens-1), float64(c.Samples-1)
	total := steps * (one + grows + rest/float64(together)*all + rest*grows)
	return opening + time.Duration(total), nil
}

// write has the model write texts, as in Liu et al., "LLM-QAT: Data-Free Quantization Aware Training for Large Language Models" (2023): each
// begins with the token that begins a text, or where there is none with one drawn from the vocabulary, and goes on with tokens drawn by the
// probabilities that the model gives them. A text that ends is followed by the next in the same sample.
func (c *CalibrationText) write(ctx context.Context, orig *model.Model, most int) (data.Set, error) {
	heap, mapped := c.memory(orig)
	if peak := quantize.LastingPeak(heap, mapped); most > 0 && most < peak {
		return nil, fmt.Errorf("no calibration data: to write its own the model must be in memory, which takes %s, and max_memory is %s; give texts as data",
			report.Bytes(int64(peak)), report.Bytes(int64(most)))
	}
	defer quantize.HoldLasting(heap)()
	log := progress.From(ctx).Log
	log(fmt.Sprintf("quantize: no calibration data: the model writes %d samples of %d tokens itself (seed %d)", c.Samples, c.Tokens, c.Seed))
	g, err := c.generator(orig)
	if err != nil {
		return nil, err
	}
	defer g.end()
	task := progress.From(ctx).Start("write calibration text", int64(c.Samples*c.Tokens), "tokens")
	defer task.Done()
	random := rand.New(rand.NewPCG(c.Seed, uint64(c.Tokens)))
	var ids []int64
	for done, together := 0, 1; done < c.Samples; { // the first alone tells what a cache takes
		n := min(together, c.Samples-done)
		r := generate.Request{Tokens: c.Tokens - 1, Sampling: generate.Sampling{Temperature: 1, Seed: random.Uint64()}}
		for range n {
			r.Prompts = append(r.Prompts, []int{g.first(random)})
		}
		r.Each = func(int, int) (bool, error) {
			task.Add(1)
			return false, nil
		}
		texts, timing, err := g.e.Run(ctx, r)
		if err != nil {
			return nil, damaged(ctx, orig, err)
		}
		for i, t := range texts {
			ids = append(ids, int64(r.Prompts[i][0]))
			for _, id := range t.IDs {
				ids = append(ids, int64(id))
			}
		}
		done += n
		together = writtenTogether(timing.CacheBytes / n)
	}
	return data.Windows(orig.Graph.Inputs[0].Name, ids, c.Tokens)
}
