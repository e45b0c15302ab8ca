package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// maxFileBytes bounds a tokenizer's file; the largest published ones have some 40 MB.
const maxFileBytes = 1 << 30

// configJSON is what tokenizer_config.json and special_tokens_map.json say about tokens.
type configJSON struct {
	BOS  tokenName `json:"bos_token"`
	EOS  tokenName `json:"eos_token"`
	UNK  tokenName `json:"unk_token"`
	SEP  tokenName `json:"sep_token"`
	PAD  tokenName `json:"pad_token"`
	CLS  tokenName `json:"cls_token"`
	MASK tokenName `json:"mask_token"`

	AddBOS         *bool                `json:"add_bos_token"`
	AddEOS         *bool                `json:"add_eos_token"`
	AddPrefixSpace *bool                `json:"add_prefix_space"`
	Lower          *bool                `json:"do_lower_case"`
	StripAccents   *bool                `json:"strip_accents"`
	Chinese        *bool                `json:"tokenize_chinese_chars"`
	Class          string               `json:"tokenizer_class"`
	Added          map[string]addedJSON `json:"added_tokens_decoder"`
}

// tokenName is "<s>" or {"content": "<s>", ...}.
type tokenName string

func (n *tokenName) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var object struct{ Content string }
		err := json.Unmarshal(b, &object)
		*n = tokenName(object.Content)
		return err
	}
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	return json.Unmarshal(b, (*string)(n))
}

// Open opens the tokenizer of a model's folder, or one file of the kinds that Open finds there: tokenizer.json, a
// SentencePiece model, vocab.json (with merges.txt beside it), vocab.txt. Roles of tokens come from tokenizer_config.json and
// special_tokens_map.json beside it.
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return openFile(path)
	}
	names := []string{"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt"}
	for _, name := range names {
		file := filepath.Join(path, name)
		if _, err := os.Stat(file); err == nil {
			return openFile(file)
		}
	}
	return nil, fmt.Errorf("%s: no tokenizer: there is none of %s", path, strings.Join(names, ", "))
}

func openFile(path string) (*Tokenizer, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(path)
	config, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	var t *Tokenizer
	switch base := filepath.Base(path); {
	case base == "vocab.json":
		t, err = vocabAndMerges(dir, data, config)
	case base == "vocab.txt":
		t, err = bertVocab(data, config)
	case strings.HasSuffix(base, ".json"):
		t, err = Parse(data)
	default:
		t, err = sentencePieceFile(data, config)
	}
	if err == nil {
		err = t.configure(config)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("%s has %d bytes, want at most %d", path, info.Size(), maxFileBytes)
	}
	return os.ReadFile(path)
}

// readConfig reads what is there of tokenizer_config.json and special_tokens_map.json; the first has the say.
func readConfig(dir string) (configJSON, error) {
	var c configJSON
	for _, name := range []string{"special_tokens_map.json", "tokenizer_config.json"} {
		data, err := readFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = json.Unmarshal(data, &c)
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
	}
	return c, nil
}

// addedTokens returns the config's added tokens in the order of their ids.
func (c *configJSON) addedTokens() ([]AddedToken, error) {
	tokens := make([]AddedToken, 0, len(c.Added))
	for key, a := range c.Added {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("tokenizer_config.json: added_tokens_decoder: id %q, want a number", key)
		}
		a.ID = id
		tokens = append(tokens, a.token())
	}
	sort.Slice(tokens, func(i, j int) bool { return tokens[i].ID < tokens[j].ID })
	return tokens, nil
}

// configure adds what the config knows: added tokens that the file does not have, and roles.
func (t *Tokenizer) configure(c configJSON) error {
	tokens, err := c.addedTokens()
	if err != nil {
		return err
	}
	var have, missing []AddedToken
	for _, a := range t.added.byID {
		have = append(have, *a)
	}
	sort.Slice(have, func(i, j int) bool { return have[i].ID < have[j].ID })
	for _, a := range tokens {
		if _, ok := t.added.ids[a.Content]; !ok && a.Content != "" {
			missing = append(missing, a)
		}
	}
	if len(missing) > 0 {
		if err := t.addTokens(append(have, missing...)); err != nil {
			return err
		}
		t.finish()
	}
	for _, role := range []struct {
		id   *int
		name tokenName
	}{
		{&t.special.BOS, c.BOS},
		{&t.special.EOS, c.EOS},
		{&t.special.UNK, c.UNK},
		{&t.special.SEP, c.SEP},
		{&t.special.PAD, c.PAD},
		{&t.special.CLS, c.CLS},
		{&t.special.MASK, c.MASK},
	} {
		if id, ok := t.ID(string(role.name)); ok && role.name != "" {
			*role.id = id
		}
	}
	return nil
}

