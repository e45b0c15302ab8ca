package neuroquant

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
)

// Texts returns the texts of files (see [data.ReadTexts]) as samples of a language model: the ids of all texts one after the other, cut into
// windows of a length. The tokenizer is that beside the model.
func (m *Model) Texts(paths []string, length int) (data.Set, error) {
	in := m.m.Graph.Inputs
	if len(in) != 1 {
		return nil, fmt.Errorf("%s: not a language model: texts are samples of models with the one input input_ids", m.m.Path)
	}
	spec, err := os.ReadFile(filepath.Join(m.m.Dir, "tokenizer.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no tokenizer.json beside the model, which texts need", m.m.Dir)
	}
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(m.m.Dir, "tokenizer.json"), err)
	}
	var ids []int64
	for _, path := range paths {
		texts, err := data.ReadTexts(path, "")
		if err != nil {
			return nil, err
		}
		for _, text := range texts {
			part, err := t.Encode(text, true)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			for _, id := range part {
				ids = append(ids, int64(id))
			}
		}
	}
	return data.Windows(in[0].Name, ids, length)
}
