package neuroquant

import (
	"fmt"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
)

// Texts returns the texts of files (see [data.ReadTexts]) as samples of a language model: the ids of all texts one after the other, cut into
// windows of a length. The tokenizer is the model's.
func (m *Model) Texts(paths []string, length int) (data.Set, error) {
	in := m.m.Graph.Inputs
	if len(in) != 1 {
		return nil, fmt.Errorf("%s: not a language model: texts are samples of models with the one input input_ids", m.m.Path)
	}
	t, err := m.m.OpenTokenizer()
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, path := range paths {
		part, err := fileIDs(t, path, 0)
		if err != nil {
			return nil, err
		}
		ids = append(ids, part...)
	}
	return data.Windows(in[0].Name, ids, length)
}

// ReadTexts reads the texts of a file: as [data.ReadTexts] does if its name is one that this knows, else the whole as one.
func ReadTexts(path string) ([]string, error) {
	if data.IsText(path) {
		return data.ReadTexts(path, "")
	}
	text, err := data.ReadText(path)
	if err != nil {
		return nil, err
	}
	return []string{text}, nil
}

// fileIDs returns the ids of the texts of a file one after the other, each with the tokens that the model expects around a text. Texts are
// not read on once there are most of them; 0: all.
func fileIDs(t *tokenizer.Tokenizer, path string, most int) ([]int64, error) {
	texts, err := ReadTexts(path)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, text := range texts {
		if most > 0 && len(ids) >= most {
			break
		}
		part, err := t.Encode(text, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, id := range part {
			ids = append(ids, int64(id))
		}
	}
	return ids, nil
}
