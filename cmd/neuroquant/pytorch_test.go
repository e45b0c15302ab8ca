package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/torchtest"
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
				writePT(ts, args[1], torchtest.Dict("epoch", 3, "model", torchtest.Module(args[0], "_modules", torchtest.Dict("fc", torchtest.Linear()))))
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
