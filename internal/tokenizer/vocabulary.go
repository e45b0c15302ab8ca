package tokenizer

import "fmt"

// vocabulary is the tokens of a model, both ways.
type vocabulary struct {
	tokens []string // by id
	known  []bool   // false where no token has the id
	ids    map[string]int32
	n      int // how many tokens a file lists; the first id that an added token may take
}

// newVocabulary takes a map of tokens to ids as files hold it. Ids may have holes, but not be mostly holes.
func newVocabulary(ids map[string]int32) (vocabulary, error) {
	size := int32(0)
	for token, id := range ids {
		if id < 0 || int(id) > 16*len(ids)+1<<16 {
			return vocabulary{}, fmt.Errorf("token %q has id %d, out of range for a vocabulary of %d tokens", token, id, len(ids))
		}
		size = max(size, id+1)
	}
	v := vocabulary{tokens: make([]string, size), known: make([]bool, size), ids: ids, n: len(ids)}
	for token, id := range ids {
		if v.known[id] && v.tokens[id] < token {
			continue // two tokens of one id: the lesser one stands for it
		}
		v.tokens[id], v.known[id] = token, true
	}
	return v, nil
}

// listVocabulary takes tokens in order of their ids; of equal tokens the last one's id counts.
func listVocabulary(tokens []string) vocabulary {
	v := vocabulary{tokens: tokens, known: make([]bool, len(tokens)), ids: make(map[string]int32, len(tokens)), n: len(tokens)}
	for id, token := range tokens {
		v.known[id], v.ids[token] = true, int32(id)
	}
	return v
}

func (v *vocabulary) knows(token string) bool {
	_, ok := v.ids[token]
	return ok
}

func (v *vocabulary) token(id int) (string, bool) {
	if id < 0 || id >= len(v.tokens) || !v.known[id] {
		return "", false
	}
	return v.tokens[id], true
}

// byteTokens returns the ids of <0x00> to <0xFF>, -1 where missing.
func (v *vocabulary) byteTokens() *[256]int32 {
	var ids [256]int32
	for c := range ids {
		ids[c] = -1
		if id, ok := v.ids[fmt.Sprintf("<0x%02X>", c)]; ok {
			ids[c] = id
		}
	}
	return &ids
}
