package pickle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Bounds of one pickle beside its memory.
const (
	maxProtocol  = 5
	maxMarks     = 4 * maxDepth // a level of Python objects takes up to four marks
	maxIntBytes  = 1 << 12      // of a whole number
	maxIntDigits = 4300         // of one in decimal, as Python has it
	maxPersist   = 1 << 22      // persistent ids
)

// Costs in bytes of memory, rounded up: what a value takes with its slot, its box and what later checks need.
const (
	costSlot      = 24  // of a stack, a memo or a container
	costBox       = 32  // an interface's copy of a string, number or slice
	costContainer = 160 // an empty list, dictionary or object
	costEntry     = 96  // of a dictionary, index included
)

// machine runs the opcodes of one pickle. The memo is dense, as Python numbers it; other numbers go to sparse.
type machine struct {
	data   []byte
	pos    int
	op     byte // opcode in progress
	at     int  // its offset
	o      Options
	left   int // bytes of memory that values may still take
	stack  []any
	marks  []int // heights of the stack
	memo   []any
	sparse map[uint64]any
	ids    int // persistent ids so far
	unsafe []string
}

func (m *machine) errorf(format string, a ...any) error {
	return fmt.Errorf("opcode %s at offset %d: %w", opName(m.op), m.at, fmt.Errorf(format, a...))
}

var errEnd = errors.New("it ends in the middle of a value: the file is cut short or is no pickle")

// charge takes n bytes off the budget.
func (m *machine) charge(n int) error {
	if m.left -= n; m.left < 0 {
		return m.errorf("its values take more than %d bytes of memory, which is what a pickle of %d bytes is given", m.o.Bytes+len(m.data), len(m.data))
	}
	return nil
}

// take returns the next n bytes.
func (m *machine) take(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)-m.pos) {
		return nil, m.errorf("%w: it wants %d bytes, %d are left", errEnd, n, len(m.data)-m.pos)
	}
	b := m.data[m.pos : m.pos+int(n) : m.pos+int(n)]
	m.pos += int(n)
	return b, nil
}

// number reads a little-endian number of n bytes.
func (m *machine) number(n int) (uint64, error) {
	b, err := m.take(uint64(n))
	if err != nil {
		return 0, err
	}
	var x uint64
	for i, c := range b {
		x |= uint64(c) << (8 * i)
	}
	return x, nil
}

// line reads up to the next newline.
func (m *machine) line() (string, error) {
	i := slices.Index(m.data[m.pos:min(len(m.data), m.pos+1<<16)], '\n')
	if i < 0 {
		if len(m.data)-m.pos > 1<<16 {
			return "", m.errorf("a line of more than %d bytes", 1<<16)
		}
		return "", m.errorf("%w", errEnd)
	}
	s := string(m.data[m.pos : m.pos+i])
	m.pos += i + 1
	return s, m.charge(i)
}

func (m *machine) push(v any) (err error) {
	m.stack, err = m.extend(m.stack, v)
	return err
}

// extend appends a value to the stack or the memo. What is paid is every array that they ever lie in.
func (m *machine) extend(s []any, v any) ([]any, error) {
	if len(s) == cap(s) {
		n := max(64, len(s)/2)
		if err := m.charge(costSlot * (len(s) + n)); err != nil {
			return s, err
		}
		s = slices.Grow(s, n)
	}
	return append(s, v), nil
}

// pushNew pushes a value that takes n bytes of its own.
func (m *machine) pushNew(v any, n int) error {
	if err := m.charge(costBox + n); err != nil {
		return err
	}
	return m.push(v)
}

// floor is the height below which the stack belongs to the values before the last mark.
func (m *machine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *machine) pop() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, m.errorf("the stack is empty")
	}
	v := m.stack[len(m.stack)-1]
	m.stack = m.stack[:len(m.stack)-1]
	return v, nil
}

func (m *machine) top() (any, error) {
	if len(m.stack) <= m.floor() {
		return nil, m.errorf("the stack is empty")
	}
	return m.stack[len(m.stack)-1], nil
}

