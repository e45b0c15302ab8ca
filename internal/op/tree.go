package op

import (
	"fmt"
	"math"
	"sync"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

var treeOps = table{
	"ai.onnx.ml.TreeEnsemble":          fresh[TreeEnsemble],
	"ai.onnx.ml.ArrayFeatureExtractor": fresh[ArrayFeatureExtractor],
	"ai.onnx.ml.Binarizer":             fresh[Binarizer],
	"ai.onnx.ml.LabelEncoder":          fresh[LabelEncoder],
}

// TreeEnsemble is the aggregate of decision trees: of samples [N, features] it makes [N, targets].
type TreeEnsemble struct {
	Aggregate     int            `attr:"aggregate_function,1"` // 0 average, 1 sum, 2 min, 3 max
	PostTransform int            `attr:"post_transform,0"`     // 0 none, 1 softmax, 2 logistic, 3 softmax of what is not zero, 4 probit
	Targets       int            `attr:"n_targets"`
	Roots         []int          `attr:"tree_roots"`
	Features      []int          `attr:"nodes_featureids"`
	Modes         *tensor.Tensor `attr:"nodes_modes"`
	Splits        *tensor.Tensor `attr:"nodes_splits"`
	True          []int          `attr:"nodes_truenodeids"`
	False         []int          `attr:"nodes_falsenodeids"`
	TrueLeaf      []int          `attr:"nodes_trueleafs"`
	FalseLeaf     []int          `attr:"nodes_falseleafs"`
	MissingTrue   []int          `attr:"nodes_missing_value_tracks_true"`
	HitRates      *tensor.Tensor `attr:"nodes_hitrates"`
	Members       *tensor.Tensor `attr:"membership_values"`
	LeafTargets   []int          `attr:"leaf_targetids"`
	LeafWeights   *tensor.Tensor `attr:"leaf_weights"`

	once  sync.Once
	trees []treeNode // one per node, set once
	leafs []float64
	err   error
}

// treeNode is a decision: the condition holds or not, and each way leads to a node or, if negative, to leaf -1-index.
type treeNode struct {
	mode    treeMode
	feature int
	split   float64
	members map[float64]bool
	missing bool // NaN takes the true branch
	next    [2]int
}

type treeMode uint8

const (
	branchLE treeMode = iota
	branchLT
	branchGE
	branchGT
	branchEQ
	branchNE
	branchMember
)

var treeInputs = dtypes(tensor.Float16, tensor.Float32, tensor.Float64)

func (*TreeEnsemble) Kind() string { return "ai.onnx.ml.TreeEnsemble" }

func (o *TreeEnsemble) Infer(in []graph.Type) ([]graph.Type, error) {
	if err := want(in, 1, 1); err != nil {
		return nil, err
	}
	if err := treeInputs.check(0, in[0].DType); err != nil {
		return nil, err
	}
	if err := o.prepare(); err != nil {
		return nil, err
	}
	batch := graph.Unknown
	if in[0].Ranked {
		if len(in[0].Dims) != 2 {
			return nil, fmt.Errorf("input 0: want 2 dimensions, got %v", in[0])
		}
		batch = in[0].Dims[0]
	}
	return []graph.Type{graph.Ranked(in[0].DType, batch, graph.Known(o.Targets))}, nil
}

// prepare checks the attributes and builds the trees.
func (o *TreeEnsemble) prepare() error {
	o.once.Do(func() { o.err = o.build() })
	return o.err
}

func (o *TreeEnsemble) build() error {
	n := len(o.Features)
	if o.Modes == nil || o.Splits == nil || o.LeafWeights == nil {
		return fmt.Errorf("nodes_modes, nodes_splits and leaf_weights are required")
	}
	modes, err := intsOf(o.Modes)
	if err != nil {
		return fmt.Errorf("nodes_modes: %w", err)
	}
	splits, err := o.Splits.Float64s()
	if err != nil {
		return fmt.Errorf("nodes_splits: %w", err)
	}
	if o.leafs, err = o.LeafWeights.Float64s(); err != nil {
		return fmt.Errorf("leaf_weights: %w", err)
	}
	for name, got := range map[string]int{
		"nodes_modes": len(modes), "nodes_splits": len(splits), "nodes_truenodeids": len(o.True),
		"nodes_falsenodeids": len(o.False), "nodes_trueleafs": len(o.TrueLeaf), "nodes_falseleafs": len(o.FalseLeaf),
	} {
		if got != n {
			return fmt.Errorf("%s: want %d values, got %d", name, n, got)
		}
	}
	if o.MissingTrue != nil && len(o.MissingTrue) != n {
		return fmt.Errorf("nodes_missing_value_tracks_true: want %d values, got %d", n, len(o.MissingTrue))
	}
	if len(o.LeafTargets) != len(o.leafs) {
		return fmt.Errorf("leaf_targetids: want %d values, got %d", len(o.leafs), len(o.LeafTargets))
	}
	for _, t := range o.LeafTargets {
		if t < 0 || t >= o.Targets {
			return fmt.Errorf("leaf_targetids: %d is not among %d targets", t, o.Targets)
		}
	}
	if o.Aggregate < 0 || o.Aggregate > 3 {
		return fmt.Errorf("aggregate_function: unknown value %d", o.Aggregate)
	}
	if o.PostTransform < 0 || o.PostTransform > 4 {
		return fmt.Errorf("post_transform: unknown value %d", o.PostTransform)
	}
	var members []float64
	if o.Members != nil {
		if members, err = o.Members.Float64s(); err != nil {
			return fmt.Errorf("membership_values: %w", err)
		}
	}
	o.trees = make([]treeNode, n)
	for i := range o.trees {
		t := &o.trees[i]
		if modes[i] < 0 || modes[i] > int(branchMember) {
			return fmt.Errorf("nodes_modes: unknown value %d", modes[i])
		}
		*t = treeNode{mode: treeMode(modes[i]), feature: o.Features[i], split: splits[i], missing: o.MissingTrue != nil && o.MissingTrue[i] != 0}
		if t.feature < 0 {
			return fmt.Errorf("nodes_featureids: %d is negative", t.feature)
		}
		for k, b := range []struct{ to, leaf int }{{o.False[i], o.FalseLeaf[i]}, {o.True[i], o.TrueLeaf[i]}} {
			size := n
			if b.leaf != 0 {
				size = len(o.leafs)
			}
			if b.to < 0 || b.to >= size {
				return fmt.Errorf("node %d leads to %d of %d", i, b.to, size)
			}
			t.next[k] = b.to
			if b.leaf != 0 {
				t.next[k] = -1 - b.to
			}
		}
		if t.mode == branchMember {
			t.members = map[float64]bool{}
			end := 0
			for ; end < len(members) && members[end] == members[end]; end++ {
				t.members[members[end]] = true
			}
			if end == len(members) {
				return fmt.Errorf("membership_values: too few sets, each must end with NaN")
			}
			members = members[end+1:]
		}
	}
	return o.checkTrees()
}

// checkTrees finds roots out of range and nodes that are their own descendants.
func (o *TreeEnsemble) checkTrees() error {
	state := make([]uint8, len(o.trees)) // 1: on the path, 2: done
	for _, root := range o.Roots {
		if root < 0 || root >= len(o.trees) {
			return fmt.Errorf("tree_roots: %d is not among %d nodes", root, len(o.trees))
		}
		path := []int{root}
		for len(path) > 0 {
			at := path[len(path)-1]
			if state[at] != 0 {
				state[at] = 2
				path = path[:len(path)-1]
				continue
			}
			state[at] = 1
			for _, next := range o.trees[at].next {
				if next < 0 || state[next] == 2 {
					continue
				}
				if state[next] == 1 {
					return fmt.Errorf("node %d is its own descendant", next)
				}
				path = append(path, next)
			}
		}
	}
	return nil
}

func (t *treeNode) holds(v float64) bool {
	if v != v && t.missing {
		return true
	}
	switch t.mode {
	case branchLE:
		return v <= t.split
	case branchLT:
		return v < t.split
	case branchGE:
		return v >= t.split
	case branchGT:
		return v > t.split
	case branchEQ:
		return v == t.split
	case branchNE:
		return v != t.split
	}
	return t.members[v]
}

func (o *TreeEnsemble) Eval(e *graph.Env, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	in, err := args(in, 1, 1)
	if err != nil {
		return nil, err
	}
	x := in[0]
	if err := treeInputs.check(0, x.DType); err != nil {
		return nil, err
	}
	if err := o.prepare(); err != nil {
		return nil, err
	}
	if x.Rank() != 2 {
		return nil, fmt.Errorf("input 0: want shape [samples, features], got %v", x.Shape)
	}
	rows, features := x.Shape[0], x.Shape[1]
	for i := range o.trees {
		if o.trees[i].feature >= features {
			return nil, fmt.Errorf("node %d looks at feature %d of %d", i, o.trees[i].feature, features)
		}
	}
	values, err := x.Float64s()
	if err != nil {
		return nil, err
	}
	shape := tensor.Shape{rows, o.Targets}
	if err := checkSize(shape); err != nil {
		return nil, err
	}
	scores := make([]float64, shape.Len())
	e.For(rows, 64, func(lo, hi int) {
		seen := make([]bool, o.Targets)
		for r := lo; r < hi; r++ {
			row := scores[r*o.Targets : (r+1)*o.Targets]
			o.score(row, values[r*features:(r+1)*features], seen)
			postTransform(row, o.PostTransform)
		}
	})
	return one(castTensor(e, tensor.Of(shape, scores), x.DType, castMode{}))
}

// score adds up, or takes the least or greatest of, the leaves that a sample reaches.
func (o *TreeEnsemble) score(scores, sample []float64, seen []bool) {
	clear(seen)
	for _, at := range o.Roots {
		for at >= 0 {
			t := &o.trees[at]
			at = t.next[0]
			if t.holds(sample[t.feature]) {
				at = t.next[1]
			}
		}
		leaf := -1 - at
		target, w := o.LeafTargets[leaf], o.leafs[leaf]
		s := &scores[target]
		switch {
		case o.Aggregate == 0:
			*s += w / float64(len(o.Roots))
		case o.Aggregate == 1:
			*s += w
		case !seen[target]:
			*s = w
		case o.Aggregate == 2:
			*s = min(*s, w)
		default:
			*s = max(*s, w)
		}
		seen[target] = true
	}
}

func postTransform(row []float64, kind int) {
	switch kind {
	case 1, 3:
		top, sum := math.Inf(-1), 0.0
		for _, v := range row {
			top = max(top, v)
		}
		for i, v := range row {
			if kind == 1 || v != 0 {
				row[i] = math.Exp(v - top)
				sum += row[i]
			}
		}
		for i := range row {
			if sum > 0 {
				row[i] /= sum
			}
		}
	case 2:
		for i, v := range row {
			row[i] = logistic(v)
		}
	case 4:
		for i, v := range row {
			row[i] = math.Sqrt2 * math.Erfinv(2*v-1)
		}
	}
}
