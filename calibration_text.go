package neuroquant

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/analyze"
	"github.com/neurotrain/neuroquant/internal/generate"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/report"
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

// write has the model write texts, as in Liu et al., "LLM-QAT: Data-Free Quantization Aware Training for Large Language Models" (2023): each
// begins with the token that begins a text, or where there is none with one drawn from the vocabulary, and goes on with tokens drawn by the
// probabilities that the model gives them. A text that ends is followed by the next in the same sample.
func (c *CalibrationText) write(ctx context.Context, orig *model.Model, most int) (data.Set, error) {
	size := analyze.SizeOf(orig).MemoryBytes
	if most > 0 && int64(most) < size+writtenBytes {
		return nil, fmt.Errorf("no calibration data: to write its own the model must be in memory, which takes %s, and max_memory is %s; give texts as data",
			report.Bytes(size+writtenBytes), report.Bytes(int64(most)))
	}
	log := progress.From(ctx).Log
	log(fmt.Sprintf("quantize: no calibration data: the model writes %d samples of %d tokens itself (seed %d)", c.Samples, c.Tokens, c.Seed))
	w := &Model{m: orig}
	g, err := w.NewGenerator(GeneratorOptions{Products: "float32", Cache: "float32"})
	if err != nil {
		return nil, err
	}
	defer debug.FreeOSMemory()
	defer g.Close()
	task := progress.From(ctx).Start("write calibration text", int64(c.Samples*c.Tokens), "tokens")
	defer task.Done()
	random := rand.New(rand.NewPCG(c.Seed, uint64(c.Tokens)))
	var ids []int64
	for done, together := 0, 1; done < c.Samples; { // the first alone tells what a cache takes
		n := min(together, c.Samples-done)
		r := generate.Request{Tokens: c.Tokens - 1, Sampling: generate.Sampling{Temperature: 1, Seed: random.Uint64()}}
		for range n {
			first := g.l.begin
			if first < 0 {
				first = random.IntN(g.l.tokenizer.Size())
			}
			r.Prompts = append(r.Prompts, []int{first})
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
		together = max(min(writtenBytes/max(timing.CacheBytes/n, 1), 16), 1)
	}
	return data.Windows(orig.Graph.Inputs[0].Name, ids, c.Tokens)
}
