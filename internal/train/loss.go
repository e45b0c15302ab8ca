package train

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Losses lists the names of losses, the default first: cross entropy of class scores with labels; of the next token of every position of a
// language model; mean squared and mean absolute error; binary cross entropy of logits.
var Losses = []string{"cross_entropy", "next_token", "mse", "l1", "bce"}

// lossOf returns the operator of a loss.
func lossOf(name string, smoothing float64) (graph.Differentiable, error) {
	switch name {
	case "", "cross_entropy":
		return &crossEntropy{smoothing: smoothing}, nil
	case "next_token":
		return &crossEntropy{smoothing: smoothing, last: true}, nil
	case "mse", "l1", "bce":
		return &pointwiseLoss{kind: name}, nil
	}
	return nil, fmt.Errorf("loss: want one of %s, got %q", strings.Join(Losses, ", "), name)
}

// ignored is the label of a position that does not count.
const ignored = -1

// crossEntropy is the mean over positions of minus the logarithm of the softmax of the label's score (Szegedy et al., "Rethinking the
// Inception Architecture", for smoothing: the label counts 1-smoothing, all classes share the rest). Inputs: scores [N, C, d...], or
// [..., C] with last, and labels of int64 [N, d...]. The first output is the gradient of the scores, which may lie where these did, the second the
// loss. It is never saved.
type crossEntropy struct {
	smoothing float64
	last      bool
}

func (*crossEntropy) Kind() string { return "CrossEntropy" }

// Infer implements [graph.Op].
func (o *crossEntropy) Infer(in []graph.Type) ([]graph.Type, error) {
	t := in[0]
	t.Const = nil
	return []graph.Type{t, graph.Ranked(t.DType)}, nil
}

// Overwrites implements [graph.Overwriting].
func (*crossEntropy) Overwrites() int { return 0 }

// Eval implements [graph.Op].
func (o *crossEntropy) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, labels := in[0], tensor.Data[int64](in[1])
	if x.Rank() < 2 {
		return nil, fmt.Errorf("scores: want at least 2 dimensions, got %v", x)
	}
	axis := 1
	if o.last {
		axis = x.Rank() - 1
	}
	classes, inner := x.Shape[axis], x.Shape[axis+1:].Len()
	if len(labels)*classes != x.Len() {
		return nil, fmt.Errorf("scores %v and labels %v do not fit", x, in[1])
	}
	loss, grad := e.New(x.DType), e.NewOver(x)
	if x.DType == tensor.Float64 {
		tensor.Data[float64](loss)[0] = entropies(o.smoothing, tensor.Data[float64](x), tensor.Data[float64](grad), labels, classes, inner)
	} else if inner > 1 {
		tensor.Data[float32](loss)[0] = float32(entropies(o.smoothing, tensor.Data[float32](x), tensor.Data[float32](grad), labels, classes, inner))
	} else {
		tensor.Data[float32](loss)[0] = float32(rowEntropies(e, o.smoothing, tensor.Data[float32](x), tensor.Data[float32](grad), labels, classes))
	}
	return []*tensor.Tensor{grad, loss}, nil
}

// shareOf is what each label that counts has in the mean.
func shareOf(labels []int64) float64 {
	counted := 0
	for _, l := range labels {
		if l != ignored {
			counted++
		}
	}
	return 1 / float64(max(counted, 1))
}

// rowEntropies is [entropies] of rows of classes in single precision, by the kernels.
func rowEntropies(e *graph.Env, smoothing float64, x, grad []float32, labels []int64, classes int) float64 {
	each, rest := shareOf(labels), smoothing/float64(classes)
	losses := make([]float64, len(labels))
	e.For(len(labels), max(1, 1<<14/max(classes, 1)), func(lo, hi int) {
		for p := lo; p < hi; p++ {
			row, g := x[p*classes:(p+1)*classes], grad[p*classes:(p+1)*classes]
			if labels[p] == ignored {
				clear(g)
				continue
			}
			own := labels[p]
			top, score, plain := slices.Max(row), float64(row[own]), 0.0 // the greatest is NaN if there is one
			if smoothing > 0 {
				plain = float64(kernel.Sum(row)) // before g, which may be row
			}
			kernel.ScaleShift(g, row, 1, -top)
			kernel.Exp(g, g)
			sum := float64(kernel.Sum(g))
			log := float64(top) + math.Log(sum)
			losses[p] = (1 - smoothing) * (log - score)
			shift := float32(0)
			if smoothing > 0 {
				losses[p] += rest * (float64(classes)*log - plain)
				shift = float32(-rest * each)
			}
			kernel.ScaleShift(g, g, float32(each/sum), shift)
			g[own] -= float32((1 - smoothing) * each)
		}
	})
	total := 0.0
	for _, l := range losses {
		total += l
	}
	return total * each
}

