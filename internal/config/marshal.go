package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Marshal writes a struct of settings as YAML with the doc tag of each key as a comment above it, and the accepted words or
// bounds if it has some. Keys in leave are left out (paths such as "quantization.bits").
func Marshal(v any, leave ...string) ([]byte, error) {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	if r.Kind() != reflect.Struct {
		return nil, fmt.Errorf("config: want a struct, got %T", v)
	}
	n, err := nodeOf(r, "", leave)
	if err != nil {
		return nil, err
	}
	return yaml.Dump(n, yaml.WithIndent(2))
}

func isText(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func nodeOf(v reflect.Value, path string, leave []string) (*yaml.Node, error) {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	t := v.Type()
	switch {
	case t == durationType:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v.Interface().(time.Duration).String()}, nil
	case t.Kind() == reflect.Struct && !isText(t):
		m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, f := range fieldsOf(t) {
			at := join(path, f.name)
			if slices.Contains(leave, at) {
				continue
			}
			value, err := nodeOf(v.FieldByIndex(f.index), at, leave)
			if err != nil {
				return nil, err
			}
			m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: f.name, HeadComment: f.comment()}, value)
		}
		return m, nil
	case t.Kind() == reflect.Slice && v.Len() == 0:
		return &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}, nil
	case t.Kind() == reflect.Map && v.Len() == 0:
		return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Style: yaml.FlowStyle}, nil
	}
	var n yaml.Node
	if err := n.Encode(v.Interface()); err != nil {
		return nil, fmt.Errorf("config: %s: %w", path, err)
	}
	return &n, nil
}

// comment is the text above a key, wrapped.
func (f *field) comment() string {
	text := f.doc
	add := func(format string, args ...any) {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf(format, args...)
	}
	if f.enum != nil {
		add("one of %s", strings.Join(f.enum, ", "))
	}
	switch {
	case f.min != nil && f.max != nil:
		add("from %v to %v", *f.min, *f.max)
	case f.min != nil:
		add("at least %v", *f.min)
	case f.max != nil:
		add("at most %v", *f.max)
	}
	if text == "" {
		return ""
	}
	const width = 96
	var b strings.Builder
	used := 0
	for _, word := range strings.Fields(text) {
		switch {
		case used == 0:
			b.WriteString("# ")
		case used+1+len(word) > width:
			b.WriteString("\n# ")
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += len(word)
	}
	return b.String()
}
