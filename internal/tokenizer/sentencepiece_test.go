package tokenizer

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

type spmPiece struct {
	token string
	score float32
	kind  pieceKind
}

// spmFile writes a SentencePiece model.
func spmFile(pieces []spmPiece, bpe, byteFallback, dummyPrefix, trim bool, charsmap []byte) []byte {
	var out []byte
	message := func(out []byte, field protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(out, field, protowire.BytesType), b)
	}
	number := func(out []byte, field protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(out, field, protowire.VarintType), v)
	}
	for _, p := range pieces {
		b := message(nil, 1, []byte(p.token))
		b = protowire.AppendFixed32(protowire.AppendTag(b, 2, protowire.Fixed32Type), math.Float32bits(p.score))
		out = message(out, 1, number(b, 3, uint64(p.kind)))
	}
	model := uint64(1)
	if bpe {
		model = 2
	}
	out = message(out, 2, number(number(nil, 3, model), 35, protowire.EncodeBool(byteFallback)))
	spec := number(number(nil, 3, protowire.EncodeBool(dummyPrefix)), 4, protowire.EncodeBool(trim))
	if charsmap != nil {
		spec = message(spec, 2, charsmap)
	}
	return message(out, 3, spec)
}

var spmPieces = []spmPiece{
	{"<unk>", 0, pieceUnknown},
	{"<s>", 0, pieceControl},
	{"</s>", 0, pieceControl},
	{"ab", -1, pieceNormal},
	{"▁ab", -2, pieceNormal},
	{"abab", -3, pieceUnused},
	{"▁", -4, pieceNormal},
	{"a", -5, pieceNormal},
	{"b", -6, pieceNormal},
	{"<user>", 0, pieceUserDefined},
}

func spmSeeds() [][]byte {
	return [][]byte{
		spmFile(spmPieces, true, false, true, true, nil),
		spmFile(spmPieces, false, false, true, true, []byte("\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00a\x00")),
		spmFile(append(spmPieces[:len(spmPieces):len(spmPieces)], spmPiece{"<0xC3>", 0, pieceByte}), true, true, false, false, nil),
	}
}

// The ids are what the rules of SentencePiece say: BPE by score, unused pieces taken apart, unknown neighbours one.
func TestSentencePieceFile(t *testing.T) {
	tok, err := sentencePieceFile(spmFile(spmPieces, true, false, true, true, nil), configJSON{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want []int
	}{
		{"ab", []int{1, 4}},
		{"  ab   ab ", []int{1, 4, 4}},
		{"aabab", []int{1, 6, 7, 3, 3}}, // ▁ a ab ab: "abab" is made and taken apart again
		{"xyz", []int{1, 6, 0}},
		{"x<s>a", []int{1, 6, 0, 1, 6, 7}},
		{"a<user>b", []int{1, 6, 7, 9, 8}},
		{"", []int{1}},
	} {
		got, err := tok.Encode(c.text, true)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %v, want %v (%v)", c.text, got, c.want, err)
		}
	}
	if got := tok.Decode([]int{1, 4, 4, 9}, true); got != "ab ab<user>" {
		t.Errorf("decoded %q", got)
	}
}

// TestUnigramTies encodes text whose ways to be spelled have scores that are equal but for their rounding. The ids are those of SentencePiece 0.2.3
// for the same model; of the long text, whose score goes beyond where it begins at zero again, the place of the one single letter.
func TestUnigramTies(t *testing.T) {
	for _, c := range []struct {
		pair, single float32
		text         string
		want         []int // the ids
		place        int   // or, where there are none, where id 6 is
	}{
		{-4.2, -2.6, "fooaaaaa", []int{4, 3, 5, 6, 5}, 0},
		{-4.7, -2.8, "foofooaaaaaaa", []int{4, 3, 3, 6, 5, 5, 5}, 0},
		{-2.3, -3.9, "fooaaaaa", []int{4, 3, 5, 5, 6}, 0},
		{-3.3, -2.7, strings.Repeat("a", 180001), nil, 4966},
		{-4.4, -3.9, strings.Repeat("a", 180001), nil, 68228},
	} {
		tok, err := sentencePieceFile(spmFile([]spmPiece{
			{"<unk>", 0, pieceUnknown},
			{"<s>", 0, pieceControl},
			{"</s>", 0, pieceControl},
			{"foo", 0, pieceUserDefined},
			{"▁", -3.1, pieceNormal},
			{"aa", c.pair, pieceNormal},
			{"a", c.single, pieceNormal},
			{"b", -4.3, pieceNormal},
		}, false, false, true, true, nil), configJSON{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tok.Encode(c.text, false)
		if err != nil || c.want != nil && !slices.Equal(got, c.want) || c.want == nil && slices.Index(got, 6) != c.place {
			t.Errorf("%.20q, %v and %v: got %v, id 6 at %d (%v)", c.text, c.pair, c.single, got[:min(len(got), 20)], slices.Index(got, 6), err)
		}
	}
}

func TestSentencePieceErrors(t *testing.T) {
	whole := spmFile(spmPieces, true, false, true, true, nil)
	for want, data := range map[string][]byte{
		"no SentencePiece model: it has no pieces": nil,
		"unexpected EOF":              whole[:len(whole)-1],
		"has type 9":                  spmFile([]spmPiece{{"a", 0, 9}}, true, false, true, true, nil),
		"is not UTF-8":                spmFile([]spmPiece{{"\xff", 0, pieceNormal}}, true, false, true, true, nil),
		"score NaN":                   spmFile(append([]spmPiece{{"a", float32(math.NaN()), pieceNormal}}, spmPieces...), true, false, true, true, nil),
		"the id 1 of a special token": spmFile(spmPieces[:1], true, false, true, true, nil),
		"says its index takes 99":     spmFile(spmPieces, true, false, true, true, []byte("\x63\x00\x00\x00abc")),
	} {
		if _, err := sentencePieceFile(data, configJSON{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
