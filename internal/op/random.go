package op

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var randomOps = table{
	"RandomNormal": fresh[RandomNormal], "RandomNormalLike": fresh[RandomNormalLike],
	"RandomUniform": fresh[RandomUniform], "RandomUniformLike": fresh[RandomUniformLike],
	"Bernoulli": fresh[Bernoulli], "Multinomial": fresh[Multinomial],
}

// seeded is a source of random numbers. With the attribute the same numbers come at every run; without it they follow from
// the seed of the environment.
type seeded struct {
	Seed *float32 `attr:"seed"`
}

// IsRandom implements [graph.Random].
func (seeded) IsRandom() {}

func (s seeded) source(e *graph.Env) *rand.Rand {
	if s.Seed != nil {
		return rand.New(rand.NewPCG(uint64(math.Float32bits(*s.Seed)), 1))
	}
	return envSource(e)
}

// envSource draws by the seed of the environment and moves it on.
func envSource(e *graph.Env) *rand.Rand {
	if e == nil {
		return rand.New(rand.NewPCG(0, 2))
	}
	r := rand.New(rand.NewPCG(e.Seed, 2))
	e.Seed = r.Uint64()
	return r
}

// normal and uniform are distributions.
type normal struct {
	Mean  float32 `attr:"mean,0"`
	Scale float32 `attr:"scale,1"`
}

func (o normal) draw(r *rand.Rand) float64 { return float64(o.Mean) + float64(o.Scale)*r.NormFloat64() }

type uniform struct {
	Low  float32 `attr:"low,0"`
	High float32 `attr:"high,1"`
}

func (o uniform) draw(r *rand.Rand) float64 {
	return float64(o.Low) + (float64(o.High)-float64(o.Low))*r.Float64()
}

// shaped is the shape and element type of what is drawn, by attributes.
type shaped struct {
	DType int   `attr:"dtype,1"` // tensor.DType
	Shape []int `attr:"shape"`
}

func (o shaped) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 0, 0); err != nil {
		return nil, err
	}
	d, err := floatAttr(o.DType)
	if err != nil {
		return nil, err
	}
	if err := checkSize(o.Shape); err != nil {
		return nil, err
	}
	return []graph.Type{graph.Shaped(d, o.Shape)}, nil
}

func (o shaped) eval(e *graph.Env, in []*tensor.Tensor, draw func() float64) ([]*tensor.Tensor, error) {
	if err := want(in, 0, 0); err != nil {
		return nil, err
	}
	d, err := floatAttr(o.DType)
	if err != nil {
		return nil, err
	}
	return one(drawn(e, d, o.Shape, draw))
}

// like is the element type of what is drawn in the shape of an input; that of the input if it is not given.
type like struct {
	DType *int `attr:"dtype"` // tensor.DType
}

func (o like) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d := in[0].DType
	if o.DType != nil {
		d = tensor.DType(*o.DType)
	}
	if d != tensor.Invalid || o.DType != nil {
		if _, err := floatAttr(int(d)); err != nil {
			return nil, err
		}
	}
	return []graph.Type{retyped(in[0], d)}, nil
}

func (o like) eval(e *graph.Env, in []*tensor.Tensor, draw func() float64) ([]*tensor.Tensor, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	d := in[0].DType
	if o.DType != nil {
		d = tensor.DType(*o.DType)
	}
	if _, err := floatAttr(int(d)); err != nil {
		return nil, err
	}
	return one(drawn(e, d, in[0].Shape, draw))
}

func floatAttr(v int) (tensor.DType, error) {
	d, err := dtypeAttr("dtype", v)
	if err == nil && !floats.has(d) {
		err = fmt.Errorf("dtype: %v is not one of %v", d, floats)
	}
	return d, err
}

// drawn fills a tensor, in order, by one thread.
func drawn(e *graph.Env, d tensor.DType, shape tensor.Shape, draw func() float64) (*tensor.Tensor, error) {
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	t := tensor.New(tensor.Float64, shape...)
	v := tensor.Data[float64](t)
	for i := range v {
		v[i] = draw()
	}
	return castTensor(e, t, d, castMode{saturate: true})
}

// RandomNormal draws from a normal distribution.
type RandomNormal struct {
	shaped
	normal
	seeded
}

func (*RandomNormal) Kind() string { return "RandomNormal" }

func (o *RandomNormal) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	r := o.source(e)
	return o.eval(e, in, func() float64 { return o.draw(r) })
}

// RandomNormalLike draws from a normal distribution in the shape of the input.
type RandomNormalLike struct {
	like
	normal
	seeded
}

func (*RandomNormalLike) Kind() string { return "RandomNormalLike" }

