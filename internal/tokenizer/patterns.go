package tokenizer

import "strings"

// wordPattern is the family of regular expressions by which byte-level tokenizers split text into words, written by hand.
// It matches at every position, one alternative after the other:
//
//	contraction | lead? word | digits | ` ?` punctuation tail* | `\s*[\r\n]+` | `\s+(?!\S)` | `\s+`
type wordPattern struct {
	contractions contractions
	leadAny      bool // any character but \r, \n, letters and numbers may lead a word; otherwise a space
	marks        bool // marks are letters within words
	cased        bool // a word has one change of case: upper* lower+ | upper+ lower*
	digits       int  // at most so many numbers together; 0: any, and a space may lead them
	tail         string
	newline      bool // the alternative of \s*[\r\n]+; \s*[\r\n] matches the same
}

type contractions int

const (
	contractNone     contractions = iota
	contractPlain                 // before words, as written
	contractFold                  // before words, in any case
	contractFoldTail              // after words, in any case
)

const (
	gptWords      = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	foldedSuffix  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	tiktokenFold  = `'(?i:[sdmt]|ll|ve|re)`
	upperPart     = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lowerPart     = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	lead          = `[^\r\n\p{L}\p{N}]?`
	spaceTail     = `|\s*[\r\n]+|\s+(?!\S)|\s+`
	punctuation   = ` ?[^\s\p{L}\p{N}]+[\r\n]*`
	punctuation2  = ` ?[^\s\p{L}\p{N}]+[\r\n/]*`
	llama3Words   = foldedSuffix + `|` + lead + `\p{L}+|\p{N}{1,3}|` + punctuation + spaceTail
	qwenWords     = foldedSuffix + `|` + lead + `\p{L}+|\p{N}|` + punctuation + spaceTail
	qwenMarkWords = foldedSuffix + `|` + lead + `[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*` + spaceTail
	cl100kWords   = tiktokenFold + `|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	o200kWords    = lead + upperPart + `*` + lowerPart + `+` + foldedSuffix + `?|` + lead + upperPart + `+` + lowerPart + `*` +
		foldedSuffix + `?|\p{N}{1,3}|` + punctuation2 + spaceTail
	tekkenWords = lead + upperPart + `*` + lowerPart + `+|` + lead + upperPart + `+` + lowerPart + `*|\p{N}|` + punctuation2 + spaceTail
)

// wordPatterns are the expressions that published tokenizers use, by their exact text.
var wordPatterns = map[string]wordPattern{
	gptWords: {contractions: contractPlain},
	`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`: {contractions: contractPlain},
	llama3Words:   {contractions: contractFold, leadAny: true, digits: 3, tail: "\r\n", newline: true},
	qwenWords:     {contractions: contractFold, leadAny: true, digits: 1, tail: "\r\n", newline: true},
	qwenMarkWords: {contractions: contractFold, leadAny: true, marks: true, digits: 1, tail: "\r\n", newline: true},
	cl100kWords:   {contractions: contractFold, leadAny: true, digits: 3, tail: "\r\n", newline: true},
	o200kWords:    {contractions: contractFoldTail, leadAny: true, cased: true, digits: 3, tail: "\r\n/", newline: true},
	tekkenWords:   {leadAny: true, cased: true, digits: 1, tail: "\r\n/", newline: true},
}

func (w *wordPattern) matches(s string, yield func(start, end int)) error {
	for at := 0; at < len(s); {
		end := w.next(s, at)
		yield(at, end)
		at = end
	}
	return nil
}

// next returns where the piece that begins at s[at] ends.
func (w *wordPattern) next(s string, at int) int {
	t := chars()
	first, size := t.at(s, at)
	if s[at] == '\'' && (w.contractions == contractPlain || w.contractions == contractFold) {
		if n := contraction(s[at:], w.contractions != contractPlain); n > 0 {
			return at + n
		}
	}
	if end := w.word(t, s, at, first, size); end > 0 {
		return end
	}
	if first.number() {
		if w.digits > 0 {
			return w.run(t, s, at+size, w.digits-1, props.number)
		}
		return w.run(t, s, at+size, -1, props.number)
	}
	// What follows an optional space decides.
	rest := at
	p, n := first, size
	if s[at] == ' ' && at+1 < len(s) {
		rest = at + 1
		p, n = t.at(s, rest)
	}
	if w.digits == 0 && p.number() {
		return w.run(t, s, rest+n, -1, props.number)
	}
	if !w.inPunctuation(p) {
		if !first.space() { // a mark that only words with another lead take: a piece of its own kind
			return at + size
		}
		return w.spaces(t, s, at)
	}
	end := w.run(t, s, rest+n, -1, w.inPunctuation)
	for w.tail != "" && end < len(s) && strings.IndexByte(w.tail, s[end]) >= 0 {
		end++
	}
	return end
}

func (w *wordPattern) inWord(p props) bool        { return p.letter() || w.marks && p.mark() }
func (w *wordPattern) inPunctuation(p props) bool { return !p.space() && !p.number() && !w.inWord(p) }

// run returns where characters of a kind end, at most limit of them unless limit is negative.
func (w *wordPattern) run(t *charTable, s string, at, limit int, in func(props) bool) int {
	for ; at < len(s) && limit != 0; limit-- {
		p, size := t.at(s, at)
		if !in(p) {
			break
		}
		at += size
	}
	return at
}

// word returns where a word with its lead ends, 0 if there is none at s[at:].
func (w *wordPattern) word(t *charTable, s string, at int, first props, size int) int {
	lead := s[at] == ' '
	if w.leadAny {
		lead = s[at] != '\r' && s[at] != '\n' && !first.letter() && !first.number()
	}
	lead = lead && at+size < len(s)
	if !w.cased {
		// The lead is taken if a word follows; only without it may a mark be the word's own first character.
		if lead {
			if end := w.run(t, s, at+size, -1, w.inWord); end > at+size {
				return end
			}
		}
		if end := w.run(t, s, at, -1, w.inWord); end > at {
			return end
		}
		return 0
	}
	end := 0
	for _, form := range []func(*charTable, string, int) int{endsLower, startsUpper} {
		if lead && end == 0 {
			end = form(t, s, at+size)
		}
		if end == 0 {
			end = form(t, s, at)
		}
	}
	if w.contractions == contractFoldTail && end > 0 && end < len(s) && s[end] == '\'' {
		end += contraction(s[end:], true)
	}
	return end
}

// endsLower returns where upper* lower+ ends, 0 if it does not match at s[at:]. Characters without case and marks are in
// both classes.
func endsLower(t *charTable, s string, at int) int {
	upperEnd, lastLower := at, -1 // lastLower: the end of the last character of upper* that lower takes as well
	for upperEnd < len(s) {
		p, size := t.at(s, upperEnd)
		if !isUpperPart(p) {
			break
		}
		upperEnd += size
		if isLowerPart(p) {
			lastLower = upperEnd
		}
	}
	end := upperEnd
	for end < len(s) {
		p, size := t.at(s, end)
		if !isLowerPart(p) {
			break
		}
		end += size
	}
	if end > upperEnd {
		return end
	}
	return max(lastLower, 0) // upper* gives back up to it
}

// startsUpper returns where upper+ lower* ends, 0 if it does not match at s[at:], where endsLower does not.
func startsUpper(t *charTable, s string, at int) int {
	end := at
	for end < len(s) {
		p, size := t.at(s, end)
		if !isUpperPart(p) {
			break
		}
		end += size
	}
	if end == at {
		return 0
	}
	return end
}

func isUpperPart(p props) bool {
	c := p.cat()
	return c == catUpper || c == catTitle || c == catModifier || c == catLetterOther || c == catMark
}

func isLowerPart(p props) bool {
	c := p.cat()
	return c == catLower || c == catModifier || c == catLetterOther || c == catMark
}

// spaces matches the alternatives of white space; s[at] is one.
func (w *wordPattern) spaces(t *charTable, s string, at int) int {
	end, last, newlines := at, at, 0
	for end < len(s) {
		p, size := t.at(s, end)
		if !p.space() {
			break
		}
		last = end
		end += size
		if s[last] == '\n' || s[last] == '\r' {
			newlines = end
		}
	}
	switch {
	case w.newline && newlines > 0:
		return newlines
	case end == len(s) || last == at:
		return end
	}
	return last
}

// contraction returns the length of 's, 't, 're, 've, 'm, 'll or 'd at the start of s, which begins with an apostrophe.
func contraction(s string, fold bool) int {
	if len(s) < 2 {
		return 0
	}
	c := s[1]
	if fold && strings.HasPrefix(s[1:], "ſ") {
		return 1 + len("ſ")
	}
	if fold {
		c |= 0x20 // no other byte becomes one of the letters below
	}
	switch c {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(s) < 3 {
		return 0
	}
	d := s[2]
	if fold {
		d |= 0x20
	}
	if c == 'r' && d == 'e' || c == 'v' && d == 'e' || c == 'l' && d == 'l' {
		return 3
	}
	return 0
}
