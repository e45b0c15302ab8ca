package tokenizer

import "strings"

// AddedToken is a token that is found in a text before the model sees it.
type AddedToken struct {
	Content    string
	ID         int
	SingleWord bool // only where no word character touches it
	LStrip     bool // takes the white space before it
	RStrip     bool // takes the white space after it
	Normalized bool // is looked for in normalized text
	Special    bool // may be left out when decoding
}

// addedVocabulary finds added tokens. Those that are not normalized are looked for first, in the text as it is.
type addedVocabulary struct {
	byID       map[int]*AddedToken
	ids        map[string]int
	special    map[string]bool
	spelled    map[int]string // normalized content, where it differs
	plain      *finder
	normalized *finder
}

// finder finds the longest added token at each place, from left to right.
type finder struct {
	trie   *trie
	begins [256]bool
	only   int // the one byte that all begin with, or -1
}

func newFinder(keys []string, ids []int32) *finder {
	if len(keys) == 0 {
		return nil
	}
	f := &finder{trie: newTrie(keys, ids), only: -1}
	first := 0
	for b, node := range f.trie.root {
		if node != 0 {
			f.begins[b] = true
			f.only = b
			first++
		}
	}
	if first != 1 {
		f.only = -1
	}
	return f
}

// next finds the first token at or after byte at; end is 0 if there is none.
func (f *finder) next(s string, at int) (id int32, start, end int) {
	for at < len(s) {
		if f.only >= 0 {
			i := strings.IndexByte(s[at:], byte(f.only))
			if i < 0 {
				break
			}
			at += i
		} else if !f.begins[s[at]] {
			at++
			continue
		}
		if id, n := f.trie.longest(s, at); n > 0 {
			return id, at, at + n
		}
		at++
	}
	return 0, 0, 0
}

// addTokens gives tokens ids as the tokenizers library does: that of the model if it knows the content, else the next free one.
func (t *Tokenizer) addTokens(tokens []AddedToken) error {
	a := &t.added
	a.byID, a.ids, a.special, a.spelled = map[int]*AddedToken{}, map[string]int{}, map[string]bool{}, map[int]string{}
	v := t.model.vocab()
	next := v.n
	var order []int
	for _, token := range tokens {
		if token.Content == "" {
			continue
		}
		id, ok := a.ids[token.Content]
		if !ok {
			var known int32
			if known, ok = v.ids[token.Content]; ok {
				id = int(known)
			}
		}
		if !ok {
			id = next
			next++
		}
		token.ID = id
		if _, seen := a.byID[id]; !seen {
			order = append(order, id)
		}
		delete(a.spelled, id)
		if token.Normalized && t.normalizer != nil {
			s, err := t.normalizer.apply(token.Content)
			if err != nil {
				return err
			}
			if s != token.Content {
				a.spelled[id] = s
			}
		}
		if token.Special {
			a.special[token.Content] = true
		}
		a.ids[token.Content] = id
		a.byID[id] = &token
	}
	var plain, normalized []string
	var plainIDs, normalizedIDs []int32
	for _, id := range order {
		token := a.byID[id]
		if !token.Normalized {
			plain, plainIDs = append(plain, token.Content), append(plainIDs, int32(id))
			continue
		}
		content := token.Content
		if s, ok := a.spelled[id]; ok {
			content = s
		}
		if content != "" {
			normalized, normalizedIDs = append(normalized, content), append(normalizedIDs, int32(id))
		}
	}
	a.plain, a.normalized = newFinder(plain, plainIDs), newFinder(normalized, normalizedIDs)
	return nil
}

// cut calls text for what is between the tokens that f finds in p, and token for these.
func (a *addedVocabulary) cut(f *finder, p piece, text func(piece), token func(id int)) {
	if f == nil {
		if p.s != "" {
			text(p)
		}
		return
	}
	t := chars()
	done := 0 // everything before is given away
	for at := 0; ; {
		id, start, end := f.next(p.s, at)
		if end == 0 {
			break
		}
		at = end
		added := a.byID[int(id)]
		if added.SingleWord {
			if start > 0 {
				if q, _ := t.before(p.s, start); q&propWord != 0 {
					continue
				}
			}
			if end < len(p.s) {
				if q, _ := t.at(p.s, end); q&propWord != 0 {
					continue
				}
			}
		}
		if added.LStrip {
			for start > done {
				q, size := t.before(p.s, start)
				if !q.space() {
					break
				}
				start -= size
			}
			start = max(start, done)
		}
		if added.RStrip {
			for end < len(p.s) {
				q, size := t.at(p.s, end)
				if !q.space() {
					break
				}
				end += size
			}
		}
		if done < start {
			text(p.slice(done, start))
		}
		token(int(id))
		done = end
	}
	if done < len(p.s) {
		text(p.slice(done, len(p.s)))
	}
}
