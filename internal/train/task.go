package train

import (
	"fmt"
	"slices"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// Task is a model and what it is trained to do.
type Task struct {
	// Graph is in portable form; it is not changed until [Trainer.Store].
	Graph *graph.Graph
	// Trained are the parameters of Graph that change; nil stands for [Trainable].
	Trained []*graph.Value
	// Loss is one of [Losses], "" the first, of the first output and the labels; Smoothing is that of cross entropy.
	Loss      string
	Smoothing float64
	// FreezeNorm lets batch normalizations keep their statistics, in place of those of each batch.
	FreezeNorm bool
	// Teacher, if it is not nil, is a model of the same inputs whose first output is distilled: Distill from 0 to 1 is the share of that in
	// the loss, at a temperature (0 stands for 1).
	Teacher     *graph.Graph
	Distill     float64
	Temperature float64
	// Recompute above 1 computes values again for the gradients, in so many parts of the graph, in place of keeping them.
	Recompute int
	// LoRA is what the adapters came from that Trained are of; nil: Trained are weights of the model.
	LoRA *LoRA
	// After, if it is not nil, is called behind every update with the number of updates so far.
	After func(update int)

	frozen frozen
	plain  bool // images stay [batch, channels, ...]
}

// program is a graph that computes a step for inputs of given shapes.
type program struct {
	g *graph.Graph
	// Inputs are those of the model, the target, the teacher's scores if there is one, the parameters and the statistics; outputs the loss, the
	// scores if the loss is of classes, new statistics and the gradients.
	grads []int // by parameter: which output; -1: none
	stats int   // the first output of statistics
}

// build makes the program for a batch.
func (t *Task) build(trained []*graph.Value, stats []string, in []*tensor.Tensor, target, teacher *tensor.Tensor) (*program, error) {
	g := t.Graph.Clone()
	if len(in) != len(g.Inputs) {
		return nil, fmt.Errorf("want %d inputs, got %d", len(g.Inputs), len(in))
	}
	for i, v := range g.Inputs {
		v.Type = graph.Shaped(in[i].DType, in[i].Shape)
	}
	if err := g.Infer(); err != nil {
		return nil, err
	}
	if err := t.frozen.apply(g, trained); err != nil {
		return nil, err
	}
	byName := map[string]*graph.Value{}
	for _, v := range g.Params() {
		byName[v.Name] = v
	}
	isTrained := map[*graph.Value]bool{}
	params := make([]*graph.Value, len(trained))
	for i, v := range trained {
		params[i] = byName[v.Name]
		isTrained[params[i]] = true
	}
	running := t.trainModes(g)
	b := appender{g: g, values: g.ValueNames(), nodes: g.NodeNames()}
	scores := g.Outputs[0]
	targetIn := b.input("target", target)
	kind, err := lossOf(t.Loss, t.Smoothing)
	if err != nil {
		return nil, err
	}
	loss, err := b.last("loss", kind, scores, targetIn)
	if err != nil {
		return nil, err
	}
	inputs := append(slices.Clone(g.Inputs), targetIn)
	if teacher != nil {
		teacherIn := b.input("teacher", teacher)
		temperature := t.Temperature
		if temperature == 0 {
			temperature = 1
		}
		soft, err := b.last("distillation", &distillation{temperature}, scores, teacherIn)
		if err != nil {
			return nil, err
		}
		if loss, err = b.last("total_loss", &mix{1 - t.Distill, t.Distill}, loss, soft); err != nil {
			return nil, err
		}
		inputs = append(inputs, teacherIn)
	}
	g.Inputs = inputs
	g.Outputs = []*graph.Value{loss}
	if classifies(t.Loss) { // else nobody asks for them
		g.Outputs = append(g.Outputs, scores)
	}
	if !t.plain {
		if err := pass.ChooseTrainingLayouts(g, func(v *graph.Value) bool { return isTrained[v] }); err != nil {
			return nil, err
		}
	}
	loss = g.Outputs[0]
	// From here on what changes between runs is no constant.
	for _, v := range params {
		v.Type, v.Data = graph.Shaped(v.Data.DType(), v.Data.Shape()), nil
	}
	g.Inputs = append(g.Inputs, params...)
	p := &program{g: g, stats: len(g.Outputs)}
	for _, name := range stats {
		v := byName[name]
		v.Type, v.Data = graph.Shaped(v.Data.DType(), v.Data.Shape()), nil
		g.Inputs = append(g.Inputs, v)
		g.Outputs = append(g.Outputs, running[name])
	}
	forgetConstants(g)
	sums, err := differentiate(g, loss, params, t.Recompute)
	if err != nil {
		return nil, err
	}
	for _, v := range params {
		s := sums[v]
		if s == nil {
			p.grads = append(p.grads, -1)
			continue
		}
		p.grads = append(p.grads, len(g.Outputs))
		g.Outputs = append(g.Outputs, s)
	}
	if err := pass.RemoveDead(g); err != nil {
		return nil, err
	}
	return p, g.Verify()
}

// trainModes sets normalizations and dropouts to training and returns the values of the new statistics by the names of the old.
func (t *Task) trainModes(g *graph.Graph) map[string]*graph.Value {
	running := map[string]*graph.Value{}
	names := g.ValueNames()
	for _, n := range g.Nodes {
		switch o := n.Op.(type) {
		case *op.BatchNormalization:
			if t.FreezeNorm || !g.IsParam(n.In[3]) || !g.IsParam(n.In[4]) {
				continue
			}
			plain := *o
			plain.TrainingMode, plain.Saved = true, true
			n.Op = &plain
			for i := len(n.Out); i < 5; i++ {
				n.Out = append(n.Out, nil)
			}
			channels := n.In[3].Type
			channels.Const = nil
			for i, what := range []string{"mean", "var", "batch_mean", "batch_inverse"} {
				n.Out[1+i] = &graph.Value{Name: names.Fresh(n.Name + "_" + what), Type: channels, Node: n}
			}
			running[n.In[3].Name], running[n.In[4].Name] = n.Out[1], n.Out[2]
		case *op.Dropout:
			n.In = slices.Clone(n.In)
			for len(n.In) < 3 {
				n.In = append(n.In, nil)
			}
			n.In[2] = graph.Param(names.Fresh(n.Name+"_training"), tensor.Scalar(true))
		}
	}
	return running
}

// statistics lists the parameters that normalizations change, in the order of the graph.
func (t *Task) statistics() []*graph.Value {
	var out []*graph.Value
	if t.FreezeNorm {
		return nil
	}
	for _, n := range t.Graph.Nodes {
		if _, ok := n.Op.(*op.BatchNormalization); ok && t.Graph.IsParam(n.In[3]) && t.Graph.IsParam(n.In[4]) {
			for _, v := range n.In[3:5] {
				if !slices.Contains(out, v) {
					out = append(out, v)
				}
			}
		}
	}
	return out
}

// forgetConstants drops the values of types that depend on inputs.
func forgetConstants(g *graph.Graph) {
	for _, n := range g.Nodes {
		for _, v := range n.Out {
			if v == nil || v.Type.Const == nil {
				continue
			}
			if slices.ContainsFunc(n.In, func(x *graph.Value) bool { return x != nil && x.Data == nil && x.Type.Const == nil }) {
				v.Type.Const = nil
			}
		}
	}
}

// appender adds nodes to a graph.
type appender struct {
	g             *graph.Graph
	values, nodes graph.Names
}

func (b *appender) input(name string, t *tensor.Tensor) *graph.Value {
	return &graph.Value{Name: b.values.Fresh(name), Type: graph.Shaped(t.DType, t.Shape)}
}

// last appends a node with all outputs of its operator, and returns the last.
func (b *appender) last(name string, o graph.Op, in ...*graph.Value) (*graph.Value, error) {
	n := &graph.Node{Name: b.nodes.Fresh(name), Op: o, In: in}
	types, err := graph.InferNode(n)
	if err != nil {
		return nil, fmt.Errorf("node %q (%s): %w", n.Name, o.Kind(), err)
	}
	for _, t := range types {
		n.Out = append(n.Out, &graph.Value{Name: b.values.Fresh(name), Type: t, Node: n})
	}
	b.g.Nodes = append(b.g.Nodes, n)
	return n.Out[len(n.Out)-1], nil
}
