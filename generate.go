package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/generate"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// GeneratorOptions say how a model is made ready to generate text.
type GeneratorOptions struct {
	Cache   string // element type of the key-value cache: float16 (also ""), int8 or float32
	Context int    // most tokens of prompt and answer together; 0: what the model was made for
	// Products says how prompts are multiplied by weights that are stored in 16 bits: bfloat16 (also "") rounds both factors to that type where
	// the processor has instructions for it, at about twice the speed; float32 does not. With float32, products with NF4 and FP4 weights are
	// those of their values in float32, and slow; else they are rounded to 8 bits in blocks, as those with other 4-bit weights are.
	Products string
}

// GenerateOptions say what is generated. A field that is nil or 0 is as generation_config.json says, or else off.
type GenerateOptions struct {
	MaxTokens         int // most new tokens; 0: as the configuration says, or 256
	Temperature       *float64
	TopK              *int
	TopP              *float64
	MinP              *float64
	RepetitionPenalty *float64
	Seed              uint64
	Stop              []string // texts that end an answer; they are not part of it
	Begin             bool     // put the token that begins a text before a prompt whose tokenizer does not
	Raw               bool     // the prompts hold their special tokens already, as a rendered chat does
	IgnoreEnd         bool     // go on after the token that ends a text
}

// Generation is what came of a prompt.
type Generation struct {
	Text      string `json:"text"`
	PromptIDs []int  `json:"prompt_ids"`
	IDs       []int  `json:"ids"`
	End       string `json:"end"` // "end" (the model was done), "stop" (a stop text), "length", "context"
}

// GenerationTiming is where the time of a generation went.
type GenerationTiming struct {
	PromptTokens    int           `json:"prompt_tokens"`
	GeneratedTokens int           `json:"generated_tokens"`
	Prefill         time.Duration `json:"prefill_ns"`
	Decode          time.Duration `json:"decode_ns"`
	CacheBytes      int           `json:"cache_bytes"`
}

// Generator is a language model that is ready to generate text. It is used by one goroutine at a time.
type Generator struct {
	m *Model
	l *language
	e *generate.Engine
	o GeneratorOptions
}

// NewGenerator makes a language model ready. The model must stay open while the generator is used.
func (m *Model) NewGenerator(o GeneratorOptions) (*Generator, error) {
	l, err := m.language()
	if err != nil {
		return nil, err
	}
	cache := tensor.Float16
	if o.Cache != "" {
		if cache, err = tensor.ParseDType(o.Cache); err != nil {
			return nil, fmt.Errorf("cache: %w; accepted: %s", err, cacheTypes())
		}
		if !slices.Contains(op.CacheTypes, cache) {
			return nil, fmt.Errorf("cache: keys and values are not kept in %v; accepted: %s", cache, cacheTypes())
		}
	}
	if o.Context == 0 {
		o.Context = l.context
	}
	if o.Products != "" && o.Products != tensor.BFloat16.String() && o.Products != tensor.Float32.String() {
		return nil, fmt.Errorf("products: unknown type %q; accepted: bfloat16, float32", o.Products)
	}
	e, err := generate.New(m.m.Graph, generate.Options{
		Cache: cache, Threads: m.threads, Context: o.Context, Positions: arch.Positions, Exact: o.Products == tensor.Float32.String(),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(), err)
	}
	return &Generator{m, l, e, o}, nil
}

// cacheTypes lists the element types of key-value caches.
func cacheTypes() string {
	names := make([]string, len(op.CacheTypes))
	for i, d := range op.CacheTypes {
		names[i] = d.String()
	}
	return strings.Join(names, ", ")
}

// Close releases the generator's threads and memory.
func (g *Generator) Close() { g.e.Close() }

// Tokenizer returns the tokenizer of the model.
func (g *Generator) Tokenizer() *Tokenizer { return g.l.tokenizer }

// sampling merges options and the model's own configuration.
func (g *Generator) sampling(o GenerateOptions) generate.Sampling {
	d := g.l.defaults
	s := generate.Sampling{Seed: o.Seed}
	if o.RepetitionPenalty == nil {
		o.RepetitionPenalty = d.RepetitionPenalty
	}
	if o.Temperature == nil && d.DoSample {
		one := 1.0
		if o.Temperature = d.Temperature; o.Temperature == nil {
			o.Temperature = &one
		}
	}
	if d.DoSample {
		if o.TopK == nil {
			o.TopK = d.TopK
		}
		if o.TopP == nil {
			o.TopP = d.TopP
		}
		if o.MinP == nil {
			o.MinP = d.MinP
		}
	}
	set(&s.Temperature, o.Temperature)
	set(&s.TopK, o.TopK)
	set(&s.TopP, o.TopP)
	set(&s.MinP, o.MinP)
	set(&s.RepetitionPenalty, o.RepetitionPenalty)
	return s
}

