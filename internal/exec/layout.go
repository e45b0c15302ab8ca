package exec

import (
	"cmp"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// layout is where the values of a plan lie in one block of memory for inputs of given shapes: values that live at the same time lie
// apart. What it says is a forecast. A run checks it, see [memory].
type layout struct {
	inputs []tensor.Shape     // nil for one that is omitted
	of     [][]spot           // per step, for its outputs
	home   []int              // per slot: the slot whose room it is to lie in; -1 where that is not known
	known  [][]*tensor.Tensor // per step: its outputs, where these follow from the shapes of the inputs alone; nil: it has to run
	size   int
	seen   facts
	tries  int // layouts of these shapes before it
}

// spot is room for the value of a slot.
type spot struct{ slot, offset, size int }

// facts are what runs have shown of a plan.
type facts struct {
	shares []int  // per slot: the one whose memory it was found to view, or -1
	apart  []bool // per step: its output does not take the memory of an input, though the operator might
}

func (f *facts) clone() facts { return facts{slices.Clone(f.shares), slices.Clone(f.apart)} }

func newFacts(p *Plan) facts {
	f := facts{make([]int, p.slots), make([]bool, len(p.steps))}
	for i := range f.shares {
		f.shares[i] = -1
	}
	for _, st := range p.steps {
		if _, ok := st.node.Op.(graph.Viewing); ok && st.in[0] >= 0 && st.out[0] >= 0 {
			f.shares[st.out[0]] = st.in[0]
		}
	}
	return f
}

// fits reports whether the layout is for inputs of these shapes.
func (l *layout) fits(in []*tensor.Tensor) bool { return sameShapes(l.inputs, in) }

func sameShapes(shapes []tensor.Shape, in []*tensor.Tensor) bool {
	if len(shapes) != len(in) {
		return false
	}
	for i, t := range in {
		if (t == nil) != (shapes[i] == nil) || t != nil && !t.Shape.Equal(shapes[i]) {
			return false
		}
	}
	return true
}

func shapesOf(in []*tensor.Tensor) []tensor.Shape {
	shapes := make([]tensor.Shape, len(in))
	for i, t := range in {
		if t != nil {
			shapes[i] = append(tensor.Shape{}, t.Shape...)
		}
	}
	return shapes
}

// region is memory that one value takes after the other, views and sums in place, from step first to step last.
type region struct{ slot, size, first, last, offset int }

// layout lays the values out for inputs of the shapes of in. inPlace allows outputs in the memory of inputs.
func (p *Plan) layout(params, in []*tensor.Tensor, seen facts, inPlace bool) *layout {
	l := &layout{inputs: shapesOf(in), of: make([][]spot, len(p.steps)), seen: seen}
	types := p.types(params, in)
	dies := make([]int, p.slots) // the step after which it is not needed
	for s := range dies {
		dies[s] = len(p.steps)
	}
	for i := range p.steps {
		for _, s := range p.steps[i].dies {
			dies[s] = i
		}
	}
	owner := make([]int, p.slots) // the region of a slot; -1: none
	for s := range owner {
		owner[s] = -1
	}
	var regions []region
	for i := range p.steps {
		st := &p.steps[i]
		for j, s := range st.out {
			if s < 0 {
				continue
			}
			if v := seen.shares[s]; v >= 0 {
				if owner[s] = owner[v]; owner[s] >= 0 {
					r := &regions[owner[s]]
					r.last = max(r.last, dies[s])
				}
				continue
			}
			if types[s].Const != nil && !slices.Contains(p.output, s) {
				continue
			}
			shape, known := types[s].Shape()
			n, ok := shape.CheckedLen()
			if !known || !ok || types[s].DType.Bits() == 0 || n == 0 {
				continue
			}
			if v := p.overwritten(i); inPlace && j == 0 && v >= 0 && !seen.apart[i] {
				if r := owner[v]; r >= 0 && regions[r].last == i && dies[v] == i && sameType(types[v], types[s]) && p.readers(i, owner, r) == 1 {
					owner[s], regions[r].last = r, dies[s]
					continue
				}
			}
			owner[s] = len(regions)
			regions = append(regions, region{slot: s, size: types[s].DType.ByteLen(n), first: i, last: dies[s]})
		}
	}
	l.known = p.settled(types)
	l.size = place(regions)
	for _, r := range owner {
		if r >= 0 {
			r = regions[r].slot
		}
		l.home = append(l.home, r)
	}
	for _, r := range regions {
		l.of[r.first] = append(l.of[r.first], spot{r.slot, r.offset, r.size})
	}
	return l
}

// settled returns the outputs of the steps all of whose outputs are known beforehand.
func (p *Plan) settled(types []graph.Type) [][]*tensor.Tensor {
	known := make([][]*tensor.Tensor, len(p.steps))
	for i := range p.steps {
		st := &p.steps[i]
		out := make([]*tensor.Tensor, 0, len(st.out))
		for _, s := range st.out {
			if s >= 0 && types[s].Const != nil && !slices.Contains(p.output, s) {
				out = append(out, types[s].Const)
			}
		}
		if len(out) == len(st.out) {
			known[i] = out
		}
	}
	return known
}

// overwritten returns the slot whose memory the first output of step i may take; -1 for none.
func (p *Plan) overwritten(i int) int {
	o, ok := p.steps[i].node.Op.(graph.Overwriting)
	if !ok {
		return -1
	}
	k := o.Overwrites()
	if k < 0 || k >= len(p.steps[i].in) {
		return -1
	}
	return p.steps[i].in[k]
}

// readers counts the inputs of a step that lie in a region.
func (p *Plan) readers(step int, owner []int, region int) int {
	n := 0
	for _, s := range p.steps[step].in {
		if s >= 0 && owner[s] == region {
			n++
		}
	}
	return n
}

func sameType(a, b graph.Type) bool {
	x, ok := a.Shape()
	y, known := b.Shape()
	return ok && known && a.DType == b.DType && x.Equal(y)
}

// place gives regions offsets, the largest first, each the smallest gap that is there for all its time, and returns the size of all.
func place(regions []region) (size int) {
	order := make([]*region, len(regions))
	for i := range regions {
		order[i] = &regions[i]
	}
	slices.SortStableFunc(order, func(a, b *region) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.first, b.first)) })
	var placed []*region // by offset
	for _, r := range order {
		at, best, end := -1, 0, 0
		for _, q := range placed {
			if q.last < r.first || q.first > r.last {
				continue
			}
			if gap := q.offset - end; gap >= r.size && (at < 0 || gap < best) {
				at, best = end, gap
			}
			end = max(end, (q.offset+q.size+alignment-1)&^(alignment-1))
		}
		if at < 0 {
			at = end
		}
		r.offset = at
		size = max(size, at+r.size)
		i, _ := slices.BinarySearchFunc(placed, at, func(q *region, at int) int { return cmp.Compare(q.offset, at) })
		placed = slices.Insert(placed, i, r)
	}
	return size
}

