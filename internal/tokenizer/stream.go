package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Stream decodes ids as they are generated. What it gives out, put together, is what Decode gives for all ids; only where
// bytes turn out to be no UTF-8 after valid ones before them may the two differ.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	ids         []int  // the last ids: those of prefix, then those not given out yet
	known       int    // how many of ids prefix has
	prefix      string // the text of the first of ids, given out
}

// streamWindow bounds the ids that wait for a character to be complete. No character has more bytes.
const streamWindow = 8

// Stream returns a decoder for ids that come one by one.
func (t *Tokenizer) Stream(skipSpecial bool) *Stream { return &Stream{t: t, skipSpecial: skipSpecial} }

// Push takes the next id and returns the text that is complete now, always whole characters. It may be empty.
func (s *Stream) Push(id int) string {
	s.ids = append(s.ids, id)
	text := s.t.Decode(s.ids, s.skipSpecial)
	if strings.HasSuffix(text, "\ufffd") && len(s.ids)-s.known < streamWindow {
		return "" // perhaps the beginning of a character
	}
	return s.give(text)
}

// Flush returns the text that is left at the end, with U+FFFD for a character that was not finished.
func (s *Stream) Flush() string { return s.give(s.t.Decode(s.ids, s.skipSpecial)) }

// give returns what of text is not given out yet. From then on the newest ids are the prefix, because the first token of a
// text can be decoded in another way than later ones.
func (s *Stream) give(text string) string {
	n := 0
	for n < len(text) && n < len(s.prefix) && text[n] == s.prefix[n] {
		n++
	}
	for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
		n--
	}
	if len(s.ids) > s.known && n < len(text) {
		s.ids = append(s.ids[:0], s.ids[s.known:]...)
		s.known = len(s.ids)
		s.prefix = s.t.Decode(s.ids, s.skipSpecial)
	}
	return text[n:]
}
