package neuroquant

import (
	"context"
	"errors"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/format/gguf"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/tensor"
)

// Windows of text that importance is computed on.
const (
	importanceTokens  = 512
	importanceWindows = 128
)

// importanceOf runs a language model on a text and returns the squares of what its matrices are multiplied by, head and embedding left
// out as llama.cpp leaves them out.
func importanceOf(ctx context.Context, m *model.Model, path string) (map[string]gguf.Squares, error) {
	t, err := m.OpenTokenizer()
	if err != nil {
		return nil, err
	}
	ids, err := fileIDs(t, path, importanceTokens*importanceWindows, true)
	if err != nil {
		return nil, err
	}
	sums := map[string][]float64{}
	counts := map[string]int{}
	tap := func(n *graph.Node, in, _ []*tensor.Tensor) {
		if n.Op.Kind() != "com.microsoft.FusedMatMul" && n.Op.Kind() != "MatMul" || len(n.In) < 2 || n.In[1].Data == nil || in[0].DType != tensor.Float32 {
			return
		}
		name := n.In[1].Name
		x := tensor.Data[float32](in[0])
		cols := in[0].Shape[len(in[0].Shape)-1]
		s := sums[name]
		if s == nil {
			s = make([]float64, cols)
			sums[name] = s
		}
		if len(s) != cols {
			return
		}
		for r := 0; r+cols <= len(x); r += cols {
			for c, v := range x[r : r+cols] {
				s[c] += float64(v) * float64(v)
			}
		}
		counts[name] += len(x) / max(cols, 1)
	}
	session, err := exec.NewSession(m.Graph, exec.Options{Tap: tap})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	windows := min((len(ids)+importanceTokens-1)/importanceTokens, importanceWindows)
	task := progress.From(ctx).Start("importance", int64(windows), "windows")
	defer task.Done()
	for w := range windows {
		part := ids[w*importanceTokens : min((w+1)*importanceTokens, len(ids))]
		if _, err := session.Run(ctx, []*tensor.Tensor{tensor.Of(tensor.Shape{1, len(part)}, part)}); err != nil {
			return nil, err
		}
		task.Add(1)
	}
	out := map[string]gguf.Squares{}
	for name, s := range sums {
		if gguf.IsHead(m, name) {
			continue
		}
		f := make([]float32, len(s))
		for i, v := range s {
			f[i] = float32(v)
		}
		out[name] = gguf.Squares{Sums: f, Tokens: counts[name]}
	}
	if len(out) == 0 {
		return nil, errors.New("the model has no matrices that importance can be computed of")
	}
	return out, nil
}