// entropies returns the mean loss and sets its gradient, which may be x itself.
func entropies[T float32 | float64](smoothing float64, x, grad []T, labels []int64, classes, inner int) float64 {
	each, rest := shareOf(labels), smoothing/float64(classes)
	total := 0.0
	for p, label := range labels {
		at := p/inner*classes*inner + p%inner
		end := at + classes*inner
		if label == ignored {
			for i := at; i < end; i += inner {
				grad[i] = 0
			}
			continue
		}
		top := math.Inf(-1)
		for i := at; i < end; i += inner {
			top = max(top, float64(x[i]))
		}
		own := at + int(label)*inner
		score := float64(x[own])
		sum, plain := 0.0, 0.0
		for i := at; i < end; i += inner {
			v := math.Exp(float64(x[i]) - top)
			plain += float64(x[i])
			grad[i] = T(v)
			sum += v
		}
		log := top + math.Log(sum)
		total += (1-smoothing)*(log-score) + rest*(float64(classes)*log-plain)
		for i := at; i < end; i += inner {
			grad[i] = T((float64(grad[i])/sum - rest) * each)
		}
		grad[own] -= T((1 - smoothing) * each)
	}
	return total * each
}

// Recalls implements [graph.Recalling].
func (*crossEntropy) Recalls() (in, out uint64) { return 0, 1 }

// Backward implements [graph.Differentiable].
func (*crossEntropy) Backward(e *graph.Env, in, out, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return []*tensor.Tensor{times(e, out[0], dOut[1]), nil}, nil
}

// times returns t times a scalar: t itself where that is 1.
func times(e *graph.Env, t, s *tensor.Tensor) *tensor.Tensor {
	if s.DType == tensor.Float32 && tensor.Item[float32](s) == 1 {
		return t
	}
	out := e.New(t.DType, t.Shape...)
	if t.DType == tensor.Float64 {
		f := tensor.Item[float64](s)
		for i, v := range tensor.Data[float64](t) {
			tensor.Data[float64](out)[i] = v * f
		}
		return out
	}
	f := tensor.Item[float32](s)
	y := tensor.Data[float32](out)
	for i, v := range tensor.Data[float32](t) {
		y[i] = v * f
	}
	return out
}

// pointwiseLoss is the mean over elements of a function of an output and a target of its shape; bce takes logits. It is never saved.
type pointwiseLoss struct{ kind string }

func (*pointwiseLoss) Kind() string { return "PointwiseLoss" }

// Infer implements [graph.Op].
func (*pointwiseLoss) Infer(in []graph.Type) ([]graph.Type, error) {
	return []graph.Type{graph.Ranked(in[0].DType)}, nil
}

// at returns the loss of an element and its derivative.
func (o *pointwiseLoss) at(x, y float64) (loss, slope float64) {
	switch o.kind {
	case "l1":
		d := x - y
		switch {
		case d > 0:
			return d, 1
		case d < 0:
			return -d, -1
		}
		return d, 0
	case "bce": // -y*log(s) - (1-y)*log(1-s) with s the logistic function of x, in a form that does not overflow
		s := 1 / (1 + math.Exp(-x))
		return max(x, 0) - x*y + math.Log1p(math.Exp(-math.Abs(x))), s - y
	}
	return (x - y) * (x - y), 2 * (x - y)
}

// Eval implements [graph.Op].
func (o *pointwiseLoss) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, y, err := pairOf(in)
	if err != nil {
		return nil, err
	}
	total := 0.0
	for i := range x {
		l, _ := o.at(x[i], y[i])
		total += l
	}
	return scalarLoss(e, in[0].DType, total/float64(max(len(x), 1))), nil
}

// pairOf returns the elements of two tensors of one shape.
func pairOf(in []*tensor.Tensor) (x, y []float64, err error) {
	if !in[0].Shape.Equal(in[1].Shape) {
		return nil, nil, fmt.Errorf("output %v and target %v differ in shape", in[0], in[1])
	}
	if x, err = in[0].Float64s(); err == nil {
		y, err = in[1].Float64s()
	}
	return x, y, err
}

func scalarLoss(e *graph.Env, d tensor.DType, v float64) []*tensor.Tensor {
	t := e.New(d)
	if d == tensor.Float64 {
		tensor.Data[float64](t)[0] = v
	} else {
		tensor.Data[float32](t)[0] = float32(v)
	}
	return []*tensor.Tensor{t}
}

