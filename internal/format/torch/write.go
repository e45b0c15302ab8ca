package torch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// Save writes the state dict of m to a file that torch.load reads, with weights_only too: an OrderedDict of tensors by name. The
// graph of m is not in it.
func Save(ctx context.Context, path string, m *model.Model, _ model.SaveOptions) error {
	if err := save(ctx, path, m); err != nil {
		return fmt.Errorf("torch: %s: %w", path, err)
	}
	return nil
}

func save(ctx context.Context, path string, m *model.Model) error {
	state := m.StateDict()
	if len(state) == 0 {
		return errors.New("the model has no tensors")
	}
	dict := checkpoint.OrderedDict()
	versions := maps.Clone(m.Versions)
	packed := map[string]bool{} // biases that are with their weights
	for _, e := range state {
		if e.Scales != nil {
			packed[strings.TrimSuffix(e.Name, "weight")+"bias"] = true
		}
	}
	for _, e := range state {
		if packed[e.Name] {
			continue
		}
		if e.Scales != nil {
			if versions == nil {
				versions = map[string]int{}
			}
			if err := setLinear(dict, versions, e, state); err != nil {
				return err
			}
			continue
		}
		if _, twice := dict.Get(e.Name); twice {
			return fmt.Errorf("two tensors are called %q", e.Name)
		}
		if err := dict.Set(e.Name, e.Source); err != nil {
			return err
		}
	}
	if len(versions) > 0 {
		metadata := checkpoint.OrderedDict()
		for _, path := range slices.Sorted(maps.Keys(versions)) {
			if err := metadata.Set(path, pairs("version", versions[path])); err != nil {
				return err
			}
		}
		dict.State = pairs("_metadata", metadata)
	}
	var files outfile.Set
	defer files.Abort()
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	if err := checkpoint.Write(ctx, f, strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), dict); err != nil {
		return err
	}
	return files.Commit()
}

// setLinear adds a linear layer as torch.ao.nn.quantized.dynamic.Linear has it in a state dict: the weight in codes and the bias
// as one value, and the scale and zero point of a layer whose activations are quantized before it runs, which here say nothing.
func setLinear(dict *pickle.Dict, versions map[string]int, e model.Entry, state []model.Entry) error {
	prefix := strings.TrimSuffix(e.Name, "weight")
	var bias any
	for _, b := range state {
		if b.Name == prefix+"bias" {
			bias = b.Source
		}
	}
	for _, x := range []struct {
		name  string
		value any
	}{
		{"scale", tensor.InMemory(tensor.Scalar[float32](1))},
		{"zero_point", tensor.InMemory(tensor.Scalar[int64](0))},
		{"_packed_params.dtype", pickle.Global{Module: "torch", Name: "qint8"}},
		{"_packed_params._packed_params", pickle.Tuple{&checkpoint.Codes{Source: e.Source, Scales: e.Scales}, bias}},
	} {
		if _, twice := dict.Get(prefix + x.name); twice {
			return fmt.Errorf("two tensors are called %q", prefix+x.name)
		}
		if err := dict.Set(prefix+x.name, x.value); err != nil {
			return err
		}
	}
	// The forms of these values.
	versions[strings.TrimSuffix(prefix, ".")], versions[prefix+"_packed_params"] = 4, 3
	return nil
}

// pairs returns a dictionary of one entry.
func pairs(key string, value any) *pickle.Dict {
	d := new(pickle.Dict)
	if err := d.Set(key, value); err != nil {
		panic(err) // a text is a key
	}
	return d
}
