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
	for _, e := range state {
		if _, twice := dict.Get(e.Name); twice {
			return fmt.Errorf("two tensors are called %q", e.Name)
		}
		if err := dict.Set(e.Name, e.Source); err != nil {
			return err
		}
	}
	if len(m.Versions) > 0 {
		metadata := checkpoint.OrderedDict()
		for _, path := range slices.Sorted(maps.Keys(m.Versions)) {
			if err := metadata.Set(path, pairs("version", m.Versions[path])); err != nil {
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

// pairs returns a dictionary of one entry.
func pairs(key string, value any) *pickle.Dict {
	d := new(pickle.Dict)
	if err := d.Set(key, value); err != nil {
		panic(err) // a text is a key
	}
	return d
}
