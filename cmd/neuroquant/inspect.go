package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
	"github.com/neurotrain/neuroquant/tensor"
)

func (a *app) inspectCommand() *cobra.Command {
	var tensors, asGraph, plan bool
	var inputs []string
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
			if len(inputs) > 0 && !plan {
				return usagef("inspect: --input goes with --plan")
			}
			if plan {
				shapes, err := inputShapes(m, inputs)
				if err != nil {
					return err
				}
				return a.inspectPlan(cmd.Context(), m, shapes)
			}
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
	c.Flags().BoolVar(&plan, "plan", false, "print the nodes as they run on this machine, and the memory that a run takes")
	c.Flags().StringArrayVar(&inputs, "input", nil, "NAME=SIZExSIZE..., the shape of an input to plan for, once per input; by default as declared, one sample at a time")
	return c
}

// inputShapes reads NAME=2x3x224x224; the name may be left out where there is one input.
func inputShapes(m *neuroquant.Model, specs []string) (map[string][]int, error) {
	shapes := map[string][]int{}
	for _, spec := range specs {
		name, text, ok := cutLast(spec, "=")
		if !ok {
			infos := m.Inputs()
			if len(infos) != 1 {
				return nil, usagef("--input %q: want NAME=SHAPE; the model has %d inputs", spec, len(infos))
			}
			name, text = infos[0].Name, spec
		}
		if _, twice := shapes[name]; twice {
			return nil, usagef("--input %s: given twice", name)
		}
		shape := []int{}
		if text != "" {
			for word := range strings.SplitSeq(text, "x") {
				n, err := strconv.Atoi(word)
				if err != nil || n < 0 {
					return nil, usagef("--input %q: want sizes like 2x3x224x224, got %q", spec, text)
				}
				shape = append(shape, n)
			}
		}
		shapes[name] = shape
	}
	return shapes, nil
}

// cutLast cuts s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func (a *app) inspectPlan(ctx context.Context, m *neuroquant.Model, shapes map[string][]int) error {
	p, err := m.RunPlan(ctx, shapes)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(p)
	}
	a.printf("%s\n", p.Graph)
	for _, name := range slices.Sorted(maps.Keys(p.Inputs)) {
		a.printf("input %s: %v\n", name, tensor.Shape(p.Inputs[name]))
	}
	a.printf("weights %s; values during a run %s at most; %s stay reserved between runs\n", report.Bytes(p.WeightBytes), report.Bytes(int64(p.PeakBytes)), report.Bytes(int64(p.KeptBytes)))
	return nil
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
