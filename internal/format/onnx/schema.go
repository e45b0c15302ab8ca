package onnx

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/neurotrain/neuroquant/tensor"
)

// schemaText says what the operators of each operator set take: schema/generate.py writes it from the ONNX package.
//
//go:embed schema/schema.txt
var schemaText string

// schema is one version of an operator.
type schema struct {
	since             int
	minIn, maxIn      int // maxIn -1: any number, of the last listed type
	minOut, maxOut    int
	attrs             []string
	inTypes, outTypes []typeMask
}

// typeMask is a set of element types; bits 27 to 29 stand for containers.
type typeMask uint32

const (
	maskSequence typeMask = 1 << 27
	maskOptional typeMask = 1 << 28
)

func (m typeMask) has(d tensor.DType) bool {
	switch d {
	case tensor.Invalid:
		return true // not known
	case tensor.Sequence:
		return m&maskSequence != 0
	case tensor.Optional:
		return m&maskOptional != 0
	}
	return m&(1<<d) != 0
}

// schemas maps an operator to its versions, oldest first.
var schemas = sync.OnceValue(func() map[string][]*schema {
	m := map[string][]*schema{}
	for line := range strings.Lines(schemaText) {
		f := strings.Fields(line)
		num := func(i int) int {
			n, err := strconv.Atoi(f[i])
			if err != nil {
				panic(fmt.Sprintf("schema.txt: %q: %v", line, err))
			}
			return n
		}
		s := &schema{since: num(1), minIn: num(2), maxIn: num(3), minOut: num(4), maxOut: num(5)}
		if f[6] != "-" {
			s.attrs = strings.Split(f[6], ",")
		}
		s.inTypes, s.outTypes = masks(f[7]), masks(f[8])
		m[f[0]] = append(m[f[0]], s)
	}
	return m
})

func masks(s string) []typeMask {
	if s == "-" {
		return nil
	}
	var out []typeMask
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(f, 16, 32)
		if err != nil {
			panic("schema.txt: " + err.Error())
		}
		out = append(out, typeMask(n))
	}
	return out
}

// schemaAt returns the version of an operator that an operator set has, or nil.
func schemaAt(kind string, opset int) *schema {
	var found *schema
	for _, s := range schemas()[kind] {
		if s.since <= opset {
			found = s
		}
	}
	return found
}

// check says why the schema does not admit a node, or returns nil.
func (s *schema) check(n *outNode) error {
	for name := range n.attrs {
		if !slices.Contains(s.attrs, name) {
			return fmt.Errorf("attribute %q does not exist yet", name)
		}
	}
	in := len(n.in) - n.captured
	if in < s.minIn || s.maxIn >= 0 && in > s.maxIn {
		return fmt.Errorf("%d inputs are not admitted", in)
	}
	if s.maxOut >= 0 && len(n.out) > s.maxOut {
		return fmt.Errorf("%d outputs are not admitted", len(n.out))
	}
	for i, v := range n.in[:in] {
		if v != nil && len(s.inTypes) > 0 && !s.inTypes[min(i, len(s.inTypes)-1)].has(v.Type.DType) {
			return fmt.Errorf("input %d of type %v is not admitted", i, v.Type.DType)
		}
	}
	for i, v := range n.out {
		if v != nil && len(s.outTypes) > 0 && !s.outTypes[min(i, len(s.outTypes)-1)].has(v.Type.DType) {
			return fmt.Errorf("output %d of type %v is not admitted", i, v.Type.DType)
		}
	}
	return nil
}
