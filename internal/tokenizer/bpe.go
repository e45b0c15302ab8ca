package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// model turns a word, what is left after normalizing and splitting, into ids.
type model interface {
	// encode appends the ids of a word, which is not empty, to e.ids, or sets e.err.
	encode(e *encoder, word string)
	vocab() *vocabulary
}

// bpe is byte-pair encoding by ranked merges. Two forms differ in what a word's first parts are: characters that are looked
// up in the vocabulary, or raw bytes whose ids are known (byteLevel), where the vocabulary's tokens spell bytes as characters.
type bpe struct {
	vocabulary
	merges         *mergeTable
	unk            int32 // -1: none, an unknown part is left out
	prefix, suffix string
	fuseUnk        bool
	ignoreMerges   bool             // a word that is a token is that token
	fallback       *[256]int32      // ids of <0x00> to <0xFF>, -1 where missing; nil: no byte fallback
	parts          *[256]int32      // byteLevel: id of each byte, -1 where missing
	wholeIDs       map[string]int32 // byteLevel and ignoreMerges: ids by the raw bytes of the tokens
	wordStart      bool             // no merge joins across a ▁ that begins a word, so words can be merged apart
	pair           func(left, right *symbol) (mergeRule, bool)
}

func (b *bpe) vocab() *vocabulary { return &b.vocabulary }

// finish makes what encoding needs from the fields that a file gives.
func (b *bpe) finish(byteLevel, byteFallback bool) {
	b.pair = func(left, right *symbol) (mergeRule, bool) { return b.merges.get(left.id, right.id) }
	if byteFallback {
		b.fallback = b.byteTokens()
	}
	if byteLevel {
		b.parts = new([256]int32)
		for c := range b.parts {
			b.parts[c] = -1
			if id, ok := b.ids[string(byteChars[c])]; ok {
				b.parts[c] = id
			}
		}
		if b.ignoreMerges {
			b.wholeIDs = make(map[string]int32, len(b.ids))
			for token, id := range b.ids {
				if raw, ok := rawBytes(nil, token); ok {
					b.wholeIDs[string(raw)] = id
				}
			}
		}
		return
	}
	b.wordStart = !b.ignoreMerges && b.prefix == "" && b.suffix == "" && b.knows(wordMark)
	for i, key := range b.merges.keys {
		if key != emptyKey && joinsWords(b.tokens[b.merges.rules[i].id]) {
			b.wordStart = false
		}
	}
}

const wordMark = "▁"

// joinsWords reports whether a ▁ follows another character in token.
func joinsWords(token string) bool {
	return strings.Contains(strings.TrimLeft(token, wordMark), wordMark)
}

func (b *bpe) encode(e *encoder, word string) {
	if !b.wordStart {
		b.encodeWord(e, word)
		return
	}
	for e.err == nil && word != "" {
		end := wordEnd(word)
		b.encodeWord(e, word[:end])
		word = word[end:]
	}
}

// wordEnd returns where the second word of s begins: a ▁ after something else.
func wordEnd(s string) int {
	i := 0
	for strings.HasPrefix(s[i:], wordMark) {
		i += len(wordMark)
	}
	if j := strings.Index(s[i:], wordMark); j >= 0 {
		return i + j
	}
	return len(s)
}

func (b *bpe) encodeWord(e *encoder, word string) {
	if b.ignoreMerges {
		ids := b.ids
		if b.parts != nil {
			ids = b.wholeIDs
		}
		if id, ok := ids[word]; ok {
			e.ids = append(e.ids, int(id))
			return
		}
	}
	if b.parts != nil && len(word) == 1 {
		if id := b.parts[word[0]]; id >= 0 {
			e.ids = append(e.ids, int(id))
			return
		}
	}
	ids, hash, ok := e.cache.get(e.ids, word)
	if e.ids = ids; ok {
		return
	}
	from := len(e.ids)
	m := &e.merger
	m.reset()
	m.rule = b.pair
	if b.parts != nil {
		b.addBytes(m, word)
	} else {
		b.addChars(m, word)
	}
	m.merge()
	for i := int32(0); i >= 0 && len(m.symbols) > 0; i = m.symbols[i].next {
		e.ids = append(e.ids, int(m.symbols[i].id))
	}
	e.cache.put(hash, word, e.ids[from:])
}

