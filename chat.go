package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/chat"
	"github.com/neurotrain/neuroquant/internal/generate"
)

// Chat is a conversation with a language model, written by the model's chat template. What was computed of it stays, so that a turn costs
// what is new in it. It is used by one goroutine at a time.
type Chat struct {
	g        *Generator
	o        GenerateOptions
	template *chat.Template
	end      []int // tokens that end an answer beside those of the model
	messages []Message

	batch *generate.Batch
	held  []int // the tokens that batch holds
}

// NewChat begins a conversation; system, which may be empty, tells the model what it is. Options hold for every turn.
func (g *Generator) NewChat(system string, o GenerateOptions) (*Chat, error) {
	t, err := g.m.m.OpenChat()
	if err != nil {
		return nil, err
	}
	c := &Chat{g: g, o: o, template: t, batch: g.e.Batch(1)}
	if c.end, err = c.turnEnd(); err != nil {
		return nil, err
	}
	if system != "" {
		c.messages = append(c.messages, Message{Role: "system", Content: system})
	}
	return c, nil
}

// turnEnd returns the special token that the template writes behind an answer, as models of which the configuration names another one
// end theirs with it, too.
func (c *Chat) turnEnd() ([]int, error) {
	const question, answer = "ask-1", "answer-2"
	text, err := c.template.Render([]Message{{Role: "user", Content: question}, {Role: "assistant", Content: answer}}, false)
	if err != nil {
		return nil, err
	}
	i := strings.LastIndex(text, answer)
	if i < 0 {
		return nil, nil
	}
	ids, err := c.g.l.tokenizer.Encode(text[i+len(answer):], false)
	if err != nil || len(ids) == 0 || c.g.l.tokenizer.Decode(ids[:1], true) != "" {
		return nil, err
	}
	return ids[:1], nil
}

// Messages returns the conversation so far.
func (c *Chat) Messages() []Message { return slices.Clone(c.messages) }

// Ask adds a message of the user and returns the model's answer, which becomes part of the conversation. Each, which may be nil, is told its
// text as it comes. After an error the conversation is as it was before.
func (c *Chat) Ask(ctx context.Context, text string, each func(text string) error) (*Generation, *GenerationTiming, error) {
	messages := append(slices.Clone(c.messages), Message{Role: "user", Content: text})
	prompt, err := c.template.Render(messages, true)
	if err != nil {
		return nil, nil, err
	}
	ids, err := c.g.l.tokenizer.Encode(prompt, false)
	if err != nil {
		return nil, nil, err
	}
	if len(ids) == 0 {
		return nil, nil, errors.New("the chat template makes no tokens of the conversation")
	}
	if limit := c.g.o.Context; limit > 0 && len(ids) >= limit {
		return nil, nil, fmt.Errorf("the conversation has %d tokens, and the context is %d", len(ids), limit)
	}
	if err := c.rewind(ids); err != nil {
		return nil, nil, err
	}
	r := c.g.request(c.o)
	if !c.o.IgnoreEnd {
		r.End = append(slices.Clone(r.End), c.end...)
	}
	r.Batch, r.Before, r.Prompts = c.batch, [][]int{c.held}, [][]int{ids[len(c.held):]}
	var emit func(int, string) error
	if each != nil {
		emit = func(_ int, text string) error { return each(text) }
	}
	out, timing, err := c.g.run(ctx, r, c.o.Stop, emit)
	if err != nil {
		c.held = c.held[:0] // how far it came is not known
		return nil, nil, errors.Join(err, c.batch.Truncate(0, 0))
	}
	c.held = append(slices.Clone(ids), out[0].IDs...)
	c.held = c.held[:min(len(c.held), c.batch.Len(0))]
	c.messages = append(messages, Message{Role: "assistant", Content: out[0].Text})
	out[0].PromptIDs = ids
	return &out[0], timing, nil
}

// rewind keeps of what was computed as much as the tokens ids begin with, but not all of them: the last gives the first logits.
func (c *Chat) rewind(ids []int) error {
	n := 0
	for n < min(len(c.held), len(ids)-1) && c.held[n] == ids[n] {
		n++
	}
	if n < len(c.held) && c.batch.Truncate(0, n) != nil { // of a sliding window earlier tokens are gone
		n = 0
		if err := c.batch.Truncate(0, 0); err != nil {
			return err
		}
	}
	c.held = c.held[:n]
	return nil
}
