package equalize

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// layout says where the channels of a weight lie: the outputs along dimension 0 and the inputs along dimension 1, or the other way
// round if transposed. With groups, inputs are counted over all groups, as those of a Conv.
type layout struct {
	groups     int
	transposed bool
}

// param is a constant input of a node and what its channels are multiplied by.
type param struct {
	input
	layout *layout // nil: a vector along axis
	axis   int
	by     []float64 // of outputs, or of the elements of a vector; nil: 1
	inputs []float64 // of inputs

	most *maxima // of a weight, by need
}

// maxima are the largest magnitudes of a weight as it is in the file.
type maxima struct{ outputs, inputs []float64 }

// constant returns a constant input if it can be replaced: float32, dense, of this node alone.
func (f *finder) constant(n *graph.Node, i int) tensor.Source {
	if i >= len(n.In) || n.In[i] == nil || !f.g.IsParam(n.In[i]) || len(f.uses[n.In[i]]) != 1 || f.g.IsOutput(n.In[i]) || n.In[i].Data.DType() != tensor.Float32 {
		return nil
	}
	return n.In[i].Data
}

func (f *finder) param(n *graph.Node, i int) *param {
	at := input{n, i}
	p := f.params[at]
	if p == nil {
		p = &param{input: at}
		f.params[at] = p
		f.order = append(f.order, p)
	}
	return p
}

// product lets a weight absorb the factors of its outputs or inputs.
func (f *finder) product(n *graph.Node, s site, out bool, l *layout) {
	w := f.constant(n, 1)
	_, channels := f.at(s.v, s.axis)
	if w == nil || len(w.Shape()) < 2 || l.transposed && len(w.Shape()) != 2 {
		f.pin(s)
		return
	}
	outputs, inputs := l.sizes(w.Shape())
	if out && channels != outputs || !out && channels != inputs || outputs%l.groups != 0 || inputs%l.groups != 0 {
		f.pin(s)
		return
	}
	first, _ := f.at(s.v, s.axis)
	p := f.param(n, 1)
	p.layout = l
	for i := range channels {
		if out {
			f.made[first+i] = append(f.made[first+i], line{p, i})
		} else {
			f.read[first+i] = append(f.read[first+i], line{p, i})
		}
	}
	if out && n.Op.Kind() != "MatMul" {
		f.vector(n, 2, s)
	}
}

func (l *layout) sizes(shape tensor.Shape) (outputs, inputs int) {
	if l.transposed {
		return shape[1], shape[0]
	}
	return shape[0], shape[1] * l.groups
}

// vector lets a constant that is added to, or multiplied into, what a node makes absorb its factors.
func (f *finder) vector(n *graph.Node, i int, s site) {
	if i >= len(n.In) || n.In[i] == nil {
		return
	}
	b := f.constant(n, i)
	first, channels := f.at(s.v, s.axis)
	axis := -1
	if b != nil {
		axis = s.axis - len(s.v.Type.Dims) + len(b.Shape())
		if _, conv := n.Op.(*op.Conv); conv {
			axis = 0
		}
	}
	if axis < 0 || b.Shape()[axis] != channels {
		f.pin(s)
		return
	}
	p := f.param(n, i)
	p.axis = axis
	for i := range channels {
		f.made[first+i] = append(f.made[first+i], line{p, i})
	}
}

// scale multiplies a line by a factor: that of an output if made, else of an input.
func (l line) scale(by float64, made bool) {
	to := &l.p.by
	n := 0
	shape := l.p.n.In[l.p.i].Data.Shape()
	switch {
	case l.p.layout == nil:
		n = shape[l.p.axis]
	case made:
		n, _ = l.p.layout.sizes(shape)
	default:
		_, n = l.p.layout.sizes(shape)
		to = &l.p.inputs
	}
	if *to == nil {
		*to = make([]float64, n)
		for i := range *to {
			(*to)[i] = 1
		}
	}
	(*to)[l.index] *= by
}

