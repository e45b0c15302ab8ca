package quantize

import (
	"fmt"

	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// finished reports whether a layer has codes that the work keeps.
func (p *Plan) finished(l *weightLayer) bool { return p.Work != nil && p.Work.layers[l.name()] != nil }

// restored returns the finished codes of a layer and notes in the plan what it noted then; nil if it has none.
func (p *Plan) restored(l *weightLayer) tensor.Source {
	if !p.finished(l) {
		return nil
	}
	done := p.Work.layers[l.name()]
	p.Decisions[l.decision].Why = done.Why
	p.Errors = append(p.Errors, done.Errors)
	return p.Work.source(l.name())
}

// keep returns what was solved on so many tokens as the weight of a layer, and notes it in the plan and the work.
func (p *Plan) keep(l *weightLayer, r *solve.Result, tokens int) (tensor.Source, error) {
	o := p.Recipe.WeightOnly
	zeros := r.Zeros
	if o.Symmetric {
		zeros = nil
	}
	a, err := packed.NewAffine(o.Bits, l.rows, l.cols, o.group(l.cols), r.Codes, r.Scales, o.ScaleType, zeros, r.Index)
	if err != nil {
		return nil, fmt.Errorf("layer %q: %w", l.name(), err)
	}
	d := &p.Decisions[l.decision]
	e := LayerErrors{Layer: l.name(), Rounding: r.Rounding, Method: r.Error, Stored: r.Error, Tokens: tokens}
	if r.Rounded {
		e.Stored = r.Rounding
		d.Why += "; plain rounding, which loses less than the method here"
	}
	if tokens >= LeastTokens(tokens) && tokens < l.cols {
		d.Why += fmt.Sprintf("; calibrated on %d tokens, fewer than its %d inputs", tokens, l.cols)
	}
	if r.Dead > 0 {
		d.Why += fmt.Sprintf("; %d columns whose inputs are always 0", r.Dead)
	}
	if r.Damp > o.Damp {
		d.Why += fmt.Sprintf("; damping raised to %.3g", r.Damp)
	}
	p.Errors = append(p.Errors, e)
	if p.Work == nil {
		return a.Source(), nil
	}
	if err := p.Work.put(layerWork{Layer: l.name(), Why: d.Why, Errors: e}, a); err != nil {
		return nil, err
	}
	return p.Work.source(l.name()), nil
}
