package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// normalizer rewrites a text before it is split.
type normalizer interface {
	apply(s string) (string, error)
}

// normalizePiece applies n to a piece and follows what becomes of the first character of the text.
func normalizePiece(n normalizer, p piece) (piece, error) {
	if n == nil || p.s == "" {
		return p, nil
	}
	if list, ok := n.(normalizers); ok {
		for _, n := range list {
			var err error
			if p, err = normalizePiece(n, p); err != nil {
				return p, err
			}
		}
		return p, nil
	}
	s, err := n.apply(p.s)
	if err != nil {
		return p, err
	}
	if p.zero > 0 && s != p.s {
		if r, ok := n.(*replacer); ok && r.swallows(p.s, p.zero) {
			p.zero = 0
		} else if head, err := n.apply(p.s[:p.zero]); err == nil {
			p.zero = min(len(head), len(s))
		}
	}
	p.s = s
	return p, nil
}

// normalizers run one after the other.
type normalizers []normalizer

func (list normalizers) apply(s string) (string, error) {
	p, err := normalizePiece(list, piece{s: s})
	return p.s, err
}

// mapper rewrites character by character: f appends what becomes of r.
type mapper func(dst []byte, t *charTable, r rune) []byte

func (f mapper) apply(s string) (string, error) {
	t := chars()
	dst := make([]byte, 0, len(s)+16)
	for _, r := range s {
		dst = f(dst, t, r)
	}
	return string(dst), nil
}

func lowercase(dst []byte, t *charTable, r rune) []byte { return t.toLower(dst, r) }

func stripAccents(dst []byte, t *charTable, r rune) []byte {
	if t.of(r)&propCombining != 0 {
		return dst
	}
	return utf8.AppendRune(dst, r)
}

func bytesAsChars(dst []byte, _ *charTable, r rune) []byte {
	var b [utf8.UTFMax]byte
	for _, c := range b[:utf8.EncodeRune(b[:], r)] {
		dst = append(dst, byteChars[c]...)
	}
	return dst
}

// nmt is what the NMT models' preprocessing does: control characters vanish, unusual spaces become plain ones.
func nmt(dst []byte, _ *charTable, r rune) []byte {
	switch {
	case 1 <= r && r <= 8, r == 0xb, 0xe <= r && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
		return dst
	case r == 9, r == 0xa, r == 0xc, r == 0xd, r == 0x1680, 0x200b <= r && r <= 0x200f, r == 0x2028, r == 0x2029, r == 0x2581,
		r == 0xfeff, r == 0xfffd:
		return append(dst, ' ')
	}
	return utf8.AppendRune(dst, r)
}

// bertNormalizer is the normalizer of BERT's basic tokenizer.
type bertNormalizer struct{ clean, chinese, accents, lower bool }

func (n *bertNormalizer) apply(s string) (string, error) {
	t := chars()
	dst := make([]byte, 0, len(s)+len(s)/8+16)
	for i := 0; i < len(s); {
		// Plain text is the common case.
		if c := s[i]; c < utf8.RuneSelf {
			i++
			switch {
			case n.clean && (c == '\t' || c == '\n' || c == '\r'):
				c = ' '
			case n.clean && (c < ' ' || c == 0x7f):
				continue
			case n.lower && 'A' <= c && c <= 'Z':
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			continue
		}
		// From here up to the next plain character decomposition can change the order of marks.
		end := i
		for end < len(s) && s[end] >= utf8.RuneSelf {
			end++
		}
		dst = n.applyOther(dst, t, s[i:end])
		i = end
	}
	return string(dst), nil
}

// applyOther is apply for text without plain characters.
func (n *bertNormalizer) applyOther(dst []byte, t *charTable, s string) []byte {
	var b []byte
	for _, r := range s {
		p := t.of(r)
		switch {
		case n.clean && (r == utf8.RuneError || p&propControl != 0):
			continue
		case n.clean && p.space():
			r = ' '
		}
		if n.chinese && isChinese(r) {
			b = append(utf8.AppendRune(append(b, ' '), r), ' ')
		} else {
			b = utf8.AppendRune(b, r)
		}
	}
	s = string(b)
	if n.accents {
		s = decomposed.apply1(s)
	}
	for _, r := range s {
		switch {
		case n.accents && t.of(r)&propAccent != 0:
		case n.lower:
			dst = t.toLower(dst, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// stripper removes white space at the ends.
type stripper struct{ left, right bool }

func (n *stripper) apply(s string) (string, error) {
	t := chars()
	for n.left && s != "" {
		p, size := t.at(s, 0)
		if !p.space() {
			break
		}
		s = s[size:]
	}
	for n.right && s != "" {
		p, size := t.before(s, len(s))
		if !p.space() {
			break
		}
		s = s[:len(s)-size]
	}
	return s, nil
}

// prepender puts a string before a text that is not empty.
type prepender string

func (n prepender) apply(s string) (string, error) {
	if s == "" {
		return s, nil
	}
	return string(n) + s, nil
}

// replacer puts content in place of each match.
type replacer struct {
	by      matcher
	content string
}

func (n *replacer) apply(s string) (string, error) {
	if l, ok := n.by.(literalMatcher); ok {
		return strings.ReplaceAll(s, string(l), n.content), nil
	}
	var b strings.Builder
	at := 0
	err := n.by.matches(s, func(start, end int) {
		b.WriteString(s[at:start])
		b.WriteString(n.content)
		at = end
	})
	if at == 0 || err != nil {
		return s, err
	}
	b.WriteString(s[at:])
	return b.String(), nil
}

// swallows reports whether the first match takes more than the first zero bytes with it.
func (n *replacer) swallows(s string, zero int) bool {
	first, swallows := true, false
	_ = n.by.matches(s, func(start, end int) {
		swallows = swallows || first && start == 0 && end > zero
		first = false
	})
	return swallows
}