// Backward implements [graph.Differentiable].
func (o *pointwiseLoss) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	x, y, err := pairOf(in)
	if err != nil {
		return nil, err
	}
	d, err := dOut[0].Float64s()
	if err != nil {
		return nil, err
	}
	out, scale := e.New(in[0].DType, in[0].Shape...), d[0]/float64(max(len(x), 1))
	for i := range x {
		_, slope := o.at(x[i], y[i])
		if out.DType == tensor.Float64 {
			tensor.Data[float64](out)[i] = slope * scale
		} else {
			tensor.Data[float32](out)[i] = float32(slope * scale)
		}
	}
	return []*tensor.Tensor{out, nil}, nil
}

// distillation is the divergence of a teacher's softmax from the student's, both at a temperature, times its square, so that gradients keep
// their size (Hinton et al., "Distilling the Knowledge in a Neural Network"): the mean over rows along the last axis. Inputs: the scores of
// student and teacher. It is never saved.
type distillation struct{ temperature float64 }

func (*distillation) Kind() string { return "Distillation" }

// Infer implements [graph.Op].
func (*distillation) Infer(in []graph.Type) ([]graph.Type, error) {
	return []graph.Type{graph.Ranked(in[0].DType)}, nil
}

func (o *distillation) rows(in []*tensor.Tensor, f func(at int, student, teacher, logStudent, logTeacher []float64)) error {
	x, y, err := pairOf(in)
	if err != nil {
		return err
	}
	if in[0].Rank() == 0 {
		return fmt.Errorf("scores: want at least 1 dimension")
	}
	n := in[0].Shape[in[0].Rank()-1]
	work := make([]float64, 4*n)
	softmax := func(p, logs, v []float64) {
		top := slices.Max(v) / o.temperature
		sum := 0.0
		for i := range v {
			logs[i] = v[i]/o.temperature - top
			sum += math.Exp(logs[i])
		}
		for i := range v {
			logs[i] -= math.Log(sum)
			p[i] = math.Exp(logs[i])
		}
	}
	for at := 0; n > 0 && at < len(x); at += n {
		s, t, ls, lt := work[:n], work[n:2*n], work[2*n:3*n], work[3*n:]
		softmax(s, ls, x[at:at+n])
		softmax(t, lt, y[at:at+n])
		f(at, s, t, ls, lt)
	}
	return nil
}

// Eval implements [graph.Op].
func (o *distillation) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	total, rows := 0.0, 0
	err := o.rows(in, func(_ int, _, t, ls, lt []float64) {
		rows++
		for i, p := range t {
			total += p * (lt[i] - ls[i])
		}
	})
	if err != nil {
		return nil, err
	}
	return scalarLoss(e, in[0].DType, total*o.temperature*o.temperature/float64(max(rows, 1))), nil
}

// Backward implements [graph.Differentiable].
func (o *distillation) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d, err := dOut[0].Float64s()
	if err != nil {
		return nil, err
	}
	n := in[0].Shape[in[0].Rank()-1]
	scale := d[0] * o.temperature * float64(n) / float64(max(in[0].Len(), 1))
	out := e.New(in[0].DType, in[0].Shape...)
	err = o.rows(in, func(at int, s, t, _, _ []float64) {
		for i := range s {
			g := (s[i] - t[i]) * scale
			if out.DType == tensor.Float64 {
				tensor.Data[float64](out)[at+i] = g
			} else {
				tensor.Data[float32](out)[at+i] = float32(g)
			}
		}
	})
	return []*tensor.Tensor{out, nil}, err
}

// mix is a weighted sum of two scalars.
type mix struct{ a, b float64 }

func (*mix) Kind() string { return "MixLosses" }

// Infer implements [graph.Op].
func (*mix) Infer(in []graph.Type) ([]graph.Type, error) {
	return []graph.Type{graph.Ranked(in[0].DType)}, nil
}

// Eval implements [graph.Op].
func (o *mix) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	a, err := in[0].Float64s()
	if err != nil {
		return nil, err
	}
	b, err := in[1].Float64s()
	if err != nil {
		return nil, err
	}
	return scalarLoss(e, in[0].DType, o.a*a[0]+o.b*b[0]), nil
}

// Recalls implements [graph.Recalling].
func (*mix) Recalls() (in, out uint64) { return 0, 0 }

// Backward implements [graph.Differentiable].
func (o *mix) Backward(e *graph.Env, in, _, dOut []*tensor.Tensor) ([]*tensor.Tensor, error) {
	d, err := dOut[0].Float64s()
	if err != nil {
		return nil, err
	}
	return []*tensor.Tensor{scalarLoss(e, in[0].DType, o.a*d[0])[0], scalarLoss(e, in[0].DType, o.b*d[0])[0]}, nil
}
