package quantize

import (
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Rounded maps the float weights of the graph that a plan was carried out on to what the quantized ones stand for: tensors of the
// same shape, computed when they are loaded. Keys are the data of the weights.
type Rounded map[tensor.Source]tensor.Source

// roundedSource is a weight in codes as the values that it stands for.
type roundedSource struct {
	*codes
	of    tensor.Shape
	inner int     // values in a row that share a scale
	alpha float32 // that the weight was multiplied by before
}

func (r *roundedSource) Shape() tensor.Shape { return r.of }
func (r *roundedSource) DType() tensor.DType { return tensor.Float32 }

// Load decodes the weight anew.
func (r *roundedSource) Load() (*tensor.Tensor, error) {
	out := tensor.New(tensor.Float32, r.of...)
	f := tensor.Data[float32](out)
	for i := range f {
		c := i / r.inner % len(r.scale)
		if r.blocks != nil {
			c = r.blocks.at(i)
		}
		code := int32(int8(r.data[i]))
		if r.dtype == tensor.Uint8 {
			code = int32(r.data[i])
		}
		if r.zero != nil {
			code -= r.zero[c]
		}
		f[i] = float32(code) * r.scale[c] / r.alpha
	}
	return out, nil
}

// Scales returns what whole numbers of -128 to 127 are multiplied by in a weight that was rounded so, one for all or one for each
// channel, and the largest of those numbers without their signs; nil where it was rounded otherwise.
func Scales(s tensor.Source) (scales []float32, most []int) {
	r, ok := s.(*roundedSource)
	if !ok || r.dtype != tensor.Int8 || r.zero != nil || r.blocks != nil {
		return nil, nil
	}
	scales, most = make([]float32, len(r.scale)), make([]int, len(r.scale))
	for i, s := range r.scale {
		scales[i] = s / r.alpha
	}
	for i, b := range r.data {
		c, code := i/r.inner%len(most), int(int8(b))
		most[c] = max(most[c], code, -code)
	}
	return scales, most
}

// rounded returns what codes of a weight stand for that have their scales along an axis, or one if that is negative.
func rounded(c *codes, axis int, alpha float32) tensor.Source {
	inner := c.shape.Len()
	if axis >= 0 {
		inner = c.shape[axis+1:].Len()
	}
	return &roundedSource{codes: c, of: c.shape, inner: inner, alpha: alpha}
}

// note records what a weight was rounded to. Of several roundings of one weight the last counts.
func (r Rounded) note(w *graph.Value, to tensor.Source) {
	if key, ok := paramKey(w).(tensor.Source); ok {
		r[key] = to
	}
}

// inHalf is a weight in 16 bits as the values that it stands for.
type inHalf struct{ *tensor.Tensor }

func (h inHalf) Shape() tensor.Shape { return h.Tensor.Shape }
func (inHalf) DType() tensor.DType   { return tensor.Float32 }

// Load widens the weight anew.
func (h inHalf) Load() (*tensor.Tensor, error) {
	f, err := h.Floats()
	if err != nil {
		return nil, err
	}
	return tensor.Of(h.Tensor.Shape, f), nil
}
