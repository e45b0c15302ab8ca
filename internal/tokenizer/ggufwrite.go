package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Vocab returns the vocabulary as a GGUF file holds it, or an error that says what GGUF has no words for. Ids without a token
// get one that is not used.
func (t *Tokenizer) Vocab() (Vocab, error) {
	s := t.special
	v := Vocab{BOS: s.BOS, EOS: s.EOS, UNK: s.UNK, SEP: s.SEP, PAD: s.PAD, CLS: s.CLS, MASK: s.MASK}
	v.Tokens, v.Types = make([]string, t.size), make([]int32, t.size)
	for id := range v.Tokens {
		token, ok := t.Token(id)
		v.Tokens[id], v.Types[id] = token, int32(pieceNormal)
		if !ok {
			v.Tokens[id], v.Types[id] = fmt.Sprintf("[PAD%d]", id), int32(pieceUnused)
		} else if a := t.added.byID[id]; a != nil {
			v.Types[id] = int32(pieceUserDefined)
			if a.Special {
				v.Types[id] = int32(pieceControl)
			}
		}
	}
	if t.spm != nil {
		for id, kind := range t.spm.kinds {
			v.Types[id] = int32(kind)
		}
	}
	var err error
	switch m := t.model.(type) {
	case *bpe:
		if m.parts != nil {
			err = v.fromByteLevel(t, m)
		} else {
			err = v.fromMerges(t, m)
		}
	case *scoredBPE:
		v.fromSentencePiece(t, "llama")
	case *unigram:
		err = v.fromUnigram(t, m)
	case *wordPiece:
		err = v.fromWordPiece(m)
	default:
		err = errors.New("GGUF has no word-level vocabularies")
	}
	if err == nil {
		v.around(t)
	}
	return v, err
}

// around says which tokens stand before and after a text.
func (v *Vocab) around(t *Tokenizer) {
	before, after := []int(nil), []int(nil)
	text := false
	for _, p := range t.single {
		switch {
		case p.sequence >= 0:
			text = true
		case text:
			after = append(after, p.ids...)
		default:
			before = append(before, p.ids...)
		}
	}
	addBOS, addEOS := len(before) == 1, len(after) == 1
	if addBOS && v.BOS < 0 && v.CLS < 0 {
		v.BOS = before[0]
	}
	if addEOS && v.EOS < 0 && v.SEP < 0 {
		v.EOS = after[0]
	}
	v.AddBOS, v.AddEOS = &addBOS, &addEOS
}

func (v *Vocab) fromByteLevel(t *Tokenizer, b *bpe) error {
	v.Model = "gpt2"
	patterns, err := t.patterns()
	if err != nil {
		return err
	}
	names := make([]string, 0, len(preKinds))
	nfc := t.normalizer == unicodeForms["NFC"]
	if t.normalizer != nil && !nfc {
		return errors.New("GGUF has no words for the normalizer of this byte-level tokenizer; it knows NFC")
	}
	for name, kind := range preKinds {
		if slices.Equal(kind.regexes, patterns) && kind.ignoreMerges == b.ignoreMerges && kind.nfc == nfc {
			names = append(names, name)
		}
	}
	if len(names) == 0 && nfc { // NFC changes only text that is not composed; llama.cpp leaves it out for others as well
		for name, kind := range preKinds {
			if slices.Equal(kind.regexes, patterns) && kind.ignoreMerges == b.ignoreMerges {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("GGUF has no name for how this tokenizer splits text: %q, merges ignored for whole words %v", patterns, b.ignoreMerges)
	}
	v.Pre = slices.MinFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(preRank(a), preRank(b)), cmp.Compare(a, b)) })
	v.Merges = b.mergeLines()
	return nil
}

// preRank orders names that mean the same: those that name a family first.
func preRank(name string) int {
	if i := slices.Index([]string{"gpt-2", "llama-bpe", "qwen2", "starcoder", "gpt-4o", "bloom"}, name); i >= 0 {
		return i
	}
	return 100
}

// patterns returns the regular expressions by which the tokenizer splits, one after the other, matches isolated.
func (t *Tokenizer) patterns() ([]string, error) {
	var list []string
	for _, p := range t.pre {
		switch p := p.(type) {
		case *byteLevelSplit:
			if p.prefixSpace {
				return nil, errors.New("GGUF has no words for add_prefix_space of a byte-level tokenizer")
			}
			if p.regex {
				list = append(list, patternOf(&p.words))
			}
			continue
		case *splitter:
			if pattern := patternOf(p.by); pattern != "" && p.behavior == isolated {
				list = append(list, pattern)
				continue
			}
		}
		return nil, errors.New("GGUF has no words for how this tokenizer splits text: it is not by regular expressions whose matches are isolated")
	}
	return list, nil
}

// patternOf returns the regular expression of a matcher, "" for one that is none.
func patternOf(m matcher) string {
	switch m := m.(type) {
	case *wordPattern:
		best := ""
		for pattern, w := range wordPatterns {
			if w == *m && (best == "" || pattern == gptWords) {
				best = pattern
			}
		}
		return best
	case *regexMatcher:
		return m.pattern
	case *digitMatcher:
		return `\p{N}`
	}
	return ""
}

