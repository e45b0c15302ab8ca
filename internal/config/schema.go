package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// Schema returns the JSON Schema (draft 2020-12) of a struct of settings, whose values are the defaults. Editors use it to
// complete and check YAML files.
func Schema(defaults any, title string) ([]byte, error) {
	v := reflect.ValueOf(defaults)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil, fmt.Errorf("config: want a struct, got %T", defaults)
	}
	s := object{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", title}}
	s = append(s, schemaOf(v.Type(), v, field{})...)
	// Keys that begin with x- are the user's own.
	s = append(s, pair{"patternProperties", object{{"^x-", object{}}}})
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(s); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// object is a JSON object that keeps its order.
type object []pair

type pair struct {
	key   string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(p.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(p.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemaOf describes a type; def is its default, if it is valid.
func schemaOf(t reflect.Type, def reflect.Value, f field) object {
	var s object
	if f.doc != "" {
		s = append(s, pair{"description", f.doc})
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
		if def.IsValid() {
			def = def.Elem()
		}
	}
	text := isText(t)
	switch k := t.Kind(); {
	case t == durationType:
		s = append(s, pair{"type", "string"}, pair{"pattern", `^[0-9.]+(ns|us|ms|s|m|h)`})
		if def.IsValid() && !def.IsZero() {
			s = append(s, pair{"default", fmt.Sprint(def.Interface())})
		}
		return s
	case text || k == reflect.String:
		s = append(s, pair{"type", "string"})
		if f.enum != nil {
			s = append(s, pair{"enum", f.enum})
		}
	case k == reflect.Bool:
		s = append(s, pair{"type", "boolean"})
	case k >= reflect.Int && k <= reflect.Uintptr:
		s = append(s, pair{"type", "integer"})
		if k >= reflect.Uint && f.min == nil {
			s = append(s, pair{"minimum", 0})
		}
	case k == reflect.Float32 || k == reflect.Float64:
		s = append(s, pair{"type", "number"})
	case k == reflect.Slice || k == reflect.Array:
		item := f
		item.doc = ""
		s = append(s, pair{"type", []string{"array", "null"}}, pair{"items", schemaOf(t.Elem(), reflect.Value{}, item)})
		f.min, f.max = nil, nil
	case k == reflect.Map:
		s = append(s, pair{"type", []string{"object", "null"}}, pair{"additionalProperties", schemaOf(t.Elem(), reflect.Value{}, field{})})
	case k == reflect.Struct:
		props := object{}
		for _, inner := range fieldsOf(t) {
			var d reflect.Value
			if def.IsValid() {
				d = def.FieldByIndex(inner.index)
			}
			props = append(props, pair{inner.name, schemaOf(inner.typ, d, inner)})
		}
		return append(s, pair{"type", []string{"object", "null"}}, pair{"additionalProperties", false}, pair{"properties", props})
	case k == reflect.Interface:
		return s
	}
	if f.min != nil {
		s = append(s, pair{"minimum", *f.min})
	}
	if f.max != nil {
		s = append(s, pair{"maximum", *f.max})
	}
	if def.IsValid() && def.CanInterface() && !(nilable(def) && def.IsNil()) {
		s = append(s, pair{"default", def.Interface()})
	}
	return s
}

func nilable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.Pointer, reflect.Interface:
		return true
	}
	return false
}
