package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/tensor"
)

func (a *app) runCommand() *cobra.Command {
	var inputs []string
	var out string
	c := &cobra.Command{
		Use:   "run MODEL --input NAME=FILE.npy ... --out DIR",
		Short: "Run a model on numpy arrays and write each output as NAME.npy",
		Long: `Run a model on numpy arrays and write each output as NAME.npy. A model with one input takes --input FILE.npy as
well. Characters of an output's name that a file name cannot hold become "_".`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(inputs) == 0 {
				return usagef("run: --input is missing")
			}
			if out == "" {
				return usagef("run: --out is missing")
			}
			if err := neuroquant.CheckOutput(out, true); err != nil {
				return err
			}
			m, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			in := map[string]*tensor.Tensor{}
			for _, spec := range inputs {
				name, file, ok := strings.Cut(spec, "=")
				if !ok {
					if infos := m.Inputs(); len(infos) == 1 {
						name, file = infos[0].Name, spec
					} else {
						return usagef("--input %q: want NAME=FILE.npy; the model has %d inputs", spec, len(infos))
					}
				}
				if in[name] != nil {
					return usagef("--input %s: given twice", name)
				}
				if in[name], err = data.ReadNPYFile(file); err != nil {
					return fmt.Errorf("input %q: %w", name, err)
				}
			}
			res, err := m.Run(cmd.Context(), in)
			if err != nil {
				return err
			}
			list, err := writeOutputs(out, res)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"outputs": list})
			}
			var rows [][]string
			for _, w := range list {
				rows = append(rows, []string{w.Name, w.DType, fmt.Sprint(w.Shape), w.File})
			}
			a.table([]string{"output", "type", "shape", "file"}, rows)
			return nil
		},
	}
	c.Flags().StringArrayVar(&inputs, "input", nil, "NAME=FILE.npy, once per input")
	c.Flags().StringVar(&out, "out", "", "folder for the outputs")
	return c
}

// outputFile is an output as it was written.
type outputFile struct {
	Name  string `json:"name"`
	File  string `json:"file"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
}

// writeOutputs writes each output as an npy file to the folder out, all or none; other files there stay.
func writeOutputs(out string, res map[string]*tensor.Tensor) ([]outputFile, error) {
	list := make([]outputFile, 0, len(res))
	taken := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(res)) {
		file := fileName(name) + ".npy"
		if other, ok := taken[file]; ok {
			return nil, fmt.Errorf("outputs %q and %q would both be written to %s", other, name, file)
		}
		taken[file] = name
		list = append(list, outputFile{name, filepath.Join(out, file), res[name].DType.String(), append([]int{}, res[name].Shape...)})
	}
	return list, outfile.WriteFolder(out, true, func(dir string) error {
		for file, name := range taken {
			if err := data.WriteNPYFile(filepath.Join(dir, file), res[name]); err != nil {
				return fmt.Errorf("output %q: %w", name, err)
			}
		}
		return nil
	})
}

// fileName replaces what common file systems refuse in names.
func fileName(name string) string {
	out := strings.Map(func(r rune) rune {
		if r < 32 || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	if out == "" || out == "." || out == ".." {
		return "_"
	}
	return out
}
