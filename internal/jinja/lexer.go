package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind int

const (
	tokenText tokenKind = iota
	tokenOutputBegin
	tokenOutputEnd
	tokenBlockBegin
	tokenBlockEnd
	tokenName
	tokenString
	tokenInt
	tokenFloat
	tokenOperator
	tokenEOF
)

type token struct {
	kind tokenKind
	text string // of text and strings the value
	line int
}

// lex cuts a template into tokens and applies white space control.
func lex(source string) ([]token, error) {
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	source = strings.TrimSuffix(source, "\n")
	l := &lexer{in: source, line: 1, lineStarting: true}
	for l.at < len(l.in) {
		if err := l.text(); err != nil {
			return nil, err
		}
	}
	l.add(tokenEOF, "")
	return l.tokens, nil
}

type lexer struct {
	in           string
	at           int
	line         int
	tokens       []token
	lineStarting bool // the last tag took a line's end with it
}

func (l *lexer) add(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind, text, l.line})
}

func (l *lexer) errorf(format string, a ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{l.line}, a...)...)
}

// text reads text up to a tag, and the tag.
func (l *lexer) text() error {
	rest := l.in[l.at:]
	begin := 0
	for begin+1 < len(rest) && (rest[begin] != '{' || strings.IndexByte("{%#", rest[begin+1]) < 0) {
		begin++
	}
	if begin+1 >= len(rest) {
		l.add(tokenText, rest)
		l.at = len(l.in)
		return nil
	}
	text, opener := rest[:begin], rest[begin+1]
	mode := byte(0)
	if begin+2 < len(rest) && (rest[begin+2] == '-' || rest[begin+2] == '+') {
		mode = rest[begin+2]
	}
	l.add(tokenText, l.strip(text, mode, opener != '{'))
	l.line += strings.Count(text, "\n")
	l.at += begin + 2
	if mode != 0 {
		l.at++
	}
	l.lineStarting = false
	switch opener {
	case '#':
		return l.comment()
	case '%':
		if done, err := l.rawBlock(); done || err != nil {
			return err
		}
		l.add(tokenBlockBegin, "")
		return l.inside("%}", tokenBlockEnd)
	}
	l.add(tokenOutputBegin, "")
	return l.inside("}}", tokenOutputEnd)
}

// strip takes from the end of text what the tag after it takes: all white space, or with lstrip_blocks the blanks of its line.
func (l *lexer) strip(text string, mode byte, block bool) string {
	switch {
	case mode == '-':
		return strings.TrimRightFunc(text, unicode.IsSpace)
	case mode != '+' && block:
		line := strings.LastIndexByte(text, '\n') + 1
		if (line > 0 || l.lineStarting) && strings.TrimSpace(text[line:]) == "" {
			return text[:line]
		}
	}
	return text
}

// end skips what a tag's end takes of the text after it: all white space, or with trim_blocks a line's end.
func (l *lexer) end(mode string, trimBlocks bool) {
	from := l.at
	switch rest := l.in[l.at:]; {
	case mode == "-":
		l.at += len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsSpace))
	case mode == "" && trimBlocks && strings.HasPrefix(rest, "\n"):
		l.at++
	}
	l.line += strings.Count(l.in[from:l.at], "\n")
	l.lineStarting = l.at > from && l.in[l.at-1] == '\n'
}

func (l *lexer) comment() error {
	end := strings.Index(l.in[l.at:], "#}")
	if end < 0 {
		return l.errorf("a comment has no end")
	}
	body := l.in[l.at : l.at+end]
	mode := ""
	if strings.HasSuffix(body, "-") || strings.HasSuffix(body, "+") {
		mode = body[len(body)-1:]
	}
	l.line += strings.Count(body, "\n")
	l.at += end + 2
	l.end(mode, true)
	return nil
}

