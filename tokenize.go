package neuroquant

import (
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/chat"
	"github.com/neurotrain/neuroquant/internal/jinja"
	"github.com/neurotrain/neuroquant/internal/tokenizer"
)

// Tokenizer turns text into the ids of a language model's tokens and back, exactly as the model's own tokenizer does. It may be
// used from several goroutines at once.
type Tokenizer struct{ t *tokenizer.Tokenizer }

// OpenTokenizer opens the tokenizer in a model's folder or a file of one: tokenizer.json, SentencePiece's tokenizer.model,
// vocab.json with merges.txt, vocab.txt.
func OpenTokenizer(path string) (*Tokenizer, error) {
	t, err := tokenizer.Open(path)
	if err != nil {
		return nil, err
	}
	return &Tokenizer{t}, nil
}

// Encode returns the ids of a text. With special the tokens that the model expects around a text are added. Special tokens that
// stand in the text, such as <|im_end|>, are recognized.
func (t *Tokenizer) Encode(text string, special bool) ([]int, error) {
	return t.t.Encode(text, special)
}

// EncodePair returns the ids of two texts as a model for pairs takes them.
func (t *Tokenizer) EncodePair(first, second string, special bool) ([]int, error) {
	return t.t.EncodePair(first, second, special)
}

// Decode returns the text of ids, without special tokens if skipSpecial is set.
func (t *Tokenizer) Decode(ids []int, skipSpecial bool) string { return t.t.Decode(ids, skipSpecial) }

// Token returns the token of an id as its file spells it, for example "Ġthe"; false if there is none.
func (t *Tokenizer) Token(id int) (string, bool) { return t.t.Token(id) }

// ID returns the id of a token as its file spells it; false if there is none.
func (t *Tokenizer) ID(token string) (int, bool) { return t.t.ID(token) }

// Size returns one more than the largest id.
func (t *Tokenizer) Size() int { return t.t.Size() }

// ChatTemplate writes conversations as the text that a model was trained on.
type ChatTemplate struct{ t *chat.Template }

// Message is one contribution to a conversation; its role is usually system, user or assistant.
type Message = chat.Message

// OpenChatTemplate opens the chat template in a model's folder.
func OpenChatTemplate(dir string) (*ChatTemplate, error) {
	t, err := chat.Open(dir)
	if err != nil {
		return nil, err
	}
	return &ChatTemplate{t}, nil
}

// Render writes messages; with addGenerationPrompt the text ends where the assistant's answer begins. Encode it without special
// tokens: the template has written them.
func (t *ChatTemplate) Render(messages []Message, addGenerationPrompt bool) (string, error) {
	return t.t.Render(messages, addGenerationPrompt)
}

// RenderJSON writes a conversation that is a JSON array of messages, or an object whose field messages is one and whose other
// fields are variables of the template, such as add_generation_prompt, tools or enable_thinking.
func (t *ChatTemplate) RenderJSON(conversation []byte) (string, error) {
	v, err := chat.ParseValue(conversation)
	if err != nil {
		return "", fmt.Errorf("conversation: %w", err)
	}
	variables := map[string]any{}
	if d, ok := v.(*jinja.Dict); ok {
		for _, k := range d.Keys() {
			variables[k.(string)], _ = d.Get(k)
		}
		v = variables["messages"]
		delete(variables, "messages")
	}
	messages, ok := v.([]any)
	if !ok {
		return "", errors.New("conversation: want an array of messages, or an object with one in the field messages")
	}
	return t.t.RenderValues(messages, variables)
}
