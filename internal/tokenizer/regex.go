package tokenizer

import (
	"fmt"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// A matcher finds the pieces of a text that a regular expression matches.
type matcher interface {
	// matches calls yield with the bytes of each match, from left to right, without overlap and without empty ones.
	matches(s string, yield func(start, end int)) error
}

// matchTimeout bounds the search of one match; a hostile expression may go back and forth without end.
const matchTimeout = 10 * time.Second

// regexMatcher is a regular expression that has no matcher written by hand.
type regexMatcher struct {
	re      *regexp2.Regexp
	pattern string // as the file has it
}

// compilePattern returns the matcher of a regular expression in the syntax of the tokenizers library (Oniguruma's).
func compilePattern(pattern string) (matcher, error) {
	if w, ok := wordPatterns[pattern]; ok {
		return &w, nil
	}
	if pattern == `\p{N}` {
		return &digitMatcher{}, nil
	}
	if len(pattern) > 1<<16 {
		return nil, fmt.Errorf("regular expression of %d bytes, want at most %d", len(pattern), 1<<16)
	}
	translated, err := netSyntax(pattern)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	re, err := regexp2.Compile(translated, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	re.MatchTimeout = matchTimeout
	return &regexMatcher{re, pattern}, nil
}

func (m *regexMatcher) matches(s string, yield func(start, end int)) error {
	stand := standIns()
	runes := make([]rune, 0, len(s))
	for _, r := range s {
		if r >= utf8.RuneSelf {
			if other, ok := stand[r]; ok {
				r = other
			}
		}
		runes = append(runes, r)
	}
	at, byteAt := 0, 0 // the same place, in characters and in bytes of s
	move := func(to int) int {
		for ; at < to; at++ {
			_, size := utf8.DecodeRuneInString(s[byteAt:])
			byteAt += size
		}
		return byteAt
	}
	err := m.re.FindRunesMatches(runes, -1, func(v regexp2.MatchView) bool {
		index, length, _ := v.GroupRange(0)
		start := move(index)
		if end := move(index + length); end > start {
			yield(start, end)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("regular expression %q on a text of %d bytes: %w", m.pattern, len(s), err)
	}
	return nil
}

// standIns maps each character of which Go's Unicode tables say another category than ours to one on which they agree, so
// that regexp2, which uses Go's, matches by ours. Expressions in tokenizers are made of classes and do not name such
// characters, which one of the two versions of Unicode does not know.
var standIns = sync.OnceValue(func() map[rune]rune {
	examples := [...]rune{
		catOther: 0x378, catUpper: 'А', catLower: 'а', catTitle: 'ǅ', catModifier: 'ʰ', catLetterOther: 'א',
		catMark: '\u0301', catNumber: '٣', catPunct: '¿', catSymbol: '©', catSpace: '\u2003',
	}
	m := map[rune]rune{}
	t := chars()
	for r := rune(utf8.RuneSelf); r <= unicode.MaxRune; r++ {
		if p := t.of(r); p.cat() != goCategory(r) {
			if m[r] = examples[p.cat()]; p&propHan != 0 {
				m[r] = '㐀'
			}
		}
	}
	return m
})

func goCategory(r rune) props {
	switch {
	case unicode.Is(unicode.White_Space, r):
		return catSpace
	case unicode.Is(unicode.Lu, r):
		return catUpper
	case unicode.Is(unicode.Ll, r):
		return catLower
	case unicode.Is(unicode.Lt, r):
		return catTitle
	case unicode.Is(unicode.Lm, r):
		return catModifier
	case unicode.Is(unicode.Lo, r):
		return catLetterOther
	case unicode.IsMark(r):
		return catMark
	case unicode.IsNumber(r):
		return catNumber
	case unicode.IsPunct(r):
		return catPunct
	case unicode.IsSymbol(r):
		return catSymbol
	}
	return catOther
}
