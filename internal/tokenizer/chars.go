package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// props is what a character is: its category in the low four bits, and flags.
type props uint16

// Categories, exclusive. White space is its own, whatever its Unicode category.
const (
	catOther props = iota
	catUpper
	catLower
	catTitle
	catModifier
	catLetterOther
	catMark
	catNumber
	catPunct
	catSymbol
	catSpace
)

const (
	propOnigWord  props = 16 << iota // \w of the regular expressions in a tokenizer file
	propWord                         // \w where added tokens are single words, and of the Whitespace splitter
	propPunct                        // what the Punctuation and BERT splitters isolate
	propNumeric                      // what the Digits splitter isolates
	propAccent                       // what BERT's strip_accents removes after decomposition
	propCombining                    // what StripAccents removes
	propControl                      // what BERT's clean_text removes
	propHan
	propDecomposes // has a compatibility decomposition
	propReorders   // has a canonical combining class
	propScript     // has a script where the UnicodeScripts splitter looks it up
)

func (p props) cat() props { return p & 15 }

func (p props) letter() bool { return p.cat()-catUpper <= catLetterOther-catUpper }
func (p props) number() bool { return p.cat() == catNumber }
func (p props) space() bool  { return p.cat() == catSpace }
func (p props) mark() bool   { return p.cat() == catMark }

// charTable finds the properties of a character in blocks of 256; equal blocks are stored once.
type charTable struct {
	block [unicode.MaxRune>>8 + 1]uint16
	props []props
	lower map[rune]rune // where Unicode's lower case here differs from Go's
}

var chars = sync.OnceValue(func() *charTable {
	t := &charTable{lower: map[rune]rune{}}
	var all []props
	for i := 0; i < len(charRuns); {
		n, k := stringUvarint(charRuns[i:])
		v, l := stringUvarint(charRuns[i+k:])
		for i += k + l; n > 0; n-- {
			all = append(all, props(v))
		}
	}
	seen := map[[256]props]uint16{}
	for b := range t.block {
		block := [256]props(all[b*256:])
		at, ok := seen[block]
		if !ok {
			at = uint16(len(seen))
			seen[block] = at
			t.props = append(t.props, block[:]...)
		}
		t.block[b] = at
	}
	var pair [2]rune
	n := 0
	for _, r := range lowerPairs {
		if pair[n&1] = r; n&1 == 1 && unicode.ToLower(pair[0]) != pair[1] {
			t.lower[pair[0]] = pair[1]
		}
		n++
	}
	return t
})

func stringUvarint(s string) (v uint, n int) {
	for shift := 0; ; shift += 7 {
		b := s[n]
		n++
		v |= uint(b&0x7f) << shift
		if b < 0x80 {
			return v, n
		}
	}
}

// of returns the properties of r, which must be a valid character or utf8.RuneError.
func (t *charTable) of(r rune) props { return t.props[int(t.block[r>>8])<<8|int(r&255)] }

// at decodes the character at s[i:] with its properties. A byte that is no UTF-8 is U+FFFD of length 1.
func (t *charTable) at(s string, i int) (p props, size int) {
	if c := s[i]; c < utf8.RuneSelf {
		return t.props[c], 1 // block 0 is stored first
	}
	r, size := utf8.DecodeRuneInString(s[i:])
	return t.of(r), size
}

// before decodes the character that ends at s[i].
func (t *charTable) before(s string, i int) (p props, size int) {
	r, size := utf8.DecodeLastRuneInString(s[:i])
	return t.of(r), size
}

// toLower appends the lower case of r; only U+0130 has two characters.
func (t *charTable) toLower(dst []byte, r rune) []byte {
	switch {
	case r < utf8.RuneSelf:
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return append(dst, byte(r))
	case r == 0x130:
		return append(dst, "i\u0307"...)
	}
	if l, ok := t.lower[r]; ok {
		return utf8.AppendRune(dst, l)
	}
	return utf8.AppendRune(dst, unicode.ToLower(r))
}

// isChinese reports whether BERT puts spaces around r: the CJK blocks as google-research/bert's tokenization.py lists them.
func isChinese(r rune) bool {
	return r >= 0x3400 && (r <= 0x4dbf || r >= 0x4e00 && r <= 0x9fff || r >= 0xf900 && r <= 0xfaff ||
		r >= 0x20000 && r <= 0x2a6df || r >= 0x2a700 && r <= 0x2b73f || r >= 0x2b740 && r <= 0x2b81f ||
		r >= 0x2b920 && r <= 0x2ceaf || r >= 0x2f800 && r <= 0x2fa1f)
}
