package neuroquant

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// Model is a loaded model, float or quantized. It may be used by several goroutines at once. Its parameters stay in the file,
// which is mapped into memory, until they are used.
type Model struct {
	m       *model.Model
	bytes   int64 // on disk; 0 for a model that has not been written
	threads int
	labels  bool

	once    sync.Once
	session *exec.Session
	err     error
}

// ValueInfo describes an input or output of a model. Dimensions are numbers, or names for what is fixed at run time.
type ValueInfo struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []any  `json:"shape"` // int, or string for a named dimension, or nil for an unknown one; nil as a whole: unknown rank
}

// Open opens a model file, or a folder that [Manager.Save] wrote. The format is found by what is in the file.
func Open(ctx context.Context, path string) (*Model, error) {
	m, err := format.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return &Model{m: m, bytes: diskBytes(m)}, nil
}

// SetThreads sets the number of threads that [Model.Run] uses; 0, the default, means all. It must be called before the first Run.
func (m *Model) SetThreads(n int) { m.threads = n }

// Close releases the model's files and threads. What was computed stays valid; the model does not.
func (m *Model) Close() error {
	if m.session != nil {
		m.session.Close()
	}
	return m.m.Close()
}

// Path returns where the model was read from; empty for one made in memory.
func (m *Model) Path() string { return m.m.Path }

// DiskBytes returns what the model takes on disk, external data included; 0 if it was never written.
func (m *Model) DiskBytes() int64 { return m.bytes }

// Inputs describes what [Model.Run] takes.
func (m *Model) Inputs() []ValueInfo { return valueInfos(m.m.Graph.Inputs) }

// Outputs describes what [Model.Run] gives.
func (m *Model) Outputs() []ValueInfo { return valueInfos(m.m.Graph.Outputs) }

// Parameters returns the number of parameter values.
func (m *Model) Parameters() int {
	n := 0
	eachParam(m.m.Graph, func(v *graph.Value) { n += v.Data.Shape().Len() })
	return n
}

// Run computes the outputs by name from the inputs by name. The first call prepares the model for this machine.
func (m *Model) Run(ctx context.Context, in map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	if err := m.prepare(); err != nil {
		return nil, err
	}
	out, err := m.session.RunNamed(ctx, in)
	if err != nil {
		return nil, err
	}
	return out, m.checked(ctx, out)
}

// RunInto is [Model.Run] into out, a map from an earlier call: outputs that are there and have the right type and shape are filled,
// others are put there. A call like the one before allocates nothing on the heap, but for what operators do that no network of
// products, convolutions, normalizations and attention has.
func (m *Model) RunInto(ctx context.Context, in, out map[string]*tensor.Tensor) error {
	if err := m.prepare(); err != nil {
		return err
	}
	if err := m.session.RunNamedInto(ctx, in, out); err != nil {
		return err
	}
	return m.checked(ctx, out)
}

// checked reports tensors of a checkpoint that are the reason of outputs which are not numbers.
func (m *Model) checked(ctx context.Context, out map[string]*tensor.Tensor) error {
	if m.m.State == nil {
		return nil
	}
	for _, t := range out {
		if t.NaN() >= 0 {
			return m.m.Damaged(ctx, true)
		}
	}
	return nil
}

func (m *Model) prepare() error {
	m.once.Do(func() {
		if m.m.Metadata["quantization"] == "" {
			// Not every operator hands on what is not a number.
			if m.err = m.m.Damaged(context.Background(), false); m.err != nil {
				return
			}
		}
		g, err := pass.Lower(m.m.Graph)
		if err != nil {
			m.err = fmt.Errorf("%s: %w", m.name(), err)
			return
		}
		if m.session, m.err = exec.NewSession(g, exec.Options{Threads: m.threads, Labels: m.labels}); m.err != nil {
			m.err = fmt.Errorf("%s: %w", m.name(), m.err)
		}
		m.m.Rest() // most of it has been packed
		// What reading and lowering left behind goes back before the first run draws memory of its own.
		debug.FreeOSMemory()
	})
	return m.err
}

func (m *Model) name() string {
	if m.m.Path != "" {
		return m.m.Path
	}
	return m.m.Graph.Name
}

func valueInfos(vs []*graph.Value) []ValueInfo {
	out := make([]ValueInfo, len(vs))
	for i, v := range vs {
		out[i] = ValueInfo{Name: v.Name, DType: v.Type.DType.String()}
		if !v.Type.Ranked {
			continue
		}
		out[i].Shape = make([]any, len(v.Type.Dims))
		for j, d := range v.Type.Dims {
			switch {
			case d.IsKnown():
				out[i].Shape[j] = d.Size
			case d.Name != "":
				out[i].Shape[j] = d.Name
			}
		}
	}
	return out
}

// eachParam visits the parameters of a graph and of its subgraphs once each.
func eachParam(g *graph.Graph, f func(v *graph.Value)) {
	for _, v := range g.Params() {
		f(v)
	}
	for _, n := range g.Nodes {
		if b, ok := n.Op.(graph.Body); ok {
			for _, sub := range b.Bodies() {
				eachParam(sub, f)
			}
		}
	}
}

// diskBytes sums the model file and its external data.
func diskBytes(m *model.Model) int64 {
	var n int64
	for _, f := range m.Files {
		if info, err := os.Stat(filepath.Join(m.Dir, f)); err == nil {
			n += info.Size()
		}
	}
	return n
}
