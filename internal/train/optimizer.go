package train

import (
	"fmt"
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/kernel"
)

// Optimizers lists the names of optimizers, the default first.
var Optimizers = []string{"sgd", "adam", "adamw", "lion"}

// Optimizer says how parameters follow their gradients.
type Optimizer struct {
	Name string // one of [Optimizers]; "" is the first
	// Rate is the learning rate that a schedule starts from.
	Rate float64
	// Momentum is that of sgd, with or without Nesterov's look ahead (Sutskever et al., "On the importance of initialization and momentum").
	Momentum float64
	Nesterov bool
	// Beta1, Beta2 and Epsilon are those of adam and adamw (Kingma and Ba; Loshchilov and Hutter) and lion (Chen et al., "Symbolic Discovery
	// of Optimization Algorithms"); 0 stands for 0.9, 0.999 (lion: 0.99) and 1e-8.
	Beta1, Beta2, Epsilon float64
	// WeightDecay is added to gradients as that share of the weights (sgd, adam), or taken from the weights themselves (adamw, lion).
	WeightDecay float64
	// States8 holds the moments of adam and adamw in 8 bits, in blocks of 256 (Dettmers et al., "8-bit Optimizers via Block-wise
	// Quantization").
	States8 bool
}

// Check reports settings that cannot be meant.
func (o *Optimizer) Check() error {
	known := o.Name == ""
	for _, n := range Optimizers {
		known = known || n == o.Name
	}
	switch {
	case !known:
		return fmt.Errorf("optimizer: want one of %s, got %q", strings.Join(Optimizers, ", "), o.Name)
	case !(o.Rate > 0) || math.IsInf(o.Rate, 0):
		return fmt.Errorf("learning rate: want a number above 0, got %v", o.Rate)
	case !(o.Momentum >= 0 && o.Momentum < 1):
		return fmt.Errorf("momentum: want a number from 0 to below 1, got %v", o.Momentum)
	case o.Nesterov && o.Momentum == 0:
		return fmt.Errorf("nesterov: it needs momentum")
	case !(o.WeightDecay >= 0):
		return fmt.Errorf("weight decay: want 0 or more, got %v", o.WeightDecay)
	case !(o.Beta1 >= 0 && o.Beta1 < 1) || !(o.Beta2 >= 0 && o.Beta2 < 1) || !(o.Epsilon >= 0):
		return fmt.Errorf("betas: want numbers from 0 to below 1 and an epsilon of 0 or more, got %v, %v and %v", o.Beta1, o.Beta2, o.Epsilon)
	case o.States8 && o.Name != "adam" && o.Name != "adamw":
		return fmt.Errorf("8-bit states: they are those of adam and adamw")
	}
	return nil
}

// moments are what an optimizer remembers of one parameter.
type moments struct {
	m, v   []float32
	m8, v8 *blocks8
}

// state is an optimizer at work.
type state struct {
	Optimizer
	step int // updates done
	of   []moments
}

func newState(o Optimizer, sizes []int) *state {
	if o.Beta1 == 0 {
		o.Beta1 = 0.9
	}
	if o.Beta2 == 0 {
		o.Beta2 = 0.999
		if o.Name == "lion" {
			o.Beta2 = 0.99
		}
	}
	if o.Epsilon == 0 {
		o.Epsilon = 1e-8
	}
	s := &state{Optimizer: o, of: make([]moments, len(sizes))}
	for i, n := range sizes {
		p := &s.of[i]
		switch o.Name {
		case "adam", "adamw":
			if o.States8 {
				p.m8, p.v8 = newBlocks8(n, true), newBlocks8(n, false)
				continue
			}
			p.m, p.v = make([]float32, n), make([]float32, n)
		case "lion":
			p.m = make([]float32, n)
		default:
			if o.Momentum > 0 {
				p.m = make([]float32, n)
			}
		}
	}
	return s
}

// update moves parameter i, of values w, against its gradient at a learning rate. decays says whether weight decay applies to it. The gradient is
// used up.
func (s *state) update(p *kernel.Pool, i int, w, grad []float32, rate float64, decays bool) {
	decay := s.WeightDecay
	if !decays {
		decay = 0
	}
	mo := &s.of[i]
	const grain = 1 << 12
	p.For(len(w), grain, func(lo, hi int) {
		w, g := w[lo:hi], grad[lo:hi]
		switch s.Name {
		case "adam", "adamw":
			if mo.m8 == nil {
				s.adam(w, g, mo.m[lo:hi], mo.v[lo:hi], rate, decay)
				return
			}
			var m, v [blockSize8]float32
			for b := lo; b < hi; b += blockSize8 {
				n := min(blockSize8, hi-b)
				mo.m8.read(m[:n], b)
				mo.v8.read(v[:n], b)
				s.adam(w[b-lo:][:n], g[b-lo:][:n], m[:n], v[:n], rate, decay)
				mo.m8.write(m[:n], b)
				mo.v8.write(v[:n], b)
			}
		case "lion":
			s.lion(w, g, mo.m[lo:hi], rate, decay)
		default:
			s.sgd(w, g, mo.m, lo, hi, rate, decay)
		}
	})
}

func (s *state) sgd(w, g, momentum []float32, lo, hi int, rate, decay float64) {
	if decay != 0 {
		kernel.AXPY(float32(decay), w, g)
	}
	if momentum != nil {
		m := momentum[lo:hi]
		kernel.Scale(m, m, float32(s.Momentum))
		kernel.Add(m, m, g)
		if s.Nesterov {
			kernel.AXPY(float32(s.Momentum), m, g)
		} else {
			g = m
		}
	}
	kernel.AXPY(-float32(rate), g, w)
}

func (s *state) adam(w, g, m, v []float32, rate, decay float64) {
	b1, b2 := float32(s.Beta1), float32(s.Beta2)
	correct1 := 1 - math.Pow(s.Beta1, float64(s.step))
	correct2 := math.Sqrt(1 - math.Pow(s.Beta2, float64(s.step)))
	step, root, epsilon := float32(rate/correct1), float32(1/correct2), float32(s.Epsilon)
	keep, l2 := float32(1), float32(decay)
	if s.Name == "adamw" {
		keep, l2 = float32(1-rate*decay), 0
	}
	for i, d := range g {
		d += l2 * w[i]
		m[i] = b1*m[i] + (1-b1)*d
		v[i] = b2*v[i] + (1-b2)*d*d
		w[i] = keep*w[i] - step*m[i]/(float32(math.Sqrt(float64(v[i])))*root+epsilon)
	}
}

func (s *state) lion(w, g, m []float32, rate, decay float64) {
	b1, b2 := float32(s.Beta1), float32(s.Beta2)
	step, keep := float32(rate), float32(1-rate*decay)
	for i, d := range g {
		c := b1*m[i] + (1-b1)*d
		w[i] *= keep
		switch {
		case c > 0:
			w[i] -= step
		case c < 0:
			w[i] += step
		}
		m[i] = b2*m[i] + (1-b2)*d
	}
}
