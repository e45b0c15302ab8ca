package op

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// SkipLayerNormalization is com.microsoft.SkipLayerNormalization: LayerNormalization of input + skip (+ bias) over the last dimension.
// Inputs are input, skip, gamma, beta (optional), bias (optional); skip may lack the batch. Outputs are the result, mean,
// inverse standard deviation, and the sum that was normalized.
type SkipLayerNormalization struct {
	Epsilon float32 `attr:"epsilon,1e-12"`
}

func (*SkipLayerNormalization) Kind() string { return "com.microsoft.SkipLayerNormalization" }

func (*SkipLayerNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	return inferSkipNorm(in, 5)
}

func (o *SkipLayerNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 5)
	if err != nil {
		return nil, err
	}
	return evalSkipNorm(e, false, o.Epsilon, in[0], in[1], in[2], arg(in, 3), arg(in, 4))
}

// SkipSimplifiedLayerNormalization is com.microsoft.SkipSimplifiedLayerNormalization: RMSNormalization of input + skip (+ bias).
// Inputs are input, skip, gamma, bias (optional); outputs as of [SkipLayerNormalization], the mean being 0.
type SkipSimplifiedLayerNormalization struct {
	Epsilon float32 `attr:"epsilon,1e-12"`
}

func (*SkipSimplifiedLayerNormalization) Kind() string {
	return "com.microsoft.SkipSimplifiedLayerNormalization"
}

func (*SkipSimplifiedLayerNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	return inferSkipNorm(in, 4)
}

func (o *SkipSimplifiedLayerNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 3, 4)
	if err != nil {
		return nil, err
	}
	return evalSkipNorm(e, true, o.Epsilon, in[0], in[1], in[2], nil, arg(in, 3))
}

func inferSkipNorm(in []graph.Type, most int) ([]graph.Type, error) {
	out, err := inferNorm(in, 3, most)
	if err != nil {
		return nil, err
	}
	stat := retyped(in[0], tensor.Float32)
	if n := len(stat.Dims); n > 0 {
		stat.Dims = append(append([]graph.Dim{}, stat.Dims[:n-1]...), graph.Known(1))
	}
	return append(out, stat, stat, out[0]), nil
}

func evalSkipNorm(e *graph.Env, rms bool, epsilon float32, input, skip, gamma, beta, bias *tensor.Tensor) ([]*tensor.Tensor, error) {
	if err := sameElems(input, skip, gamma, beta, bias); err != nil {
		return nil, err
	}
	f := func() ([]*tensor.Tensor, error) {
		return skipNorm[float32](e, rms, epsilon, input, skip, gamma, beta, bias)
	}
	g := func() ([]*tensor.Tensor, error) {
		return skipNorm[float64](e, rms, epsilon, input, skip, gamma, beta, bias)
	}
	return byReal([]*tensor.Tensor{input}, f, g)
}

func skipNorm[T float32 | float64](e *graph.Env, rms bool, epsilon float32, input, skip, gamma, beta, bias *tensor.Tensor) ([]*tensor.Tensor, error) {
	if input.Rank() < 2 {
		return nil, fmt.Errorf("input: want at least 2 dimensions, got %v", input)
	}
	rows, cols, stat, err := rowsFrom(-1, input.Shape)
	if err == nil && cols == 0 {
		err = fmt.Errorf("input: nothing to normalize in %v", input)
	}
	if err != nil {
		return nil, err
	}
	x, skips, _, err := realTriple[T](input, skip, nil)
	if err != nil {
		return nil, err
	}
	if s, err := tensor.Broadcast(input.Shape, skip.Shape); err != nil || !s.Equal(input.Shape) || len(skips) == 0 && len(x) != 0 ||
		len(skips) > 0 && (len(skips)%cols != 0 || !leadingOnes(skip.Shape, len(skips))) {
		return nil, fmt.Errorf("skip: shape %v does not broadcast to %v", skip.Shape, input.Shape)
	}
	var params [3][]T
	for i, t := range []*tensor.Tensor{gamma, beta, bias} {
		if t == nil {
			continue
		}
		if t.Rank() != 1 || t.Shape[0] != cols {
			return nil, fmt.Errorf("gamma, beta and bias: want %d values, got shape %v", cols, t.Shape)
		}
		if params[i], err = realData[T](t); err != nil {
			return nil, err
		}
	}
	y, done := realOutput[T](e, input.DType, input.Shape)
	sum, sumDone := realOutput[T](e, input.DType, input.Shape)
	means, inverses := make([]T, rows), make([]T, rows)
	e.For(rows, max(1, elementGrain/max(cols, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst, total := y[r*cols:(r+1)*cols], sum[r*cols:(r+1)*cols]
			from := skips[r*cols%len(skips):]
			for i, v := range x[r*cols : (r+1)*cols] {
				total[i] = v + from[i]
				if params[2] != nil {
					total[i] += params[2][i]
				}
			}
			if rms {
				inverses[r] = T(1 / math.Sqrt(meanSquare(total)+float64(epsilon)))
				copy(dst, total)
			} else {
				means[r], inverses[r] = moments(dst, total, float64(epsilon))
			}
			scaleRow(dst, dst, inverses[r], 0)
			affineRow(dst, params[0], params[1])
		}
	})
	return []*tensor.Tensor{done(), statTensor(tensor.Float32, stat, means), statTensor(tensor.Float32, stat, inverses), sumDone()}, nil
}

