package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// blockRows is how many rows of an encoded weight are decoded at a time before they are multiplied.
const blockRows = 32

// evalDecoded computes Y = A*Wᵀ + bias for A [..., K] of float32, float16 or bfloat16 and a weight [N, K] of which decode
// gives row n in float32. Rows are decoded in blocks, so that the whole weight never is in memory as floats.
func evalDecoded(e *graph.Env, a, bias *tensor.Tensor, n, k int, decode func(dst []float32, row int)) (*tensor.Tensor, error) {
	if err := scaleTypes.check(0, a.DType); err != nil {
		return nil, err
	}
	if a.Rank() < 1 || a.Shape[a.Rank()-1] != k {
		return nil, fmt.Errorf("A: want %d columns, got shape %v", k, a.Shape)
	}
	x, err := realData[float32](a)
	if err != nil {
		return nil, err
	}
	var b []float32
	if bias != nil {
		if err := biasOf(bias, n); err != nil {
			return nil, err
		}
		if b, err = bias.Floats(); err != nil {
			return nil, err
		}
	}
	m := a.Shape[:a.Rank()-1].Len()
	shape := append(a.Shape[:a.Rank()-1].Clone(), n)
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	y, done := realOutput[float32](e, a.DType, shape)
	e.For((n+blockRows-1)/blockRows, 1, func(lo, hi int) {
		w := make([]float32, blockRows*k)
		for c := lo; c < hi; c++ {
			first := c * blockRows
			rows := min(blockRows, n-first)
			for r := range rows {
				decode(w[r*k:(r+1)*k], first+r)
			}
			kernel.GemmF32(nil, false, true, m, rows, k, 1, x, max(k, 1), w, max(k, 1), 0, y[min(first, len(y)):], max(n, 1))
			for i := 0; i < m && b != nil; i++ {
				kernel.Add(y[i*n+first:i*n+first+rows], y[i*n+first:i*n+first+rows], b[first:first+rows])
			}
		}
	})
	return done(), nil
}

// inferDecoded is the type of A [..., K] times a weight [N, K].
func inferDecoded(a graph.Type, n, k int) (graph.Type, error) {
	if err := scaleTypes.check(0, a.DType); err != nil {
		return graph.Type{}, err
	}
	if !a.Ranked {
		return graph.Unranked(a.DType), nil
	}
	last := len(a.Dims) - 1
	if last < 0 || a.Dims[last].IsKnown() && a.Dims[last].Size != k {
		return graph.Type{}, fmt.Errorf("A: want %d columns, got %v", k, a)
	}
	return graph.Ranked(a.DType, append(append([]graph.Dim{}, a.Dims[:last]...), graph.Known(n))...), nil
}

// MatMulNBits is com.microsoft.MatMulNBits: Y = A*Wᵀ + bias with a weight [N, K] of 2, 4 or 8-bit codes in blocks along K, w =
// (code - zero point)*scale. Inputs are A, B (uint8 [N, blocks, bytes of a block], low bits first), scales [N, blocks], zero_points
// (packed like B with rows padded to a byte, or of A's type; absent: half the range), g_idx (the block of each column; absent:
// column/BlockSize) and bias [N]. The product is computed in float32 whatever AccuracyLevel permits.
type MatMulNBits struct {
	K              int `attr:"K"`
	N              int `attr:"N"`
	Bits           int `attr:"bits,4"`
	BlockSize      int `attr:"block_size"`
	AccuracyLevel  int `attr:"accuracy_level,0"`
	WeightPrepared int `attr:"weight_prepacked,0"`
}

func (*MatMulNBits) Kind() string { return "com.microsoft.MatMulNBits" }

func (o *MatMulNBits) check() error {
	switch {
	case o.Bits != 2 && o.Bits != 4 && o.Bits != 8:
		return fmt.Errorf("bits: want 2, 4 or 8, got %d", o.Bits)
	case o.K < 1 || o.N < 1 || o.K > maxWindow || o.N > maxWindow:
		return fmt.Errorf("K %d or N %d is out of range", o.K, o.N)
	case o.BlockSize < 16 || o.BlockSize > maxWindow || o.BlockSize&(o.BlockSize-1) != 0:
		return fmt.Errorf("block_size: want a power of two of at least 16, got %d", o.BlockSize)
	case o.WeightPrepared != 0:
		return fmt.Errorf("weight_prepacked: a weight packed for another machine cannot be read")
	}
	return nil
}