// popMark returns a copy of what was pushed since the last mark.
func (m *machine) popMark() ([]any, error) {
	if len(m.marks) == 0 {
		return nil, m.errorf("there is no mark")
	}
	from := m.floor()
	m.marks = m.marks[:len(m.marks)-1]
	if err := m.charge(costSlot * (len(m.stack) - from)); err != nil {
		return nil, err
	}
	items := slices.Clone(m.stack[from:])
	clear(m.stack[from:])
	m.stack = m.stack[:from]
	return items, nil
}

// store and fetch take the result of reading the number.
func (m *machine) store(i uint64, err error) error {
	if err != nil {
		return err
	}
	v, err := m.top()
	if err != nil {
		return err
	}
	switch n := uint64(len(m.memo)); {
	case i < n:
		m.memo[i] = v
		return nil
	case i == n:
		m.memo, err = m.extend(m.memo, v)
		return err
	}
	if m.sparse == nil {
		m.sparse = map[uint64]any{}
	}
	m.sparse[i] = v
	return m.charge(costEntry)
}

func (m *machine) fetch(i uint64, err error) error {
	if err != nil {
		return err
	}
	if v, ok := m.sparse[i]; ok {
		return m.push(v)
	}
	if i >= uint64(len(m.memo)) {
		return m.errorf("nothing is stored under %d", i)
	}
	return m.push(m.memo[i])
}

// run executes opcodes up to STOP and returns the value left.
func (m *machine) run() (any, error) {
	for {
		m.at = m.pos
		if m.pos >= len(m.data) {
			return nil, fmt.Errorf("%w (no STOP in %d bytes)", errEnd, len(m.data))
		}
		m.op = m.data[m.pos]
		m.pos++
		if m.op == '.' {
			v, err := m.pop()
			if err == nil && (len(m.stack) > 0 || len(m.marks) > 0) {
				err = m.errorf("%d values are left over", len(m.stack)+len(m.marks))
			}
			return v, err
		}
		if err := m.step(); err != nil {
			return nil, err
		}
	}
}

// refused says why some opcodes are not followed.
var refused = map[byte]string{
	0x82: "the extension registry of a Python program is not read", 0x83: "the extension registry of a Python program is not read", 0x84: "the extension registry of a Python program is not read",
	0x97: "buffers outside of the pickle are not read", 0x98: "buffers outside of the pickle are not read",
}

func opName(op byte) string {
	if n := opNames[op]; n != "" {
		return n
	}
	return fmt.Sprintf("0x%02x", op)
}

// opNames lists the instruction set of the pickle protocols, as Python's pickletools names it.
var opNames = map[byte]string{
	'(':  "MARK",
	'0':  "POP",
	'1':  "POP_MARK",
	'2':  "DUP",
	0x80: "PROTO",
	0x95: "FRAME",
	'N':  "NONE",
	0x88: "NEWTRUE",
	0x89: "NEWFALSE",
	'I':  "INT",
	'L':  "LONG",
	'J':  "BININT",
	'K':  "BININT1",
	'M':  "BININT2",
	0x8a: "LONG1",
	0x8b: "LONG4",
	'F':  "FLOAT",
	'G':  "BINFLOAT",
	'S':  "STRING",
	'T':  "BINSTRING",
	'U':  "SHORT_BINSTRING",
	'V':  "UNICODE",
	'X':  "BINUNICODE",
	0x8c: "SHORT_BINUNICODE",
	0x8d: "BINUNICODE8",
	'B':  "BINBYTES",
	'C':  "SHORT_BINBYTES",
	0x8e: "BINBYTES8",
	0x96: "BYTEARRAY8",
	')':  "EMPTY_TUPLE",
	't':  "TUPLE",
	0x85: "TUPLE1",
	0x86: "TUPLE2",
	0x87: "TUPLE3",
	']':  "EMPTY_LIST",
	'l':  "LIST",
	'a':  "APPEND",
	'e':  "APPENDS",
	'}':  "EMPTY_DICT",
	'd':  "DICT",
	's':  "SETITEM",
	'u':  "SETITEMS",
	0x8f: "EMPTY_SET",
	0x90: "ADDITEMS",
	0x91: "FROZENSET",
	'g':  "GET",
	'h':  "BINGET",
	'j':  "LONG_BINGET",
	'p':  "PUT",
	'q':  "BINPUT",
	'r':  "LONG_BINPUT",
	0x94: "MEMOIZE",
	'c':  "GLOBAL",
	0x93: "STACK_GLOBAL",
	'R':  "REDUCE",
	'b':  "BUILD",
	'i':  "INST",
	'o':  "OBJ",
	0x81: "NEWOBJ",
	0x92: "NEWOBJ_EX",
	'P':  "PERSID",
	'Q':  "BINPERSID",
	0x82: "EXT1",
	0x83: "EXT2",
	0x84: "EXT4",
	0x97: "NEXT_BUFFER",
	0x98: "READONLY_BUFFER",
	'.':  "STOP",
}

