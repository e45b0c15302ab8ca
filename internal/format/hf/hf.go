// Package hf opens the folders of Hugging Face checkpoints as models: config.json says which architecture it is, safetensors files
// or a PyTorch state dict hold the weights, and files of the tokenizer and of generation lie beside them. It writes such folders.
package hf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/model"
)

// Name is the name of the format.
const Name = "hf"

// ConfigFile is the file that makes a folder a checkpoint.
const ConfigFile = "config.json"

// Format is the entry of this package in the table of formats.
var Format = model.Format{Name: Name, Match: Match, Open: Open, Describe: Describe, Save: Save, Create: Create}

// maxConfig bounds configuration files.
const maxConfig = 16 << 20

// Match reports whether path is a folder with a checkpoint, or a file of safetensors or its index.
func Match(path string, head []byte) bool {
	if head == nil {
		if !exists(filepath.Join(path, ConfigFile)) {
			return false
		}
		_, err := weightFile(path)
		return err == nil
	}
	if strings.HasSuffix(path, ".safetensors.index.json") {
		return true
	}
	return strings.HasSuffix(path, ".safetensors") && len(head) > 8 && string(head[4:9]) == "\x00\x00\x00\x00{"
}

// folder returns the folder of a path that matched.
func folder(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return path, nil
	}
	return filepath.Dir(path), nil
}

// Open reads the checkpoint in the folder at path. Its parameters alias the mapped files until the model is closed.
func Open(ctx context.Context, path string) (*model.Model, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := folder(path)
	if err != nil {
		return nil, err
	}
	config, err := ReadJSON(filepath.Join(dir, ConfigFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no %s in the folder, which says what the weights are of", dir, ConfigFile)
	}
	if err != nil {
		return nil, err
	}
	w, err := openWeights(dir, path)
	if err != nil {
		return nil, err
	}
	m := &model.Model{
		Format: Name, Path: path, Dir: dir, Files: w.files, Producer: "transformers", Metadata: map[string]string{}, Config: config, State: w.entries,
	}
	if v, ok := config["transformers_version"].(string); ok {
		m.ProducerVersion = v
	}
	fail := func(err error) (*model.Model, error) {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), w.Close())
	}
	weights, err := quantized(config, w)
	if err != nil {
		return fail(err)
	}
	g, info, err := arch.Build(config, weights)
	if err != nil {
		return fail(err)
	}
	m.Graph, m.Arch = g, info.Arch
	if q, ok := config["quantization_config"].(map[string]any); ok {
		// The tensors and the configuration are those of the float model, whose matrices are packed.
		m.State = nil
		for _, name := range weights.Names() {
			m.State = append(m.State, model.Entry{Name: name, Source: weights.Tensor(name)})
		}
		m.Config = maps.Clone(config)
		delete(m.Config, "quantization_config")
		m.Metadata["quantization"], _ = q["quant_method"].(string)
	}
	m.Own(w)
	return m, nil
}

// ReadJSON reads a configuration file. Numbers keep the text that they have there.
func ReadJSON(path string) (map[string]any, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("%s: %d bytes; at most %d are accepted", path, info.Size(), maxConfig)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out map[string]any
	if err := d.Decode(&out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.More() || out == nil {
		return nil, fmt.Errorf("%s: want one JSON object", path)
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