func (o *RandomNormalLike) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	r := o.source(e)
	return o.eval(e, in, func() float64 { return o.draw(r) })
}

// RandomUniform draws evenly from a range.
type RandomUniform struct {
	shaped
	uniform
	seeded
}

func (*RandomUniform) Kind() string { return "RandomUniform" }

func (o *RandomUniform) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	r := o.source(e)
	return o.eval(e, in, func() float64 { return o.draw(r) })
}

// RandomUniformLike draws evenly from a range in the shape of the input.
type RandomUniformLike struct {
	like
	uniform
	seeded
}

func (*RandomUniformLike) Kind() string { return "RandomUniformLike" }

func (o *RandomUniformLike) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	r := o.source(e)
	return o.eval(e, in, func() float64 { return o.draw(r) })
}

// Bernoulli draws 1 with the probability that the input gives, else 0.
type Bernoulli struct {
	DType *int `attr:"dtype"` // tensor.DType; that of the input if absent
	seeded
}

func (*Bernoulli) Kind() string { return "Bernoulli" }

func (o *Bernoulli) Infer(in []graph.Type) ([]graph.Type, error) {
	out, err := inferUnary(in, floats)
	if err != nil {
		return nil, err
	}
	if o.DType != nil {
		out[0].DType, err = o.target()
	}
	return out, err
}

func (o *Bernoulli) target() (tensor.DType, error) {
	d, err := dtypeAttr("dtype", *o.DType)
	if err == nil && !(numbers | booleans).has(d) {
		err = fmt.Errorf("dtype: %v is not one of %v", d, numbers|booleans)
	}
	return d, err
}

func (o *Bernoulli) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	d := in[0].DType
	if err := floats.check(0, d); err != nil {
		return nil, err
	}
	if o.DType != nil {
		if d, err = o.target(); err != nil {
			return nil, err
		}
	}
	p, err := in[0].Float64s()
	if err != nil {
		return nil, err
	}
	r := o.source(e)
	out := make([]uint8, len(p))
	for i, p := range p {
		if r.Float64() < p {
			out[i] = 1
		}
	}
	return one(castTensor(e, tensor.Of(in[0].Shape, out), d, castMode{}))
}

// Multinomial draws class indices [batch, samples] by unnormalized log-probabilities [batch, classes].
type Multinomial struct {
	DType   int `attr:"dtype,6"` // tensor.DType
	Samples int `attr:"sample_size,1"`
	seeded
}

func (*Multinomial) Kind() string { return "Multinomial" }

func (o *Multinomial) check() (tensor.DType, error) {
	d, err := dtypeAttr("dtype", o.DType)
	switch {
	case err != nil:
	case !indexInts.has(d):
		err = fmt.Errorf("dtype: %v is not one of %v", d, indexInts)
	case o.Samples < 0:
		err = fmt.Errorf("sample_size: %d is negative", o.Samples)
	}
	return d, err
}

func (o *Multinomial) Infer(in []graph.Type) ([]graph.Type, error) {
	if _, err := inferUnary(in, floats); err != nil {
		return nil, err
	}
	d, err := o.check()
	if err != nil {
		return nil, err
	}
	batch := graph.Unknown
	if in[0].Ranked {
		if len(in[0].Dims) != 2 {
			return nil, fmt.Errorf("input 0: want 2 dimensions, got %v", in[0])
		}
		batch = in[0].Dims[0]
	}
	return []graph.Type{graph.Ranked(d, batch, graph.Known(o.Samples))}, nil
}

func (o *Multinomial) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	t, err := single(in, floats)
	if err != nil {
		return nil, err
	}
	d, err := o.check()
	if err != nil {
		return nil, err
	}
	if t.Rank() != 2 || t.Shape[1] == 0 {
		return nil, fmt.Errorf("input 0: want shape [batch, classes], got %v", t.Shape)
	}
	shape := tensor.Shape{t.Shape[0], o.Samples}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	logits, err := t.Float64s()
	if err != nil {
		return nil, err
	}
	r := o.source(e)
	out := make([]int64, 0, shape.Len())
	classes := t.Shape[1]
	cum := make([]float64, classes)
	for b := range t.Shape[0] {
		row := logits[b*classes : (b+1)*classes]
		top := math.Inf(-1)
		for _, v := range row {
			top = max(top, v)
		}
		var sum float64
		for i, v := range row {
			sum += math.Exp(v - top)
			cum[i] = sum
		}
		for range o.Samples {
			u, c := r.Float64()*sum, 0
			for c < classes-1 && cum[c] <= u {
				c++
			}
			out = append(out, int64(c))
		}
	}
	return one(castTensor(e, tensor.Of(shape, out), d, castMode{}))
}
