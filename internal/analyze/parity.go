package analyze

import (
	"math"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// Parts is a quantized graph cut into its operators: at every value in codes that a node computes, and at every value that is
// quantized at run time.
type Parts struct {
	// Whole is the graph with the values at the cuts as further outputs.
	Whole *graph.Graph
	// Apart computes the same values, but what lies behind a cut reads the value from an input. So every operator can be computed
	// from the same values in two runtimes.
	Apart *graph.Graph

	cuts []cut
}

// cut is a value that is computed, and the input of [Parts].Apart that it is read from.
type cut struct {
	value, given string
	ends         bool // an output of the model that nothing reads
	node, op     string
}

// NewParts cuts a graph, which is not changed. Subgraphs stay whole.
func NewParts(g *graph.Graph) *Parts {
	p := &Parts{Whole: g.Clone(), Apart: g.Clone()}
	at := cutValues(p.Apart)
	whole := cutValues(p.Whole)
	uses, names := p.Apart.Uses(), p.Apart.ValueNames()
	for i, v := range at {
		c := cut{value: v.Name, ends: len(uses[v]) == 0}
		c.node, c.op = operatorOf(v, at)
		if !p.Whole.IsOutput(whole[i]) {
			p.Whole.Outputs = append(p.Whole.Outputs, whole[i])
		}
		p.cuts = append(p.cuts, c)
	}
	for i, v := range at {
		if !p.Apart.IsOutput(v) {
			p.Apart.Outputs = append(p.Apart.Outputs, v)
		}
		if p.cuts[i].ends {
			continue
		}
		given := &graph.Value{Name: names.Fresh(v.Name + "_given"), Type: v.Type}
		given.Type.Const = nil
		for _, n := range uses[v] {
			in := append([]*graph.Value(nil), n.In...)
			for k := range in {
				if in[k] == v {
					in[k] = given
				}
			}
			n.In = in
		}
		p.Apart.Inputs = append(p.Apart.Inputs, given)
		p.cuts[i].given = given.Name
	}
	return p
}

// cutValues lists the values at which a graph is cut, and the float outputs of the model, in the order of the graph.
func cutValues(g *graph.Graph) []*graph.Value {
	dynamic := map[*graph.Value]bool{}
	for _, n := range g.Nodes {
		if n.Op.Kind() == "DynamicQuantizeLinear" {
			dynamic[n.In[0]] = true
		}
	}
	var out []*graph.Value
	for _, n := range g.Nodes {
		for _, v := range n.Out {
			if v == nil || v.Name == "" {
				continue
			}
			if dynamic[v] || isCode(v.Type.DType) && n.Op.Kind() != "DynamicQuantizeLinear" || g.IsOutput(v) && v.Type.DType.IsFloat() {
				out = append(out, v)
			}
		}
	}
	return out
}

func isCode(d tensor.DType) bool {
	return d == tensor.Int8 || d == tensor.Uint8 || d == tensor.Int16 || d == tensor.Uint16
}

// operatorOf names what computes v from the values at the cuts: the operators on the way back to them, along first inputs, and the
// node of the first of these.
func operatorOf(v *graph.Value, cuts []*graph.Value) (node, kinds string) {
	before := map[*graph.Value]bool{}
	for _, c := range cuts {
		before[c] = c != v
	}
	node = v.Node.Name
	var chain []string
	for n := v.Node; n != nil; {
		if k := n.Op.Kind(); k != "QuantizeLinear" {
			chain, node = append([]string{k}, chain...), n.Name
		}
		from := n.In
		n = nil
		for _, x := range from {
			if x != nil && x.Node != nil && !before[x] && x.Type.DType.IsFloat() && x.Node.Op.Kind() != "DequantizeLinear" {
				n = x.Node
				break
			}
		}
	}
	if chain == nil {
		chain = []string{v.Node.Op.Kind()}
	}
	return node, strings.Join(chain, " ")
}

// OperatorParity says how alike two runtimes compute one operator of a quantized graph from the same values.
type OperatorParity struct {
	Node     string `json:"node"`
	Operator string `json:"operator"` // with what is computed with it, such as "Conv Relu"
	Value    string `json:"value"`
	DType    string `json:"dtype"`
	Values   int    `json:"values"`
	// Equal is the fraction of equal values, Within of codes that are at most one apart.
	Equal  float64 `json:"equal"`
	Within float64 `json:"within_one"`
	Error
}

// Bytes reports whether the operator's result is codes of 8 bits.
func (p *OperatorParity) Bytes() bool { return p.DType == "int8" || p.DType == "uint8" }

// ParitySum accumulates the parity of all parts over calls.
type ParitySum struct {
	parts  *Parts
	sums   []errorSum
	equal  []int
	within []int
	dtype  []tensor.DType
}

// NewParitySum returns an empty sum.
func NewParitySum(p *Parts) *ParitySum {
	n := len(p.cuts)
	return &ParitySum{parts: p, sums: make([]errorSum, n), equal: make([]int, n), within: make([]int, n), dtype: make([]tensor.DType, n)}
}

// Given returns the inputs of [Parts].Apart beside those of the model, from the outputs of [Parts].Whole by name.
func (p *Parts) Given(whole map[string]*tensor.Tensor) map[string]*tensor.Tensor {
	out := map[string]*tensor.Tensor{}
	for _, c := range p.cuts {
		if c.given != "" {
			out[c.given] = whole[c.value]
		}
	}
	return out
}

// Add compares the outputs of [Parts].Apart in two runtimes. What one of them does not give is not compared.
func (s *ParitySum) Add(ref, got map[string]*tensor.Tensor) {
	for i, c := range s.parts.cuts {
		a, b := floats(ref[c.value]), floats(got[c.value])
		if a == nil || len(a) != len(b) {
			continue
		}
		s.dtype[i] = ref[c.value].DType
		s.sums[i].add(a, b)
		for k, x := range a {
			if d := math.Abs(float64(x) - float64(b[k])); d == 0 {
				s.equal[i]++
				s.within[i]++
			} else if d <= 1 && isCode(s.dtype[i]) {
				s.within[i]++
			}
		}
	}
}

// Operators returns the result, in the order of the graph.
func (s *ParitySum) Operators() []OperatorParity {
	out := []OperatorParity{}
	for i, c := range s.parts.cuts {
		n := s.sums[i].n + s.sums[i].bad
		if n == 0 {
			continue
		}
		out = append(out, OperatorParity{
			Node: c.node, Operator: c.op, Value: c.value, DType: s.dtype[i].String(), Values: n,
			Equal: float64(s.equal[i]) / float64(n), Within: float64(s.within[i]) / float64(n), Error: s.sums[i].result(),
		})
	}
	return out
}

// AccuracySum accumulates how the outputs of one model, as a runtime computes them, differ from those of another.
type AccuracySum struct{ *accuracySum }

// NewAccuracySum returns an empty sum; output names the output with class scores, as for [Evaluate].
func NewAccuracySum(original, quantized *graph.Graph, output string) (AccuracySum, error) {
	s, err := newAccuracySum(original, quantized, output)
	return AccuracySum{s}, err
}

// Add compares the outputs of one call, in the order of the graphs.
func (s AccuracySum) Add(f Feed, original, quantized []*tensor.Tensor) error {
	return s.add(f, original, quantized)
}

// Result returns the comparison.
func (s AccuracySum) Result() *Accuracy { return s.result() }
