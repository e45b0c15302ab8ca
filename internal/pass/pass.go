// Package pass rewrites graphs. [Clean] brings a graph as files have it to the portable form that is quantized, trained and
// saved; [Lower] brings the portable form to what runs fastest on this machine and is never saved. Each is a visible list.
package pass

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// Named is a pass with the name that errors carry.
type Named struct {
	Name string
	Run  graph.Pass
}

// cleaning is the portable form: fewer nodes, the same function, nothing specific to this machine.
var cleaning = []Named{
	{"infer types", (*graph.Graph).Infer},
	{"fold constants", FoldConstants},
	{"inline branches", InlineIfs},
	{"fold constants", FoldConstants}, // what the branches brought
	{"sink constants", SinkConstants},
	{"remove identities", RemoveIdentities},
	{"fold batch normalization", FoldBatchNorm},
	{"remove dead nodes", RemoveDead},
}

// lowering prepares the graph for the kernels of this machine: weights packed once, neighbours fused.
var lowering = []Named{
	{"recognize GELU", RecognizeGelu},
	{"recognize layer normalization", RecognizeLayerNorm},
	{"recognize attention", RecognizeAttention},
	{"fuse dynamic quantization", FuseDynamicQuant},
	{"expand operators on codes", ExpandQOperators},
	{"widen codes", WidenCodes},
	{"fuse static quantization", FuseQDQ},
	{"remove dead nodes", RemoveDead}, // dequantized weights that nobody reads any more need not be decoded
	{"decode weights", DecodeWeights},
	{"fuse gates", FuseGates},
	{"fuse convolutions", FuseConv},
	{"fuse matrix products", FuseMatMul},
	{"remove dead nodes", RemoveDead},
	{"join matrix products", JoinProducts},
	{"choose layouts", ChooseLayouts},
}

// packing is the part of lowering that leaves every value with the bits and the layout that it has in the portable form.
var packing = []Named{
	{"fuse convolutions", fuseConvSecond},
	{"fuse matrix products", FuseMatMul},
	{"remove dead nodes", RemoveDead},
}

// Clean rewrites g to the portable form, subgraphs included.
func Clean(g *graph.Graph) error { return apply(g, cleaning) }

// CleanToTrain is [Clean] without what training would miss: batch normalizations stay what they are.
func CleanToTrain(g *graph.Graph) error {
	var passes []Named
	for _, p := range cleaning {
		if p.Name != "fold batch normalization" {
			passes = append(passes, p)
		}
	}
	return apply(g, passes)
}

// Lower returns a lowered copy of g, which is in any form; g itself is not changed.
func Lower(g *graph.Graph) (*graph.Graph, error) {
	l := g.Clone()
	if err := apply(l, cleaning); err != nil {
		return nil, err
	}
	if err := apply(l, lowering); err != nil {
		return nil, err
	}
	return l, nil
}

// Pack rewrites g, which is in the portable form, so that its weights are packed once, and what follows products becomes part of
// them as far as nobody watches the values between.
func Pack(g *graph.Graph, watched []*graph.Value) error {
	outputs := g.Outputs
	g.Outputs = slices.Concat(outputs, watched) // no chain of nodes goes on behind an output
	err := apply(g, packing)
	g.Outputs = outputs
	return err
}

// apply runs the passes on copies of the subgraphs, then on g.
func apply(g *graph.Graph, passes []Named) error {
	for _, n := range g.Nodes {
		b, ok := n.Op.(graph.Body)
		if !ok {
			continue
		}
		bodies := b.Bodies()
		fresh := make([]*graph.Graph, len(bodies))
		for i, sub := range bodies {
			fresh[i] = sub.Clone()
			if err := apply(fresh[i], passes); err != nil {
				return fmt.Errorf("node %q (%s): %w", n.Name, n.Op.Kind(), err)
			}
		}
		n.Op = b.WithBodies(fresh)
	}
	for _, p := range passes {
		if err := p.Run(g); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}
