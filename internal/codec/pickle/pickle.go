// Package pickle reads Python pickles of all protocols, 0 to 5, as data.
//
// Nothing of a pickle is ever executed. A global, the name of a class or function, is a [Global]; where the pickle applies it,
// the result is what [Options.Calls] makes of the arguments, for the few names that it knows, and else an [Object], which
// records the name, the arguments and the state. Names that only serve to run code, such as os.system, make [Load] fail; the
// others are listed in [Report].
//
// Values are nil, bool, int64, *big.Int, float64, complex128, string, [Bytes], [Tuple], *[List], *[Dict], *[Set], [Global],
// *[Object], and what Options.Calls and Options.Persistent return. Containers may be shared and may contain themselves, as in
// Python: who walks them keeps count of where it has been. Nothing is nested deeper than 1,000.
package pickle

import (
	"fmt"
	"math/big"
	"slices"
	"sort"
	"strings"
)

// Bytes is a Python bytes or bytearray object. It may alias the pickle.
type Bytes []byte

// Tuple is a Python tuple.
type Tuple []any

// List is a Python list.
type List struct{ Items []any }

// Set is a Python set or frozenset.
type Set struct {
	Items  []any
	Frozen bool
}

// Global names a class or function.
type Global struct{ Module, Name string }

// String returns the form "module.name".
func (g Global) String() string { return g.Module + "." + g.Name }

// Object is what a pickle makes of a class that is not known: plain data.
type Object struct {
	Class  Global
	Called bool // made by a call of Class (REDUCE) and not as an instance of it
	Args   []any
	Kwargs *Dict // nil: none
	State  any   // what the pickle sets it from, most often a *Dict of attributes
	Items  []any // appended, as to a list
	Pairs  *Dict // set by key, as in a dictionary; nil: none
}

// Attr returns an attribute of the state, looked for where Python's default pickling puts it: in the state, if that is a
// dictionary, or in the parts of a pair of dictionaries.
func (o *Object) Attr(name string) (any, bool) {
	switch s := o.State.(type) {
	case *Dict:
		return s.Get(name)
	case Tuple:
		for _, part := range s {
			if d, ok := part.(*Dict); ok {
				if v, ok := d.Get(name); ok {
					return v, true
				}
			}
		}
	}
	return nil, false
}

// Dict is a Python dictionary of any class: entries in order of insertion.
type Dict struct {
	Class  Global // of a subclass such as collections.OrderedDict; zero: dict
	Keys   []any
	Values []any
	Args   []any // what a subclass was made from beside the entries, such as the factory of a defaultdict
	State  any   // attributes that were set on it, most often a *Dict
	index  map[any]int
}

// smallDict is the number of entries up to which a dictionary is searched without an index.
const smallDict = 8

// Len returns the number of entries.
func (d *Dict) Len() int { return len(d.Keys) }

// Get returns the value of a key that is a string.
func (d *Dict) Get(key string) (any, bool) {
	if d == nil {
		return nil, false
	}
	if i := d.find(key); i >= 0 {
		return d.Values[i], true
	}
	return nil, false
}

// Set sets the value of a key. It fails for a key that Python cannot hash.
func (d *Dict) Set(key, value any) error {
	h, err := hash(key, 0)
	if err != nil {
		return err
	}
	if i := d.find(h); i >= 0 {
		d.Values[i] = value
		return nil
	}
	if d.index != nil {
		d.index[h] = len(d.Keys)
	}
	d.Keys, d.Values = append(d.Keys, key), append(d.Values, value)
	if d.index == nil && len(d.Keys) > smallDict {
		d.index = make(map[any]int, 2*len(d.Keys))
		for i, k := range d.Keys {
			h, _ := hash(k, 0) // was hashed when it was set
			d.index[h] = i
		}
	}
	return nil
}

func (d *Dict) find(h any) int {
	if d.index != nil {
		if i, ok := d.index[h]; ok {
			return i
		}
		return -1
	}
	for i, k := range d.Keys {
		if kh, _ := hash(k, 0); kh == h {
			return i
		}
	}
	return -1
}

// text is a key that has no comparable Go form, spelled out.
type text string

// hash returns a comparable value that is the same for keys that are equal in Python.
func hash(key any, depth int) (any, error) {
	switch k := key.(type) {
	case nil, string, int64, complex128, Global, *Object:
		return k, nil
	case bool:
		if k {
			return int64(1), nil
		}
		return int64(0), nil
	case float64:
		if i := int64(k); float64(i) == k {
			return i, nil
		}
		return k, nil
	case *big.Int:
		return text("int " + k.Text(16)), nil
	case Bytes:
		return text("bytes " + string(k)), nil
	case Tuple:
		if depth == 8 || len(k) > 64 {
			return nil, fmt.Errorf("a dictionary key that is a tuple of %d in %d others: accepted are 64 in 8", len(k), depth)
		}
		var b strings.Builder
		for _, e := range k {
			h, err := hash(e, depth+1)
			if err != nil {
				return nil, err
			}
			s := fmt.Sprintf("%T %v", h, h)
			if o, ok := h.(*Object); ok {
				s = fmt.Sprintf("%p", o)
			}
			fmt.Fprintf(&b, "%d:%s,", len(s), s)
			if b.Len() > 1<<12 {
				return nil, fmt.Errorf("a dictionary key that is a tuple of more than %d bytes", 1<<12)
			}
		}
		return text(b.String()), nil
	case *List, *Dict, *Set:
		return nil, fmt.Errorf("a %s cannot be a dictionary key", TypeName(key))
	}
	return key, nil // what the caller made: a pointer
}

