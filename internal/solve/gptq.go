package solve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/tensor"
)

// Order is the order in which columns are quantized. Later columns make up for the errors of earlier ones, so it pays to begin with those
// whose inputs are large.
type Order string

const (
	// Natural is the order of the matrix.
	Natural Order = ""
	// ActOrder is by falling diagonal of the Hessian; columns that follow one another there share a group, so that the file needs an index
	// of groups (desc_act).
	ActOrder Order = "desc_act"
	// StaticGroups is that order with groups of columns as they lie in the matrix, whose grids are fitted before.
	StaticGroups Order = "static_groups"
	// GroupAware orders the columns inside each group, and the groups by their largest column: no index of groups.
	GroupAware Order = "act_group_aware"
)

// GPTQOptions are the settings of [GPTQ].
type GPTQOptions struct {
	Bits      int  // 2 to 8
	Group     int  // columns that share a scale; 0: all
	Symmetric bool // the zero point is the middle code
	Order     Order
	Damp      float64 // added to the diagonal of the Hessian, as a share of its mean
	DampStep  float64 // what Damp grows by where the Hessian is not positive; 0: at once by more
	// Norm is the exponent of the error by which the range of a group is searched for; 0: the whole range.
	Norm float64
	// ScaleType is what scales are stored as: the solver works with scales that the file can hold.
	ScaleType tensor.DType
	// LeastZero is the least zero point of asymmetric groups: 1 where the file stores it minus one.
	LeastZero int
	// Alpha is the share of [Drift] that is made up for.
	Alpha float64
}

// Result is a quantized matrix: the weight of row r and column c is Scales[r,g]*(Codes[r,c]-Zeros[r,g]) with g the group of c.
type Result struct {
	Codes  []byte    // rows x cols
	Scales []float32 // rows x groups
	Zeros  []byte    // rows x groups
	Groups int
	Index  []int32 // the group of each column; nil: columns as they lie, Group by Group

	// Error and Rounding are the summed squared error of the layer's output per token, with damping, and what plain rounding to nearest has.
	Error, Rounding float64
	Rounded         bool    // plain rounding was better and is what the result holds
	Damp            float64 // the damping that it took
	Dead            int     // columns whose inputs are always 0
}

// blockCols is how many columns are solved before the columns behind them are updated.
const blockCols = 128

// GPTQ quantizes the rows x cols matrix w whose inputs f was made of. The result is the same for any number of threads.
func GPTQ(ctx context.Context, p *kernel.Pool, rows, cols int, w []float32, f *Factor) (*Result, error) {
	if len(w) != rows*cols || len(f.perm) != cols {
		return nil, fmt.Errorf("a matrix of %d values, inputs of %d; want %d x %d", len(w), len(f.perm), rows, cols)
	}
	if sum := float64(kernel.Sum(w)); math.IsNaN(sum) || math.IsInf(sum, 0) {
		return nil, errors.New("weights are not finite, or their sum is not")
	}
	s := newSolver(p, rows, cols, w, f)
	if s.o.Order == StaticGroups {
		s.fitGroups()
	}
	s.result.Rounding = s.rounding(nil)
	for from := 0; from < cols; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := s.blockEnd(from)
		s.block(from, to)
		from = to
	}
	for _, e := range s.losses {
		s.result.Error += e
	}
	if s.result.Error > s.result.Rounding && !f.drifts {
		rounded := newSolver(p, rows, cols, w, f)
		rounded.result.Error, rounded.result.Rounding, rounded.result.Rounded = s.result.Error, s.result.Rounding, true
		rounded.rounding(rounded.result)
		return rounded.result, nil
	}
	return s.result, nil
}

// Rounding returns the summed squared error of the layer's output per token, with damping, that plain rounding to nearest has.
func (f *Factor) Rounding(p *kernel.Pool, rows, cols int, w []float32) float64 {
	return newSolver(p, rows, cols, w, f).rounding(nil)
}

func (o *GPTQOptions) check() error {
	switch {
	case o.Bits < 2 || o.Bits > 8:
		return fmt.Errorf("%d bits; want 2 to 8", o.Bits)
	case o.Group < 0:
		return fmt.Errorf("group of %d columns; want at least 1, or 0 for whole rows", o.Group)
	case !(o.Damp >= 0 && o.Damp < 1):
		return fmt.Errorf("damping %v; want 0 to 1", o.Damp)
	case o.Norm != 0 && !(o.Norm >= 1 && o.Norm <= 4):
		return fmt.Errorf("norm %v; want 1 to 4, or 0 for whole ranges", o.Norm)
	case o.LeastZero < 0 || o.LeastZero > 1:
		return fmt.Errorf("least zero point %d; want 0 or 1", o.LeastZero)
	case !slices.Contains([]tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float32}, o.ScaleType):
		return fmt.Errorf("scales of type %v; want float16, bfloat16 or float32", o.ScaleType)
	case !slices.Contains([]Order{Natural, ActOrder, StaticGroups, GroupAware}, o.Order):
		return fmt.Errorf("order %q; want one of %q, %q, %q or none", o.Order, ActOrder, StaticGroups, GroupAware)
	}
	return nil
}

