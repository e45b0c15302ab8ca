package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Backward implements [graph.Differentiable]: the gradient goes to the first of the greatest elements of a window.
func (o *MaxPool) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	if err := checkGrad(d.DType); err != nil {
		return nil, err
	}
	g, _, err := newPool(&o.Window, o.CeilMode, channelsSecondOf(x.Shape, o.ChannelsLast))
	if err != nil {
		return nil, err
	}
	dx := e.Zeros(d.DType, x.Shape...)
	return e.One(dx), byGrad(d.DType,
		func() error { maxPoolGrad[float32](e, &g, o.ChannelsLast, x, d, dx); return nil },
		func() error { maxPoolGrad[float64](e, &g, o.ChannelsLast, x, d, dx); return nil })
}

// maxPoolGrad goes over the images of channels, whose pixels lie step apart.
func maxPoolGrad[T gradElems](e *graph.Env, g *geometry, last bool, x, d, dx *tensor.Tensor) {
	xs, ds, ys := tensor.Data[T](x), tensor.Data[T](d), tensor.Data[T](dx)
	size, outSize := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	channels, step := x.Shape[1], 1
	if last {
		channels = x.Shape[x.Rank()-1]
		step = channels
	}
	e.For(x.Shape[0]*channels, 1, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			from, to := p*size, p*outSize
			if last {
				from, to = p/channels*channels*size+p%channels, p/channels*channels*outSize+p%channels
			}
			g.windows(func(q int, each func(func(i int))) {
				best := -1
				each(func(i int) {
					if best < 0 || xs[from+i*step] > xs[from+best*step] {
						best = i
					}
				})
				if best >= 0 {
					ys[from+best*step] += ds[to+q*step]
				}
			})
		}
	})
}

// windows calls f for every output position of an image with a loop over the elements under its window.
func (g *geometry) windows(f func(q int, each func(func(i int)))) {
	q := 0
	for qd := range g.out[0] {
		d0, d1, ds := g.taps(0, qd)
		for qh := range g.out[1] {
			h0, h1, hs := g.taps(1, qh)
			for qw := range g.out[2] {
				w0, w1, ws := g.taps(2, qw)
				f(q, func(visit func(i int)) {
					for d := d0; d < d1; d++ {
						for h := h0; h < h1; h++ {
							line := ((ds+d*g.dilation[0])*g.in[1]+hs+h*g.dilation[1])*g.in[2] + ws
							for w := w0; w < w1; w++ {
								visit(line + w*g.dilation[2])
							}
						}
					}
				})
				q++
			}
		}
	}
}

// Recalls implements [graph.Recalling].
func (*AveragePool) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable]: the pooling is linear, each element gets the weights that it had.
func (o *AveragePool) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	g, _, err := newPool(&o.Window, o.CeilMode, x.Shape)
	if err != nil {
		return nil, err
	}
	// What a window divides by is found by pooling ones.
	size, outSize := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	ones, share := make([]float64, size), make([]float64, outSize)
	spread(ones, 1)
	averagePlane(&g, o.CountIncludePad, ones, share)
	g.windows(func(q int, each func(func(i int))) {
		n := 0.0
		each(func(int) { n++ })
		if n > 0 {
			share[q] /= n
		}
	})
	dx := e.Zeros(d.DType, x.Shape...)
	return e.One(dx), byGrad(d.DType,
		func() error { averageGrad[float32](e, &g, share, d, dx); return nil },
		func() error { averageGrad[float64](e, &g, share, d, dx); return nil })
}

func averageGrad[T gradElems](e *graph.Env, g *geometry, share []float64, d, dx *tensor.Tensor) {
	ds, ys := tensor.Data[T](d), tensor.Data[T](dx)
	size, outSize := tensor.Shape(g.in).Len(), tensor.Shape(g.out).Len()
	e.For(dx.Shape[0]*dx.Shape[1], 1, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			g.windows(func(q int, each func(func(i int))) {
				v := ds[p*outSize+q] * T(share[q])
				each(func(i int) { ys[p*size+i] += v })
			})
		}
	})
}

// Recalls implements [graph.Recalling].
func (*GlobalAveragePool) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (*GlobalAveragePool) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d, err := scaledGrad(e, dOut[0], 1/float64(max(in[0].Shape[2:].Len(), 1)))
	if err != nil {
		return nil, err
	}
	return e.Single(expand(e, d, in[0].Shape))
}

// Recalls implements [graph.Recalling].
func (*GlobalMaxPool) Recalls() (in, out uint64) { return operandSet(0), operandSet(0) }

// Backward implements [graph.Differentiable]: the gradient goes to the first of the greatest elements.
func (*GlobalMaxPool) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	dx := e.Zeros(d.DType, x.Shape...)
	return e.One(dx), byGrad(d.DType,
		func() error { globalMaxGrad[float32](x, out[0], d, dx); return nil },
		func() error { globalMaxGrad[float64](x, out[0], d, dx); return nil })
}

func globalMaxGrad[T gradElems](x, y, d, dx *tensor.Tensor) {
	xs, ys, ds, to := tensor.Data[T](x), tensor.Data[T](y), tensor.Data[T](d), tensor.Data[T](dx)
	size := x.Shape[2:].Len()
	for p, best := range ys {
		for i, v := range xs[p*size : (p+1)*size] {
			if v == best {
				to[p*size+i] = ds[p]
				break
			}
		}
	}
}

// Recalls implements [graph.Recalling].
func (*Resize) Recalls() (in, out uint64) { return laterInputs, 0 }

// Backward implements [graph.Differentiable]. Resizing is linear and works along one axis after the other: the gradient goes back through
// the same weights.
func (o *Resize) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, d := in[0], dOut[0]
	if o.Transformation == "tf_crop_and_resize" {
		return nil, fmt.Errorf("there is no gradient of coordinate_transformation_mode %s", o.Transformation)
	}
	plan, err := o.resolved(in)
	if err != nil {
		return nil, err
	}
	for _, r := range plan {
		if r.identity() {
			continue
		}
		t := taps[float64]{n: 1}
		if o.Mode == "nearest" {
			for i := range r.out {
				t.index, t.weight = append(t.index, o.nearestIndex(r.source(o.Transformation, i), r.in)), append(t.weight, 1)
			}
		} else {
			t = *resizeTaps[float64](o, r)
		}
		shape := d.Shape.Clone()
		shape[r.axis] = x.Shape[r.axis]
		next := e.Zeros(d.DType, shape...)
		outer, inner := shape[:r.axis].Len(), shape[r.axis+1:].Len()
		if err := byGrad(d.DType,
			func() error { resizeGrad[float32](&t, next, d, outer, r, inner); return nil },
			func() error { resizeGrad[float64](&t, next, d, outer, r, inner); return nil }); err != nil {
			return nil, err
		}
		d = next
	}
	return gradList(len(in), d), nil
}

func resizeGrad[T gradElems](t *taps[float64], next, d *tensor.Tensor, outer int, r resizeAxis, inner int) {
	to, from := tensor.Data[T](next), tensor.Data[T](d)
	for o := range outer {
		for i := range r.out {
			for k := i * t.n; k < (i+1)*t.n; k++ {
				if w := T(t.weight[k]); w != 0 {
					axpy(w, from[(o*r.out+i)*inner:][:inner], to[(o*r.in+t.index[k])*inner:][:inner])
				}
			}
		}
	}
}
