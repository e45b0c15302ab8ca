package protobuf

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth bounds how deep messages nest, as the reference implementations do.
const maxDepth = 100

// ErrWire marks input that is not a well-formed message.
var ErrWire = errors.New("malformed message")

// field is one field of a message as it was found.
type field struct {
	num  protowire.Number
	typ  protowire.Type
	u    uint64 // of a varint, 32-bit or 64-bit field
	b    []byte // contents of a length-delimited field, aliasing the input
	next int    // nesting depth left to a message in b
}

// message is implemented by every message type. set stores a field and reports whether it knew it.
type message interface {
	set(f field) (known bool, err error)
}

// parse reads the fields of b into m and returns those that m does not know.
func parse(b []byte, m message, depth int) (unknown []byte, err error) {
	if depth <= 0 {
		return nil, fmt.Errorf("%w: messages nest deeper than %d", ErrWire, maxDepth)
	}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, wireError(n)
		}
		f := field{num: num, typ: typ, next: depth - 1}
		rest := b[n:]
		var k int
		switch typ {
		case protowire.VarintType:
			f.u, k = protowire.ConsumeVarint(rest)
		case protowire.Fixed32Type:
			var v uint32
			v, k = protowire.ConsumeFixed32(rest)
			f.u = uint64(v)
		case protowire.Fixed64Type:
			f.u, k = protowire.ConsumeFixed64(rest)
		case protowire.BytesType:
			f.b, k = protowire.ConsumeBytes(rest)
			f.b = slices.Clip(f.b)
		default:
			k = protowire.ConsumeFieldValue(num, typ, rest)
		}
		if k < 0 {
			return nil, fmt.Errorf("field %d: %w", num, wireError(k))
		}
		known := false
		if typ != protowire.StartGroupType {
			if known, err = m.set(f); err != nil {
				return nil, fmt.Errorf("field %d: %w", num, err)
			}
		}
		if !known {
			unknown = append(unknown, b[:n+k]...)
		}
		b = rest[k:]
	}
	return unknown, nil
}

func wireError(n int) error {
	return fmt.Errorf("%w: %w", ErrWire, protowire.ParseError(n))
}

var wireNames = map[protowire.Type]string{
	protowire.VarintType: "a varint", protowire.Fixed32Type: "32 bits", protowire.Fixed64Type: "64 bits",
	protowire.BytesType: "a length-delimited value",
}

func (f field) want(t protowire.Type) error {
	if f.typ != t {
		return fmt.Errorf("%w: want %s, found %s", ErrWire, wireNames[t], wireNames[f.typ])
	}
	return nil
}

func (f field) str(dst *string) error {
	*dst = string(f.b)
	return f.want(protowire.BytesType)
}

func (f field) strs(dst *[]string) error {
	*dst = append(*dst, string(f.b))
	return f.want(protowire.BytesType)
}

func (f field) bytes(dst *[]byte) error {
	*dst = f.b
	return f.want(protowire.BytesType)
}

func (f field) bytesList(dst *[][]byte) error {
	*dst = append(*dst, f.b)
	return f.want(protowire.BytesType)
}

func (f field) int64(dst *int64) error {
	*dst = int64(f.u)
	return f.want(protowire.VarintType)
}

func (f field) int32(dst *int32) error {
	*dst = int32(f.u)
	return f.want(protowire.VarintType)
}

// int64s appends a repeated integer, packed or not.
func (f field) int64s(dst *[]int64) error {
	if f.typ != protowire.BytesType {
		*dst = append(*dst, int64(f.u))
		return f.want(protowire.VarintType)
	}
	v, err := varints(f.b)
	for _, u := range v {
		*dst = append(*dst, int64(u))
	}
	return err
}

// floats appends a repeated float, packed or not.
func (f field) floats(dst *[]float32) error {
	if f.typ != protowire.BytesType {
		*dst = append(*dst, math.Float32frombits(uint32(f.u)))
		return f.want(protowire.Fixed32Type)
	}
	if len(f.b)%4 != 0 {
		return fmt.Errorf("%w: packed floats take %d bytes", ErrWire, len(f.b))
	}
	for b := f.b; len(b) > 0; b = b[4:] {
		v, _ := protowire.ConsumeFixed32(b)
		*dst = append(*dst, math.Float32frombits(v))
	}
	return nil
}

// packed collects a repeated number in its packed wire form. The usual single packed field is aliased, not copied.
func (f field) packed(dst *[]byte, elem protowire.Type) error {
	switch f.typ {
	case protowire.BytesType:
		switch {
		case elem == protowire.Fixed32Type && len(f.b)%4 != 0, elem == protowire.Fixed64Type && len(f.b)%8 != 0:
			return fmt.Errorf("%w: packed numbers take %d bytes", ErrWire, len(f.b))
		case elem == protowire.VarintType && len(f.b) > 0 && f.b[len(f.b)-1] >= 0x80:
			return fmt.Errorf("%w: packed numbers end within a number", ErrWire)
		}
		if len(*dst) == 0 {
			*dst = f.b
		} else {
			*dst = append(slices.Clip(*dst), f.b...)
		}
		return nil
	case elem:
		switch elem {
		case protowire.VarintType:
			*dst = protowire.AppendVarint(*dst, f.u)
		case protowire.Fixed32Type:
			*dst = protowire.AppendFixed32(*dst, uint32(f.u))
		default:
			*dst = protowire.AppendFixed64(*dst, f.u)
		}
		return nil
	}
	return f.want(elem)
}

// one reads an embedded message into *dst, which is merged with what an earlier occurrence of the field left there.
func one[M any, P interface {
	*M
	message
	unknown() *[]byte
}](f field, dst *P) error {
	if err := f.want(protowire.BytesType); err != nil {
		return err
	}
	if *dst == nil {
		*dst = P(new(M))
	}
	u, err := parse(f.b, *dst, f.next)
	keep := (*dst).unknown()
	*keep = append(*keep, u...)
	return err
}

// many appends an embedded message.
func many[M any, P interface {
	*M
	message
	unknown() *[]byte
}](f field, dst *[]P) error {
	var m P
	err := one[M, P](f, &m)
	*dst = append(*dst, m)
	return err
}

// values appends an embedded message to a list of structs.
func values[M any, P interface {
	*M
	message
	unknown() *[]byte
}](f field, dst *[]M) error {
	var m P
	err := one[M, P](f, &m)
	if m != nil {
		*dst = append(*dst, *m)
	}
	return err
}

func top[M any, P interface {
	*M
	message
	unknown() *[]byte
}](b []byte) (P, error) {
	m := P(new(M))
	u, err := parse(b, m, maxDepth)
	if err != nil {
		return nil, err
	}
	*m.unknown() = u
	return m, nil
}
