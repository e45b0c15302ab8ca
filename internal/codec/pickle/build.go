package pickle

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (m *machine) tuple() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.pushNew(Tuple(items), 64)
}

func (m *machine) tupleOf(n int) error {
	if len(m.stack)-m.floor() < n {
		return m.errorf("the stack holds %d values, %d are wanted", len(m.stack)-m.floor(), n)
	}
	from := len(m.stack) - n
	t := append(make(Tuple, 0, n), m.stack[from:]...)
	m.stack = m.stack[:from]
	return m.pushNew(t, n*costSlot+64)
}

func (m *machine) list() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.pushNew(&List{items}, costContainer)
}

func (m *machine) dict() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	d := new(Dict)
	if err := m.fill(d, items); err != nil {
		return err
	}
	return m.pushNew(d, costContainer)
}

// fill sets entries from keys and values that alternate.
func (m *machine) fill(d *Dict, items []any) error {
	if len(items)%2 != 0 {
		return m.errorf("a key without a value")
	}
	if err := m.charge(costEntry * len(items) / 2); err != nil {
		return err
	}
	for i := 0; i < len(items); i += 2 {
		if err := d.Set(items[i], items[i+1]); err != nil {
			return m.errorf("%w", err)
		}
	}
	return nil
}

func (m *machine) appendOne() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	return m.appendTo([]any{v})
}

func (m *machine) appendMany() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.appendTo(items)
}

func (m *machine) appendTo(items []any) error {
	to, err := m.top()
	if err != nil {
		return err
	}
	if err := m.charge(2 * costSlot * len(items)); err != nil { // a slice grows ahead of its length
		return err
	}
	switch to := to.(type) {
	case *List:
		to.Items = append(to.Items, items...)
	case *Object:
		to.Items = append(to.Items, items...)
	default:
		return m.errorf("a %s takes no items", TypeName(to))
	}
	return nil
}

func (m *machine) setOne() error {
	v, err := m.pop()
	if err != nil {
		return err
	}
	k, err := m.pop()
	if err != nil {
		return err
	}
	return m.setIn([]any{k, v})
}

func (m *machine) setMany() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.setIn(items)
}

func (m *machine) setIn(items []any) error {
	to, err := m.top()
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *Dict:
		return m.fill(to, items)
	case *Object:
		if to.Pairs == nil {
			to.Pairs = new(Dict)
		}
		return m.fill(to.Pairs, items)
	}
	return m.errorf("a %s has no keys", TypeName(to))
}

func (m *machine) addItems() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	to, err := m.top()
	if err != nil {
		return err
	}
	s, ok := to.(*Set)
	if !ok {
		return m.errorf("a %s is no set", TypeName(to))
	}
	s.Items = append(s.Items, items...)
	return m.charge(2 * costSlot * len(items))
}

func (m *machine) frozenSet() error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	return m.pushNew(&Set{items, true}, costContainer)
}

func (m *machine) global() error {
	module, err := m.line()
	if err != nil {
		return err
	}
	name, err := m.line()
	if err != nil {
		return err
	}
	return m.pushGlobal(Global{module, name})
}

func (m *machine) stackGlobal() error {
	name, err := m.pop()
	if err != nil {
		return err
	}
	module, err := m.pop()
	if err != nil {
		return err
	}
	mod, ok1 := module.(string)
	n, ok2 := name.(string)
	if !ok1 || !ok2 {
		return m.errorf("want the names of a module and a global, got %s and %s", TypeName(module), TypeName(name))
	}
	return m.pushGlobal(Global{mod, n})
}

func (m *machine) pushGlobal(g Global) error {
	if len(g.Module) > 512 || len(g.Name) > 512 {
		return m.errorf("a global of %d characters", len(g.Module)+len(g.Name))
	}
	g = python3(g)
	if isUnsafe(g) && len(m.unsafe) < maxUses {
		m.unsafe = append(m.unsafe, fmt.Sprintf("%v (offset %d)", g, m.at))
	} else {
		m.report(g, named)
	}
	return m.pushNew(g, 32)
}

// report notes the use of a global that is not known.
func (m *machine) report(g Global, how string) {
	if m.call(g) == nil && !knownNames[g.String()] && (m.o.Known == nil || !m.o.Known(g)) {
		m.o.Report.add(g, how, m.at)
	}
}

// call returns what makes values of g, or nil if it is not known.
func (m *machine) call(g Global) Call {
	if c := python[g.String()]; c != nil {
		return c
	}
	if m.o.Calls != nil {
		return m.o.Calls(g)
	}
	return nil
}

func (m *machine) reduce() error {
	args, err := m.pop()
	if err != nil {
		return err
	}
	f, err := m.pop()
	if err != nil {
		return err
	}
	list, ok := args.(Tuple)
	if !ok {
		return m.errorf("want a tuple of arguments, got %s", TypeName(args))
	}
	g, ok := f.(Global)
	if !ok {
		return m.errorf("%s is called; only named classes and functions are", TypeName(f))
	}
	if g.Module == "copyreg" {
		switch g.Name {
		case "_reconstructor": // of protocols 0 and 1: class, base class, state of the base
			if len(list) == 3 {
				if class, ok := list[0].(Global); ok {
					return m.instance(class, nil, nil, made)
				}
			}
		case "__newobj__":
			if len(list) > 0 {
				if class, ok := list[0].(Global); ok {
					return m.instance(class, list[1:], nil, made)
				}
			}
		}
	}
	return m.instance(g, list, nil, called)
}

