package tokenizer

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Vocab is a vocabulary as GGUF files hold it; the fields are named after the keys tokenizer.ggml.*.
type Vocab struct {
	Model  string // llama: SentencePiece BPE; gpt2: byte-level BPE; bert: WordPiece; t5: SentencePiece Unigram
	Pre    string // how gpt2 splits text into words
	Tokens []string
	Scores []float32 // llama, t5
	Types  []int32   // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; may be absent
	Merges []string  // gpt2: "a b"

	BOS, EOS, UNK, SEP, PAD, CLS, MASK int // ids, -1 where absent

	AddBOS, AddEOS, AddSpacePrefix, RemoveExtraWhitespaces *bool  // nil where absent
	Charsmap                                               []byte // precompiled_charsmap
}

// preKind is how a value of tokenizer.ggml.pre splits text.
type preKind struct {
	regexes      []string // one after the other, matches isolated
	ignoreMerges bool
	nfc          bool
}

// Regular expressions by llama.cpp's names, as its llama-vocab.cpp has them.
var preKinds = map[string]preKind{
	"default":          {regexes: []string{gptWords}},
	"gpt-2":            {regexes: []string{gptWords}},
	"phi-2":            {regexes: []string{gptWords}},
	"olmo":             {regexes: []string{gptWords}},
	"jais":             {regexes: []string{gptWords}},
	"mpt":              {regexes: []string{gptWords}},
	"gpt-neox":         {regexes: []string{gptWords}},
	"llama3":           {regexes: []string{llama3Words}, ignoreMerges: true},
	"llama-bpe":        {regexes: []string{llama3Words}, ignoreMerges: true},
	"llama-v3":         {regexes: []string{llama3Words}, ignoreMerges: true},
	"smaug-bpe":        {regexes: []string{llama3Words}},
	"dbrx":             {regexes: []string{llama3Words}},
	"olmo2":            {regexes: []string{llama3Words}},
	"qwen2":            {regexes: []string{qwenWords}, nfc: true},
	"qwen35":           {regexes: []string{qwenMarkWords}, nfc: true},
	"stablelm2":        {regexes: []string{qwenWords}},
	"deepseek-r1-qwen": {regexes: []string{qwenWords}},
	"megrez":           {regexes: []string{qwenWords}},
	"starcoder":        {regexes: []string{`\p{N}`, gptWords}},
	"refact":           {regexes: []string{`\p{N}`, gptWords}},
	"command-r":        {regexes: []string{`\p{N}`, gptWords}},
	"smollm":           {regexes: []string{`\p{N}`, gptWords}},
	"codeshell":        {regexes: []string{`\p{N}`, gptWords}},
	"exaone":           {regexes: []string{`\p{N}`, gptWords}},
	"minerva-7b":       {regexes: []string{`\p{N}`, gptWords}},
	"gpt-4o":           {regexes: []string{o200kWords}},
	"llama4":           {regexes: []string{o200kWords}},
	"tekken":           {regexes: []string{tekkenWords}, ignoreMerges: true},
	"bloom":            {regexes: []string{bloomWords}},
	"poro-chat":        {regexes: []string{bloomWords}},
	"falcon":           {regexes: []string{`[\p{P}\$\+<=>\^~\|` + "`" + `]+`, gptWords, `[0-9][0-9][0-9]`}},
	"deepseek-llm":     {regexes: []string{`[\r\n]`, deepSeekLetters, `\s?[!-/:-~！-／：-～‘-‟　-。]+`, `\s+$`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}+`}},
	"deepseek-coder":   {regexes: []string{`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}`}},
	"deepseek-v3":      {regexes: []string{`\p{N}{1,3}`, `[一-龥぀-ゟ゠-ヿ]+`, deepSeekV3Words}},
}

const (
	bloomWords      = ` ?[^(\s|.,!?…。，、।۔،)]+`
	deepSeekLetters = `\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+`
	deepSeekV3Words = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" + spaceTail
)

// FromVocab makes the tokenizer of a GGUF file.
func FromVocab(v Vocab) (*Tokenizer, error) {
	if len(v.Tokens) == 0 {
		return nil, errors.New("the vocabulary has no tokens")
	}
	if len(v.Types) != 0 && len(v.Types) != len(v.Tokens) {
		return nil, fmt.Errorf("%d token types for %d tokens", len(v.Types), len(v.Tokens))
	}
	for _, id := range []int{v.BOS, v.EOS, v.UNK, v.SEP, v.PAD, v.CLS, v.MASK} {
		if id < -1 || id >= len(v.Tokens) {
			return nil, fmt.Errorf("the id %d of a special token is out of range: there are %d tokens", id, len(v.Tokens))
		}
	}
	special := Special{v.BOS, v.EOS, v.UNK, v.SEP, v.PAD, v.CLS, v.MASK}
	var t *Tokenizer
	var err error
	switch v.Model {
	case "llama", "t5":
		t, err = v.sentencePiece(special)
	case "gpt2":
		t, err = v.byteLevel()
	case "bert":
		t, err = v.wordPiece()
	default:
		return nil, fmt.Errorf("tokenizer model %q is not known; known are bert, gpt2, llama, t5", v.Model)
	}
	if err != nil {
		return nil, err
	}
	t.special = special
	bos, eos := special.BOS, special.EOS
	addBOS, addEOS := v.Model == "llama", v.Model == "t5"
	if v.Model == "bert" {
		addBOS, addEOS = true, true
		if bos = special.CLS; bos < 0 {
			bos = special.BOS
		}
		eos = special.SEP
	} else if v.Model == "gpt2" && preKinds[v.Pre].ignoreMerges && v.Pre != "tekken" {
		addBOS = true // llama.cpp adds it for Llama 3 even where the file does not say so
	}
	t.around(bos, eos, or(v.AddBOS, addBOS), or(v.AddEOS, addEOS))
	t.finish()
	return t, nil
}

// around sets what stands before and after a text.
func (t *Tokenizer) around(bos, eos int, addBOS, addEOS bool) {
	var before, after []part
	if addBOS && bos >= 0 {
		before = []part{{-1, []int{bos}}}
	}
	if addEOS && eos >= 0 {
		after = []part{{-1, []int{eos}}}
	}
	text, second := part{sequence: 0}, part{sequence: 1}
	t.single = append(append(append([]part{}, before...), text), after...)
	t.pair = append(append(append(append([]part{}, t.single...), before...), second), after...)
}

func (v *Vocab) kind(id int) pieceKind {
	if len(v.Types) == 0 {
		return pieceNormal
	}
	return pieceKind(v.Types[id])
}

// or returns what is said, or else otherwise.
func or[T any](said *T, otherwise T) T {
	if said == nil {
		return otherwise
	}
	return *said
}

func (v *Vocab) sentencePiece(special Special) (*Tokenizer, error) {
	m := &sentencePiece{
		tokens: v.Tokens, scores: v.Scores, unigram: v.Model == "t5", byteFallback: true, charsmap: v.Charsmap, escape: true, asAdded: true,
		dummyPrefix: or(v.AddSpacePrefix, true), trim: or(v.RemoveExtraWhitespaces, false),
	}
	m.kinds = make([]pieceKind, len(v.Tokens))
	for id := range m.kinds {
		if m.kinds[id] = v.kind(id); m.kinds[id] < pieceNormal || m.kinds[id] > pieceByte {
			return nil, fmt.Errorf("token %d, %q, has type %d, want 1 to 6", id, v.Tokens[id], m.kinds[id])
		}
	}
	return m.build(special)
}

func (v *Vocab) byteLevel() (*Tokenizer, error) {
	pre, ok := preKinds[v.Pre]
	if v.Pre == "" {
		pre, ok = preKinds["default"], true
	}
	if !ok {
		names := make([]string, 0, len(preKinds))
		for name := range preKinds {
			names = append(names, name)
		}
		sort.Strings(names)
		return nil, fmt.Errorf("tokenizer.ggml.pre %q is not known; known are %s", v.Pre, strings.Join(names, ", "))
	}
	if v.Merges == nil {
		return nil, errors.New("a gpt2 tokenizer needs tokenizer.ggml.merges, and there are none")
	}
	b := &bpe{vocabulary: listVocabulary(v.Tokens), unk: -1, ignoreMerges: pre.ignoreMerges}
	pairs := make([][2]string, len(v.Merges))
	for i, m := range v.Merges {
		var ok bool
		if pairs[i], ok = mergePair(m); !ok {
			return nil, fmt.Errorf("merge %d, %q, is not two tokens with a space between", i, m)
		}
	}
	if err := b.addMerges(pairs); err != nil {
		return nil, err
	}
	b.finish(true, false)
	t := &Tokenizer{model: b, decoder: byteLevelDecoder{}}
	if pre.nfc {
		t.normalizer = unicodeForms["NFC"]
	}
	last := &byteLevelSplit{raw: true}
	for _, r := range pre.regexes {
		m, err := compilePattern(r)
		if err != nil {
			return nil, err
		}
		t.pre = append(t.pre, &splitter{by: m, behavior: isolated})
	}
	t.pre = append(t.pre, last)
	return t, t.addTokens(v.added())
}

// added returns the tokens that are found in a text as they stand.
func (v *Vocab) added() []AddedToken {
	var tokens []AddedToken
	for id, token := range v.Tokens {
		switch v.kind(id) {
		case pieceControl, pieceUnknown:
			tokens = append(tokens, AddedToken{Content: token, ID: id, Special: true})
		case pieceUserDefined:
			tokens = append(tokens, AddedToken{Content: token, ID: id})
		}
	}
	return tokens
}

// wordPiece turns the tokens back to BERT's spelling: GGUF marks those that begin a word.
func (v *Vocab) wordPiece() (*Tokenizer, error) {
	tokens := make([]string, len(v.Tokens))
	for id, token := range v.Tokens {
		begin, begins := strings.CutPrefix(token, wordMark)
		switch {
		case v.kind(id) == pieceControl || v.kind(id) == pieceUnknown || v.kind(id) == pieceUnused:
			tokens[id] = token
		case begins:
			tokens[id] = begin
		default:
			tokens[id] = "##" + token
		}
	}
	w := &wordPiece{vocabulary: listVocabulary(tokens), prefix: "##", maxChars: 100}
	if v.UNK >= 0 {
		w.unk = tokens[v.UNK]
	}
	w.finish()
	t := &Tokenizer{model: w, normalizer: &bertNormalizer{clean: true, chinese: true, accents: true, lower: true}}
	t.pre, t.decoder = []preTokenizer{bertSplit{}}, &wordPieceDecoder{"##", true}
	return t, t.addTokens(v.added())
}
