package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// method binds a method of strings to its string.
func method(f func(s string, a *args) (any, error), s, name string) Function {
	return func(list []any, kwargs map[string]any) (any, error) {
		a := &args{list: list, kwargs: kwargs}
		v, err := f(s, a)
		if err == nil {
			err = a.done()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return v, nil
	}
}

// args hands out the arguments of a call one by one; a mistake is remembered.
type args struct {
	list   []any
	kwargs map[string]any
	used   int
	err    error
}

// next returns the next argument, by place or name, or otherwise.
func (a *args) next(name string, otherwise any) any {
	if len(a.list) > 0 {
		v := a.list[0]
		a.list = a.list[1:]
		return v
	}
	if v, ok := a.kwargs[name]; ok {
		a.used++
		return v
	}
	return otherwise
}

func (a *args) text(name, otherwise string) string {
	v := a.next(name, otherwise)
	s, ok := v.(string)
	if !ok && a.err == nil {
		a.err = fmt.Errorf("%s: want a string, got %s", name, typeName(v))
	}
	return s
}

func (a *args) number(name string, otherwise int) int {
	n, err := toInt(a.next(name, int64(otherwise)))
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("%s: %w", name, err)
	}
	return n
}

func (a *args) flag(name string, otherwise bool) bool { return truth(a.next(name, otherwise)) }

func (a *args) done() error {
	switch {
	case a.err != nil:
		return a.err
	case len(a.list) > 0:
		return errors.New("too many arguments")
	case a.used < len(a.kwargs):
		return fmt.Errorf("an argument it does not know, among %s", known(a.kwargs))
	}
	return nil
}

// stripWith trims white space, or the characters of the argument.
func stripWith(left, right bool) func(string, *args) (any, error) {
	return func(s string, a *args) (any, error) {
		cut := isPythonSpace
		if v := a.next("chars", nil); v != nil {
			set, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("want a string, got %s", typeName(v))
			}
			cut = func(r rune) bool { return strings.ContainsRune(set, r) }
		}
		if left {
			s = strings.TrimLeftFunc(s, cut)
		}
		if right {
			s = strings.TrimRightFunc(s, cut)
		}
		return s, nil
	}
}

// isPythonSpace is str.isspace: Go's and the separators U+001C to U+001F.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// affix calls f with each of the strings that the argument has, one or a tuple.
func affix(f func(s, part string) bool) func(string, *args) (any, error) {
	return func(s string, a *args) (any, error) {
		v := a.next("prefix", nil)
		parts, ok := v.(tuple)
		if !ok {
			parts = tuple{v}
		}
		for _, p := range parts {
			text, ok := p.(string)
			if !ok {
				return nil, fmt.Errorf("want a string, got %s", typeName(p))
			}
			if f(s, text) {
				return true, nil
			}
		}
		return false, nil
	}
}

// find returns where the argument is first or last in s, counted in characters.
func find(index func(s, part string) int, missing bool) func(string, *args) (any, error) {
	return func(s string, a *args) (any, error) {
		i := index(s, a.text("sub", ""))
		if i < 0 {
			if missing {
				return nil, errors.New("substring not found")
			}
			return int64(-1), nil
		}
		return int64(utf8.RuneCountInString(s[:i])), nil
	}
}

// all reports whether s has characters and all are of a kind.
func all(is func(rune) bool) func(string, *args) (any, error) {
	return func(s string, _ *args) (any, error) {
		return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0, nil
	}
}

var stringMethods = map[string]func(s string, a *args) (any, error){
	"strip": stripWith(true, true), "lstrip": stripWith(true, false), "rstrip": stripWith(false, true),
	"upper":      func(s string, _ *args) (any, error) { return strings.ToUpper(s), nil },
	"lower":      func(s string, _ *args) (any, error) { return strings.ToLower(s), nil },
	"title":      func(s string, _ *args) (any, error) { return titleCase(s), nil },
	"capitalize": func(s string, _ *args) (any, error) { return capitalize(s), nil },
	"startswith": affix(strings.HasPrefix), "endswith": affix(strings.HasSuffix),
	"find": find(strings.Index, false), "rfind": find(strings.LastIndex, false), "index": find(strings.Index, true),
	"isdigit": all(unicode.IsDigit), "isalpha": all(unicode.IsLetter), "isspace": all(isPythonSpace),
	"isalnum":      all(func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }),
	"isupper":      func(s string, _ *args) (any, error) { return s != strings.ToLower(s) && s == strings.ToUpper(s), nil },
	"islower":      func(s string, _ *args) (any, error) { return s != strings.ToUpper(s) && s == strings.ToLower(s), nil },
	"count":        func(s string, a *args) (any, error) { return int64(strings.Count(s, a.text("sub", ""))), nil },
	"removeprefix": func(s string, a *args) (any, error) { return strings.TrimPrefix(s, a.text("prefix", "")), nil },
	"removesuffix": func(s string, a *args) (any, error) { return strings.TrimSuffix(s, a.text("suffix", "")), nil },
	"replace": func(s string, a *args) (any, error) {
		old, with, n := a.text("old", ""), a.text("new", ""), a.number("count", -1)
		return replaceText(s, old, with, n)
	},
	"split": splitText(false), "rsplit": splitText(true),
	"splitlines": func(s string, _ *args) (any, error) {
		out := []any{}
		for s != "" {
			line, rest, found := strings.Cut(s, "\n")
			out = append(out, strings.TrimSuffix(line, "\r"))
			if s = rest; !found {
				break
			}
		}
		return out, nil
	},
	"join": func(s string, a *args) (any, error) {
		items, err := iterate(a.next("iterable", nil))
		if err != nil {
			return nil, err
		}
		parts := make([]string, len(items))
		for i, v := range items {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("item %d: want a string, got %s", i, typeName(v))
			}
			parts[i] = text
		}
		return strings.Join(parts, s), nil
	},
}

