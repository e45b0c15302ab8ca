package gguf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/gguf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// Options are the choices for a file that is written; the zero value makes a float16 file.
type Options struct {
	Type string // a [Mixture]; empty: F16
	// Pure makes all matrices that may be of blocks of the mixture's first type, the embedding and the head too.
	Pure bool
	// Kinds has, under the names of matrices in the checkpoint, the types that they are to be of in place of those of the mixture.
	Kinds map[string]packed.Kind
	// Importance has, under the names of tensors in the checkpoint, the mean square of what each column is multiplied by.
	Importance map[string][]float32
	// SplitBytes is how much tensor data a file holds at most; 0: all in one file.
	SplitBytes int
	Threads    int // that encode; 0: all that there are
}

// target is a tensor of the file that is written.
type target struct {
	name       string
	from       string // its name in the checkpoint, the first of several
	kind       packed.Kind
	shape      []int
	rows, cols int
	layer      int
	parts      []item // one, or those of a stack, each with an equal share of the rows; none: values
	values     []float32
	order      func(r int) int
	plusOne    bool
	transpose  bool
}

// item is a tensor of the checkpoint. Importance has the mean square of what each column is multiplied by, or is nil.
type item struct {
	source     tensor.Source
	importance []float32
}

func (t *target) size() (int, error) {
	n, err := t.kind.RowBytes(t.cols)
	return n * t.rows, err
}

// Plan is a file that can be written: what is in it is decided, from shapes and configuration alone.
type Plan struct {
	pairs   []gguf.Pair
	notes   []string
	targets []*target
	mixture Mixture
	options Options
}

// Tensor is a line of a plan.
type Tensor struct {
	Name, From string
	Kind       packed.Kind
	Shape      []int
	Bytes      int
}

// Tensors lists what the file will hold.
func (p *Plan) Tensors() []Tensor {
	out := make([]Tensor, len(p.targets))
	for i, t := range p.targets {
		n, _ := t.size() // [NewPlan] has seen that it is no error
		out[i] = Tensor{t.name, t.from, t.kind, t.shape, n}
	}
	return out
}

// NewPlan decides how a model of a known architecture becomes a GGUF file.
func NewPlan(m *model.Model, o Options) (*Plan, error) {
	if m.Config == nil {
		return nil, errors.New("GGUF files hold language models of known architectures; this one has no configuration of such")
	}
	if o.Type == "" {
		o.Type = "F16"
	}
	mixture, err := ParseMixture(o.Type)
	if err != nil {
		return nil, err
	}
	fam, err := familyFor(m)
	if err != nil {
		return nil, err
	}
	p := &Plan{mixture: mixture, options: o}
	c := &fields{writing: true, arch: fam.name, config: m.Config}
	fam.config(c)
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	number := func(key string) int {
		for _, q := range c.pairs {
			if q.Key == fam.name+"."+key {
				if v, ok := q.Value.(uint32); ok {
					return int(v)
				}
			}
		}
		return 0
	}
	rules := &mixed{
		Mixture: mixture, layers: number("block_count"), heads: number("attention.head_count"), kvHeads: number("attention.head_count_kv"),
		experts: number("expert_count"), tied: true, weighted: len(o.Importance) > 0, pure: o.Pure,
	}
	if rules.kvHeads == 0 {
		rules.kvHeads = rules.heads
	}
	if err := p.addTensors(m.StateDict(), fam, rules); err != nil {
		return nil, err
	}
	names, values, err := ropeTensors(m.Config, number("rope.dimension_count"))
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		n := len(values[i])
		p.targets = append(p.targets, &target{name: name, kind: packed.F32, shape: []int{n}, rows: 1, cols: n, layer: -1, values: values[i]})
	}
	for _, t := range p.targets {
		if _, err := t.size(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.name, err)
		}
	}
	p.general(m, fam)
	p.pairs = append(p.pairs, c.pairs...)
	p.notes = c.notes
	if rules.copied {
		p.pairs = append(p.pairs, gguf.Pair{Key: tiedOutputKey, Value: true})
	}
	embedding := slices.IndexFunc(p.targets, func(t *target) bool { return t.name == "token_embd.weight" })
	if embedding < 0 {
		return nil, errors.New("the model has no token embedding")
	}
	vocab, err := vocabularyPairs(m, p.targets[embedding].rows)
	if err != nil {
		return nil, err
	}
	p.pairs = append(p.pairs, vocab...)
	return p, nil
}

func (p *Plan) general(m *model.Model, fam *family) {
	name := m.Metadata["name"]
	if name == "" {
		name = baseName(m.Path)
	}
	p.pairs = []gguf.Pair{
		{Key: "general.architecture", Value: fam.name},
		{Key: "general.type", Value: "model"},
		{Key: "general.name", Value: name},
		{Key: "general.file_type", Value: p.mixture.fileType},
		{Key: "general.quantization_version", Value: uint32(2)},
	}
}