func (o *MatMulNBits) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 6); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return one(inferDecoded(in[0], o.N, o.K))
}

func (o *MatMulNBits) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 6)
	if err != nil {
		return nil, err
	}
	w, err := newBlockWeight(o, in[1], in[2], arg(in, 3), arg(in, 4))
	if err != nil {
		return nil, err
	}
	return one(evalDecoded(e, in[0], arg(in, 5), o.N, o.K, w.row))
}

// blockWeight reads the weight of a [MatMulNBits].
type blockWeight struct {
	k, bits, blocks, blockSize int
	codes                      []byte
	scales, zeros              []float32 // [N, blocks]; zeros may be nil: half the range
	group                      []int     // block of each column; nil: column/blockSize
}

func newBlockWeight(o *MatMulNBits, b, scale, zero, group *tensor.Tensor) (*blockWeight, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	w := &blockWeight{k: o.K, bits: o.Bits, blockSize: o.BlockSize, blocks: (o.K + o.BlockSize - 1) / o.BlockSize}
	if wantLen := o.N * w.blocks * (o.BlockSize * o.Bits / 8); b.DType != tensor.Uint8 || b.Len() != wantLen {
		return nil, fmt.Errorf("B: want uint8[%dx%dx%d], got %v", o.N, w.blocks, o.BlockSize*o.Bits/8, b)
	}
	w.codes = b.Bytes()
	var err error
	if w.scales, err = scale.Floats(); err != nil {
		return nil, fmt.Errorf("scales: %w", err)
	}
	if len(w.scales) != o.N*w.blocks {
		return nil, fmt.Errorf("scales: want [%d, %d], got shape %v", o.N, w.blocks, scale.Shape)
	}
	if group != nil {
		if w.group, err = intsOf(group); err != nil {
			return nil, fmt.Errorf("g_idx: %w", err)
		}
		if len(w.group) < o.K {
			return nil, fmt.Errorf("g_idx: want %d values, got %d", o.K, len(w.group))
		}
		for _, g := range w.group[:o.K] {
			if g < 0 || g >= w.blocks {
				return nil, fmt.Errorf("g_idx: block %d is out of range for %d blocks", g, w.blocks)
			}
		}
	}
	if zero == nil {
		return w, nil
	}
	if zero.DType != tensor.Uint8 {
		if w.zeros, err = zero.Floats(); err != nil {
			return nil, fmt.Errorf("zero_points: %w", err)
		}
		if len(w.zeros) != len(w.scales) {
			return nil, fmt.Errorf("zero_points: want [%d, %d], got shape %v", o.N, w.blocks, zero.Shape)
		}
		return w, nil
	}
	stride := (w.blocks*o.Bits + 7) / 8
	if zero.Len() != o.N*stride {
		return nil, fmt.Errorf("zero_points: want uint8[%dx%d], got %v", o.N, stride, zero)
	}
	w.zeros = make([]float32, len(w.scales))
	for i := range w.zeros {
		w.zeros[i] = float32(bitsAt(zero.Bytes()[i/w.blocks*stride:], i%w.blocks, o.Bits))
	}
	return w, nil
}

// bitsAt returns code i of codes of 2, 4 or 8 bits, packed low bits first.
func bitsAt(data []byte, i, bits int) byte {
	per := 8 / bits
	return data[i/per] >> (i % per * bits) & byte(1<<bits-1)
}

