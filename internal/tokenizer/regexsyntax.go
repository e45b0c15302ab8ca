package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// netSyntax writes an expression of Oniguruma's syntax in that of .NET, which regexp2 reads. What it does not know to mean
// the same is an error.
func netSyntax(pattern string) (string, error) {
	p := syntax{in: pattern}
	for p.at < len(p.in) {
		if err := p.element(); err != nil {
			return "", err
		}
	}
	return p.out.String(), nil
}

type syntax struct {
	in  string
	at  int
	out strings.Builder
}

// classNames are the names in \p{...} and [:...:] that Go's tables lack, as parts of a class.
var classNames = map[string]string{
	"alpha": alphabetic, "digit": `\p{Nd}`, "alnum": alphabetic + `\p{Nd}`, "upper": `\p{Lu}\p{Other_Uppercase}`, "lower": `\p{Ll}\p{Other_Lowercase}`,
	"space": `\s`, "punct": `\p{P}$+<=>^` + "`" + `|~`, "cntrl": `\p{Cc}`, "word": wordClass, "xdigit": `0-9a-fA-F`, "blank": ` \t\p{Zs}`,
}

const (
	wordClass  = `\p{L}\p{M}\p{N}\p{Pc}`
	alphabetic = `\p{L}\p{Nl}\p{Other_Alphabetic}`
)

func (p *syntax) element() error {
	switch c := p.in[p.at]; c {
	case '\\':
		return p.escape(false)
	case '[':
		return p.class()
	case '(':
		return p.group()
	case '{':
		end := strings.IndexByte(p.in[p.at:], '}')
		if end > 1 && strings.Trim(p.in[p.at+1:p.at+end], "0123456789,") == "" {
			if p.in[p.at+1] == ',' { // {,n} is {0,n}
				p.out.WriteString("{0" + p.in[p.at+1:p.at+end+1])
			} else {
				p.out.WriteString(p.in[p.at : p.at+end+1])
			}
			p.at += end + 1
			if strings.HasPrefix(p.in[p.at:], "+") {
				return errors.New("a + after {n,m} repeats in this syntax, which is not supported")
			}
			return nil
		}
		p.out.WriteString(`\{`)
		p.at++
		return nil
	default:
		_, size := utf8.DecodeRuneInString(p.in[p.at:])
		p.out.WriteString(p.in[p.at : p.at+size])
		p.at += size
		return nil
	}
}

// group writes the opening of a group; m in its options means what s means in .NET.
func (p *syntax) group() error {
	p.out.WriteByte('(')
	p.at++
	if !strings.HasPrefix(p.in[p.at:], "?") {
		return nil
	}
	end := p.at + 1
	for end < len(p.in) && strings.IndexByte("imx-", p.in[end]) >= 0 {
		end++
	}
	if end > p.at+1 && end < len(p.in) && (p.in[end] == ':' || p.in[end] == ')') {
		options := strings.ReplaceAll(p.in[p.at:end], "m", "s")
		if p.in[end] == ')' {
			// Options without a group hold to the end of the surrounding one, alternatives included, in both syntaxes.
			options += ")"
		} else {
			options += ":"
		}
		p.out.WriteString(options)
		p.at = end + 1
		return nil
	}
	for _, known := range []string{"?:", "?=", "?!", "?<=", "?<!", "?>"} {
		if strings.HasPrefix(p.in[p.at:], known) {
			p.out.WriteString(known)
			p.at += len(known)
			return nil
		}
	}
	if strings.HasPrefix(p.in[p.at:], "?<") {
		p.out.WriteString("?<")
		p.at += 2
		return nil
	}
	return fmt.Errorf("the group %q is not supported", p.in[p.at-1:min(len(p.in), p.at+3)])
}

