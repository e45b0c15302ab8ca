package jinja

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Values are nil (None), bool, int64, float64, string, []any, tuple, *Dict, undefined, Function, *macro, *namespace,
// *loopValue.

type tuple []any

// undefined is a name that has no value: it is empty and false, and anything else done with it is an error.
type undefined struct{ name string }

func (u undefined) err() error { return fmt.Errorf("%q is undefined", u.name) }

type macro struct {
	node  *macroNode
	scope *scope
}

type namespace struct{ vars map[string]any }

// loopValue is the variable loop.
type loopValue struct {
	items   []any
	index   int
	changed any
	called  bool
}

// Dict is a mapping that keeps its order, as Python's do.
type Dict struct {
	keys   []any
	values map[any]any // by key; keys are hashable values
}

// NewDict returns an empty mapping.
func NewDict() *Dict { return &Dict{values: map[any]any{}} }

// key returns what stands for k in a Go map: 1, 1.0 and true are one key in Python.
func key(k any) (any, error) {
	switch k := k.(type) {
	case bool:
		if k {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		if k == math.Trunc(k) && math.Abs(k) < 1<<53 {
			return int64(k), nil
		}
		return k, nil
	case nil, int64, string:
		return k, nil
	case tuple:
		return repr(k), nil
	}
	return nil, fmt.Errorf("%s cannot be a key", typeName(k))
}

// Set sets the value of a key.
func (d *Dict) Set(k, v any) error {
	h, err := key(k)
	if err != nil {
		return err
	}
	if _, ok := d.values[h]; !ok {
		d.keys = append(d.keys, k)
	}
	d.values[h] = v
	return nil
}

// Get returns the value of a key.
func (d *Dict) Get(k any) (any, bool) {
	h, err := key(k)
	if err != nil {
		return nil, false
	}
	v, ok := d.values[h]
	return v, ok
}

// Keys returns the keys in order.
func (d *Dict) Keys() []any { return d.keys }

func (d *Dict) at(k any) any { v, _ := d.Get(k); return v }

func (d *Dict) items() []any {
	out := make([]any, len(d.keys))
	for i, k := range d.keys {
		out[i] = tuple{k, d.at(k)}
	}
	return out
}

// fromGo turns Go's values into those of templates; a map's keys come in order.
func fromGo(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case int32:
		return int64(v)
	case float32:
		return float64(v)
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = fromGo(e)
		}
		return out
	case *Dict:
		d := NewDict()
		for _, k := range v.keys {
			_ = d.Set(fromGo(k), fromGo(v.at(k)))
		}
		return d
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		d := NewDict()
		for _, name := range names {
			_ = d.Set(name, fromGo(v[name]))
		}
		return d
	}
	return v
}

func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case string:
		return "a string"
	case []any:
		return "a list"
	case tuple:
		return "a tuple"
	case *Dict:
		return "a mapping"
	case undefined:
		return fmt.Sprintf("%q, which is undefined,", v.name)
	case *namespace:
		return "a namespace"
	case *loopValue:
		return "the variable loop"
	}
	return "a function"
}

func truth(v any) bool {
	switch v := v.(type) {
	case nil, undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case tuple:
		return len(v) > 0
	case *Dict:
		return len(v.keys) > 0
	}
	return true
}

// number returns a bool as the integer that it is in arithmetic.
func number(v any) any {
	if b, ok := v.(bool); ok {
		if b {
			return int64(1)
		}
		return int64(0)
	}
	return v
}

func toFloat(v any) (float64, bool) {
	switch v := number(v).(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func toInt(v any) (int, error) {
	if i, ok := number(v).(int64); ok && i >= math.MinInt32 && i <= math.MaxInt32 {
		return int(i), nil
	}
	return 0, fmt.Errorf("want an integer, got %s", typeName(v))
}

// maxText bounds the nesting of values that are written as text.
const maxText = 100

// toString is Python's str.
func toString(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case undefined:
		return ""
	}
	return repr(v)
}

// repr is Python's repr.
func repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v, 0)
	return b.String()
}

