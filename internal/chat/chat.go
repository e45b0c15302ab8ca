// Package chat writes a conversation as the text that a model was trained on, by the chat template that comes with the model.
package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/internal/jinja"
)

// Message is one contribution to a conversation. Roles are what the template knows, usually system, user and assistant.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Template is the chat template of a model.
type Template struct {
	template *jinja.Template
	specials map[string]string
}

// ErrNone is the error of a model without a chat template.
var ErrNone = errors.New("the model has no chat template")

// Parse makes a template from its source and the model's special tokens by role: bos_token, eos_token, ....
func Parse(source string, specials map[string]string) (*Template, error) {
	t, err := jinja.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	return &Template{t, specials}, nil
}

const maxFile = 1 << 26

// Open opens the chat template of a model's folder: chat_template.jinja, or what tokenizer_config.json or chat_template.json
// hold. Of several templates it takes the one named default.
func Open(dir string) (*Template, error) {
	config, err := readObject(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return nil, err
	}
	specials, err := readObject(filepath.Join(dir, "special_tokens_map.json"))
	if err != nil {
		return nil, err
	}
	for name, raw := range config {
		specials[name] = raw
	}
	source, path, err := find(dir, config)
	if err != nil {
		return nil, err
	}
	t, err := Parse(source, tokens(specials))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// readObject reads a JSON object; a file that is not there is an empty one.
func readObject(path string) (map[string]json.RawMessage, error) {
	object := map[string]json.RawMessage{}
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return object, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &object)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if object == nil {
		object = map[string]json.RawMessage{}
	}
	return object, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, want at most %d", path, info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// find returns the source of the template and the file it is from.
func find(dir string, config map[string]json.RawMessage) (source, path string, err error) {
	path = filepath.Join(dir, "chat_template.jinja")
	data, err := readFile(path)
	if err == nil {
		return string(data), path, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", path, err
	}
	path = filepath.Join(dir, "tokenizer_config.json")
	raw, ok := config["chat_template"]
	if !ok || bytes.Equal(raw, []byte("null")) {
		path = filepath.Join(dir, "chat_template.json")
		object, err := readObject(path)
		if err != nil {
			return "", path, err
		}
		if raw, ok = object["chat_template"]; !ok {
			return "", path, fmt.Errorf("%s: %w: there is no chat_template.jinja, and no chat_template in tokenizer_config.json", dir, ErrNone)
		}
	}
	if json.Unmarshal(raw, &source) == nil {
		return source, path, nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &named); err != nil {
		return "", path, fmt.Errorf("%s: chat_template is neither a text nor a list of templates with names", path)
	}
	for _, t := range named {
		if t.Name == "default" {
			return t.Template, path, nil
		}
	}
	return "", path, fmt.Errorf("%s: none of the %d templates of chat_template is named default", path, len(named))
}

// tokens returns the special tokens: texts, or objects with a content.
func tokens(config map[string]json.RawMessage) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"} {
		var text string
		var object struct{ Content *string }
		if raw := config[name]; json.Unmarshal(raw, &text) == nil && !bytes.Equal(raw, []byte("null")) {
			out[name] = text
		} else if json.Unmarshal(raw, &object) == nil && object.Content != nil {
			out[name] = *object.Content
		}
	}
	return out
}

// Render writes messages; with addGenerationPrompt the text ends where the assistant's answer begins.
func (t *Template) Render(messages []Message, addGenerationPrompt bool) (string, error) {
	list := make([]any, len(messages))
	for i, m := range messages {
		d := jinja.NewDict()
		_ = d.Set("role", m.Role)
		_ = d.Set("content", m.Content)
		list[i] = d
	}
	return t.RenderValues(list, map[string]any{"add_generation_prompt": addGenerationPrompt})
}

// RenderValues writes messages with whatever fields they have, as values that jinja.Template.Render takes; variables are
// others that the template may ask for, such as tools or enable_thinking.
func (t *Template) RenderValues(messages []any, variables map[string]any) (string, error) {
	all := map[string]any{"messages": messages, "tools": nil, "documents": nil, "add_generation_prompt": false}
	for name, v := range t.specials {
		all[name] = v
	}
	for name, v := range variables {
		all[name] = v
	}
	text, err := t.template.Render(all)
	var raised *jinja.RaisedError
	if errors.As(err, &raised) {
		return "", fmt.Errorf("the chat template does not take these messages: %w", err)
	}
	if err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	return text, nil
}

// maxNesting bounds values within values of a JSON text.
const maxNesting = 100

// ParseValue reads a JSON text as a value for templates. Objects keep the order of their fields.
func ParseValue(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, 0)
	if err == nil && d.More() {
		err = errors.New("there is more after the JSON text")
	}
	return v, err
}

func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("values are nested more than %d deep", maxNesting)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			list := []any{}
			for d.More() {
				v, err := value(d, depth+1)
				if err != nil {
					return nil, err
				}
				list = append(list, v)
			}
			_, err := d.Token()
			return list, err
		}
		object := jinja.NewDict()
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			if err := object.Set(k, v); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	}
	return t, nil
}