// EmbedLayerNormalization is com.microsoft.EmbedLayerNormalization: the input block of BERT. Word, position and (optionally) segment embeddings are
// added and layer-normalized. Inputs are input_ids [batch, tokens], segment_ids (optional), the three tables (that of segments
// optional), gamma, beta, mask (optional) and position_ids (optional); outputs the result, the number of ones in each row of the
// mask, and the sum before normalization.
type EmbedLayerNormalization struct {
	Epsilon       float32 `attr:"epsilon,1e-12"`
	MaskIndexType int     `attr:"mask_index_type,0"`
}

func (*EmbedLayerNormalization) Kind() string { return "com.microsoft.EmbedLayerNormalization" }

func (*EmbedLayerNormalization) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 7, 9); err != nil {
		return nil, err
	}
	ids, word := in[0], in[2]
	if err := indexInts.check(0, ids.DType); err != nil {
		return nil, err
	}
	if err := floats.check(2, word.DType); err != nil {
		return nil, err
	}
	if ids.Ranked && len(ids.Dims) != 2 || word.Ranked && len(word.Dims) != 2 {
		return nil, fmt.Errorf("input_ids and word_embedding: want 2 dimensions, got %v and %v", ids, word)
	}
	batch, tokens, width := graph.Unknown, graph.Unknown, graph.Unknown
	if ids.Ranked {
		batch, tokens = ids.Dims[0], ids.Dims[1]
	}
	if word.Ranked {
		width = word.Dims[1]
	}
	y := graph.Ranked(word.DType, batch, tokens, width)
	return []graph.Type{y, graph.Ranked(tensor.Int32, batch), y}, nil
}

func (o *EmbedLayerNormalization) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	// The segment table may be left out with its ids, so the seven inputs are checked by hand.
	if err := want(in, 1, 9); err != nil {
		return nil, err
	}
	in, err := dense(in)
	if err != nil {
		return nil, err
	}
	for _, i := range []int{0, 2, 3, 5, 6} {
		if arg(in, i) == nil {
			return nil, fmt.Errorf("input %d is missing", i)
		}
	}
	if err := sameElems(in[2], in[3], in[4], in[5], in[6]); err != nil {
		return nil, err
	}
	return byReal(in[2:],
		func() ([]*tensor.Tensor, error) { return embedNorm[float32](e, o, in) },
		func() ([]*tensor.Tensor, error) { return embedNorm[float64](e, o, in) })
}

func embedNorm[T float32 | float64](e *graph.Env, o *EmbedLayerNormalization, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	ids, word, mask := in[0], in[2], arg(in, 7)
	if ids.Rank() != 2 || word.Rank() != 2 {
		return nil, fmt.Errorf("input_ids and word_embedding: want 2 dimensions, got %v and %v", ids, word)
	}
	batch, tokens, width := ids.Shape[0], ids.Shape[1], word.Shape[1]
	shape := tensor.Shape{batch, tokens, width}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	y, done := realOutput[T](e, word.DType, shape)
	sum, sumDone := realOutput[T](e, word.DType, shape)
	clear(sum)
	for _, part := range []struct {
		name       string
		ids, table *tensor.Tensor
	}{{"word", ids, word}, {"position", arg(in, 8), in[3]}, {"segment", in[1], in[4]}} {
		if part.table == nil || part.name == "segment" && part.ids == nil {
			continue
		}
		if part.table.Rank() != 2 || part.table.Shape[1] != width {
			return nil, fmt.Errorf("%s embedding: want [rows, %d], got %v", part.name, width, part.table)
		}
		table, err := realData[T](part.table)
		if err != nil {
			return nil, err
		}
		rows, err := embeddingRows(part.ids, batch, tokens, part.table.Shape[0])
		if err != nil {
			return nil, fmt.Errorf("%s ids: %w", part.name, err)
		}
		e.For(len(rows), max(1, elementGrain/max(width, 1)), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				dst := sum[r*width : (r+1)*width]
				for i, v := range table[rows[r]*width:][:width] {
					dst[i] += v
				}
			}
		})
	}
	p, err := perChannel[T](width, "gamma and beta", in[5], in[6])
	if err != nil {
		return nil, err
	}
	e.For(batch*tokens, max(1, elementGrain/max(width, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst := y[r*width : (r+1)*width]
			_, inverse := moments(dst, sum[r*width:(r+1)*width], float64(o.Epsilon))
			scaleRow(dst, dst, inverse, 0)
			affineRow(dst, p[0], p[1])
		}
	})
	counts := make([]int32, batch)
	if mask != nil {
		m, err := intsOf(mask)
		if err != nil {
			return nil, fmt.Errorf("mask: %w", err)
		}
		if len(m) != batch*tokens {
			return nil, fmt.Errorf("mask: want shape %v, got %v", ids.Shape, mask.Shape)
		}
		for i, v := range m {
			if v == 1 {
				counts[i/tokens]++
			}
		}
	}
	return []*tensor.Tensor{done(), tensor.Vector(counts...), sumDone()}, nil
}

// embeddingRows returns the table row of each token; without ids that is its position. Ids of one sample serve all.
func embeddingRows(ids *tensor.Tensor, batch, tokens, rows int) ([]int, error) {
	out := make([]int, batch*tokens)
	v, err := intsOf(ids)
	if err != nil {
		return nil, err
	}
	if ids != nil && len(v) != batch*tokens && len(v) != tokens {
		return nil, fmt.Errorf("want %d or %d values, got shape %v", batch*tokens, tokens, ids.Shape)
	}
	for i := range out {
		out[i] = i % tokens
		if v != nil {
			out[i] = v[i%len(v)]
		}
		if out[i] < 0 || out[i] >= rows {
			return nil, fmt.Errorf("%d is out of range for %d rows", out[i], rows)
		}
	}
	return out, nil
}
