package torchscript

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	eof kind = iota
	newline
	indent
	dedent
	name
	number
	text   // string literal
	symbol // operator, bracket, or other punctuation
)

type token struct {
	kind  kind
	line  int
	s     string // name, symbol, or contents of a string literal
	value any    // of a number
}

func (t token) String() string {
	switch t.kind {
	case eof:
		return "the end of the file"
	case newline:
		return "the end of the line"
	case indent:
		return "an indented line"
	case dedent:
		return "the end of the block"
	case number:
		return fmt.Sprint("number ", t.value)
	case text:
		return fmt.Sprintf("string %.40q", t.s)
	}
	return fmt.Sprintf("%.40q", t.s)
}

// Bounds of what a file may hold.
const (
	maxFile   = 64 << 20 // bytes
	maxNest   = 200      // brackets and blocks in one another
	maxIndent = 1000     // columns
)

// lexer turns text into tokens. Line ends count only outside of brackets, as in Python.
type lexer struct {
	file    string
	src     string
	pos     int
	line    int
	nest    int   // open brackets
	indents []int // open blocks
	pending int   // dedents to give
	start   bool  // at the start of a line
}

func (l *lexer) errorf(format string, a ...any) error {
	return &Error{l.file, l.line, fmt.Sprintf(format, a...)}
}

// symbols of two and three characters; longer ones first.
var symbols = []string{
	"**=", "//=", ">>=", "<<=", "...", "->", "==", "!=", "<=", ">=", "<<", ">>", "**", "//", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=", ":=",
}

func (l *lexer) next() (token, error) {
	if l.pending > 0 {
		l.pending--
		return token{kind: dedent, line: l.line}, nil
	}
	if l.start {
		if t, ok, err := l.lineStart(); ok || err != nil {
			return t, err
		}
	}
	l.space()
	if l.pos >= len(l.src) {
		return l.end()
	}
	t := token{line: l.line}
	switch c := l.src[l.pos]; {
	case c == '\n':
		l.pos++
		l.line++
		l.start = true
		return token{kind: newline, line: l.line - 1}, nil
	case c >= '0' && c <= '9' || c == '.' && l.pos+1 < len(l.src) && isDigit(l.src[l.pos+1]):
		return l.number()
	case c == '"' || c == '\'':
		return l.text("")
	case isNameStart(rune(c)) || c >= utf8.RuneSelf:
		return l.name()
	}
	for _, s := range symbols {
		if strings.HasPrefix(l.src[l.pos:], s) {
			l.pos += len(s)
			t.kind, t.s = symbol, s
			return t, nil
		}
	}
	c := l.src[l.pos]
	switch c {
	case '(', '[', '{':
		if l.nest++; l.nest > maxNest {
			return t, l.errorf("more than %d brackets in one another", maxNest)
		}
	case ')', ']', '}':
		if l.nest == 0 {
			return t, l.errorf("%q closes nothing", c)
		}
		l.nest--
	case ',', ':', '.', '=', '+', '-', '*', '/', '%', '@', '&', '|', '^', '~', '<', '>', ';':
	default:
		return t, l.errorf("unexpected character %q", c)
	}
	l.pos++
	t.kind, t.s = symbol, string(c)
	return t, nil
}

// lineStart compares the indentation of a line that is not empty with that of the block; ok says that it gave a token.
func (l *lexer) lineStart() (t token, ok bool, err error) {
	for {
		n := 0
		at := l.pos
		for ; at < len(l.src); at++ {
			if l.src[at] == ' ' {
				n++
			} else if l.src[at] == '\t' {
				n += 8 - n%8
			} else if l.src[at] != '\r' {
				break
			}
		}
		if at < len(l.src) && (l.src[at] == '\n' || l.src[at] == '#') {
			end := strings.IndexByte(l.src[at:], '\n')
			if end < 0 {
				l.pos = len(l.src)
				break
			}
			l.pos = at + end + 1
			l.line++
			continue
		}
		if at == len(l.src) {
			l.pos = at
			break
		}
		l.pos, l.start = at, false
		top := l.indents[len(l.indents)-1]
		if n > maxIndent || len(l.indents) > maxNest {
			return t, false, l.errorf("indentation of %d columns in %d blocks; accepted are %d in %d", n, len(l.indents), maxIndent, maxNest)
		}
		if n > top {
			l.indents = append(l.indents, n)
			return token{kind: indent, line: l.line}, true, nil
		}
		for n < l.indents[len(l.indents)-1] {
			l.indents = l.indents[:len(l.indents)-1]
			l.pending++
		}
		if n != l.indents[len(l.indents)-1] {
			return t, false, l.errorf("indentation of %d columns fits no block", n)
		}
		if l.pending > 0 {
			l.pending--
			return token{kind: dedent, line: l.line}, true, nil
		}
		return t, false, nil
	}
	l.start = false
	return t, false, nil
}

// end closes what is open at the end of the file.
func (l *lexer) end() (token, error) {
	if l.nest > 0 {
		return token{}, l.errorf("the file ends within brackets")
	}
	if n := len(l.indents) - 1; n > 0 {
		l.indents = l.indents[:1]
		l.pending = n
		return token{kind: newline, line: l.line}, nil
	}
	return token{kind: eof, line: l.line}, nil
}

