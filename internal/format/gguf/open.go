// Package gguf opens GGUF files, llama.cpp's, as models, and writes models as such files.
//
// A model that is opened has the names and the configuration of a Hugging Face checkpoint: its matrices are the blocks of the mapped
// file. What llama.cpp changes in a checkpoint, such as the order of the rows of queries and keys, is undone and done here.
package gguf

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/chat"
	"github.com/neurotrain/neuroquant/internal/codec/gguf"
	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
	"github.com/neurotrain/neuroquant/tensor"
)

// Name is the name of the format.
const Name = "gguf"

// Format is the entry of this package in the table of formats.
var Format = model.Format{Name: Name, Match: Match, Open: Open, Describe: Describe, Save: Save}

// Match reports whether the file at path begins as a GGUF file does.
func Match(_ string, head []byte) bool { return len(head) >= 4 && string(head[:4]) == gguf.Magic }

// File is a GGUF file, or the first of several with the others.
type File struct {
	*gguf.Header // of the first file
	Files        []string
	parts        []*part
	tensors      map[string]stored
	names        []string
}

type part struct {
	header *gguf.Header
	file   *mmap.File
}

// stored is a tensor with its bytes.
type stored struct {
	*gguf.Tensor
	kind packed.Kind
	data []byte
	part *part
}

