package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) inspectCommand() *cobra.Command {
	var tensors, asGraph bool
	c := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show inputs, outputs, operators and parameters of a model",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			info := m.Inspect()
			if a.json {
				return a.printJSON(info)
			}
			if asGraph {
				a.printf("%s", m.GraphText())
				return nil
			}
			a.printf("%s\n%s, made by %s\n\n", args[0], info.Format, orDash(strings.TrimSpace(info.Producer)))
			var rows [][]string
			for _, v := range info.Inputs {
				rows = append(rows, []string{"input", v.Name, v.DType, shapeText(v)})
			}
			for _, v := range info.Outputs {
				rows = append(rows, []string{"output", v.Name, v.DType, shapeText(v)})
			}
			a.table([]string{"", "name", "type", "shape"}, rows)
			a.printf("\n%d parameters in %d tensors, %s in memory, %s on disk\n", info.Parameters, len(info.Tensors), report.Bytes(info.Size.MemoryBytes), report.Bytes(info.Size.DiskBytes))
			rows = nil
			for _, t := range info.Size.ByType {
				rows = append(rows, []string{t.DType, fmt.Sprint(t.Parameters), report.Bytes(t.Bytes)})
			}
			a.table([]string{"type", "values", "bytes"}, rows, 1, 2)
			kinds := make([]string, 0, len(info.Operators))
			for k := range info.Operators {
				kinds = append(kinds, k)
			}
			sort.Slice(kinds, func(i, j int) bool {
				x, y := info.Operators[kinds[i]], info.Operators[kinds[j]]
				return x > y || x == y && kinds[i] < kinds[j]
			})
			a.printf("\n")
			rows = nil
			for _, k := range kinds {
				rows = append(rows, []string{k, fmt.Sprint(info.Operators[k])})
			}
			a.table([]string{"operator", "nodes"}, rows, 1)
			if tensors {
				a.printf("\n")
				rows = nil
				for _, t := range info.Tensors {
					rows = append(rows, []string{t.Name, t.DType, fmt.Sprint(t.Shape), report.Bytes(t.Bytes)})
				}
				a.table([]string{"tensor", "type", "shape", "bytes"}, rows, 3)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&tensors, "tensors", false, "list every parameter tensor")
	c.Flags().BoolVar(&asGraph, "graph", false, "print the graph as text, one line per node")
	return c
}

func shapeText(v neuroquant.ValueInfo) string {
	if v.Shape == nil {
		return "any"
	}
	parts := make([]string, len(v.Shape))
	for i, d := range v.Shape {
		if d == nil {
			parts[i] = "?"
		} else {
			parts[i] = fmt.Sprint(d)
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}
