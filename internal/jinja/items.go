package jinja

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

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
