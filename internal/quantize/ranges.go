package quantize

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Range is a range that activations share: that of one quantized value, or of several that have the same scale.
type Range struct {
	Value string // the first of the values
	// Units are the layers that compute one of the values or compute on its codes: the values stay in float only where all of these
	// do.
	Units []string
}

// Ranges lists the ranges of a static plan that calibration finds, in the order of the graph.
func (p *Plan) Ranges() []Range {
	if p.place == nil {
		return nil
	}
	pl := p.place
	members := map[*graph.Value][]*graph.Value{}
	var roots []*graph.Value
	for _, v := range pl.values {
		r := pl.find(v)
		if members[r] == nil {
			roots = append(roots, r)
		}
		members[r] = append(members[r], v)
	}
	unit := map[string]bool{}
	for _, u := range p.Units() {
		unit[u.Layer] = true
	}
	var out []Range
	for _, r := range roots {
		touched := map[string]bool{}
		calibrated := false
		for _, v := range members[r] {
			_, fixed := pl.fixed[v]
			calibrated = calibrated || !fixed
			if w := pl.writer(v); w != nil && unit[w.Name] {
				touched[w.Name] = true
			}
			for _, n := range pl.uses[v] {
				if unit[n.Name] {
					touched[n.Name] = true
				}
			}
		}
		if !calibrated {
			continue
		}
		x := Range{Value: r.Name}
		for _, u := range p.Units() {
			if touched[u.Layer] {
				x.Units = append(x.Units, u.Layer)
			}
		}
		out = append(out, x)
	}
	return out
}

// writer returns the node that a quantized value is the result of: what it absorbed lies between them.
func (p *placement) writer(v *graph.Value) *graph.Node {
	n := v.Node
	for n != nil && p.roles[n] == absorbed {
		from := n.In[0]
		if p.g.IsParam(from) {
			from = n.In[1]
		}
		n = from.Node
	}
	return n
}

// checkRanges reports calibrators that there are not and values that have no range of their own.
func (p *Plan) checkRanges() error {
	var names []string
	for _, r := range p.Ranges() {
		names = append(names, r.Value)
	}
	var errs []error
	for _, v := range slices.Sorted(maps.Keys(p.Recipe.Ranges)) {
		c := p.Recipe.Calibrator
		c.Method = p.Recipe.Ranges[v]
		if err := c.Check(); err != nil {
			errs = append(errs, fmt.Errorf("calibrator of value %q: %w", v, err))
		}
		if !slices.Contains(names, v) {
			errs = append(errs, fmt.Errorf("calibrator of value %q: the plan has no such range; the ranges are of %s", v, abbreviate(names)))
		}
	}
	return errors.Join(errs...)
}

// calibratorOf returns what finds the range that the value root stands for.
func (r *Recipe) calibratorOf(root *graph.Value) Calibrator {
	c, form := r.Calibrator, r.activations()
	c.Levels, c.Symmetric = form.levels(), form.symmetric
	if m := r.Ranges[root.Name]; m != "" {
		c.Method = m
	}
	return c
}
