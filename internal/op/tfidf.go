package op

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// TfIdfVectorizer counts, in a vector or in each row of a matrix of strings or integers, the n-grams of a pool. An n-gram
// consists of elements that lie 1 + s apart, for every s up to MaxSkipCount.
type TfIdfVectorizer struct {
	Mode          string    `attr:"mode"`            // TF: counts; IDF: weight where there is one or more; TFIDF: count times weight
	MinGramLength int       `attr:"min_gram_length"` // shortest n-grams that are counted
	MaxGramLength int       `attr:"max_gram_length"` // longest
	MaxSkipCount  int       `attr:"max_skip_count"`  // greatest s
	NgramCounts   []int     `attr:"ngram_counts"`    // where the 1-grams, 2-grams, ... begin in the pool
	NgramIndexes  []int     `attr:"ngram_indexes"`   // output column of each n-gram of the pool
	Weights       []float32 `attr:"weights"`         // of each n-gram of the pool; nil: 1
	PoolStrings   []string  `attr:"pool_strings"`    // the n-grams, one after another
	PoolInt64s    []int     `attr:"pool_int64s"`     // the n-grams of integers
}

func (*TfIdfVectorizer) Kind() string { return "TfIdfVectorizer" }

// columns returns the width of the output.
func (o *TfIdfVectorizer) columns() (int, error) {
	if len(o.NgramIndexes) == 0 {
		return 0, errors.New("ngram_indexes: is empty")
	}
	most := 0
	for _, i := range o.NgramIndexes {
		if i < 0 || i > maxElems {
			return 0, fmt.Errorf("ngram_indexes: %d is out of range", i)
		}
		most = max(most, i+1)
	}
	if o.Weights != nil && len(o.Weights) != len(o.NgramIndexes) {
		return 0, fmt.Errorf("weights: want %d values, got %d", len(o.NgramIndexes), len(o.Weights))
	}
	if o.MinGramLength < 1 || o.MaxGramLength < o.MinGramLength || o.MaxSkipCount < 0 {
		return 0, fmt.Errorf("n-grams of length %d to %d with up to %d skips do not exist", o.MinGramLength, o.MaxGramLength, o.MaxSkipCount)
	}
	if o.MaxGramLength > len(o.NgramCounts) {
		return 0, fmt.Errorf("ngram_counts: want at least %d values, got %d", o.MaxGramLength, len(o.NgramCounts))
	}
	switch o.Mode {
	case "TF", "IDF", "TFIDF":
	default:
		return 0, fmt.Errorf("mode: %q is none of TF, IDF, TFIDF", o.Mode)
	}
	return most, nil
}

func (o *TfIdfVectorizer) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := (indexInts | textTypes).check(0, in[0].DType); err != nil {
		return nil, err
	}
	n, err := o.columns()
	if err != nil {
		return nil, err
	}
	if !in[0].Ranked {
		return []graph.Type{graph.Unranked(tensor.Float32)}, nil
	}
	switch len(in[0].Dims) {
	case 0, 1:
		return []graph.Type{graph.Ranked(tensor.Float32, graph.Known(n))}, nil
	case 2:
		return []graph.Type{graph.Ranked(tensor.Float32, in[0].Dims[0], graph.Known(n))}, nil
	}
	return nil, fmt.Errorf("want a vector or a matrix, got rank %d", len(in[0].Dims))
}

// ngrams maps sequences of token numbers to output columns.
type ngrams[T comparable] struct {
	tokens  map[T]uint32
	columns map[string]int
}