func writeRepr(b *strings.Builder, v any, depth int) {
	if depth > maxText || b.Len() > maxOutput {
		b.WriteString("...")
		return
	}
	list := func(open string, items []any, closing string) {
		b.WriteString(open)
		for i, e := range items {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, e, depth+1)
		}
		b.WriteString(closing)
	}
	switch v := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		b.WriteString(floatText(v))
	case string:
		b.WriteString(quoteText(v))
	case []any:
		list("[", v, "]")
	case tuple:
		if len(v) == 1 {
			list("(", v, ",)")
		} else {
			list("(", v, ")")
		}
	case *Dict:
		b.WriteByte('{')
		for i, k := range v.keys {
			if i > 0 {
				b.WriteString(", ")
			}
			writeRepr(b, k, depth+1)
			b.WriteString(": ")
			writeRepr(b, v.at(k), depth+1)
		}
		b.WriteByte('}')
	case undefined:
		b.WriteString("Undefined")
	default:
		b.WriteString("<" + typeName(v) + ">")
	}
}

// floatText is Python's repr of a float: the shortest digits that read back the same.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quoteText is Python's repr of a string.
func quoteText(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f || r > 0x7f && r < 0x100 && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		case r >= 0x100 && !unicode.IsPrint(r) && r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r >= 0x10000 && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

func equal(a, b any) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string:
		y, ok := b.(string)
		return ok && x == y
	case bool, int64, float64:
		if i, ok := number(x).(int64); ok {
			if j, ok := number(b).(int64); ok {
				return i == j
			}
		}
		f, _ := toFloat(a)
		g, ok := toFloat(b)
		return ok && f == g
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	case tuple:
		y, ok := b.(tuple)
		return ok && slices.EqualFunc(x, y, equal)
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for _, k := range x.keys {
			if v, ok := y.Get(k); !ok || !equal(x.at(k), v) {
				return false
			}
		}
		return true
	case Function:
		return false
	}
	if _, ok := b.(Function); ok {
		return false
	}
	return a == b
}

func compare(a, b any) (int, error) {
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return cmp.Compare(x, y), nil
		}
	}
	if i, ok := number(a).(int64); ok {
		if j, ok := number(b).(int64); ok {
			return cmp.Compare(i, j), nil
		}
	}
	if f, ok := toFloat(a); ok {
		if g, ok := toFloat(b); ok {
			return cmp.Compare(f, g), nil
		}
	}
	x, ok1 := sequence(a)
	y, ok2 := sequence(b)
	if ok1 && ok2 {
		for i := range min(len(x), len(y)) {
			if c, err := compare(x[i], y[i]); c != 0 || err != nil {
				return c, err
			}
		}
		return cmp.Compare(len(x), len(y)), nil
	}
	return 0, fmt.Errorf("%s and %s have no order", typeName(a), typeName(b))
}

// sequence returns the items of a list or tuple.
func sequence(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case tuple:
		return v, true
	}
	return nil, false
}

func contains(container, v any) (bool, error) {
	switch c := container.(type) {
	case string:
		s, ok := v.(string)
		if !ok {
			return false, fmt.Errorf("in a string: want a string, got %s", typeName(v))
		}
		return strings.Contains(c, s), nil
	case *Dict:
		_, ok := c.Get(v)
		return ok, nil
	case undefined:
		return false, nil
	}
	items, ok := sequence(container)
	if !ok {
		return false, fmt.Errorf("in: %s contains nothing", typeName(container))
	}
	return slices.ContainsFunc(items, func(e any) bool { return equal(e, v) }), nil
}

