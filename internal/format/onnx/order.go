package onnx

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
)

// ordered returns the nodes so that each comes after those it reads from. Files must be in such an order already; some are not,
// so nodes are sorted, keeping their order as far as it goes. A cycle is an error that names its nodes.
func ordered(nodes []*protobuf.Node) ([]*protobuf.Node, error) {
	producer := map[string]int{}
	for i, n := range nodes {
		for _, out := range n.Outputs {
			if out == "" {
				continue
			}
			if j, dup := producer[out]; dup {
				return nil, fmt.Errorf("%w: value %q is produced twice, by nodes %q and %q", ErrFormat, out, nodeLabel(nodes[j], j), nodeLabel(n, i))
			}
			producer[out] = i
		}
	}
	reads := make([][]string, len(nodes))
	inOrder := true
	for i, n := range nodes {
		reads[i] = nodeReads(n)
		for _, name := range reads[i] {
			if j, ok := producer[name]; ok && j >= i {
				inOrder = false
			}
		}
	}
	if inOrder {
		return nodes, nil
	}
	sorted := make([]*protobuf.Node, 0, len(nodes))
	state := make([]uint8, len(nodes)) // 1: on the path, 2: done
	type frame struct{ node, next int }
	for root := range nodes {
		if state[root] != 0 {
			continue
		}
		state[root] = 1
		path := []frame{{root, 0}}
		for len(path) > 0 {
			f := &path[len(path)-1]
			if f.next == len(reads[f.node]) {
				state[f.node] = 2
				sorted = append(sorted, nodes[f.node])
				path = path[:len(path)-1]
				continue
			}
			j, ok := producer[reads[f.node][f.next]]
			f.next++
			if !ok {
				continue
			}
			switch state[j] {
			case 1:
				var names []string
				for _, g := range path {
					if len(names) > 0 || g.node == j {
						names = append(names, fmt.Sprintf("%q", nodeLabel(nodes[g.node], g.node)))
					}
				}
				names = append(names, fmt.Sprintf("%q", nodeLabel(nodes[j], j)))
				if len(names) > 8 {
					names = append(append(names[:4:4], "..."), names[len(names)-3:]...)
				}
				return nil, fmt.Errorf("%w: the graph has a cycle: %s", ErrFormat, strings.Join(names, " -> "))
			case 0:
				state[j] = 1
				path = append(path, frame{j, 0})
			}
		}
	}
	return sorted, nil
}

// nodeReads lists the names that a node reads, those that its subgraphs take from outside included.
func nodeReads(n *protobuf.Node) []string {
	names := n.Inputs
	for _, a := range n.Attributes {
		if a.G != nil {
			names = append(names[:len(names):len(names)], freeNames(a.G)...)
		}
	}
	return names
}

// freeNames lists the names that a graph reads and does not define.
func freeNames(g *protobuf.Graph) []string {
	bound := map[string]bool{"": true}
	for _, v := range g.Inputs {
		bound[v.Name] = true
	}
	for _, t := range g.Initializers {
		bound[t.Name] = true
	}
	for _, t := range g.SparseInitializer {
		if t.Values != nil {
			bound[t.Values.Name] = true
		}
	}
	for _, n := range g.Nodes {
		for _, out := range n.Outputs {
			bound[out] = true
		}
	}
	var free []string
	add := func(names []string) {
		for _, name := range names {
			if !bound[name] {
				bound[name] = true
				free = append(free, name)
			}
		}
	}
	for _, n := range g.Nodes {
		add(nodeReads(n))
	}
	for _, v := range g.Outputs {
		add([]string{v.Name})
	}
	return free
}
