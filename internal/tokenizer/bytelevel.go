package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Byte-level tokens spell each byte as a printable character, as GPT-2's encoder.py defines it: printable Latin-1 bytes stand
// for themselves, the others follow from U+0100 on in order.
var (
	byteChars [256]string
	charBytes [0x144]int16 // the byte of a character, -1 for none
)

func init() {
	for i := range charBytes {
		charBytes[i] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !('!' <= r && r <= '~' || 0xa1 <= r && r <= 0xac || 0xae <= r) {
			r = next
			next++
		}
		byteChars[b] = string(r)
		charBytes[r] = int16(b)
	}
}

// rawBytes appends the bytes that a byte-level token spells; false if it has another character.
func rawBytes(dst []byte, token string) ([]byte, bool) {
	from := len(dst)
	for i := 0; i < len(token); {
		r, size := utf8.DecodeRuneInString(token[i:])
		if int(r) >= len(charBytes) || charBytes[r] < 0 {
			return dst[:from], false
		}
		dst = append(dst, byte(charBytes[r]))
		i += size
	}
	return dst, true
}

// spellBytes returns s in byte-level spelling.
func spellBytes(s string) string {
	var b strings.Builder
	b.Grow(2 * len(s))
	for i := range len(s) {
		b.WriteString(byteChars[s[i]])
	}
	return b.String()
}

// lossyUTF8 returns b as valid UTF-8: each longest beginning of a character that is not finished, and each byte that begins
// none, becomes one U+FFFD (the practice that the Unicode standard recommends in its section 3.9).
func lossyUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 {
			size = max(1, unfinished(b[i:]))
		}
		out.WriteRune(r)
		i += size
	}
	return out.String()
}

// unfinished returns how many bytes at the start of b could begin a character.
func unfinished(b []byte) int {
	low, high, want := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case 0xc2 <= c && c <= 0xdf:
		want = 2
	case c == 0xe0:
		low, want = 0xa0, 3
	case c == 0xed:
		high, want = 0x9f, 3
	case 0xe1 <= c && c <= 0xef:
		want = 3
	case c == 0xf0:
		low, want = 0x90, 4
	case c == 0xf4:
		high, want = 0x8f, 4
	case 0xf1 <= c && c <= 0xf3:
		want = 4
	}
	n := 1
	for n < want && n < len(b) && low <= b[n] && b[n] <= high {
		n++
		low, high = 0x80, 0xbf
	}
	return n
}
