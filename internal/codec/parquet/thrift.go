package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// fields are those of a structure by number: int64, []byte, bool, fields, or []any of them. A field that is absent, or of another type
// than is asked for, is zero.
type fields map[int16]any

func (f fields) int(i int16) int64    { v, _ := f[i].(int64); return v }
func (f fields) bytes(i int16) []byte { v, _ := f[i].([]byte); return v }
func (f fields) list(i int16) []any   { v, _ := f[i].([]any); return v }
func (f fields) struc(i int16) fields { v, _ := f[i].(fields); return v }

// Types of Thrift's compact protocol.
const (
	isTrue = iota + 1
	isFalse
	isByte
	isInt16
	isInt32
	isInt64
	isDouble
	isBinary
	isList
	isSet
	isMap
	isStruct
)

var errShort = errors.New("it ends too early")

// reader reads from b, until err.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// take returns the next n bytes, or nil.
func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) unsigned() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// signed reads a number whose lowest bit is its sign.
func (r *reader) signed() int64 {
	v := r.unsigned()
	return int64(v>>1) ^ -int64(v&1)
}

// structure reads fields up to the end of a structure.
func (r *reader) structure(depth int) fields {
	f := fields{}
	id := int16(0)
	for {
		head := r.byte()
		if head == 0 || r.err != nil {
			return f
		}
		if delta := int16(head >> 4); delta > 0 {
			id += delta
		} else {
			id = int16(r.signed())
		}
		switch kind := head & 15; kind {
		case isTrue, isFalse:
			f[id] = kind == isTrue
		default:
			f[id] = r.value(kind, depth)
		}
	}
}

func (r *reader) value(kind byte, depth int) any {
	if depth > maxDepth {
		r.fail(fmt.Errorf("more than %d structures in each other", maxDepth))
		return nil
	}
	switch kind {
	case isTrue, isFalse: // in a list
		return r.byte() == isTrue
	case isByte:
		return int64(int8(r.byte()))
	case isInt16, isInt32, isInt64:
		return r.signed()
	case isDouble:
		return r.take(8)
	case isBinary:
		return r.take(r.unsigned())
	case isList, isSet:
		head := r.byte()
		n := uint64(head >> 4)
		if n == 15 {
			n = r.unsigned()
		}
		return r.values(n, depth, head&15)
	case isMap:
		n := r.unsigned()
		if n == 0 {
			return nil
		}
		kinds := r.byte()
		return r.values(n, depth, kinds>>4, kinds&15)
	case isStruct:
		return r.structure(depth + 1)
	}
	r.fail(fmt.Errorf("a value of the unknown type %d", kind))
	return nil
}

// values reads n values of each of kinds in turn.
func (r *reader) values(n uint64, depth int, kinds ...byte) []any {
	var out []any
	for range n {
		for _, k := range kinds {
			if len(r.b) == 0 { // each takes at least a byte
				r.fail(errShort)
				return nil
			}
			out = append(out, r.value(k, depth+1))
		}
	}
	return out
}
