package tokenizer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/graphemes"
)

// charsmap is SentencePiece's precompiled normalization: a double array of strings (Darts, as darts-clone lays it out), each
// with the place of its replacement in a list of strings that end with a zero byte.
type charsmap struct {
	data  []byte // as the file has it
	units []uint32
	texts string
	// byGrapheme is how the tokenizers library applies it: to whole graphemes of less than six bytes, by the shortest string
	// that begins one. SentencePiece itself takes the longest string at each place.
	byGrapheme bool
}

func parseCharsmap(b []byte) (*charsmap, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("normalization map of %d bytes, want at least 4", len(b))
	}
	size := binary.LittleEndian.Uint32(b)
	if uint64(size) > uint64(len(b)-4) || size%4 != 0 || size == 0 {
		return nil, fmt.Errorf("normalization map of %d bytes says its index takes %d", len(b), size)
	}
	c := &charsmap{data: b, units: make([]uint32, size/4), texts: string(b[4+size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(b[4+4*i:])
	}
	if !utf8.ValidString(c.texts) {
		return nil, errors.New("normalization map: replacements are not UTF-8")
	}
	return c, nil
}

// Fields of a unit of darts-clone's double array.
func unitOffset(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
func unitHasLeaf(u uint32) bool  { return u>>8&1 == 1 }
func unitLabel(u uint32) uint32  { return u & (1<<31 | 0xff) }
func unitValue(u uint32) uint32  { return u & (1<<31 - 1) }

// find looks for strings that begin s: the longest, or the shortest. Length 0 means there is none.
func (c *charsmap) find(s string, longest bool) (replacement string, length int) {
	node := unitOffset(c.units[0])
	for i := range len(s) {
		if s[i] == 0 {
			break
		}
		node ^= uint32(s[i])
		if int(node) >= len(c.units) || unitLabel(c.units[node]) != uint32(s[i]) {
			break
		}
		u := c.units[node]
		node ^= unitOffset(u)
		if !unitHasLeaf(u) {
			continue
		}
		if int(node) >= len(c.units) {
			break
		}
		at := unitValue(c.units[node])
		if int64(at) > int64(len(c.texts)) {
			break
		}
		text := c.texts[at:]
		if end := strings.IndexByte(text, 0); end >= 0 {
			text = text[:end]
		}
		replacement, length = text, i+1
		if !longest {
			break
		}
	}
	return replacement, length
}

func (c *charsmap) apply(s string) (string, error) {
	if !c.byGrapheme {
		return c.applyLongest(s), nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for g := graphemes.FromString(s); g.Next(); {
		grapheme := g.Value()
		if len(grapheme) < 6 {
			if text, n := c.find(grapheme, false); n > 0 {
				b.WriteString(text)
				continue
			}
		}
		for i := 0; i < len(grapheme); {
			_, size := utf8.DecodeRuneInString(grapheme[i:])
			part := grapheme[i : i+size]
			if text, n := c.find(part, false); n > 0 {
				part = text
			}
			b.WriteString(part)
			i += size
		}
	}
	return b.String(), nil
}

func (c *charsmap) applyLongest(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		text, n := c.find(s[i:], true)
		if n == 0 {
			_, n = utf8.DecodeRuneInString(s[i:])
			text = s[i : i+n]
		}
		b.WriteString(text)
		i += n
	}
	return b.String()
}
