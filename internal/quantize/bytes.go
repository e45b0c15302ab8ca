package quantize

import (
	"reflect"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// paramKey identifies what is stored once: the data of a parameter, whichever graphs have it.
func paramKey(v *graph.Value) any {
	if reflect.TypeOf(v.Data).Comparable() {
		return v.Data
	}
	return v
}

func paramBytes(v *graph.Value) int { return v.Data.DType().ByteLen(v.Data.Shape().Len()) }

// stored returns the bytes of all parameters of a graph and its subgraphs.
func stored(g *graph.Graph) map[any]int {
	out := map[any]int{}
	for _, s := range sites(g) {
		for _, v := range s.n.In {
			if s.g.IsParam(v) {
				out[paramKey(v)] = paramBytes(v)
			}
		}
		for _, v := range s.g.Outputs {
			if s.g.IsParam(v) {
				out[paramKey(v)] = paramBytes(v)
			}
		}
	}
	return out
}

// ledger divides the change of a graph's parameters among the layers that cause it.
type ledger struct {
	before, after map[any]int
	booked        map[any]bool
}

// settle sets Before and After of the decisions so that their sums are exactly what the parameters lose. A weight that several
// layers have is counted with the first. weights are those of the decisions (nil: not constant), reads the parameters that a
// layer's node had, made those that the layer's nodes have; before and after are what is stored, by [paramKey].
func settle(decisions []Decision, weights []*graph.Value, reads, made map[string][]*graph.Value, before, after map[any]int) {
	l := ledger{before, after, map[any]bool{}}
	seen := map[any]bool{}
	for i := range decisions {
		d := &decisions[i]
		d.Before, d.After = 0, 0
		if weights[i] == nil || seen[paramKey(weights[i])] {
			continue
		}
		k := paramKey(weights[i])
		seen[k] = true
		d.Before, d.After = before[k], after[k]
	}
	for i := 0; i < len(decisions); {
		last := i + 1
		for last < len(decisions) && decisions[last].Layer == decisions[i].Layer {
			last++
		}
		l.layer(decisions[i:last], seen, reads[decisions[i].Layer], made[decisions[i].Layer])
		i = last
	}
}

// layer books what one layer's rewriting brings, and the parameters besides weights that it makes superfluous.
func (l *ledger) layer(decisions []Decision, weights map[any]bool, reads, made []*graph.Value) {
	change := 0
	for _, v := range made {
		k := paramKey(v)
		if _, old := l.before[k]; !old && !l.booked[k] {
			l.booked[k] = true
			change += l.after[k]
		}
	}
	for _, v := range reads {
		k := paramKey(v)
		if _, stays := l.after[k]; !stays && !weights[k] && !l.booked[k] {
			l.booked[k] = true
			change -= l.before[k]
		}
	}
	for i := len(decisions) - 1; i > 0; i-- {
		n := max(0, min(change, tensor.Shape(decisions[i].Shape).Len())) // a code each
		decisions[i].After += n
		change -= n
	}
	decisions[0].After += change
}
