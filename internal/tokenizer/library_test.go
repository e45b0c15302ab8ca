package tokenizer

import (
	"strings"
	"testing"
)

// TestScoresAsTheLibraryReadsThem has what tokenizers 0.23 writes as the scores that it read, as the bits of a float64.
func TestScoresAsTheLibraryReadsThem(t *testing.T) {
	for text, want := range map[string]float64{
		"-3.7545585490754974": -0x1.e0955fe199261p+1, "-6.717887874008327": -0x1.adf1dffb43e31p+2, "-11.287653421987654321": -0x1.693474f3009f7p+3,
		"-1.2345678901234567890123": -0x1.3c0ca428c59fbp+0, "-0.1": -0x1.999999999999ap-4, "-7": -7, "-1e-7": -0x1.ad7f29abcaf48p-24, "-2.5E+1": -25,
		"-12345.678901234567": -0x1.81cd6e63c53d7p+13, "-9.007199254740993": -0x1.203af9ee75616p+3,
	} {
		if got, ok := nearNumber(text); !ok || got != want {
			t.Errorf("%s: want %x, got %x, %v", text, want, got, ok)
		}
	}
	for _, text := range []string{"99999999999999999999", "1e400", "-1e-400"} { // left to the exact reader
		if v, ok := nearNumber(text); ok {
			t.Errorf("%s: %v", text, v)
		}
	}
}

// TestScriptsAsTheLibraryKnowsThem has characters of which later versions of Unicode say another script.
func TestScriptsAsTheLibraryKnowsThem(t *testing.T) {
	for text, want := range map[string]string{"a\u061cb": "a|\u061c|b", "\u0628\u061c,": "\u0628|\u061c,", "\u0531\u0589.": "\u0531|\u0589.", "カか漢": "カか漢"} {
		var parts []string
		if err := (scriptSplit{}).split(piece{s: text}, func(p piece) { parts = append(parts, p.s) }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(parts, "|"); got != want {
			t.Errorf("%q: want %q, got %q", text, want, got)
		}
	}
}
