package torchscript

import (
	"fmt"
	"strconv"
	"strings"
)

// The String methods give the source form again, for messages; long parts are cut.

const maxText = 120

func join(list []Expr) string {
	var b strings.Builder
	for i, e := range list {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > maxText {
			b.WriteString("...")
			break
		}
		b.WriteString(e.String())
	}
	return b.String()
}

// String returns the name.
func (e *Name) String() string { return e.Id }

// String returns the literal.
func (e *Const) String() string {
	switch v := e.Value.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case string:
		if len(v) > maxText {
			v = v[:maxText] + "..."
		}
		return strconv.Quote(v)
	case Ellipsis:
		return "..."
	}
	return fmt.Sprint(e.Value)
}

// String returns the source form.
func (e *Attr) String() string { return e.X.String() + "." + e.Name }

// String returns the source form.
func (e *Call) String() string {
	args := join(e.Args)
	for i, k := range e.Kwargs {
		if i > 0 || args != "" {
			args += ", "
		}
		if len(args) > 2*maxText {
			args += "..."
			break
		}
		args += k.Name + "=" + k.Value.String()
	}
	return e.Func.String() + "(" + args + ")"
}

// String returns the source form.
func (e *Index) String() string {
	if t, ok := e.I.(*Tuple); ok && len(t.Items) > 1 {
		return e.X.String() + "[" + join(t.Items) + "]"
	}
	return e.X.String() + "[" + e.I.String() + "]"
}

// String returns the source form.
func (e *Slice) String() string {
	s := optional(e.Lo) + ":" + optional(e.Hi)
	if e.Step != nil {
		s += ":" + e.Step.String()
	}
	return s
}

func optional(e Expr) string {
	if e == nil {
		return ""
	}
	return e.String()
}

// String returns the source form.
func (e *List) String() string { return "[" + join(e.Items) + "]" }

// String returns the source form.
func (e *Tuple) String() string {
	if len(e.Items) == 1 {
		return "(" + e.Items[0].String() + ",)"
	}
	return "(" + join(e.Items) + ")"
}

// String returns the source form.
func (e *Dict) String() string {
	var b strings.Builder
	for i, k := range e.Keys {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > maxText {
			b.WriteString("...")
			break
		}
		b.WriteString(k.String() + ": " + e.Values[i].String())
	}
	return "{" + b.String() + "}"
}

// String returns the source form.
func (e *Unary) String() string {
	if e.Op == "not" {
		return "not " + e.X.String()
	}
	return e.Op + e.X.String()
}

// String returns the source form, in parentheses.
func (e *Binary) String() string { return "(" + e.X.String() + " " + e.Op + " " + e.Y.String() + ")" }

// String returns the source form, in parentheses.
func (e *Cond) String() string {
	return "(" + e.Then.String() + " if " + e.Test.String() + " else " + e.Else.String() + ")"
}
