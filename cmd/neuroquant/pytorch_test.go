package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// PyTorch files: a module of any class that holds a linear layer, state dicts, and a file that would run code.
func TestPyTorchScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/pytorch",
		RequireExplicitExec: true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": scriptCode, "json": scriptJSON,
			// module CLASS FILE: a checkpoint of training with a whole module of that class, which holds a linear layer fc
			"module": func(ts *testscript.TestScript, _ bool, args []string) {
				g := checkpoint.OrderedDict()
				set(g, "epoch", 3)
				set(g, "model", module(args[0], "_modules", dict("fc", linear())))
				writePT(ts, args[1], g)
			},
			// hostile FILE: a pickle that runs a command in Python
			"hostile": func(ts *testscript.TestScript, _ bool, args []string) {
				writePT(ts, args[0], &pickle.Object{Class: pickle.Global{Module: "os", Name: "system"}, Called: true, Args: []any{"touch ran"}})
			},
			"zeros": scriptZeros,
		},
	})
}

func writePT(ts *testscript.TestScript, path string, v any) {
	f, err := os.Create(ts.MkAbs(path))
	ts.Check(err)
	ts.Check(checkpoint.Write(context.Background(), f, "archive", v))
	ts.Check(f.Close())
}

func set(d *pickle.Dict, key string, v any) {
	if err := d.Set(key, v); err != nil {
		panic(err)
	}
}

func dict(pairs ...any) *pickle.Dict {
	d := checkpoint.OrderedDict()
	for i := 0; i < len(pairs); i += 2 {
		set(d, pairs[i].(string), pairs[i+1])
	}
	return d
}

// module is a module of a class as PyTorch pickles it, with attributes.
func module(class string, attrs ...any) *pickle.Object {
	i := len(class) - 1
	for class[i] != '.' {
		i--
	}
	state := new(pickle.Dict)
	set(state, "training", false)
	for _, name := range []string{"_parameters", "_buffers", "_modules"} {
		set(state, name, dict())
	}
	for i := 0; i < len(attrs); i += 2 {
		set(state, attrs[i].(string), attrs[i+1])
	}
	return &pickle.Object{Class: pickle.Global{Module: class[:i], Name: class[i+1:]}, State: state}
}

func linear() *pickle.Object {
	parameter := func(t *tensor.Tensor) any {
		return &pickle.Object{Class: pickle.Global{Module: "torch._utils", Name: "_rebuild_parameter"}, Called: true, Args: []any{tensor.InMemory(t), true, checkpoint.OrderedDict()}}
	}
	return module("torch.nn.modules.linear.Linear", "in_features", 4, "out_features", 3, "_parameters", dict(
		"weight", parameter(tensor.Of(tensor.Shape{3, 4}, []float32{1, 2, 3, 4, -1, -2, -3, -4, 0.5, 0, 0.25, 0.125})), "bias", parameter(tensor.Vector[float32](1, 2, 3))))
}
