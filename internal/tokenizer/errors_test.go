package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseErrors(t *testing.T) {
	deep := strings.Repeat(`{"type":"Sequence","normalizers":[`, 40) + strings.Repeat(`]}`, 40)
	model := func(m string) string { return `{"model":` + m + `}` }
	with := func(key, value string) string {
		return fmt.Sprintf(`{%q:%s,"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}`, key, value)
	}
	cases := []struct{ file, want string }{
		{``, "unexpected end of JSON"},
		{`[]`, "cannot unmarshal array"},
		{`{}`, "there is no model"},
		{with("version", `"2.0"`), `version "2.0", want 1.0`},
		{model(`{"type":"BPE","merges":[]}`), "there is no vocab"},
		{model(`{"type":"BPE","vocab":{"a":0}}`), "BPE needs merges, and there are none"},
		{model(`{"type":"BPE","vocab":{"a":0},"merges":["a b"]}`), `merge 0: "b" is not in the vocabulary`},
		{model(`{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}`), `"ab", of "a" and "b", is not in the vocabulary`},
		{model(`{"type":"BPE","vocab":{"a":0},"merges":["ab"]}`), "two tokens with a space between"},
		{model(`{"type":"BPE","vocab":{"a":0},"merges":[["a","b","c"]]}`), "a merge of 3 tokens, want 2"},
		{model(`{"type":"BPE","vocab":{"a":2000000000},"merges":[]}`), `token "a" has id 2000000000, out of range for a vocabulary of 1 tokens`},
		{model(`{"type":"BPE","vocab":{"a":-1},"merges":[]}`), `id -1, out of range`},
		{model(`{"type":"BPE","vocab":{"a":99999999999},"merges":[]}`), "cannot unmarshal number 99999999999"},
		{model(`{"type":"BPE","vocab":{"a":0},"merges":[],"unk_token":"u"}`), `unk_token "u" is not in the vocabulary`},
		{model(`{"type":"BPE","vocab":{"a":0},"merges":[],"dropout":0.1}`), "dropout 0.1"},
		{model(`{"type":"Unigram","vocab":[["a"]]}`), "no pair of a token and its score"},
		{model(`{"type":"Unigram","unk_id":3,"vocab":[["a",0]]}`), "unk_id 3 is out of range"},
		{model(`{"type":"WordPiece","vocab":{"a":0}}`), "WordPiece needs unk_token"},
		{model(`{"type":"Diffusion","vocab":{"a":0}}`), `type "Diffusion" is not known; known are BPE, Unigram, WordLevel, WordPiece`},
		{with("normalizer", `{"type":"X"}`), `normalizer: type "X" is not known; known are BertNormalizer`},
		{with("normalizer", deep), "nested more than 32 deep"},
		{with("normalizer", `{"type":"Precompiled","precompiled_charsmap":"/////wA="}`), "normalization map of 5 bytes says its index takes 4294967295"},
		{with("normalizer", `{"type":"Replace","pattern":{"Regex":"("},"content":""}`), "regular expression"},
		{with("pre_tokenizer", `{"type":"X"}`), `pre_tokenizer: type "X" is not known; known are BertPreTokenizer`},
		{with("pre_tokenizer", `{"type":"Split","pattern":{"Regex":"[a&&b]"},"behavior":"Isolated"}`), "intersection && of classes is not supported"},
		{with("pre_tokenizer", `{"type":"Split","pattern":{"Regex":"a"},"behavior":"Sideways"}`), `behavior "Sideways"`},
		{with("pre_tokenizer", `{"type":"Metaspace","replacement":"ab"}`), `replacement "ab", want one character`},
		{with("pre_tokenizer", `{"type":"FixedLength","length":0}`), "length 0, want at least 1"},
		{with("decoder", `{"type":"X"}`), `decoder: type "X" is not known; known are BPEDecoder`},
		{with("decoder", `{"type":"Strip","content":" ","start":-1}`), "start -1"},
		{with("post_processor", `{"type":"X"}`), `post_processor: type "X" is not known`},
		{with("post_processor", `{"type":"BertProcessing","sep":["s",7],"cls":["a",0]}`), "id 7 is out of range: no token has it"},
		{with("post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"s"}}],"pair":[]}`), `"s" is not among special_tokens`},
	}
	for _, c := range cases {
		if _, err := Parse([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s:\n got %v\nwant %q", c.file, err, c.want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "no tokenizer: there is none of tokenizer.json") {
		t.Error(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("vocab.json", `{"a":0}`)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "needs its merges") {
		t.Error(err)
	}
	write("merges.txt", "#version: 0.2\na b\n")
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), `merges.txt: merge 0: "b" is not in the vocabulary`) {
		t.Error(err)
	}
	write("tokenizer_config.json", `{"bos_token":7}`)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "tokenizer_config.json") {
		t.Error(err)
	}
}

// An expression that goes back and forth for hours ends with an error.
func TestHostileRegex(t *testing.T) {
	m, err := compilePattern(`(?:\w|\w\w)+(?![\s\S])(?<=b)`)
	if err != nil {
		t.Fatal(err)
	}
	m.(*regexMatcher).re.MatchTimeout = 20e6
	if err := m.matches(strings.Repeat("a", 5000), func(int, int) {}); err == nil {
		t.Error("no error")
	}
}
