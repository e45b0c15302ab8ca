package neuroquant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// NodeTime is the time that one node of the prepared model took over the runs of a profile.
type NodeTime struct {
	Node     string  `json:"node"`
	Operator string  `json:"operator"`
	Calls    int     `json:"calls"`
	TotalMS  float64 `json:"total_ms"` // without that of nodes of its subgraphs
	Share    float64 `json:"share"`    // of the time of all nodes
}

// Profile is where the time of a model goes. Nodes are those of the model as it is prepared for this machine, in which one
// node may stand for several of the file, and are sorted by time.
type Profile struct {
	Runs  int        `json:"runs"`
	RunMS float64    `json:"run_ms"` // of a run on average
	Nodes []NodeTime `json:"nodes"`
}

// Profile calls the model runs times, after a first call that is not counted, and returns the time of each node and the
// outputs.
func (m *Model) Profile(ctx context.Context, in map[string]*tensor.Tensor, runs int) (*Profile, map[string]*tensor.Tensor, error) {
	if runs < 1 {
		return nil, nil, fmt.Errorf("profile: want at least 1 run, got %d", runs)
	}
	if err := m.prepare(); err != nil {
		return nil, nil, err
	}
	times := map[*graph.Node]*NodeTime{}
	s, err := exec.NewSession(m.session.Graph(), exec.Options{Threads: m.threads, Labels: m.labels, Profile: func(n *graph.Node, d time.Duration) {
		t := times[n]
		if t == nil {
			t = &NodeTime{Node: n.Name, Operator: n.Op.Kind()}
			times[n] = t
		}
		t.Calls++
		t.TotalMS += milliseconds(d)
	}})
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	if _, err := s.RunNamed(ctx, in); err != nil {
		return nil, nil, err
	}
	clear(times)
	p := &Profile{Runs: runs}
	var out map[string]*tensor.Tensor
	for range runs {
		start := time.Now()
		if out, err = s.RunNamed(ctx, in); err != nil {
			return nil, nil, err
		}
		p.RunMS += milliseconds(time.Since(start)) / float64(runs)
	}
	total := 0.0
	for _, t := range times {
		p.Nodes = append(p.Nodes, *t)
		total += t.TotalMS
	}
	for i := range p.Nodes {
		p.Nodes[i].Share = p.Nodes[i].TotalMS / total
	}
	slices.SortFunc(p.Nodes, func(a, b NodeTime) int {
		return cmp.Or(cmp.Compare(b.TotalMS, a.TotalMS), strings.Compare(a.Node, b.Node))
	})
	return p, out, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// LabelProfiles makes [Model.Run] mark what Go's CPU profiler samples with the node that runs and its operator, on all
// threads of the model. It must be called before the first Run.
func (m *Model) LabelProfiles() { m.labels = true }

// RunPlan is how a model runs on this machine.
type RunPlan struct {
	Graph       string           `json:"graph"`        // the nodes in the order in which they run, fused and with packed weights, as text
	Inputs      map[string][]int `json:"inputs"`       // shapes that the figures below are for
	PeakBytes   int              `json:"peak_bytes"`   // of values that nodes compute, most of those that are there at once
	KeptBytes   int              `json:"kept_bytes"`   // that stay with the model between runs
	WeightBytes int64            `json:"weight_bytes"` // of parameters, as the file has them
}

// RunPlan prepares the model for this machine and finds the memory that a call takes by running it on zeros. Shapes are those of inputs; one that
// is not given is as declared, with 1 for a first dimension that is not a number.
func (m *Model) RunPlan(ctx context.Context, shapes map[string][]int) (*RunPlan, error) {
	p := &RunPlan{Inputs: map[string][]int{}, WeightBytes: m.Inspect().Size.MemoryBytes}
	in, err := m.zeros(shapes)
	if err != nil {
		return nil, err
	}
	for name, t := range in {
		p.Inputs[name] = t.Shape
	}
	if err := m.prepare(); err != nil {
		return nil, err
	}
	g := m.session.Graph()
	p.Graph = g.String()
	s, err := exec.NewSession(g, exec.Options{Threads: m.threads})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.name(), err)
	}
	defer s.Close()
	if _, err := s.RunNamed(ctx, in); err != nil {
		return nil, err
	}
	use := s.Memory()
	p.PeakBytes, p.KeptBytes = use.Peak, use.Reserved
	return p, nil
}

// zeros makes inputs of the given and declared shapes.
func (m *Model) zeros(shapes map[string][]int) (map[string]*tensor.Tensor, error) {
	var errs []error
	sizes := map[string]int{} // of named dimensions
	known := map[string]*graph.Value{}
	for _, v := range m.m.Graph.Inputs {
		known[v.Name] = v
	}
	for name, shape := range shapes {
		v := known[name]
		if v == nil {
			errs = append(errs, fmt.Errorf("the model has no input %q", name))
			continue
		}
		if v.Type.Ranked && len(v.Type.Dims) != len(shape) {
			errs = append(errs, fmt.Errorf("input %q: want %v, got shape %v", name, v.Type, tensor.Shape(shape)))
			continue
		}
		for i, d := range v.Type.Dims {
			if !d.IsKnown() && d.Name != "" {
				sizes[d.Name] = shape[i]
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	in := map[string]*tensor.Tensor{}
	for _, v := range m.m.Graph.Inputs {
		shape, given := shapes[v.Name]
		if !given {
			if v.Data != nil {
				continue // its default
			}
			if !v.Type.Ranked {
				errs = append(errs, fmt.Errorf("input %q (%v): give its shape, which the model does not declare", v.Name, v.Type))
				continue
			}
			shape = []int{}
			for i, d := range v.Type.Dims {
				n, named := sizes[d.Name]
				switch {
				case d.IsKnown():
					n = d.Size
				case d.Name != "" && named:
				case i == 0:
					n = 1
				default:
					errs = append(errs, fmt.Errorf("input %q (%v): give its shape: dimension %d is not declared", v.Name, v.Type, i))
				}
				shape = append(shape, n)
			}
		}
		switch _, ok := tensor.Shape(shape).CheckedLen(); {
		case !ok:
			errs = append(errs, fmt.Errorf("input %q: shape %v is negative or too large", v.Name, tensor.Shape(shape)))
		case v.Type.DType != tensor.String && v.Type.DType.Bits() == 0:
			errs = append(errs, fmt.Errorf("input %q (%v): zeros of this type cannot be made", v.Name, v.Type))
		default:
			in[v.Name] = tensor.New(v.Type.DType, shape...)
		}
	}
	return in, errors.Join(errs...)
}
