package neuroquant

import (
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
	"github.com/neurotrain/neuroquant/tensor"
)

// Texts returns the texts of files (see [data.ReadTexts]) as samples of a language model or an encoder: the ids of all texts one after the
// other, cut into windows of a length. Each window of an encoder has the tokens around it that the tokenizer puts around a text, its mask is
// one everywhere and its token types are zero; it is no longer than the model's positions. The tokenizer is the model's.
func (m *Model) Texts(paths []string, length int) (data.Set, error) {
	in := m.m.Graph.Inputs
	encodes := len(in) > 1
	for _, v := range in {
		encodes = encodes && slices.Contains([]string{arch.InputIDs, arch.AttentionMask, arch.TokenTypes}, v.Name)
	}
	if len(in) != 1 && !encodes {
		return nil, fmt.Errorf("%s: not a model of language: texts are samples of models with the one input input_ids, or with attention_mask and token_type_ids beside it", m.m.Path)
	}
	t, err := m.m.OpenTokenizer()
	if err != nil {
		return nil, err
	}
	var before, after []int64
	if encodes {
		if before, after, err = around(t); err != nil {
			return nil, err
		}
		if most := arch.Context(m.m.Config); most > 0 {
			length = min(length, most)
		}
		if length -= len(before) + len(after); length < 1 {
			return nil, fmt.Errorf("%s: windows of %d tokens, %d of them around a text, have no place for one", m.m.Path, length+len(before)+len(after), len(before)+len(after))
		}
	}
	var ids []int64
	for _, path := range paths {
		part, err := fileIDs(t, path, 0, !encodes)
		if err != nil {
			return nil, err
		}
		ids = append(ids, part...)
	}
	if !encodes {
		return data.Windows(in[0].Name, ids, length)
	}
	if len(ids) == 0 {
		return nil, errors.New("there are no tokens")
	}
	length = min(length, len(ids))
	var all []int64
	count := 0
	for ; (count+1)*length <= len(ids); count++ {
		all = slices.Concat(all, before, ids[count*length:(count+1)*length], after)
	}
	shape := tensor.Shape{count, len(all) / count}
	var names []string
	var values []*tensor.Tensor
	for _, v := range in {
		of := tensor.New(tensor.Int64, shape...) // token_type_ids
		switch v.Name {
		case arch.InputIDs:
			of = tensor.Of(shape, all)
		case arch.AttentionMask:
			of = tensor.Of(shape, slices.Repeat([]int64{1}, len(all)))
		}
		names, values = append(names, v.Name), append(values, of)
	}
	return data.Arrays(names, values, nil)
}

// around returns the tokens that a tokenizer puts before and after a text.
func around(t *tokenizer.Tokenizer) (before, after []int64, err error) {
	const text = "a"
	bare, err := t.Encode(text, false)
	if err != nil {
		return nil, nil, err
	}
	full, err := t.Encode(text, true)
	if err != nil {
		return nil, nil, err
	}
	for i := range len(full) - len(bare) + 1 {
		if slices.Equal(full[i:i+len(bare)], bare) {
			return wide(full[:i]), wide(full[i+len(bare):]), nil
		}
	}
	return nil, nil, fmt.Errorf("the tokenizer makes %v of %q, and %v with the tokens around a text, which does not hold those", bare, text, full)
}

func wide(ids []int) []int64 {
	out := make([]int64, len(ids))
	for i, id := range ids {
		out[i] = int64(id)
	}
	return out
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

// fileIDs returns the ids of the texts of a file one after the other, each with the tokens that the model expects around a text if special is set. Texts are
// not read on once there are most of them; 0: all.
func fileIDs(t *tokenizer.Tokenizer, path string, most int, special bool) ([]int64, error) {
	texts, err := ReadTexts(path)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for _, text := range texts {
		if most > 0 && len(ids) >= most {
			break
		}
		part, err := t.Encode(text, special)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		ids = append(ids, wide(part)...)
	}
	return ids, nil
}
