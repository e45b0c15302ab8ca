package tokenizer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// fileJSON is tokenizer.json.
type fileJSON struct {
	Version       string          `json:"version"`
	AddedTokens   []addedJSON     `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Decoder       json.RawMessage `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

type addedJSON struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized *bool  `json:"normalized"`
	Special    bool   `json:"special"`
}

func (a addedJSON) token() AddedToken {
	return AddedToken{a.Content, int(a.ID), a.SingleWord, a.LStrip, a.RStrip, or(a.Normalized, !a.Special), a.Special}
}

// maxNesting bounds sequences within sequences of a file.
const maxNesting = 32

// Parse reads a tokenizer.json. What it says about truncation and padding is not followed: callers choose lengths.
func Parse(data []byte) (*Tokenizer, error) {
	var f fileJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, err
	}
	if f.Version != "" && f.Version != "1.0" {
		return nil, fmt.Errorf("version %q, want 1.0", f.Version)
	}
	if absent(f.Model) {
		return nil, errors.New("there is no model")
	}
	t := &Tokenizer{}
	var err error
	if t.normalizer, err = parseNormalizer(f.Normalizer, 0); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	if t.pre, err = parsePreTokenizer(nil, f.PreTokenizer, 0); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if t.decoder, err = parseDecoder(f.Decoder, 0); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if t.single, t.pair, err = parsePost(f.PostProcessor, 0); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	if t.model, err = parseModel(f.Model, takesBytes(t.pre)); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if b, ok := t.model.(*bpe); ok && b.parts != nil {
		t.pre[len(t.pre)-1].(*byteLevelSplit).raw = true
	}
	tokens := make([]AddedToken, len(f.AddedTokens))
	for i, a := range f.AddedTokens {
		tokens[i] = a.token()
	}
	if err := t.addTokens(tokens); err != nil {
		return nil, fmt.Errorf("added_tokens: %w", err)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	t.special = noSpecial
	t.finish()
	return t, nil
}

// check reports ids in the post-processor that no token has.
func (t *Tokenizer) check() error {
	for _, parts := range [][]part{t.single, t.pair} {
		for _, p := range parts {
			for _, id := range p.ids {
				if _, ok := t.Token(id); !ok {
					return fmt.Errorf("post_processor: id %d is out of range: no token has it", id)
				}
			}
		}
	}
	return nil
}

// takesBytes reports whether the pre-tokenizers end with the only ByteLevel, so that a model may take raw bytes.
func takesBytes(pre []preTokenizer) bool {
	for i, p := range pre {
		if _, ok := p.(*byteLevelSplit); ok {
			return i == len(pre)-1
		}
	}
	return false
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || bytes.Equal(raw, []byte("null")) }

// typeOf returns the "type" of a component.
func typeOf(raw json.RawMessage, depth int) (string, error) {
	if depth > maxNesting {
		return "", fmt.Errorf("sequences are nested more than %d deep", maxNesting)
	}
	var c struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(raw, &c)
	return c.Type, err
}

// patternJSON is {"String": ...} or {"Regex": ...}.
type patternJSON struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

func (p patternJSON) matcher() (matcher, error) {
	switch {
	case p.String != nil && *p.String != "":
		return literalMatcher(*p.String), nil
	case p.String != nil:
		return charMatcher(func(rune, props) bool { return false }), nil
	case p.Regex != nil:
		return compilePattern(*p.Regex)
	}
	return nil, errors.New("pattern has neither String nor Regex")
}

