package tokenizer

import (
	"sort"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// unicodeForm is one of Unicode's normalization forms, by an older version of Unicode than Go's: characters that are newer
// stand for themselves.
type unicodeForm struct{ form norm.Form }

var decomposed = &unicodeForm{norm.NFD}

func (n *unicodeForm) apply(s string) (string, error) { return n.apply1(s), nil }

func (n *unicodeForm) apply1(s string) string {
	if n.odd(s) {
		return n.byTheBook(s)
	}
	return n.form.String(s)
}

// odd reports whether norm would do something else on s: at a character that the version does not know, or in a long run of
// marks, where norm inserts joiners.
func (n *unicodeForm) odd(s string) bool {
	t, newer := chars(), newerChars()
	marks := 0
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			i++
			marks = 0
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if newer.block[r>>8] && newer.char[r] {
			return true
		}
		// A character may decompose into several marks.
		if p := t.of(r); p&(propReorders|propDecomposes) != 0 || p.mark() {
			marks++
		} else {
			marks = 0
		}
		if marks > 6 {
			return true
		}
		i += size
	}
	return false
}

// newerSet is the characters that norm decomposes or reorders and the older version does not.
type newerSet struct {
	block [unicode.MaxRune>>8 + 1]bool
	char  map[rune]bool
}

var newerChars = sync.OnceValue(func() *newerSet {
	t, set := chars(), &newerSet{char: map[rune]bool{}}
	var b [utf8.UTFMax]byte
	for r := rune(0x300); r < 0xe0000; r++ {
		p := t.of(r)
		if p&propDecomposes != 0 || p&propReorders != 0 || !utf8.ValidRune(r) {
			continue
		}
		if g := norm.NFKD.Properties(b[:utf8.EncodeRune(b[:], r)]); g.Decomposition() != nil || g.CCC() > 0 {
			set.block[r>>8], set.char[r] = true, true
		}
	}
	return set
})

// byTheBook normalizes by the algorithm of Unicode's annex 15, with norm's tables.
func (n *unicodeForm) byTheBook(s string) string {
	t := chars()
	type char struct {
		r   rune
		ccc uint8
	}
	var out []char
	decompose := norm.NFD
	if n.form == norm.NFKC || n.form == norm.NFKD {
		decompose = norm.NFKD
	}
	class := func(r rune) uint8 {
		if t.of(r)&propReorders == 0 {
			return 0
		}
		return norm.NFD.PropertiesString(string(r)).CCC()
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if t.of(r)&propDecomposes != 0 {
			for _, r := range decompose.String(string(r)) {
				out = append(out, char{r, class(r)})
			}
		} else {
			out = append(out, char{r, class(r)})
		}
		i += size
	}
	for i := 0; i < len(out); {
		if out[i].ccc == 0 {
			i++
			continue
		}
		j := i
		for j < len(out) && out[j].ccc != 0 {
			j++
		}
		sort.SliceStable(out[i:j], func(a, b int) bool { return out[i+a].ccc < out[i+b].ccc })
		i = j
	}
	if n.form == norm.NFC || n.form == norm.NFKC {
		composed := out[:0]
		starter := -1
		for _, c := range out {
			if starter >= 0 {
				last := composed[len(composed)-1]
				blocked := len(composed)-1 > starter && last.ccc >= c.ccc
				if r, ok := compose(composed[starter].r, c.r); ok && !blocked && t.of(r)&propDecomposes != 0 {
					composed[starter].r = r
					continue
				}
			}
			composed = append(composed, c)
			if c.ccc == 0 {
				starter = len(composed) - 1
			}
		}
		out = composed
	}
	b := make([]byte, 0, len(s))
	for _, c := range out {
		b = utf8.AppendRune(b, c.r)
	}
	return string(b)
}

// compose returns the character that a and b make together.
func compose(a, b rune) (rune, bool) {
	pair := string([]rune{a, b})
	whole := norm.NFC.String(pair)
	r, size := utf8.DecodeRuneInString(whole)
	return r, size == len(whole)
}

var unicodeForms = map[string]*unicodeForm{
	"NFC": {norm.NFC}, "NFD": decomposed, "NFKC": {norm.NFKC}, "NFKD": {norm.NFKD},
}
