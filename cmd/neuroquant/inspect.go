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
	var tensors, asGraph, plan, placement bool
	var inputs []string
	c := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Show inputs, outputs, operators and parameters of a model",
		Args:  cobra.ExactArgs(1),
		Long: `Show inputs, outputs, operators and parameters of a model. Of a PyTorch file also what it holds: tensors by their names in the
file, the classes of its modules, and the names that are not known, of which nothing was run. A file whose weights have no known graph is
shown all the same, with the reason.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(inputs) > 0 && !plan {
				return usagef("inspect: --input goes with --plan")
			}
			if placement {
				return a.inspectPlacement(cmd.Context(), args[0])
			}
			if !plan && !asGraph {
				info, err := neuroquant.Inspect(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return a.inspection(args[0], info, tensors)
			}
			m, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			if plan {
				shapes, err := inputShapes(m, inputs)
				if err != nil {
					return err
				}
				return a.inspectPlan(cmd.Context(), m, shapes)
			}
			if a.json {
				return a.printJSON(m.Inspect())
			}
			a.printf("%s", m.GraphText())
			return nil
		},
	}
	c.Flags().BoolVar(&tensors, "tensors", false, "list every tensor, and every module of a PyTorch file")
	c.Flags().BoolVar(&asGraph, "graph", false, "print the graph as text, one line per node")
	c.Flags().BoolVar(&plan, "plan", false, "print the nodes as they run on this machine, and the memory that a run takes")
	c.Flags().BoolVar(&placement, "placement", false, "print where codes are in a folder that 'quantize --method static' or 'train' wrote: a line for each node, made to be compared with 'diff'")
	c.Flags().StringArrayVar(&inputs, "input", nil, "NAME=SIZExSIZE..., the shape of an input to plan for, once per input; by default as declared, one sample at a time")
	return c
}

// inspectPlacement prints where codes are, from the record of a folder.
func (a *app) inspectPlacement(ctx context.Context, dir string) error {
	m, rec, err := neuroquant.NewManager(neuroquant.DefaultConfig()).Load(ctx, dir)
	if err != nil {
		return err
	}
	defer m.Close()
	if a.json {
		return a.printJSON(map[string]any{"placement": rec.Placement})
	}
	a.placement(rec.Placement)
	return nil
}

// shownRows is how many rows of a long table are shown where not all are asked for.
const shownRows = 40

// inspection prints a description; all: every tensor and module.
func (a *app) inspection(path string, info *neuroquant.Inspection, all bool) error {
	if a.json {
		return a.printJSON(info)
	}
	a.printf("%s\n%s, made by %s\n\n", path, info.Format, orDash(strings.TrimSpace(info.Producer)))
	if info.NoGraph != "" {
		a.printf("no graph: %s\n", info.NoGraph)
	} else {
		var rows [][]string
		for _, v := range info.Inputs {
			rows = append(rows, []string{"input", v.Name, v.DType, shapeText(v)})
		}
		for _, v := range info.Outputs {
			rows = append(rows, []string{"output", v.Name, v.DType, shapeText(v)})
		}
		a.table([]string{"", "name", "type", "shape"}, rows)
	}
	a.printf("\n%d parameters in %d tensors, %s in memory, %s on disk\n", info.Parameters, len(info.Tensors), report.Bytes(info.Size.MemoryBytes), report.Bytes(info.Size.DiskBytes))
	var rows [][]string
	for _, t := range info.Size.ByType {
		rows = append(rows, []string{t.DType, fmt.Sprint(t.Parameters), report.Bytes(t.Bytes)})
	}
	a.table([]string{"type", "values", "bytes"}, rows, 1, 2)
	a.operators(info.Operators)
	if info.Runtime != nil {
		a.printf("\n%s\n", runtimeText(info.Runtime))
	}
	if c := info.Contents; c != nil {
		a.contents(c, info.NoGraph != "", all)
		return nil
	}
	if all {
		a.printf("\n")
		rows = nil
		for _, t := range info.Tensors {
			rows = append(rows, []string{t.Name, t.DType, fmt.Sprint(t.Shape), report.Bytes(t.Bytes)})
		}
		a.table([]string{"tensor", "type", "shape", "bytes"}, rows, 3)
	}
	return nil
}

// operators prints how often each occurs, the most frequent first.
func (a *app) operators(count map[string]int) {
	if len(count) == 0 {
		return
	}
	kinds := slices.Sorted(maps.Keys(count))
	sort.SliceStable(kinds, func(i, j int) bool { return count[kinds[i]] > count[kinds[j]] })
	a.printf("\n")
	var rows [][]string
	for _, k := range kinds {
		rows = append(rows, []string{k, fmt.Sprint(count[k])})
	}
	a.table([]string{"operator", "nodes"}, rows, 1)
}

// contents prints what a file holds; tensors are listed where there is no graph, or where all is asked for.
func (a *app) contents(c *neuroquant.Contents, tensors, all bool) {
	a.printf("\nthe file: %s, %s%s%s\n", c.Kind, c.Container, map[bool]string{true: ", big-endian"}[c.BigEndian], where(c))
	if c.Modules != nil {
		var rows [][]string
		modules(&rows, *c.Modules, 0)
		a.shortTable([]string{"module", "class", "values"}, rows, all, 2)
	}
	if tensors || all {
		a.printf("\n")
		var rows [][]string
		for _, t := range c.Tensors {
			rows = append(rows, []string{t.Name, t.DType, fmt.Sprint(t.Shape), report.Bytes(t.Bytes), t.Note})
		}
		a.shortTable([]string{"tensor", "type", "shape", "bytes", ""}, rows, all, 3)
	}
	if len(c.Other) > 0 {
		a.printf("\n")
		var rows [][]string
		for _, v := range c.Other {
			rows = append(rows, []string{v.Name, v.Value})
		}
		a.shortTable([]string{"other", "value"}, rows, all)
	}
	if len(c.Refused) > 0 {
		a.printf("\nnames that are not known; nothing of them was run, what they stand for is plain data:\n")
		var rows [][]string
		for _, r := range c.Refused {
			rows = append(rows, []string{r.Name, r.How, fmt.Sprint(r.Count)})
		}
		a.shortTable([]string{"name", "", "times"}, rows, all, 2)
	}
}

// where says where in a file the weights are.
func where(c *neuroquant.Contents) string {
	s := ""
	if c.Where != "" {
		s += fmt.Sprintf(", weights under %q", c.Where)
	}
	if c.Prefix != "" {
		s += fmt.Sprintf(", names begin with %q", c.Prefix)
	}
	return s
}

// modules appends the rows of a tree.
func modules(rows *[][]string, m neuroquant.ContentModule, depth int) {
	name := m.Name
	if depth == 0 {
		name = "(root)"
	}
	class := m.Class
	if m.Unknown {
		class += " (not known)"
	}
	*rows = append(*rows, []string{strings.Repeat("  ", depth) + name, class, fmt.Sprint(m.Parameters)})
	for _, c := range m.Modules {
		modules(rows, c, depth+1)
	}
}

// shortTable is a table of which the first rows are shown, or all.
func (a *app) shortTable(header []string, rows [][]string, all bool, right ...int) {
	left := len(rows) - shownRows
	if !all && left > 0 {
		rows = rows[:shownRows]
	}
	a.table(header, rows, right...)
	if !all && left > 0 {
		a.printf("and %d more; --tensors shows all\n", left)
	}
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

// runtimeText says whether ONNX Runtime runs a model.
func runtimeText(s *neuroquant.RuntimeSupport) string {
	switch {
	case s.Why != "":
		return "no ONNX file can be made of it: " + s.Why
	case len(s.Missing) == 0:
		return fmt.Sprintf("ONNX Runtime %s has kernels for all of it on a CPU", s.Version)
	}
	lines := []string{fmt.Sprintf("ONNX Runtime %s cannot run it on a CPU:", s.Version)}
	for i, m := range s.Missing {
		if i == 10 {
			lines = append(lines, fmt.Sprintf("  and %d more", len(s.Missing)-i))
			break
		}
		lines = append(lines, "  "+m.String())
	}
	return strings.Join(lines, "\n")
}
