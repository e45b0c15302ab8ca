package analyze

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Feed is the inputs of one call of a model, in graph order, with what is known of the samples in it.
type Feed struct {
	In      []*tensor.Tensor // nil: the input's default
	Samples int
	Labels  []int    // nil: none
	IDs     []string // of the samples, for messages
}

// Feeds is a list of feeds that may be walked again and again.
type Feeds struct {
	Samples int
	Calls   int
	Labeled bool
	All     func(ctx context.Context) iter.Seq2[Feed, error]
}

// FromSet makes feeds for a graph of the samples of a set, batch at a time. A graph whose inputs declare a batch size gets
// that; samples that do not fill a last batch are then left out. A sample that has as many dimensions as the input that it is
// for, such as the state of a recurrent network or a single number, is what a call takes: calls then have one sample each.
func FromSet(g *graph.Graph, set data.Set, batch int) (*Feeds, error) {
	whole := wholeCalls(g, set)
	if n, ok := DeclaredBatch(g); whole {
		batch = 1
	} else if ok {
		batch = n
		if set.Len() < n {
			return nil, fmt.Errorf("the model takes batches of %d samples; the data has %d", n, set.Len())
		}
		set = data.Limit(set, set.Len()/n*n)
	}
	if set.Len() == 0 {
		return nil, fmt.Errorf("the data has no samples")
	}
	batch = max(1, min(batch, set.Len()))
	var names []string
	var at []int
	for i, v := range g.Inputs {
		if v.Data == nil {
			names = append(names, v.Name)
			at = append(at, i)
		}
	}
	return &Feeds{
		Samples: set.Len(), Calls: (set.Len() + batch - 1) / batch, Labeled: set.Labels() != nil,
		All: func(ctx context.Context) iter.Seq2[Feed, error] {
			return func(yield func(Feed, error) bool) {
				for b, err := range data.Batches(ctx, set, batch) {
					if err != nil {
						yield(Feed{}, err)
						return
					}
					ts, err := b.For(names)
					if err != nil {
						yield(Feed{}, err)
						return
					}
					f := Feed{In: make([]*tensor.Tensor, len(g.Inputs)), Samples: b.Len(), Labels: b.Labels, IDs: b.IDs}
					for j, t := range ts {
						if v := g.Inputs[at[j]]; whole && isWhole(v, t.Shape[1:]) {
							t = t.Reshape(t.Shape[1 : 1+len(v.Type.Dims)]...)
						}
						f.In[at[j]] = t
					}
					if !yield(f, nil) {
						return
					}
				}
			}
		},
	}, nil
}

// InputsOf returns the inputs of a call of one model as another takes them: by name, where one has inputs less than the other
// because their defaults have become constants.
func InputsOf(from, to *graph.Graph, in []*tensor.Tensor) []*tensor.Tensor {
	if len(from.Inputs) == len(to.Inputs) {
		return in
	}
	byName := map[string]*tensor.Tensor{}
	for i, v := range from.Inputs {
		byName[v.Name] = in[i]
	}
	out := make([]*tensor.Tensor, len(to.Inputs))
	for i, v := range to.Inputs {
		out[i] = byName[v.Name]
	}
	return out
}

// wholeCalls reports whether samples of the set hold, for some input, what a call takes.
func wholeCalls(g *graph.Graph, set data.Set) bool {
	fields := set.Fields()
	i := 0
	for _, v := range g.Inputs {
		if v.Data != nil {
			continue
		}
		k := slices.IndexFunc(fields, func(f data.Field) bool { return f.Name == v.Name })
		if k < 0 && i < len(fields) && fields[i].Name == "" {
			k = i
		}
		if k >= 0 && isWhole(v, fields[k].Shape) {
			return true
		}
		i++
	}
	return false
}

func isWhole(v *graph.Value, sample tensor.Shape) bool {
	return v.Type.Ranked && (len(sample) == len(v.Type.Dims) || len(v.Type.Dims) == 0 && sample.Len() == 1)
}

// Random makes calls feeds of seeded random inputs: floats from the standard normal distribution, integers and bools from
// {0, 1}. The first dimension of an input, if it is not a number, is batch; every other dimension must be a number.
func Random(g *graph.Graph, calls, batch int, seed uint64) (*Feeds, error) {
	if n, ok := DeclaredBatch(g); ok {
		batch = n
	}
	shapes := make([]tensor.Shape, len(g.Inputs))
	for i, v := range g.Inputs {
		if v.Data != nil {
			continue
		}
		if !v.Type.Ranked {
			return nil, fmt.Errorf("input %q (%v) has no declared shape, so no random values can be made for it", v.Name, v.Type)
		}
		if v.Type.DType.Bits() == 0 {
			return nil, fmt.Errorf("input %q (%v): no random values can be made of this type", v.Name, v.Type)
		}
		for j, d := range v.Type.Dims {
			switch {
			case d.IsKnown():
				shapes[i] = append(shapes[i], d.Size)
			case j == 0 || d.Name != "" && d.Name == batchName(g):
				shapes[i] = append(shapes[i], batch)
			default:
				return nil, fmt.Errorf("input %q (%v): dimension %d has no declared size, so no random values can be made for it", v.Name, v.Type, j)
			}
		}
	}
	return &Feeds{
		Samples: calls * batch, Calls: calls,
		All: func(ctx context.Context) iter.Seq2[Feed, error] {
			return func(yield func(Feed, error) bool) {
				for c := range calls {
					if err := ctx.Err(); err != nil {
						yield(Feed{}, err)
						return
					}
					f := Feed{In: make([]*tensor.Tensor, len(g.Inputs)), Samples: batch}
					for i, v := range g.Inputs {
						if v.Data != nil {
							continue
						}
						t, err := randomTensor(v.Type.DType, shapes[i], seed, uint64(c*len(g.Inputs)+i))
						if err != nil {
							yield(Feed{}, fmt.Errorf("input %q: %w", v.Name, err))
							return
						}
						f.In[i] = t
					}
					if !yield(f, nil) {
						return
					}
				}
			}
		},
	}, nil
}

func randomTensor(d tensor.DType, shape tensor.Shape, seed, stream uint64) (*tensor.Tensor, error) {
	r := rand.New(rand.NewPCG(seed, stream))
	v := make([]float64, shape.Len())
	for i := range v {
		if d.IsFloat() {
			v[i] = r.NormFloat64()
		} else {
			v[i] = float64(r.IntN(2))
		}
	}
	return tensor.FromFloat64s(d, shape, v)
}

// DeclaredBatch returns the batch size that the first input without a default declares as a number.
func DeclaredBatch(g *graph.Graph) (int, bool) {
	for _, v := range g.Inputs {
		if v.Data == nil {
			if v.Type.Ranked && len(v.Type.Dims) > 0 && v.Type.Dims[0].IsKnown() {
				return max(v.Type.Dims[0].Size, 1), true
			}
			return 0, false
		}
	}
	return 0, false
}

// batchName returns the name of the first dimension of the first input, if it has one.
func batchName(g *graph.Graph) string {
	for _, v := range g.Inputs {
		if v.Data == nil && v.Type.Ranked && len(v.Type.Dims) > 0 {
			return v.Type.Dims[0].Name
		}
	}
	return ""
}