func set[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// request is what options ask for, without prompts.
func (g *Generator) request(o GenerateOptions) generate.Request {
	r := generate.Request{Tokens: o.MaxTokens, Sampling: g.sampling(o)}
	if r.Tokens == 0 {
		r.Tokens = 256
		set(&r.Tokens, g.l.defaults.MaxNewTokens)
	}
	if !o.IgnoreEnd {
		r.End = g.l.end
	}
	return r
}

// Generate continues prompts, all of them together. Each, which may be nil, is told the text of an answer as it comes.
func (g *Generator) Generate(ctx context.Context, prompts []string, o GenerateOptions, each func(prompt int, text string) error) ([]Generation, *GenerationTiming, error) {
	if len(prompts) == 0 {
		return nil, nil, errors.New("there is no prompt")
	}
	r := g.request(o)
	for i, p := range prompts {
		ids, err := g.ids(p, o)
		if err != nil {
			return nil, nil, fmt.Errorf("prompt %d: %w", i+1, err)
		}
		r.Prompts = append(r.Prompts, ids)
	}
	return g.run(ctx, r, o.Stop, each)
}

// run does what is asked for and makes text of it.
func (g *Generator) run(ctx context.Context, r generate.Request, stop []string, each func(prompt int, text string) error) ([]Generation, *GenerationTiming, error) {
	var answers []*answer
	for i := range r.Prompts {
		a := &answer{stream: g.l.tokenizer.t.Stream(true), stop: stop}
		if each != nil {
			a.emit = func(text string) error { return each(i, text) }
		}
		answers = append(answers, a)
	}
	r.Each = func(sequence, id int) (bool, error) { return answers[sequence].push(id) }
	sequences, t, err := g.e.Run(ctx, r)
	if err != nil {
		return nil, nil, damaged(ctx, g.m.m, err)
	}
	out := make([]Generation, len(sequences))
	for i, s := range sequences {
		if err := answers[i].finish(); err != nil {
			return nil, nil, err
		}
		out[i] = Generation{Text: answers[i].text.String(), PromptIDs: r.Prompts[i], IDs: s.IDs, End: s.End}
	}
	return out, &GenerationTiming{t.Prompt, t.Generated, t.Prefill, t.Decode, t.CacheBytes}, nil
}

// ids returns the tokens of a prompt.
func (g *Generator) ids(prompt string, o GenerateOptions) ([]int, error) {
	if o.Raw {
		return g.l.tokenizer.Encode(prompt, false)
	}
	ids, err := g.l.prompt(prompt)
	if err == nil && o.Begin && g.l.begin >= 0 && ids[0] != g.l.begin {
		ids = append([]int{g.l.begin}, ids...)
	}
	return ids, err
}

// answer is the text of a sequence while it comes.
type answer struct {
	stream interface {
		Push(id int) string
		Flush() string
	}
	stop []string
	emit func(text string) error
	text strings.Builder
	held string // may be the beginning of a stop text
	done bool
}

// push takes a token and reports whether a stop text has come.
func (a *answer) push(id int) (bool, error) { return a.take(a.stream.Push(id), false) }

// finish gives what was held back.
func (a *answer) finish() error {
	if a.done {
		return nil
	}
	_, err := a.take(a.stream.Flush(), true)
	return err
}

func (a *answer) take(text string, last bool) (bool, error) {
	a.held += text
	give := len(a.held)
	for _, s := range a.stop {
		if s == "" {
			continue
		}
		if i := strings.Index(a.held, s); i >= 0 && i < give || i == 0 {
			give, a.done = i, true
		}
	}
	if !a.done && !last {
		for _, s := range a.stop {
			for n := min(len(s)-1, len(a.held)); n > 0; n-- {
				if strings.HasSuffix(a.held, s[:n]) {
					give = min(give, len(a.held)-n)
					break
				}
			}
		}
	}
	out := a.held[:give]
	a.held = a.held[give:]
	a.text.WriteString(out)
	if out == "" || a.emit == nil {
		return a.done, nil
	}
	return a.done, a.emit(out)
}
