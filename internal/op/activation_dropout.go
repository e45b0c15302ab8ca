package op

import (
	"fmt"
	"math/rand/v2"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Dropout passes its input on or, when the optional third input says that this is training, sets a share of the elements to zero, the
// optional second input (1/2 if omitted), and scales the others so that the mean stays (Srivastava et al., "Dropout"). The
// second output tells which elements were kept.
type Dropout struct {
	Seed *int `attr:"seed"`
}

var droppable = floats | float8s

func (*Dropout) Kind() string { return "Dropout" }

// IsRandom implements [graph.Random].
func (*Dropout) IsRandom() {}

func (*Dropout) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 3); err != nil {
		return nil, err
	}
	if err := droppable.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if err := droppable.check(1, arg(in, 1).DType); err != nil {
		return nil, err
	}
	if err := booleans.check(2, arg(in, 2).DType); err != nil {
		return nil, err
	}
	return []graph.Type{retyped(in[0], in[0].DType), retyped(in[0], tensor.Bool)}, nil
}

func (o *Dropout) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 3)
	if err != nil {
		return nil, err
	}
	t := in[0]
	for i, set := range []dtypeSet{droppable, droppable, booleans} {
		if x := arg(in, i); x != nil {
			if err := set.check(i, x.DType); err != nil {
				return nil, err
			}
		}
	}
	ratio := 0.5
	if r := arg(in, 1); r != nil {
		if ratio, err = scalarFloat(r); err != nil {
			return nil, fmt.Errorf("input 1: %w", err)
		}
		if !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("input 1: ratio %v is not in 0..1", ratio)
		}
	}
	var training float64
	if m := arg(in, 2); m != nil {
		if training, err = scalarFloat(m); err != nil {
			return nil, fmt.Errorf("input 2: %w", err)
		}
	}
	if (training == 0 || ratio == 0) && !e.Wants(1) {
		return []*tensor.Tensor{t, nil}, nil
	}
	mask := e.New(tensor.Bool, t.Shape...)
	kept := tensor.Data[bool](mask)
	if training == 0 || ratio == 0 {
		spread(kept, true)
		return []*tensor.Tensor{t, mask}, nil
	}
	r := envSource(e)
	if o.Seed != nil {
		r = rand.New(rand.NewPCG(uint64(*o.Seed), 1))
	}
	for i := range kept {
		kept[i] = r.Float64() >= ratio
	}
	wide, err := castTensor(e, t, tensor.Float64, castMode{})
	if err != nil {
		return nil, err
	}
	scaled := make([]float64, len(kept))
	for i, v := range tensor.Data[float64](wide) {
		if kept[i] {
			scaled[i] = v / (1 - ratio)
		}
	}
	out, err := castTensor(e, tensor.Of(t.Shape, scaled), t.DType, castMode{saturate: true})
	return []*tensor.Tensor{out, mask}, err
}