func (b *bpe) addBytes(m *merger, word string) {
	unk := unknowns{b: b, m: m}
	for i := range len(word) {
		if id := b.parts[word[i]]; id >= 0 {
			unk.known(id, i, i+1)
		} else {
			unk.unknown(i, i+1)
		}
	}
	unk.flush()
}

func (b *bpe) addChars(m *merger, word string) {
	unk := unknowns{b: b, m: m}
	for i := 0; i < len(word); {
		_, size := utf8.DecodeRuneInString(word[i:])
		end := i + size
		part := word[i:end]
		if i > 0 && b.prefix != "" {
			part = b.prefix + part
		}
		if end == len(word) && b.suffix != "" {
			part += b.suffix
		}
		if id, ok := b.ids[part]; ok {
			unk.known(id, i, end)
		} else if !b.addFallback(m, part, i) {
			unk.unknown(i, end)
		}
		i = end
	}
	unk.flush()
}

// addFallback adds the bytes of part, if all have a token. An unknown part before it comes after it, as in the reference.
func (b *bpe) addFallback(m *merger, part string, at int) bool {
	if b.fallback == nil {
		return false
	}
	for i := range len(part) {
		if b.fallback[part[i]] < 0 {
			return false
		}
	}
	for i := range len(part) {
		m.add(b.fallback[part[i]], int32(at+i), int32(at+i+1))
	}
	return true
}

// unknowns adds parts and holds back an unknown one, so that neighbours can be fused.
type unknowns struct {
	b          *bpe
	m          *merger
	start, end int
	pending    bool
}

func (u *unknowns) known(id int32, start, end int) {
	u.flush()
	u.m.add(id, int32(start), int32(end))
}

func (u *unknowns) unknown(start, end int) {
	if u.b.unk < 0 {
		return
	}
	if u.pending && u.b.fuseUnk {
		u.end = end
		return
	}
	u.flush()
	u.start, u.end, u.pending = start, end, true
}

func (u *unknowns) flush() {
	if u.pending {
		u.m.add(u.b.unk, int32(u.start), int32(u.end))
		u.pending = false
	}
}

// mergePair cuts a merge as most files write it, "a b".
func mergePair(line string) (pair [2]string, ok bool) {
	pair[0], pair[1], ok = strings.Cut(line, " ")
	return pair, ok && !strings.Contains(pair[1], " ")
}

// addMerges fills the merge table from pairs of tokens in order of rank.
func (b *bpe) addMerges(pairs [][2]string) error {
	b.merges = newMergeTable(len(pairs))
	var joined []byte
	for rank, p := range pairs {
		left, ok := b.ids[p[0]]
		if !ok {
			return fmt.Errorf("merge %d: %q is not in the vocabulary", rank, p[0])
		}
		right, ok := b.ids[p[1]]
		if !ok {
			return fmt.Errorf("merge %d: %q is not in the vocabulary", rank, p[1])
		}
		if !strings.HasPrefix(p[1], b.prefix) {
			return fmt.Errorf("merge %d: %q does not begin with the prefix %q of continuing parts", rank, p[1], b.prefix)
		}
		joined = append(append(joined[:0], p[0]...), p[1][len(b.prefix):]...)
		id, ok := b.ids[string(joined)]
		if !ok {
			return fmt.Errorf("merge %d: %q, of %q and %q, is not in the vocabulary", rank, joined, p[0], p[1])
		}
		b.merges.set(left, right, mergeRule{int32(rank), id})
	}
	return nil
}
