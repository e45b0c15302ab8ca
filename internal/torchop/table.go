package torchop

import (
	"math"
	"strconv"
	"strings"
	"sync"
)

// entry is an operator: the names of its arguments in order, with their defaults, and what translates it. All overloads of a name
// are one entry, whose arguments are those of all of them.
type entry struct {
	params string // "input weight bias=None stride=1"
	f      func(c *call) any
}

// table maps the names of operators, without namespace and overload, to entries. A name that ends in "_" and is not listed is
// the operator in place.
type table map[string]entry

var tables = []table{
	convOps, linearOps, normOps, poolOps, activationOps, unaryOps, binaryOps, reduceOps, shapeOps, joinOps, indexOps, scatterOps,
	createOps, attentionOps, recurrentOps, resizeOps, sortOps, castOps, ignoredOps, quantizedOps,
}

// param is an argument of an operator.
type param struct {
	name     string
	def      any
	required bool
}

type operator struct {
	params []param
	f      func(c *call) any
}

// operators is the index of all tables, made when the first program is read.
var operators = sync.OnceValue(func() map[string]operator { return index(tables) })

func index(tables []table) map[string]operator {
	all := map[string]operator{}
	for _, t := range tables {
		for name, e := range t {
			o := operator{f: e.f}
			for field := range strings.FieldsSeq(e.params) {
				name, def, has := strings.Cut(field, "=")
				o.params = append(o.params, param{name, parseDefault(def), !has})
			}
			if _, twice := all[name]; twice {
				panic("torchop: operator " + name + " is listed twice")
			}
			all[name] = o
		}
	}
	return all
}

// parseDefault returns the value of a default in a table.
func parseDefault(s string) any {
	switch s {
	case "", "None":
		return nil
	case "True":
		return true
	case "False":
		return false
	case "[]":
		return &List{}
	case "inf":
		return math.Inf(1)
	case "-inf":
		return math.Inf(-1)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return N(n)
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return f
	}
	return s
}

// Supports reports whether the operator of a name, without namespace, is known.
func Supports(name string) bool {
	_, _, ok := find(name)
	return ok
}

// find looks an operator up by its name with or without overload; inPlace says that it sets its first argument.
func find(name string) (o operator, inPlace, ok bool) {
	if o, ok = operators()[name]; ok {
		return o, false, true
	}
	name, _, _ = strings.Cut(name, ".")
	if o, ok = operators()[name]; ok {
		return o, false, true
	}
	if base, has := strings.CutSuffix(name, "_"); has && !strings.HasSuffix(base, "_") {
		o, ok = operators()[base]
		return o, true, ok
	}
	return o, false, false
}
