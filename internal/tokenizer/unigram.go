package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// unigram takes the tokens of a word whose scores have the greatest sum.
type unigram struct {
	vocabulary
	scores   []float64
	unk      int // -1: none
	unkScore float64
	fallback *[256]int32 // as in bpe
	trie     *trie
	single   bool // sums are kept in single precision, as SentencePiece's own library has them
}

// pathNode is the best way to spell a word up to a place.
type pathNode struct {
	score float64
	start int32 // where its last token begins, -1: no way yet
	id    int32
}

const (
	unkPenalty = 10  // below the least score, as SentencePiece's unigram_model.cc has it
	mostScore  = 1e5 // beyond which sums in single precision begin at zero again: kScoreResetThreshold there
)

func (u *unigram) vocab() *vocabulary { return &u.vocabulary }

func (u *unigram) finish(byteFallback bool) error {
	if u.unk >= len(u.tokens) {
		return fmt.Errorf("unk_id %d is out of range: the vocabulary has %d tokens", u.unk, len(u.tokens))
	}
	values := make([]int32, len(u.tokens))
	least := math.Inf(1)
	for i, s := range u.scores {
		if math.IsNaN(s) {
			return fmt.Errorf("token %q has the score NaN", u.tokens[i])
		}
		values[i] = u.ids[u.tokens[i]]
		least = min(least, s)
	}
	u.unkScore = least - unkPenalty
	u.trie = newTrie(u.tokens, values)
	if byteFallback {
		u.fallback = u.byteTokens()
	}
	return nil
}

func (u *unigram) encode(e *encoder, word string) {
	ids, hash, ok := e.cache.get(e.ids, word)
	if e.ids = ids; ok {
		return
	}
	if len(word) > math.MaxInt32-8 {
		e.err = errors.New("a text without a place to split it has more than 2 GiB")
		return
	}
	if !u.findPath(e, word) {
		return
	}
	from := len(e.ids)
	// Tokens from the last to the first; unknown neighbours are one.
	for end := len(word); end > 0; {
		n := e.best[end]
		start := int(n.start)
		if int(n.id) == u.unk {
			for start > 0 && int(e.best[start].id) == u.unk {
				start = int(e.best[start].start)
			}
			u.appendUnknown(e, word[start:end])
		} else {
			e.ids = append(e.ids, int(n.id))
		}
		end = start
	}
	for i, j := from, len(e.ids)-1; i < j; i, j = i+1, j-1 {
		e.ids[i], e.ids[j] = e.ids[j], e.ids[i]
	}
	e.cache.put(hash, word, e.ids[from:])
}

// appendUnknown appends, in reverse, what stands for text that no tokens spell.
func (u *unigram) appendUnknown(e *encoder, text string) {
	if id, ok := u.ids[text]; ok {
		e.ids = append(e.ids, int(id))
		return
	}
	if u.fallback != nil {
		from := len(e.ids)
		for i := len(text) - 1; i >= 0; i-- {
			id := u.fallback[text[i]]
			if id < 0 {
				e.ids = append(e.ids[:from], u.unk)
				return
			}
			e.ids = append(e.ids, int(id))
		}
		return
	}
	e.ids = append(e.ids, u.unk)
}

// findPath fills e.best for word, or sets e.err.
func (u *unigram) findPath(e *encoder, word string) bool {
	if cap(e.best) < len(word)+1 {
		e.best = make([]pathNode, len(word)+1)
	}
	e.best = e.best[:len(word)+1]
	for i := range e.best {
		e.best[i] = pathNode{start: -1}
	}
	for start, reached := 0, 0; start < len(word); {
		here := e.best[start].score
		if u.single && math.Abs(here) > mostScore {
			for i := start; i <= reached; i++ {
				if n := &e.best[i]; n.start >= 0 {
					n.score = float64(float32(n.score - here))
				}
			}
			here = 0
		}
		size := 1
		if word[start] >= utf8.RuneSelf {
			_, size = utf8.DecodeRuneInString(word[start:])
		}
		hasSingle := false
		node := int32(0)
		for i := start; i < len(word); i++ {
			if node = u.trie.child(node, word[i]); node == 0 {
				break
			}
			id := u.trie.nodes[node].value
			if id < 0 {
				continue
			}
			u.improve(&e.best[i+1], here, u.scores[id], start, id)
			reached = max(reached, i+1)
			hasSingle = hasSingle || i+1-start == size
		}
		if !hasSingle {
			if u.unk < 0 {
				e.err = fmt.Errorf("character %q is unknown, and the tokenizer has no unknown token", word[start:start+size])
				return false
			}
			u.improve(&e.best[start+size], here, u.unkScore, start, int32(u.unk))
			reached = max(reached, start+size)
		}
		start += size
	}
	return true
}

func (u *unigram) improve(n *pathNode, here, score float64, start int, id int32) {
	sum := here + score
	if u.single {
		sum = float64(float32(sum))
	}
	if n.start < 0 || sum > n.score {
		*n = pathNode{sum, int32(start), id}
	}
}
