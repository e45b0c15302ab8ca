package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Instructions that the Go assembler does not know are emitted under their names, so that registers
// are allocated as for any other, and turned into bytes when the file is printed. Forms: Intel 64 and
// IA-32 Architectures Software Developer's Manual, volume 2.

// rawForm is the encoding of a register-only instruction.
type rawForm struct {
	vex    bool // VEX.256 instead of EVEX
	prefix byte // pp: 1 is 66, 2 is F3, 3 is F2; the map is always 0F38, W always 0
	opcode byte
	length byte // EVEX L'L: 2 is 512 bits, 1 is 256
	binary bool // two sources; otherwise vvvv is unused
}

var rawForms = map[string]rawForm{
	"VDPBF16PS":   {prefix: 2, opcode: 0x52, length: 2, binary: true},
	"VDPBF16PSY":  {prefix: 2, opcode: 0x52, length: 1, binary: true},
	"VPDPBUSDVEX": {vex: true, prefix: 1, opcode: 0x50, length: 1, binary: true},
}

// raw emits op with its operands in Go's order: the second source (the one that may be memory), the
// first source, the destination, which is read too.
func (g *gen) raw(op string, src2, src1, dst reg.Register) {
	if _, ok := rawForms[op]; !ok {
		panic("no encoding of " + op)
	}
	g.Instruction(&ir.Instruction{Opcode: op, Operands: []operand.Op{src2, src1, dst}, Inputs: []operand.Op{src2, src1, dst}, Outputs: []operand.Op{dst}})
}

var rawLine = regexp.MustCompile(`(?m)^\t([A-Z0-9]+) +([XYZ]\d+(?:, [XYZ]\d+)*)$`)

// encodeRaw replaces the lines of raw instructions by BYTE directives.
func encodeRaw(text []byte) []byte {
	return rawLine.ReplaceAllFunc(text, func(line []byte) []byte {
		m := rawLine.FindSubmatch(line)
		form, ok := rawForms[string(m[1])]
		if !ok {
			return line
		}
		var numbers []byte
		for _, r := range strings.Split(string(m[2]), ", ") {
			n, err := strconv.Atoi(r[1:])
			if err != nil {
				panic(err)
			}
			numbers = append(numbers, byte(n))
		}
		var out strings.Builder
		for i, b := range form.encode(numbers) {
			if i > 0 {
				out.WriteString("; ")
			}
			fmt.Fprintf(&out, "BYTE $0x%02x", b)
		}
		return []byte("\t" + out.String() + " // " + string(line[1:]))
	})
}

// encode assembles the instruction for register numbers in Go's order.
func (f rawForm) encode(regs []byte) []byte {
	rm, vvvv, dst := regs[0], byte(0), regs[len(regs)-1]
	if f.binary {
		vvvv = regs[1]
	}
	inverted := func(n, bit byte) byte { return ^n >> bit & 1 }
	modrm := 0xc0 | dst&7<<3 | rm&7
	if f.vex {
		if max(rm, vvvv, dst) > 15 {
			panic("register above 15 in a VEX instruction")
		}
		return []byte{0xc4, inverted(dst, 3)<<7 | 1<<6 | inverted(rm, 3)<<5 | 2, ^vvvv&15<<3 | f.length<<2 | f.prefix, f.opcode, modrm}
	}
	return []byte{
		0x62,
		inverted(dst, 3)<<7 | inverted(rm, 4)<<6 | inverted(rm, 3)<<5 | inverted(dst, 4)<<4 | 2,
		^vvvv&15<<3 | 1<<2 | f.prefix,
		f.length<<5 | inverted(vvvv, 4)<<3,
		f.opcode,
		modrm,
	}
}
