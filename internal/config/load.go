package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Document is a parsed file that remembers where each value stands.
type Document struct {
	name  string
	lines []string
	root  *yaml.Node // nil if the file is empty
}

// Load reads a file into the struct that out points to. Keys that the file lacks keep the value that they have. The error, if
// it is about the contents, is an [Errors]. The document is there whenever the file could be read as YAML.
func Load(path string, out any) (*Document, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, src, out)
}

// Parse is [Load] for text in memory; name stands for the file in messages. If there is an error, out is unchanged.
func Parse(name string, src []byte, out any) (*Document, error) {
	v := reflect.ValueOf(out)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("config: want a pointer to a struct, got %T", out)
	}
	src = bytes.TrimPrefix(src, []byte("\ufeff"))
	d := &Document{name: name, lines: strings.Split(string(src), "\n")}
	var docs []yaml.Node
	if err := yaml.Load(src, &docs, yaml.WithAllDocuments()); err != nil {
		return nil, d.fromYAML(err)
	}
	if len(docs) == 0 {
		return d, nil
	}
	if len(docs[0].Content) > 0 {
		d.root = docs[0].Content[0]
	}
	c := &checker{doc: d, seen: map[visit]bool{}}
	c.check(d.root, v.Elem().Type(), "", field{})
	if len(docs) > 1 {
		line, column := docs[1].Line, 1
		for i := line - 1; i >= 0 && i < len(d.lines); i-- { // the marker above the document
			if strings.HasPrefix(d.lines[i], "---") {
				line = i + 1
				break
			}
		}
		c.errs = append(c.errs, d.errorAt(line, column, "", errors.New("a second document starts here; want one per file")))
	}
	if len(c.errs) > 0 {
		return d, c.errs.sorted()
	}
	return d, d.decode(v)
}

// decode fills the struct, all or nothing.
func (d *Document) decode(out reflect.Value) error {
	if d.root == nil {
		return nil
	}
	fresh := reflect.New(out.Elem().Type())
	fresh.Elem().Set(deepCopy(out.Elem()))
	root := *d.root
	if root.Kind == yaml.MappingNode {
		root.Content = nil
		for i := 0; i+1 < len(d.root.Content); i += 2 {
			if !isExtension(d.root.Content[i].Value) {
				root.Content = append(root.Content, d.root.Content[i], d.root.Content[i+1])
			}
		}
	}
	if err := root.Decode(fresh.Interface()); err != nil {
		return d.fromYAML(err)
	}
	out.Elem().Set(fresh.Elem())
	return nil
}

// deepCopy copies what decoding might write into: the elements of maps and pointers.
func deepCopy(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Struct:
		out := reflect.New(v.Type()).Elem()
		out.Set(v)
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				out.Field(i).Set(deepCopy(v.Field(i)))
			}
		}
		return out
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		out.Elem().Set(deepCopy(v.Elem()))
		return out
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeMap(v.Type())
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), deepCopy(it.Value()))
		}
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			out.Index(i).Set(deepCopy(v.Index(i)))
		}
		return out
	}
	return v
}

// isExtension reports whether a top-level key is left to the user, for anchors and notes of other programs.
func isExtension(key string) bool { return strings.HasPrefix(key, "x-") }

// fromYAML turns the library's errors into ours.
func (d *Document) fromYAML(err error) error {
	var many *yaml.LoadErrors
	var errs Errors
	if errors.As(err, &many) {
		for _, e := range many.Errors {
			errs = append(errs, d.fromLoadError(e))
		}
		return errs.sorted()
	}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		return Errors{d.fromLoadError(one)}
	}
	return Errors{d.errorAt(0, 0, "", err)}
}

func (d *Document) fromLoadError(e *yaml.LoadError) *Error {
	msg := strings.TrimPrefix(e.Message, "yaml: ")
	line, column := e.Mark.Line, e.Mark.Column
	// An unclosed quote or bracket is found at the end of the file; where it opened helps more.
	if strings.Contains(msg, "unexpected end of stream") && e.ContextMark.Line > 0 {
		line, column = e.ContextMark.Line, e.ContextMark.Column
		msg = "the quote or bracket that opens here is not closed"
	}
	if strings.Contains(msg, "tab character") || line > 0 && line <= len(d.lines) && strings.HasPrefix(d.lines[line-1], "\t") {
		msg = "a tab indents this line; YAML wants spaces"
	}
	return d.errorAt(line, column, "", errors.New(msg))
}

// Has reports whether the file sets a key, such as "quantization.bits".
func (d *Document) Has(path string) bool {
	_, _, exact := d.find(path)
	return exact
}

// Position returns the line and column, from 1, of the value of a key or of "list[2]", or of the nearest block above it that
// the file has; 0, 0 if it has none.
func (d *Document) Position(path string) (line, column int) {
	line, column, _ = d.find(path)
	return line, column
}

// At gives an error about the value of a key its place in the file.
func (d *Document) At(path string, err error) *Error {
	line, column, _ := d.find(path)
	return d.errorAt(line, column, path, err)
}

func (d *Document) find(path string) (line, column int, exact bool) {
	n := d.root
	if n == nil {
		return 0, 0, false
	}
	for path != "" {
		n = target(n)
		var next *yaml.Node
		var key *yaml.Node
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return line, column, false
			}
			i, err := strconv.Atoi(path[1:end])
			path = strings.TrimPrefix(path[end+1:], ".")
			if err != nil || n.Kind != yaml.SequenceNode || i < 0 || i >= len(n.Content) {
				return line, column, false
			}
			next = n.Content[i]
		} else {
			end := strings.IndexAny(path, ".[")
			name := path
			if end < 0 {
				path = ""
			} else {
				name, path = path[:end], strings.TrimPrefix(path[end:], ".")
			}
			if key, next = lookup(n, name, 0); next == nil {
				return line, column, false
			}
		}
		n = next
		line, column = n.Line, n.Column
		if key != nil && (target(n).Kind != yaml.ScalarNode || n.Line != key.Line) {
			line, column = key.Line, key.Column // a block is where its key is
		}
	}
	return line, column, true
}

// target follows an alias.
func target(n *yaml.Node) *yaml.Node {
	for i := 0; n.Kind == yaml.AliasNode && n.Alias != nil && i < 100; i++ {
		n = n.Alias
	}
	return n
}

// lookup finds a key of a mapping, its own before merged ones.
func lookup(n *yaml.Node, name string, depth int) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode || depth > 100 {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			continue
		}
		from := target(n.Content[i+1])
		sources := []*yaml.Node{from}
		if from.Kind == yaml.SequenceNode {
			sources = from.Content
		}
		for _, s := range sources {
			if key, value := lookup(target(s), name, depth+1); value != nil {
				return key, value
			}
		}
	}
	return nil, nil
}

func isMerge(key *yaml.Node) bool { return key.ShortTag() == "!!merge" }
