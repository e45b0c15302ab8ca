// Command gradients computes gradients of operators on given inputs, for interop/check_gradients.py, which compares them with PyTorch's. The folder
// that it is given holds cases.json and the arrays that this names; gradients are written beside them.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/kernel"
	"github.com/neurotrain/neuroquant/internal/op"
	"github.com/neurotrain/neuroquant/tensor"
)

// gradientCase is an operator on inputs, "" for one that is omitted, with the gradient of its first output.
type gradientCase struct {
	Name   string         `json:"name"`
	Kind   string         `json:"kind"`
	Attrs  map[string]any `json:"attrs"`
	Inputs []string       `json:"inputs"`
	Grad   string         `json:"grad"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gradients FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "gradients:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		return err
	}
	var cases []gradientCase
	if err := json.Unmarshal(text, &cases); err != nil {
		return err
	}
	for _, c := range cases {
		if err := c.run(dir); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

func (c *gradientCase) run(dir string) error {
	o, ok := op.New(c.Kind)
	if !ok {
		return fmt.Errorf("there is no operator %s", c.Kind)
	}
	if err := op.SetAttrs(o, attrsOf(c.Attrs)); err != nil {
		return err
	}
	if n, ok := o.(*op.BatchNormalization); ok {
		n.Saved = n.TrainingMode
	}
	d, ok := o.(graph.Differentiable)
	if !ok {
		return fmt.Errorf("%s has no gradient", c.Kind)
	}
	in := make([]*tensor.Tensor, len(c.Inputs))
	var err error
	for i, name := range c.Inputs {
		if name == "" {
			continue
		}
		if in[i], err = data.ReadNPYFile(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	grad, err := data.ReadNPYFile(filepath.Join(dir, c.Grad))
	if err != nil {
		return err
	}
	e := &graph.Env{Pool: kernel.Shared()}
	out, err := o.Eval(e, in)
	if err != nil {
		return err
	}
	dOut := make([]*tensor.Tensor, len(out))
	dOut[0] = grad
	dIn, err := d.Backward(e, in, out, dOut)
	if err != nil {
		return err
	}
	for i, t := range dIn {
		if t == nil || in[i] == nil || !in[i].DType.IsFloat() {
			continue
		}
		if err := data.WriteNPYFile(filepath.Join(dir, fmt.Sprintf("%s.grad%d.npy", c.Name, i)), t); err != nil {
			return err
		}
	}
	return nil
}

// attrsOf brings attributes from JSON to the types that operators take: whole numbers, lists of them, real numbers ("r:0.5") and words.
func attrsOf(from map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range from {
		switch v := v.(type) {
		case float64:
			out[name] = int64(v)
		case []any:
			var list []int64
			for _, x := range v {
				if n, ok := x.(float64); ok {
					list = append(list, int64(n))
				}
			}
			out[name] = list
		case string:
			var f float32
			if _, err := fmt.Sscanf(v, "r:%g", &f); err == nil {
				out[name] = f
			} else {
				out[name] = v
			}
		}
	}
	return out
}
