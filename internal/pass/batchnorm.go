package pass

import (
	"fmt"
	"math"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// FoldBatchNorm folds an inference-mode BatchNormalization into the Conv, ConvTranspose or Gemm whose only consumer it is:
// per output channel W' = W*g/sqrt(v+eps) and b' = (b-m)*g/sqrt(v+eps) + beta.
func FoldBatchNorm(g *graph.Graph) error {
	uses := g.Uses()
	names := g.ValueNames()
	kept := g.Nodes[:0:0]
	for _, n := range g.Nodes {
		bn, ok := n.Op.(*op.BatchNormalization)
		if !ok || bn.TrainingMode || len(n.In) < 5 || n.In[0].Node == nil {
			kept = append(kept, n)
			continue
		}
		folded, err := foldBatchNorm(g, n, bn, uses, names)
		if err != nil {
			return fmt.Errorf("node %q (BatchNormalization): %w", n.Name, err)
		}
		if !folded {
			kept = append(kept, n)
		}
	}
	g.Nodes = kept
	return nil
}

func foldBatchNorm(g *graph.Graph, n *graph.Node, bn *op.BatchNormalization, uses map[*graph.Value][]*graph.Node, names graph.Names) (bool, error) {
	x := n.In[0]
	p := x.Node
	if len(uses[x]) != 1 || g.IsOutput(x) || len(p.In) < 2 {
		return false, nil
	}
	// chanAxis of the weight, and how many channel groups repeat along it.
	axis, groups := 0, 1
	switch c := p.Op.(type) {
	case *op.Conv:
	case *op.ConvTranspose:
		axis, groups = 1, c.Group
	case *op.Gemm:
		if c.Alpha != 1 || c.Beta != 1 {
			return false, nil
		}
		if !c.TransB {
			axis = 1
		}
	default:
		return false, nil
	}
	var stat [4][]float32 // scale, bias, mean, variance
	for i := range stat {
		t, err := g.Constant(n.In[1+i])
		if err != nil || t == nil {
			return false, err
		}
		if stat[i], err = t.Floats(); err != nil {
			return false, err
		}
	}
	w, err := g.Constant(p.In[1])
	if err != nil || w == nil || w.DType != tensor.Float32 || w.Packed != nil || len(uses[p.In[1]]) != 1 {
		return false, err
	}
	channels := len(stat[0])
	if w.Shape[axis]*groups != channels {
		return false, nil
	}
	bias := []float32{0}
	if len(p.In) > 2 && p.In[2] != nil {
		b, err := g.Constant(p.In[2])
		if err != nil || b == nil {
			return false, err
		}
		if bias, err = b.Floats(); err != nil || len(bias) != 1 && (len(bias) != channels || b.Shape[b.Rank()-1] != channels) { // the C of a Gemm may be a column
			return false, err
		}
	}
	factor := make([]float64, channels)
	nb := make([]float32, channels)
	for c := range channels {
		factor[c] = float64(stat[0][c]) / math.Sqrt(float64(stat[3][c])+float64(bn.Epsilon))
		nb[c] = float32((float64(bias[c%len(bias)])-float64(stat[2][c]))*factor[c] + float64(stat[1][c]))
	}
	wv := graph.FromSource(names.Fresh(p.In[1].Name+"_bn"), &scaledWeight{p.In[1].Data, axis, groups, factor})
	bv := graph.Param(names.Fresh(p.Name+"_bias"), tensor.Of(tensor.Shape{channels}, nb))
	p.In = []*graph.Value{p.In[0], wv, bv}
	if !g.Replace(n.Out[0], x) {
		return false, fmt.Errorf("output %q cannot be moved to %q", n.Out[0].Name, p.Name)
	}
	x.Type = n.Out[0].Type
	return true, nil
}

// releaseEvery is after how many values of a weight the pages that they were read from go: those of the whole would lie beside the copy.
const releaseEvery = 1 << 18

// scaledWeight is a weight whose output channels are multiplied by factors. It is computed when it is loaded, so that a model
// that is mapped from its file takes no memory for a second copy.
type scaledWeight struct {
	tensor.Source // float32
	axis, groups  int
	factor        []float64
}

// Load returns a new tensor.
func (s *scaledWeight) Load() (*tensor.Tensor, error) { return s.LoadInto(nil) }

// LoadInto returns a tensor that lies in scratch if that is large enough.
func (s *scaledWeight) LoadInto(scratch []float32) (*tensor.Tensor, error) {
	w, err := s.Source.Load()
	if err != nil {
		return nil, err
	}
	old := tensor.Data[float32](w)
	if len(scratch) < len(old) {
		scratch = make([]float32, len(old))
	}
	scaled := scratch[:len(old)]
	read := 0
	s.eachRow(w.Shape, func(at, n int, f float64) {
		to := scaled[at : at+n]
		for i, v := range old[at : at+n] {
			to[i] = float32(float64(v) * f)
		}
		if read += n; read >= releaseEvery {
			read = 0
			tensor.Release(s.Source)
		}
	})
	return tensor.Of(w.Shape, scaled), nil
}

// Parts implements [tensor.Derived].
func (s *scaledWeight) Parts() []tensor.Source { return []tensor.Source{s.Source} }

// Spread implements [tensor.Derived]. What is multiplied by zero stays.
func (s *scaledWeight) Spread(value *tensor.Tensor, parts []*tensor.Tensor) error {
	src, err := value.Floats()
	if err != nil {
		return err
	}
	dst := tensor.Data[float32](parts[0])
	s.eachRow(value.Shape, func(at, n int, f float64) {
		if f == 0 {
			return
		}
		for i, v := range src[at : at+n] {
			dst[at+i] = float32(float64(v) / f)
		}
	})
	return nil
}

// eachRow calls f for runs of n elements that are multiplied by one factor.
func (s *scaledWeight) eachRow(shape tensor.Shape, f func(at, n int, factor float64)) {
	inner := shape[s.axis+1:].Len()
	per := shape[s.axis]
	for at := 0; at < shape.Len() && inner > 0; at += inner {
		row := at / inner
		c := row % per
		if s.groups > 1 { // ConvTranspose: rows of the weight are input channels, in groups
			c += row / per / (shape[0] / s.groups) * per
		}
		f(at, inner, s.factor[c])
	}
}

// Release lets go of the weight behind.
func (s *scaledWeight) Release() { tensor.Release(s.Source) }
