package quantize

import (
	"context"
	"errors"
	"fmt"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// CorrectBias finds what the quantized layers of a plan are off by on average, channel by channel, and adds it to c, so that
// [Apply] takes it out of their biases; see Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
// (2019), whose empirical form this is. Both models are run on every call of the samples. What a layer is off by on a call is
// taken out of it at once, so that the layers behind it, whose own errors are what counts, do not see it. m is not changed.
func CorrectBias(ctx context.Context, m *model.Model, p *Plan, c *Calibration, samples Samples) error {
	layers := map[string]int{} // axis of the output's channels
	for _, l := range p.place.layers {
		if l.why == "" && p.place.correctable(l) {
			layers[l.node.Name] = outputChannels(l.node)
		}
	}
	work := m.With(m.Graph.Clone())
	plan, err := planStatic(work, p.Recipe)
	if err != nil {
		return err
	}
	plain := *c
	plain.Bias = nil
	if err := Apply(ctx, work, plan, &plain); err != nil {
		return err
	}
	means := map[string][]float64{}
	float, err := exec.NewSession(m.Graph, exec.Options{Tap: func(n *graph.Node, _, out []*tensor.Tensor) {
		if axis, ok := layers[n.Name]; ok {
			means[n.Name] = channelMeans(out[0], axis)
		}
	}})
	if err != nil {
		return err
	}
	defer float.Close()
	off := map[string][]float64{}
	weight := 0.0
	quantized, err := exec.NewSession(work.Graph, exec.Options{Tap: func(n *graph.Node, _, out []*tensor.Tensor) {
		axis, ok := layers[n.Name]
		if !ok {
			return
		}
		want, got := means[n.Name], channelMeans(out[0], axis)
		if len(want) != len(got) {
			return
		}
		sum := off[n.Name]
		if sum == nil {
			sum = make([]float64, len(got))
			off[n.Name] = sum
		}
		for i := range got {
			got[i] -= want[i]
			sum[i] += got[i] * weight
		}
		shiftChannels(out[0], axis, got)
	}})
	if err != nil {
		return err
	}
	defer quantized.Close()
	task := progress.From(ctx).Start("correct biases", int64(samples.Len), "samples")
	defer task.Done()
	seen := 0
	for call, err := range samples.All(ctx) {
		if err != nil {
			return err
		}
		weight = float64(call.Samples)
		for _, s := range []*exec.Session{float, quantized} {
			if _, err := s.Run(ctx, call.In); err != nil {
				return fmt.Errorf("calibration sample %q: %w", call.IDs, err)
			}
		}
		seen += call.Samples
		task.Add(int64(call.Samples))
	}
	if seen == 0 {
		return errors.New("no calibration samples")
	}
	c.Bias = map[string][]float32{}
	for name, sum := range off {
		b := make([]float32, len(sum))
		for i, x := range sum {
			b[i] = float32(-x / float64(seen))
		}
		c.Bias[name] = b
	}
	return nil
}

// outputChannels returns the axis of the channels of a product's output; -1 is the last.
func outputChannels(n *graph.Node) int {
	if n.Op.Kind() == "Conv" {
		return 1
	}
	return -1
}

// correctable reports whether a layer has, or can get, a bias for each channel of its output.
func (p *placement) correctable(l placedLayer) bool {
	if l.weight == nil || l.x == nil {
		return false
	}
	shape := l.weight.Data.Shape()
	if l.channel < 0 || l.channel >= len(shape) {
		return false
	}
	if l.node.Op.Kind() != "MatMul" {
		return l.bias == nil || biasLike(l.bias, shape[l.channel])
	}
	b := p.addedBias(l.node)
	return b != nil && biasLike(b, shape[l.channel])
}

// addedBias returns the constant that is added to a MatMul, if its codes hold the sum.
func (p *placement) addedBias(n *graph.Node) *graph.Value {
	if m := p.only(n.Out[0]); m != nil && p.roles[m] == absorbed && m.Op.Kind() == "Add" {
		return otherInput(m, n.Out[0])
	}
	return nil
}

// biasLike reports whether a constant holds a value for each of so many channels, in its last dimension, and no more.
func biasLike(v *graph.Value, channels int) bool {
	s := v.Data.Shape()
	return len(s) > 0 && s[len(s)-1] == channels && s.Len() == channels
}

// channelBlocks calls f with every run of values of one channel along an axis, -1 for the last.
func channelBlocks(t *tensor.Tensor, axis int, f func(channel int, x []float32)) (channels int) {
	if axis < 0 {
		axis += len(t.Shape)
	}
	if axis < 0 || axis >= len(t.Shape) || t.DType != tensor.Float32 {
		return 0
	}
	x, channels := tensor.Data[float32](t), t.Shape[axis]
	inner := t.Shape[axis+1:].Len()
	for at := 0; at < len(x) && inner > 0; at += inner {
		f(at/inner%channels, x[at:at+inner])
	}
	return channels
}

func channelMeans(t *tensor.Tensor, axis int) []float64 {
	if len(t.Shape) == 0 {
		return nil
	}
	k := axis
	if k < 0 {
		k += len(t.Shape)
	}
	sum := make([]float64, t.Shape[k])
	channelBlocks(t, axis, func(c int, x []float32) {
		s := 0.0
		for _, v := range x {
			s += float64(v)
		}
		sum[c] += s
	})
	if n := t.Len() / max(len(sum), 1); n > 0 {
		for i := range sum {
			sum[i] /= float64(n)
		}
	}
	return sum
}

func shiftChannels(t *tensor.Tensor, axis int, by []float64) {
	channelBlocks(t, axis, func(c int, x []float32) {
		d := float32(by[c])
		for i := range x {
			x[i] -= d
		}
	})
}