func parseNormalizer(raw json.RawMessage, depth int) (normalizer, error) {
	if absent(raw) {
		return nil, nil
	}
	kind, err := typeOf(raw, depth)
	if err != nil {
		return nil, err
	}
	var c struct {
		Normalizers         []json.RawMessage `json:"normalizers"`
		CleanText           *bool             `json:"clean_text"`
		HandleChineseChars  *bool             `json:"handle_chinese_chars"`
		StripAccents        *bool             `json:"strip_accents"`
		Lowercase           *bool             `json:"lowercase"`
		StripLeft           bool              `json:"strip_left"`
		StripRight          bool              `json:"strip_right"`
		Prepend             string            `json:"prepend"`
		Pattern             patternJSON       `json:"pattern"`
		Content             string            `json:"content"`
		PrecompiledCharsmap *string           `json:"precompiled_charsmap"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	switch kind {
	case "Sequence":
		var list normalizers
		for i, r := range c.Normalizers {
			n, err := parseNormalizer(r, depth+1)
			if err != nil {
				return nil, fmt.Errorf("normalizers[%d]: %w", i, err)
			}
			if n != nil {
				list = append(list, n)
			}
		}
		return list, nil
	case "BertNormalizer":
		lower := or(c.Lowercase, true)
		return &bertNormalizer{clean: or(c.CleanText, true), chinese: or(c.HandleChineseChars, true), accents: or(c.StripAccents, lower), lower: lower}, nil
	case "NFC", "NFD", "NFKC", "NFKD":
		return unicodeForms[kind], nil
	case "Lowercase":
		return mapper(lowercase), nil
	case "StripAccents":
		return mapper(stripAccents), nil
	case "Nmt":
		return mapper(nmt), nil
	case "ByteLevel":
		return mapper(bytesAsChars), nil
	case "Strip":
		return &stripper{c.StripLeft, c.StripRight}, nil
	case "Prepend":
		return prepender(c.Prepend), nil
	case "Replace":
		m, err := c.Pattern.matcher()
		if err != nil {
			return nil, fmt.Errorf("Replace: %w", err)
		}
		return &replacer{m, c.Content}, nil
	case "Precompiled":
		if or(c.PrecompiledCharsmap, "") == "" {
			return nil, nil
		}
		b, err := base64.StdEncoding.DecodeString(*c.PrecompiledCharsmap)
		if err != nil {
			return nil, fmt.Errorf("precompiled_charsmap: %w", err)
		}
		m, err := parseCharsmap(b)
		if err != nil {
			return nil, err
		}
		m.byGrapheme = true
		return m, nil
	}
	return nil, fmt.Errorf("type %q is not known; known are BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, "+
		"Precompiled, Prepend, Replace, Sequence, Strip, StripAccents", kind)
}

func parsePreTokenizer(list []preTokenizer, raw json.RawMessage, depth int) ([]preTokenizer, error) {
	if absent(raw) {
		return list, nil
	}
	kind, err := typeOf(raw, depth)
	if err != nil {
		return nil, err
	}
	var c struct {
		PreTokenizers    []json.RawMessage `json:"pretokenizers"`
		AddPrefixSpace   *bool             `json:"add_prefix_space"`
		UseRegex         *bool             `json:"use_regex"`
		Delimiter        string            `json:"delimiter"`
		Replacement      string            `json:"replacement"`
		PrependScheme    *string           `json:"prepend_scheme"`
		Split            *bool             `json:"split"`
		Pattern          patternJSON       `json:"pattern"`
		Behavior         string            `json:"behavior"`
		Invert           bool              `json:"invert"`
		IndividualDigits bool              `json:"individual_digits"`
		Length           *int              `json:"length"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	var p preTokenizer
	switch kind {
	case "Sequence":
		for i, r := range c.PreTokenizers {
			if list, err = parsePreTokenizer(list, r, depth+1); err != nil {
				return nil, fmt.Errorf("pretokenizers[%d]: %w", i, err)
			}
		}
		return list, nil
	case "ByteLevel":
		p = &byteLevelSplit{prefixSpace: or(c.AddPrefixSpace, true), regex: or(c.UseRegex, true), words: wordPatterns[gptWords]}
	case "Metaspace":
		scheme, err := prependScheme(c.Replacement, c.PrependScheme, c.AddPrefixSpace)
		if err != nil {
			return nil, err
		}
		p = &metaspace{c.Replacement, scheme, or(c.Split, true)}
	case "Split":
		if p, err = splitterOf(c.Pattern, c.Behavior, c.Invert); err != nil {
			return nil, fmt.Errorf("Split: %w", err)
		}
	case "Punctuation":
		b, ok := behaviors[c.Behavior]
		if !ok && c.Behavior != "" {
			return nil, fmt.Errorf("Punctuation: behavior %q is not known", c.Behavior)
		}
		if c.Behavior == "" {
			b = isolated
		}
		p = &splitter{by: charMatcher(isPunct), behavior: b}
	case "Digits":
		b := contiguous
		if c.IndividualDigits {
			b = isolated
		}
		p = &splitter{by: &digitMatcher{numeric: true}, behavior: b}
	case "WhitespaceSplit":
		p = &splitter{by: charMatcher(isSpace), behavior: removed}
	case "Whitespace":
		p = wordSplit{}
	case "BertPreTokenizer":
		p = bertSplit{}
	case "CharDelimiterSplit":
		if utf8.RuneCountInString(c.Delimiter) != 1 {
			return nil, fmt.Errorf("CharDelimiterSplit: delimiter %q, want one character", c.Delimiter)
		}
		p = &splitter{by: literalMatcher(c.Delimiter), behavior: removed}
	case "UnicodeScripts":
		p = scriptSplit{}
	case "FixedLength":
		n := or(c.Length, 5)
		if n < 1 {
			return nil, fmt.Errorf("FixedLength: length %d, want at least 1", n)
		}
		p = fixedLength(n)
	default:
		return nil, fmt.Errorf("type %q is not known; known are BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, "+
			"Metaspace, Punctuation, Sequence, Split, UnicodeScripts, Whitespace, WhitespaceSplit", kind)
	}
	return append(list, p), nil
}

// prependScheme reads Metaspace's prepend_scheme and the add_prefix_space of older files, and checks what stands for a space.
func prependScheme(mark string, scheme *string, addPrefixSpace *bool) (string, error) {
	if utf8.RuneCountInString(mark) != 1 {
		return "", fmt.Errorf("Metaspace: replacement %q, want one character", mark)
	}
	s := or(scheme, "always")
	if s != "always" && s != "first" && s != "never" {
		return "", fmt.Errorf("Metaspace: prepend_scheme %q, want always, first or never", s)
	}
	if !or(addPrefixSpace, true) && s != "never" {
		if scheme != nil {
			return "", fmt.Errorf("Metaspace: prepend_scheme %q contradicts add_prefix_space false", s)
		}
		s = "never"
	}
	return s, nil
}

func parseDecoder(raw json.RawMessage, depth int) (decoder, error) {
	if absent(raw) {
		return nil, nil
	}
	kind, err := typeOf(raw, depth)
	if err != nil {
		return nil, err
	}
	var c struct {
		Decoders       []json.RawMessage `json:"decoders"`
		Prefix         *string           `json:"prefix"`
		Cleanup        *bool             `json:"cleanup"`
		Replacement    string            `json:"replacement"`
		PrependScheme  *string           `json:"prepend_scheme"`
		AddPrefixSpace *bool             `json:"add_prefix_space"`
		Suffix         *string           `json:"suffix"`
		PadToken       *string           `json:"pad_token"`
		Delimiter      *string           `json:"word_delimiter_token"`
		Pattern        patternJSON       `json:"pattern"`
		Content        string            `json:"content"`
		Start, Stop    int
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	cleanup := or(c.Cleanup, true)
	switch kind {
	case "Sequence":
		var list decoders
		for i, r := range c.Decoders {
			d, err := parseDecoder(r, depth+1)
			if err != nil {
				return nil, fmt.Errorf("decoders[%d]: %w", i, err)
			}
			if d != nil {
				list = append(list, d)
			}
		}
		return list, nil
	case "ByteLevel":
		return byteLevelDecoder{}, nil
	case "ByteFallback":
		return byteFallbackDecoder{}, nil
	case "Fuse":
		return fuser{}, nil
	case "WordPiece":
		return &wordPieceDecoder{or(c.Prefix, "##"), cleanup}, nil
	case "BPEDecoder":
		return &bpeDecoder{or(c.Suffix, "</w>")}, nil
	case "CTC":
		return &ctcDecoder{or(c.PadToken, "<pad>"), or(c.Delimiter, "|"), cleanup}, nil
	case "Metaspace":
		scheme, err := prependScheme(c.Replacement, c.PrependScheme, c.AddPrefixSpace)
		if err != nil {
			return nil, err
		}
		return metaspaceDecoder(c.Replacement, scheme != "never"), nil
	case "Strip":
		if utf8.RuneCountInString(c.Content) != 1 || c.Start < 0 || c.Stop < 0 {
			return nil, fmt.Errorf("Strip: content %q, start %d and stop %d, want one character and no negative counts", c.Content, c.Start, c.Stop)
		}
		return stripDecoder(c.Content, c.Start, c.Stop), nil
	case "Replace":
		m, err := c.Pattern.matcher()
		if err != nil {
			return nil, fmt.Errorf("Replace: %w", err)
		}
		return replaceDecoder(&replacer{m, c.Content}), nil
	}
	return nil, fmt.Errorf("type %q is not known; known are BPEDecoder, ByteFallback, ByteLevel, CTC, Fuse, Metaspace, Replace, "+
		"Sequence, Strip, WordPiece", kind)
}

// nameAndID is ["[SEP]", 102].
type nameAndID struct {
	name string
	id   int
}

func (n *nameAndID) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &[]any{&n.name, &n.id}); err != nil || strings.Count(string(b), "[") == 0 {
		return fmt.Errorf("%.60s is no pair of a token and its id", b)
	}
	return nil
}