// TypeName returns the Python name of the type of a value, for messages.
func TypeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case complex128:
		return "complex"
	case string:
		return "str"
	case Bytes:
		return "bytes"
	case Tuple:
		return "tuple"
	case *List:
		return "list"
	case *Dict:
		if v.Class != (Global{}) {
			return v.Class.String()
		}
		return "dict"
	case *Set:
		return "set"
	case Global:
		return "global " + v.String()
	case *Object:
		return v.Class.String()
	case fmt.Stringer:
		return v.String()
	}
	return fmt.Sprintf("%T", v)
}

// Use says how a pickle uses a global that is not known.
type Use struct {
	Name   string `json:"name"`
	How    string `json:"how"`   // "named", "made" (an instance of a class) or "called"
	Count  int    `json:"count"` // how often
	Offset int    `json:"offset"`
}

// Report lists the globals of a pickle that are not known, by name.
type Report struct {
	uses map[Use]*Use // by name and how
}

// maxUses bounds the report of a hostile file.
const maxUses = 10000

func (r *Report) add(g Global, how string, offset int) {
	k := Use{Name: g.String(), How: how}
	if u := r.uses[k]; u != nil {
		u.Count++
		return
	}
	if r.uses == nil {
		r.uses = map[Use]*Use{}
	}
	if len(r.uses) < maxUses {
		r.uses[k] = &Use{Name: k.Name, How: how, Count: 1, Offset: offset}
	}
}

// List returns the uses, sorted by name. A global that is made or called is not listed as named as well.
func (r *Report) List() []Use {
	var out []Use
	for k, u := range r.uses {
		if k.How == named && (r.uses[Use{Name: k.Name, How: made}] != nil || r.uses[Use{Name: k.Name, How: called}] != nil) {
			continue
		}
		out = append(out, *u)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Name < out[j].Name || out[i].Name == out[j].Name && out[i].How < out[j].How
	})
	return out
}

// How a global is used.
const (
	named  = "named"
	made   = "made"
	called = "called"
)

// Call makes a value from the arguments that a pickle applies a global to.
type Call func(args []any) (any, error)

// Builder is a value made by a [Call] that a pickle may set further state on.
type Builder interface {
	Build(state any) error
}

// Options say what a pickle may refer to. The zero value knows Python's own containers only.
type Options struct {
	// Calls returns what makes values of a global, or nil if it is not known.
	Calls func(Global) Call
	// Known reports whether a global that has no Call is expected all the same, so that it is not reported.
	Known func(Global) bool
	// Persistent returns what a persistent id stands for. Nil: a pickle with one is refused.
	Persistent func(id any) (any, error)
	// Bytes bounds the memory that values take beyond the length of the pickle; 0: [DefaultBytes].
	Bytes int
	// Report takes the globals that are not known; nil: nobody asks.
	Report *Report
}

// DefaultBytes is the memory that the values of a pickle may take beyond its length.
const DefaultBytes = 24 << 20

// Load reads the first pickle of data and returns its value and its length in bytes. Errors name the opcode and its offset.
func Load(data []byte, o Options) (v any, n int, err error) {
	if o.Bytes == 0 {
		o.Bytes = DefaultBytes
	}
	if o.Report == nil {
		o.Report = &Report{}
	}
	m := &machine{data: data, o: o, left: o.Bytes + len(data)}
	v, err = m.run()
	if err != nil {
		return nil, m.pos, err
	}
	if len(m.unsafe) > 0 {
		return nil, m.pos, &UnsafeError{slices.Compact(m.unsafe)}
	}
	if err := checkDepth(v); err != nil {
		return nil, m.pos, err
	}
	return v, m.pos, nil
}

// UnsafeError says that a pickle names functions that run code. It was read to its end, and nothing ran.
type UnsafeError struct{ Names []string }

func (e *UnsafeError) Error() string {
	names := e.Names
	more := ""
	if len(names) > 8 {
		names, more = names[:8], fmt.Sprintf(" and %d more", len(e.Names)-8)
	}
	return fmt.Sprintf("it would run code when Python loads it: it names %s%s; nothing was run, and such a file is not read", strings.Join(names, ", "), more)
}
