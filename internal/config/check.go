package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// checker compares a document with a type and collects every mistake.
type checker struct {
	doc  *Document
	errs Errors
	seen map[visit]bool // aliases may share nodes, or form a cycle
}

type visit struct {
	node *yaml.Node
	typ  reflect.Type
}

func (c *checker) bad(n *yaml.Node, path, format string, args ...any) {
	c.errs = append(c.errs, c.doc.errorAt(n.Line, n.Column, path, fmt.Errorf(format, args...)))
}

// check compares the value n of the key path with type t; f holds the tags that bound it.
func (c *checker) check(n *yaml.Node, t reflect.Type, path string, f field) {
	if n == nil {
		return
	}
	n = target(n)
	for t.Kind() == reflect.Pointer {
		if isNull(n) {
			return
		}
		t = t.Elem()
	}
	if n.Kind != yaml.ScalarNode {
		if v := (visit{n, t}); c.seen[v] {
			return
		} else {
			c.seen[v] = true
		}
	}
	if u, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok {
		if n.Kind != yaml.ScalarNode || isNull(n) {
			c.bad(n, path, "want a value, found %s", describe(n))
		} else if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			c.bad(n, path, "%w", err)
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		c.checkStruct(n, t, path)
	case reflect.Map:
		if isNull(n) {
			return
		}
		if n.Kind != yaml.MappingNode {
			c.bad(n, path, "want a block of keys, found %s", describe(n))
			return
		}
		c.duplicates(n, path)
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i]; !isMerge(key) {
				c.check(n.Content[i+1], t.Elem(), join(path, key.Value), field{})
			}
		}
	case reflect.Slice, reflect.Array:
		c.checkList(n, t, path, f)
	case reflect.Interface:
		c.checkAny(n, path)
	default:
		c.checkScalar(n, t, path, f)
	}
}

func (c *checker) checkStruct(n *yaml.Node, t reflect.Type, path string) {
	if isNull(n) {
		return // an empty block sets nothing
	}
	if n.Kind != yaml.MappingNode {
		c.bad(n, path, "want a block of keys, found %s", describe(n))
		return
	}
	fields := fieldsOf(t)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	c.duplicates(n, path)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			from := target(value)
			if from.Kind == yaml.SequenceNode {
				for _, s := range from.Content {
					c.check(s, t, path, field{})
				}
			} else {
				c.check(from, t, path, field{})
			}
			continue
		}
		k := slices.Index(names, key.Value)
		switch {
		case key.Kind == yaml.ScalarNode && k >= 0:
			c.check(value, fields[k].typ, join(path, key.Value), fields[k])
		case key.Kind != yaml.ScalarNode:
			c.bad(key, path, "want a key, found %s", describe(key))
		case path == "" && isExtension(key.Value):
			c.checkAny(value, key.Value)
		default:
			hint := Suggest(key.Value, names)
			if hint == "" {
				hint = "; known: " + strings.Join(names, ", ")
			}
			c.bad(key, path, "unknown key %q%s", key.Value, hint)
		}
	}
}

func (c *checker) duplicates(n *yaml.Node, path string) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			continue
		}
		if line, ok := lines[key.Value]; ok {
			c.bad(key, path, "key %q is already set on line %d", key.Value, line)
			continue
		}
		lines[key.Value] = key.Line
	}
}

func (c *checker) checkList(n *yaml.Node, t reflect.Type, path string, f field) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		if n.Kind == yaml.ScalarNode {
			c.bad(n, path, "want a list, found %s; write [%s]", describe(n), n.Value)
		} else {
			c.bad(n, path, "want a list, found %s", describe(n))
		}
		return
	}
	if t.Kind() == reflect.Array && len(n.Content) != t.Len() {
		c.bad(n, path, "want a list of %d, found %d", t.Len(), len(n.Content))
	}
	for i, item := range n.Content {
		c.check(item, t.Elem(), fmt.Sprintf("%s[%d]", path, i), f)
	}
}

// checkAny looks for keys set twice in values that may be anything.
func (c *checker) checkAny(n *yaml.Node, path string) {
	n = target(n)
	v := visit{n, nil}
	if c.seen[v] {
		return
	}
	c.seen[v] = true
	if n.Kind == yaml.MappingNode {
		c.duplicates(n, path)
	}
	for _, item := range n.Content {
		c.checkAny(item, path)
	}
}

var leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

