package train

import "github.com/neurotrain/neuroquant/internal/graph"

// cutsOf cuts nodes into parts of about the same number, each cut where the fewest bytes are handed on within half a part of its place, such as
// between the blocks of a transformer. It returns where parts begin, and the number of nodes.
func cutsOf(nodes []*graph.Node, parts int) []int {
	handed := handedOn(nodes)
	cuts := []int{0}
	for k := 1; k < parts; k++ {
		even, reach := len(nodes)*k/parts, len(nodes)/(2*parts)
		best := even
		for d := 0; d <= reach; d++ {
			for _, i := range []int{even - d, even + d} {
				if i < len(nodes) && i > 0 && handed[i] < handed[best] {
					best = i
				}
			}
		}
		if best > cuts[len(cuts)-1] {
			cuts = append(cuts, best)
		}
	}
	return append(cuts, len(nodes))
}

// handedOn counts for every node the bytes of values that nodes before it give to it or to later ones.
func handedOn(nodes []*graph.Node) []int {
	last := map[*graph.Value]int{}
	for i, n := range nodes {
		for _, v := range n.In {
			if v != nil && v.Node != nil {
				last[v] = i
			}
		}
	}
	change := make([]int, len(nodes)+1)
	for i, n := range nodes {
		for _, v := range n.Out {
			if v == nil || last[v] <= i {
				continue
			}
			if shape, known := v.Type.Shape(); known {
				bytes := v.Type.DType.ByteLen(shape.Len())
				change[i+1] += bytes
				change[last[v]+1] -= bytes
			}
		}
	}
	out := make([]int, len(nodes)+1)
	sum := 0
	for i := range out {
		sum += change[i]
		out[i] = sum
	}
	return out
}
