package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/internal/solve"
	"github.com/neurotrain/neuroquant/tensor"
)

// codesOf returns the matrix of codes that a tensor of a checkpoint is, nil if it is none, and why one in another encoding is none.
func codesOf(s tensor.Source) (a *packed.Affine, why error, err error) {
	if c, ok := s.(packed.Coded); ok {
		a, err = c.Affine()
		return a, nil, err
	}
	if s.DType() != tensor.Float32 || len(s.Shape()) != 2 {
		return nil, nil, nil
	}
	t, err := s.Load()
	if err != nil {
		return nil, nil, err
	}
	switch p := t.Packed.(type) {
	case nil, *packed.Narrow:
		return nil, nil, nil
	case *packed.Affine:
		return p, nil, nil
	case interface {
		Affine() (*packed.Affine, error)
	}:
		a, why = p.Affine()
		return a, why, nil
	default:
		return nil, fmt.Errorf("%v is no grid of evenly spaced values", p.Scheme()), nil
	}
}

// codedMatrix is a matrix of a checkpoint in codes.
type codedMatrix struct {
	entry int            // in the state
	name  string         // of the tensor
	codes *packed.Affine // nil: the encoding is no such grid
	why   error          // why codes is nil
}

// codedState lists the matrices of a state that are in codes.
func codedState(state []model.Entry) ([]codedMatrix, error) {
	var out []codedMatrix
	for i, e := range state {
		a, why, err := codesOf(e.Source)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if a != nil || why != nil {
			out = append(out, codedMatrix{i, e.Name, a, why})
		}
		tensor.Release(e.Source)
	}
	return out, nil
}

// gridTarget is what a format holds of matrices of codes.
type gridTarget struct {
	bits      []int // ascending
	groups    func(group int) bool
	leastZero int
	scales    func(a *packed.Affine) tensor.DType
	refuse    func(s tensor.Scheme, rows, cols int) string
}

func targetOf(format string) gridTarget {
	half := func(*packed.Affine) tensor.DType { return tensor.Float16 }
	t := gridTarget{bits: []int{2, 3, 4, 8}, groups: func(int) bool { return true }, scales: half, refuse: holds(format)}
	switch format {
	case "gptq":
		t.leastZero = 1
	case "awq":
		t.bits = []int{4}
	case "compressed-tensors":
		t.bits, t.scales = []int{2, 3, 4, 5, 6, 7, 8}, func(a *packed.Affine) tensor.DType { return a.ScaleType }
	case formatONNX:
		t.bits, t.scales = []int{2, 4, 8}, func(*packed.Affine) tensor.DType { return tensor.Float32 }
		t.groups = func(g int) bool { return g >= 16 && g&(g-1) == 0 }
	}
	return t
}

// grids lists what to try, the grid of the first matrix first, then the smallest.
func (t *gridTarget) grids(list []codedMatrix) []packed.Grid {
	first := list[0].codes
	groups := []int{}
	add := func(g int) {
		if t.groups(max(g, 0)) && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	symmetric, bits, common := true, 0, 0
	for _, m := range list {
		symmetric = symmetric && m.codes.Zeros == nil
		bits = max(bits, m.codes.Bits)
		if m.codes.Groups() > 1 {
			common = m.codes.Group
		}
	}
	add(common)
	if first.Group == 32 { // of blocks of ggml, which may be pieces of larger groups
		groups = nil
		for _, g := range []int{128, 64, 32} {
			add(g)
		}
	}
	for _, g := range []int{128, 64, 32, 16} {
		if len(groups) == 0 || first.Group%g == 0 {
			add(g)
		}
	}
	var out []packed.Grid
	try := func(b int, sym bool) {
		for _, g := range groups {
			x := packed.Grid{Bits: b, Group: g, Symmetric: sym, LeastZero: t.leastZero}
			if sym {
				x.LeastZero = 0
			}
			if !slices.Contains(out, x) {
				out = append(out, x)
			}
		}
	}
	if slices.Contains(t.bits, bits) {
		try(bits, symmetric)
	}
	for _, b := range t.bits {
		try(b, true)
		try(b, false)
	}
	return out
}

// regrid brings the matrices of a state that are in codes to one grid that the format holds, each with the same values. Where there is none it is
// an error, or with lossy what does not fit is rounded again. It returns the state, and why matrices are not what they were.
func regrid(state []model.Entry, format string, lossy bool) ([]model.Entry, map[string]string, error) {
	list, err := codedState(state)
	if err != nil {
		return nil, nil, err
	}
	if len(list) == 0 {
		return nil, nil, errors.New("no tensor is a matrix of codes: quantize it, such as with method gptq")
	}
	state = slices.Clone(state)
	why := map[string]string{}
	var fit, other []codedMatrix
	t := targetOf(format)
	for _, m := range list {
		switch {
		case m.codes == nil:
			other = append(other, m)
		case m.codes.Index != nil && t.refuse(tensor.Scheme{Code: "int", Bits: 4, Group: m.codes.Group, Symmetric: true, Reordered: true}, m.codes.Rows, m.codes.Cols) != "":
			m.why = errors.New("columns in an order of their own, which " + format + " has no index for")
			other = append(other, m)
		default:
			fit = append(fit, m)
		}
	}
	var grid packed.Grid
	var misfits []codedMatrix
	if len(fit) > 0 {
		grid, misfits = t.choose(state, fit)
	} else {
		grid = packed.Grid{Bits: 4, Group: 32, LeastZero: t.leastZero}
	}
	misfits = append(misfits, other...)
	if len(misfits) > 0 && !lossy {
		return nil, nil, fmt.Errorf("%d of %d matrices do not fit %s without loss; %s: %w; with lossy they are rounded again", len(misfits), len(list), format, misfits[0].name, misfits[0].why)
	}
	for _, m := range misfits {
		why[m.name] = "rounded again: " + m.why.Error()
		a, err := roundedTo(state[m.entry].Source, grid)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", m.name, err)
		}
		if refused := t.refuse(a.Scheme(), a.Rows, a.Cols); refused != "" {
			return nil, nil, fmt.Errorf("tensor %q: %s", m.name, refused)
		}
		state[m.entry].Source = a.Source()
	}
	return state, why, nil
}

