package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// scriptSplit is the pre-tokenizer UnicodeScripts: it splits where the script changes. Hiragana and Katakana count as Han,
// and what comes before the first character with a script is dropped, as the library does it.
type scriptSplit struct{}

func (scriptSplit) split(p piece, emit func(piece)) error {
	t, scripts := chars(), scriptNumbers()
	start, last := -1, uint8(0)
	for i := 0; i < len(p.s); {
		r, size := utf8.DecodeRuneInString(p.s[i:])
		script := uint8(0)
		if t.of(r)&propScript != 0 && r != ' ' {
			script = scripts[r]
		}
		if script != 0 && script != last {
			if start >= 0 {
				emit(p.slice(start, i))
			}
			start, last = i, script
		}
		i += size
	}
	if start >= 0 {
		emit(p.slice(start, len(p.s)))
	}
	return nil
}

// scriptNumbers numbers the script of every character, 0 for none.
var scriptNumbers = sync.OnceValue(func() []uint8 {
	numbers := make([]uint8, unicode.MaxRune+1)
	const han = 1
	next := uint8(han + 1)
	var common uint8
	for name, table := range unicode.Scripts {
		n := next
		switch name {
		case "Han", "Hiragana", "Katakana":
			n = han
		case "Common":
			common = n
			next++
		default:
			next++
		}
		for _, r := range table.R16 {
			for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
				numbers[c] = n
			}
		}
		for _, r := range table.R32 {
			for c := r.Lo; c <= r.Hi; c += r.Stride {
				numbers[c] = n
			}
		}
	}
	numbers[0x30fc] = han
	numbers[0x0589], numbers[0x061c] = common, common // as of the version of Unicode that the library knows
	return numbers
})
