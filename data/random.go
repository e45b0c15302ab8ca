package data

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/neurotrain/neuroquant/tensor"
)

// Random returns n samples drawn by seed: floats from the standard normal distribution, integers from [0, High) of their
// field, booleans evenly. A sample depends on the seed, its index and its field's name and position only, not on how many are drawn.
func Random(n int, fields []Field, seed uint64) (Set, error) {
	if n < 0 || len(fields) == 0 {
		return nil, fmt.Errorf("random data: want a number of samples and the model's inputs, got %d and %d", n, len(fields))
	}
	var errs []error
	cols := make([]column, len(fields))
	for k, f := range fields {
		if _, err := drawer(f); err != nil {
			errs = append(errs, fmt.Errorf("random data: input %q: %w", f.Name, err))
			continue
		}
		h := fnv.New64a()
		h.Write([]byte(f.Name))
		key := h.Sum64() + uint64(k)
		cols[k] = column{f.Name, f.DType, f.Shape, n, func(_ context.Context, index []int) (*tensor.Tensor, error) {
			draw, _ := drawer(f)
			t := tensor.New(f.DType, append(tensor.Shape{len(index)}, f.Shape...)...)
			width := f.Shape.Len()
			values := make([]float64, t.Len())
			for i, j := range index {
				rng := rand.New(rand.NewPCG(seed, key+uint64(j)*0x9e3779b97f4a7c15))
				for e := range width {
					values[i*width+e] = draw(rng)
				}
			}
			return tensor.FromFloat64s(f.DType, t.Shape, values)
		}}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return newArraySet("random", cols, nil)
}

// drawer returns the distribution of a field.
func drawer(f Field) (func(*rand.Rand) float64, error) {
	if _, ok := f.Shape.CheckedLen(); !ok {
		return nil, fmt.Errorf("shape %v: want sizes, every dimension known", f.Shape)
	}
	high := f.High
	switch {
	case f.DType == tensor.Bool:
		high = 2
	case f.DType.IsFloat() && f.DType.Bits() >= 8:
		return (*rand.Rand).NormFloat64, nil
	case f.DType.IsInt() && f.DType.Bits() >= 8:
		if high == 0 {
			high = 2
		}
		if f.DType.Bits() <= 32 {
			if _, hi := f.DType.IntRange(); high > hi+1 {
				return nil, fmt.Errorf("integers below %d do not fit %v", high, f.DType)
			}
		}
		if high < 1 || high > 1<<53 {
			return nil, fmt.Errorf("integers below %d: want a bound from 1 to 2^53", high)
		}
	default:
		return nil, fmt.Errorf("%v values cannot be drawn", f.DType)
	}
	return func(r *rand.Rand) float64 { return float64(r.Int64N(high)) }, nil
}
