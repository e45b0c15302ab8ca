package jinja

import (
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
)

// RaisedError is the error that a template itself raises with raise_exception.
type RaisedError struct{ Message string }

func (e *RaisedError) Error() string { return e.Message }

func known[V any](m map[string]V) string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

var builtinFunctions = map[string]Function{
	"raise_exception": func(list []any, kwargs map[string]any) (any, error) {
		a := &args{list: list, kwargs: kwargs}
		return nil, &RaisedError{toString(a.next("message", ""))}
	},
	"strftime_now": func(list []any, kwargs map[string]any) (any, error) {
		a := &args{list: list, kwargs: kwargs}
		return strftime(time.Now(), a.text("format", ""))
	},
	"range": func(list []any, _ map[string]any) (any, error) {
		bounds := [3]int64{0, 0, 1}
		if len(list) == 0 || len(list) > 3 {
			return nil, fmt.Errorf("range takes 1 to 3 arguments, got %d", len(list))
		}
		for i, v := range list {
			n, err := toInt(v)
			if err != nil {
				return nil, fmt.Errorf("range: %w", err)
			}
			bounds[i] = int64(n)
		}
		if len(list) == 1 {
			bounds[0], bounds[1] = 0, bounds[0]
		}
		if bounds[2] == 0 {
			return nil, errors.New("range: the step is 0")
		}
		if n := (bounds[1] - bounds[0]) / bounds[2]; n > maxRange {
			return nil, fmt.Errorf("range: more than %d items", maxRange)
		}
		out := []any{}
		for i := bounds[0]; bounds[2] > 0 && i < bounds[1] || bounds[2] < 0 && i > bounds[1]; i += bounds[2] {
			out = append(out, i)
		}
		return out, nil
	},
	"namespace": func(list []any, kwargs map[string]any) (any, error) {
		ns := &namespace{map[string]any{}}
		for _, v := range list {
			d, ok := v.(*Dict)
			if !ok {
				return nil, fmt.Errorf("namespace: want a mapping, got %s", typeName(v))
			}
			for _, k := range d.keys {
				ns.vars[toString(k)] = d.at(k)
			}
		}
		for k, v := range kwargs {
			ns.vars[k] = v
		}
		return ns, nil
	},
	"dict": dictOf(nil),
}

// dictOf is the function dict; names is the order of the named arguments.
func dictOf(names []string) Function {
	return func(list []any, kwargs map[string]any) (any, error) {
		d := NewDict()
		for _, v := range list {
			from, ok := v.(*Dict)
			if !ok {
				return nil, fmt.Errorf("dict: want a mapping, got %s", typeName(v))
			}
			for _, k := range from.keys {
				_ = d.Set(k, from.at(k))
			}
		}
		for _, k := range names {
			_ = d.Set(k, kwargs[k])
		}
		return d, nil
	}
}

// strftime writes the time in C's format.
func strftime(t time.Time, format string) (any, error) {
	layouts := map[byte]string{
		'd': "02", 'm': "01", 'Y': "2006", 'y': "06", 'b': "Jan", 'B': "January", 'a': "Mon", 'A': "Monday", 'H': "15", 'I': "03", 'M': "04",
		'S': "05", 'p': "PM", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05", 'Z': "MST", 'z': "-0700", 'e': "_2",
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		c := format[i]
		if c == '-' && i+1 < len(format) { // without leading zeros
			i++
			layout, ok := layouts[format[i]]
			if !ok {
				return nil, fmt.Errorf("strftime_now: %%-%c is not supported", format[i])
			}
			b.WriteString(strings.TrimLeft(t.Format(layout), "0"))
			continue
		}
		layout, ok := layouts[c]
		if c == '%' {
			b.WriteByte('%')
		} else if !ok {
			return nil, fmt.Errorf("strftime_now: %%%c is not supported", c)
		}
		b.WriteString(t.Format(layout))
	}
	return b.String(), nil
}
