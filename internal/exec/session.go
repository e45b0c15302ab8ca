package exec

import (
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Tap observes every node after it ran. The tensors belong to the run: a tap that keeps values copies them.
type Tap func(n *graph.Node, in, out []*tensor.Tensor)

// Options of a session.
type Options struct {
	// Threads is the number of worker threads; 0 means all that GOMAXPROCS allows, shared with other sessions.
	Threads int
	// Seed is for random operators without a seed of their own.
	Seed uint64
	// Tap, if set, sees every node's inputs and outputs, those of subgraphs included. A session with a tap runs one call at a time.
	Tap Tap
	// Profile, if set, is called with the time each node took, without that of the nodes of its subgraphs.
	Profile func(n *graph.Node, d time.Duration)
	// Labels marks what the Go CPU profiler samples with the node and its operator, on all worker threads.
	Labels bool
}

// Session runs a graph. It may be used by several goroutines at once.
type Session struct {
	plan   *Plan
	params map[*Plan][]*tensor.Tensor
	held   []*buffer // of parameters that were computed
	opts   Options
	pool   *kernel.Pool
	owned  bool

	names map[string]int // of the inputs

	mu      sync.Mutex
	idle    []*run
	layouts []*layout      // the one that was used last comes last
	shapes  []tensor.Shape // of the last inputs that there is no layout for
	memory  Memory
	tap     sync.Mutex
}

// Memory is what runs of a session draw for values that nodes compute. What subgraphs compute is not counted.
type Memory struct {
	Peak     int // bytes of values, outputs included, that are there at once at most
	Reserved int // bytes that the session keeps for the next run
}

// NewSession compiles the graph and loads its parameters. The graph must not be changed while the session is in use.
func NewSession(g *graph.Graph, o Options) (*Session, error) {
	p, err := Compile(g)
	if err != nil {
		return nil, err
	}
	s := &Session{plan: p, params: map[*Plan][]*tensor.Tensor{}, opts: o, names: map[string]int{}}
	for i, v := range g.Inputs {
		s.names[v.Name] = i
	}
	if err := p.load(s.params, &s.held); err != nil {
		return nil, err
	}
	switch o.Threads {
	case 0:
		s.pool = kernel.Shared()
	case 1:
	default:
		s.pool, s.owned = kernel.NewPool(o.Threads), true
	}
	return s, nil
}

// Close ends the session's own worker threads and gives its memory back. It must not run beside Run.
func (s *Session) Close() {
	s.mu.Lock()
	for _, r := range s.idle {
		r.mem.release()
	}
	s.mu.Unlock()
	if s.owned {
		s.pool.Close()
		s.owned = false
	}
}

// Graph returns the graph that the session runs.
func (s *Session) Graph() *graph.Graph { return s.plan.graph }

// Run computes the outputs, in graph order, from the inputs, in graph order. A nil input stands for the default of an input
// that has one. The outputs are the caller's. Cancelling ctx stops between nodes.
func (s *Session) Run(ctx context.Context, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(s.plan.output))
	return out, s.RunInto(ctx, in, out)
}

// RunInto is [Session.Run] into out, which has room for the outputs: one that is there already and has the right type and shape is
// filled, others are made. A call like the one before, with outputs to fill, allocates nothing on the heap unless an operator does.
func (s *Session) RunInto(ctx context.Context, in, out []*tensor.Tensor) error {
	r := s.take()
	defer s.give(r)
	return r.into(ctx, in, out)
}

func (r *run) into(ctx context.Context, in, out []*tensor.Tensor) error {
	s := r.s
	if !inputsFit(s.plan.graph, in) {
		if err := CheckInputs(s.plan.graph, in); err != nil {
			return err
		}
	}
	if len(out) != len(s.plan.output) {
		return fmt.Errorf("want room for %d outputs, got %d", len(s.plan.output), len(out))
	}
	if s.opts.Tap != nil || s.opts.Profile != nil || s.opts.Labels {
		s.tap.Lock()
		defer s.tap.Unlock()
	}
	r.env.Ctx, r.history = ctx, historyOf(ctx)
	r.mem.begin(s.layoutFor(in))
	res, err := r.eval(s.plan, in)
	if err != nil {
		return err
	}
	for i, t := range res {
		if o := out[i]; o != nil && o != t && fills(o, t) {
			copy(o.Bytes(), t.Bytes())
		} else {
			out[i] = r.mem.own(t)
		}
	}
	return nil
}

// fills reports whether t can be copied to o.
func fills(o, t *tensor.Tensor) bool {
	return t != nil && o.DType == t.DType && t.DType.Bits() > 0 && o.Packed == nil && t.Packed == nil && o.Shape.Equal(t.Shape)
}

