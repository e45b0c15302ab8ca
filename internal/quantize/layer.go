package quantize

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// form returns what codes a layer's weight is rounded to. Tables of embeddings have no operator for 4 bits.
func (l *placedLayer) form(r *Recipe) weightForm {
	f := weightForm{signed: true, four: r.Weight == "qint4" && l.x != nil, fit: r.FitWeights}
	if t := r.trained; t != nil {
		f.four, f.limit, f.given = t.weights <= 4 && l.x != nil, limit(t.weights), t.scales[l.node.Name]
	}
	return f
}

// roundedLayer is the weight of a layer in codes.
type roundedLayer struct {
	codes        *codes
	axis         int            // of the channels with scales of their own; -1: one scale in all
	weight, bias *tensor.Tensor // in float32; bias is nil where there is none
	alpha        float32        // that a Gemm multiplies the weight by, which both weights here are
	least        []float32      // scales with which the bias fits; nil where there is none
}

// coarse counts the channels whose scales are what their biases need.
func (r *roundedLayer) coarse() int {
	n := 0
	for i, s := range r.codes.scale {
		if len(r.least) == len(r.codes.scale) && s == r.least[i] {
			n++
		}
	}
	return n
}

// round rounds the weight of a layer as the recipe asks; x is the scale of the layer's input.
func (l *placedLayer) round(recipe *Recipe, x float32) (*roundedLayer, error) {
	r, beta, err := &roundedLayer{axis: l.channel, alpha: 1}, float32(1), error(nil)
	if recipe.PerTensor {
		r.axis = -1
	}
	if o, ok := l.node.Op.(*op.Gemm); ok {
		r.alpha, beta = o.Alpha, o.Beta
	}
	if r.weight, err = scaledFloats(l.weight, r.alpha); err != nil {
		return nil, fmt.Errorf("weight %q: %w", l.weight.Name, err)
	}
	form, blocks := l.form(recipe), l.blocks(recipe.BlockSize)
	if l.bias != nil {
		if r.bias, err = scaledFloats(l.bias, beta); err != nil {
			return nil, fmt.Errorf("bias %q: %w", l.bias.Name, err)
		}
		if blocks == nil && form.given == nil { // else it stays in float
			r.least = scalesFor(tensor.Data[float32](r.bias), x, l.channel, r)
			form.least = r.least
		}
	}
	if blocks != nil {
		r.codes, err = roundBlocks(l.weight.Name, r.weight, blocks, form)
		return r, err
	}
	if r.codes, err = roundWeight(l.weight.Name, r.weight, r.axis, form); err != nil {
		return nil, err
	}
	if mode := recipe.ReduceRange; l.x != nil && !form.four && mode != "" && mode != "none" {
		l.reduceRange(r.codes, tensor.Data[float32](r.weight), mode)
	}
	return r, nil
}

// scalesFor returns the least scales of a weight with which a bias fits 32-bit codes of the scale of the sums. Only a weight that is
// next to nothing beside its bias needs a larger scale than it would have: what it then loses is nothing beside the bias. One bit
// is left for sums and corrections.
func scalesFor(bias []float32, x float32, channel int, r *roundedLayer) []float32 {
	n := 1
	if r.axis >= 0 {
		n = r.weight.Shape[channel]
	}
	if x == 0 || len(bias) != n && n > 1 {
		return nil
	}
	out := make([]float32, n)
	for i, b := range bias {
		out[i%n] = max(out[i%n], float32(math.Abs(float64(b))/float64(x)/(1<<30)))
	}
	return out
}
