package arch

import (
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Rope is a rotary embedding: which elements of a head turn, and how fast.
type Rope struct {
	Rotated     int       // leading elements of a head that are rotated
	Interleaved bool      // pairs are neighbours, not elements of the two halves
	Frequency   []float32 // of each pair: radians a position
	Magnitude   float64   // of cosines and sines; 0: 1

	// Beyond Original positions, Long takes the place of Frequency: longrope.
	Long     []float32
	Original int
	// Beyond Original positions, the frequencies follow the length of the sequence: dynamic.
	Theta, Factor float64
}

// ropeFields are the fields of rope_parameters and rope_scaling that say how a rotary embedding is scaled.
type ropeFields struct {
	*Config
	kind        string
	theta       float64
	factor      float64
	rotated     int
	context     int // max_position_embeddings
	original    int // original_max_position_embeddings; max_position_embeddings where that is not said
	hasOriginal bool
}

// Rope reads the rotary embedding of heads of a size, in all forms that checkpoints have: rope_theta with rope_scaling, or
// rope_parameters. theta and partial are the defaults of rope_theta and partial_rotary_factor (0: 10000 and 1).
func (c *Config) Rope(size int, theta, partial float64) *Rope {
	if theta == 0 {
		theta = 10000
	}
	if partial == 0 {
		partial = 1
	}
	s := c.Sub("rope_parameters")
	if s == nil {
		s = c.Sub("rope_scaling")
	} else {
		c.Ignore("rope_scaling", "rope_theta")
		theta = s.Float("rope_theta", theta)
		partial = s.Float("partial_rotary_factor", partial)
	}
	theta = c.Float("rope_theta", theta)
	partial = c.Float("partial_rotary_factor", partial)
	if s == nil {
		s = newConfig(map[string]any{})
	}
	r := c.rope(s, size, theta, partial)
	c.Done(s)
	return r
}

// RopeOf reads the rotary embedding of the layers of a type where rope_parameters has one for each; nil where it has not.
func (c *Config) RopeOf(layerType string, size int, theta, partial float64) *Rope {
	all := c.Sub("rope_parameters")
	if all == nil || !all.Has(layerType) {
		return nil
	}
	s := all.Sub(layerType)
	if partial == 0 {
		partial = 1
	}
	r := c.rope(s, size, s.Float("rope_theta", theta), s.Float("partial_rotary_factor", partial))
	c.Done(s)
	return r
}

// rope reads the scaling s of a rotary embedding.
func (c *Config) rope(s *Config, size int, theta, partial float64) *Rope {
	f := ropeFields{Config: s, theta: theta, rotated: int(float64(size) * partial), context: c.positions()}
	if theta <= 1 || theta > 1e15 {
		c.Errorf("rope_theta", "want a number from 1 to 1e15, found %v", theta)
		theta, f.theta = 10000, 10000
	}
	if f.rotated < 2 || f.rotated > size || f.rotated%2 != 0 {
		c.Errorf("partial_rotary_factor", "%v of heads of %d elements is no even number of them", partial, size)
		f.rotated = 2
	}
	f.kind = s.Text("rope_type", s.Text("type", "default"))
	s.Ignore("type", "rope_theta", "partial_rotary_factor")
	f.original = f.context
	if c.Has("original_max_position_embeddings") {
		f.original, f.hasOriginal = c.Size("original_max_position_embeddings", 0), true
	}
	if s.Has("original_max_position_embeddings") {
		f.original, f.hasOriginal = s.Size("original_max_position_embeddings", 0), true
	}
	if f.kind != "default" && f.kind != "mrope" {
		if f.factor = s.Float("factor", 0); f.factor <= 0 && f.kind != "longrope" && f.kind != "su" {
			s.Errorf("factor", "want a positive number, found %v", f.factor)
			f.factor = 1
		}
		if f.original == 0 {
			c.Errorf("max_position_embeddings", "is missing")
			f.original, f.context = 1, 1
		}
	}
	r := &Rope{Rotated: f.rotated, Frequency: frequencies(theta, f.rotated)}
	switch f.kind {
	case "default":
	case "linear":
		for i := range r.Frequency {
			r.Frequency[i] /= float32(f.factor)
		}
	case "dynamic":
		r.Theta, r.Factor, r.Original = theta, f.factor, f.original
	case "llama3":
		f.llama3(r)
	case "yarn":
		f.yarn(r)
	case "longrope", "su":
		f.longrope(r)
	default:
		s.Errorf("rope_type", "%q is not supported; supported: default, linear, dynamic, llama3, yarn, longrope", f.kind)
	}
	return r
}

// frequencies are theta^(-2i/n) for i below n/2, with the roundings of float32.
func frequencies(theta float64, n int) []float32 {
	out := make([]float32, n/2)
	for i := range out {
		out[i] = 1 / float32(math.Pow(theta, float64(float32(2*i)/float32(n))))
	}
	return out
}

// llama3 slows long waves down and leaves short ones, with a ramp between.
func (f *ropeFields) llama3(r *Rope) {
	low, high := f.Float("low_freq_factor", 1), f.Float("high_freq_factor", 4)
	if low <= 0 || high <= low {
		f.Errorf("high_freq_factor", "want more than low_freq_factor %v, found %v", low, high)
		return
	}
	for i, w := range r.Frequency {
		wave := 2 * math.Pi / float64(w)
		switch {
		case wave < float64(f.original)/high:
		case wave > float64(f.original)/low:
			r.Frequency[i] = float32(float64(w) / f.factor)
		default:
			smooth := (float64(f.original)/wave - low) / (high - low)
			r.Frequency[i] = float32((1-smooth)*float64(w)/f.factor + smooth*float64(w))
		}
	}
}

// yarn is the method of Peng et al., arXiv:2309.00071.
func (f *ropeFields) yarn(r *Rope) {
	fast, slow := f.Float("beta_fast", 32), f.Float("beta_slow", 1)
	truncate := f.Bool("truncate", true)
	magnitude := func(scale, m float64) float64 {
		if scale <= 1 {
			return 1
		}
		return 0.1*m*math.Log(scale) + 1
	}
	m, all := f.Float("mscale", 0), f.Float("mscale_all_dim", 0)
	def := magnitude(f.factor, 1)
	if m != 0 && all != 0 {
		def = magnitude(f.factor, m) / magnitude(f.factor, all)
	}
	r.Magnitude = f.Float("attention_factor", def)
	n := float64(f.rotated)
	dim := func(rotations float64) float64 {
		return n * math.Log(float64(f.original)/(rotations*2*math.Pi)) / (2 * math.Log(f.theta))
	}
	lo, hi := dim(fast), dim(slow)
	if truncate {
		lo, hi = math.Floor(lo), math.Ceil(hi)
	}
	lo, hi = max(lo, 0), min(hi, n-1)
	if lo == hi {
		hi += 0.001
	}
	for i, w := range r.Frequency {
		ramp := min(max((float64(i)-lo)/(hi-lo), 0), 1)
		r.Frequency[i] = float32(float64(w)/f.factor*ramp + float64(w)*(1-ramp))
	}
}

// longrope has a factor for every frequency, others for long sequences than for short ones (Ding et al., arXiv:2402.13753).
func (f *ropeFields) longrope(r *Rope) {
	short, long := f.Floats("short_factor", f.rotated/2), f.Floats("long_factor", f.rotated/2)
	if short == nil || long == nil {
		f.Errorf("short_factor", "and long_factor: want %d numbers each", f.rotated/2)
		return
	}
	scale := f.factor
	if f.hasOriginal {
		scale = float64(f.context) / float64(f.original)
	}
	def := 1.0
	if scale > 1 {
		def = math.Sqrt(1 + math.Log(scale)/math.Log(float64(f.original)))
	}
	r.Magnitude = f.Float("attention_factor", def)
	r.Original = f.original
	r.Long = make([]float32, len(r.Frequency))
	for i, w := range r.Frequency {
		if short[i] <= 0 || long[i] <= 0 {
			f.Errorf("short_factor", "and long_factor: want positive numbers")
			return
		}
		r.Frequency[i] = 1 / (float32(short[i]) * (1 / w))
		r.Long[i] = 1 / (float32(long[i]) * (1 / w))
	}
}

// tables records the cosines and sines [batch, tokens, rotated/2] of a rotary embedding, once for all layers.
func (n *net) tables(r *Rope) (cos, sin *graph.Value) {
	if t, ok := n.rotary[r]; ok {
		return t[0], t[1]
	}
	n.Root(func() {
		n.at("rotary_emb", func() {
			at := n.Unsqueeze(n.Node("Cast", map[string]any{"to": int(tensor.Float32)}, n.positions), 2)
			angle := n.Node("Mul", nil, at, n.frequency(r))
			cos, sin = n.scale(n.Node("Cos", nil, angle), r.Magnitude), n.scale(n.Node("Sin", nil, angle), r.Magnitude)
		})
	})
	n.rotary[r] = [2]*graph.Value{cos, sin}
	return cos, sin
}

// frequency is the vector of frequencies, which may depend on how long the sequence is.
func (n *net) frequency(r *Rope) *graph.Value {
	base := n.Param("inv_freq", tensor.Vector(r.Frequency...))
	if r.Original == 0 {
		return base
	}
	last := n.Node("ReduceMax", map[string]any{"keepdims": false}, n.positions)
	length := n.Node("Cast", map[string]any{"to": int(tensor.Float32)}, n.Node("Add", nil, last, n.Int(1)))
	original := n.NumberOf(tensor.Float32, float64(r.Original))
	if r.Long != nil {
		return n.Node("Where", nil, n.Node("Greater", nil, length, original), n.Param("inv_freq_long", tensor.Vector(r.Long...)), base)
	}
	// theta grows by (factor*length/original - (factor-1))^(n/(n-2)); a frequency i has it to the power of -2i/n.
	grown := n.Node("Div", nil, n.Node("Max", nil, length, original), original)
	grown = n.Node("Sub", nil, n.Node("Mul", nil, grown, n.NumberOf(tensor.Float32, r.Factor)), n.NumberOf(tensor.Float32, r.Factor-1))
	power := make([]float32, len(r.Frequency))
	for i := range power {
		power[i] = float32(-2 * float64(i) / (float64(r.Rotated) - 2))
	}
	return n.Node("Mul", nil, base, n.Node("Pow", nil, grown, n.Param("power", tensor.Vector(power...))))
}
