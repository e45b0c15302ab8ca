package tokenizer

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// piece is a part of a text on its way to the model.
type piece struct {
	s string
	// zero is how many bytes at the start stand for the first character of the whole text: Metaspace may mark only these.
	zero int
}

func (p piece) slice(start, end int) piece {
	return piece{p.s[start:end], max(0, min(p.zero, end)-start)}
}

// preTokenizer cuts a piece into smaller ones, or changes it.
type preTokenizer interface {
	split(p piece, emit func(piece)) error
}

// behavior is what becomes of the text that a matcher matches.
type behavior int

const (
	removed behavior = iota
	isolated
	contiguous // isolated, and neighbours of a kind joined
	withPrevious
	withNext
)

var behaviors = map[string]behavior{
	"Removed": removed, "Isolated": isolated, "Contiguous": contiguous, "MergedWithPrevious": withPrevious, "MergedWithNext": withNext,
}

// splitter is the pre-tokenizer Split and all that cut by a kind of character.
type splitter struct {
	by       matcher
	behavior behavior
	invert   bool // what matches is text, what is between is delimiter
}

func (x *splitter) split(p piece, emit func(piece)) error {
	join := joiner{p: p, emit: emit, behavior: x.behavior}
	at := 0
	err := x.by.matches(p.s, func(start, end int) {
		if start > at {
			join.add(at, start, x.invert)
		}
		join.add(start, end, !x.invert)
		at = end
	})
	if at < len(p.s) {
		join.add(at, len(p.s), x.invert)
	}
	join.flush()
	return err
}

// joiner joins delimiters and text between them as a behavior says.
type joiner struct {
	p          piece
	emit       func(piece)
	behavior   behavior
	start, end int  // held back: may be joined with what follows
	held       bool // there is something held back
	match      bool // what came last was a delimiter
}

func (j *joiner) add(start, end int, match bool) {
	joins := false
	switch j.behavior {
	case removed:
		if !match {
			j.emit(j.p.slice(start, end))
		}
		return
	case isolated:
		j.emit(j.p.slice(start, end))
		return
	case contiguous:
		joins = match == j.match
	case withPrevious:
		joins = match && !j.match
	case withNext:
		joins = !match && j.match
	}
	if !joins || !j.held {
		j.flush()
		j.start = start
	}
	j.end, j.held, j.match = end, true, match
}

func (j *joiner) flush() {
	if j.held && j.end > j.start {
		j.emit(j.p.slice(j.start, j.end))
	}
	j.held = false
}

// charMatcher matches single characters.
type charMatcher func(r rune, p props) bool

func (in charMatcher) matches(s string, yield func(start, end int)) error {
	t := chars()
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if in(r, t.of(r)) {
			yield(i, i+size)
		}
		i += size
	}
	return nil
}

// digitMatcher matches single numbers as \p{N} does; numeric makes it what the Digits splitter isolates.
type digitMatcher struct{ numeric bool }

func (m *digitMatcher) matches(s string, yield func(start, end int)) error {
	if m.numeric {
		return charMatcher(isNumeric).matches(s, yield)
	}
	return charMatcher(func(_ rune, p props) bool { return p.number() }).matches(s, yield)
}

func isSpace(_ rune, p props) bool   { return p.space() }
func isPunct(_ rune, p props) bool   { return p&propPunct != 0 }
func isNumeric(_ rune, p props) bool { return p&propNumeric != 0 }

// literalMatcher matches a string, which is not empty.
type literalMatcher string

func (l literalMatcher) matches(s string, yield func(start, end int)) error {
	for at := 0; ; {
		i := strings.Index(s[at:], string(l))
		if i < 0 {
			return nil
		}
		yield(at+i, at+i+len(l))
		at += i + len(l)
	}
}

// byteLevelSplit is the pre-tokenizer ByteLevel. With raw it leaves bytes as they are, for a model that takes them so.
type byteLevelSplit struct {
	prefixSpace, regex, raw bool
	words                   wordPattern
}

