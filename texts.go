package neuroquant

import (
	"fmt"

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
	t, err := tokenizer.Open(m.m.Dir)
	if err != nil {
		return nil, err
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
