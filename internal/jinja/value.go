package jinja

import (
	"fmt"
	"math"
	"sort"
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