// escape writes \x, in a class or outside.
func (p *syntax) escape(inClass bool) error {
	if p.at+1 >= len(p.in) {
		return errors.New("ends with a backslash")
	}
	rest := p.in[p.at:]
	wrap := func(class string, n int) {
		if !inClass {
			class = "[" + class + "]"
		}
		p.out.WriteString(class)
		p.at += n
	}
	switch c := rest[1]; c {
	case 'w':
		wrap(wordClass, 2)
	case 'h':
		wrap("0-9a-fA-F", 2)
	case 'W', 'H':
		if inClass {
			return fmt.Errorf(`\%c inside a class is not supported`, c)
		}
		inner := wordClass
		if c == 'H' {
			inner = "0-9a-fA-F"
		}
		p.out.WriteString("[^" + inner + "]")
		p.at += 2
	case 'p', 'P':
		return p.property(inClass)
	case 'x':
		if end := strings.IndexByte(rest, '}'); strings.HasPrefix(rest, `\x{`) && end > 3 {
			var r rune
			if _, err := fmt.Sscanf(rest[3:end], "%x", &r); err != nil || !utf8.ValidRune(r) {
				return fmt.Errorf("%q is no character", rest[:end+1])
			}
			p.quote(r)
			p.at += end + 1
			return nil
		}
		p.out.WriteString(rest[:2])
		p.at += 2
	case 'b', 'B':
		if inClass {
			return fmt.Errorf(`\%c inside a class is not supported`, c)
		}
		// The boundary of a word, by our word characters.
		edge := `(?:(?<=[W])(?![W])|(?<![W])(?=[W]))`
		if c == 'B' {
			edge = `(?:(?<=[W])(?=[W])|(?<![W])(?![W]))`
		}
		p.out.WriteString(strings.ReplaceAll(edge, "W", wordClass))
		p.at += 2
	case 'G', 'K', 'k', 'g', 'Q', 'E', 'X', 'R', 'N', 'O', 'y', 'Y':
		return fmt.Errorf(`\%c is not supported`, c)
	default:
		_, size := utf8.DecodeRuneInString(rest[1:])
		p.out.WriteString(rest[:1+size])
		p.at += 1 + size
	}
	return nil
}

// quote writes a character that stands for itself.
func (p *syntax) quote(r rune) {
	if r < utf8.RuneSelf {
		fmt.Fprintf(&p.out, `\x%02x`, r)
		return
	}
	p.out.WriteRune(r)
}

// property writes \p{Name}, \P{Name} and \p{^Name}.
func (p *syntax) property(inClass bool) error {
	rest := p.in[p.at:]
	end := strings.IndexByte(rest, '}')
	if len(rest) < 4 || rest[2] != '{' || end < 0 {
		return fmt.Errorf(`%q has no name in braces`, rest[:2])
	}
	name, negated := rest[3:end], rest[1] == 'P'
	if strings.HasPrefix(name, "^") {
		name, negated = name[1:], !negated
	}
	p.at += end + 1
	if class, ok := classNames[strings.ToLower(name)]; ok {
		switch {
		case inClass && negated:
			return fmt.Errorf(`negated \p{%s} inside a class is not supported`, name)
		case inClass:
			p.out.WriteString(class)
		case negated:
			p.out.WriteString("[^" + class + "]")
		default:
			p.out.WriteString("[" + class + "]")
		}
		return nil
	}
	if negated {
		p.out.WriteString(`\P{` + name + `}`)
	} else {
		p.out.WriteString(`\p{` + name + `}`)
	}
	return nil
}

// class writes [...]. A class inside a class adds its characters, which is written without its brackets.
func (p *syntax) class() error {
	p.out.WriteByte('[')
	p.at++
	if strings.HasPrefix(p.in[p.at:], "^") {
		p.out.WriteByte('^')
		p.at++
	}
	depth := 1
	for first := true; ; first = false {
		if p.at >= len(p.in) {
			return errors.New("a class has no closing ]")
		}
		rest := p.in[p.at:]
		switch {
		case rest[0] == ']' && first:
			p.out.WriteString(`\]`)
			p.at++
		case rest[0] == ']':
			p.at++
			if depth--; depth == 0 {
				p.out.WriteByte(']')
				return nil
			}
		case strings.HasPrefix(rest, "[:"):
			end := strings.Index(rest, ":]")
			if end < 0 {
				return errors.New("[: has no closing :]")
			}
			class, ok := classNames[rest[2:end]]
			if !ok {
				return fmt.Errorf("the class %q is not supported", rest[:end+2])
			}
			p.out.WriteString(class)
			p.at += end + 2
		case strings.HasPrefix(rest, "[^"):
			return errors.New("a negated class inside a class is not supported")
		case rest[0] == '[':
			depth++
			p.at++
		case strings.HasPrefix(rest, "&&"):
			return errors.New("the intersection && of classes is not supported")
		case rest[0] == '\\':
			if err := p.escape(true); err != nil {
				return err
			}
		default:
			_, size := utf8.DecodeRuneInString(rest)
			p.out.WriteString(rest[:size])
			p.at += size
		}
	}
}