// RunNamed is [Session.Run] by names. Unknown and missing names are errors.
func (s *Session) RunNamed(ctx context.Context, in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	out := make(map[string]*tensor.Tensor, len(s.plan.output))
	return out, s.RunNamedInto(ctx, in, out)
}

// RunNamedInto is [Session.RunInto] by names. Outputs that are not in out are put there.
func (s *Session) RunNamedInto(ctx context.Context, in, out map[string]*tensor.Tensor) error {
	g := s.plan.graph
	r := s.take()
	defer s.give(r)
	if r.in == nil {
		r.in, r.out = make([]*tensor.Tensor, len(g.Inputs)), make([]*tensor.Tensor, len(g.Outputs))
	}
	defer clear(r.in)
	defer clear(r.out)
	for name, t := range in {
		i, known := s.names[name]
		if !known {
			return fmt.Errorf("the model has no input %q; it has %s", name, inputNames(g))
		}
		r.in[i] = t
	}
	for i, v := range g.Outputs {
		r.out[i] = out[v.Name]
	}
	if err := r.into(ctx, r.in, r.out); err != nil {
		return err
	}
	for i, v := range g.Outputs {
		if out[v.Name] != r.out[i] {
			out[v.Name] = r.out[i]
		}
	}
	return nil
}

// layoutFor returns the layout for inputs, which may be nil: shapes that come once are not worth one, but for the first.
func (s *Session) layoutFor(in []*tensor.Tensor) *layout {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range s.layouts {
		if l.fits(in) {
			copy(s.layouts[i:], s.layouts[i+1:])
			s.layouts[len(s.layouts)-1] = l
			return l
		}
	}
	if len(s.layouts) > 0 && !sameShapes(s.shapes, in) {
		s.shapes = shapesOf(in)
		return nil
	}
	l := s.plan.layout(s.params[s.plan], in, newFacts(s.plan), s.opts.Tap == nil)
	if len(s.layouts) == layoutsKept {
		s.layouts = append(s.layouts[:0], s.layouts[1:]...)
	}
	s.layouts = append(s.layouts, l)
	return l
}

// mostTries bounds how often a layout is made anew for what runs have shown: where values lie may depend on the input.
const mostTries = 4

// revise replaces a layout by one that knows what a run has learned.
func (s *Session) revise(l *layout, seen facts, in []*tensor.Tensor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.layouts {
		if s.layouts[i] == l && l.tries < mostTries {
			s.layouts[i] = s.plan.layout(s.params[s.plan], in, seen, s.opts.Tap == nil)
			s.layouts[i].tries = l.tries + 1
		}
	}
}

// Reseed makes the runs that begin from now on draw random numbers by a seed, as those of a new session with that seed do.
func (s *Session) Reseed(seed uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Seed = seed
	for _, r := range s.idle {
		r.env.Seed = seed
	}
}

func (s *Session) take() *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.idle); n > 0 {
		r := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return r
	}
	r := &run{s: s}
	r.env = graph.Env{Pool: s.pool, Make: r.mem.make, Work: &r.work, RunGraph: r.subgraph, Seed: s.opts.Seed}
	if s.opts.Tap == nil { // which is shown the inputs when the node has run
		r.env.Over = r.mem.over
	}
	return r
}

func (s *Session) give(r *run) {
	r.mem.reset()
	r.work.Reset()
	r.env.Ctx, r.labels, r.history = nil, nil, nil
	s.mu.Lock()
	s.idle = append(s.idle, r)
	s.memory.Peak = max(s.memory.Peak, r.mem.peak)
	s.mu.Unlock()
}

// Memory tells what the runs that have ended drew.
func (s *Session) Memory() Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.memory
	for _, r := range s.idle {
		m.Reserved += r.mem.reserved
	}
	return m
}

// run is the state of one call: the environment of its operators and the memory they draw from.
type run struct {
	s    *Session
	env  graph.Env
	mem  memory
	work graph.Workspace

	frames  map[*Plan]*frame
	history *History         // nil: stateful operators cannot run
	in, out []*tensor.Tensor // for calls by names

	labels context.Context // of the profiler, while Options.Labels is set
	inner  time.Duration   // that nodes of subgraphs took since the node that is running began
}

// frame is what an evaluation of a plan keeps for the next one.
type frame struct {
	vals, args, out []*tensor.Tensor
	busy            bool
}

func (f *frame) end() {
	clear(f.vals)
	clear(f.args) // out is read after the evaluation
	f.busy = false
}

