package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/neurotrain/neuroquant"
)

// isTerminal reports whether somebody may type at r.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// turn is a message with its answer, as generate --chat --json prints it.
type turn struct {
	neuroquant.Generation
	Message string                       `json:"message"`
	Timing  *neuroquant.GenerationTiming `json:"timing"`
}

// messageLines reads messages, a line each.
func messageLines(in io.Reader) ([]string, error) {
	b, err := io.ReadAll(io.LimitReader(in, 64<<20))
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		return nil, usagef("generate: --prompt is missing, and the standard input has no message")
	}
	return out, nil
}

// chat has messages answered one after the other.
func (a *app) chat(ctx context.Context, c *neuroquant.Chat, messages []string) error {
	turns := []turn{}
	for i, m := range messages {
		if i > 0 {
			a.printf("\n")
		}
		if len(messages) > 1 {
			a.printf("> %s\n", strings.TrimRight(m, "\n"))
		}
		t, err := a.answer(ctx, c, m)
		if err != nil {
			return fmt.Errorf("message %d: %w", i+1, err)
		}
		turns = append(turns, *t)
	}
	if a.json {
		return a.printJSON(map[string]any{"messages": c.Messages(), "turns": turns})
	}
	return nil
}

// answer prints an answer as it comes and says on stderr where the time went.
func (a *app) answer(ctx context.Context, c *neuroquant.Chat, message string) (*turn, error) {
	g, timing, err := c.Ask(ctx, message, func(text string) error {
		a.printf("%s", text)
		return ctx.Err()
	})
	a.printf("\n")
	if err != nil {
		return nil, err
	}
	if !a.quiet && !a.json {
		fmt.Fprintln(a.stderr, generationSpeed(timing))
	}
	return &turn{*g, message, timing}, nil
}

// ask has lines that are typed answered until there are no more. A message that cannot be answered leaves the conversation as it was.
func (a *app) ask(ctx context.Context, c *neuroquant.Chat, in io.Reader) error {
	a.closeReporter()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for ctx.Err() == nil {
		fmt.Fprint(a.stderr, "> ")
		if !lines.Scan() {
			fmt.Fprintln(a.stderr)
			return lines.Err()
		}
		message := strings.TrimSpace(lines.Text())
		if message == "" {
			continue
		}
		if _, err := a.answer(ctx, c, message); err != nil {
			if ctx.Err() != nil {
				return err
			}
			fmt.Fprintln(a.stderr, "neuroquant:", err)
		}
	}
	return ctx.Err()
}
