package jinja

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// toJSON is json.dumps with ensure_ascii off, as transformers has it.
func toJSON(v any, a *args) (any, error) {
	ascii, indent, separators, sortKeys := a.flag("ensure_ascii", false), a.next("indent", nil), a.next("separators", nil), a.flag("sort_keys", false)
	w := jsonWriter{ascii: ascii, sortKeys: sortKeys, comma: ", ", colon: ": "}
	switch n := indent.(type) {
	case nil:
	case string:
		w.indent, w.lines, w.comma = n, true, ","
	default:
		k, err := toInt(n)
		if err != nil || k > 100 {
			return nil, errors.New("indent: want a number up to 100 or a string")
		}
		w.indent, w.lines, w.comma = strings.Repeat(" ", max(k, 0)), true, ","
	}
	if separators != nil {
		s, ok := sequence(separators)
		if !ok || len(s) != 2 {
			return nil, errors.New("separators: want two")
		}
		w.comma, w.colon = toString(s[0]), toString(s[1])
	}
	err := w.write(v, 0)
	return w.b.String(), err
}

type jsonWriter struct {
	b                      strings.Builder
	ascii, sortKeys, lines bool
	indent, comma, colon   string
}

func (w *jsonWriter) newline(depth int) {
	if w.lines {
		w.b.WriteByte('\n')
		for range depth {
			w.b.WriteString(w.indent)
		}
	}
}

func (w *jsonWriter) write(v any, depth int) error {
	if depth > maxText || w.b.Len() > maxOutput {
		return errors.New("the value is too large or nested too deep")
	}
	if items, ok := sequence(v); ok {
		return w.group("[", "]", len(items), depth, func(i int) error { return w.write(items[i], depth+1) })
	}
	switch v := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(v))
	case int64:
		w.b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		switch {
		case math.IsNaN(v):
			w.b.WriteString("NaN")
		case math.IsInf(v, 0):
			w.b.WriteString(strings.ReplaceAll(floatText(v), "inf", "Infinity"))
		default:
			w.b.WriteString(floatText(v))
		}
	case string:
		w.text(v)
	case *Dict:
		keys := slices.Clone(v.keys)
		if w.sortKeys {
			var err error
			if keys, err = ordered(keys, keys, false); err != nil {
				return err
			}
		}
		return w.group("{", "}", len(keys), depth, func(i int) error {
			switch k := keys[i].(type) {
			case string:
				w.text(k)
			case nil:
				w.b.WriteString(`"null"`)
			case bool:
				w.b.WriteString(strconv.Quote(strconv.FormatBool(k)))
			default:
				w.b.WriteString(`"` + toString(k) + `"`)
			}
			w.b.WriteString(w.colon)
			return w.write(v.at(keys[i]), depth+1)
		})
	default:
		return fmt.Errorf("%s has no JSON", typeName(v))
	}
	return nil
}

func (w *jsonWriter) group(open, closing string, n, depth int, item func(i int) error) error {
	w.b.WriteString(open)
	for i := range n {
		if i > 0 {
			w.b.WriteString(w.comma)
		}
		w.newline(depth + 1)
		if err := item(i); err != nil {
			return err
		}
	}
	if n > 0 {
		w.newline(depth)
	}
	w.b.WriteString(closing)
	return nil
}

func (w *jsonWriter) text(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b.WriteByte('\\')
			w.b.WriteRune(r)
		case r == '\n':
			w.b.WriteString(`\n`)
		case r == '\r':
			w.b.WriteString(`\r`)
		case r == '\t':
			w.b.WriteString(`\t`)
		case r == '\b':
			w.b.WriteString(`\b`)
		case r == '\f':
			w.b.WriteString(`\f`)
		case r < ' ' || w.ascii && r > 0x7e && r < 0x10000:
			fmt.Fprintf(&w.b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}
