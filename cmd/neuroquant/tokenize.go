package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
)

// tokenized is a text with its tokens, as tokenize prints it.
type tokenized struct {
	Text   string   `json:"text"`
	IDs    []int    `json:"ids"`
	Tokens []string `json:"tokens"`
}

func (a *app) tokenizeCommand() *cobra.Command {
	var plain, batch, skip, chat bool
	var ids string
	c := &cobra.Command{
		Use:   "tokenize MODEL [TEXT]",
		Short: "Show the tokens of a text, or the text of tokens",
		Args:  cobra.RangeArgs(1, 2),
		Long: `Show the tokens of a text with their ids, or with --ids the text of ids. MODEL is a folder with a tokenizer, or its file:
tokenizer.json, SentencePiece's tokenizer.model, vocab.json with merges.txt, vocab.txt. Without TEXT it is read from standard input.

With --chat the text is a conversation in JSON, [{"role": "user", "content": "..."}, ...], or an object with such "messages" and variables
of the chat template ("add_generation_prompt": true); shown is the text that the model's chat template makes of it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if ids != "" && (batch || chat || len(args) == 2) {
				return usagef("tokenize: --ids stands in place of a text")
			}
			if batch && !a.json {
				return usagef("tokenize: --batch goes with --json")
			}
			if ids != "" {
				t, err := neuroquant.OpenTokenizer(args[0])
				if err != nil {
					return err
				}
				return a.detokenize(t, ids, skip)
			}
			text := ""
			if len(args) == 2 {
				text = args[1]
			} else {
				b, err := io.ReadAll(os.Stdin)
				if err != nil {
					return err
				}
				text = string(b)
			}
			if chat {
				return a.renderChat(args[0], text, batch)
			}
			t, err := neuroquant.OpenTokenizer(args[0])
			if err != nil {
				return err
			}
			if batch {
				return a.tokenizeBatch(t, text, !plain)
			}
			r, err := tokenizeText(t, text, !plain)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			for i, id := range r.IDs {
				a.printf("%7d  %s\n", id, strconv.Quote(r.Tokens[i]))
			}
			a.printf("%d tokens\n", len(r.IDs))
			return nil
		},
	}
	c.Flags().BoolVar(&plain, "plain", false, "without the special tokens that the model expects around a text")
	c.Flags().BoolVar(&batch, "batch", false, "the text is a JSON array of texts; print the array of their tokens and of what these decode to")
	c.Flags().BoolVar(&chat, "chat", false, "the text is a conversation in JSON; print it as the model's chat template writes it; with --batch an array of such")
	c.Flags().StringVar(&ids, "ids", "", "ids to show the text of, with commas or spaces between")
	c.Flags().BoolVar(&skip, "skip-special", false, "leave special tokens out of the text of ids")
	return c
}

func tokenizeText(t *neuroquant.Tokenizer, text string, special bool) (tokenized, error) {
	r := tokenized{Text: text}
	var err error
	if r.IDs, err = t.Encode(text, special); err != nil {
		return r, err
	}
	r.Tokens = make([]string, len(r.IDs))
	for i, id := range r.IDs {
		r.Tokens[i], _ = t.Token(id)
	}
	return r, nil
}

// tokenizeBatch prints for every text its ids and the text that they decode to, with special tokens and without.
func (a *app) tokenizeBatch(t *neuroquant.Tokenizer, list string, special bool) error {
	var texts []string
	if err := json.Unmarshal([]byte(list), &texts); err != nil {
		return fmt.Errorf("tokenize: --batch wants a JSON array of texts: %w", err)
	}
	type result struct {
		IDs     []int  `json:"ids"`
		Decoded string `json:"decoded"`
		Plain   string `json:"decoded_without_special"`
	}
	out := make([]result, len(texts))
	for i, text := range texts {
		ids, err := t.Encode(text, special)
		if err != nil {
			return fmt.Errorf("text %d: %w", i, err)
		}
		out[i] = result{ids, t.Decode(ids, false), t.Decode(ids, true)}
	}
	a.closeReporter()
	return json.NewEncoder(a.stdout).Encode(out)
}

func (a *app) detokenize(t *neuroquant.Tokenizer, list string, skip bool) error {
	r := tokenized{}
	for _, word := range strings.FieldsFunc(list, func(c rune) bool { return strings.ContainsRune(" ,\t\n[]", c) }) {
		id, err := strconv.Atoi(word)
		if err != nil {
			return usagef("tokenize: --ids: %q is no number", word)
		}
		token, ok := t.Token(id)
		if !ok {
			return fmt.Errorf("tokenize: no token has the id %d; there are ids up to %d", id, t.Size()-1)
		}
		r.IDs, r.Tokens = append(r.IDs, id), append(r.Tokens, token)
	}
	if len(r.IDs) == 0 {
		return errors.New("tokenize: --ids names no id")
	}
	r.Text = t.Decode(r.IDs, skip)
	if a.json {
		return a.printJSON(r)
	}
	a.printf("%s\n", r.Text)
	return nil
}

// rendered is a conversation as text, or why there is none.
type rendered struct {
	Text  string `json:"text"`
	Error string `json:"error,omitempty"`
}

func (a *app) renderChat(model, conversation string, batch bool) error {
	t, err := neuroquant.OpenChatTemplate(model)
	if err != nil {
		return err
	}
	if batch {
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(conversation), &list); err != nil {
			return fmt.Errorf("tokenize: --batch wants a JSON array of conversations: %w", err)
		}
		out := make([]rendered, len(list))
		for i, c := range list {
			if out[i].Text, err = t.RenderJSON(c); err != nil {
				out[i].Error = err.Error()
			}
		}
		return a.printJSON(out)
	}
	text, err := t.RenderJSON([]byte(conversation))
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(rendered{Text: text})
	}
	a.printf("%s\n", text)
	return nil
}