// choose finds the first grid that holds all matrices, and sets them in the state; else that which the fewest do not fit, with those.
func (t *gridTarget) choose(state []model.Entry, list []codedMatrix) (packed.Grid, []codedMatrix) {
	var best packed.Grid
	var misfits []codedMatrix
	for i, g := range t.grids(list) {
		var bad []codedMatrix
		made := make([]*packed.Affine, len(list))
		for j, m := range list {
			g.ScaleType = t.scales(m.codes)
			a, err := m.codes.Regrid(g)
			if err == nil {
				if refused := t.refuse(a.Scheme(), a.Rows, a.Cols); refused != "" {
					err = errors.New(refused)
				}
			}
			if err != nil {
				m.why = err
				bad = append(bad, m)
				if i > 0 && len(bad) >= len(misfits) {
					break
				}
				continue
			}
			made[j] = a
		}
		if i > 0 && len(bad) >= len(misfits) {
			continue
		}
		best, misfits = g, bad
		for j, m := range list {
			if made[j] != nil {
				state[m.entry].Source = made[j].Source()
			}
		}
		if len(bad) == 0 {
			break
		}
	}
	return best, misfits
}

// roundedTo rounds a matrix to a grid.
func roundedTo(s tensor.Source, g packed.Grid) (*packed.Affine, error) {
	t, err := s.Load()
	if err != nil {
		return nil, err
	}
	values, err := t.Floats()
	if err != nil {
		return nil, err
	}
	rows, cols := t.Shape[0], t.Shape[1]
	group := g.Group
	if group == 0 || group > cols {
		group = cols
	}
	o := solve.AWQOptions{Bits: g.Bits, Group: g.Group, Symmetric: g.Symmetric, ScaleType: tensor.Float16, LeastZero: g.LeastZero}
	r, err := solve.Round(kernel.Shared(), solve.Matrix{Rows: rows, W: slices.Clone(values)}, cols, nil, o)
	if err != nil {
		return nil, err
	}
	zeros := r.Zeros
	if g.Symmetric {
		zeros = nil
	}
	return packed.NewAffine(g.Bits, rows, cols, group, r.Codes, r.Scales, tensor.Float16, zeros, nil)
}

// blockSource is a matrix of codes as blocks of ggml, made when it is loaded.
type blockSource struct{ tensor.Source }

// Load implements [tensor.Source].
func (s blockSource) Load() (*tensor.Tensor, error) {
	a, why, err := codesOf(s.Source)
	if err = errors.Join(why, err); err != nil {
		return nil, err
	}
	b, err := a.AsBlocks()
	if err != nil {
		return nil, err
	}
	return tensor.NewPacked(tensor.Float32, s.Shape(), b), nil
}

// Release implements [tensor.Releaser].
func (s blockSource) Release() { tensor.Release(s.Source) }

