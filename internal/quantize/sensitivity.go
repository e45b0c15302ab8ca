package quantize

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/saturate"
	"github.com/neurotrain/neuroquant/tensor"
)

// Sensitivity is what 8 bits cost a layer, and why.
type Sensitivity struct {
	Layer string `json:"layer"`
	Op    string `json:"op"`
	// Alone is the SQNR of the model's outputs with this layer alone in 8 bits, Without that with all others in 8 bits, in dB; of
	// several outputs the lowest. They are nil where nothing was measured, or, with Exact, where the outputs are the original's.
	Alone        *float64 `json:"sqnr_alone_db,omitempty"`
	Without      *float64 `json:"sqnr_without_db,omitempty"`
	AloneExact   bool     `json:"alone_exact,omitempty"`
	WithoutExact bool     `json:"without_exact,omitempty"`
	// SQNR is an estimate of what the layer's own codes leave of its result, from the values and weights below, in dB; nil: all of it.
	SQNR    *float64         `json:"sqnr_db"`
	Inputs  []ValueStrain    `json:"inputs,omitempty"`
	Outputs []ValueStrain    `json:"outputs,omitempty"`
	Weight  *WeightStrain    `json:"weight,omitempty"`
	Sums    *SumStrain       `json:"sums,omitempty"`
	Causes  []StrainingCause `json:"causes,omitempty"` // the weightiest first
}

// StrainingCause is one reason why a layer loses accuracy, or may.
type StrainingCause struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	// Share is its part in the error energy that the layer's own codes make; 0 for what is no error in itself.
	Share float64 `json:"share"`
}

// Kinds of causes.
const (
	CauseRounding       = "rounding"        // nothing out of the ordinary: 8 bits are few
	CauseClipping       = "clipping"        // values beyond the range
	CauseOutlierRange   = "outlier range"   // a range that rare values stretch
	CauseUnevenChannels = "uneven channels" // a range that single channels need
	CauseWeightOutlier  = "weight outlier"  // a weight that is large among those of its channel
	CauseDeadChannel    = "dead channel"    // always zero
	CauseOverflow       = "overflow margin" // integer sums near the end of 32 bits, or beyond
	CauseSums16         = "16-bit sums"     // see package saturate
)

// ValueStrain is what 8 bits do to an activation.
type ValueStrain struct {
	Value    string   `json:"value"`
	Lo       float64  `json:"lo"` // of the codes
	Hi       float64  `json:"hi"`
	Min      float64  `json:"min"` // seen
	Max      float64  `json:"max"`
	SQNR     *float64 `json:"sqnr_db"`  // nil: exact
	Clipped  float64  `json:"clipped"`  // share of the values
	Clipping float64  `json:"clipping"` // share of the error that is clipping's
	// Tail is the range of the codes over that which holds 99.9 % of the values.
	Tail     float64 `json:"tail"`
	Channels int     `json:"channels,omitempty"`
	Dead     int     `json:"dead_channels,omitempty"` // always zero
	// Spread is the range of the widest channel over that of the median one.
	Spread float64 `json:"spread,omitempty"`

	noise float64 // energy of the error over that of the signal
}

// WeightStrain is what 8 bits do to a weight.
type WeightStrain struct {
	Weight string   `json:"weight"`
	SQNR   *float64 `json:"sqnr_db"` // nil: exact
	// Worst is the output channel of the lowest SQNR, Peak the largest value of that channel over the root mean square of the others; 0
	// where there are none.
	Worst     int      `json:"worst_channel"`
	WorstSQNR *float64 `json:"worst_sqnr_db"`
	Peak      float64  `json:"peak"`
	Channels  int      `json:"channels"`
	Dead      int      `json:"dead_channels,omitempty"` // all zero

	noise float64
}

// SumStrain is how near the integer sums of a layer come to the end of their type.
type SumStrain struct {
	// Margin is how many bits the largest possible sum, bias included, leaves of 32.
	Margin float64 `json:"margin_bits"`
	// Coarse counts the channels whose scales are larger than their weights need, so that biases fit 32 bits.
	Coarse int `json:"coarse_channels,omitempty"`
	// Saturating counts the output channels whose sums of two products can leave 16 bits, see package saturate.
	Saturating int `json:"saturating_channels,omitempty"`
	Channels   int `json:"channels"`
}

// Limits from which something is called a cause.
const (
	tailLimit   = 4.0  // of ValueStrain.Tail: two bits lost to rare values
	spreadLimit = 8.0  // of ValueStrain.Spread: three bits lost in ordinary channels
	peakLimit   = 12.0 // of WeightStrain.Peak: what a normal distribution of any size does not reach
	clipLimit   = 0.25 // of ValueStrain.Clipping
	marginLimit = 1.0  // of SumStrain.Margin, in bits
	shareLimit  = 0.1  // of the layer's error
)