// step executes the opcode m.op.
func (m *machine) step() error {
	switch m.op {
	case '(':
		return m.mark()
	case '0':
		return m.discard()
	case '1':
		_, err := m.popMark()
		return err
	case '2':
		return m.dup()
	case 0x80:
		return m.proto()
	case 0x95:
		return m.frame()
	case 'N':
		return m.push(nil)
	case 0x88:
		return m.push(true)
	case 0x89:
		return m.push(false)
	case 'I':
		return m.textInt()
	case 'L':
		return m.textLong()
	case 'J':
		x, err := m.number(4)
		return m.pushInt(int64(int32(x)), err)
	case 'K':
		x, err := m.number(1)
		return m.pushInt(int64(x), err)
	case 'M':
		x, err := m.number(2)
		return m.pushInt(int64(x), err)
	case 0x8a:
		return m.long(1)
	case 0x8b:
		return m.long(4)
	case 'F':
		return m.textFloat()
	case 'G':
		return m.float()
	case 'S':
		return m.quoted()
	case 'T':
		return m.str(4)
	case 'U':
		return m.str(1)
	case 'V':
		return m.escaped()
	case 'X':
		return m.str(4)
	case 0x8c:
		return m.str(1)
	case 0x8d:
		return m.str(8)
	case 'B':
		return m.bytes(4)
	case 'C':
		return m.bytes(1)
	case 0x8e:
		return m.bytes(8)
	case 0x96:
		return m.bytes(8)
	case ')':
		return m.pushNew(Tuple(nil), 0)
	case 't':
		return m.tuple()
	case 0x85:
		return m.tupleOf(1)
	case 0x86:
		return m.tupleOf(2)
	case 0x87:
		return m.tupleOf(3)
	case ']':
		return m.pushNew(new(List), costContainer)
	case 'l':
		return m.list()
	case 'a':
		return m.appendOne()
	case 'e':
		return m.appendMany()
	case '}':
		return m.pushNew(new(Dict), costContainer)
	case 'd':
		return m.dict()
	case 's':
		return m.setOne()
	case 'u':
		return m.setMany()
	case 0x8f:
		return m.pushNew(new(Set), costContainer)
	case 0x90:
		return m.addItems()
	case 0x91:
		return m.frozenSet()
	case 'g':
		return m.fetch(m.index())
	case 'h':
		return m.fetch(m.number(1))
	case 'j':
		return m.fetch(m.number(4))
	case 'p':
		return m.store(m.index())
	case 'q':
		return m.store(m.number(1))
	case 'r':
		return m.store(m.number(4))
	case 0x94:
		return m.store(uint64(len(m.memo)), nil)
	case 'c':
		return m.global()
	case 0x93:
		return m.stackGlobal()
	case 'R':
		return m.reduce()
	case 'b':
		return m.build()
	case 'i':
		return m.inst()
	case 'o':
		return m.obj()
	case 0x81:
		return m.newObj()
	case 0x92:
		return m.newObjEx()
	case 'P':
		return m.textPersistent()
	case 'Q':
		return m.persistent()
	}
	if why := refused[m.op]; why != "" {
		return m.errorf("%s", why)
	}
	return fmt.Errorf("unknown opcode 0x%02x at offset %d", m.op, m.at)
}

func (m *machine) mark() error {
	if len(m.marks) == maxMarks {
		return m.errorf("values are nested in more than %d marks", maxMarks)
	}
	m.marks = append(m.marks, len(m.stack))
	return nil
}

// discard is POP, which takes a mark where one is on top.
func (m *machine) discard() error {
	if n := len(m.marks); n > 0 && m.marks[n-1] == len(m.stack) {
		m.marks = m.marks[:n-1]
		return nil
	}
	_, err := m.pop()
	return err
}

