package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// modelJSON is the model of tokenizer.json, of every type.
type modelJSON struct {
	Type          string          `json:"type"`
	Vocab         json.RawMessage `json:"vocab"`
	Merges        *[]mergeJSON    `json:"merges"`
	UnkToken      *string         `json:"unk_token"`
	UnkID         *int            `json:"unk_id"`
	Prefix        *string         `json:"continuing_subword_prefix"`
	Suffix        *string         `json:"end_of_word_suffix"`
	Dropout       *float64        `json:"dropout"`
	FuseUnk       bool            `json:"fuse_unk"`
	ByteFallback  bool            `json:"byte_fallback"`
	IgnoreMerges  bool            `json:"ignore_merges"`
	MaxInputChars *int            `json:"max_input_chars_per_word"`
}

// mergeJSON is "a b" or ["a", "b"].
type mergeJSON [2]string

func (m *mergeJSON) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var pair []string
		if err := json.Unmarshal(b, &pair); err != nil {
			return err
		}
		if len(pair) != 2 {
			return fmt.Errorf("a merge of %d tokens, want 2", len(pair))
		}
		*m = mergeJSON(pair)
		return nil
	}
	var line string
	if err := json.Unmarshal(b, &line); err != nil {
		return err
	}
	if strings.HasPrefix(line, "#version") {
		return nil // left out below
	}
	pair, ok := mergePair(line)
	if !ok {
		return fmt.Errorf("merge %q, want two tokens with a space between", line)
	}
	*m = pair
	return nil
}

// scoredToken is ["token", score].
type scoredToken struct {
	token string
	score float64
}

func (s *scoredToken) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("%.60s is no pair of a token and its score", b)
	}
	if err := json.Unmarshal(list[0], &s.token); err != nil {
		return err
	}
	if err := json.Unmarshal(list[1], &s.score); err != nil {
		return err
	}
	if v, ok := nearNumber(string(list[1])); ok {
		s.score = v
	}
	return nil
}

// nearNumber reads a number as the library's reader of JSON does: digits as a whole number that is rounded, then times or by a power of ten, which is
// rounded too. The last bit decides between ways to spell a text whose scores are equal but for it.
func nearNumber(text string) (v float64, ok bool) {
	digits, negative := strings.CutPrefix(text, "-")
	digits, power, _ := strings.Cut(strings.ToLower(digits), "e")
	whole, fraction, _ := strings.Cut(digits, ".")
	significand, exponent := uint64(0), 0
	add := func(d uint64) bool {
		if d > 9 || significand > (math.MaxUint64-d)/10 {
			return false
		}
		significand = significand*10 + d
		return true
	}
	for i := range len(whole) {
		if !add(uint64(whole[i] - '0')) {
			return 0, false
		}
	}
	for i := 0; i < len(fraction) && add(uint64(fraction[i]-'0')); i++ {
		exponent--
	}
	if power != "" {
		e, err := strconv.Atoi(power)
		if err != nil {
			return 0, false
		}
		exponent += e
	}
	if exponent < -308 || exponent > 308 {
		return 0, false
	}
	v = float64(significand)
	if p := math.Pow10(max(exponent, -exponent)); exponent < 0 {
		v /= p
	} else {
		v *= p
	}
	if negative {
		v = -v
	}
	return v, !math.IsInf(v, 0)
}

// kind returns the type of a model, by its fields where an old file does not say it.
func (m *modelJSON) kind() string {
	switch {
	case m.Type != "":
		return m.Type
	case m.Merges != nil:
		return "BPE"
	case m.MaxInputChars != nil && m.Prefix != nil:
		return "WordPiece"
	case m.UnkToken != nil:
		return "WordLevel"
	}
	return "Unigram"
}

// parseModel reads the model; byteLevel says that words come as raw bytes if the model can take them.
func parseModel(raw json.RawMessage, byteLevel bool) (model, error) {
	var m modelJSON
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	if absent(m.Vocab) {
		return nil, errors.New("there is no vocab")
	}
	kind := m.kind()
	if kind == "Unigram" {
		return m.unigram()
	}
	var ids map[string]int32
	if err := json.Unmarshal(m.Vocab, &ids); err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	v, err := newVocabulary(ids)
	if err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	switch kind {
	case "BPE":
		return m.bpe(v, byteLevel)
	case "WordPiece":
		if m.UnkToken == nil || m.Prefix == nil || m.MaxInputChars == nil {
			return nil, errors.New("WordPiece needs unk_token, continuing_subword_prefix and max_input_chars_per_word")
		}
		w := &wordPiece{vocabulary: v, unk: *m.UnkToken, prefix: *m.Prefix, maxChars: *m.MaxInputChars}
		w.finish()
		return w, nil
	case "WordLevel":
		return &wordLevel{v, or(m.UnkToken, "")}, nil
	}
	return nil, fmt.Errorf("type %q is not known; known are BPE, Unigram, WordLevel, WordPiece", kind)
}

func (m *modelJSON) bpe(v vocabulary, byteLevel bool) (model, error) {
	if m.Merges == nil {
		return nil, errors.New("BPE needs merges, and there are none")
	}
	if m.Dropout != nil && *m.Dropout != 0 {
		return nil, fmt.Errorf("dropout %g: random merges are for training and not supported", *m.Dropout)
	}
	b := &bpe{vocabulary: v, unk: -1, prefix: or(m.Prefix, ""), suffix: or(m.Suffix, ""), fuseUnk: m.FuseUnk, ignoreMerges: m.IgnoreMerges}
	if m.UnkToken != nil {
		id, ok := v.ids[*m.UnkToken]
		if !ok {
			return nil, fmt.Errorf("unk_token %q is not in the vocabulary", *m.UnkToken)
		}
		b.unk = id
	}
	pairs := make([][2]string, 0, len(*m.Merges))
	for _, p := range *m.Merges {
		if p != (mergeJSON{}) {
			pairs = append(pairs, p)
		}
	}
	if err := b.addMerges(pairs); err != nil {
		return nil, err
	}
	b.finish(byteLevel && b.prefix == "" && b.suffix == "" && !m.ByteFallback, m.ByteFallback)
	return b, nil
}

func (m *modelJSON) unigram() (model, error) {
	var list []scoredToken
	if err := json.Unmarshal(m.Vocab, &list); err != nil {
		return nil, fmt.Errorf("vocab: %w", err)
	}
	tokens := make([]string, len(list))
	scores := make([]float64, len(list))
	for i, s := range list {
		tokens[i], scores[i] = s.token, s.score
	}
	u := &unigram{vocabulary: listVocabulary(tokens), scores: scores, unk: -1}
	if m.UnkID != nil {
		if u.unk = *m.UnkID; u.unk < 0 {
			return nil, fmt.Errorf("unk_id %d is negative", u.unk)
		}
	}
	if err := u.finish(m.ByteFallback); err != nil {
		return nil, err
	}
	return u, nil
}
