package model

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/neurotrain/neuroquant/internal/codec/safetensors"
	"github.com/neurotrain/neuroquant/tensor"
)

// Damaged reports the first tensor of a checkpoint that holds values which are not numbers, with its file. If all is set, matrices of codes are
// looked at as well, and infinite values count. Of models without a checkpoint nothing is said: their constants may be what they are on purpose.
func (m *Model) Damaged(ctx context.Context, all bool) error {
	for _, e := range m.State {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !e.DType().IsFloat() {
			continue
		}
		t, err := e.Load()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if err := m.DamagedTensor(e, t, all); err != nil {
			return err
		}
		tensor.Release(e.Source)
	}
	return nil
}

// DamagedTensor is [Model.Damaged] for one tensor of the checkpoint, whose value is t.
func (m *Model) DamagedTensor(e Entry, t *tensor.Tensor, all bool) error {
	at := t.NaN()
	if at < 0 && all {
		var err error
		if at, err = notFinite(t); err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
	}
	if at < 0 {
		return nil
	}
	index := make([]int, len(t.Shape))
	for i := len(index) - 1; i >= 0; i-- {
		index[i], at = at%t.Shape[i], at/t.Shape[i]
	}
	file := m.Path
	if s, ok := e.Source.(*safetensors.Tensor); ok {
		file = filepath.Join(m.Dir, s.File)
	}
	return fmt.Errorf("%s: tensor %q: the element at %v is not a finite number: the file is damaged, or was written so", file, e.Name, index)
}

// notFinite returns the index of the first element that is infinite or not a number, -1 if there is none.
func notFinite(t *tensor.Tensor) (int, error) {
	bad := func(v float32) bool { return v-v != 0 }
	if t.Packed == nil {
		f, err := t.Floats()
		return slices.IndexFunc(f, bad), err
	}
	cols := t.Shape[t.Rank()-1]
	row := make([]float32, cols)
	for r := range t.Shape.Len() / max(cols, 1) {
		t.Packed.Row(row, r)
		if at := slices.IndexFunc(row, bad); at >= 0 {
			return r*cols + at, nil
		}
	}
	return -1, nil
}
