package jinja

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

var builtinFilters map[string]func(v any, a *args) (any, error)

func init() {
	builtinFilters = map[string]func(v any, a *args) (any, error){
		"trim":   func(v any, a *args) (any, error) { return stripWith(true, true)(toString(v), a) },
		"length": func(v any, _ *args) (any, error) { n, err := length(v); return int64(n), err },
		"upper":  textFilter(strings.ToUpper), "lower": textFilter(strings.ToLower), "title": textFilter(titleCase), "capitalize": textFilter(capitalize),
		"string": textFilter(func(s string) string { return s }), "safe": textFilter(func(s string) string { return s }),
		"escape": textFilter(htmlEscape), "e": textFilter(htmlEscape),
		"tojson": toJSON, "default": defaultFilter, "d": defaultFilter, "join": joinFilter, "replace": replaceFilter,
		"first": endFilter(func([]any) int { return 0 }), "last": endFilter(func(items []any) int { return len(items) - 1 }),
		"list": func(v any, _ *args) (any, error) {
			items, err := iterate(v)
			return append([]any{}, items...), err
		},
		"int": intFilter, "float": floatFilter, "abs": absFilter, "round": roundFilter, "sum": sumFilter, "indent": indentFilter,
		"min": extreme(-1), "max": extreme(1), "sort": sortFilter, "unique": uniqueFilter, "batch": batchFilter, "dictsort": dictSort,
		"reverse": func(v any, _ *args) (any, error) {
			items, err := iterate(v)
			items = slices.Clone(items)
			slices.Reverse(items)
			if s, ok := v.(string); ok {
				r := []rune(s)
				slices.Reverse(r)
				return string(r), nil
			}
			return items, err
		},
		"items": func(v any, _ *args) (any, error) {
			switch v := v.(type) {
			case *Dict:
				return v.items(), nil
			case undefined:
				return []any{}, nil
			}
			return nil, fmt.Errorf("%s has no items", typeName(v))
		},
		"attr": func(v any, a *args) (any, error) { return attribute(v, a.text("name", "")) },
		"map":  mapFilter, "select": selectFilter(false, true), "reject": selectFilter(false, false),
		"selectattr": selectFilter(true, true), "rejectattr": selectFilter(true, false),
	}
	builtinFilters["count"] = builtinFilters["length"]
}

