package jinja

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
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

var builtinTests map[string]func(v any, a []any) (bool, error)

func plainTest(f func(v any) bool) func(any, []any) (bool, error) {
	return func(v any, a []any) (bool, error) {
		if len(a) > 0 {
			return false, errors.New("the test takes no arguments")
		}
		return f(v), nil
	}
}

func opTest(op string) func(any, []any) (bool, error) {
	return func(v any, a []any) (bool, error) {
		if len(a) != 1 {
			return false, errors.New("the test takes one argument")
		}
		return compareBy(op, v, a[0])
	}
}

func is[T any](v any) bool { _, ok := v.(T); return ok }

func init() {
	isNumber := func(v any) bool { return is[int64](v) || is[float64](v) || is[bool](v) }
	isIterable := func(v any) bool { _, err := iterate(v); return err == nil }
	integer := func(v any) int64 { i, _ := number(v).(int64); return i }
	builtinTests = map[string]func(v any, a []any) (bool, error){
		"defined":   plainTest(func(v any) bool { return !is[undefined](v) }),
		"undefined": plainTest(is[undefined]),
		"none":      plainTest(func(v any) bool { return v == nil }),
		"string":    plainTest(is[string]),
		"mapping":   plainTest(is[*Dict]),
		"boolean":   plainTest(is[bool]),
		"true":      plainTest(func(v any) bool { return v == true }),
		"false":     plainTest(func(v any) bool { return v == false }),
		"integer":   plainTest(is[int64]),
		"float":     plainTest(is[float64]),
		"number":    plainTest(isNumber),
		"iterable":  plainTest(isIterable),
		"sequence":  plainTest(isIterable),
		"callable":  plainTest(func(v any) bool { return is[Function](v) || is[*macro](v) || is[undefined](v) }),
		"odd":       plainTest(func(v any) bool { return integer(v)&1 == 1 }),
		"even":      plainTest(func(v any) bool { return isNumber(v) && integer(v)&1 == 0 }),
		"lower":     plainTest(func(v any) bool { s := toString(v); return s != strings.ToUpper(s) && s == strings.ToLower(s) }),
		"upper":     plainTest(func(v any) bool { s := toString(v); return s != strings.ToLower(s) && s == strings.ToUpper(s) }),
		"in":        opTest("in"),
		"eq":        opTest("=="), "equalto": opTest("=="), "ne": opTest("!="), "lt": opTest("<"), "lessthan": opTest("<"), "le": opTest("<="),
		"gt": opTest(">"), "greaterthan": opTest(">"), "ge": opTest(">="),
		"divisibleby": func(v any, a []any) (bool, error) {
			if len(a) != 1 {
				return false, errors.New("the test takes one argument")
			}
			m, err := arithmetic("%", v, a[0])
			return err == nil && equal(m, int64(0)), err
		},
	}
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

var builtinFilters map[string]func(v any, a *args) (any, error)

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
