package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// decoder turns the tokens of a text back into text, one of the strings after the other.
type decoder interface {
	decode(tokens []string) []string
}

// decoders run one after the other.
type decoders []decoder

func (list decoders) decode(tokens []string) []string {
	for _, d := range list {
		tokens = d.decode(tokens)
	}
	return tokens
}

// each decodes every token by itself; i is its place.
type each func(i int, token string) string

func (f each) decode(tokens []string) []string {
	out := make([]string, len(tokens))
	for i, t := range tokens {
		out[i] = f(i, t)
	}
	return out
}

// byteLevelDecoder joins the bytes that the tokens spell. A token with another character stands for its own bytes.
type byteLevelDecoder struct{}

func (byteLevelDecoder) decode(tokens []string) []string {
	var b []byte
	for _, t := range tokens {
		var ok bool
		if b, ok = rawBytes(b, t); !ok {
			b = append(b, t...)
		}
	}
	return []string{lossyUTF8(b)}
}

// byteFallbackDecoder joins runs of tokens like <0x61> to text. In a run that is no UTF-8 every byte becomes U+FFFD.
type byteFallbackDecoder struct{}

func (byteFallbackDecoder) decode(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			for range run {
				out = append(out, "\ufffd")
			}
		}
		run = run[:0]
	}
	for _, t := range tokens {
		if b, ok := byteToken(t); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, t)
	}
	flush()
	return out
}

// byteToken returns the byte of a token like <0x61>.
func byteToken(t string) (byte, bool) {
	if len(t) != 6 || !strings.HasPrefix(t, "<0x") || t[5] != '>' {
		return 0, false
	}
	high, ok1 := hexDigit(t[3])
	low, ok2 := hexDigit(t[4])
	if t[3] == '+' { // the reference's number parser takes a sign
		high, ok1 = 0, true
	}
	return high<<4 | low, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// fuser joins all tokens to one.
type fuser struct{}

func (fuser) decode(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// wordPieceDecoder puts spaces before tokens that do not continue a word.
type wordPieceDecoder struct {
	prefix  string
	cleanup bool
}

func (d *wordPieceDecoder) decode(tokens []string) []string {
	return each(func(i int, t string) string {
		if i > 0 {
			if rest, ok := strings.CutPrefix(t, d.prefix); ok {
				t = rest
			} else {
				t = " " + t
			}
		}
		if d.cleanup {
			t = cleanUp(t)
		}
		return t
	}).decode(tokens)
}

// cleanUp takes spaces away that English has not, in this order.
func cleanUp(s string) string {
	for _, r := range [][2]string{
		{" .", "."},
		{" ?", "?"},
		{" !", "!"},
		{" ,", ","},
		{" ' ", "'"},
		{" n't", "n't"},
		{" 'm", "'m"},
		{" do not", " don't"},
		{" 's", "'s"},
		{" 've", "'ve"},
		{" 're", "'re"},
	} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// bpeDecoder makes spaces of the suffix that ends words.
type bpeDecoder struct{ suffix string }

func (d *bpeDecoder) decode(tokens []string) []string {
	return each(func(i int, t string) string {
		with := " "
		if i == len(tokens)-1 {
			with = ""
		}
		return strings.ReplaceAll(t, d.suffix, with)
	}).decode(tokens)
}

// ctcDecoder drops repetitions and padding, as speech models give them.
type ctcDecoder struct {
	pad, delimiter string
	cleanup        bool
}

func (d *ctcDecoder) decode(tokens []string) []string {
	var out []string
	for i, t := range tokens {
		if i > 0 && t == tokens[i-1] {
			continue
		}
		t = strings.ReplaceAll(t, d.pad, "")
		if d.cleanup {
			t = strings.ReplaceAll(cleanUp(t), d.delimiter, " ")
		}
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

// metaspaceDecoder makes spaces of marks, but of those in the first token nothing where one was prepended.
func metaspaceDecoder(mark string, prepended bool) decoder {
	return each(func(i int, t string) string {
		if i == 0 && prepended {
			return strings.ReplaceAll(t, mark, "")
		}
		return strings.ReplaceAll(t, mark, " ")
	})
}

// stripDecoder takes up to so many of a character from the ends of each token.
func stripDecoder(content string, start, stop int) decoder {
	return each(func(_ int, t string) string {
		for i := 0; i < start && strings.HasPrefix(t, content); i++ {
			t = t[len(content):]
		}
		for i := 0; i < stop && strings.HasSuffix(t, content); i++ {
			t = t[:len(t)-len(content)]
		}
		return t
	})
}

// replaceDecoder replaces in each token; a search that fails leaves the token as it is.
func replaceDecoder(r *replacer) decoder {
	return each(func(_ int, t string) string {
		if out, err := r.apply(t); err == nil {
			return out
		}
		return t
	})
}
