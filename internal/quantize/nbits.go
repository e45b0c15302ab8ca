package quantize

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// RefuseNBits says why com.microsoft.MatMulNBits cannot hold a matrix of a scheme, rows x cols, or nothing.
func RefuseNBits(s tensor.Scheme, _, cols int) string {
	group := s.Group
	if group <= 0 {
		group = cols
	}
	switch {
	case s.Bits != 2 && s.Bits != 4 && s.Bits != 8:
		return fmt.Sprintf("%d bits; MatMulNBits has 2, 4 and 8", s.Bits)
	case group < 16 || group&(group-1) != 0:
		return fmt.Sprintf("groups of %d; MatMulNBits has powers of two of at least 16", group)
	}
	return ""
}

// ToMatMulNBits writes products with matrices of codes as com.microsoft.MatMulNBits, which ONNX Runtime has.
func ToMatMulNBits(g *graph.Graph) error {
	values := g.ValueNames()
	for _, n := range g.Nodes {
		l, ok := productOf(g, n)
		if !ok {
			continue
		}
		c, ok := l.w.Data.(packed.Coded)
		if !ok {
			continue
		}
		a, err := c.Affine()
		if err != nil {
			return fmt.Errorf("weight %q: %w", l.w.Name, err)
		}
		if why := RefuseNBits(a.Scheme(), a.Rows, a.Cols); why != "" {
			return fmt.Errorf("weight %q: %s", l.w.Name, why)
		}
		param := func(end string, t *tensor.Tensor) *graph.Value {
			return graph.Param(values.Fresh(l.w.Name+end), t)
		}
		in := []*graph.Value{l.x, param(codesEnd, blocksOf(a)), param("_scale", tensor.Of(tensor.Shape{a.Rows * a.Groups()}, a.Scales)), nil, nil}
		if a.Zeros != nil {
			in[3] = param("_zero_point", zerosOf(a))
		}
		if a.Index != nil {
			in[4] = param("_g_idx", tensor.Of(tensor.Shape{a.Cols}, a.Index))
		}
		for in[len(in)-1] == nil {
			in = in[:len(in)-1]
		}
		n.Op, n.In = &op.MatMulNBits{K: a.Cols, N: a.Rows, Bits: a.Bits, BlockSize: a.Group}, in
	}
	return nil
}

// blocksOf are the codes [rows, groups, bytes of a group], the lowest bits of a byte first; what is over in the last group is 0.
func blocksOf(a *packed.Affine) *tensor.Tensor {
	size := a.Group * a.Bits / 8
	t := tensor.New(tensor.Uint8, a.Rows, a.Groups(), size)
	row, perByte := make([]byte, a.Cols), 8/a.Bits
	for r := range a.Rows {
		a.RowCodes(row, r)
		out := t.Bytes()[r*a.Groups()*size:]
		for c, q := range row {
			out[c/perByte] |= q << (c % perByte * a.Bits)
		}
	}
	return t
}

// zerosOf are the zero points [rows, bytes of the groups], packed like the codes.
func zerosOf(a *packed.Affine) *tensor.Tensor {
	perByte := 8 / a.Bits
	size := (a.Groups() + perByte - 1) / perByte
	t := tensor.New(tensor.Uint8, a.Rows*size)
	for r := range a.Rows {
		for g := range a.Groups() {
			t.Bytes()[r*size+g/perByte] |= a.Zero(r, g) << (g % perByte * a.Bits)
		}
	}
	return t
}
