package data

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

const (
	npyMagic = "\x93NUMPY"
	// maxNPYHeader bounds the text of a header; numpy itself refuses above 10,000 characters by default.
	maxNPYHeader = 1 << 16
	// maxNPYRank is numpy's limit on dimensions.
	maxNPYRank = 64
)

// NPYHeader is what a .npy file says before its data (numpy.lib.format, versions 1.0 to 3.0).
type NPYHeader struct {
	DType   tensor.DType
	Shape   tensor.Shape
	Fortran bool // column-major in the file; readers of this package return row-major tensors

	item   int  // bytes of one element in the file
	kind   byte // numpy's kind letter: b i u f c U S
	big    bool // big-endian
	length int  // bytes before the data
}

// byteLen returns the bytes of n elements in the file, or false on overflow.
func (h *NPYHeader) byteLen(n int) (int, bool) {
	if h.item != 0 && n > math.MaxInt/2/h.item {
		return 0, false
	}
	return n * h.item, true
}

// ReadNPYHeader reads the header and leaves r at the first byte of the data.
func ReadNPYHeader(r io.Reader) (*NPYHeader, error) {
	h, err := readNPYHeader(r)
	if err != nil {
		return nil, fmt.Errorf("npy: %w", err)
	}
	return h, nil
}

func readNPYHeader(r io.Reader) (*NPYHeader, error) {
	var start [8]byte
	if _, err := io.ReadFull(r, start[:]); err != nil {
		return nil, fmt.Errorf("magic: %w", shortRead(err))
	}
	if string(start[:6]) != npyMagic {
		return nil, fmt.Errorf("want the magic \\x93NUMPY, found %q", start[:6])
	}
	width := 4
	switch major := start[6]; major {
	case 1:
		width = 2
	case 2, 3:
	default:
		return nil, fmt.Errorf("want format version 1 to 3, found %d.%d", major, start[7])
	}
	var field [4]byte
	if _, err := io.ReadFull(r, field[:width]); err != nil {
		return nil, fmt.Errorf("header length: %w", shortRead(err))
	}
	size := binary.LittleEndian.Uint32(field[:])
	if size > maxNPYHeader {
		return nil, fmt.Errorf("header of %d bytes is above the limit of %d", size, maxNPYHeader)
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("header: %w", shortRead(err))
	}
	h, err := parseNPYHeader(string(text))
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h.length = 8 + width + len(text)
	return h, nil
}

func shortRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file is truncated")
	}
	return err
}

