package analyze

import (
	"context"
	"fmt"
	"math"
	"sort"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Saturation tells what a model would lose on CPUs that add two products of 8-bit codes in 16 bits: those with AVX2 or AVX-512
// but without VNNI, in runtimes that use VPMADDUBSW there. This program does not.
type Saturation struct {
	Samples  int               `json:"samples"` // that were looked at
	Channels int               `json:"channels"`
	AtRisk   int               `json:"channels_at_risk"` // some activations overflow
	Seen     int               `json:"channels_seen"`    // the samples do
	Layers   []LayerSaturation `json:"layers"`
}

// LayerSaturation is the saturation of one product with signed 8-bit weights.
type LayerSaturation struct {
	Layer    string `json:"layer"`
	Op       string `json:"op"`
	Channels int    `json:"channels"`
	// Worst is the sum of two products farthest from zero that any activations give; 16 bits hold -32768 to 32767.
	Worst int `json:"worst"`
	// Risky lists the channels that some activations make overflow, those that lose most first.
	Risky []ChannelSaturation `json:"channels_at_risk,omitempty"`
	// Outputs is the number of values computed on the samples, Saturated those with a pair that overflows.
	Outputs   int `json:"outputs"`
	Saturated int `json:"outputs_saturated"`
	// SQNR is the energy of the layer's output over that of the error from saturation, in dB; nil where there is none or it
	// cannot be weighed.
	SQNR *float64 `json:"sqnr_db,omitempty"`
}

// ChannelSaturation is the saturation of one output channel.
type ChannelSaturation struct {
	Channel int `json:"channel"`
	Pairs   int `json:"pairs"` // of neighbouring weights that some activations make overflow
	Worst   int `json:"worst"`
	// Seen is the sum farthest from zero on the samples, Saturated the fraction of the channel's values with an overflow, and
	// MaxError the largest error of one, in the units of the output; 0 where the scales are not known beforehand.
	Seen      int     `json:"seen"`
	Saturated float64 `json:"saturated"`
	MaxError  float64 `json:"max_error"`
}

// FindSaturation looks at every product of 8-bit activations with constant int8 weights in a portable graph: QDQ pairs around
// Conv, MatMul and Gemm, the integer operators and the QLinear ones. feeds may be nil: then only what any activations could do
// is known. Pairs are neighbours in the order in which ONNX Runtime packs weights. Depthwise convolutions and products with uint8
// weights are not concerned: runtimes compute them without that instruction.
func FindSaturation(ctx context.Context, g *graph.Graph, feeds *Feeds, threads int) (*Saturation, error) {
	r := &Saturation{}
	watch := map[*graph.Node]*watched{}
	for _, n := range g.Nodes {
		p, err := integerProduct(g, n)
		if err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
		}
		if p == nil {
			continue
		}
		l := LayerSaturation{Layer: n.Name, Op: n.Op.Kind(), Channels: p.weights.Channels}
		w := &watched{product: p}
		for c := range p.weights.Channels {
			pairs := p.weights.Risky(c)
			if pairs == nil {
				continue
			}
			s := ChannelSaturation{Channel: c, Pairs: len(pairs)}
			for _, pair := range pairs {
				if v := pair.Worst(); abs(v) > abs(s.Worst) {
					s.Worst = v
				}
			}
			if abs(s.Worst) > abs(l.Worst) {
				l.Worst = s.Worst
			}
			l.Risky = append(l.Risky, s)
			w.channels = append(w.channels, watchedChannel{channel: c, pairs: pairs})
		}
		w.at = len(r.Layers)
		r.Layers = append(r.Layers, l)
		r.Channels += l.Channels
		r.AtRisk += len(l.Risky)
		if l.Risky != nil && !p.unordered {
			watch[n] = w
		}
	}
	if feeds != nil && len(watch) > 0 {
		if err := r.observe(ctx, g, watch, feeds, threads); err != nil {
			return nil, err
		}
	}
	for i := range r.Layers {
		risky := r.Layers[i].Risky
		sort.SliceStable(risky, func(a, b int) bool {
			x, y := risky[a], risky[b]
			if x.Saturated != y.Saturated {
				return x.Saturated > y.Saturated
			}
			return abs(x.Worst) > abs(y.Worst)
		})
		for _, c := range risky {
			if c.Saturated > 0 {
				r.Seen++
			}
		}
	}
	return r, nil
}

func abs(v int) int { return max(v, -v) }

// observe runs the samples and fills in what was seen.
func (r *Saturation) observe(ctx context.Context, g *graph.Graph, watch map[*graph.Node]*watched, feeds *Feeds, threads int) error {
	var failed error
	s, err := exec.NewSession(g, exec.Options{Threads: threads, Tap: func(n *graph.Node, in, out []*tensor.Tensor) {
		if w := watch[n]; w != nil && failed == nil {
			if err := w.see(in, out); err != nil {
				failed = fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
	}})
	if err != nil {
		return err
	}
	defer s.Close()
	task := progress.From(ctx).Start("saturation", int64(feeds.Samples), "samples")
	defer task.Done()
	for f, err := range feeds.All(ctx) {
		if err != nil {
			return err
		}
		if _, err := s.Run(ctx, f.In); err != nil {
			return err
		}
		if failed != nil {
			return failed
		}
		r.Samples += f.Samples
		task.Add(int64(f.Samples))
	}
	for _, w := range watch {
		l := &r.Layers[w.at]
		l.Outputs = w.outputs * w.product.weights.Channels
		noise := 0.0
		for i, c := range w.channels {
			s := &l.Risky[i]
			s.Seen, s.MaxError = int(c.seen), c.most
			if w.outputs > 0 {
				s.Saturated = float64(c.saturated) / float64(w.outputs)
			}
			l.Saturated += c.saturated
			noise += c.noise
		}
		if noise > 0 && w.signal > 0 {
			db := 10 * math.Log10(w.signal/noise)
			l.SQNR = &db
		}
	}
	return nil
}