func (b *byteLevelSplit) split(p piece, emit func(piece)) error {
	if b.prefixSpace && !strings.HasPrefix(p.s, " ") {
		p = p.prepend(" ")
	}
	spell := func(p piece) {
		if !b.raw {
			p.s, p.zero = spellBytes(p.s), len(spellBytes(p.s[:p.zero]))
		}
		emit(p)
	}
	if !b.regex {
		spell(p)
		return nil
	}
	return b.words.matches(p.s, func(start, end int) { spell(p.slice(start, end)) })
}

func (p piece) prepend(s string) piece {
	if p.zero > 0 {
		p.zero += len(s)
	}
	p.s = s + p.s
	return p
}

// metaspace is the pre-tokenizer Metaspace.
type metaspace struct {
	mark    string // what stands for a space
	prepend string // always, first or never
	cut     bool
}

func (m *metaspace) split(p piece, emit func(piece)) error {
	if strings.Contains(p.s, " ") {
		if p.zero > 0 {
			p.zero += strings.Count(p.s[:p.zero], " ") * (len(m.mark) - 1)
		}
		p.s = strings.ReplaceAll(p.s, " ", m.mark)
	}
	if !strings.HasPrefix(p.s, m.mark) && (m.prepend == "always" || m.prepend == "first" && p.zero > 0) {
		p = p.prepend(m.mark)
	}
	if !m.cut {
		emit(p)
		return nil
	}
	at := 0
	for at < len(p.s) {
		end := len(p.s)
		// The mark belongs to what follows it.
		if i := strings.Index(p.s[min(at+1, len(p.s)):], m.mark); i >= 0 {
			end = at + 1 + i
		}
		emit(p.slice(at, end))
		at = end
	}
	return nil
}

// wordSplit is the pre-tokenizer Whitespace: words, and runs of what is neither word nor space.
type wordSplit struct{}

func (wordSplit) split(p piece, emit func(piece)) error {
	t := chars()
	kind := func(q props) int {
		switch {
		case q&propWord != 0:
			return 1
		case !q.space():
			return 2
		}
		return 0
	}
	start, last := 0, 0
	for i := 0; i < len(p.s); {
		q, size := t.at(p.s, i)
		if k := kind(q); k != last {
			if last != 0 {
				emit(p.slice(start, i))
			}
			start, last = i, k
		}
		i += size
	}
	if last != 0 {
		emit(p.slice(start, len(p.s)))
	}
	return nil
}

// bertSplit is the pre-tokenizer BertPreTokenizer: words between white space and punctuation, and each punctuation mark.
type bertSplit struct{}

func (bertSplit) split(p piece, emit func(piece)) error {
	t := chars()
	start := 0
	for i := 0; i < len(p.s); {
		q, size := t.at(p.s, i)
		if space := q.space(); space || q&propPunct != 0 {
			if i > start {
				emit(p.slice(start, i))
			}
			start = i + size
			if !space {
				emit(p.slice(i, start))
			}
		}
		i += size
	}
	if start < len(p.s) {
		emit(p.slice(start, len(p.s)))
	}
	return nil
}

// fixedLength cuts pieces of so many characters.
type fixedLength int

func (n fixedLength) split(p piece, emit func(piece)) error {
	start, count := 0, 0
	for i := range p.s {
		if count == int(n) {
			emit(p.slice(start, i))
			start, count = i, 0
		}
		count++
	}
	emit(p.slice(start, len(p.s)))
	return nil
}

// splitterOf returns the pre-tokenizer Split.
func splitterOf(pattern patternJSON, how string, invert bool) (preTokenizer, error) {
	b, ok := behaviors[how]
	if !ok {
		return nil, fmt.Errorf("behavior %q, want Removed, Isolated, Contiguous, MergedWithPrevious or MergedWithNext", how)
	}
	m, err := pattern.matcher()
	if err != nil {
		return nil, err
	}
	return &splitter{m, b, invert}, nil
}
