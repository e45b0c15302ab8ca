package main

import (
	"cmp"
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
	var out, adapter string
	var profile bool
	var runs int
	c := &cobra.Command{
		Use:   "run MODEL --input NAME=FILE.npy ... [--out DIR] [--profile]",
		Short: "Run a model on numpy arrays and write each output as NAME.npy, or show where its time goes",
		Long: `Run a model on numpy arrays and write each output as NAME.npy. A model with one input takes --input FILE.npy as
well. Characters of an output's name that a file name cannot hold become "_".

With --profile the model runs several times and a table shows the time of each node, fused and ordered as it runs on this
machine; the outputs are then written only where --out says.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(inputs) == 0 {
				return usagef("run: --input is missing")
			}
			if out == "" && !profile {
				return usagef("run: --out is missing")
			}
			if runs < 1 {
				return usagef("run: --runs: want at least 1, got %d", runs)
			}
			if out != "" {
				if err := neuroquant.CheckOutput(out, true); err != nil {
					return err
				}
			}
			m, err := a.openAdapted(cmd.Context(), args[0], adapter)
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
			document := map[string]any{}
			var res map[string]*tensor.Tensor
			var times *neuroquant.Profile
			if profile {
				times, res, err = m.Profile(cmd.Context(), in, runs)
				document["profile"] = times
			} else {
				res, err = m.Run(cmd.Context(), in)
			}
			if err != nil {
				return err
			}
			var list []outputFile
			if out != "" {
				if list, err = writeOutputs(out, res); err != nil {
					return err
				}
				document["outputs"] = list
			}
			if a.json {
				return a.printJSON(document)
			}
			if times != nil {
				a.printProfile(times)
			}
			if out == "" {
				return nil
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
	c.Flags().StringVar(&adapter, "adapter", "", adapterHelp)
	c.Flags().StringVar(&out, "out", "", "folder for the outputs")
	c.Flags().BoolVar(&profile, "profile", false, "show the time of each node")
	c.Flags().IntVar(&runs, "runs", 10, "runs to profile, after one that is not counted")
	return c
}

// printProfile prints the time by operator, then by node.
func (a *app) printProfile(p *neuroquant.Profile) {
	a.printf("%.3f ms a run, over %d runs\n\n", p.RunMS, p.Runs)
	header := []string{"operator", "calls", "total ms", "ms a run", "share"}
	cells := func(t neuroquant.NodeTime) []string {
		return []string{fmt.Sprint(t.Calls), fmt.Sprintf("%.3f", t.TotalMS), fmt.Sprintf("%.3f", t.TotalMS/float64(p.Runs)), fmt.Sprintf("%.1f %%", 100*t.Share)}
	}
	byKind := map[string]neuroquant.NodeTime{}
	for _, t := range p.Nodes {
		k := byKind[t.Operator]
		k.Operator, k.Calls, k.TotalMS, k.Share = t.Operator, k.Calls+t.Calls, k.TotalMS+t.TotalMS, k.Share+t.Share
		byKind[t.Operator] = k
	}
	kinds := slices.SortedFunc(maps.Values(byKind), func(x, y neuroquant.NodeTime) int {
		return cmp.Or(cmp.Compare(y.TotalMS, x.TotalMS), strings.Compare(x.Operator, y.Operator))
	})
	var rows [][]string
	for _, t := range kinds {
		rows = append(rows, append([]string{t.Operator}, cells(t)...))
	}
	a.table(header, rows, 1, 2, 3, 4)
	a.printf("\n")
	rows = nil
	for _, t := range p.Nodes {
		rows = append(rows, append([]string{t.Node, t.Operator}, cells(t)...))
	}
	a.table(append([]string{"node"}, header...), rows, 2, 3, 4, 5)
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
