package neuroquant

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/neurotrain/neuroquant/internal/arch"
	"github.com/neurotrain/neuroquant/internal/format/hf"
)

// language is what a language model is beside its graph.
type language struct {
	tokenizer *Tokenizer
	vocab     int
	context   int   // tokens that it was made for; 0: not said
	begin     int   // the token that begins a text; -1: none
	end       []int // tokens that end one
	defaults  generationConfig
}

// generationConfig are the fields of generation_config.json that choose tokens.
type generationConfig struct {
	DoSample          bool     `json:"do_sample"`
	Temperature       *float64 `json:"temperature"`
	TopK              *int     `json:"top_k"`
	TopP              *float64 `json:"top_p"`
	MinP              *float64 `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
	MaxNewTokens      *int     `json:"max_new_tokens"`
	EOS               any      `json:"eos_token_id"`
	BOS               any      `json:"bos_token_id"`
}

// language reads what a language model needs to take text.
func (m *Model) language() (*language, error) {
	l := &language{begin: -1}
	out := m.m.Graph.Outputs
	if len(m.m.Graph.Inputs) != 1 || len(out) != 1 || len(out[0].Type.Dims) != 3 || !out[0].Type.Dims[2].IsKnown() {
		return nil, fmt.Errorf("%s: not a language model: such takes ids of tokens and gives one row of logits for each", m.name())
	}
	l.vocab = out[0].Type.Dims[2].Size
	t, err := m.m.OpenTokenizer()
	if err != nil {
		return nil, err
	}
	l.tokenizer = &Tokenizer{t}
	if t.Size() > l.vocab {
		return nil, fmt.Errorf("%s: the tokenizer has %d tokens, the model an embedding of %d: they do not belong together", m.name(), t.Size(), l.vocab)
	}
	if err := l.configure(m); err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(), err)
	}
	return l, nil
}

// configure reads the special tokens and how tokens are chosen where nothing else is said.
func (l *language) configure(m *Model) error {
	if m.m.Config != nil {
		l.context = arch.Context(m.m.Config)
	}
	g, err := hf.ReadJSON(filepath.Join(m.m.Dir, "generation_config.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := json.Marshal(g)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &l.defaults); err != nil {
		return fmt.Errorf("generation_config.json: %w", err)
	}
	special := l.tokenizer.t.Special()
	l.end = tokenIDs(l.defaults.EOS)
	if l.end == nil {
		l.end = tokenIDs(m.m.Config["eos_token_id"])
	}
	if l.end == nil && special.EOS >= 0 {
		l.end = []int{special.EOS}
	}
	l.begin = special.BOS
	for _, v := range []any{m.m.Config["bos_token_id"], l.defaults.BOS} {
		if ids := tokenIDs(v); len(ids) > 0 {
			l.begin = ids[0]
		}
	}
	for _, id := range append(l.end, l.begin) {
		if id >= l.vocab {
			return fmt.Errorf("bos_token_id or eos_token_id %d is none of the %d tokens of the model", id, l.vocab)
		}
	}
	return nil
}

// tokenIDs reads an id or a list of ids; nil for what is none.
func tokenIDs(v any) []int {
	switch x := v.(type) {
	case json.Number:
		n, err := x.Int64()
		if err != nil || n < 0 {
			return nil
		}
		return []int{int(n)}
	case float64:
		return []int{int(x)}
	case int:
		return []int{x}
	case []any:
		var out []int
		for _, e := range x {
			out = append(out, tokenIDs(e)...)
		}
		return out
	}
	return nil
}

// prompt returns the ids of a text, with the token that begins one where the tokenizer or the configuration wants it.
func (l *language) prompt(text string) ([]int, error) {
	ids, err := l.tokenizer.Encode(text, true)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 && l.begin >= 0 {
		ids = []int{l.begin}
	}
	if len(ids) == 0 {
		return nil, errors.New("the prompt has no tokens, and the model none that begins a text")
	}
	return ids, nil
}
