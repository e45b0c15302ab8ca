package hf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// companions are the files beside the weights that a copy of a checkpoint takes along: patterns of names.
var companions = []string{
	"generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "spiece.model",
	"sentencepiece.bpe.model", "chat_template*", "preprocessor_config.json", "processor_config.json", "LICENSE*", "NOTICE*",
}

// Writer writes a checkpoint tensor after tensor.
type Writer struct {
	w      *safetensors.Writer
	files  outfile.Set
	dtypes map[string]tensor.DType
	dir    string
}

// addJSON adds a file beside the weights.
func (w *Writer) addJSON(name string, v any) error {
	text, err := textOf(v)
	if err != nil {
		return err
	}
	f, err := w.files.Create(filepath.Join(w.dir, name))
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return err
}

// textOf is a value as such files have it.
func textOf(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), err
}

// NewWriter starts a checkpoint in a folder that exists: the tensors that will come, config.json, and copies of the companion
// files of the folder from ("": none).
func NewWriter(dir string, entries []safetensors.Entry, config map[string]any, from string) (w *Writer, err error) {
	w = &Writer{dtypes: map[string]tensor.DType{}}
	defer func() {
		if err != nil {
			w.Abort()
		}
	}()
	for _, e := range entries {
		w.dtypes[e.Name] = e.DType
	}
	if w.w, err = safetensors.Create(dir, entries, safetensors.WriteOptions{}); err != nil {
		return nil, err
	}
	w.dir = dir
	if err := w.addJSON(ConfigFile, config); err != nil {
		return nil, err
	}
	if from == "" || sameFolder(from, dir) {
		return w, nil
	}
	return w, w.copyCompanions(dir, from)
}

func sameFolder(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func (w *Writer) copyCompanions(dir, from string) error {
	list, err := companionsIn(from)
	if err != nil {
		return err
	}
	for _, info := range list {
		if err := w.copyFile(filepath.Join(dir, info.Name()), filepath.Join(from, info.Name())); err != nil {
			return err
		}
	}
	return nil
}

// companionsIn lists the companion files of a folder.
func companionsIn(dir string) ([]os.FileInfo, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []os.FileInfo
	for _, e := range list {
		is := func(pattern string) bool { ok, _ := filepath.Match(pattern, e.Name()); return ok }
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err == nil && info.Mode().IsRegular() && slices.ContainsFunc(companions, is) {
			out = append(out, info)
		}
	}
	return out, nil
}

func (w *Writer) copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := w.files.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return err
}

// Accepts implements [model.Writer]: what a tensor of safetensors can hold as it is.
func (w *Writer) Accepts(s tensor.Scheme) error {
	if _, err := tensor.ParseDType(s.Code); err == nil {
		return nil
	}
	return fmt.Errorf("a float checkpoint cannot hold %v", s)
}

// Write implements [model.Writer]. Floats are converted to the element type that was announced.
func (w *Writer) Write(name string, t *tensor.Tensor) error {
	want, ok := w.dtypes[name]
	if !ok {
		return fmt.Errorf("tensor %q was not announced", name)
	}
	if n, ok := t.Packed.(*packed.Narrow); ok && n.DType == want {
		d, err := tensor.FromBytes(want, t.Shape, n.Bytes())
		if err != nil {
			return err
		}
		t = d
	}
	if t.Packed != nil || t.DType != want {
		f, err := t.Float64s()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if t, err = tensor.FromFloat64s(want, t.Shape, f); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return w.w.Write(name, t)
}

// Abort removes what was written.
func (w *Writer) Abort() {
	w.files.Abort()
	if w.w != nil {
		w.w.Abort()
	}
}

// Close implements [model.Writer].
func (w *Writer) Close() error {
	if err := w.w.Close(); err != nil {
		w.Abort()
		return err
	}
	return w.files.Commit()
}

// entriesOf lists the tensors of a model as its checkpoint has them, those that are tied once.
func entriesOf(m *model.Model) ([]model.Entry, []safetensors.Entry, error) {
	if m.Config == nil {
		return nil, nil, errors.New("the model has no configuration of a known architecture, which a Hugging Face folder needs")
	}
	var state []model.Entry
	var out []safetensors.Entry
	for _, e := range m.StateDict() {
		state = append(state, e)
		out = append(out, safetensors.Entry{Name: e.Name, DType: e.DType(), Shape: e.Shape()})
	}
	if len(out) == 0 {
		return nil, nil, errors.New("the model has no tensors")
	}
	return state, out, nil
}

// planned lists what Save writes.
func planned(m *model.Model, o model.SaveOptions) ([]model.Entry, []safetensors.Entry, map[string]any, error) {
	if o.Layout == "" {
		state, entries, err := entriesOf(m)
		return state, entries, m.Config, err
	}
	if m.Config == nil {
		return nil, nil, nil, errors.New("the model has no configuration of a known architecture, which a Hugging Face folder needs")
	}
	layOut := bitsAndBytesLayout.laidOut
	switch {
	case o.Layout == compressedLayout.name && slices.ContainsFunc(m.StateDict(), isRounded):
		layOut = int8Layout.laidOut
	case o.Layout != bitsAndBytes:
		l, err := findLayout(o.Layout)
		if err != nil {
			return nil, nil, nil, err
		}
		layOut = l.laidOut
	}
	state, config, err := layOut(m, o.Settings)
	if err != nil {
		return nil, nil, nil, err
	}
	entries := make([]safetensors.Entry, len(state))
	for i, e := range state {
		entries[i] = safetensors.Entry{Name: e.Name, DType: e.DType(), Shape: e.Shape()}
	}
	return state, entries, config, nil
}

// Create implements the format's entry: the tensors of m, in any order, go to the folder at path.
func Create(ctx context.Context, path string, m *model.Model) (model.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, entries, err := entriesOf(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return NewWriter(path, entries, m.Config, m.Dir)
}

// apart is the configuration that lies in a file of its own as well; nil: there is none.
func apart(config map[string]any, o model.SaveOptions) any {
	if o.Layout == "" || o.Layout == compressedLayout.name || o.Layout == bitsAndBytes {
		return nil
	}
	return config["quantization_config"]
}

// quantizeConfigFile holds the quantization_config by itself, where older loaders look for it.
const quantizeConfigFile = "quantize_config.json"