// instance pushes what a global makes of arguments.
func (m *machine) instance(g Global, args []any, kwargs *Dict, how string) error {
	if c := m.call(g); c != nil && kwargs == nil {
		v, err := c(args)
		if err != nil {
			return m.errorf("%v: %w", g, err)
		}
		return m.pushNew(v, costContainer+costEntry)
	}
	if !isUnsafe(g) {
		m.report(g, how)
	}
	return m.pushNew(&Object{Class: g, Called: how == called, Args: args, Kwargs: kwargs}, costContainer)
}

func (m *machine) inst() error {
	if err := m.global(); err != nil {
		return err
	}
	g, err := m.pop()
	if err != nil {
		return err
	}
	args, err := m.popMark()
	if err != nil {
		return err
	}
	return m.instance(g.(Global), args, nil, made)
}

func (m *machine) obj() error {
	args, err := m.popMark()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return m.errorf("a class is missing")
	}
	return m.newInstance(args[0], args[1:], nil)
}

func (m *machine) newObj() error {
	args, err := m.pop()
	if err != nil {
		return err
	}
	class, err := m.pop()
	if err != nil {
		return err
	}
	return m.newInstance(class, args, nil)
}

func (m *machine) newObjEx() error {
	kwargs, err := m.pop()
	if err != nil {
		return err
	}
	args, err := m.pop()
	if err != nil {
		return err
	}
	class, err := m.pop()
	if err != nil {
		return err
	}
	kw, ok := kwargs.(*Dict)
	if !ok {
		return m.errorf("want a dictionary of arguments, got %s", TypeName(kwargs))
	}
	if kw.Len() == 0 {
		kw = nil
	}
	return m.newInstance(class, args, kw)
}

func (m *machine) newInstance(class, args any, kwargs *Dict) error {
	g, ok := class.(Global)
	if !ok {
		return m.errorf("want a class, got %s", TypeName(class))
	}
	var list []any
	switch a := args.(type) {
	case Tuple:
		list = a
	case []any:
		list = a
	default:
		return m.errorf("want a tuple of arguments, got %s", TypeName(args))
	}
	return m.instance(g, list, kwargs, made)
}

func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	to, err := m.top()
	if err != nil {
		return err
	}
	switch to := to.(type) {
	case *Object:
		to.State = state
	case *Dict:
		to.State = state
	case Builder:
		if err := to.Build(state); err != nil {
			return m.errorf("%s: %w", TypeName(to), err)
		}
	default:
		return m.errorf("a %s has no state", TypeName(to))
	}
	return nil
}

func (m *machine) textPersistent() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	return m.resolve(s)
}

func (m *machine) persistent() error {
	id, err := m.pop()
	if err != nil {
		return err
	}
	return m.resolve(id)
}

func (m *machine) resolve(id any) error {
	if m.o.Persistent == nil {
		return m.errorf("it refers to data outside of the pickle")
	}
	if m.ids++; m.ids > maxPersist {
		return m.errorf("more than %d persistent ids", maxPersist)
	}
	v, err := m.o.Persistent(id)
	if err != nil {
		return m.errorf("%w", err)
	}
	return m.pushNew(v, costContainer)
}

// unescape decodes the escapes of a Python string literal: of a text only \u and \U are such.
func unescape(s string, isText bool) (string, error) {
	if !strings.ContainsRune(s, '\\') {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 == len(s) {
			return "", fmt.Errorf("a string that ends in a backslash")
		}
		c := s[i+1]
		digits := map[byte]int{'u': 4, 'U': 8, 'x': 2}[c]
		if isText && c != 'u' && c != 'U' || !isText && (c == 'u' || c == 'U') {
			b.WriteByte('\\') // stands for itself
			continue
		}
		if digits > 0 {
			if i+2+digits > len(s) {
				return "", fmt.Errorf("a cut escape %q", s[i:])
			}
			v, err := strconv.ParseUint(s[i+2:i+2+digits], 16, 32)
			if err != nil || v > utf8.MaxRune {
				return "", fmt.Errorf("a wrong escape %q", s[i:i+2+digits])
			}
			if isText {
				b.WriteRune(rune(v))
			} else {
				b.WriteByte(byte(v))
			}
			i += 1 + digits
			continue
		}
		if at := strings.IndexByte("abfnrtv\\'\"", c); at >= 0 {
			b.WriteByte("\a\b\f\n\r\t\v\\'\""[at])
			i++
			continue
		}
		if c >= '0' && c <= '7' {
			n := 1
			for n < 3 && i+1+n < len(s) && s[i+1+n] >= '0' && s[i+1+n] <= '7' {
				n++
			}
			v, _ := strconv.ParseUint(s[i+1:i+1+n], 8, 16)
			b.WriteByte(byte(v))
			i += n
			continue
		}
		b.WriteByte('\\')
	}
	return b.String(), nil
}
