package quantize

import (
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// stageCost is the work of one stage: its nodes on all samples, then its layers.
type stageCost struct {
	weights  int       // bytes of the matrices of its products in float32
	largest  int       // of those, the largest
	width    int       // of the widest input of a product
	values   int       // bytes of values that are there at once while a sample is computed
	kept     int       // bytes of values of all samples that lie in the cache when it is done
	products float64   // operations of its matrix products, a sample
	sets     [][]sizes // its layers, those that share their input together
}

// sizes are those of a layer.
type sizes struct{ rows, cols int }

// Costs are what methods gptq and awq take for samples of one shape, from types alone.
type Costs struct {
	method  string
	o       WeightSettings
	samples int
	tokens  int // rows of the inputs of layers, a sample
	stages  []stageCost
}

// costsOf follows the work of a plan on samples whose inputs have the given shapes.
func costsOf(g *graph.Graph, p *Plan, layers []weightLayer, inputs []tensor.Shape, samples int) (*Costs, error) {
	c := &Costs{method: p.Recipe.Method, o: p.Recipe.WeightOnly, samples: samples}
	sized := g.Clone()
	for i, v := range sized.Inputs {
		v.Type = graph.Shaped(v.Type.DType, inputs[i])
	}
	_ = sized.Infer() // values whose size it cannot tell count as nothing; nodes that are wrong are reported when they run
	same, byNode := sameLayers(sized, layers), map[*graph.Node]*weightLayer{}
	for i := range same {
		byNode[same[i].node] = &same[i]
	}
	stages := stagesOf(sized, byNode)
	last := lastStage(stages, func(*graph.Node) bool { return true })
	live := map[string]int{}
	for _, v := range sized.Inputs {
		live[v.Name] = typeBytes(v.Type)
	}
	for i := range last + 1 {
		s := &stages[i]
		cost := stageCost{values: valuesAtOnce(s.Graph)}
		for _, n := range s.Graph.Nodes {
			rows, cols, ok := productSize(s.Graph, n)
			if !ok {
				continue
			}
			cost.weights += 4 * rows * cols
			cost.largest, cost.width = max(cost.largest, 4*rows*cols), max(cost.width, cols)
			cost.products += 2 * float64(cols) * float64(typeBytes(n.Out[0].Type)/4)
		}
		for _, v := range s.Out {
			live[v.Name] = typeBytes(v.Type)
		}
		for _, n := range live {
			cost.kept += n * samples
		}
		for _, set := range setsOf(s, byNode) {
			var list []sizes
			for _, l := range set.layers {
				list = append(list, sizes{l.rows, l.cols})
			}
			cost.sets = append(cost.sets, list)
			c.tokens = max(c.tokens, typeBytes(set.x.Type)/4/list[0].cols)
		}
		c.stages = append(c.stages, cost)
		read := readLater(stages, i, last, byNode)
		for name := range live {
			if !read[name] {
				delete(live, name)
			}
		}
	}
	return c, nil
}

// productSize returns the outputs and inputs of a product with a constant matrix, those of quantized layers and others.
func productSize(g *graph.Graph, n *graph.Node) (rows, cols int, ok bool) {
	switch n.Op.(type) {
	case *op.FusedMatMul, *op.MatMul, *op.Gemm:
	default:
		return 0, 0, false
	}
	w := n.In[1]
	if !g.IsParam(w) || len(w.Data.Shape()) != 2 {
		return 0, 0, false
	}
	out := n.Out[0].Type.Dims
	rows = w.Data.Shape()[0]
	if len(out) > 0 && out[len(out)-1].IsKnown() {
		rows = out[len(out)-1].Size
	}
	return rows, w.Data.Shape().Len() / max(rows, 1), true
}

// typeBytes is what a value takes; 0 where its size is not known.
func typeBytes(t graph.Type) int {
	s, ok := t.Shape()
	if !ok {
		return 0
	}
	n, ok := s.CheckedLen()
	if !ok {
		return 0
	}
	return t.DType.ByteLen(n)
}

// valuesAtOnce is the most that values of a graph take at a time, each from its node to its last reader.
func valuesAtOnce(g *graph.Graph) int {
	last := map[*graph.Value]int{}
	for i, n := range g.Nodes {
		for _, v := range n.In {
			if v != nil {
				last[v] = i
			}
		}
	}
	for _, v := range g.Outputs {
		last[v] = len(g.Nodes)
	}
	now, most := 0, 0
	for i, n := range g.Nodes {
		for _, v := range n.Out {
			if v != nil {
				now += typeBytes(v.Type)
			}
		}
		most = max(most, now)
		for k, v := range n.In {
			if v != nil && v.Node != nil && last[v] == i && !slices.Contains(n.In[:k], v) {
				now -= typeBytes(v.Type)
			}
		}
	}
	return most
}

// Bytes of a run beside its matrices and values: the program and its stacks, and pieces of kernels and what the collector has not taken yet.
const (
	programBytes = 24 << 20
	besideBytes  = 34 << 20
)

// uncollected is what memory of the heap takes with what the collector has not taken yet, and pages beside that were read ahead.
func uncollected(n int) int { return n + n/8 }

// outside is what a stage takes outside of the heap while it is computed: matrices as they are packed, values, one matrix in its file, scratch.
func (s *stageCost) outside() int { return s.weights + s.values + s.largest/2 + scratchBytes(s.width) }

// need is the memory that the work takes at least: that of its largest stage, with all values between stages in files.
func (c *Costs) need() int {
	most := 0
	for i := range c.stages {
		s := &c.stages[i]
		most = max(most, s.outside()+s.largest) // matrices are packed one after the other
		for _, set := range s.sets {
			most = max(most, c.setBytes(set))
		}
	}
	return uncollected(most) + programBytes + besideBytes
}

// keeps is what the values between stages take at most.
func (c *Costs) keeps() int {
	most := 0
	for i := range c.stages {
		most = max(most, c.stages[i].kept)
	}
	if c.o.Asymmetric {
		most *= 2
	}
	return most
}

// setBytes is what solving layers that share their input takes, the values of one sample included.
func (c *Costs) setBytes(set []sizes) int {
	n := set[0].cols
	input := 4 * n * c.tokens
	if c.o.Asymmetric { // those of the original network, and the difference
		input *= 3
	}
	if c.method == "awq" {
		all, most := 0, 0
		for _, l := range set {
			all += 4 * l.rows * l.cols
			most = max(most, 9*l.rows*l.cols)
		}
		// The sample of this stage and of the one before, and the packed one.
		return input + 4*4*n*sampledTokens + all + most + scratchBytes(n)
	}
	// The sum of the inputs lies beside the matrix that is factorized; both are float64, and the factor stays in the memory of the latter.
	summed, factor := 16*n*n, 8*n*n
	if c.o.Asymmetric { // the drift, and what is made of it with a matrix beside it, which takes the memory of the sum
		summed += 4 * n * n
		factor += 4 * n * n
	}
	most := 0
	for _, l := range set {
		// The weights, the same in the order of the solver, its differences and codes, and codes packed.
		most = max(most, (4+4+4+1+1)*l.rows*l.cols)
	}
	return input + max(summed, factor+most) + scratchBytes(n)
}

// scratchBytes is what products with inputs of a width leave to the next, outside of the heap.
func scratchBytes(width int) int { return min(8*1024*width, 128<<20) }

// activationBytes is how much of the values between stages stays in memory where no limit is set; the rest lies in files.
const activationBytes = 4 << 30

// Peak returns the most memory that the work takes with a limit, 0: none. It is an error if the limit is less than the work needs.
func (c *Costs) Peak(limit int) (int, error) {
	need := c.need()
	peak := need + uncollected(min(c.keeps(), activationBytes))
	if limit == 0 || peak <= limit {
		return peak, nil
	}
	if need > limit {
		return 0, fmt.Errorf("memory of %d MiB; the largest layer takes %d MiB with everything else in files", limit>>20, (need+1<<20-1)>>20)
	}
	return limit, nil
}

// ceiling holds the heap down while a run goes on, so that the process takes what was planned.
type ceiling struct {
	peak, was int
}

// WritingPeak is what a run takes that makes one tensor after the other, of the heap and of mapped files, the program included.
func WritingPeak(heap, mapped int) int { return processBytes + heap + mapped }

// HoldHeap holds the heap down while tensors are made one after the other that take so much of it, so that the run takes what
// [WritingPeak] says. What it returns ends that.
func HoldHeap(heap int) (end func()) { return hold(heapLimit(heap)) }

// LastingPeak is what a run takes that has so much on the heap that lasts, and of mapped files, the program included.
func LastingPeak(heap, mapped int) int { return processBytes + heap + 1<<20 + mapped }

// HoldLasting holds the heap down while so much of it lasts, so that the run takes what [LastingPeak] says. What it returns ends that.
func HoldLasting(heap int) (end func()) { return hold(runtimeBytes + heap + 1<<20) }

func hold(limit int) (end func()) {
	debug.FreeOSMemory()
	was := debug.SetMemoryLimit(int64(limit))
	return func() { debug.SetMemoryLimit(was) }
}

// Bytes of the program itself and of its runtime that are in memory, measured, with nothing on the heap; the runtime counts some of them as well.
const (
	processBytes = 23 << 20
	runtimeBytes = 8 << 20
)

// heapLimit leaves the collector room.
func heapLimit(heap int) int { return runtimeBytes + heap + heap/8 + min(heap/3, 1<<20) }

// lower makes room for bytes outside of the heap.
func (c *ceiling) lower(outside int) {
	debug.SetMemoryLimit(int64(max(c.peak-programBytes-outside, besideBytes)))
}

// newCeiling begins to hold the heap down; close ends it.
func newCeiling(peak int) *ceiling { return &ceiling{peak, int(debug.SetMemoryLimit(-1))} }

func (c *ceiling) close() { debug.SetMemoryLimit(int64(c.was)) }