func (r *run) subgraph(g *graph.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	p := r.s.plan.subs[g]
	if p == nil {
		return nil, fmt.Errorf("subgraph %q is not part of the session's graph", g.Name)
	}
	if len(in) != len(g.Inputs) {
		return nil, fmt.Errorf("subgraph %q: want %d inputs, got %d", g.Name, len(g.Inputs), len(in))
	}
	// The values of an inner run are held by the operator that called it, which the outer run cannot see: they stay out of reuse.
	mark, work := r.mem.enter(), r.env.Work
	r.env.Work = nil
	out, err := r.eval(p, in)
	r.mem.leave(mark)
	r.env.Work = work
	return slices.Clone(out), err
}

func (r *run) eval(p *Plan, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	f := r.frames[p]
	if f == nil || f.busy {
		f = &frame{vals: make([]*tensor.Tensor, p.slots), args: make([]*tensor.Tensor, p.mostArgs), out: make([]*tensor.Tensor, len(p.output))}
		if r.frames == nil {
			r.frames = map[*Plan]*frame{}
		}
		r.frames[p] = f
	}
	f.busy = true
	defer f.end()
	vals := f.vals
	for i, pr := range p.params {
		vals[pr.slot] = r.s.params[p][i]
	}
	for i, slot := range p.inputs {
		if t := in[i]; t != nil {
			if isScalar(p.graph.Inputs[i].Type, t) {
				t = r.env.View(t)
			}
			vals[slot] = t
		} else if d := p.graph.Inputs[i].Data; d != nil {
			t, err := d.Load()
			if err != nil {
				return nil, fmt.Errorf("input %q: default: %w", p.graph.Inputs[i].Name, err)
			}
			vals[slot] = t
		}
	}
	for i := range p.steps {
		st := &p.steps[i]
		if err := r.env.Context().Err(); err != nil {
			return nil, err
		}
		if known := r.known(p, i); known != nil {
			for j, s := range st.out {
				vals[s] = known[j]
			}
			for _, s := range st.dies {
				r.mem.unref(vals[s])
				vals[s] = nil
			}
			continue
		}
		args := f.args[:len(st.in):len(st.in)]
		for j, s := range st.in {
			args[j] = nil
			if s >= 0 {
				args[j] = vals[s]
			}
		}
		r.mem.enterStep(i, st, args)
		res, err := r.step(st.node, args)
		if err != nil {
			return nil, fmt.Errorf("node %q (%s): %w", st.node.Name, st.node.Op.Kind(), err)
		}
		if len(res) < len(st.out) {
			for j := len(res); j < len(st.out); j++ {
				if st.out[j] >= 0 {
					return nil, fmt.Errorf("node %q (%s): output %d is not computed: the operator gives %d", st.node.Name, st.node.Op.Kind(), j, len(res))
				}
			}
		}
		for j, s := range st.out {
			if s >= 0 {
				vals[s] = res[j]
			}
		}
		r.mem.settle(res, st.out)
		for _, s := range st.dies {
			r.mem.unref(vals[s])
			vals[s] = nil
		}
	}
	for i, s := range p.output {
		f.out[i] = vals[s]
	}
	if p == r.s.plan && r.mem.surprise {
		r.s.revise(r.mem.layout, r.mem.learned, in)
	}
	return f.out, nil
}

// known returns the outputs of a step that need not run, or nil. Who watches the nodes wants to see all of them.
func (r *run) known(p *Plan, step int) []*tensor.Tensor {
	if p != r.s.plan || r.mem.layout == nil || r.mem.nesting > 0 || r.s.opts.Tap != nil || r.s.opts.Profile != nil {
		return nil
	}
	return r.mem.layout.known[step]
}

func (r *run) step(n *graph.Node, args []*tensor.Tensor) (res []*tensor.Tensor, err error) {
	defer func() {
		// A panic of an operator is a defect, but a service that embeds the library must survive it.
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	if r.s.opts.Profile != nil {
		t0, before := time.Now(), r.inner
		r.inner = 0
		defer func() {
			d := time.Since(t0)
			r.s.opts.Profile(n, d-r.inner)
			r.inner = before + d
		}()
	}
	if r.s.opts.Labels {
		defer r.label(n)()
	}
	outer := r.env.Out
	r.env.Out = n.Out
	res, err = r.evaluate(n, args)
	r.env.Out = outer
	if err == nil && r.s.opts.Tap != nil {
		r.s.opts.Tap(n, args, res)
	}
	return res, err
}

// label marks the threads of the run with a node until the function that it returns is called.
func (r *run) label(n *graph.Node) func() {
	outer := r.labels
	if outer == nil {
		outer = r.env.Context()
	}
	mark := func(ctx context.Context) {
		r.labels = ctx
		pprof.SetGoroutineLabels(ctx)
		r.s.pool.Label(ctx)
	}
	mark(pprof.WithLabels(outer, pprof.Labels("operator", n.Op.Kind(), "node", n.Name)))
	return func() { mark(outer) }
}
