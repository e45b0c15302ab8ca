package graph

// Stage is a part of a graph that computes what some layers take, once the layers before are done.
type Stage struct {
	// Graph computes Out from In. Its inputs and outputs stand for those values of the whole graph, in that order; its parameters are
	// the same values. Layers of earlier stages are nodes of it.
	Graph   *Graph
	In, Out []*Value
	// Layers are the layers, nodes of the whole graph, whose inputs are known when the stage has run. No node of the stage is one.
	Layers []*Node
}

// Stages cuts a graph for work that goes layer by layer and needs the inputs of each: a layer that can be changed with what came
// before it already changed. Running the stages in order, each with what the ones before put out, computes the graph; between two of
// them only what later ones read has to be kept. The cut follows from the graph alone: layers that share their inputs, and all experts of
// a mixture, are of one stage.
//
// layer tells the nodes that are layers, and data which of their inputs is the one to be known. g is not changed. Nodes of the stages are
// copies, made when Stages is called: [Stage.Refresh] takes changes of layers over.
func Stages(g *Graph, layer func(*Node) (data *Value, ok bool)) []Stage {
	level := make(map[*Node]int, len(g.Nodes))
	of := func(v *Value) int {
		if v == nil || v.Node == nil {
			return 0
		}
		return level[v.Node]
	}
	last := 0
	for _, n := range g.Nodes {
		l := 0
		for _, v := range n.In {
			l = max(l, of(v))
		}
		if _, ok := layer(n); ok {
			l++
		}
		level[n] = l
		last = max(last, l)
	}
	stages := make([]Stage, last+1)
	needed := map[*Value]int{} // the last stage that reads a value; past the last: an output of the graph
	for _, n := range g.Nodes {
		for _, v := range n.In {
			if v != nil {
				needed[v] = max(needed[v], level[n])
			}
		}
	}
	for _, v := range g.Outputs {
		needed[v] = last + 1
	}
	copies := make([]map[*Value]*Value, len(stages))
	for i := range stages {
		stages[i].Graph = &Graph{Name: g.Name}
		copies[i] = map[*Value]*Value{}
	}
	for _, n := range g.Nodes {
		l := level[n]
		s := &stages[l]
		if v, ok := layer(n); ok {
			at := &stages[of(v)]
			at.Layers = append(at.Layers, n)
		}
		c := &Node{Name: n.Name, Op: n.Op}
		for _, v := range n.In {
			c.In = append(c.In, s.take(g, v, copies[l]))
		}
		for _, v := range n.Out {
			var o *Value
			if v != nil {
				o = &Value{Name: v.Name, Type: v.Type, Node: c}
				copies[l][v] = o
			}
			c.Out = append(c.Out, o)
			if v != nil && needed[v] > l {
				s.Out = append(s.Out, v)
				s.Graph.Outputs = append(s.Graph.Outputs, o)
			}
		}
		s.Graph.Nodes = append(s.Graph.Nodes, c)
	}
	return stages
}

// take returns what stands for v in the stage.
func (s *Stage) take(g *Graph, v *Value, copies map[*Value]*Value) *Value {
	if v == nil || g.IsParam(v) {
		return v
	}
	c := copies[v]
	if c == nil {
		c = &Value{Name: v.Name, Type: v.Type}
		copies[v] = c
		s.In, s.Graph.Inputs = append(s.In, v), append(s.Graph.Inputs, c)
	}
	return c
}

// Refresh makes the stage's copies of layers of the whole graph, given by name, compute what those compute now.
func (s *Stage) Refresh(layers map[string]*Node) {
	for _, n := range s.Graph.Nodes {
		layer := layers[n.Name]
		if layer == nil {
			continue
		}
		n.Op = layer.Op
		for j, v := range layer.In {
			if v != nil && v.Data != nil {
				n.In[j] = v
			}
		}
	}
}
