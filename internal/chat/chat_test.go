package chat

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const chatML = `{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	render := func() string {
		t.Helper()
		tpl, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		s, err := tpl.Render([]Message{{"user", "Hi"}}, true)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	write("special_tokens_map.json", `{"bos_token":{"content":"<b>"},"eos_token":"<e>"}`)
	write("tokenizer_config.json", `{"eos_token":"<f>","chat_template":[{"name":"tool_use","template":"x"},{"name":"default","template":"{{ bos_token }}{{ eos_token }}"}]}`)
	if got := render(); got != "<b><f>" {
		t.Errorf("%q", got)
	}
	write("chat_template.jinja", chatML)
	if got := render(); got != "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n" {
		t.Errorf("%q", got)
	}
	write("chat_template.jinja", "{% nonsense %}")
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), `chat_template.jinja: chat template: line 1: the statement "nonsense"`) {
		t.Error(err)
	}
	write("tokenizer_config.json", `[`)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "tokenizer_config.json: ") {
		t.Error(err)
	}
}

func TestRaised(t *testing.T) {
	tpl, err := Parse("{{ raise_exception('roles must alternate') }}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tpl.Render(nil, false); err == nil || err.Error() != "the chat template does not take these messages: roles must alternate" {
		t.Error(err)
	}
}

func TestParseValue(t *testing.T) {
	v, err := ParseValue([]byte(`[{"b":1,"a":[1.5,null,true]}]`))
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := Parse("{{ messages|tojson }}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tpl.RenderValues(v.([]any), nil); err != nil || got != `[{"b": 1, "a": [1.5, null, true]}]` {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "{", `{"a"`, "[1] 2", strings.Repeat("[", 200)} {
		if _, err := ParseValue([]byte(bad)); err == nil {
			t.Errorf("%.20s: no error", bad)
		}
	}
}
