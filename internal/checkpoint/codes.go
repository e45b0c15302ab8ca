package checkpoint

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// Codes is a tensor that [Write] writes as a quantized one of type qint8: its values are whole numbers of -128 to 127 times a
// scale, of which there is one, or one for each index of the first axis.
type Codes struct {
	tensor.Source
	Scales []float32
}

// DType is that of the codes.
func (c *Codes) DType() tensor.DType { return tensor.Int8 }

// Load returns the codes.
func (c *Codes) Load() (*tensor.Tensor, error) {
	t, err := c.Source.Load()
	if err != nil {
		return nil, err
	}
	values, err := t.Floats()
	if err != nil {
		return nil, err
	}
	out := tensor.New(tensor.Int8, t.Shape...)
	codes := tensor.Data[int8](out)
	inner := len(values) / max(1, len(c.Scales))
	for i, v := range values {
		s := c.Scales[min(i/max(1, inner), len(c.Scales)-1)]
		if s == 0 {
			continue
		}
		code := math.RoundToEven(float64(v) / float64(s))
		if code < math.MinInt8 || code > math.MaxInt8 || math.IsNaN(code) {
			return nil, fmt.Errorf("value %v of a tensor in codes of %v is none of theirs", v, s)
		}
		codes[i] = int8(code)
	}
	return out, nil
}

// codes returns the call that makes a quantized tensor of a storage.
func (p *pickled) codes(path string, c *Codes) any {
	call, ok := p.tensor(path, c).(*pickle.Object)
	if !ok {
		return nil
	}
	call.Class.Name = "_rebuild_qtensor"
	storage := call.Args[0].(pickle.Persistent)
	storage.ID.(pickle.Tuple)[1] = pickle.Global{Module: "torch", Name: "QInt8Storage"}
	scheme := func(name string) pickle.Global { return pickle.Global{Module: "torch", Name: name} }
	var quantizer pickle.Tuple
	if len(c.Scales) == 1 {
		quantizer = pickle.Tuple{scheme("per_tensor_affine"), float64(c.Scales[0]), 0}
	} else {
		wide := make([]float64, len(c.Scales))
		for i, s := range c.Scales {
			wide[i] = float64(s)
		}
		scales := tensor.InMemory(tensor.Vector(wide...))
		zeros := tensor.InMemory(tensor.New(tensor.Int64, len(wide)))
		quantizer = pickle.Tuple{scheme("per_channel_affine"), p.tensor(path+".scales", scales), p.tensor(path+".zeros", zeros), 0}
	}
	hooks := call.Args[5]
	call.Args = []any{storage, call.Args[1], call.Args[2], call.Args[3], quantizer, false, hooks}
	return call
}