// parsePost reads what stands around a text and around two.
func parsePost(raw json.RawMessage, depth int) (single, pair []part, err error) {
	if absent(raw) {
		return nil, nil, nil
	}
	kind, err := typeOf(raw, depth)
	if err != nil {
		return nil, nil, err
	}
	var c struct {
		Processors    []json.RawMessage `json:"processors"`
		Sep, Cls      nameAndID
		Single, Pair  []templatePart
		SpecialTokens map[string]struct {
			IDs []int `json:"ids"`
		} `json:"special_tokens"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", kind, err)
	}
	first, second := part{sequence: 0}, part{sequence: 1}
	switch kind {
	case "ByteLevel":
		return nil, nil, nil
	case "BertProcessing":
		single, pair = wrapped(c.Cls.id, c.Sep.id, false)
		return single, pair, nil
	case "RobertaProcessing":
		single, pair = wrapped(c.Cls.id, c.Sep.id, true)
		return single, pair, nil
	case "Sequence":
		for i, r := range c.Processors {
			s, p, err := parsePost(r, depth+1)
			if err != nil {
				return nil, nil, fmt.Errorf("processors[%d]: %w", i, err)
			}
			if s != nil && single != nil {
				return nil, nil, fmt.Errorf("processors[%d]: a second processor that adds tokens is not supported", i)
			}
			if s != nil {
				single, pair = s, p
			}
		}
		return single, pair, nil
	case "TemplateProcessing":
		lists := [2][]part{{}, {}}
		for k, template := range [][]templatePart{c.Single, c.Pair} {
			for _, t := range template {
				switch {
				case t.Sequence != nil && t.Sequence.ID == "A":
					lists[k] = append(lists[k], first)
				case t.Sequence != nil && t.Sequence.ID == "B" && k == 1:
					lists[k] = append(lists[k], second)
				case t.SpecialToken != nil:
					token, ok := c.SpecialTokens[t.SpecialToken.ID]
					if !ok {
						return nil, nil, fmt.Errorf("TemplateProcessing: %q is not among special_tokens", t.SpecialToken.ID)
					}
					lists[k] = append(lists[k], part{-1, token.IDs})
				default:
					return nil, nil, errors.New("TemplateProcessing: a part is neither Sequence A or B nor SpecialToken")
				}
			}
		}
		return lists[0], lists[1], nil
	}
	return nil, nil, fmt.Errorf("type %q is not known; known are BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing", kind)
}

type templatePart struct {
	Sequence     *struct{ ID string } `json:"Sequence"`
	SpecialToken *struct{ ID string } `json:"SpecialToken"`
}
