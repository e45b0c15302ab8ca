package gguf

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/codec/gguf"
)

// fields is a configuration on its way from config.json to metadata or back: each of its methods names a value in both and carries
// it over in the direction that the fields have. Errors stick.
type fields struct {
	writing bool
	arch    string
	config  map[string]any
	header  *gguf.Header // read
	pairs   []gguf.Pair  // written
	errs    []error
	notes   []string                 // what a file that is written does not say
	has     func(tensor string) bool // tensors of the GGUF file that is read
	alike   func(a, b string) bool   // whether two of them have the same type and shape
}

func (f *fields) fail(format string, a ...any) { f.errs = append(f.errs, fmt.Errorf(format, a...)) }

func (f *fields) put(key string, v any) {
	f.pairs = append(f.pairs, gguf.Pair{Key: f.arch + "." + key, Value: v})
}

// number returns a number of the configuration.
func (f *fields) number(key string) (float64, bool) {
	switch v := f.config[key].(type) {
	case nil:
		return 0, false
	case json.Number:
		x, err := v.Float64()
		if err != nil {
			f.fail("config: %s: want a number, found %v", key, v)
		}
		return x, true
	case float64:
		return v, true
	case int:
		return float64(v), true
	default:
		f.fail("config: %s: want a number, found %v", key, v)
		return 0, true
	}
}

// size carries a whole number over. It must be there, unless there is a default, which is not negative.
func (f *fields) size(field, key string, def int) int {
	n, there := def, false
	if f.writing {
		v, ok := f.number(field)
		if ok {
			if v != math.Trunc(v) || v < 0 || v > math.MaxUint32 {
				f.fail("config: %s: want a whole number, found %v", field, v)
				v = 0
			}
			n, there = int(v), true
		}
	} else {
		v, ok, err := f.header.Int(f.arch + "." + key)
		if err != nil {
			f.fail("metadata: %w", err)
		}
		if ok {
			n, there = v, true
		}
	}
	switch {
	case n < 0:
		f.fail("%s (%s.%s) is missing", field, f.arch, key)
		return 1
	case f.writing:
		f.put(key, uint32(n))
	case there || def > 0:
		f.config[field] = n
	}
	return n
}

// float carries a number over; NaN as default means that it must be there.
func (f *fields) float(field, key string, def float64) float64 {
	x := def
	if f.writing {
		if v, ok := f.number(field); ok {
			x = v
		}
	} else {
		v, ok, err := f.header.Float(f.arch + "." + key)
		if err != nil {
			f.fail("metadata: %w", err)
		}
		if ok {
			x = shortest(v)
		}
	}
	switch {
	case math.IsNaN(x):
		f.fail("%s (%s.%s) is missing", field, f.arch, key)
	case f.writing:
		f.put(key, float32(x))
	default:
		f.config[field] = x
	}
	return x
}

// shortest turns a float32 into the shortest number that it is the nearest to: 1e-5, not 9.99999974e-06.
func shortest(v float64) float64 {
	var out float64
	if _, err := fmt.Sscan(fmt.Sprint(float32(v)), &out); err != nil {
		return v
	}
	return out
}

// optional carries a number over where it is there.
func (f *fields) optional(field, key string) {
	if f.writing {
		if v, ok := f.number(field); ok {
			f.put(key, float32(v))
		}
		return
	}
	if v, ok, err := f.header.Float(f.arch + "." + key); err != nil {
		f.fail("metadata: %w", err)
	} else if ok {
		f.config[field] = shortest(v)
	}
}

// set gives the configuration that is read a value.
func (f *fields) set(field string, v any) {
	if !f.writing {
		f.config[field] = v
	}
}

// text is a string of the configuration that is written, def where it is absent.
func (f *fields) text(field, def string) string {
	if s, ok := f.config[field].(string); ok {
		return s
	}
	return def
}

// flag is a truth value of the configuration that is written.
func (f *fields) flag(field string, def bool) bool {
	if b, ok := f.config[field].(bool); ok {
		return b
	}
	return def
}

// only refuses to write a configuration in which a field has another value, which llama.cpp would not know of.
func (f *fields) only(field string, accepted ...any) {
	v := f.config[field]
	if !f.writing || v == nil {
		return
	}
	for _, a := range accepted {
		if fmt.Sprint(v) == fmt.Sprint(a) || equalNumbers(v, a) {
			return
		}
	}
	if len(accepted) == 0 {
		accepted = []any{"null"}
	}
	f.fail("config: %s is %v, which GGUF's %s cannot say; it can: %v", field, v, f.arch, accepted)
}

// equalNumbers reports whether two values are the same number, however written.
func equalNumbers(a, b any) bool {
	f := &fields{config: map[string]any{"a": a, "b": b}}
	x, okX := f.number("a")
	y, okY := f.number("b")
	return len(f.errs) == 0 && okX && okY && x == y
}