func replaceText(s, old, with string, n int) (any, error) {
	count := strings.Count(s, old)
	if n >= 0 {
		count = min(count, n)
	}
	if count > 0 && len(with) > len(old) && len(with)-len(old) > (maxOutput-len(s))/count {
		return nil, fmt.Errorf("a string of more than %d bytes", maxOutput)
	}
	return strings.Replace(s, old, with, n), nil
}

// splitText is str.split and str.rsplit.
func splitText(fromRight bool) func(string, *args) (any, error) {
	return func(s string, a *args) (any, error) {
		v, limit := a.next("sep", nil), a.number("maxsplit", -1)
		var parts []string
		if v == nil {
			if limit >= 0 {
				return nil, errors.New("maxsplit without a separator is not supported")
			}
			parts = strings.FieldsFunc(s, isPythonSpace)
		} else {
			sep, ok := v.(string)
			if !ok || sep == "" {
				return nil, fmt.Errorf("want a separator that is not empty, got %s", typeName(v))
			}
			parts = strings.Split(s, sep)
			if extra := len(parts) - 1 - limit; limit >= 0 && extra > 0 {
				if fromRight {
					parts = append([]string{strings.Join(parts[:extra+1], sep)}, parts[extra+1:]...)
				} else {
					parts = append(parts[:limit:limit], strings.Join(parts[limit:], sep))
				}
			}
		}
		out := make([]any, len(parts))
		for i, p := range parts {
			out[i] = p
		}
		return out, nil
	}
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + strings.ToLower(s[n:])
}

// titleCase is str.title: a letter that follows none is upper case.
func titleCase(s string) string {
	var b strings.Builder
	after := false
	for _, r := range s {
		if after {
			b.WriteRune(unicode.ToLower(r))
		} else {
			b.WriteRune(unicode.ToTitle(r))
		}
		after = unicode.IsLetter(r)
	}
	return b.String()
}

func dictMethod(d *Dict, name string) Function {
	switch name {
	case "items":
		return func([]any, map[string]any) (any, error) { return d.items(), nil }
	case "keys":
		return func([]any, map[string]any) (any, error) { return append([]any{}, d.keys...), nil }
	case "values":
		return func([]any, map[string]any) (any, error) {
			out := make([]any, len(d.keys))
			for i, k := range d.keys {
				out[i] = d.at(k)
			}
			return out, nil
		}
	case "copy":
		return func([]any, map[string]any) (any, error) { return fromGo(d), nil }
	case "get":
		return func(list []any, kwargs map[string]any) (any, error) {
			a := &args{list: list, kwargs: kwargs}
			k, otherwise := a.next("key", nil), a.next("default", nil)
			if v, ok := d.Get(k); ok {
				otherwise = v
			}
			return otherwise, a.done()
		}
	case "update", "pop", "clear", "setdefault", "popitem":
		return func([]any, map[string]any) (any, error) {
			return nil, fmt.Errorf("%s: values cannot be changed in a template", name)
		}
	}
	return nil
}

func listMethod(items []any, name string) Function {
	switch name {
	case "index":
		return func(list []any, kwargs map[string]any) (any, error) {
			a := &args{list: list, kwargs: kwargs}
			v := a.next("value", nil)
			for i, e := range items {
				if equal(e, v) {
					return int64(i), a.done()
				}
			}
			return nil, errors.New("index: the value is not in the list")
		}
	case "count":
		return func(list []any, kwargs map[string]any) (any, error) {
			a := &args{list: list, kwargs: kwargs}
			v, n := a.next("value", nil), int64(0)
			for _, e := range items {
				if equal(e, v) {
					n++
				}
			}
			return n, a.done()
		}
	case "append", "extend", "insert", "pop", "remove", "reverse", "sort", "clear":
		return func([]any, map[string]any) (any, error) {
			return nil, fmt.Errorf("%s: values cannot be changed in a template", name)
		}
	case "copy":
		return func([]any, map[string]any) (any, error) { return append([]any{}, items...), nil }
	}
	return nil
}
