package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is one mistake in a file.
type Error struct {
	File         string
	Line, Column int    // from 1; 0: unknown
	Path         string // the key, such as quantization.bits; "" for the whole file
	Err          error
	source       string // the line
}

// Error gives "file:line:column: key: message" and, below it, the line with a mark under the place.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Err.Error())
	if e.Line > 0 && strings.TrimSpace(e.source) != "" {
		b.WriteString("\n" + e.excerpt())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// excerpt shows the source line, a long one cut around the place.
func (e *Error) excerpt() string {
	const width = 100
	line := []rune(strings.TrimRight(e.source, "\r"))
	at := min(max(e.Column-1, 0), len(line))
	dots := ""
	if at > width-20 {
		cut := at - 40
		line, at, dots = line[cut:], at-cut+3, "..."
	}
	if len(line) > width {
		line = append(slices.Clip(line[:width]), []rune("...")...)
	}
	text := dots + string(line)
	number := strconv.Itoa(e.Line)
	mark := []rune(text)[:min(at, utf8.RuneCountInString(text))]
	for i, r := range mark {
		if r != '\t' { // keeps the mark below the place however wide a tab is
			mark[i] = ' '
		}
	}
	return fmt.Sprintf("  %s | %s\n  %*s | %s^", number, text, len(number), "", string(mark))
}

func (d *Document) errorAt(line, column int, path string, err error) *Error {
	e := &Error{File: d.name, Line: line, Column: column, Path: path, Err: err}
	if line > 0 && line <= len(d.lines) {
		e.source = d.lines[line-1]
	}
	return e
}

// Errors are all mistakes in a file, in its order.
type Errors []*Error

// Error lists them, one below the other.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, x := range e {
		lines[i] = x.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns them one by one.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, x := range e {
		out[i] = x
	}
	return out
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}