// iterate returns the items that a loop goes through.
func iterate(v any) ([]any, error) {
	switch v := v.(type) {
	case []any:
		return v, nil
	case tuple:
		return v, nil
	case *Dict:
		return v.keys, nil
	case undefined:
		return nil, nil
	case string:
		out := make([]any, 0, len(v))
		for _, r := range v {
			out = append(out, string(r))
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s cannot be gone through", typeName(v))
}

// attribute is v.name: a method or field of v, otherwise its item name.
func attribute(v any, name string) (any, error) {
	switch v := v.(type) {
	case undefined:
		return nil, v.err()
	case *namespace:
		if value, ok := v.vars[name]; ok {
			return value, nil
		}
	case *loopValue:
		if value, ok := v.field(name); ok {
			return value, nil
		}
	case *Dict:
		if m := dictMethod(v, name); m != nil {
			return m, nil
		}
		if value, ok := v.Get(name); ok {
			return value, nil
		}
	case string:
		if m := stringMethods[name]; m != nil {
			return method(m, v, name), nil
		}
	case []any:
		if m := listMethod(v, name); m != nil {
			return m, nil
		}
	case tuple:
		if m := listMethod(v, name); m != nil && name != "append" {
			return m, nil
		}
	case *macro:
		if name == "name" {
			return v.node.name, nil
		}
	}
	return undefined{name}, nil
}

// item is v[i]: an item of v, otherwise its attribute.
func item(v, i any) (any, error) {
	switch c := v.(type) {
	case undefined:
		return nil, c.err()
	case *Dict:
		if value, ok := c.Get(i); ok {
			return value, nil
		}
	case string:
		if n, ok := number(i).(int64); ok {
			r := []rune(c)
			if n < 0 {
				n += int64(len(r))
			}
			if n >= 0 && n < int64(len(r)) {
				return string(r[n]), nil
			}
			return undefined{fmt.Sprint(n)}, nil
		}
	default:
		if items, ok := sequence(v); ok {
			if n, ok := number(i).(int64); ok {
				if n < 0 {
					n += int64(len(items))
				}
				if n >= 0 && n < int64(len(items)) {
					return items[n], nil
				}
				return undefined{fmt.Sprintf("item %d", n)}, nil
			}
		}
	}
	if name, ok := i.(string); ok {
		return attribute(v, name)
	}
	return undefined{toString(i)}, nil
}

// slice is v[start:stop:step] with Python's bounds.
func slice(v any, parts [3]any) (any, error) {
	if u, ok := v.(undefined); ok {
		return nil, u.err()
	}
	var runes []rune
	items, isList := sequence(v)
	n := len(items)
	if s, ok := v.(string); ok {
		runes = []rune(s)
		n = len(runes)
	} else if !isList {
		return nil, fmt.Errorf("%s has no slices", typeName(v))
	}
	bounds := [3]int{0, n, 1}
	if parts[2] != nil {
		step, err := toInt(parts[2])
		if err != nil {
			return nil, err
		}
		if step == 0 {
			return nil, errors.New("a slice with the step 0")
		}
		bounds[2] = step
	}
	low, high := 0, n
	if bounds[2] < 0 {
		low, high = -1, n-1
		bounds[0], bounds[1] = n-1, -1
	}
	for k := range 2 {
		if parts[k] == nil {
			continue
		}
		i, err := toInt(parts[k])
		if err != nil {
			return nil, err
		}
		if i < 0 {
			i += n
		}
		bounds[k] = max(low, min(high, i))
	}
	var text []rune
	out := []any{}
	for i := bounds[0]; bounds[2] > 0 && i < bounds[1] || bounds[2] < 0 && i > bounds[1]; i += bounds[2] {
		if isList {
			out = append(out, items[i])
		} else {
			text = append(text, runes[i])
		}
	}
	if !isList {
		return string(text), nil
	}
	if _, ok := v.(tuple); ok {
		return tuple(out), nil
	}
	return out, nil
}

func (l *loopValue) field(name string) (any, bool) {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.index + 1), true
	case "index0":
		return int64(l.index), true
	case "revindex":
		return int64(n - l.index), true
	case "revindex0":
		return int64(n - l.index - 1), true
	case "first":
		return l.index == 0, true
	case "last":
		return l.index == n-1, true
	case "length":
		return int64(n), true
	case "depth":
		return int64(1), true
	case "depth0":
		return int64(0), true
	case "previtem":
		if l.index > 0 {
			return l.items[l.index-1], true
		}
		return undefined{"there is no previous item"}, true
	case "nextitem":
		if l.index+1 < n {
			return l.items[l.index+1], true
		}
		return undefined{"there is no next item"}, true
	case "cycle":
		return Function(func(args []any, _ map[string]any) (any, error) {
			if len(args) == 0 {
				return nil, errors.New("cycle: no items")
			}
			return args[l.index%len(args)], nil
		}), true
	case "changed":
		return Function(func(args []any, _ map[string]any) (any, error) {
			v := tuple(args)
			changed := !l.called || !equal(v, l.changed)
			l.called, l.changed = true, v
			return changed, nil
		}), true
	}
	return nil, false
}

// length returns how many items v has.
func length(v any) (int, error) {
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), nil
	case *Dict:
		return len(v.keys), nil
	case undefined:
		return 0, nil
	}
	if items, ok := sequence(v); ok {
		return len(items), nil
	}
	return 0, fmt.Errorf("%s has no length", typeName(v))
}
