package hf

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// layout is a way in which checkpoints store a quantized matrix, as several tensors whose names begin with that of the module.
type layout struct {
	name string // as [model.SaveOptions] names it
	// refuse says why a matrix cannot be stored, or nothing.
	refuse func(a *packed.Affine) string
	// parts are the tensors of a matrix, by the ends of their names.
	parts []part
	// config is the quantization_config.
	config func(d *described) map[string]any
}

// described is what a quantization_config says of a model.
type described struct {
	tensor.Scheme          // of its matrices of codes; the group is 0 where all have whole rows
	coded, kept   []string // the modules that are matrices of codes, and those that stay in float
	settings      map[string]any
}

// part is one of the tensors that a matrix is stored as.
type part struct {
	end   string
	dtype tensor.DType
	typed func(a *packed.Affine) tensor.DType // nil: dtype
	has   func(a *packed.Affine) bool         // nil: always
	shape func(a *packed.Affine) tensor.Shape
	data  func(a *packed.Affine) *tensor.Tensor
}

// layoutsWritten is the table of layouts that can be written.
var layoutsWritten = []layout{gptqLayout("gptq", 1), gptqLayout("gptq_v2", 0), awqLayout, compressedLayout}

// LayoutNames lists the layouts that matrices of few bits can be written in.
func LayoutNames() []string {
	var out []string
	for _, l := range layoutsWritten {
		out = append(out, l.name)
	}
	return append(out, bitsAndBytes)
}

// CheckLayout reports why a layout cannot hold a matrix of a scheme, rows x cols; nil if it can.
func CheckLayout(name string, s tensor.Scheme, rows, cols int) error {
	switch rounded := s.Code != "int"; {
	case s.Code == packed.W8A8 && name == compressedLayout.name, rounded && s.Code != packed.W8A8 && name == bitsAndBytes:
		return nil
	case rounded || name == bitsAndBytes:
		return fmt.Errorf("layout %s cannot hold %v", name, s)
	}
	l, err := findLayout(name)
	if err != nil {
		return err
	}
	group := s.Group
	if group <= 0 {
		group = max(cols, 1)
	}
	a := &packed.Affine{Bits: s.Bits, Rows: rows, Cols: cols, Group: group, ScaleType: tensor.Float16}
	if !s.Symmetric {
		a.Zeros = []byte{}
	}
	if s.Reordered {
		a.Index = []int32{}
	}
	if why := l.refuse(a); why != "" {
		return errors.New(why)
	}
	return nil
}

func findLayout(name string) (*layout, error) {
	for i := range layoutsWritten {
		if layoutsWritten[i].name == name {
			return &layoutsWritten[i], nil
		}
	}
	return nil, fmt.Errorf("unknown layout %q; known are %s", name, strings.Join(LayoutNames(), ", "))
}

// asCoded returns a source as one of a matrix of codes, nil if it is none.
func asCoded(s tensor.Source) packed.Coded {
	if s.DType() != tensor.Float32 {
		return nil
	}
	if _, stored := s.(*safetensors.Tensor); stored {
		return nil
	}
	c, _ := s.(packed.Coded)
	return c
}