// solver has the matrix transposed, columns in the order in which they are solved, and rows padded to whole tiles: a tile reads
// runs of neighbours, and the columns behind a block are one matrix.
type solver struct {
	*Factor
	pool       *kernel.Pool
	rows, cols int
	width      int           // rows, padded
	w          []float32     // the original
	t          []float32     // cols x width
	grids      []kernel.Grid // of the group that each tile is in; static groups: tile after tile, all groups
	losses     []float64     // of each tile
	errs       []float32     // block x width
	result     *Result
}

func newSolver(p *kernel.Pool, rows, cols int, w []float32, f *Factor) *solver {
	s := &solver{Factor: f, pool: p, rows: rows, cols: cols, width: (rows + lanes - 1) / lanes * lanes, w: w}
	n := (cols + s.o.Group - 1) / s.o.Group
	s.result = &Result{
		Codes: make([]byte, rows*cols), Scales: make([]float32, rows*n), Zeros: make([]byte, rows*n), Groups: n, Index: slices.Clone(f.index), Damp: f.damp, Dead: f.dead,
	}
	s.t = make([]float32, cols*s.width)
	tiles := s.width / lanes
	position := s.positions()
	p.For(tiles, 1, func(lo, hi int) {
		buf := kernel.Borrow[float32](blockCols * lanes)
		defer buf.Release()
		for tile := lo; tile < hi; tile++ {
			first := tile * lanes
			n := min(lanes, rows-first)
			for from := 0; from < cols; from += blockCols {
				part := min(blockCols, cols-from)
				kernel.Transpose(buf.Data, lanes, w[first*cols+from:], cols, n, part)
				for c, at := range position[from : from+part] {
					if s.diag[from+c] != 0 { // what no input reaches is free: 0 costs no other column
						copy(s.t[at*s.width+first:], buf.Data[c*lanes:c*lanes+n])
					}
				}
			}
		}
	})
	s.grids, s.losses = make([]kernel.Grid, tiles), make([]float64, tiles)
	s.errs = make([]float32, blockCols*s.width)
	return s
}

// blockEnd cuts blocks so that none ends inside a group that it does not begin with.
func (s *solver) blockEnd(from int) int {
	g := s.o.Group
	if s.o.Order == StaticGroups {
		return min(from+blockCols, s.cols)
	}
	if g < blockCols {
		return min(from+blockCols/g*g, s.cols)
	}
	return min(from+blockCols, (from/g+1)*g, s.cols)
}

// fitGroups fits the grids of groups as they lie in the matrix.
func (s *solver) fitGroups() {
	n := s.result.Groups
	s.grids = make([]kernel.Grid, s.width/lanes*n)
	s.pool.For(s.width/lanes, 1, func(lo, hi int) {
		for tile := lo; tile < hi; tile++ {
			s.eachGroup(tile, func(group int, _ []float32, g *kernel.Grid) {
				s.grids[tile*n+group] = *g
				s.keepGrid(tile, group, g)
			})
		}
	})
}

// eachGroup calls f with the columns of each group before anything is solved, tiled, and the grid that fits them. Groups are of neighbours in the
// matrix, or where the file says which column is in which group those of the solver: layers that share their inputs have the same groups, whatever
// becomes of each, since programs that join them have one list for all.
func (s *solver) eachGroup(tile int, f func(group int, w []float32, g *kernel.Grid)) {
	buf := kernel.Borrow[float32](s.o.Group * lanes)
	defer buf.Release()
	var g kernel.Grid
	for group := range s.result.Groups {
		from := group * s.o.Group
		to := min(from+s.o.Group, s.cols)
		w := buf.Data[:(to-from)*lanes]
		if s.index != nil {
			for i := range to - from {
				copy(w[i*lanes:(i+1)*lanes], s.t[(from+i)*s.width+tile*lanes:])
			}
		} else {
			clear(w)
			kernel.Transpose(w, lanes, s.w[tile*lanes*s.cols+from:], s.cols, min(lanes, s.rows-tile*lanes), to-from)
			for c := from; c < to; c++ {
				if s.diag[c] == 0 {
					clear(w[(c-from)*lanes : (c-from+1)*lanes])
				}
			}
		}
		s.o.fit(&g, w)
		f(group, w, &g)
	}
}

// keepGrid puts a grid into the result.
func (s *solver) keepGrid(tile, group int, g *kernel.Grid) {
	for l := range min(lanes, s.rows-tile*lanes) {
		at := (tile*lanes+l)*s.result.Groups + group
		s.result.Scales[at], s.result.Zeros[at] = g.Scale[l], byte(g.Zero[l])
	}
}

// keepCodes puts the codes of tiled columns into the result, row by row.
func (s *solver) keepCodes(tile int, cols []int, codes []byte) {
	for l := range min(lanes, s.rows-tile*lanes) {
		row := s.result.Codes[(tile*lanes+l)*s.cols:][:s.cols]
		for i, c := range cols {
			row[c] = codes[i*lanes+l]
		}
	}
}