// choose takes the type that is given for a tensor's parts; parts of several types are stored as float32.
func (t *target) choose(kinds map[tensor.Source]packed.Kind) {
	for i, p := range t.parts {
		k, ok := kinds[p.source]
		switch {
		case !ok:
			return
		case i > 0 && k != t.kind:
			t.kind = packed.F32
			return
		}
		t.kind = k
	}
}

// addTensors gives the tensors of a checkpoint their names, types and order of rows.
func (p *Plan) addTensors(state []model.Entry, fam *family, rules *mixed) error {
	stacks := map[string]*stack{}
	var unknown []string
	var embedding *target
	for _, e := range state {
		to := fam.toGGUF(e.Name)
		if to.name == "" {
			if !leftover(e.Name) {
				unknown = append(unknown, e.Name)
			}
			continue
		}
		if to.index >= 0 {
			s := stacks[to.name]
			if s == nil {
				s = &stack{target: &target{name: to.name, layer: to.layer}, items: map[int]model.Entry{}}
				stacks[to.name] = s
				p.targets = append(p.targets, s.target)
			}
			s.items[to.index] = e
			continue
		}
		t := &target{name: to.name, from: e.Name, layer: to.layer, shape: slices.Clone(e.Shape())}
		if err := t.fill(fam, rules, []model.Entry{e}, p.options.Importance); err != nil {
			return err
		}
		switch t.name {
		case "output.weight":
			rules.tied = false
		case "token_embd.weight":
			embedding = t
		}
		p.targets = append(p.targets, t)
	}
	for _, s := range stacks {
		if err := s.fill(fam, rules, p.options.Importance); err != nil {
			return err
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%d tensors have no place in GGUF's %s: %s", len(unknown), fam.name, strings.Join(unknown[:min(len(unknown), 8)], ", "))
	}
	if fam.output && rules.tied && embedding != nil {
		head := *embedding
		head.name, rules.tied, rules.copied = "output.weight", false, true
		p.targets = append(p.targets, &head)
	}
	kinds := map[tensor.Source]packed.Kind{}
	for _, e := range state {
		if k, ok := p.options.Kinds[e.Name]; ok {
			kinds[e.Source] = k
		}
	}
	for _, t := range p.targets {
		t.kind = rules.kind(t.name, t.layer, t.shape)
		if quantizable(t.name, t.shape) && !t.transpose {
			t.choose(kinds)
		}
	}
	// What belongs to no layer comes first.
	slices.SortStableFunc(p.targets, func(a, b *target) int { return a.layer - b.layer })
	return nil
}

// stack gathers the tensors of a checkpoint that are one in GGUF.
type stack struct {
	*target
	items map[int]model.Entry
}

// fill completes the target when all tensors are there.
func (s *stack) fill(fam *family, rules *mixed, importance map[string][]float32) error {
	var list []model.Entry
	for i := range len(s.items) {
		e, ok := s.items[i]
		if !ok {
			return fmt.Errorf("tensor %q of GGUF: number %d of %d is missing in the checkpoint", s.name, i, len(s.items))
		}
		if i > 0 && !e.Shape().Equal(list[0].Shape()) {
			return fmt.Errorf("tensor %q has shape %v, %q has %v", e.Name, e.Shape(), list[0].Name, list[0].Shape())
		}
		list = append(list, e)
	}
	s.from = list[0].Name
	s.shape = append([]int{len(list)}, list[0].Shape()...)
	return s.target.fill(fam, rules, list, importance)
}

// fill completes the target of tensors of the checkpoint that lie one behind the other.
func (t *target) fill(fam *family, rules *mixed, list []model.Entry, importance map[string][]float32) error {
	if n := len(list[0].Shape()); n == 0 || n > 2 {
		return fmt.Errorf("tensor %q of shape %v: want a vector or a matrix", t.from, list[0].Shape())
	}
	t.transpose = fam.transpose && len(t.shape) == 2 && t.layer >= 0
	if t.transpose {
		t.shape[0], t.shape[1] = t.shape[1], t.shape[0]
	}
	t.order = fam.order(t.name, rules.heads, rules.kvHeads, t.shape[0])
	t.plusOne = fam.plusOne && strings.HasSuffix(t.name, "norm.weight")
	last := len(t.shape) - 1
	t.rows, t.cols = tensor.Shape(t.shape[:last]).Len(), t.shape[last]
	for _, e := range list {
		one := item{source: e.Source}
		if w := importance[e.Name]; len(w) == t.cols && len(t.shape) > 1 {
			one.importance = w
		}
		t.parts = append(t.parts, one)
	}
	return nil
}

// leftover reports whether a tensor of a checkpoint can be computed from the configuration.
func leftover(name string) bool {
	return strings.HasSuffix(name, "rotary_emb.inv_freq") || strings.HasSuffix(name, ".attn.bias") || strings.HasSuffix(name, ".attn.masked_bias") ||
		strings.HasSuffix(name, ".attention.bias") || strings.HasSuffix(name, ".attention.masked_bias")
}

// Notes are what a reader of the file should know that it does not say.
func (p *Plan) Notes() []string { return p.notes }

// Type is the name of the mixture.
func (p *Plan) Type() string { return p.mixture.Name }
