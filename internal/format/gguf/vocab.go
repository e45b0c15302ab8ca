package gguf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/internal/chat"
	"github.com/neurotrain/neuroquant/internal/codec/gguf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
)

// tokenType of a token that no text has.
const unusedToken = 5

// ids are the keys of special tokens, without tokenizer.ggml. before and _token_id behind, with the field for each.
func ids(v *tokenizer.Vocab) map[string]*int {
	return map[string]*int{
		"bos": &v.BOS, "eos": &v.EOS, "unknown": &v.UNK, keySeparator: &v.SEP, "padding": &v.PAD, "cls": &v.CLS, "mask": &v.MASK,
	}
}

// idOrder is the order in which they are written.
var idOrder = []string{"bos", "eos", "unknown", keySeparator, "padding", "cls", "mask"}

// keySeparator is spelled like that in the format.
const keySeparator = "seperator" //nolint:misspell // see above

// Vocabulary returns the vocabulary of a file.
func (f *File) Vocabulary() (v tokenizer.Vocab, err error) {
	const prefix = "tokenizer.ggml."
	get := func(err2 error) {
		if err == nil {
			err = err2
		}
	}
	text := func(key string) string {
		s, _, e := f.Text(prefix + key)
		get(e)
		return s
	}
	flag := func(key string) *bool {
		b, ok, e := f.Flag(prefix + key)
		get(e)
		if !ok {
			return nil
		}
		return &b
	}
	v.Model, v.Pre = text("model"), text("pre")
	var e error
	v.Tokens, e = gguf.Slice[string](f.Header, prefix+"tokens")
	get(e)
	v.Scores, e = gguf.Slice[float32](f.Header, prefix+"scores")
	get(e)
	v.Types, e = gguf.Slice[int32](f.Header, prefix+"token_type")
	get(e)
	v.Merges, e = gguf.Slice[string](f.Header, prefix+"merges")
	get(e)
	v.Charsmap, e = gguf.Slice[uint8](f.Header, prefix+"precompiled_charsmap")
	get(e)
	for key, id := range ids(&v) {
		n, ok, e := f.Int(prefix + key + "_token_id")
		get(e)
		if *id = -1; ok {
			*id = n
		}
	}
	v.AddBOS, v.AddEOS = flag("add_bos_token"), flag("add_eos_token")
	v.AddSpacePrefix, v.RemoveExtraWhitespaces = flag("add_space_prefix"), flag("remove_extra_whitespaces")
	return v, err
}

// ReadVocab returns the vocabulary of the file at path and its chat template, "" for none.
func ReadVocab(path string) (v tokenizer.Vocab, template string, err error) {
	f, err := OpenFile(path)
	if err != nil {
		return v, "", err
	}
	defer f.Close()
	if v, err = f.Vocabulary(); err == nil {
		template, _, err = f.Text("tokenizer.chat_template")
	}
	if err != nil {
		return v, "", fmt.Errorf("%s: %w", path, err)
	}
	return v, template, nil
}

// vocabularyPairs is the metadata of the tokenizer beside a model, for an embedding of rows rows.
func vocabularyPairs(m *model.Model, rows int) ([]gguf.Pair, error) {
	v, template, err := vocabularyOf(m)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if len(v.Tokens) > rows {
		return nil, fmt.Errorf("tokenizer: %d tokens for an embedding of %d rows", len(v.Tokens), rows)
	}
	if v.Types == nil {
		v.Types = make([]int32, len(v.Tokens))
		for i := range v.Types {
			v.Types[i] = 1
		}
	}
	for i := len(v.Tokens); i < rows; i++ {
		v.Tokens = append(v.Tokens, fmt.Sprintf("[PAD%d]", i))
		v.Types = append(v.Types, unusedToken)
		if v.Scores != nil {
			v.Scores = append(v.Scores, -1e4)
		}
	}
	var pairs []gguf.Pair
	put := func(key string, value any) {
		pairs = append(pairs, gguf.Pair{Key: "tokenizer.ggml." + key, Value: value})
	}
	put("model", v.Model)
	if v.Pre != "" {
		put("pre", v.Pre)
	}
	put("tokens", v.Tokens)
	if v.Scores != nil {
		put("scores", v.Scores)
	}
	put("token_type", v.Types)
	if v.Merges != nil {
		put("merges", v.Merges)
	}
	for _, key := range idOrder {
		if id := *ids(&v)[key]; id >= 0 {
			put(key+"_token_id", uint32(id))
		}
	}
	for _, b := range []struct {
		key   string
		value *bool
	}{{"add_bos_token", v.AddBOS}, {"add_eos_token", v.AddEOS}, {"add_space_prefix", v.AddSpacePrefix}, {"remove_extra_whitespaces", v.RemoveExtraWhitespaces}} {
		if b.value != nil {
			put(b.key, *b.value)
		}
	}
	if v.Charsmap != nil {
		put("precompiled_charsmap", v.Charsmap)
	}
	if template != "" {
		pairs = append(pairs, gguf.Pair{Key: "tokenizer.chat_template", Value: template})
	}
	return pairs, nil
}

// vocabularyOf reads the tokenizer of a model: that of its GGUF file, or the files beside it.
func vocabularyOf(m *model.Model) (v tokenizer.Vocab, template string, err error) {
	if m.Format == Name {
		return ReadVocab(m.Path)
	}
	t, err := tokenizer.Open(m.Dir)
	if err != nil {
		return v, "", err
	}
	if v, err = t.Vocab(); err != nil {
		return v, "", err
	}
	for _, id := range []struct {
		field string
		to    *int
	}{{"bos_token_id", &v.BOS}, {"eos_token_id", &v.EOS}, {"pad_token_id", &v.PAD}} {
		f := &fields{config: m.Config}
		if list, ok := m.Config[id.field].([]any); ok && len(list) > 0 { // several that end a text: the first
			f.config = map[string]any{id.field: list[0]}
		}
		if n, ok := f.number(id.field); ok && *id.to < 0 && int(n) < len(v.Tokens) {
			*id.to = int(n)
		}
	}
	template, err = chatTemplate(m.Dir)
	return v, template, err
}

// chatTemplate returns the chat template of a folder, "" for none.
func chatTemplate(dir string) (string, error) {
	if b, err := os.ReadFile(filepath.Join(dir, "chat_template.jinja")); err == nil {
		return string(b), nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return "", nil //nolint:nilerr // a folder need not have it
	}
	var c struct {
		Template any `json:"chat_template"`
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return "", fmt.Errorf("tokenizer_config.json: %w", err)
	}
	s, _ := c.Template.(string) // several by name are not for one file
	return s, nil
}

// openChat makes the chat template of a file.
func openChat(path string) (*chat.Template, error) {
	v, source, err := ReadVocab(path)
	if err != nil {
		return nil, err
	}
	if source == "" {
		return nil, fmt.Errorf("%s: %w: the metadata has no tokenizer.chat_template", path, chat.ErrNone)
	}
	specials := map[string]string{}
	for role, id := range map[string]int{"bos_token": v.BOS, "eos_token": v.EOS, "unk_token": v.UNK, "sep_token": v.SEP, "pad_token": v.PAD} {
		if id >= 0 && id < len(v.Tokens) {
			specials[role] = v.Tokens[id]
		}
	}
	t, err := chat.Parse(source, specials)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// openTokenizer makes the tokenizer of a file.
func openTokenizer(path string) (*tokenizer.Tokenizer, error) {
	v, _, err := ReadVocab(path)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.FromVocab(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
