package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// Weights are the tensors of a folder as they are stored.
type Weights struct {
	entries []model.Entry
	byName  map[string]tensor.Source
	files   []string
	open    []io.Closer
}

// Tensor implements [arch.Weights].
func (w *Weights) Tensor(name string) tensor.Source { return w.byName[name] }

// Names implements [arch.Weights].
func (w *Weights) Names() []string {
	out := make([]string, len(w.entries))
	for i, e := range w.entries {
		out[i] = e.Name
	}
	return out
}

// Close releases the files.
func (w *Weights) Close() error {
	var errs []error
	for _, c := range w.open {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// weightFiles are the names under which a folder has its weights, in the order in which they are looked for.
var weightFiles = []string{"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}

// weightFile returns the file of a folder that holds its weights, or the index of several.
func weightFile(dir string) (string, error) {
	for _, name := range weightFiles {
		if p := filepath.Join(dir, name); exists(p) {
			return p, nil
		}
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("%s: the folder holds no weights: want one of %s", dir, strings.Join(weightFiles, ", "))
	}
	return "", fmt.Errorf("%s: the folder holds %d safetensors files without model.safetensors.index.json, which says what is where", dir, len(found))
}

// openWeights opens the weights of a folder, or those of the file of it that was asked for.
func openWeights(dir, path string) (*Weights, error) {
	if path == dir || filepath.Base(path) == ConfigFile {
		var err error
		if path, err = weightFile(dir); err != nil {
			return nil, err
		}
	}
	w := &Weights{byName: map[string]tensor.Source{}}
	var err error
	switch name := filepath.Base(path); {
	case strings.HasSuffix(name, ".bin.index.json"):
		err = w.addPickles(path)
	case strings.HasSuffix(name, ".bin"):
		err = w.addPickle(path)
	default:
		err = w.addSafetensors(path)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *Weights) add(name string, s tensor.Source) error {
	if w.byName[name] != nil {
		return fmt.Errorf("tensor %q is there twice", name)
	}
	w.byName[name] = s
	w.entries = append(w.entries, model.Entry{Name: name, Source: s})
	return nil
}

func (w *Weights) addSafetensors(path string) error {
	s, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	w.open = append(w.open, s)
	w.files = append(w.files, s.Files...)
	for _, t := range s.Tensors() {
		if err := w.add(t.Name, t); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// addPickle takes the state dict of a PyTorch file.
func (w *Weights) addPickle(path string) error {
	f, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	w.open = append(w.open, f)
	w.files = append(w.files, filepath.Base(path))
	v, err := f.Object()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s, err := checkpoint.StateDict(v)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, t := range s.Tensors {
		if err := w.add(s.Prefix+t.Name, t.Tensor); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// addPickles takes the state dicts of all files that an index names.
func (w *Weights) addPickles(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxConfig {
		return fmt.Errorf("%s: an index of %d bytes; at most %d are accepted", path, info.Size(), maxConfig)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var files []string
	for name, f := range index.WeightMap {
		if !filepath.IsLocal(f) || filepath.Base(f) != f {
			return fmt.Errorf("%s: tensor %q: %q is not the name of a file in the same folder", path, name, f)
		}
		if !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	slices.Sort(files)
	for _, f := range files {
		if err := w.addPickle(filepath.Join(filepath.Dir(path), f)); err != nil {
			return err
		}
	}
	return nil
}

// layouts are the quantized layouts that can be read, by quant_method: they make packed matrices of the tensors of a layer.
var layouts = map[string]func(config map[string]any, w *Weights) (arch.Weights, error){
	"gptq": readGPTQ, "awq": readAWQ, "compressed-tensors": readCompressed, bitsAndBytes: readBitsAndBytes,
}

// quantized returns the weights by the names of the float model, whatever they are stored as.
func quantized(config map[string]any, w *Weights) (arch.Weights, error) {
	q, ok := config["quantization_config"].(map[string]any)
	if !ok {
		return w, nil
	}
	method, _ := q["quant_method"].(string)
	read := layouts[method]
	if read == nil {
		return nil, fmt.Errorf("%s: quantization_config: weights quantized by %q are not supported", ConfigFile, method)
	}
	return read(q, w)
}