// asBlocks makes the matrices of a state that are in codes blocks of ggml with the same values, and returns the type of each matrix: of
// those that are floats, and of those that no block holds, the float that they are stored as, with the reason.
func asBlocks(state []model.Entry) (out []model.Entry, kinds map[string]packed.Kind, why map[string]string, err error) {
	out, kinds, why = slices.Clone(state), map[string]packed.Kind{}, map[string]string{}
	for i, e := range state {
		if len(e.Shape()) != 2 {
			continue
		}
		switch e.DType() {
		case tensor.Float16:
			kinds[e.Name] = packed.F16
		case tensor.BFloat16:
			kinds[e.Name] = packed.BF16
		default:
			kinds[e.Name] = packed.F32
		}
		if t, err := e.Load(); err != nil {
			return nil, nil, nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		} else if b, ok := t.Packed.(*packed.Blocks); ok { // as it is
			kinds[e.Name] = b.Kind
			continue
		}
		a, no, err := codesOf(e.Source)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if a == nil && no == nil {
			continue
		}
		var b *packed.Blocks
		if no == nil {
			b, no = a.AsBlocks()
		}
		if no != nil {
			kinds[e.Name], why[e.Name] = packed.F16, "as float16: "+no.Error()
			continue
		}
		kinds[e.Name], out[i].Source = b.Kind, blockSource{e.Source}
	}
	return out, kinds, why, nil
}

// withState is a copy of a model with other tensors, in its graph as well.
func withState(m *model.Model, state []model.Entry) *model.Model {
	work := m.With(m.Graph.Clone())
	before := map[tensor.Source]tensor.Source{}
	for i, e := range m.StateDict() {
		before[e.Source] = state[i].Source
	}
	for _, v := range work.Graph.Params() {
		if s := before[v.Data]; s != nil {
			v.Data = s
		}
	}
	work.State = state
	return work
}

// saveONNX writes the graph of a model, with matrices of codes as MatMulNBits, to an ONNX file.
func saveONNX(ctx context.Context, path string, m *model.Model) error {
	if err := m.Damaged(ctx, true); err != nil {
		return err
	}
	work := m.With(m.Graph.Clone())
	pass.FreezeInputs(work.Graph)
	if err := pass.Clean(work.Graph); err != nil {
		return err
	}
	if err := quantize.ToMatMulNBits(work.Graph); err != nil {
		return err
	}
	if err := pass.Standard(work.Graph); err != nil {
		return err
	}
	work.Path, work.Files, work.State = "", nil, nil
	return onnx.Format.Save(ctx, path, work, model.SaveOptions{})
}

// likeFolder gives a model the configuration and the names of tensors of the checkpoint that it was made from: the matrices of an ONNX graph
// that are MatMulNBits, and its other constants.
func likeFolder(m, like *model.Model) (*model.Model, error) {
	codes, err := quantize.FromMatMulNBits(m.Graph)
	if err != nil {
		return nil, err
	}
	sources := map[string]tensor.Source{}
	for _, e := range m.StateDict() {
		sources[e.Name] = e.Source
	}
	var missing []string
	out := *like
	out.State = nil
	for _, e := range like.StateDict() {
		s := sources[e.Name]
		if a := codes[e.Name]; a != nil {
			s = a.Source()
		} else if s != nil && !s.Shape().Equal(e.Shape()) {
			s = turned(s, e.Shape())
		}
		if s == nil || !s.Shape().Equal(e.Shape()) {
			missing = append(missing, e.Name)
			continue
		}
		if s.DType() == tensor.Float32 && codes[e.Name] == nil {
			s = typed{s, e.DType()}
		}
		out.State = append(out.State, model.Entry{Name: e.Name, Source: s})
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%d tensors of %s are not in the model under their names: %v", len(missing), like.Path, missing[:min(3, len(missing))])
	}
	out.Format, out.Path, out.Files = m.Format, m.Path, m.Files
	out.Config = maps.Clone(like.Config)
	return &out, nil
}

// typed is a source that is announced, and so stored, as another element type.
type typed struct {
	tensor.Source
	dtype tensor.DType
}

func (s typed) DType() tensor.DType { return s.dtype }

// turned is the transpose of a matrix; nil if it does not have that shape.
func turned(s tensor.Source, shape tensor.Shape) tensor.Source {
	if have := s.Shape(); len(have) != 2 || len(shape) != 2 || have[0] != shape[1] || have[1] != shape[0] {
		return nil
	}
	return packed.Turned(s)
}

// saveLayout writes a model in a layout of a Hugging Face folder.
func saveLayout(ctx context.Context, dir string, m *model.Model, layout string) error {
	settings := map[string]any{"meta": map[string]any{"quantizer": []string{recordTool + ":" + Version()}}}
	return hf.Save(ctx, dir, m, model.SaveOptions{Layout: layout, Settings: settings})
}
