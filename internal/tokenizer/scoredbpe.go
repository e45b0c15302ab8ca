package tokenizer

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"unicode/utf8"
)

// spmNormalizer is SentencePiece's normalizer: its map of characters, then spaces.
type spmNormalizer struct {
	charsmap                          *charsmap // nil: none
	user                              *trie     // pieces that stay as they are; nil: none
	dummyPrefix, trim, escape, suffix bool
}

func (n *spmNormalizer) apply(s string) (string, error) {
	space := " "
	if n.escape {
		space = wordMark
	}
	if n.charsmap == nil && n.user == nil && !n.trim && !n.suffix {
		if n.escape {
			s = strings.ReplaceAll(s, " ", space)
		}
		if n.dummyPrefix {
			s = space + s
		}
		return s, nil
	}
	if n.trim {
		for s != "" {
			part, size := n.prefix(s)
			if part != " " {
				break
			}
			s = s[size:]
		}
	}
	if s == "" {
		return "", nil
	}
	b := make([]byte, 0, len(s)+len(s)/4+8)
	if n.dummyPrefix && !n.suffix {
		b = append(b, space...)
	}
	afterSpace := n.trim
	for s != "" {
		part, size := n.prefix(s)
		s = s[size:]
		if afterSpace {
			part = strings.TrimLeft(part, " ")
		}
		if part != "" {
			for i := range len(part) {
				if part[i] == ' ' {
					b = append(b, space...)
				} else {
					b = append(b, part[i])
				}
			}
			afterSpace = n.trim && part[len(part)-1] == ' '
		}
	}
	out := string(b)
	for n.trim && strings.HasSuffix(out, space) {
		out = out[:len(out)-len(space)]
	}
	if n.suffix && n.dummyPrefix {
		out += space
	}
	return out, nil
}

// prefix returns what the first size bytes of s become.
func (n *spmNormalizer) prefix(s string) (part string, size int) {
	if n.user != nil {
		if _, size := n.user.longest(s, 0); size > 0 {
			return s[:size], size
		}
	}
	if n.charsmap != nil {
		if part, size = n.charsmap.find(s, true); size > 0 {
			return part, size
		}
	}
	size = 1
	if s[0] >= utf8.RuneSelf {
		_, size = utf8.DecodeRuneInString(s)
	}
	return s[:size], size
}

// scoredBPE is SentencePiece's byte-pair encoding: two neighbours that together are a token are merged, the token of the
// greatest score first.
type scoredBPE struct {
	vocabulary
	kinds    []pieceKind
	rank     []int32 // by id: 0 for the greatest score, equal for equal scores
	merged   map[string]int32
	longest  int // bytes of a token
	unk      int
	user     *trie // user-defined tokens, never merged; nil: none
	fallback *[256]int32
	unused   bool // there are unused tokens
	apart    bool // no token joins words, so words can be merged apart
}

func newScoredBPE(m *sentencePiece, unk int, user *trie) (model, error) {
	b := &scoredBPE{
		vocabulary: listVocabulary(m.tokens), kinds: m.kinds, unk: unk, user: user, merged: map[string]int32{},
		rank: make([]int32, len(m.tokens)),
	}
	order := make([]int, len(m.tokens))
	for i, s := range m.scores {
		if math.IsNaN(float64(s)) {
			return nil, fmt.Errorf("piece %q has the score NaN", m.tokens[i])
		}
		order[i] = i
	}
	sort.Slice(order, func(i, j int) bool { return m.scores[order[i]] > m.scores[order[j]] })
	for i, id := range order {
		if i > 0 && m.scores[id] == m.scores[order[i-1]] {
			b.rank[id] = b.rank[order[i-1]]
		} else {
			b.rank[id] = int32(i)
		}
	}
	b.apart = b.knows(wordMark) && !m.suffix
	for id, token := range m.tokens {
		switch m.kinds[id] {
		case pieceUnused:
			b.unused = true
		case pieceNormal, pieceUserDefined:
		default:
			continue
		}
		b.merged[token] = int32(id)
		b.longest = max(b.longest, len(token))
		b.apart = b.apart && !joinsWords(token)
	}
	if m.byteFallback {
		b.fallback = b.byteTokens()
	}
	return b, nil
}

func (b *scoredBPE) vocab() *vocabulary { return &b.vocabulary }

func (b *scoredBPE) encode(e *encoder, text string) {
	for e.err == nil && text != "" {
		end := len(text)
		if b.apart {
			end = wordEnd(text)
		}
		b.encodeWord(e, text[:end])
		text = text[end:]
	}
}

func (b *scoredBPE) encodeWord(e *encoder, word string) {
	ids, hash, ok := e.cache.get(e.ids, word)
	if e.ids = ids; ok {
		return
	}
	from := len(e.ids)
	m := &e.merger
	m.reset()
	for i := 0; i < len(word); {
		id, size := int32(0), 0
		if b.user != nil {
			id, size = b.user.longest(word, i)
		}
		if size > 0 {
			id = frozen
		} else {
			_, size = utf8.DecodeRuneInString(word[i:])
		}
		m.add(id, int32(i), int32(i+size))
		i += size
	}
	var parts map[string]int32 // how an unused token was made: the length of its left part
	m.rule = func(left, right *symbol) (mergeRule, bool) {
		if left.id == frozen || right.id == frozen || int(right.end-left.start) > b.longest {
			return mergeRule{}, false
		}
		token := word[left.start:right.end]
		id, ok := b.merged[token]
		if !ok {
			return mergeRule{}, false
		}
		if b.unused && b.kinds[id] == pieceUnused {
			if parts == nil {
				parts = map[string]int32{}
			}
			parts[token] = left.end - left.start
		}
		return mergeRule{b.rank[id], id}, true
	}
	m.merge()
	afterUnknown := false
	for i := int32(0); i >= 0 && e.err == nil; i = m.symbols[i].next {
		afterUnknown = b.give(e, word[m.symbols[i].start:m.symbols[i].end], parts, afterUnknown)
	}
	if e.err == nil {
		e.cache.put(hash, word, e.ids[from:])
	}
}

// frozen marks a symbol that does not merge.
const frozen = -2

// give appends the ids of one part of a word; the result says whether it is the unknown token.
func (b *scoredBPE) give(e *encoder, part string, parts map[string]int32, afterUnknown bool) bool {
	id, ok := b.ids[part]
	if ok && b.kinds[id] == pieceUnused {
		if n := int(parts[part]); n > 0 {
			afterUnknown = b.give(e, part[:n], parts, afterUnknown)
			return b.give(e, part[n:], parts, afterUnknown)
		}
	}
	if ok && int(id) != b.unk {
		e.ids = append(e.ids, int(id))
		return false
	}
	if b.fallback != nil {
		from := len(e.ids)
		for i := range len(part) {
			id := b.fallback[part[i]]
			if id < 0 {
				e.ids = e.ids[:from]
				break
			}
			e.ids = append(e.ids, int(id))
		}
		if len(e.ids) > from {
			return false
		}
	}
	switch {
	case b.unk < 0:
		e.err = fmt.Errorf("%q is unknown, and the tokenizer has no unknown token", part)
	case !afterUnknown:
		e.ids = append(e.ids, b.unk)
	}
	return true
}
