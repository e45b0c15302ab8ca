package neuroquant

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/shapes"
)

// chatModel writes a small model with a chat template in the style of ChatML, whose turns end with the model's one special token.
func chatModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	d := shapes.Decoder{Type: "llama", Layers: 2, Hidden: 64, Inner: 96, Heads: 4, KVHeads: 2, Vocabulary: 258, RopeTheta: 1e4, Seed: 5}
	if err := d.WriteCheckpoint(dir); err != nil {
		t.Fatal(err)
	}
	const template = `{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}`
	if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(template), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestChat compares the turns of a conversation with what the model says to the whole of it at once, from a folder and from a GGUF file.
func TestChat(t *testing.T) {
	dir := chatModel(t)
	file := filepath.Join(t.TempDir(), "model.gguf")
	if _, err := Convert(t.Context(), dir, file, ConvertOptions{Type: "F16"}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		m, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		g, err := m.NewGenerator(GeneratorOptions{Cache: "float32", Context: 200, Products: "float32"})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		c, err := g.NewChat("Be brief.", GenerateOptions{MaxTokens: 6})
		if err != nil {
			t.Fatal(err)
		}
		if len(c.end) != 1 || c.end[0] != 257 {
			t.Errorf("turns end with %v", c.end)
		}
		whole := "[system] Be brief.<|endoftext|>"
		total := 0
		for i, message := range []string{"Hello", "and then?", "why"} {
			var streamed strings.Builder
			got, timing, err := c.Ask(t.Context(), message, func(text string) error { streamed.WriteString(text); return nil })
			if err != nil {
				t.Fatal(err)
			}
			whole += "[user] " + message + "<|endoftext|>[assistant] "
			want, _, err := g.Generate(t.Context(), []string{whole}, GenerateOptions{MaxTokens: 6, Raw: true}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Text != want[0].Text || streamed.String() != got.Text || len(got.PromptIDs) != len(want[0].PromptIDs) {
				t.Errorf("%s: turn %d is %q, streamed %q; the whole conversation gives %q", path, i, got.Text, streamed.String(), want[0].Text)
			}
			if total += timing.PromptTokens; i > 0 && timing.PromptTokens > len(got.PromptIDs)/2 {
				t.Errorf("turn %d computed %d of %d tokens", i, timing.PromptTokens, len(got.PromptIDs))
			}
			whole += got.Text + "<|endoftext|>"
		}
		if n := len(c.Messages()); n != 7 {
			t.Errorf("%d messages", n)
		}
		if _, _, err := c.Ask(t.Context(), strings.Repeat("much too long ", 50), nil); err == nil || !strings.Contains(err.Error(), "the context is 200") {
			t.Errorf("too long a message: %v", err)
		}
		if got, _, err := c.Ask(t.Context(), "Hello", nil); err != nil || len(c.Messages()) != 9 {
			t.Errorf("after an error: %v, %v", got, err)
		}
	}
}

func TestChatWithoutTemplate(t *testing.T) {
	dir := chatModel(t)
	if err := os.Remove(filepath.Join(dir, "chat_template.jinja")); err != nil {
		t.Fatal(err)
	}
	m, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	g, err := m.NewGenerator(GeneratorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.NewChat("", GenerateOptions{}); err == nil || !strings.Contains(err.Error(), "has no chat template") {
		t.Errorf("got %v", err)
	}
	if _, err := m.NewGenerator(GeneratorOptions{Products: "int7"}); err == nil || !strings.Contains(err.Error(), "accepted: bfloat16, float32") {
		t.Errorf("got %v", err)
	}
}