// ngramsOf reads a pool: the n-grams of each length lie between the starts that NgramCounts gives.
func ngramsOf[T comparable](o *TfIdfVectorizer, pool []T) (*ngrams[T], error) {
	g := &ngrams[T]{tokens: map[T]uint32{}, columns: map[string]int{}}
	id := 0
	for k, first := range o.NgramCounts {
		size, end := k+1, len(pool)
		if k+1 < len(o.NgramCounts) {
			end = o.NgramCounts[k+1]
		}
		if first < 0 || first > end || end > len(pool) || (end-first)%size != 0 {
			return nil, fmt.Errorf("ngram_counts: %v does not divide a pool of %d", o.NgramCounts, len(pool))
		}
		for ; first < end; first += size {
			if id >= len(o.NgramIndexes) {
				return nil, fmt.Errorf("ngram_indexes: %d values for more n-grams", len(o.NgramIndexes))
			}
			if size >= o.MinGramLength && size <= o.MaxGramLength {
				key := make([]byte, 0, 4*size)
				for _, t := range pool[first : first+size] {
					n, ok := g.tokens[t]
					if !ok {
						n = uint32(len(g.tokens))
						g.tokens[t] = n
					}
					key = binary.LittleEndian.AppendUint32(key, n)
				}
				g.columns[string(key)] = o.NgramIndexes[id]
			}
			id++
		}
	}
	return g, nil
}

// count adds the n-grams of a row to the counts of their columns.
func (g *ngrams[T]) count(o *TfIdfVectorizer, row []T, counts []float32) {
	const unknown = ^uint32(0)
	ids := make([]uint32, len(row))
	for i, t := range row {
		n, ok := g.tokens[t]
		if !ok {
			n = unknown
		}
		ids[i] = n
	}
	key := make([]byte, 0, 4*min(o.MaxGramLength, len(row)))
	for step := 1; step <= o.MaxSkipCount+1 && step <= max(1, len(row)); step++ {
		for first := range ids {
			key = key[:0]
			for k := 1; k <= o.MaxGramLength; k++ {
				at := first + (k-1)*step
				if at >= len(ids) || ids[at] == unknown {
					break
				}
				key = binary.LittleEndian.AppendUint32(key, ids[at])
				if k < o.MinGramLength || k == 1 && step > 1 { // an n-gram of one element has nothing to skip
					continue
				}
				if c, ok := g.columns[string(key)]; ok {
					counts[c]++
				}
			}
		}
	}
}

func (o *TfIdfVectorizer) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := tensors(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := (indexInts | textTypes).check(0, x.DType); err != nil {
		return nil, err
	}
	if x.Rank() > 2 {
		return nil, fmt.Errorf("want a vector or a matrix, got shape %v", x.Shape)
	}
	cols, err := o.columns()
	if err != nil {
		return nil, err
	}
	shape, width := tensor.Shape{cols}, x.Len()
	if x.Rank() == 2 {
		shape, width = tensor.Shape{x.Shape[0], cols}, x.Shape[1]
	}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	out := e.Zeros(tensor.Float32, shape...)
	if x.DType == tensor.String {
		err = countRows(o, out, o.PoolStrings, x.Text(), width)
	} else {
		var v []int
		if v, err = intsOf(x); err == nil {
			err = countRows(o, out, o.PoolInt64s, v, width)
		}
	}
	if err != nil {
		return nil, err
	}
	weights := slices.Repeat([]float32{1}, cols)
	for i, w := range o.Weights {
		weights[o.NgramIndexes[i]] = w
	}
	counts := tensor.Data[float32](out)
	for i, c := range counts {
		switch o.Mode {
		case "IDF":
			counts[i] = min(c, 1) * weights[i%cols]
		case "TFIDF":
			counts[i] = c * weights[i%cols]
		}
	}
	return []*tensor.Tensor{out}, nil
}

func countRows[T comparable](o *TfIdfVectorizer, out *tensor.Tensor, pool, x []T, width int) error {
	if (o.PoolStrings == nil) == (o.PoolInt64s == nil) {
		return errors.New("exactly one of pool_strings and pool_int64s must be set")
	}
	if pool == nil {
		return errors.New("the input and the pool differ in type")
	}
	g, err := ngramsOf(o, pool)
	if err != nil {
		return err
	}
	cols := out.Shape[out.Rank()-1]
	for r := range out.Len() / cols {
		g.count(o, x[r*width:(r+1)*width], tensor.Data[float32](out)[r*cols:(r+1)*cols])
	}
	return nil
}
