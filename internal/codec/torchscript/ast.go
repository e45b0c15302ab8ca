// Package torchscript parses the source text in TorchScript archives, the subset of Python that torch.jit.save writes.
//
// [Parse] gives the classes and functions of a file as a syntax tree. Nothing is executed, and nothing is looked up: names are
// names. Errors name the file, the line and what stood there.
package torchscript

import "fmt"

// File is a parsed file.
type File struct {
	Name    string
	Classes []*Class
	Funcs   []*Func
}

// Class is a class: a module, a class of the user's, a NamedTuple, an Enum or an interface, as Base says.
type Class struct {
	Name    string
	Base    string // "Module", "NamedTuple", "Enum", "Interface" or empty
	Line    int
	Fields  []Field // in the order of the file
	Methods []*Func
}

// Field is a declared attribute. Final ones and the members of an Enum have their value in the source.
type Field struct {
	Name  string
	Type  Expr // nil where only the value is given
	Value Expr // nil where the value is in the archive's data
}

// Func is a function or method.
type Func struct {
	Name   string
	Line   int
	Params []Param
	Result Expr // nil if it is not declared
	Body   []Stmt
}

// Param is a parameter. Default is nil where there is none.
type Param struct {
	Name    string
	Type    Expr // nil if it is not declared
	Default Expr
}

// Method returns a method, or nil if the class has none of the name.
func (c *Class) Method(name string) *Func {
	for _, m := range c.Methods {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Field returns a declared attribute, or nil if the class has none of the name.
func (c *Class) Field(name string) *Field {
	for i := range c.Fields {
		if c.Fields[i].Name == name {
			return &c.Fields[i]
		}
	}
	return nil
}

// Stmt is one of *Assign, *Return, *If, *For, *While, *With, *Assert, *Raise, *ExprStmt and *Pass.
type Stmt interface{ Pos() int }

// Line is the number of the line that a part of the tree begins in, from 1.
type Line int

// Pos returns the line.
func (l Line) Pos() int { return int(l) }

// Statements.
type (
	// Assign binds the value to the targets. There is one target, or several for a tuple that is taken apart. Op is empty or
	// the operator of an augmented assignment, such as "+".
	Assign struct {
		Line
		Targets []Expr // *Name, *Attr or *Index
		Unpack  bool   // the value is a sequence with one element a target
		Op      string
		Type    Expr // of "x: T = v"; nil otherwise
		Value   Expr
	}
	// Return ends the function. Value is nil for a bare return.
	Return struct {
		Line
		Value Expr
	}
	// If has one branch, and another that may be empty.
	If struct {
		Line
		Cond       Expr
		Then, Else []Stmt
	}
	// For binds the targets to each element of a sequence.
	For struct {
		Line
		Targets []Expr
		Seq     Expr
		Body    []Stmt
	}
	// While repeats its body.
	While struct {
		Line
		Cond Expr
		Body []Stmt
	}
	// With runs its body within a context, such as torch.no_grad.
	With struct {
		Line
		Context Expr
		As      Expr // nil if it is not named
		Body    []Stmt
	}
	// Assert demands that a condition holds. Msg may be nil.
	Assert struct {
		Line
		Cond, Msg Expr
	}
	// Raise fails.
	Raise struct {
		Line
		Value Expr
	}
	// ExprStmt evaluates an expression for its effect.
	ExprStmt struct {
		Line
		X Expr
	}
	// Pass does nothing. Keyword is "pass", "break" or "continue".
	Pass struct {
		Line
		Keyword string
	}
)

// Expr is one of *Name, *Const, *Attr, *Call, *Index, *Slice, *List, *Tuple, *Dict, *Unary, *Binary and *Cond.
type Expr interface {
	Pos() int
	String() string
}

// Expressions.
type (
	// Name is a name.
	Name struct {
		Line
		Id string
	}
	// Const is a literal: nil (None), bool, int64, float64, complex128, string, or [Ellipsis].
	Const struct {
		Line
		Value any
	}
	// Attr is x.name.
	Attr struct {
		Line
		X    Expr
		Name string
	}
	// Call applies a function.
	Call struct {
		Line
		Func   Expr
		Args   []Expr
		Kwargs []Kwarg
	}
	// Index is x[i].
	Index struct {
		Line
		X, I Expr
	}
	// Slice is the lo:hi:step of an index; each may be nil.
	Slice struct {
		Line
		Lo, Hi, Step Expr
	}
	// List is [a, b].
	List struct {
		Line
		Items []Expr
	}
	// Tuple is (a, b).
	Tuple struct {
		Line
		Items []Expr
	}
	// Dict is {k: v}.
	Dict struct {
		Line
		Keys, Values []Expr
	}
	// Unary is "-", "+", "~" or "not" before an operand.
	Unary struct {
		Line
		Op string
		X  Expr
	}
	// Binary is an operator between two operands: arithmetic, comparison ("is not" and "not in" included), "and", "or".
	Binary struct {
		Line
		Op   string
		X, Y Expr
	}
	// Cond is "x if cond else y".
	Cond struct {
		Line
		Test, Then, Else Expr
	}
)

// Kwarg is an argument that is given by name.
type Kwarg struct {
	Name  string
	Value Expr
}

// Ellipsis is the value of "...".
type Ellipsis struct{}

// Error says where a file is not as expected.
type Error struct {
	File string
	Line int
	Msg  string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Msg) }