// positions is the position of each column.
func (s *solver) positions() []int {
	position := make([]int, s.cols)
	for i, c := range s.perm {
		position[c] = i
	}
	return position
}

// block solves the columns from <= c < to and updates those behind.
func (s *solver) block(from, to int) {
	n := to - from
	s.pool.For(s.width/lanes, 1, func(lo, hi int) {
		w, codes, errs := kernel.Borrow[float32](n*lanes), kernel.Borrow[byte](n*lanes), kernel.Borrow[float32](n*lanes)
		defer w.Release()
		defer codes.Release()
		defer errs.Release()
		for tile := lo; tile < hi; tile++ {
			for c := range n {
				copy(w.Data[c*lanes:(c+1)*lanes], s.t[(from+c)*s.width+tile*lanes:])
			}
			s.tile(tile, from, to, w.Data, codes.Data, errs.Data)
			s.losses[tile] += float64(kernel.Dot(errs.Data, errs.Data))
			for c := range n {
				copy(s.t[(from+c)*s.width+tile*lanes:], w.Data[c*lanes:(c+1)*lanes])
				copy(s.errs[c*s.width+tile*lanes:], errs.Data[c*lanes:(c+1)*lanes])
			}
			s.keepCodes(tile, s.perm[from:to], codes.Data)
		}
	})
	behind := s.cols - to
	if behind == 0 {
		return
	}
	kernel.GemmF32(s.pool, true, false, behind, s.width, n, -1, s.u[from*s.cols+to:], s.cols, s.errs, s.width, 1, s.t[to*s.width:], s.width)
	if s.p != nil {
		kernel.GemmF32(s.pool, true, false, behind, s.width, n, 1, s.p[from*s.cols+to:], s.cols, s.t[from*s.width:], s.width, 1, s.t[to*s.width:], s.width)
	}
}

// tile solves the columns of a block for one tile, group by group.
func (s *solver) tile(tile, from, to int, w []float32, codes []byte, errs []float32) {
	static := s.o.Order == StaticGroups
	for c := from; c < to; {
		group := s.groups[c]
		end := c + 1
		for end < to && s.groups[end] == group {
			end++
		}
		g := &s.grids[tile]
		if static {
			g = &s.grids[tile*s.result.Groups+group]
		} else if c == 0 || s.groups[c-1] != group {
			s.fitAt(tile, c, to, from, w, g)
			s.keepGrid(tile, group, g)
		}
		var p []float32
		if s.p != nil {
			p = s.p[from*s.cols+from:]
		}
		kernel.SolveColumns(w, to-from, c-from, end-from, s.u[from*s.cols+from:], s.cols, p, g, codes[(c-from)*lanes:], errs[(c-from)*lanes:])
		c = end
	}
}

// fitAt fits the grid of the group that begins at position c. Where it goes on behind the block, the block begins with it, and what lies behind
// has every update that there was.
func (s *solver) fitAt(tile, c, to, from int, w []float32, g *kernel.Grid) {
	end := min(c/s.o.Group*s.o.Group+s.o.Group, s.cols)
	if end <= to {
		s.o.fit(g, w[(c-from)*lanes:(end-from)*lanes])
		return
	}
	buf := kernel.Borrow[float32]((end - c) * lanes)
	defer buf.Release()
	for i := range end - c {
		copy(buf.Data[i*lanes:(i+1)*lanes], s.t[(c+i)*s.width+tile*lanes:])
	}
	s.o.fit(g, buf.Data)
}

// rounding returns the error of plain rounding to nearest, ||D*U^-1||^2 for the difference D, and puts its codes and grids into r.
func (s *solver) rounding(r *Result) float64 {
	position := s.positions()
	var diff []float32
	if r == nil {
		diff = make([]float32, s.cols*s.width)
	}
	one := []float32{1}
	s.pool.For(s.width/lanes, 1, func(lo, hi int) {
		var codes [lanes]byte
		var errs [lanes]float32
		for tile := lo; tile < hi; tile++ {
			s.eachGroup(tile, func(group int, w []float32, g *kernel.Grid) {
				if r != nil {
					s.keepGrid(tile, group, g)
				}
				for i := 0; i < len(w); i += lanes {
					c := group*s.o.Group + i/lanes
					if s.index != nil {
						c = s.perm[c]
					}
					kernel.SolveColumns(w[i:i+lanes], 1, 0, 1, one, 1, nil, g, codes[:], errs[:])
					if r != nil {
						s.keepCodes(tile, []int{c}, codes[:])
					} else {
						copy(diff[position[c]*s.width+tile*lanes:], errs[:])
					}
				}
			})
		}
	})
	if r != nil {
		return 0
	}
	kernel.TrsmF32(s.pool, false, kernel.Triangle{Upper: true, Transposed: true}, s.cols, s.width, 1, s.u, s.cols, diff, s.width)
	sum := 0.0
	for c := range s.cols {
		row := diff[c*s.width : (c+1)*s.width]
		sum += float64(kernel.Dot(row, row))
	}
	return sum
}