// OpenFile maps a file and, where it is the first of several, all of them, and checks that every tensor lies within its file.
func OpenFile(path string) (*File, error) {
	f := &File{tensors: map[string]stored{}}
	if err := f.open(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *File) open(path string) error {
	if err := f.add(path); err != nil {
		return err
	}
	f.Header = f.parts[0].header
	count, ok, err := f.Int("split.count")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !ok || count <= 1 {
		return nil
	}
	if no, _, _ := f.Int("split.no"); no != 0 {
		return fmt.Errorf("%s: is part %d of %d; open the first, whose name ends in %s", path, no+1, count, splitSuffix(0, count))
	}
	prefix, ok := strings.CutSuffix(path, splitSuffix(0, count))
	if !ok || count > 1<<16 {
		return fmt.Errorf("%s: is the first of %d parts, so its name must end in %s", path, count, splitSuffix(0, count))
	}
	for i := 1; i < count; i++ {
		if err := f.add(prefix + splitSuffix(i, count)); err != nil {
			return fmt.Errorf("part %d of %d: %w", i+1, count, err)
		}
	}
	if want, ok, _ := f.Int("split.tensors.count"); ok && want != len(f.names) {
		return fmt.Errorf("%s: the parts have %d tensors, the first says %d", path, len(f.names), want)
	}
	return nil
}

func splitSuffix(i, count int) string { return fmt.Sprintf("-%05d-of-%05d.gguf", i+1, count) }

func (f *File) add(path string) error {
	m, err := mmap.Open(path)
	if err != nil {
		return err
	}
	h, err := gguf.Parse(m.Bytes())
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	p := &part{h, m}
	f.parts = append(f.parts, p)
	f.Files = append(f.Files, filepath.Base(path))
	for i := range h.Tensors {
		t := &h.Tensors[i]
		s := stored{Tensor: t, kind: packed.Kind(t.Type), part: p}
		if f.tensors[t.Name].Tensor != nil {
			return fmt.Errorf("%s: tensor %q is there twice", path, t.Name)
		}
		n, err := s.bytes()
		if err == nil {
			s.data, err = h.Bytes(m.Bytes(), t, n)
		}
		if err != nil {
			return fmt.Errorf("%s: tensor %q: %w", path, t.Name, err)
		}
		f.tensors[t.Name] = s
		f.names = append(f.names, t.Name)
	}
	return nil
}

// bytes returns how many bytes the tensor takes.
func (s stored) bytes() (int, error) {
	rows, cols := s.matrix()
	n, err := s.kind.RowBytes(cols)
	if err != nil {
		return 0, err
	}
	return rows * n, nil // at most 8 bytes an element, which the header's check allows for
}

// matrix returns the shape with all dimensions but the last made rows.
func (s stored) matrix() (rows, cols int) {
	if len(s.Shape) == 0 {
		return 1, 1
	}
	cols = s.Shape[len(s.Shape)-1]
	return tensor.Shape(s.Shape[:len(s.Shape)-1]).Len(), cols
}

// Close removes the mappings.
func (f *File) Close() error {
	var errs []error
	for _, p := range f.parts {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}

// source is a tensor of a file under the name and in the form of a checkpoint.
type source struct {
	stored
	shape     tensor.Shape
	order     func(r int) int // row of the file that is row r; nil: the same
	minusOne  bool
	transpose bool
}

// Shape implements [tensor.Source].
func (s *source) Shape() tensor.Shape { return s.shape }

// DType implements [tensor.Source]: packed matrices are of float32.
func (s *source) DType() tensor.DType {
	if d := s.kind.DType(); d != tensor.Invalid && !s.minusOne {
		return d
	}
	return tensor.Float32
}

// Release implements [tensor.Releaser].
func (s *source) Release() { s.part.file.Drop(s.data) }

// Load implements [tensor.Source].
func (s *source) Load() (*tensor.Tensor, error) {
	rows, cols := s.matrix()
	data := s.data
	if s.order != nil && rows > 0 {
		size := len(data) / rows
		data = make([]byte, 0, len(s.data))
		for r := range rows {
			at := s.order(r) * size
			data = append(data, s.data[at:at+size]...)
		}
	}
	d := s.kind.DType()
	if d == tensor.Invalid && !s.transpose && !s.minusOne {
		b, err := packed.NewBlocks(s.kind, rows, cols, data)
		if err != nil {
			return nil, err
		}
		return tensor.NewPacked(tensor.Float32, s.shape, b), nil
	}
	if d != tensor.Invalid && !s.transpose && !s.minusOne {
		return tensor.FromBytes(d, s.shape, data)
	}
	values := make([]float32, rows*cols)
	s.kind.Decode(values, data)
	if s.minusOne {
		for i := range values {
			values[i]--
		}
	}
	if s.transpose {
		turned := make([]float32, len(values))
		for r := range rows {
			for c := range cols {
				turned[c*rows+r] = values[r*cols+c]
			}
		}
		values = turned
	}
	t := tensor.Of(s.shape, values)
	if want := s.DType(); want != tensor.Float32 {
		wide, err := t.Float64s()
		if err != nil {
			return nil, err
		}
		return tensor.FromFloat64s(want, s.shape, wide)
	}
	return t, nil
}

// weights are the tensors of a file under the names of a checkpoint.
type weights struct {
	entries []model.Entry
	byName  map[string]tensor.Source
}

// Tensor implements [arch.Weights].
func (w *weights) Tensor(name string) tensor.Source { return w.byName[name] }

// Names implements [arch.Weights].
func (w *weights) Names() []string {
	out := make([]string, len(w.entries))
	for i, e := range w.entries {
		out[i] = e.Name
	}
	return out
}

// computed are tensors of GGUF files that say what the configuration of a checkpoint does.
var computed = []string{"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}

// weights gives the tensors of a file the form of a checkpoint of a family.
func (f *File) weights(fam *family, config map[string]any) (*weights, error) {
	c := &fields{config: config}
	heads, kvHeads, _ := c.headSizes()
	w := &weights{byName: map[string]tensor.Source{}}
	for _, name := range f.names {
		if slices.Contains(computed, name) || name == "output.weight" && config["tie_word_embeddings"] == true {
			continue
		}
		to := fam.toCheckpoint(name)
		if to == "" {
			return nil, fmt.Errorf("tensor %q has no place in a model of architecture %q that is known here", name, fam.name)
		}
		if strings.Contains(to, "%d") {
			if err := w.addStack(f.tensors[name], to); err != nil {
				return nil, err
			}
			continue
		}
		s := &source{stored: f.tensors[name], shape: slices.Clone(f.tensors[name].Shape)}
		rows := 1
		if len(s.shape) > 0 {
			rows = s.shape[0]
		}
		if order := fam.order(name, heads, kvHeads, rows); order != nil {
			s.order = inverseOrder(order, rows)
			if len(s.shape) == 1 { // a bias: rows of one element
				s.Tensor = &gguf.Tensor{Name: name, Type: s.Type, Shape: []int{rows, 1}}
				if s.kind.BlockSize() != 1 {
					return nil, fmt.Errorf("tensor %q: a bias of type %v is not supported", name, s.kind)
				}
			}
		}
		s.minusOne = fam.plusOne && strings.HasSuffix(name, "norm.weight")
		if fam.transpose && len(s.shape) == 2 && strings.HasPrefix(name, "blk.") {
			s.transpose = true
			s.shape[0], s.shape[1] = s.shape[1], s.shape[0]
		}
		w.add(to, s)
	}
	return w, nil
}

func (w *weights) add(name string, s *source) {
	w.byName[name] = s
	w.entries = append(w.entries, model.Entry{Name: name, Source: s})
}

// maxStack bounds the tensors of a stack.
const maxStack = 1 << 12

// addStack adds the tensors that are one in the file.
func (w *weights) addStack(t stored, name string) error {
	if len(t.Shape) < 2 || t.Shape[0] < 1 || t.Shape[0] > maxStack || len(t.data)%t.Shape[0] != 0 {
		return fmt.Errorf("tensor %q of shape %v: want up to %d tensors in one", t.Name, t.Shape, maxStack)
	}
	n, shape := len(t.data)/t.Shape[0], t.Shape[1:]
	for i := range t.Shape[0] {
		one := stored{Tensor: &gguf.Tensor{Name: t.Name, Type: t.Type, Shape: shape}, kind: t.kind, data: t.data[i*n : (i+1)*n], part: t.part}
		w.add(fmt.Sprintf(name, i), &source{stored: one, shape: slices.Clone(shape)})
	}
	return nil
}

// Config returns the configuration that a checkpoint of the same model would have.
func (f *File) config() (map[string]any, *family, error) {
	name, ok, err := f.Text("general.architecture")
	if err != nil || !ok {
		return nil, nil, errors.Join(err, errors.New("the metadata has no general.architecture: not a language model"))
	}
	has := func(t string) bool { return f.tensors[t].Tensor != nil }
	fam, err := familyNamed(name, has)
	if err != nil {
		return nil, nil, err
	}
	config := map[string]any{"model_type": fam.types[0]}
	c := &fields{arch: name, config: config, header: f.Header, has: has, alike: func(a, b string) bool {
		x, y := f.tensors[a], f.tensors[b]
		return x.kind == y.kind && x.Tensor != nil && y.Tensor != nil && slices.Equal(x.Shape, y.Shape)
	}}
	fam.config(c)
	embedding := f.tensors["token_embd.weight"]
	if embedding.Tensor == nil || len(embedding.Shape) != 2 {
		c.fail("tensor \"token_embd.weight\" is missing or no matrix")
	} else {
		config["vocab_size"] = embedding.Shape[0]
	}
	for key, field := range map[string]string{"bos": "bos_token_id", "eos": "eos_token_id", "padding": "pad_token_id"} {
		if id, ok, _ := f.Int("tokenizer.ggml." + key + "_token_id"); ok {
			config[field] = id
		}
	}
	if err := f.ropeFactors(config); err != nil {
		c.errs = append(c.errs, err)
	}
	return config, fam, errors.Join(c.errs...)
}

// Open reads the model in the file at path. Its parameters alias the mapped file until the model is closed.
func Open(ctx context.Context, path string) (*model.Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*model.Model, error) {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	config, fam, err := f.config()
	if err != nil {
		return fail(err)
	}
	w, err := f.weights(fam, config)
	if err != nil {
		return fail(err)
	}
	g, info, err := arch.Build(config, w)
	if err != nil {
		return fail(err)
	}
	m := &model.Model{
		Format: Name, Path: path, Dir: filepath.Dir(path), Files: f.Files, Metadata: map[string]string{}, Config: config, State: w.entries, Graph: g, Arch: info.Arch,
	}
	m.Producer, _, _ = f.Text("general.quantized_by")
	m.Doc, _, _ = f.Text("general.description")
	if s, ok, _ := f.Text("general.name"); ok {
		m.Metadata["name"] = s
	}
	m.Tokenizer = func() (*tokenizer.Tokenizer, error) { return openTokenizer(path) }
	m.Chat = func() (*chat.Template, error) { return openChat(path) }
	m.Own(f)
	return m, nil
}

// Describe lists the metadata and the tensors of a file, also where no graph can be made of them.
func Describe(ctx context.Context, path string) (c *model.Contents, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	c = &model.Contents{Kind: "checkpoint", Container: fmt.Sprintf("GGUF version %d", f.Version)}
	if len(f.Files) > 1 {
		c.Container += fmt.Sprintf(" in %d files", len(f.Files))
	}
	for _, name := range f.names {
		s := f.tensors[name]
		c.Tensors = append(c.Tensors, model.ContentTensor{Name: name, DType: s.kind.String(), Shape: append([]int{}, s.Shape...), Bytes: int64(len(s.data))})
	}
	for _, p := range f.Pairs {
		c.Other = append(c.Other, model.ContentValue{Name: p.Key, Value: brief(p.Value)})
	}
	return c, nil
}

// brief spells a value of the metadata out, arrays by their length.
func brief(v any) string {
	s := fmt.Sprint(v)
	if strings.HasPrefix(s, "[") {
		if _, isText := v.(string); !isText {
			return fmt.Sprintf("%T of %d", v, lenOf(v))
		}
	}
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
