package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// pieceKind is the type of a piece, as sentencepiece_model.proto numbers it and GGUF after it.
type pieceKind int32

const (
	pieceNormal pieceKind = 1 + iota
	pieceUnknown
	pieceControl
	pieceUserDefined
	pieceUnused
	pieceByte
)

// sentencePiece is what a SentencePiece model says, from its file or from GGUF.
type sentencePiece struct {
	tokens       []string
	scores       []float32
	kinds        []pieceKind
	unigram      bool
	byteFallback bool
	charsmap     []byte
	dummyPrefix  bool // a space before the text
	trim         bool // runs of spaces become one, those at the ends go away
	escape       bool // spaces are written ▁
	suffix       bool // words end with ▁ instead of beginning with it
	// asAdded makes user-defined pieces added tokens, as llama.cpp has them; SentencePiece finds them in normalized text.
	asAdded bool
}

// parseSentencePiece reads a tokenizer.model: the message ModelProto of sentencepiece_model.proto.
func parseSentencePiece(data []byte) (*sentencePiece, Special, error) {
	m := &sentencePiece{dummyPrefix: true, trim: true, escape: true, unigram: true}
	special := Special{BOS: 1, EOS: 2, UNK: 0, PAD: -1, SEP: -1, CLS: -1, MASK: -1}
	modelType := uint64(1)
	err := eachField(data, func(field protowire.Number, v uint64, b []byte) error {
		switch field {
		case 1: // pieces
			return m.addPiece(b)
		case 2: // trainer_spec
			return eachField(b, func(field protowire.Number, v uint64, _ []byte) error {
				switch field {
				case 3:
					modelType = v
				case 24:
					m.suffix = v != 0
				case 35:
					m.byteFallback = v != 0
				case 40:
					special.UNK = int(int32(v))
				case 41:
					special.BOS = int(int32(v))
				case 42:
					special.EOS = int(int32(v))
				case 43:
					special.PAD = int(int32(v))
				}
				return nil
			})
		case 3: // normalizer_spec
			return eachField(b, func(field protowire.Number, v uint64, b []byte) error {
				switch field {
				case 2:
					m.charsmap = b
				case 3:
					m.dummyPrefix = v != 0
				case 4:
					m.trim = v != 0
				case 5:
					m.escape = v != 0
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, special, err
	case len(m.tokens) == 0:
		return nil, special, errors.New("no SentencePiece model: it has no pieces")
	case modelType == 2:
		m.unigram = false
	case modelType != 1:
		return nil, special, fmt.Errorf("SentencePiece model of type %d, want 1 (unigram) or 2 (BPE)", modelType)
	}
	return m, special, nil
}

func (m *sentencePiece) addPiece(b []byte) error {
	token, score, kind := "", float32(0), pieceNormal
	err := eachField(b, func(field protowire.Number, v uint64, b []byte) error {
		switch field {
		case 1:
			token = string(b)
		case 2:
			score = math.Float32frombits(uint32(v))
		case 3:
			kind = pieceKind(v)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !utf8.ValidString(token):
		return fmt.Errorf("piece %d, %q, is not UTF-8", len(m.tokens), token)
	case kind < pieceNormal || kind > pieceByte:
		return fmt.Errorf("piece %d, %q, has type %d, want 1 to 6", len(m.tokens), token, kind)
	}
	m.tokens, m.scores, m.kinds = append(m.tokens, token), append(m.scores, score), append(m.kinds, kind)
	return nil
}

// eachField calls f with every field of a message: v for numbers, b for what has a length.
func eachField(data []byte, f func(field protowire.Number, v uint64, b []byte) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		var v uint64
		var b []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(data)
		case protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(data)
			v = uint64(w)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(data)
		case protowire.BytesType:
			b, n = protowire.ConsumeBytes(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(field, v, b); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// build makes the tokenizer.
func (m *sentencePiece) build(special Special) (*Tokenizer, error) {
	if len(m.scores) != len(m.tokens) || len(m.kinds) != len(m.tokens) {
		return nil, fmt.Errorf("%d tokens, %d scores and %d types, want as many of each", len(m.tokens), len(m.scores), len(m.kinds))
	}
	n := &spmNormalizer{dummyPrefix: m.dummyPrefix, trim: m.trim, escape: m.escape, suffix: m.suffix}
	if len(m.charsmap) > 0 {
		var err error
		if n.charsmap, err = parseCharsmap(m.charsmap); err != nil {
			return nil, err
		}
	}
	unk := -1
	var user []string
	var userIDs []int32
	var added []AddedToken
	for id, kind := range m.kinds {
		token := AddedToken{Content: m.tokens[id], ID: id, Special: kind != pieceUserDefined}
		switch {
		case kind == pieceUnknown && unk < 0:
			unk = id
			added = append(added, token)
		case kind == pieceControl || kind == pieceUnknown || kind == pieceUserDefined && m.asAdded:
			added = append(added, token)
		case kind == pieceUserDefined:
			user, userIDs = append(user, m.tokens[id]), append(userIDs, int32(id))
		}
	}
	if len(user) > 0 {
		n.user = newTrie(user, userIDs)
	}
	t := &Tokenizer{normalizer: n, special: special, spm: m}
	t.decoder = decoders{replaceDecoder(&replacer{literalMatcher(wordMark), " "}), byteFallbackDecoder{}, fuser{}}
	if m.dummyPrefix && !m.suffix {
		t.decoder = append(t.decoder.(decoders), stripDecoder(" ", 1, 0))
	}
	var err error
	if m.unigram {
		t.model, err = m.unigramModel(unk)
	} else {
		t.model, err = newScoredBPE(m, unk, n.user)
	}
	if err != nil {
		return nil, err
	}
	if err := t.addTokens(added); err != nil {
		return nil, err
	}
	return t, nil
}

// unigramModel gives user-defined pieces a score that always wins, and keeps all that is no text out of the trie.
func (m *sentencePiece) unigramModel(unk int) (model, error) {
	u := &unigram{vocabulary: listVocabulary(m.tokens), unk: unk, single: true}
	least := math.Inf(1)
	for i, kind := range m.kinds {
		if math.IsNaN(float64(m.scores[i])) {
			return nil, fmt.Errorf("piece %q has the score NaN", m.tokens[i])
		}
		if kind == pieceNormal {
			least = min(least, float64(m.scores[i]))
		}
	}
	u.scores = make([]float64, len(m.tokens))
	var keys []string
	var values []int32
	for i, kind := range m.kinds {
		u.scores[i] = float64(m.scores[i])
		switch kind {
		case pieceUserDefined:
			u.scores[i] = float64(float32(0.1 * float64(len(m.tokens[i])-1))) // GetUserDefinedScore of unigram_model.cc
		case pieceNormal:
		default:
			continue
		}
		keys, values = append(keys, m.tokens[i]), append(values, int32(i))
	}
	u.trie = newTrie(keys, values)
	u.unkScore = float64(float32(least) - unkPenalty)
	if m.byteFallback {
		u.fallback = u.byteTokens()
	}
	return u, nil
}
