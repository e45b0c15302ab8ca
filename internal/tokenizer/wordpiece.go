package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// wordPiece takes the longest token at each place of a word; a word that cannot be spelled is unknown as a whole.
type wordPiece struct {
	vocabulary
	unk      string
	prefix   string // of tokens that continue a word
	maxChars int
	begin    *trie // tokens that begin words
	inside   *trie // tokens that continue words, without the prefix
}

func (w *wordPiece) vocab() *vocabulary { return &w.vocabulary }

func (w *wordPiece) finish() {
	var begin, inside []string
	var beginIDs, insideIDs []int32
	for id, token := range w.tokens {
		if !w.known[id] {
			continue
		}
		begin, beginIDs = append(begin, token), append(beginIDs, int32(id))
		if len(token) > len(w.prefix) && token[:len(w.prefix)] == w.prefix {
			inside, insideIDs = append(inside, token[len(w.prefix):]), append(insideIDs, int32(id))
		}
	}
	w.begin, w.inside = newTrie(begin, beginIDs), newTrie(inside, insideIDs)
}

func (w *wordPiece) encode(e *encoder, word string) {
	ids, hash, ok := e.cache.get(e.ids, word)
	if e.ids = ids; ok {
		return
	}
	from := len(e.ids)
	bad := utf8.RuneCountInString(word) > w.maxChars
	for at, t := 0, w.begin; at < len(word) && !bad; t = w.inside {
		id, n := t.longest(word, at)
		if bad = n == 0; !bad {
			e.ids = append(e.ids, int(id))
			at += n
		}
	}
	if bad {
		id, ok := w.ids[w.unk]
		if !ok {
			e.err = fmt.Errorf("word %.40q is unknown, and the vocabulary has no %q", word, w.unk)
			return
		}
		e.ids = append(e.ids[:from], int(id))
	}
	e.cache.put(hash, word, e.ids[from:])
}

// wordLevel takes words that are tokens.
type wordLevel struct {
	vocabulary
	unk string
}

func (w *wordLevel) vocab() *vocabulary { return &w.vocabulary }

func (w *wordLevel) encode(e *encoder, word string) {
	id, ok := w.ids[word]
	if !ok {
		if id, ok = w.ids[w.unk]; !ok {
			e.err = fmt.Errorf("word %.40q is unknown, and the vocabulary has no %q", word, w.unk)
			return
		}
	}
	e.ids = append(e.ids, int(id))
}