// Sensitivities says of every unit of a static plan, from statistics and weights alone, what its codes lose and why. It must be called
// before the plan is carried out.
func (p *Plan) Sensitivities(ctx context.Context, c *Calibration) ([]Sensitivity, error) {
	if p.place == nil {
		return nil, fmt.Errorf("method %s does not calibrate", p.Recipe.Method)
	}
	params, err := activationParams(p.place, c.Values, &p.Recipe)
	if err != nil {
		return nil, err
	}
	outputs := map[*graph.Node][]*graph.Value{}
	for _, v := range p.place.values {
		if w := p.place.writer(v); w != nil {
			outputs[w] = append(outputs[w], v)
		}
	}
	layers := map[*graph.Node]placedLayer{}
	for _, l := range p.place.layers {
		layers[l.node] = l
	}
	units := map[string]bool{}
	for _, u := range p.Units() {
		units[u.Layer] = true
	}
	task := progress.From(ctx).Start("sensitivity", int64(len(units)), "layers")
	defer task.Done()
	var out []Sensitivity
	for _, n := range p.place.g.Nodes {
		if !units[n.Name] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s := Sensitivity{Layer: n.Name, Op: n.Op.Kind()}
		for _, v := range n.In {
			if a, ok := params[v]; ok && !slices.ContainsFunc(s.Inputs, func(x ValueStrain) bool { return x.Value == v.Name }) {
				s.Inputs = append(s.Inputs, valueStrain(v, a, c.Values[v.Name]))
			}
		}
		for _, v := range outputs[n] {
			if a, ok := params[v]; ok {
				s.Outputs = append(s.Outputs, valueStrain(v, a, c.Values[v.Name]))
			}
		}
		if l, ok := layers[n]; ok && l.weight != nil {
			if err := p.weightStrain(&s, l, params); err != nil {
				return nil, fmt.Errorf("layer %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
		s.explain()
		out = append(out, s)
		task.Add(1)
	}
	return out, nil
}

func valueStrain(v *graph.Value, a activation, st *calibrate.Stats) ValueStrain {
	step := float64(a.scale)
	least, most := a.limits()
	x := ValueStrain{Value: v.Name, Lo: a.value(least), Hi: a.value(most)}
	if st == nil || st.Count == 0 {
		return x
	}
	x.Min, x.Max = float64(st.Min), float64(st.Max)
	l := st.Loss(x.Lo, x.Hi, step)
	x.SQNR, x.Clipped = l.SQNR(), l.Clipped
	if e := l.Rounding + l.Clipping; e > 0 {
		x.Clipping = l.Clipping / e
		if l.Signal > 0 {
			x.noise = e / l.Signal
		}
	}
	if lo, hi := st.Holds(0.999); hi > lo {
		x.Tail = (x.Hi - x.Lo) / (hi - lo)
	}
	if st.Channels == nil {
		return x
	}
	var widths []float64
	for i, lo := range st.Channels.Min {
		w := float64(max(st.Channels.Max[i], 0)) - float64(min(lo, 0))
		if !(w > 0) || math.IsInf(w, 0) {
			x.Dead++
			continue
		}
		widths = append(widths, w)
	}
	x.Channels = len(st.Channels.Min)
	if slices.Sort(widths); len(widths) > 1 {
		x.Spread = widths[len(widths)-1] / widths[len(widths)/2]
	}
	return x
}

// weightStrain quantizes a weight as the plan does and compares.
func (p *Plan) weightStrain(s *Sensitivity, l placedLayer, params map[*graph.Value]activation) error {
	r, err := l.round(&p.Recipe, params[l.x].scale)
	if err != nil {
		return err
	}
	c, f := r.codes, tensor.Data[float32](r.weight)
	channels, inner := 1, len(f)
	if l.channel >= 0 {
		channels, inner = c.shape[l.channel], c.shape[l.channel+1:].Len()
	}
	type sums struct{ signal, noise, most, codes float64 }
	by := make([]sums, channels)
	for i, v := range f {
		k := i / max(inner, 1) % channels
		code := float64(int8(c.data[i]))
		d := float64(v) - code*float64(c.scaleOf(i, k))
		x := &by[k]
		x.signal += float64(v) * float64(v)
		x.noise += d * d
		x.most = max(x.most, math.Abs(float64(v)))
		x.codes += math.Abs(code)
	}
	w := &WeightStrain{Weight: l.weight.Name, Channels: channels}
	var all sums
	worst := -1.0
	for k, x := range by {
		if x.most == 0 {
			w.Dead++
			continue
		}
		all.signal, all.noise, all.codes = all.signal+x.signal, all.noise+x.noise, max(all.codes, x.codes)
		if r := x.noise / x.signal; r > worst {
			worst = r
			w.Worst, w.WorstSQNR, w.Peak = k, ratioDB(x.signal, x.noise), 0
			if others := x.signal - x.most*x.most; others > 0 {
				w.Peak = x.most / math.Sqrt(others/float64(len(f)/channels-1))
			}
		}
	}
	if all.signal > 0 {
		w.SQNR, w.noise = ratioDB(all.signal, all.noise), all.noise/all.signal
	}
	s.Weight = w
	if l.x == nil || c.blocks != nil || p.Recipe.activations().wide() { // no integers are added up
		return nil
	}
	z := &SumStrain{Channels: channels, Coarse: r.coarse()}
	most := all.codes * 255
	if r.bias != nil {
		bias := tensor.Data[float32](r.bias)
		for k, v := range bias {
			code := math.Abs(float64(v) / (float64(params[l.x].scale) * float64(c.scale[k%len(c.scale)])))
			sum := code
			if len(bias) == channels {
				sum += by[k].codes * 255
			}
			most = max(most, sum)
		}
	}
	if most > 0 {
		z.Margin = 31 - math.Log2(most)
	} else {
		z.Margin = 31
	}
	if m := l.matrix(c); len(f) > 0 && !l.depthwise(c) {
		for k := range m.Channels {
			if m.Reach(k) > saturate.Limit {
				z.Saturating++
			}
		}
	}
	s.Sums = z
	return nil
}

func ratioDB(signal, noise float64) *float64 {
	if noise == 0 {
		return nil
	}
	db := 10 * math.Log10(signal/noise)
	return &db
}

// explain finds the causes. The errors of what goes into a layer, of its weight and of its result add up, each relative to its own
// signal.
func (s *Sensitivity) explain() {
	total := 0.0
	values := slices.Concat(s.Inputs, s.Outputs)
	for _, v := range values {
		total += v.noise
	}
	if s.Weight != nil {
		total += s.Weight.noise
	}
	if total > 0 {
		s.SQNR = ratioDB(1, total)
	}
	share := func(noise float64) float64 {
		if total == 0 {
			return 0
		}
		return noise / total
	}
	add := func(kind string, part float64, format string, a ...any) {
		s.Causes = append(s.Causes, StrainingCause{kind, fmt.Sprintf(format, a...), part})
	}
	explained := map[string]bool{} // why its rounding costs so much
	for _, v := range values {
		part := share(v.noise)
		if part >= shareLimit && v.Clipping >= clipLimit {
			add(CauseClipping, part*v.Clipping, "%.2g %% of %s are clipped to [%.4g, %.4g]; it reaches from %.4g to %.4g", 100*v.Clipped, v.Value, v.Lo, v.Hi, v.Min, v.Max)
		}
		if part >= shareLimit && v.Clipping < 1-clipLimit {
			explained[v.Value] = v.Tail >= tailLimit || v.Spread >= spreadLimit
			switch {
			case v.Tail >= tailLimit:
				add(CauseOutlierRange, part*(1-v.Clipping), "the range of %s is %.3g times what 99.9 %% of its values need", v.Value, v.Tail)
			case v.Spread >= spreadLimit:
				add(CauseUnevenChannels, part*(1-v.Clipping), "the widest channel of %s is %.3g times the median one", v.Value, v.Spread)
			}
		}
		if v.Dead > 0 {
			add(CauseDeadChannel, 0, "%d of %d channels of %s are always zero", v.Dead, v.Channels, v.Value)
		}
	}
	if w := s.Weight; w != nil {
		if part := share(w.noise); part >= shareLimit && w.Peak >= peakLimit {
			explained[w.Weight] = true
			add(CauseWeightOutlier, part, "in channel %d of %s one weight is %.3g times the root mean square of the others", w.Worst, w.Weight, w.Peak)
		}
		if w.Dead > 0 {
			add(CauseDeadChannel, 0, "%d of %d channels of %s are all zero", w.Dead, w.Channels, w.Weight)
		}
	}
	if z := s.Sums; z != nil {
		if z.Coarse > 0 {
			part := 0.0
			if w := s.Weight; !explained[w.Weight] {
				part = share(w.noise)
				explained[w.Weight] = part >= shareLimit
			}
			add(CauseOverflow, part, "%d channels have larger scales than their weights need, so that biases fit 32 bits", z.Coarse)
		} else if z.Margin < marginLimit {
			add(CauseOverflow, 0, "sums leave %.2f of 32 bits", z.Margin)
		}
		if z.Saturating > 0 {
			add(CauseSums16, 0, "products of two neighbours can leave 16 bits in %d of %d channels; CPUs without VNNI add them so", z.Saturating, z.Channels)
		}
	}
	s.nameRounding(values, share, explained)
	slices.SortStableFunc(s.Causes, func(a, b StrainingCause) int { return cmp.Compare(b.Share, a.Share) })
}

// nameRounding says where most of the error comes from if nothing is out of the ordinary there.
func (s *Sensitivity) nameRounding(values []ValueStrain, share func(float64) float64, explained map[string]bool) {
	what, most := "", 0.0
	for _, v := range values {
		if x := share(v.noise * (1 - v.Clipping)); x > most {
			what, most = v.Value, x
		}
	}
	if s.Weight != nil {
		if x := share(s.Weight.noise); x > most {
			what, most = s.Weight.Weight, x
		}
	}
	for _, c := range s.Causes {
		if c.Share > most {
			return
		}
	}
	if what != "" && !explained[what] {
		s.Causes = append(s.Causes, StrainingCause{CauseRounding, fmt.Sprintf("of %s to 8 bits", what), most})
	}
}