// mergeLines returns the merges as "a b", in order.
func (b *bpe) mergeLines() []string {
	type merge struct {
		rank        int32
		left, right int32
	}
	var list []merge
	for i, key := range b.merges.keys {
		if key != emptyKey {
			list = append(list, merge{b.merges.rules[i].rank, int32(key >> 32), int32(uint32(key))})
		}
	}
	slices.SortFunc(list, func(a, b merge) int { return cmp.Compare(a.rank, b.rank) })
	lines := make([]string, len(list))
	for i, m := range list {
		lines[i] = b.tokens[m.left] + " " + b.tokens[m.right]
	}
	return lines
}

// fromMerges writes SentencePiece BPE that a tokenizer.json has as merges: a token's score is the rank of its first merge.
func (v *Vocab) fromMerges(t *Tokenizer, b *bpe) error {
	prefix, err := t.spacePrefix()
	switch {
	case err != nil:
		return err
	case b.fallback == nil || b.prefix != "" || b.suffix != "" || b.ignoreMerges:
		return errors.New("GGUF knows byte-pair encoding of bytes, and of characters with byte fallback; this tokenizer is neither")
	}
	v.Model, v.AddSpacePrefix = "llama", &prefix
	v.Scores = make([]float32, t.size)
	for id := range v.Scores {
		v.Scores[id] = float32(-b.merges.n - 1)
	}
	for i, key := range b.merges.keys {
		if key != emptyKey {
			r := b.merges.rules[i]
			v.Scores[r.id] = max(v.Scores[r.id], float32(-r.rank))
		}
	}
	for c, id := range b.fallback {
		if id < 0 {
			return fmt.Errorf("GGUF needs a token for every byte, and <0x%02X> is missing", c)
		}
		v.Types[id], v.Scores[id] = int32(pieceByte), 0
	}
	if b.unk >= 0 {
		v.UNK = int(b.unk)
		v.Types[b.unk] = int32(pieceUnknown)
	}
	return nil
}

// spacePrefix reports whether a space is put before texts; an error if the normalizers do more than write spaces as ▁.
func (t *Tokenizer) spacePrefix() (bool, error) {
	prefix, escapes := false, false
	list, ok := t.normalizer.(normalizers)
	if !ok && t.normalizer != nil {
		list = normalizers{t.normalizer}
	}
	for _, n := range list {
		switch n := n.(type) {
		case prepender:
			if prefix = n == wordMark; prefix {
				continue
			}
		case *replacer:
			if escapes = n.by == literalMatcher(" ") && n.content == wordMark; escapes {
				continue
			}
		}
		return false, errors.New("GGUF has no words for the normalizer of this tokenizer; it knows ▁ for spaces and one before the text")
	}
	for _, p := range t.pre {
		m, ok := p.(*metaspace)
		if s, split := p.(*splitter); split && s.by == literalMatcher(" ") && escapes {
			continue // spaces are written ▁ by then
		}
		if !ok || m.mark != wordMark {
			return false, errors.New("GGUF has no words for how this tokenizer splits text; it knows ▁ for spaces")
		}
		escapes = true
		prefix = prefix || m.prepend != "never"
	}
	if !escapes {
		return false, errors.New("GGUF writes spaces as ▁, which this tokenizer does not")
	}
	return prefix, nil
}

func (v *Vocab) fromSentencePiece(t *Tokenizer, model string) {
	m := t.spm
	v.Model, v.Scores, v.Charsmap = model, make([]float32, t.size), m.charsmap
	copy(v.Scores, m.scores)
	v.AddSpacePrefix, v.RemoveExtraWhitespaces = &m.dummyPrefix, &m.trim
}

func (v *Vocab) fromUnigram(t *Tokenizer, u *unigram) error {
	if t.spm != nil {
		v.fromSentencePiece(t, "t5")
		return nil
	}
	v.Model, v.Scores = "t5", make([]float32, t.size)
	for id, s := range u.scores {
		v.Scores[id] = float32(s)
	}
	if u.unk >= 0 {
		v.UNK = u.unk
		v.Types[u.unk] = int32(pieceUnknown)
	}
	prefix, trim := false, false
	list, ok := t.normalizer.(normalizers)
	if !ok && t.normalizer != nil {
		list = normalizers{t.normalizer}
	}
	for _, n := range list {
		switch n := n.(type) {
		case *charsmap:
			v.Charsmap = n.data
		case *stripper:
		case *replacer:
			trim = trim || patternOf(n.by) == " {2,}"
		default:
			return errors.New("GGUF has no words for the normalizer of this Unigram tokenizer; it knows precompiled maps")
		}
	}
	for _, p := range t.pre {
		if m, ok := p.(*metaspace); ok {
			prefix = prefix || m.prepend != "never"
		}
	}
	v.AddSpacePrefix, v.RemoveExtraWhitespaces = &prefix, &trim
	return nil
}

// fromWordPiece marks the tokens that begin words instead of those that do not.
func (v *Vocab) fromWordPiece(w *wordPiece) error {
	v.Model = "bert"
	if w.prefix != "##" {
		return fmt.Errorf("GGUF knows WordPiece with the prefix ##, not %q", w.prefix)
	}
	for id, token := range v.Tokens {
		if v.Types[id] != int32(pieceNormal) {
			continue
		}
		if rest, ok := strings.CutPrefix(token, w.prefix); ok {
			v.Tokens[id] = rest
		} else {
			v.Tokens[id] = wordMark + token
		}
	}
	if id, ok := w.ids[w.unk]; ok {
		v.UNK, v.Types[id] = int(id), int32(pieceUnknown)
		v.Tokens[id] = w.unk
	}
	return nil
}