// row decodes one row of the weight.
func (w *blockWeight) row(dst []float32, row int) {
	size := w.blockSize * w.bits / 8
	half := float32(int(1) << (w.bits - 1))
	codes := w.codes[row*w.blocks*size:]
	if w.group != nil {
		for i := range dst {
			at := row*w.blocks + w.group[i]
			z := half
			if w.zeros != nil {
				z = w.zeros[at]
			}
			dst[i] = (float32(bitsAt(codes, i, w.bits)) - z) * w.scales[at]
		}
		return
	}
	var table [256]float32
	for b := range w.blocks {
		at := row*w.blocks + b
		z, s := half, w.scales[at]
		if w.zeros != nil {
			z = w.zeros[at]
		}
		out, blob := dst[b*w.blockSize:min((b+1)*w.blockSize, len(dst))], codes[b*size:(b+1)*size]
		if w.bits == 8 {
			for i := range out {
				out[i] = (float32(blob[i]) - z) * s
			}
			continue
		}
		values := table[:1<<w.bits]
		for c := range values {
			values[c] = (float32(c) - z) * s
		}
		if w.bits == 4 {
			for i := range out {
				out[i] = values[blob[i/2]>>(i%2*4)&15]
			}
			continue
		}
		for i := range out {
			out[i] = values[blob[i/4]>>(i%4*2)&3]
		}
	}
}

// bnb4Tables are the values of the codes of bitsandbytes: FP4, and NF4 (Dettmers et al., "QLoRA").
var bnb4Tables = [2][16]float32{
	{
		0, 5.208333333e-03, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25,
		0, -5.208333333e-03, -0.66666667, -1, -0.33333333, -0.5, -0.16666667, -0.25,
	},
	{
		-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
		-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
		0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
	},
}

// MatMulBnb4 is com.microsoft.MatMulBnb4: Y = A*Wᵀ with a 4-bit weight of bitsandbytes. B holds the codes of W [N, K], flattened,
// the first of two in the high bits; absmax the scale of each BlockSize values. With TransB 0, B holds [K, N].
type MatMulBnb4 struct {
	K            int  `attr:"K"`
	N            int  `attr:"N"`
	BlockSize    int  `attr:"block_size"`
	QuantType    int  `attr:"quant_type"` // 0 FP4, 1 NF4
	TransB       bool `attr:"transB,1"`
	TrainingMode bool `attr:"training_mode,0"`
}

func (*MatMulBnb4) Kind() string { return "com.microsoft.MatMulBnb4" }

func (o *MatMulBnb4) check() error {
	switch {
	case o.QuantType != 0 && o.QuantType != 1:
		return fmt.Errorf("quant_type: want 0 (FP4) or 1 (NF4), got %d", o.QuantType)
	case o.K < 1 || o.N < 1 || o.K > maxWindow || o.N > maxWindow:
		return fmt.Errorf("K %d or N %d is out of range", o.K, o.N)
	case o.BlockSize < 1:
		return fmt.Errorf("block_size: want at least 1, got %d", o.BlockSize)
	}
	return nil
}

func (o *MatMulBnb4) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 3, 3); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return one(inferDecoded(in[0], o.N, o.K))
}

func (o *MatMulBnb4) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 3)
	if err != nil {
		return nil, err
	}
	decode, err := o.decoder(in)
	if err != nil {
		return nil, err
	}
	return one(evalDecoded(e, in[0], nil, o.N, o.K, decode))
}

// decoder returns the function that decodes a row of the weight.
func (o *MatMulBnb4) decoder(in []*tensor.Tensor) (func(dst []float32, row int), error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	total := o.N * o.K
	if b := in[1]; b.DType != tensor.Uint8 || b.Len() != (total+1)/2 {
		return nil, fmt.Errorf("B: want %d bytes, got %v", (total+1)/2, b)
	}
	absmax, err := in[2].Floats()
	if err != nil {
		return nil, fmt.Errorf("absmax: %w", err)
	}
	if wantLen := (total + o.BlockSize - 1) / o.BlockSize; len(absmax) != wantLen {
		return nil, fmt.Errorf("absmax: want %d values, got %d", wantLen, len(absmax))
	}
	table, codes := &bnb4Tables[o.QuantType], in[1].Bytes()
	return func(dst []float32, row int) {
		at, step := row*o.K, 1
		if !o.TransB {
			at, step = row, o.N
		}
		for i := range dst {
			dst[i] = table[codes[at/2]>>(4-at%2*4)&15] * absmax[at/o.BlockSize]
			at += step
		}
	}, nil
}