// sentencePieceFile reads tokenizer.model. Whether <s> and </s> are added is the config's to say; without a word, <s> is, as
// Llama has it, and for Unigram </s>, as T5 has it.
func sentencePieceFile(data []byte, c configJSON) (*Tokenizer, error) {
	m, special, err := parseSentencePiece(data)
	if err != nil {
		return nil, err
	}
	for _, id := range []*int{&special.BOS, &special.EOS, &special.UNK, &special.PAD} {
		if *id >= len(m.tokens) {
			return nil, fmt.Errorf("the id %d of a special token is out of range: there are %d pieces", *id, len(m.tokens))
		}
		*id = max(*id, -1)
	}
	t, err := m.build(special)
	if err != nil {
		return nil, err
	}
	t.around(special.BOS, special.EOS, or(c.AddBOS, !m.unigram), or(c.AddEOS, m.unigram))
	t.finish()
	return t, nil
}

// vocabAndMerges reads vocab.json and the merges.txt beside it: GPT-2's byte-level BPE.
func vocabAndMerges(dir string, vocab []byte, c configJSON) (*Tokenizer, error) {
	lines, err := readFile(filepath.Join(dir, "merges.txt"))
	if err != nil {
		return nil, fmt.Errorf("a vocabulary of byte-pair encoding needs its merges: %w", err)
	}
	var ids map[string]int32
	if err := json.Unmarshal(vocab, &ids); err != nil {
		return nil, err
	}
	v, err := newVocabulary(ids)
	if err != nil {
		return nil, err
	}
	b := &bpe{vocabulary: v, unk: -1}
	var pairs [][2]string
	for i, line := range strings.Split(string(lines), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" || strings.HasPrefix(line, "#version") {
			continue
		}
		pair, ok := mergePair(line)
		if !ok {
			return nil, fmt.Errorf("merges.txt: line %d, %q, is not two tokens with a space between", i+1, line)
		}
		pairs = append(pairs, pair)
	}
	if err := b.addMerges(pairs); err != nil {
		return nil, fmt.Errorf("merges.txt: %w", err)
	}
	b.finish(true, false)
	t := &Tokenizer{model: b, decoder: byteLevelDecoder{}}
	words := gptWords
	if strings.HasPrefix(c.Class, "Qwen2") {
		words = qwenWords
		t.normalizer = unicodeForms["NFC"]
	}
	t.pre = []preTokenizer{&byteLevelSplit{
		prefixSpace: or(c.AddPrefixSpace, false), regex: true, raw: true, words: wordPatterns[words],
	}}
	t.special = noSpecial
	if err := t.addTokens(c.roles()); err != nil {
		return nil, err
	}
	if strings.HasPrefix(c.Class, "Roberta") {
		t.wrap(string(c.CLS), string(c.SEP), true)
	}
	t.finish()
	return t, nil
}

// roles returns the tokens with a role as special tokens, which a file of nothing but a vocabulary does not have.
func (c *configJSON) roles() []AddedToken {
	var tokens []AddedToken
	for _, name := range []tokenName{c.BOS, c.EOS, c.UNK, c.SEP, c.PAD, c.CLS, c.MASK} {
		if name != "" {
			tokens = append(tokens, AddedToken{Content: string(name), Special: true})
		}
	}
	return tokens
}

// wrap puts the tokens cls and sep around texts, if there are such.
func (t *Tokenizer) wrap(cls, sep string, twice bool) {
	begin, ok1 := t.ID(cls)
	end, ok2 := t.ID(sep)
	if ok1 && ok2 {
		t.single, t.pair = wrapped(begin, end, twice)
	}
}

// bertVocab reads vocab.txt: BERT's WordPiece, a token a line.
func bertVocab(data []byte, c configJSON) (*Tokenizer, error) {
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	ids := make(map[string]int32, len(lines))
	for i, line := range lines {
		ids[strings.TrimRight(line, " \t\r\n")] = int32(i)
	}
	v, err := newVocabulary(ids)
	if err != nil {
		return nil, err
	}
	for _, role := range []struct {
		name      *tokenName
		otherwise tokenName
	}{{&c.UNK, "[UNK]"}, {&c.SEP, "[SEP]"}, {&c.PAD, "[PAD]"}, {&c.CLS, "[CLS]"}, {&c.MASK, "[MASK]"}} {
		if *role.name == "" && v.knows(string(role.otherwise)) {
			*role.name = role.otherwise
		}
	}
	w := &wordPiece{vocabulary: v, unk: string(c.UNK), prefix: "##", maxChars: 100}
	w.finish()
	lower := or(c.Lower, true)
	t := &Tokenizer{
		model:      w,
		normalizer: &bertNormalizer{clean: true, chinese: or(c.Chinese, true), accents: or(c.StripAccents, lower), lower: lower},
		pre:        []preTokenizer{bertSplit{}}, decoder: &wordPieceDecoder{"##", true},
		special: noSpecial,
	}
	if err := t.addTokens(c.roles()); err != nil {
		return nil, err
	}
	t.wrap(string(c.CLS), string(c.SEP), false)
	t.finish()
	return t, t.configure(c)
}
