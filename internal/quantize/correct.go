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
// (2019), whose empirical form this is. Where a channel's weights have a scale of their own, that is corrected too: the line from
// quantized to float outputs that is nearest in the mean square gives both. Both models are run on every call of the samples,
// whose layers' outputs are held meanwhile. Few values say little: what could be chance is left out, see [fit.line]. What is found of a layer is taken out of it at once, so that the layers behind it do
// not see it. With alone, every layer is corrected for itself, behind others that lose nothing: that gains less, and serves every choice
// of layers that stay in float. m is not changed.
func CorrectBias(ctx context.Context, m *model.Model, p *Plan, c *Calibration, samples Samples, alone bool) error {
	layers := map[string]int{} // axis of the output's channels
	for _, l := range p.place.layers {
		if l.why == "" && p.place.correctable(l) {
			layers[l.node.Name] = outputChannels(l.node)
		}
	}
	work := m.With(m.Graph.Clone())
	recipe := p.Recipe
	recipe.Format = "" // in the QDQ form layers are nodes of their own
	plan, err := planStatic(work, recipe)
	if err != nil {
		return err
	}
	plain := *c
	plain.Correction = nil
	if err := Apply(ctx, work, plan, &plain); err != nil {
		return err
	}
	want := map[string]*tensor.Tensor{}
	float, err := exec.NewSession(m.Graph, exec.Options{Tap: func(n *graph.Node, _, out []*tensor.Tensor) {
		if _, ok := layers[n.Name]; ok {
			want[n.Name] = out[0].Clone()
		}
	}})
	if err != nil {
		return err
	}
	defer float.Close()
	fits := map[string][]fit{}
	quantized, err := exec.NewSession(work.Graph, exec.Options{Tap: func(n *graph.Node, _, out []*tensor.Tensor) {
		axis, ok := layers[n.Name]
		y := want[n.Name]
		if !ok || y == nil || !y.Shape.Equal(out[0].Shape) {
			return
		}
		if fits[n.Name] == nil {
			fits[n.Name] = make([]fit, y.Shape[(axis+len(y.Shape))%len(y.Shape)])
		}
		f := fits[n.Name]
		ref := tensor.Data[float32](y)
		at := 0
		channelBlocks(out[0], axis, func(c int, x []float32) {
			f[c].add(x, ref[at:at+len(x)])
			at += len(x)
		})
		if alone {
			copy(tensor.Data[float32](out[0]), ref)
			return
		}
		channelBlocks(out[0], axis, func(c int, x []float32) {
			a, b := f[c].line(!p.Recipe.PerTensor)
			for i, v := range x {
				x[i] = float32(a*float64(v) + b)
			}
		})
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
	c.Correction = map[string]Correction{}
	for name, f := range fits {
		k := Correction{make([]float32, len(f)), make([]float32, len(f))}
		for i := range f {
			a, b := f[i].line(!p.Recipe.PerTensor)
			k.Gain[i], k.Bias[i] = float32(a), float32(b)
		}
		c.Correction[name] = k
	}
	return nil
}

// Correction is what the outputs of a layer are multiplied by, and what is added then, channel by channel.
type Correction struct{ Gain, Bias []float32 }

// fit finds the line a*x+b nearest to y.
type fit struct{ n, x, y, xx, xy, yy float64 }

func (f *fit) add(x, y []float32) {
	for i, v := range x {
		a, b := float64(v), float64(y[i])
		f.n++
		f.x += a
		f.y += b
		f.xx += a * a
		f.xy += a * b
		f.yy += b * b
	}
}

// mostGain bounds the factors of a correction: what is further off is no error of rounding.
const mostGain = 2

// line returns the line, with a slope of 1 unless it is free. What is found is moved towards no correction by as much as it could
// be off by chance (the positive-part estimator of James and Stein): with few values, or large errors without a direction, nothing
// is left of it.
func (f *fit) line(free bool) (a, b float64) {
	if f.n < 3 {
		return 1, 0
	}
	x, y := f.x/f.n, f.y/f.n
	xx, xy, yy := f.xx/f.n-x*x, f.xy/f.n-x*y, f.yy/f.n-y*y
	a = 1
	noise := yy - 2*xy + xx
	if free && xx > 1e-9*f.xx/f.n {
		slope := xy / xx
		noise = yy - slope*xy
		a = 1 + shrunk(slope-1, noise/(xx*(f.n-2)))
		a = min(max(a, 1./mostGain), mostGain)
	}
	return a, x + shrunk(y-x, noise/(f.n-2)) - a*x
}

// shrunk moves an estimate towards zero that is off by chance with the given variance.
func shrunk(estimate, variance float64) float64 {
	if square := estimate * estimate; square > variance {
		return estimate * (1 - max(variance, 0)/square)
	}
	return 0
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