func (m *machine) dup() error {
	v, err := m.top()
	if err != nil {
		return err
	}
	return m.push(v)
}

func (m *machine) proto() error {
	v, err := m.number(1)
	if err == nil && v > maxProtocol {
		err = m.errorf("protocol %d; the newest that is read is %d", v, maxProtocol)
	}
	return err
}

// frame checks that the announced length is there; what it frames is read in place.
func (m *machine) frame() error {
	n, err := m.number(8)
	if err == nil && n > uint64(len(m.data)-m.pos) {
		err = m.errorf("%w: a frame of %d bytes, %d are left", errEnd, n, len(m.data)-m.pos)
	}
	return err
}

func (m *machine) pushInt(v int64, err error) error {
	if err != nil {
		return err
	}
	return m.pushNew(v, 0)
}

func (m *machine) textInt() error {
	s, err := m.line()
	switch {
	case err != nil:
		return err
	case s == "00":
		return m.push(false)
	case s == "01":
		return m.push(true)
	}
	return m.decimal(s)
}

func (m *machine) textLong() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	return m.decimal(strings.TrimSuffix(s, "L"))
}

func (m *machine) decimal(s string) error {
	s = strings.TrimSpace(s)
	if v, err := strconv.ParseInt(s, 10, 64); err == nil {
		return m.pushInt(v, nil)
	}
	if len(s) > maxIntDigits {
		return m.errorf("a whole number of %d digits; accepted are %d", len(s), maxIntDigits)
	}
	v, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return m.errorf("%.40q is no whole number", s)
	}
	return m.pushNew(v, costContainer+len(s))
}

// long reads a two's complement number whose length takes size bytes.
func (m *machine) long(size int) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	if n > maxIntBytes {
		return m.errorf("a whole number of %d bytes; accepted are %d", n, maxIntBytes)
	}
	b, err := m.take(n)
	if err != nil {
		return err
	}
	if n == 0 {
		return m.pushInt(0, nil)
	}
	negative := b[n-1]&0x80 != 0
	if n <= 8 {
		var x int64
		if negative {
			x = -1
		}
		for i := len(b) - 1; i >= 0; i-- {
			x = x<<8 | int64(b[i])
		}
		return m.pushInt(x, nil)
	}
	be := slices.Clone(b)
	slices.Reverse(be)
	v := new(big.Int).SetBytes(be)
	if negative {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	if v.IsInt64() {
		return m.pushInt(v.Int64(), nil)
	}
	return m.pushNew(v, costContainer+len(b))
}

func (m *machine) textFloat() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return m.errorf("%.40q is no number", s)
	}
	return m.pushNew(v, 0)
}

func (m *machine) float() error {
	b, err := m.take(8)
	if err != nil {
		return err
	}
	return m.pushNew(math.Float64frombits(binary.BigEndian.Uint64(b)), 0)
}

// str reads a string whose length takes size bytes. The strings of Python 2 are taken for text, whatever their bytes.
func (m *machine) str(size int) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	b, err := m.take(n)
	if err != nil {
		return err
	}
	return m.pushNew(string(b), len(b))
}

func (m *machine) bytes(size int) error {
	n, err := m.number(size)
	if err != nil {
		return err
	}
	b, err := m.take(n)
	if err != nil {
		return err
	}
	return m.pushNew(Bytes(b), 0)
}

// quoted reads the text form of a string of Python 2.
func (m *machine) quoted() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
		return m.errorf("a string without quotes: %.40q", s)
	}
	t, err := unescape(s[1:len(s)-1], false)
	if err != nil {
		return m.errorf("%w", err)
	}
	return m.pushNew(t, len(t))
}

// escaped reads a text with \u escapes.
func (m *machine) escaped() error {
	s, err := m.line()
	if err != nil {
		return err
	}
	t, err := unescape(s, true)
	if err != nil {
		return m.errorf("%w", err)
	}
	return m.pushNew(t, len(t))
}

func (m *machine) index() (uint64, error) {
	s, err := m.line()
	if err != nil {
		return 0, err
	}
	i, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, m.errorf("%.40q is no number of the memo", s)
	}
	return i, nil
}