// parseNPYHeader reads the Python dictionary literal with exactly the keys descr, fortran_order and shape.
func parseNPYHeader(text string) (*NPYHeader, error) {
	p := &literal{s: text}
	h := &NPYHeader{}
	seen := map[string]bool{}
	p.expect('{')
	for p.err == nil && !p.accept('}') {
		key := p.str()
		p.expect(':')
		if p.err != nil {
			break
		}
		if seen[key] {
			return nil, fmt.Errorf("key %q twice", key)
		}
		seen[key] = true
		switch key {
		case "descr":
			if p.peek() == '[' {
				return nil, errors.New("structured dtypes (records) are not supported: save each field as an array of its own")
			}
			descr := p.str()
			if p.err == nil {
				if err := h.setDescr(descr); err != nil {
					return nil, err
				}
			}
		case "fortran_order":
			h.Fortran = p.boolean()
		case "shape":
			h.Shape = p.tuple()
		default:
			return nil, fmt.Errorf("unknown key %q", key)
		}
		if !p.accept(',') && p.peek() != '}' {
			p.fail("',' or '}'")
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	if rest := strings.TrimSpace(p.s[p.i:]); rest != "" {
		return nil, fmt.Errorf("unexpected %.20q after the dictionary", rest)
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return nil, fmt.Errorf("key %q is missing", key)
		}
	}
	n, ok := h.Shape.CheckedLen()
	if ok {
		_, ok = h.byteLen(n)
	}
	if !ok {
		return nil, fmt.Errorf("shape %v overflows", h.Shape)
	}
	if h.item == 0 && n > 1<<20 {
		return nil, fmt.Errorf("%d elements of zero bytes", n)
	}
	if len(h.Shape) < 2 {
		h.Fortran = false
	}
	return h, nil
}

// setDescr interprets a numpy type string such as "<f4".
func (h *NPYHeader) setDescr(descr string) error {
	s := descr
	if s != "" && strings.IndexByte("<>|=", s[0]) >= 0 {
		h.big = s[0] == '>'
		s = s[1:]
	}
	if s == "?" {
		s = "b1"
	}
	if s == "" {
		return fmt.Errorf("dtype %q is not a numpy type", descr)
	}
	h.kind = s[0]
	size := 0
	if len(s) > 1 {
		n, err := strconv.ParseUint(s[1:], 10, 24)
		if err != nil {
			return fmt.Errorf("dtype %q is not a numpy type", descr)
		}
		size = int(n)
	}
	h.item = size
	switch h.kind {
	case 'U':
		h.item = 4 * size
		h.DType = tensor.String
		return nil
	case 'S', 'a':
		h.kind = 'S'
		h.DType = tensor.String
		return nil
	case 'O':
		return errors.New("an array of Python objects would need pickle, which is never run: save with a plain dtype")
	case 'M', 'm':
		return fmt.Errorf("dtype %q is a date or duration: save it as int64", descr)
	case 'V':
		if size == 2 {
			return fmt.Errorf("dtype %q carries no type (numpy stores bfloat16 so): save with .astype('float32')", descr)
		}
		return fmt.Errorf("dtype %q is raw bytes without a type (numpy stores 8-bit floats and int4 so): save with .astype('float32') or .astype('int8')", descr)
	}
	if d, ok := npyTypes[s]; ok {
		h.DType = d
		return nil
	}
	if h.kind == 'f' && size > 8 || h.kind == 'c' && size > 16 {
		return fmt.Errorf("dtype %q (long double) differs between machines: save with .astype('float64')", descr)
	}
	return fmt.Errorf("dtype %q is not supported: want bool, int8 to int64, uint8 to uint64, float16 to float64, complex64, complex128 or strings", descr)
}

var npyTypes = map[string]tensor.DType{
	"b1": tensor.Bool, "i1": tensor.Int8, "i2": tensor.Int16, "i4": tensor.Int32, "i8": tensor.Int64,
	"u1": tensor.Uint8, "u2": tensor.Uint16, "u4": tensor.Uint32, "u8": tensor.Uint64,
	"f2": tensor.Float16, "f4": tensor.Float32, "f8": tensor.Float64, "c8": tensor.Complex64, "c16": tensor.Complex128,
}

// literal scans the few forms of Python literals that a header may hold. After the first error every method is a no-op.
type literal struct {
	s   string
	i   int
	err error
}

func (p *literal) peek() byte {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
	if p.i == len(p.s) {
		return 0
	}
	return p.s[p.i]
}

func (p *literal) fail(want string) {
	if p.err == nil {
		p.err = fmt.Errorf("want %s at byte %d, found %.12q", want, p.i, p.s[p.i:])
	}
}

func (p *literal) accept(c byte) bool {
	if p.err == nil && p.peek() == c {
		p.i++
		return true
	}
	return false
}

func (p *literal) expect(c byte) {
	if !p.accept(c) {
		p.fail(fmt.Sprintf("%q", c))
	}
}

func (p *literal) str() string {
	q := p.peek()
	if p.err != nil || q != '\'' && q != '"' {
		p.fail("a quoted string")
		return ""
	}
	end := strings.IndexByte(p.s[p.i+1:], q)
	if end < 0 {
		p.fail("a closed string")
		return ""
	}
	s := p.s[p.i+1 : p.i+1+end]
	p.i += end + 2
	return s
}

func (p *literal) boolean() bool {
	p.peek()
	for word, v := range map[string]bool{"True": true, "False": false} {
		if p.err == nil && strings.HasPrefix(p.s[p.i:], word) {
			p.i += len(word)
			return v
		}
	}
	p.fail("True or False")
	return false
}

func (p *literal) tuple() tensor.Shape {
	shape := tensor.Shape{}
	p.expect('(')
	for p.err == nil && !p.accept(')') {
		p.peek()
		start := p.i
		for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
			p.i++
		}
		n, err := strconv.ParseInt(p.s[start:p.i], 10, 62)
		if err != nil {
			p.i = start
			p.fail("a size")
			break
		}
		p.accept('L') // Python 2 long
		shape = append(shape, int(n))
		if len(shape) > maxNPYRank {
			p.err = fmt.Errorf("more than %d dimensions", maxNPYRank)
			break
		}
		if !p.accept(',') && p.peek() != ')' {
			p.fail("',' or ')'")
		}
	}
	return shape
}
