package tokenizer

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// seeds are small tokenizers of every kind.
var seeds = []string{
	`{"version":"1.0","added_tokens":[{"id":3,"content":"<s>","special":true}],"normalizer":{"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"Lowercase"}]},
	"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s+(?!\\S)|\\p{L}+"},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":true,"use_regex":true}]},
	"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[3],"tokens":["<s>"]}}},
	"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"],"ignore_merges":true}}`,
	`{"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
	"decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
	"model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"▁":1,"a":2,"▁a":3,"<0x62>":4},"merges":[["▁","a"]]}}`,
	`{"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"decoder":{"type":"WordPiece"},"post_processor":{"type":"BertProcessing","sep":["[UNK]",0],"cls":["a",1]},
	"model":{"unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":9,"vocab":{"[UNK]":0,"a":1,"##b":2}}}`,
	`{"added_tokens":[{"id":0,"content":"x","lstrip":true,"rstrip":true,"normalized":true,"single_word":true}],"normalizer":{"type":"NFKD"},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"},
	"decoder":{"type":"Metaspace","replacement":"▁"},"model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["▁",-1.5],["a",-2],["▁a",-2.5],["ab",-3]]}}`,
	`{"normalizer":{"type":"Precompiled","precompiled_charsmap":"BAAAAAAAAABhAA=="},"pre_tokenizer":{"type":"UnicodeScripts"},"decoder":{"type":"CTC"},"model":{"type":"WordLevel","unk_token":"u","vocab":{"u":0,"a":1}}}`,
	`{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"Punctuation"},{"type":"Whitespace"},{"type":"FixedLength","length":2}]},"decoder":{"type":"BPEDecoder"},
	"model":{"type":"BPE","continuing_subword_prefix":"##","end_of_word_suffix":"</w>","vocab":{"a":0,"##b":1,"ab":2,"##b</w>":3},"merges":["a ##b"]}}`,
}

// exercise encodes and decodes; whatever comes out must be consistent.
func exercise(t *testing.T, tok *Tokenizer, text string) {
	for _, special := range []bool{false, true} {
		ids, err := tok.Encode(text, special)
		if err != nil {
			continue
		}
		for _, id := range ids {
			if id < 0 || id >= tok.Size() {
				t.Fatalf("%q: id %d of a tokenizer of %d", text, id, tok.Size())
			}
		}
		if s := tok.Decode(ids, special); utf8.ValidString(text) && !utf8.ValidString(s) {
			t.Fatalf("%q decodes to %q", text, s)
		}
		stream := tok.Stream(false)
		for _, id := range ids {
			if s := stream.Push(id); !utf8.ValidString(s) {
				t.Fatalf("%q streams %q", text, s)
			}
		}
		stream.Flush()
	}
	if v, err := tok.Vocab(); err == nil {
		_, _ = FromVocab(v)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		if !json.Valid([]byte(s)) {
			f.Fatal(s)
		}
		f.Add([]byte(s), "ab a  b x<s> Ünï\u0301 12 'll 漢字")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if len(text) > 1<<10 || len(data) > 1<<14 {
			return
		}
		if tok, err := Parse(data); err == nil {
			exercise(t, tok, text)
		}
	})
}

func FuzzSentencePiece(f *testing.F) {
	for _, s := range spmSeeds() {
		f.Add(s, " ab  a\u00e9<s> 漢")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		if len(text) > 1<<10 || len(data) > 1<<14 {
			return
		}
		if tok, err := sentencePieceFile(data, configJSON{}); err == nil {
			exercise(t, tok, text)
		}
	})
}