// types infers the types of all slots for inputs of given shapes, as far as they can be told.
func (p *Plan) types(params, in []*tensor.Tensor) []graph.Type {
	types := make([]graph.Type, p.slots)
	for i, pr := range p.params {
		types[pr.slot] = graph.TypeOf(params[i])
	}
	for i, s := range p.inputs {
		switch v := p.graph.Inputs[i]; {
		case in[i] == nil && v.Data != nil:
			types[s] = v.Type
		case in[i] == nil:
		case isScalar(v.Type, in[i]):
			types[s] = graph.Shaped(in[i].DType, nil)
		case in[i].DType.Bits() > 0:
			types[s] = graph.Shaped(in[i].DType, in[i].Shape)
		default:
			types[s] = graph.Unranked(in[i].DType)
		}
	}
	var args []graph.Type
	for i := range p.steps {
		st := &p.steps[i]
		args = args[:0]
		for _, s := range st.in {
			if s < 0 {
				args = append(args, graph.Type{})
			} else {
				args = append(args, types[s])
			}
		}
		out := inferStep(st.node.Op, args)
		for j, s := range st.out {
			if s >= 0 && j < len(out) {
				types[s] = out[j]
			}
		}
	}
	return types
}

// inferStep returns nil where the operator cannot tell.
func inferStep(op graph.Op, in []graph.Type) (out []graph.Type) {
	defer func() {
		if recover() != nil {
			out = nil
		}
	}()
	out, err := graph.InferOp(op, slices.Clone(in))
	if err != nil {
		return nil
	}
	return out
}
