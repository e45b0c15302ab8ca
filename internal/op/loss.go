package op

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var lossOps = table{
	"NegativeLogLikelihoodLoss": fresh[NegativeLogLikelihoodLoss],
	"SoftmaxCrossEntropyLoss":   fresh[SoftmaxCrossEntropyLoss],
}

// ClassLoss holds the attributes that the losses of classifiers share; Reduction is "none", "sum" or "mean". Inputs are scores [N, C, d1, ...], class indices
// [N, d1, ...] and optional weights [C].
type ClassLoss struct {
	IgnoreIndex *int   `attr:"ignore_index"` // samples of this class do not count
	Reduction   string `attr:"reduction,mean"`
}

// NegativeLogLikelihoodLoss is minus the log-probability of the true class times its weight; per sample, summed, or as a mean
// over the weights.
type NegativeLogLikelihoodLoss struct{ ClassLoss }

func (*NegativeLogLikelihoodLoss) Kind() string { return "NegativeLogLikelihoodLoss" }

func (o *NegativeLogLikelihoodLoss) Infer(in []graph.Type) ([]graph.Type, error) {
	return one(o.infer(in))
}

func (o *NegativeLogLikelihoodLoss) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := o.args(in)
	if err != nil {
		return nil, err
	}
	return one(o.loss(e, decoded(e, in[0]), in))
}

// SoftmaxCrossEntropyLoss is [NegativeLogLikelihoodLoss] of the log-softmax of the scores along axis 1, which is the second output.
type SoftmaxCrossEntropyLoss struct{ ClassLoss }

func (*SoftmaxCrossEntropyLoss) Kind() string { return "SoftmaxCrossEntropyLoss" }

func (o *SoftmaxCrossEntropyLoss) Infer(in []graph.Type) ([]graph.Type, error) {
	loss, err := o.infer(in)
	if err != nil {
		return nil, err
	}
	return []graph.Type{loss, retyped(in[0], loss.DType)}, nil
}

func (o *SoftmaxCrossEntropyLoss) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := o.args(in)
	if err != nil {
		return nil, err
	}
	scores := decoded(e, in[0])
	logProb := e.New(scores.DType, scores.Shape...)
	if scores.Len() > 0 {
		logSoftmaxTensor(e, logProb, scores, scores.Shape[1], scores.Shape[2:].Len())
	}
	loss, err := o.loss(e, logProb, in)
	if err != nil {
		return nil, err
	}
	logProb, err = castTensor(e, logProb, in[0].DType, castMode{})
	return []*tensor.Tensor{loss, logProb}, err
}

func (o *ClassLoss) infer(in []graph.Type) (graph.Type, error) {
	var out graph.Type
	if err := want(in, 2, 3); err != nil {
		return out, err
	}
	switch o.Reduction {
	case "none", "sum", "mean":
	default:
		return out, fmt.Errorf("reduction: want none, sum or mean, got %q", o.Reduction)
	}
	d, err := sameDType(in[0], arg(in, 2))
	if err != nil {
		return out, err
	}
	if err := floats.check(0, d); err != nil {
		return out, err
	}
	if err := indexInts.check(1, in[1].DType); err != nil {
		return out, err
	}
	if in[0].Ranked && len(in[0].Dims) < 2 {
		return out, fmt.Errorf("input 0: want at least 2 dimensions, got %v", in[0])
	}
	switch {
	case o.Reduction != "none":
		return graph.Ranked(d), nil
	case in[1].Ranked:
		return graph.Ranked(d, in[1].Dims...), nil
	case in[0].Ranked:
		return graph.Ranked(d, append([]graph.Dim{in[0].Dims[0]}, in[0].Dims[2:]...)...), nil
	}
	return graph.Unranked(d), nil
}

// args checks the inputs and their shapes.
func (o *ClassLoss) args(in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 2, 3)
	if err != nil {
		return nil, err
	}
	scores, labels, weights := in[0], in[1], arg(in, 2)
	if err := floats.check(0, scores.DType); err != nil {
		return nil, err
	}
	if err := indexInts.check(1, labels.DType); err != nil {
		return nil, err
	}
	if scores.Rank() < 2 {
		return nil, fmt.Errorf("input 0: want at least 2 dimensions, got shape %v", scores.Shape)
	}
	expect := append(tensor.Shape{scores.Shape[0]}, scores.Shape[2:]...)
	if !labels.Shape.Equal(expect) {
		return nil, fmt.Errorf("input 1: want shape %v, got %v", expect, labels.Shape)
	}
	if weights != nil {
		if weights.DType != scores.DType || weights.Rank() != 1 || weights.Shape[0] != scores.Shape[1] {
			return nil, fmt.Errorf("input 2: want %v[%d], got %v", scores.DType, scores.Shape[1], weights)
		}
	}
	return in, nil
}

// loss takes log-probabilities as float32 or float64; in are the checked inputs.
func (o *ClassLoss) loss(e *graph.Env, logProb *tensor.Tensor, in []*tensor.Tensor) (*tensor.Tensor, error) {
	var weights []float64
	if w := arg(in, 2); w != nil {
		var err error
		if weights, err = w.Float64s(); err != nil {
			return nil, err
		}
	}
	labels, err := intsOf(in[1])
	if err != nil {
		return nil, err
	}
	var losses []float64
	var total float64
	if logProb.DType == tensor.Float64 {
		losses, total, err = pickLosses(o, tensor.Data[float64](logProb), logProb.Shape, labels, weights)
	} else {
		losses, total, err = pickLosses(o, tensor.Data[float32](logProb), logProb.Shape, labels, weights)
	}
	if err != nil {
		return nil, err
	}
	d := in[0].DType
	if o.Reduction == "none" {
		return castTensor(e, tensor.Of(in[1].Shape, losses), d, castMode{})
	}
	var sum float64
	for _, v := range losses {
		sum += v
	}
	if o.Reduction == "mean" {
		sum /= total
	}
	return castTensor(e, tensor.Scalar(sum), d, castMode{})
}

// pickLosses returns the weighted loss of each sample and the sum of the weights of those that count.
func pickLosses[T float32 | float64](o *ClassLoss, logProb []T, shape tensor.Shape, labels []int, weights []float64) ([]float64, float64, error) {
	classes, inner := shape[1], shape[2:].Len()
	losses := make([]float64, len(labels))
	var total float64
	for i, c := range labels {
		if o.IgnoreIndex != nil && c == *o.IgnoreIndex {
			continue
		}
		if c < 0 || c >= classes {
			return nil, 0, fmt.Errorf("input 1: class %d is not among %d classes", c, classes)
		}
		w := 1.0
		if weights != nil {
			w = weights[c]
		}
		losses[i] = -w * float64(logProb[(i/inner*classes+c)*inner+i%inner])
		total += w
	}
	return losses, total, nil
}
