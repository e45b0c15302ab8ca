package calibrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Identity names a model by content.
type Identity struct {
	File       string            `json:"file"`       // its name when it was read; says nothing
	Graph      string            `json:"graph"`      // hash of the nodes, their attributes and the types
	Parameters map[string]string `json:"parameters"` // hashes by name
}

// Identify hashes a graph and its parameters, those of subgraphs included.
func Identify(ctx context.Context, file string, g *graph.Graph) (Identity, error) {
	id := Identity{File: file, Graph: digest([]byte(g.String())), Parameters: map[string]string{}}
	var params []*graph.Value
	var walk func(g *graph.Graph)
	walk = func(g *graph.Graph) {
		params = append(params, g.Params()...)
		for _, n := range g.Nodes {
			if b, ok := n.Op.(graph.Body); ok {
				for _, sub := range b.Bodies() {
					walk(sub)
				}
			}
		}
	}
	walk(g)
	task := progress.From(ctx).Start("identify model", int64(len(params)), "parameters")
	defer task.Done()
	for _, v := range params {
		if err := ctx.Err(); err != nil {
			return id, err
		}
		t, err := v.Data.Load()
		if err != nil {
			return id, fmt.Errorf("parameter %q: %w", v.Name, err)
		}
		text := fmt.Sprintf("%v %v\n%s", t.DType, t.Shape, strings.Join(t.Text(), "\x00"))
		h := digest([]byte(text), t.Bytes())
		tensor.Release(v.Data)
		if old, ok := id.Parameters[v.Name]; ok { // subgraphs may use a name again
			h = digest([]byte(old), []byte(h))
		}
		id.Parameters[v.Name] = h
		task.Add(1)
	}
	return id, nil
}

// digest returns the first 64 bits of a hash.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// differs says in what a model differs from o, nil if in nothing.
func (id Identity) differs(o Identity) error {
	var what []string
	list := func(names []string, text string) {
		if n := len(names); n > 3 {
			names = append(names[:3:3], fmt.Sprintf("%d more", n-3))
		}
		if len(names) > 0 {
			what = append(what, text+" "+strings.Join(names, ", "))
		}
	}
	var changed, missing, extra []string
	for _, name := range slices.Sorted(maps.Keys(id.Parameters)) {
		switch h, ok := o.Parameters[name]; {
		case !ok:
			missing = append(missing, name)
		case h != id.Parameters[name]:
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		if _, ok := id.Parameters[name]; !ok {
			extra = append(extra, name)
		}
	}
	list(missing, "without parameters")
	list(extra, "with parameters")
	list(changed, "with other values of parameters")
	if what == nil && id.Graph != o.Graph {
		what = append(what, "with other nodes or types")
	}
	if what == nil {
		return nil
	}
	return errors.New(strings.Join(what, ", "))
}