// applyFilter calls a filter by its name.
func applyFilter(name string, v any, list []any, kwargs map[string]any) (any, error) {
	f := builtinFilters[name]
	if f == nil {
		return nil, fmt.Errorf("the filter %q is not supported", name)
	}
	a := &args{list: list, kwargs: kwargs}
	out, err := f(v, a)
	if err == nil {
		err = a.done()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

func textFilter(f func(string) string) func(any, *args) (any, error) {
	return func(v any, _ *args) (any, error) { return f(toString(v)), nil }
}

func htmlEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

func defaultFilter(v any, a *args) (any, error) {
	otherwise := a.next("default_value", "")
	if a.flag("boolean", false) && !truth(v) || is[undefined](v) {
		return otherwise, nil
	}
	return v, nil
}

func joinFilter(v any, a *args) (any, error) {
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	sep, name := toString(a.next("d", "")), a.next("attribute", nil)
	parts := make([]string, len(items))
	for i, e := range items {
		if name != nil {
			if e, err = path(e, name); err != nil {
				return nil, err
			}
		}
		parts[i] = toString(e)
	}
	return strings.Join(parts, sep), nil
}

// path follows an attribute written a.b or an index.
func path(v, name any) (any, error) {
	s, ok := name.(string)
	if !ok {
		return item(v, name)
	}
	var err error
	for part := range strings.SplitSeq(s, ".") {
		var i any = part
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			i = n
		}
		if v, err = item(v, i); err != nil {
			return nil, err
		}
	}
	return v, err
}

func replaceFilter(v any, a *args) (any, error) {
	old, with, n := a.text("old", ""), a.text("new", ""), a.next("count", nil)
	limit := -1
	if n != nil {
		var err error
		if limit, err = toInt(n); err != nil {
			return nil, err
		}
	}
	return replaceText(toString(v), old, with, limit)
}

func endFilter(at func([]any) int) func(any, *args) (any, error) {
	return func(v any, _ *args) (any, error) {
		items, err := iterate(v)
		if err != nil || len(items) == 0 {
			return undefined{"an item of an empty list"}, err
		}
		return items[at(items)], nil
	}
}

func intFilter(v any, a *args) (any, error) {
	otherwise, base := a.next("default", int64(0)), a.number("base", 10)
	switch n := number(v).(type) {
	case int64:
		return n, nil
	case float64:
		if math.Abs(n) < 1<<62 {
			return int64(n), nil
		}
	case string:
		s := strings.TrimSpace(n)
		if i, err := strconv.ParseInt(s, base, 64); err == nil {
			return i, nil
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<62 {
			return int64(f), nil
		}
	}
	return otherwise, nil
}

func floatFilter(v any, a *args) (any, error) {
	otherwise := a.next("default", 0.0)
	if f, ok := toFloat(v); ok {
		return f, nil
	}
	if s, ok := v.(string); ok {
		if f, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil {
			return f, nil
		}
	}
	return otherwise, nil
}

func absFilter(v any, _ *args) (any, error) {
	switch n := number(v).(type) {
	case int64:
		return max(n, -n), nil
	case float64:
		return math.Abs(n), nil
	}
	return nil, fmt.Errorf("want a number, got %s", typeName(v))
}

func roundFilter(v any, a *args) (any, error) {
	digits, how := a.number("precision", 0), a.text("method", "common")
	f, ok := toFloat(v)
	if !ok {
		return nil, fmt.Errorf("want a number, got %s", typeName(v))
	}
	scale := math.Pow(10, float64(digits))
	switch how {
	case "common":
		return math.RoundToEven(f*scale) / scale, nil
	case "ceil":
		return math.Ceil(f*scale) / scale, nil
	case "floor":
		return math.Floor(f*scale) / scale, nil
	}
	return nil, fmt.Errorf("method %q, want common, ceil or floor", how)
}

func sumFilter(v any, a *args) (any, error) {
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	name, total := a.next("attribute", nil), a.next("start", int64(0))
	for _, e := range items {
		if name != nil {
			if e, err = path(e, name); err != nil {
				return nil, err
			}
		}
		if total, err = binary("+", total, e); err != nil {
			return nil, err
		}
	}
	return total, nil
}

func indentFilter(v any, a *args) (any, error) {
	width, first, blank := a.next("width", int64(4)), a.flag("first", false), a.flag("blank", false)
	prefix, ok := width.(string)
	if !ok {
		n, err := toInt(width)
		if err != nil || n < 0 || n > 1000 {
			return nil, errors.New("width: want a number up to 1000 or a string")
		}
		prefix = strings.Repeat(" ", n)
	}
	lines := strings.Split(toString(v), "\n")
	size := 0
	for i, line := range lines {
		if (i > 0 || first) && (line != "" || blank) {
			lines[i] = prefix + line
		}
		if size += len(lines[i]) + 1; size > maxOutput {
			return nil, fmt.Errorf("a string of more than %d bytes", maxOutput)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// sortKey is what a filter orders by: the item or its attribute, without regard to case unless asked.
func sortKey(v, name any, caseSensitive bool) (any, error) {
	if name != nil {
		var err error
		if v, err = path(v, name); err != nil {
			return nil, err
		}
	}
	if s, ok := v.(string); ok && !caseSensitive {
		return strings.ToLower(s), nil
	}
	return v, nil
}

// ordered sorts by keys; an error of comparing is returned.
func ordered(items, keys []any, reverse bool) ([]any, error) {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	var failed error
	sort.SliceStable(order, func(i, j int) bool {
		c, err := compare(keys[order[i]], keys[order[j]])
		if err != nil {
			failed = err
		}
		if reverse {
			return c > 0
		}
		return c < 0
	})
	out := make([]any, len(items))
	for i, k := range order {
		out[i] = items[k]
	}
	return out, failed
}

func sortFilter(v any, a *args) (any, error) {
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	reverse, caseSensitive, name := a.flag("reverse", false), a.flag("case_sensitive", false), a.next("attribute", nil)
	keys := make([]any, len(items))
	for i, e := range items {
		if keys[i], err = sortKey(e, name, caseSensitive); err != nil {
			return nil, err
		}
	}
	return ordered(items, keys, reverse)
}

func dictSort(v any, a *args) (any, error) {
	d, ok := v.(*Dict)
	if !ok {
		return nil, fmt.Errorf("want a mapping, got %s", typeName(v))
	}
	caseSensitive, by, reverse := a.flag("case_sensitive", false), a.text("by", "key"), a.flag("reverse", false)
	keys := make([]any, len(d.keys))
	for i, k := range d.keys {
		if by == "value" {
			k = d.at(k)
		}
		keys[i], _ = sortKey(k, nil, caseSensitive)
	}
	return ordered(d.items(), keys, reverse)
}

func extreme(sign int) func(any, *args) (any, error) {
	return func(v any, a *args) (any, error) {
		items, err := iterate(v)
		if err != nil || len(items) == 0 {
			return undefined{"an item of an empty list"}, err
		}
		caseSensitive, name := a.flag("case_sensitive", false), a.next("attribute", nil)
		best := items[0]
		bestKey, err := sortKey(best, name, caseSensitive)
		for _, e := range items[1:] {
			if err != nil {
				break
			}
			var k any
			if k, err = sortKey(e, name, caseSensitive); err != nil {
				break
			}
			var c int
			if c, err = compare(k, bestKey); c*sign > 0 {
				best, bestKey = e, k
			}
		}
		return best, err
	}
}

func uniqueFilter(v any, a *args) (any, error) {
	items, err := iterate(v)
	if err != nil {
		return nil, err
	}
	caseSensitive, name := a.flag("case_sensitive", false), a.next("attribute", nil)
	out, keys := []any{}, []any{}
	for _, e := range items {
		k, err := sortKey(e, name, caseSensitive)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(keys, func(other any) bool { return equal(k, other) }) {
			out, keys = append(out, e), append(keys, k)
		}
	}
	return out, nil
}

func batchFilter(v any, a *args) (any, error) {
	items, err := iterate(v)
	n, fill := a.number("linecount", 0), a.next("fill_with", nil)
	if err != nil || n < 1 || n > maxRange {
		return nil, errors.Join(err, errors.New("want a positive number"))
	}
	out := []any{}
	for len(items) > 0 {
		k := min(n, len(items))
		part := slices.Clone(items[:k])
		for fill != nil && len(part) < n {
			part = append(part, fill)
		}
		out, items = append(out, part), items[k:]
	}
	return out, nil
}

// iterateTrue returns the items of v, none if it is false in any way.
func iterateTrue(v any) ([]any, error) {
	if !truth(v) {
		return nil, nil
	}
	return iterate(v)
}

// mapFilter is map(attribute=...) and map("filter", ...).
func mapFilter(v any, a *args) (any, error) {
	items, err := iterateTrue(v)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(items))
	if len(a.list) == 0 {
		name, otherwise := a.next("attribute", nil), a.next("default", nil)
		if name == nil {
			return nil, errors.New("want a filter or an attribute")
		}
		for i, e := range items {
			if out[i], err = path(e, name); err != nil {
				return nil, err
			}
			if is[undefined](out[i]) && otherwise != nil {
				out[i] = otherwise
			}
		}
		return out, nil
	}
	name := a.text("filter", "")
	rest := a.list
	for i, e := range items {
		if out[i], err = applyFilter(name, e, rest, a.kwargs); err != nil {
			return nil, err
		}
	}
	a.list, a.kwargs = nil, nil
	return out, nil
}

// selectFilter keeps the items, or those with an attribute, that a test holds for, or does not.
func selectFilter(byAttribute, keep bool) func(any, *args) (any, error) {
	return func(v any, a *args) (any, error) {
		items, err := iterateTrue(v)
		if err != nil {
			return nil, err
		}
		var name any
		if byAttribute {
			if name = a.next("attr", nil); name == nil {
				return nil, errors.New("want the name of an attribute")
			}
		}
		test := func(v any) (bool, error) { return truth(v), nil }
		if len(a.list) > 0 {
			word := a.text("test", "")
			f, ok := builtinTests[word]
			if !ok {
				return nil, fmt.Errorf("the test %q is not supported", word)
			}
			rest := a.list
			a.list = nil
			test = func(v any) (bool, error) { return f(v, rest) }
		}
		out := []any{}
		for _, e := range items {
			of := e
			if byAttribute {
				if of, err = path(e, name); err != nil {
					return nil, err
				}
			}
			ok, err := test(of)
			if err != nil {
				return nil, err
			}
			if ok == keep {
				out = append(out, e)
			}
		}
		return out, nil
	}
}