// space skips what separates tokens: within brackets that includes line ends.
func (l *lexer) space() {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\f':
			l.pos++
		case c == '\n' && l.nest > 0:
			l.pos++
			l.line++
		case c == '\\' && l.pos+1 < len(l.src) && l.src[l.pos+1] == '\n':
			l.pos += 2
			l.line++
		case c == '#':
			end := strings.IndexByte(l.src[l.pos:], '\n')
			if end < 0 {
				end = len(l.src) - l.pos
			}
			l.pos += end
		default:
			return
		}
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isNameStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

// maxWord bounds names and numbers, which messages repeat.
const maxWord = 1024

func (l *lexer) name() (token, error) {
	rest := l.src[l.pos:]
	n := len(rest)
	for i, r := range rest {
		if !isNameStart(r) && (i == 0 || !unicode.IsDigit(r)) {
			n = i
			break
		}
	}
	if n == 0 {
		r, _ := utf8.DecodeRuneInString(rest)
		return token{}, l.errorf("unexpected character %q", r)
	}
	if n > maxWord {
		return token{}, l.errorf("a name of %d bytes; accepted are %d", n, maxWord)
	}
	t := token{kind: name, line: l.line, s: rest[:n]}
	l.pos += n
	if l.pos < len(l.src) && (l.src[l.pos] == '"' || l.src[l.pos] == '\'') {
		switch p := strings.ToLower(t.s); p {
		case "r", "b", "u", "br", "rb":
			return l.text(p)
		case "f", "fr", "rf":
			return t, l.errorf("an f-string; torch.jit.save does not write any")
		}
	}
	return t, nil
}

func (l *lexer) number() (token, error) {
	rest := l.src[l.pos:]
	n := 0
	hex := len(rest) > 1 && rest[0] == '0' && strings.ContainsRune("xXoObB", rune(rest[1]))
	for ; n < len(rest); n++ {
		c := rest[n]
		exp := n > 0 && !hex && (rest[n-1] == 'e' || rest[n-1] == 'E') && (c == '+' || c == '-')
		if !isDigit(c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && !exp {
			break
		}
	}
	if n > maxWord {
		return token{}, l.errorf("a number of %d digits; accepted are %d", n, maxWord)
	}
	s := rest[:n]
	l.pos += n
	t := token{kind: number, line: l.line, s: s}
	if v, err := strconv.ParseInt(s, 0, 64); err == nil {
		t.value = v
		return t, nil
	}
	if v, err := strconv.ParseInt(s, 10, 64); err == nil { // "007"
		t.value = v
		return t, nil
	}
	if !hex {
		if s == "9223372036854775808" { // after a minus sign; the parser makes it the smallest integer
			t.value = int64(math.MinInt64)
			return t, nil
		}
		num, imaginary := strings.CutSuffix(s, "j")
		if v, err := strconv.ParseFloat(num, 64); err == nil || math.IsInf(v, 0) {
			t.value = v
			if imaginary {
				t.value = complex(0, v)
			}
			return t, nil
		}
	}
	return t, l.errorf("%.40q is not a number", s)
}

// text reads a string literal after its prefix, in single or triple quotes.
func (l *lexer) text(prefix string) (token, error) {
	t := token{kind: text, line: l.line}
	quote := l.src[l.pos : l.pos+1]
	if strings.HasPrefix(l.src[l.pos:], quote+quote+quote) {
		quote += quote + quote
	}
	l.pos += len(quote)
	var b strings.Builder
	for {
		rest := l.src[l.pos:]
		if strings.HasPrefix(rest, quote) {
			l.pos += len(quote)
			t.s = b.String()
			return t, nil
		}
		switch {
		case rest == "" || rest[0] == '\n' && len(quote) == 1:
			return t, l.errorf("a string without its end")
		case rest[0] == '\\' && !strings.Contains(prefix, "r"):
			if err := l.escape(&b); err != nil {
				return t, err
			}
		default:
			if rest[0] == '\n' {
				l.line++
			}
			if rest[0] == '\\' && len(rest) > 1 { // of a raw string
				b.WriteByte(rest[0])
				l.pos++
				if rest[1] == '\n' {
					l.line++
				}
			}
			b.WriteByte(l.src[l.pos])
			l.pos++
		}
	}
}

// escape reads what a backslash begins.
func (l *lexer) escape(b *strings.Builder) error {
	rest := l.src[l.pos+1:]
	if rest == "" {
		return l.errorf("a string without its end")
	}
	c := rest[0]
	l.pos += 2
	if i := strings.IndexByte(`abfnrtv\'"`, c); i >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v\\'\""[i])
		return nil
	}
	width, base := 0, 16
	switch c {
	case '\n':
		l.line++
		return nil
	case 'x':
		width = 2
	case 'u':
		width = 4
	case 'U':
		width = 8
	default:
		if c < '0' || c > '7' {
			b.WriteByte('\\')
			b.WriteByte(c)
			return nil
		}
		l.pos--
		rest = l.src[l.pos-1:]
		base = 8
		for width < 3 && width+1 < len(rest) && rest[width+1] >= '0' && rest[width+1] <= '7' {
			width++
		}
	}
	if len(rest) < 1+width {
		return l.errorf("a string without its end")
	}
	v, err := strconv.ParseUint(rest[1:1+width], base, 32)
	if err != nil || v > unicode.MaxRune {
		return l.errorf("%.12q is no character", `\`+rest[:1+width])
	}
	l.pos += width
	if c == 'x' || base == 8 {
		b.WriteByte(byte(v)) // torch.jit.save writes the bytes of a string one by one
		return nil
	}
	b.WriteRune(rune(v))
	return nil
}