func (c *checker) checkScalar(n *yaml.Node, t reflect.Type, path string, f field) {
	fail := func(want string) { c.bad(n, path, "want %s, found %s", want, describe(n)) }
	scalar := n.Kind == yaml.ScalarNode && !isNull(n)
	tag := n.ShortTag()
	switch k := t.Kind(); {
	case t == durationType:
		if scalar {
			if _, err := time.ParseDuration(n.Value); err == nil {
				return
			}
		}
		fail("a duration such as 30s or 5m")
	case k == reflect.String:
		switch {
		case !scalar:
			fail("text")
		case tag == "!!int" || tag == "!!float" || tag == "!!bool":
			c.bad(n, path, "want text, found %s; put it in quotes if it is meant: %q", describe(n), n.Value)
		case f.enum != nil && !slices.Contains(f.enum, n.Value):
			c.bad(n, path, "want one of %s, found %q%s", strings.Join(f.enum, ", "), n.Value, Suggest(n.Value, f.enum))
		}
	case k == reflect.Bool:
		if !scalar || tag != "!!bool" && !slices.Contains(oldBools, strings.ToLower(n.Value)) || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
			fail("true or false")
		}
	case k >= reflect.Int && k <= reflect.Uintptr:
		if !scalar || tag != "!!int" && tag != "!!float" {
			fail("a whole number")
			return
		}
		if leadingZero.MatchString(n.Value) {
			c.bad(n, path, "%s starts with 0, which YAML reads as octal; write it without", n.Value)
			return
		}
		x, err := parseFloat(n.Value)
		if err != nil && !errors.Is(err, strconv.ErrRange) || x != math.Trunc(x) {
			fail("a whole number")
			return
		}
		lo, hi := intRange(t)
		fits := math.Abs(x) < 1e20 // so that the exact value is short
		if fits {
			v, ok := new(big.Float).SetPrec(200).SetString(strings.ReplaceAll(n.Value, "_", ""))
			if !ok || !v.IsInt() {
				fail("a whole number")
				return
			}
			whole, _ := v.Int(nil)
			fits = whole.Cmp(lo) >= 0 && whole.Cmp(hi) <= 0
		}
		if !fits {
			c.bad(n, path, "want a whole number from %v to %v, found %.40s", lo, hi, n.Value)
			return
		}
		c.checkBounds(n, path, f, x)
	case k == reflect.Float32 || k == reflect.Float64:
		if !scalar || tag != "!!int" && tag != "!!float" {
			fail("a number")
			return
		}
		x, err := parseFloat(n.Value)
		if err != nil {
			fail("a number")
			return
		}
		if k == reflect.Float32 && !math.IsInf(x, 0) && math.Abs(x) > math.MaxFloat32 {
			fail("a number that fits 32 bits")
			return
		}
		c.checkBounds(n, path, f, x)
	default:
		panic(fmt.Sprintf("config: %s: settings of type %v are not supported", path, t))
	}
}

// oldBools are the YAML 1.1 words that the library accepts where a bool is wanted.
var oldBools = []string{"yes", "no", "on", "off", "y", "n"}

func parseFloat(s string) (float64, error) {
	switch strings.ToLower(strings.TrimLeft(s, "+-")) {
	case ".inf":
		if s[0] == '-' {
			return math.Inf(-1), nil
		}
		return math.Inf(1), nil
	case ".nan":
		return math.NaN(), nil
	}
	s = strings.ReplaceAll(s, "_", "")
	if i, err := strconv.ParseInt(s, 0, 64); err == nil {
		return float64(i), nil
	}
	return strconv.ParseFloat(s, 64)
}

func (c *checker) checkBounds(n *yaml.Node, path string, f field, x float64) {
	switch {
	case f.min != nil && f.max != nil && !(x >= *f.min && x <= *f.max):
		c.bad(n, path, "want a number from %v to %v, found %s", *f.min, *f.max, n.Value)
	case f.min != nil && !(x >= *f.min):
		c.bad(n, path, "want at least %v, found %s", *f.min, n.Value)
	case f.max != nil && !(x <= *f.max):
		c.bad(n, path, "want at most %v, found %s", *f.max, n.Value)
	}
}

func intRange(t reflect.Type) (lo, hi *big.Int) {
	bits := uint(t.Bits())
	one := big.NewInt(1)
	if t.Kind() >= reflect.Uint {
		return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	}
	half := new(big.Int).Lsh(one, bits-1)
	return new(big.Int).Neg(half), new(big.Int).Sub(half, one)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// describe says what a value is.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a block of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	}
	return fmt.Sprintf("the text %q", n.Value)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
