package equalize

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// CrossLayer chooses factors from the weights alone, so that the channels of what makes and of what reads an activation have
// ranges as equal as can be: for a channel with ranges r1 and r2 the factor sqrt(r1/r2), which makes them the same. See Nagel et
// al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019). Where several weights make or read a
// channel, ranges are relative to those of the whole weight, and the largest counts.
func (g *Groups) CrossLayer() error {
	factors := ones(len(g.list))
	for range 20 { // a weight between two groups of channels changes with both
		scale, err := g.ranges(factors)
		if err != nil {
			return err
		}
		change := 0.0
		for i, x := range g.list {
			made, read := scale(x)
			if made <= 0 || read <= 0 { // always zero, or never read
				continue
			}
			by := math.Sqrt(made / read)
			factors[i] *= by
			change = max(change, math.Abs(math.Log(by)))
		}
		if change < 0.01 {
			break
		}
	}
	g.apply(factors)
	return nil
}

// ranges returns a function that gives the relative ranges of the weights that make and read a group, with factors applied.
func (g *Groups) ranges(factors []float64) (func(x *group) (made, read float64), error) {
	type pair struct{ by, inputs []float64 }
	now := map[*param]pair{}
	for _, p := range g.params {
		if p.layout == nil {
			continue
		}
		m, err := p.maxima()
		if err != nil {
			return nil, err
		}
		now[p] = pair{ones(len(m.outputs)), ones(len(m.inputs))}
	}
	for i, x := range g.list {
		for _, l := range x.made {
			if l.p.layout != nil {
				now[l.p].by[l.index] /= factors[i]
			}
		}
		for _, l := range x.read {
			now[l.p].inputs[l.index] *= factors[i]
		}
	}
	outputs, inputs := map[*param][]float64{}, map[*param][]float64{}
	for p, by := range now {
		o, c, err := p.scaledMaxima(by.by, by.inputs)
		if err != nil {
			return nil, err
		}
		outputs[p], inputs[p] = o, c
	}
	return func(x *group) (made, read float64) {
		for _, l := range x.made {
			if l.p.layout != nil {
				made = max(made, outputs[l.p][l.index])
			}
		}
		for _, l := range x.read {
			read = max(read, inputs[l.p][l.index])
		}
		return made, read
	}, nil
}

// Smooth chooses factors from activations and weights: for a channel of an activation with the largest magnitude a, read by
// weights with the largest magnitude w, the factor a^alpha / w^(1-alpha). See Xiao et al., "SmoothQuant" (2022). activation
// returns the largest magnitude of every channel of a value along an axis, nil if it is not known; groups without any stay as
// they are. With exact, factors are the nearest powers of two, which parameters take without rounding.
func (g *Groups) Smooth(alpha float64, exact bool, activation func(value string, axis int) []float64) error {
	type key struct {
		name string
		axis int
	}
	seen := map[key][]float64{}
	relative := func(c channel) (float64, bool) {
		k := key{c.v.Name, c.axis}
		a, ok := seen[k]
		if !ok {
			a = normalized(activation(c.v.Name, c.axis))
			seen[k] = a
		}
		if c.index >= len(a) {
			return 0, false
		}
		return a[c.index], true
	}
	weights := map[*param][]float64{}
	factors := ones(len(g.list))
	for i, x := range g.list {
		a, w := 0.0, 0.0
		for _, c := range x.values {
			if v, ok := relative(c); ok {
				a = max(a, v)
			}
		}
		for _, l := range x.read {
			if weights[l.p] == nil {
				m, err := l.p.maxima()
				if err != nil {
					return err
				}
				weights[l.p] = normalized(m.inputs)
			}
			w = max(w, weights[l.p][l.index])
		}
		if a > 0 && w > 0 {
			factors[i] = math.Pow(a, alpha) / math.Pow(w, 1-alpha)
			if exact {
				factors[i] = math.Exp2(math.Round(math.Log2(factors[i])))
			}
		}
	}
	g.apply(factors)
	return nil
}

// Tied returns, for each channel of a value along an axis, the number of the factor that scales it: channels of one number must have
// the same. It is false if one of the channels cannot be scaled.
func (g *Groups) Tied(v *graph.Value, axis int) ([]int, bool) {
	if g.of == nil {
		g.of = map[channel]int{}
		for i, x := range g.list {
			for _, c := range x.values {
				g.of[c] = i
			}
		}
	}
	if !v.Type.Ranked || axis < 0 || axis >= len(v.Type.Dims) || v.Type.Dims[axis].Size < 1 {
		return nil, false
	}
	out := make([]int, v.Type.Dims[axis].Size)
	for i := range out {
		n, ok := g.of[channel{v, axis, i}]
		if !ok {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// Scale applies factors by their numbers, see [Groups.Tied]; others are 1. It may be called once.
func (g *Groups) Scale(factors map[int]float64) {
	all := ones(len(g.list))
	for i, f := range factors {
		all[i] = f
	}
	g.apply(all)
}

// apply replaces the parameters.
func (g *Groups) apply(factors []float64) {
	const limit = 1 << 20 // of a factor: far beyond it numbers lose their last bits
	for i, x := range g.list {
		by := min(max(factors[i], 1./limit), limit)
		for _, l := range x.made {
			l.scale(1/by, true)
		}
		for _, l := range x.read {
			l.scale(by, false)
		}
	}
	for _, p := range g.params {
		p.apply()
	}
}

// normalized divides by the largest.
func normalized(x []float64) []float64 {
	most := 0.0
	for _, v := range x {
		most = max(most, v)
	}
	if most == 0 {
		return x
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v / most
	}
	return out
}

func ones(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}