// laidOut is a model's state with its matrices of codes taken apart, and the configuration that says so.
func (l *layout) laidOut(m *model.Model, settings map[string]any) (state []model.Entry, config map[string]any, err error) {
	var errs []error
	var all common
	d := &described{settings: settings}
	for _, e := range m.StateDict() {
		module, isWeight := strings.CutSuffix(e.Name, ".weight")
		c := asCoded(e.Source)
		if c == nil {
			if isWeight && len(e.Shape()) == 2 {
				d.kept = append(d.kept, module)
			}
			state = append(state, e)
			continue
		}
		a, err := packed.FormOf(c)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if !isWeight {
			errs = append(errs, fmt.Errorf("tensor %q: only tensors called MODULE.weight can be stored in codes", e.Name))
			continue
		}
		if why := l.refuse(a); why != "" {
			errs = append(errs, fmt.Errorf("layer %q: %s", module, why))
			continue
		}
		if err := all.add(a); err != nil {
			errs = append(errs, fmt.Errorf("layer %q: %v; layout %s holds one scheme: %w", module, a.Scheme(), l.name, err))
			continue
		}
		d.coded = append(d.coded, module)
		matrix := &matrix{source: c, form: a, refuse: l.refuse}
		for _, p := range l.parts {
			if p.has == nil || p.has(a) {
				matrix.parts++
				state = append(state, model.Entry{Name: module + "." + p.end, Source: &partSource{matrix, p}})
			}
		}
	}
	if all.count == 0 {
		errs = append(errs, errors.New("the model has no matrices of codes"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	config = map[string]any{}
	for k, v := range m.Config {
		config[k] = v
	}
	d.Scheme = all.Scheme
	config["quantization_config"] = l.config(d)
	return state, config, nil
}

// matrix is a matrix of codes whose parts are written one after the other: it is loaded with the first and let go of with the last.
type matrix struct {
	source      packed.Coded
	form        *packed.Affine
	refuse      func(a *packed.Affine) string
	parts, done int
	loaded      *packed.Affine
}

func (m *matrix) load() (*packed.Affine, error) {
	if m.loaded != nil {
		return m.loaded, nil
	}
	a, err := m.source.Affine()
	if err != nil {
		return nil, err
	}
	if why := m.refuse(a); why != "" {
		return nil, errors.New(why)
	}
	m.loaded = a
	collect(a.Rows * a.Cols)
	return a, nil
}

func (m *matrix) release() {
	if m.done++; m.done >= m.parts {
		m.loaded, m.done = nil, 0
		tensor.Release(m.source)
		collect(m.form.Rows * m.form.Cols)
	}
}

// collect takes away what a matrix of so many values left behind, where that is much: the next would be made beside it.
func collect(values int) {
	if values >= 4<<20 {
		debug.FreeOSMemory()
	}
}

// common is the scheme of several matrices; its group is 0 where all have whole rows.
type common struct {
	tensor.Scheme
	count, widest int // widest: the most columns of a matrix that is one group
}

// add reports why a matrix does not go with those before.
func (c *common) add(a *packed.Affine) error {
	s := a.Scheme()
	switch {
	case c.count == 0:
		c.Scheme = s
	case s.Bits != c.Bits || s.Symmetric != c.Symmetric:
		return fmt.Errorf("that of the layers before is %v", c.Scheme)
	case s.Group > 0 && c.Group > 0 && s.Group != c.Group:
		return fmt.Errorf("groups of %d, those of the layers before have %d", s.Group, c.Group)
	}
	c.count++
	c.Group = max(c.Group, s.Group)
	c.Reordered = c.Reordered || s.Reordered
	if s.Group == 0 {
		c.widest = max(c.widest, a.Cols)
	}
	if c.Group > 0 && c.widest > c.Group {
		return fmt.Errorf("rows of %d inputs have one scale, other layers have groups of %d", c.widest, c.Group)
	}
	return nil
}

// partSource is a tensor of a matrix of codes, made when it is written.
type partSource struct {
	m *matrix
	p part
}

func (s *partSource) Shape() tensor.Shape { return s.p.shape(s.m.form) }
func (s *partSource) DType() tensor.DType {
	if s.p.typed != nil {
		return s.p.typed(s.m.form)
	}
	return s.p.dtype
}

// Load implements [tensor.Source].
func (s *partSource) Load() (*tensor.Tensor, error) {
	a, err := s.m.load()
	if err != nil {
		return nil, err
	}
	return s.p.data(a), nil
}

// Release implements [tensor.Releaser].
func (s *partSource) Release() { s.m.release() }

// codedWeights are the tensors of a checkpoint in which some matrices are stored in codes: by the names that they have in the float model.
type codedWeights struct {
	*Weights
	coded map[string]tensor.Source // MODULE.weight
	names []string
}

// Tensor implements [arch.Weights].
func (w *codedWeights) Tensor(name string) tensor.Source {
	if s := w.coded[name]; s != nil {
		return s
	}
	return w.Weights.Tensor(name)
}

// Names implements [arch.Weights].
func (w *codedWeights) Names() []string { return w.names }

// coded gathers the tensors of each module that has one with the first of ends; make joins them. Tensors come in the order of ends, nil where
// the module has none.
func coded(w *Weights, ends []string, make func(module string, t []tensor.Source) (tensor.Source, error)) (arch.Weights, error) {
	out := &codedWeights{Weights: w, coded: map[string]tensor.Source{}}
	var errs []error
	for _, name := range w.Names() {
		at := slices.IndexFunc(ends, func(e string) bool { return strings.HasSuffix(name, "."+e) })
		if at < 0 {
			out.names = append(out.names, name)
			continue
		}
		module := strings.TrimSuffix(name, "."+ends[at])
		if w.Tensor(module+"."+ends[0]) == nil {
			out.names = append(out.names, name)
			continue
		}
		if at != 0 {
			continue
		}
		parts := []tensor.Source{}
		for _, e := range ends {
			parts = append(parts, w.Tensor(module+"."+e))
		}
		s, err := make(module, parts)
		if err != nil {
			errs = append(errs, fmt.Errorf("module %q: %w", module, err))
			continue
		}
		out.coded[module+".weight"] = s
		out.names = append(out.names, module+".weight")
	}
	return out, errors.Join(errs...)
}

// joinedSource is a matrix that is joined from its tensors when it is loaded.
type joinedSource struct {
	shape tensor.Shape
	parts []tensor.Source // nil: the module has none
	join  func(t []*tensor.Tensor) (tensor.Packed, error)
}

func (s *joinedSource) Shape() tensor.Shape { return s.shape }
func (s *joinedSource) DType() tensor.DType { return tensor.Float32 }

// matrix joins the tensors.
func (s *joinedSource) matrix() (tensor.Packed, error) {
	t := make([]*tensor.Tensor, len(s.parts))
	for i, p := range s.parts {
		if p == nil {
			continue
		}
		var err error
		if t[i], err = p.Load(); err != nil {
			return nil, err
		}
	}
	return s.join(t)
}

// Load implements [tensor.Source].
func (s *joinedSource) Load() (*tensor.Tensor, error) {
	p, err := s.matrix()
	if err != nil {
		return nil, err
	}
	return tensor.NewPacked(tensor.Float32, s.shape, p), nil
}

// Release implements [tensor.Releaser].
func (s *joinedSource) Release() {
	for _, p := range s.parts {
		if p != nil {
			tensor.Release(p)
		}
	}
}

// codedSource is a joinedSource that is a matrix of codes.
type codedSource struct{ joinedSource }

// newCoded returns a source that joins a matrix of codes, rows x cols.
func newCoded(rows, cols int, parts []tensor.Source, join func(t []*tensor.Tensor) (*packed.Affine, error)) *codedSource {
	return &codedSource{joinedSource{tensor.Shape{rows, cols}, parts, func(t []*tensor.Tensor) (tensor.Packed, error) {
		a, err := join(t)
		if err != nil {
			return nil, err
		}
		if a.Rows != rows || a.Cols != cols {
			return nil, fmt.Errorf("%d x %d codes; want %d x %d", a.Rows, a.Cols, rows, cols)
		}
		return a, a.Check()
	}}}
}

// Affine implements [packed.Coded].
func (s *codedSource) Affine() (*packed.Affine, error) {
	p, err := s.matrix()
	if err != nil {
		return nil, err
	}
	return p.(*packed.Affine), nil
}

// wants checks what a tensor of a module is.
func wants(what string, s tensor.Source, shape tensor.Shape, types ...tensor.DType) error {
	switch {
	case s == nil:
		return fmt.Errorf("%s is missing", what)
	case !slices.Contains(types, s.DType()):
		return fmt.Errorf("%s: want %v, found %v", what, types, s.DType())
	case shape != nil && !s.Shape().Equal(shape):
		return fmt.Errorf("%s: want shape %v, found %v", what, []int(shape), []int(s.Shape()))
	}
	return nil
}

// numbers reads whole settings of a quantization_config.
type numbers struct {
	config map[string]any
	errs   []error
}

func (n *numbers) integer(def int, keys ...string) int {
	for _, k := range keys {
		switch v := n.config[k].(type) {
		case nil:
			continue
		case int:
			return v
		case int64:
			return int(v)
		case float64:
			if v == float64(int(v)) {
				return int(v)
			}
		case interface{ Int64() (int64, error) }:
			if i, err := v.Int64(); err == nil {
				return int(i)
			}
		}
		n.errs = append(n.errs, fmt.Errorf("quantization_config: %s: want a whole number, found %v", k, n.config[k]))
	}
	return def
}

func (n *numbers) boolean(def bool, key string) bool {
	switch v := n.config[key].(type) {
	case nil:
		return def
	case bool:
		return v
	}
	n.errs = append(n.errs, fmt.Errorf("quantization_config: %s: want true or false, found %v", key, n.config[key]))
	return def
}

func (n *numbers) text(def, key string) string {
	switch v := n.config[key].(type) {
	case nil:
		return def
	case string:
		return strings.ToLower(v)
	}
	n.errs = append(n.errs, fmt.Errorf("quantization_config: %s: want a text, found %v", key, n.config[key]))
	return def
}
