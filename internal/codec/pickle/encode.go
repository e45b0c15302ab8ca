package pickle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// Persistent is a value outside of the pickle, by its id: what [Options.Persistent] is asked for when it is read.
type Persistent struct{ ID any }

// Encode returns the pickle of a value, in protocol 2, which every version of Python and of PyTorch reads. Values are those of
// [Load] and [Persistent]; an int counts as int64. A value that occurs twice is written twice, so that none may contain itself.
func Encode(v any) ([]byte, error) {
	e := &encoder{buf: []byte{0x80, 2}}
	if err := e.value(v, 0); err != nil {
		return nil, err
	}
	return append(e.buf, '.'), nil
}

type encoder struct{ buf []byte }

func (e *encoder) op(ops ...byte) { e.buf = append(e.buf, ops...) }

func (e *encoder) value(v any, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("values are nested deeper than %d, or contain themselves", maxDepth)
	}
	depth++
	switch v := v.(type) {
	case nil:
		e.op('N')
	case bool:
		if v {
			e.op(0x88)
		} else {
			e.op(0x89)
		}
	case int:
		e.int(int64(v))
	case int64:
		e.int(v)
	case *big.Int:
		e.big(v)
	case float64:
		e.op('G')
		e.buf = binary.BigEndian.AppendUint64(e.buf, math.Float64bits(v))
	case complex128:
		return e.call(Global{"builtins", "complex"}, Tuple{real(v), imag(v)}, depth)
	case string:
		return e.text(v)
	case Bytes: // protocol 2 has none: the text whose latin1 form they are
		r := make([]rune, len(v))
		for i, b := range v {
			r[i] = rune(b)
		}
		return e.call(Global{"_codecs", "encode"}, Tuple{string(r), "latin1"}, depth)
	case Tuple:
		return e.tuple(v, depth)
	case *List:
		e.op(']')
		return e.items(v.Items, 'e', depth)
	case *Set:
		class := Global{"builtins", "set"}
		if v.Frozen {
			class.Name = "frozenset"
		}
		return e.call(class, Tuple{&List{v.Items}}, depth)
	case *Dict:
		return e.dict(v, depth)
	case Global:
		return e.global(v)
	case *Object:
		return e.object(v, depth)
	case Persistent:
		if err := e.value(v.ID, depth); err != nil {
			return err
		}
		e.op('Q')
	default:
		return fmt.Errorf("a %s cannot be written to a pickle", TypeName(v))
	}
	return nil
}

func (e *encoder) int(v int64) {
	switch {
	case v >= 0 && v <= math.MaxUint8:
		e.op('K', byte(v))
	case v >= 0 && v <= math.MaxUint16:
		e.op('M', byte(v), byte(v>>8))
	case v == int64(int32(v)):
		e.op('J')
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(v))
	default:
		e.op(0x8a, 8)
		e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(v))
	}
}

// big writes a whole number of any size in two's complement.
func (e *encoder) big(v *big.Int) {
	n := v.BitLen()/8 + 1
	x := v
	if v.Sign() < 0 {
		x = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	b := x.FillBytes(make([]byte, n))
	slices.Reverse(b)
	e.op(0x8b)
	e.buf = append(binary.LittleEndian.AppendUint32(e.buf, uint32(n)), b...)
}

func (e *encoder) text(s string) error {
	if len(s) > math.MaxInt32 {
		return fmt.Errorf("a text of %d bytes is too long for a pickle", len(s))
	}
	e.op('X')
	e.buf = append(binary.LittleEndian.AppendUint32(e.buf, uint32(len(s))), s...)
	return nil
}

func (e *encoder) tuple(t Tuple, depth int) error {
	if len(t) == 0 {
		e.op(')')
		return nil
	}
	if len(t) > 3 {
		e.op('(')
	}
	for _, x := range t {
		if err := e.value(x, depth); err != nil {
			return err
		}
	}
	if len(t) > 3 {
		e.op('t')
	} else {
		e.op(0x84 + byte(len(t)))
	}
	return nil
}

// items appends elements to the container on the stack.
func (e *encoder) items(items []any, end byte, depth int) error {
	if len(items) == 0 {
		return nil
	}
	e.op('(')
	for _, x := range items {
		if err := e.value(x, depth); err != nil {
			return err
		}
	}
	e.op(end)
	return nil
}

func (e *encoder) dict(d *Dict, depth int) error {
	if d.Class == (Global{}) {
		e.op('}')
	} else if err := e.call(d.Class, d.Args, depth); err != nil {
		return err
	}
	if err := e.pairs(d, depth); err != nil {
		return err
	}
	return e.state(d.State, depth)
}

func (e *encoder) pairs(d *Dict, depth int) error {
	pairs := make([]any, 0, 2*d.Len())
	for i, k := range d.Keys {
		pairs = append(pairs, k, d.Values[i])
	}
	return e.items(pairs, 'u', depth)
}

func (e *encoder) state(v any, depth int) error {
	if v == nil {
		return nil
	}
	if err := e.value(v, depth); err != nil {
		return err
	}
	e.op('b')
	return nil
}

func (e *encoder) global(g Global) error {
	for _, s := range []string{g.Module, g.Name} {
		if s == "" || slices.Contains([]byte(s), '\n') {
			return fmt.Errorf("%q is no name of a global", g)
		}
	}
	e.op('c')
	e.buf = append(e.buf, g.Module+"\n"+g.Name+"\n"...)
	return nil
}

// call applies a global to arguments.
func (e *encoder) call(g Global, args Tuple, depth int) error {
	if err := e.global(g); err != nil {
		return err
	}
	if err := e.tuple(args, depth); err != nil {
		return err
	}
	e.op('R')
	return nil
}

func (e *encoder) object(o *Object, depth int) error {
	if o.Kwargs != nil {
		return fmt.Errorf("an object of %v with named arguments cannot be written in protocol 2", o.Class)
	}
	if err := e.call(o.Class, o.Args, depth); err != nil {
		return err
	}
	if !o.Called {
		e.buf[len(e.buf)-1] = 0x81 // NEWOBJ
	}
	if err := e.items(o.Items, 'e', depth); err != nil {
		return err
	}
	if o.Pairs != nil {
		if err := e.pairs(o.Pairs, depth); err != nil {
			return err
		}
	}
	return e.state(o.State, depth)
}
