package quantize

import (
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
)

// site is a node of a graph or of one of its subgraphs.
type site struct {
	g *graph.Graph
	n *graph.Node
	// layer is the node's name, behind those of the nodes in whose subgraphs it lies: "loop/matmul". It is unique.
	layer string
}

// sites lists all nodes in order; those of subgraphs come before the node that runs them.
func sites(g *graph.Graph) []site {
	var out []site
	taken := graph.Names{}
	var walk func(g *graph.Graph, path []string)
	walk = func(g *graph.Graph, path []string) {
		for _, n := range g.Nodes {
			at := append(slices.Clone(path), n.Name)
			if b, ok := n.Op.(graph.Body); ok {
				for _, sub := range b.Bodies() {
					walk(sub, at)
				}
			}
			out = append(out, site{g, n, taken.Fresh(strings.Join(at, "/"))})
		}
	}
	walk(g, nil)
	return out
}

// ownBodies gives g copies of all its subgraphs, which may be rewritten.
func ownBodies(g *graph.Graph) {
	for _, n := range g.Nodes {
		b, ok := n.Op.(graph.Body)
		if !ok {
			continue
		}
		bodies := slices.Clone(b.Bodies())
		for i, sub := range bodies {
			bodies[i] = sub.Clone()
			ownBodies(bodies[i])
		}
		n.Op = b.WithBodies(bodies)
	}
}

// allNames returns the names of all values and nodes of a graph and its subgraphs.
func allNames(g *graph.Graph) (values, nodes graph.Names) {
	values, nodes = g.ValueNames(), g.NodeNames()
	for _, n := range g.Nodes {
		b, ok := n.Op.(graph.Body)
		if !ok {
			continue
		}
		for _, sub := range b.Bodies() {
			v, m := allNames(sub)
			for name := range v {
				values.Take(name)
			}
			for name := range m {
				nodes.Take(name)
			}
		}
	}
	return values, nodes
}
