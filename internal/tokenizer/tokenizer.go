// Package tokenizer turns text into the ids of a language model's tokens and back, exactly as the model's own tokenizer does.
// It reads tokenizer.json, SentencePiece's tokenizer.model, vocabulary files (vocab.json with merges.txt, vocab.txt) and the
// vocabulary of a GGUF file.
//
// The reference for tokenizer.json is the library tokenizers, for tokenizer.model the library sentencepiece; both are
// compared with this package by interop/check_tokenizers.py.
package tokenizer

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// Tokenizer is ready to use from several goroutines at once.
type Tokenizer struct {
	model        model
	normalizer   normalizer // nil: none
	pre          []preTokenizer
	added        addedVocabulary
	single, pair []part
	decoder      decoder // nil: tokens with spaces between them
	size         int
	special      Special
	spm          *sentencePiece // what a SentencePiece tokenizer was made of; nil for others
	encoders     sync.Pool
}

// Special is the ids of tokens with a role; -1 where there is none.
type Special struct{ BOS, EOS, UNK, SEP, PAD, CLS, MASK int }

// noSpecial are no roles.
var noSpecial = Special{-1, -1, -1, -1, -1, -1, -1}

// part is what a text's ids are put together from: a sequence, or ids that are special.
type part struct {
	sequence int // 0 the text, 1 the second of a pair, -1 none
	ids      []int
}

// wrapped is a text, and a pair of texts, in BERT's form: cls begins them and sep ends each; twice puts a second one between, as RoBERTa has it.
func wrapped(cls, sep int, twice bool) (single, pair []part) {
	begin, end, first, second := part{-1, []int{cls}}, part{-1, []int{sep}}, part{sequence: 0}, part{sequence: 1}
	single, pair = []part{begin, first, end}, []part{begin, first, end}
	if twice {
		pair = append(pair, end)
	}
	return single, append(pair, second, end)
}

// encoder is the state of one encoding. Its words stay known for the next one.
type encoder struct {
	t      *Tokenizer
	ids    []int
	err    error
	cache  *wordCache
	merger merger
	best   []pathNode
	emit   func(piece) // through all pre-tokenizers to the model
}

// finish completes a tokenizer whose parts and added tokens are set.
func (t *Tokenizer) finish() {
	v := t.model.vocab()
	t.size = len(v.tokens)
	for id := range t.added.byID {
		t.size = max(t.size, id+1)
	}
	if t.single == nil {
		t.single = []part{{sequence: 0}}
	}
	if t.pair == nil {
		t.pair = []part{{sequence: 0}, {sequence: 1}}
	}
	t.encoders.New = func() any {
		e := &encoder{t: t, cache: newWordCache()}
		e.emit = func(p piece) {
			if e.err == nil {
				t.model.encode(e, p.s)
			}
		}
		for i := len(t.pre) - 1; i >= 0; i-- {
			pre, next := t.pre[i], e.emit
			e.emit = func(p piece) {
				if e.err == nil {
					if err := pre.split(p, next); err != nil {
						e.err = err
					}
				}
			}
		}
		return e
	}
}

// Encode returns the ids of a text, with the special tokens that the model expects around it if addSpecial is set. Added
// tokens, such as <|im_end|>, are recognized in the text. Bytes that are no UTF-8 count as U+FFFD.
func (t *Tokenizer) Encode(text string, addSpecial bool) ([]int, error) {
	return t.encode(t.single, addSpecial, text)
}

// EncodePair returns the ids of two texts, as encoders of sentence pairs take them.
func (t *Tokenizer) EncodePair(first, second string, addSpecial bool) ([]int, error) {
	return t.encode(t.pair, addSpecial, first, second)
}

func (t *Tokenizer) encode(parts []part, addSpecial bool, texts ...string) ([]int, error) {
	e := t.encoders.Get().(*encoder)
	defer t.encoders.Put(e)
	var ends [3]int // of the texts' ids in e.ids, one further than the text
	e.ids, e.err = e.ids[:0], nil
	for i, text := range texts {
		if !utf8.ValidString(text) {
			text = strings.ToValidUTF8(text, "\ufffd")
		}
		e.text(text)
		ends[i+1] = len(e.ids)
	}
	if e.err != nil {
		return nil, e.err
	}
	size := 0
	for _, p := range parts {
		size += len(p.ids)
	}
	out := make([]int, 0, size+len(e.ids))
	for _, p := range parts {
		if p.sequence >= 0 {
			out = append(out, e.ids[ends[p.sequence]:ends[p.sequence+1]]...)
		} else if addSpecial {
			out = append(out, p.ids...)
		}
	}
	return out, nil
}

// text appends the ids of a text without what stands around it.
func (e *encoder) text(s string) {
	if s == "" {
		return
	}
	a := &e.t.added
	_, first := utf8.DecodeRuneInString(s)
	token := func(id int) { e.ids = append(e.ids, id) }
	a.cut(a.plain, piece{s, first}, func(p piece) {
		if e.err != nil {
			return
		}
		p, e.err = normalizePiece(e.t.normalizer, p)
		if e.err == nil && p.s != "" {
			a.cut(a.normalized, p, e.emit, token)
		}
	}, token)
}

// Decode returns the text of ids. With skipSpecial special tokens are left out. Ids without a token are left out as well.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		token, ok := t.spelling(id)
		if ok && !(skipSpecial && t.added.special[token]) {
			tokens = append(tokens, token)
		}
	}
	if t.decoder == nil {
		return strings.Join(tokens, " ")
	}
	if len(tokens) == 0 {
		return ""
	}
	return strings.Join(t.decoder.decode(tokens), "")
}

// spelling returns a token as decoders take it: an added token that is looked for in normalized text, normalized.
func (t *Tokenizer) spelling(id int) (string, bool) {
	if s, ok := t.added.spelled[id]; ok {
		return s, true
	}
	return t.Token(id)
}

// Size returns one more than the largest id.
func (t *Tokenizer) Size() int { return t.size }

// Token returns the token of an id as its file spells it, for example "Ġthe" or "▁the".
func (t *Tokenizer) Token(id int) (string, bool) {
	if a, ok := t.added.byID[id]; ok {
		return a.Content, true
	}
	return t.model.vocab().token(id)
}

// ID returns the id of a token in its file's spelling.
func (t *Tokenizer) ID(token string) (int, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	id, ok := t.model.vocab().ids[token]
	return int(id), ok
}

// Special returns the ids of the tokens with a role, as the model's files name them.
func (t *Tokenizer) Special() Special { return t.special }