var (
	rawBegin = regexp.MustCompile(`^\s*raw\s*(-?)%\}`)
	rawEnd   = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*([-+]?)%\}`)
)

// rawBlock reads {% raw %}...{% endraw %}, whose text stays as it is.
func (l *lexer) rawBlock() (bool, error) {
	m := rawBegin.FindStringSubmatch(l.in[l.at:])
	if m == nil {
		return false, nil
	}
	l.at += len(m[0])
	l.end(m[1], false)
	rest := l.in[l.at:]
	e := rawEnd.FindStringSubmatchIndex(rest)
	if e == nil {
		return false, l.errorf("raw has no endraw")
	}
	mode := byte(0)
	if e[3] > e[2] {
		mode = rest[e[2]]
	}
	l.add(tokenText, l.strip(rest[:e[0]], mode, true))
	l.line += strings.Count(rest[:e[1]], "\n")
	l.at += e[1]
	l.end(rest[e[4]:e[5]], true)
	return true, nil
}

var operators = []string{
	"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ".", ",", ":", "|", ";",
}

// inside reads the tokens of a tag up to end.
func (l *lexer) inside(end string, kind tokenKind) error {
	brackets := 0
	for l.at < len(l.in) {
		rest := l.in[l.at:]
		c := rest[0]
		switch {
		case c == '\n':
			l.line++
			l.at++
			continue
		case c == ' ' || c == '\t' || c == '\v' || c == '\f':
			l.at++
			continue
		}
		if brackets == 0 {
			for _, mode := range []string{"", "-", "+"} {
				if strings.HasPrefix(rest, mode+end) {
					l.add(kind, "")
					l.at += len(mode + end)
					l.end(mode, kind == tokenBlockEnd)
					return nil
				}
			}
		}
		switch {
		case c == '\'' || c == '"':
			if err := l.string(c); err != nil {
				return err
			}
		case '0' <= c && c <= '9':
			l.number()
		case c == '_' || c >= utf8.RuneSelf || 'a' <= c|0x20 && c|0x20 <= 'z':
			n := 1
			for n < len(rest) && (rest[n] == '_' || rest[n] >= utf8.RuneSelf || 'a' <= rest[n]|0x20 && rest[n]|0x20 <= 'z' || '0' <= rest[n] && rest[n] <= '9') {
				n++
			}
			l.add(tokenName, rest[:n])
			l.at += n
		default:
			op := ""
			for _, o := range operators {
				if strings.HasPrefix(rest, o) {
					op = o
					break
				}
			}
			switch op {
			case "":
				return l.errorf("unexpected character %q", c)
			case "(", "[", "{":
				brackets++
			case ")", "]", "}":
				brackets--
			}
			l.add(tokenOperator, op)
			l.at += len(op)
		}
	}
	return l.errorf("a tag has no end, %s", end)
}

func (l *lexer) number() {
	rest := l.in[l.at:]
	digits := func(n int) int {
		for n < len(rest) && ('0' <= rest[n] && rest[n] <= '9' || rest[n] == '_') {
			n++
		}
		return n
	}
	n := digits(0)
	kind := tokenInt
	if n+1 < len(rest) && rest[n] == '.' && '0' <= rest[n+1] && rest[n+1] <= '9' {
		kind = tokenFloat
		n = digits(n + 1)
	}
	if n < len(rest) && rest[n]|0x20 == 'e' {
		m := n + 1
		if m < len(rest) && (rest[m] == '+' || rest[m] == '-') {
			m++
		}
		if k := digits(m); k > m {
			kind, n = tokenFloat, k
		}
	}
	l.add(kind, strings.ReplaceAll(rest[:n], "_", ""))
	l.at += n
}

// string reads a literal with Python's escapes.
func (l *lexer) string(quote byte) error {
	var b strings.Builder
	begin := l.line
	for i := l.at + 1; i < len(l.in); i++ {
		c := l.in[i]
		switch {
		case c == quote:
			l.tokens = append(l.tokens, token{tokenString, b.String(), begin})
			l.at = i + 1
			return nil
		case c == '\n':
			l.line++
			b.WriteByte(c)
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(l.in):
			i++
			n, err := escape(&b, l.in[i:])
			if err != nil {
				return l.errorf("%w", err)
			}
			i += n - 1
		}
	}
	return fmt.Errorf("line %d: a string has no end", begin)
}

// escape writes what the escape at the start of s, after its backslash, stands for, and returns its length.
func escape(b *strings.Builder, s string) (int, error) {
	if i := strings.IndexByte("abfnrtv\\'\"\n", s[0]); i >= 0 {
		if s[0] != '\n' {
			b.WriteByte("\a\b\f\n\r\t\v\\'\""[i])
		}
		return 1, nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if digits == 0 {
		if '0' <= s[0] && s[0] <= '7' {
			n := 1
			for n < 3 && n < len(s) && '0' <= s[n] && s[n] <= '7' {
				n++
			}
			v, _ := strconv.ParseInt(s[:n], 8, 32)
			b.WriteRune(rune(v))
			return n, nil
		}
		b.WriteByte('\\')
		b.WriteByte(s[0])
		return 1, nil
	}
	if len(s) < 1+digits {
		return 0, fmt.Errorf(`escape \%c wants %d digits`, s[0], digits)
	}
	v, err := strconv.ParseUint(s[1:1+digits], 16, 32)
	if err != nil || v > utf8.MaxRune {
		return 0, fmt.Errorf(`escape \%s is no character`, s[:1+digits])
	}
	b.WriteRune(rune(v))
	return 1 + digits, nil
}