// each calls f with every element of a weight and its output and input.
func (l *layout) each(shape tensor.Shape, f func(i, output, in int)) {
	if l.transposed {
		for i := range shape.Len() {
			f(i, i%shape[1], i/shape[1])
		}
		return
	}
	inner := shape[2:].Len()
	perGroup := shape[0] / l.groups
	i := 0
	for o := range shape[0] {
		first := o / perGroup * shape[1]
		for c := range shape[1] {
			for range inner {
				f(i, o, first+c)
				i++
			}
		}
	}
}

// maxima returns the largest magnitudes of a weight by output and input, factors of 1 assumed.
func (p *param) maxima() (*maxima, error) {
	if p.most != nil {
		return p.most, nil
	}
	src := p.n.In[p.i].Data
	t, err := src.Load()
	if err != nil {
		return nil, err
	}
	defer tensor.Release(src)
	w, err := t.Floats()
	if err != nil {
		return nil, err
	}
	outputs, inputs := p.layout.sizes(t.Shape)
	m := &maxima{make([]float64, outputs), make([]float64, inputs)}
	p.layout.each(t.Shape, func(i, o, c int) {
		v := math.Abs(float64(w[i]))
		m.outputs[o], m.inputs[c] = max(m.outputs[o], v), max(m.inputs[c], v)
	})
	p.most = m
	return m, nil
}

// apply makes the parameter one that is multiplied when it is loaded.
func (p *param) apply() {
	if p.by == nil && p.inputs == nil {
		return
	}
	v := p.n.In[p.i]
	v.Type.Const = nil
	v.Data = &scaled{v.Data, p.layout, p.axis, p.by, p.inputs}
}

// scaled is a parameter whose channels are multiplied by factors. It is computed when it is loaded, so that a model that is
// mapped from its file takes no memory for a second copy.
type scaled struct {
	tensor.Source
	layout     *layout
	axis       int
	by, inputs []float64
}

// Load returns a new tensor.
func (s *scaled) Load() (*tensor.Tensor, error) {
	t, err := s.Source.Load()
	if err != nil {
		return nil, err
	}
	w, err := t.Floats()
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(w))
	s.each(t.Shape, func(i int, factor float64) { out[i] = float32(float64(w[i]) * factor) })
	return tensor.Of(t.Shape, out), nil
}

// each calls f with the factor of every value.
func (s *scaled) each(shape tensor.Shape, f func(i int, factor float64)) {
	if s.layout == nil {
		inner := shape[s.axis+1:].Len()
		for i := range shape.Len() {
			f(i, s.by[i/inner%len(s.by)])
		}
		return
	}
	s.layout.each(shape, func(i, o, c int) {
		factor := 1.0
		if s.by != nil {
			factor = s.by[o]
		}
		if s.inputs != nil {
			factor *= s.inputs[c]
		}
		f(i, factor)
	})
}

// Parts implements [tensor.Derived].
func (s *scaled) Parts() []tensor.Source { return []tensor.Source{s.Source} }

// Spread implements [tensor.Derived]. What is multiplied by zero stays.
func (s *scaled) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	src, err := value.Floats()
	if err != nil {
		return err
	}
	dst := tensor.Data[float32](parts[0])
	s.each(value.Shape, func(i int, factor float64) {
		if factor != 0 {
			dst[i] = float32(float64(src[i]) / factor)
		}
	})
	return nil
}

// Release lets go of the parameter behind.
func (s *scaled) Release() { tensor.Release(s.Source) }

// scaledMaxima returns the largest magnitudes of a weight by output and input, relative to the largest of all, with its channels
// multiplied by factors.
func (p *param) scaledMaxima(by, inputs []float64) (outputs, ins []float64, err error) {
	src := p.n.In[p.i].Data
	t, err := src.Load()
	if err != nil {
		return nil, nil, err
	}
	defer tensor.Release(src)
	w, err := t.Floats()
	if err != nil {
		return nil, nil, err
	}
	outputs, ins = make([]float64, len(by)), make([]float64, len(inputs))
	p.layout.each(t.Shape, func(i, o, c int) {
		v := math.Abs(float64(w[i])) * by[o] * inputs[c]
		outputs[o], ins[c] = max(outputs[o], v), max(ins[c], v)
	})
	return normalized(outputs), normalized(ins), nil
}
