package jinja

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

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
