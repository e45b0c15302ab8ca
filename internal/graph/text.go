package graph

import (
	"fmt"
	"strings"
)

// String returns the graph in a readable form, one line per node:
//
//	conv1 = Conv(x: float32[n,3,32,32], conv1.weight) -> float32[n,16,32,32]
func (g *Graph) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %s\n", g.Name)
	for _, v := range g.Inputs {
		fmt.Fprintf(&b, "  input %s: %v\n", v.Name, v.Type)
	}
	for _, v := range g.Params() {
		fmt.Fprintf(&b, "  param %s: %v\n", v.Name, v.Type)
	}
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "  %s = %s(%s)%s", names(n.Out), n.Op.Kind(), names(n.In), attrs(n.Op))
		if len(n.Out) > 0 && n.Out[0] != nil {
			fmt.Fprintf(&b, " -> %v", n.Out[0].Type)
		}
		b.WriteByte('\n')
		if body, ok := n.Op.(Body); ok {
			for _, sub := range body.Bodies() {
				for _, line := range strings.Split(strings.TrimRight(sub.String(), "\n"), "\n") {
					fmt.Fprintf(&b, "    %s\n", line)
				}
			}
		}
	}
	for _, v := range g.Outputs {
		fmt.Fprintf(&b, "  output %s: %v\n", v.Name, v.Type)
	}
	return b.String()
}

func names(vs []*Value) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		if v == nil {
			s[i] = "_"
		} else {
			s[i] = v.Name
		}
	}
	return strings.Join(s, ", ")
}

// attrs prints the fields of an operator except for those with subgraphs.
func attrs(op Op) string {
	if _, ok := op.(Body); ok {
		return ""
	}
	s := fmt.Sprintf("%+v", op)
	s = strings.TrimPrefix(s, "&")
	if s == "{}" || len(s) > 200 {
		return ""
	}
	return " " + s
}
