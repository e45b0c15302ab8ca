package main

import (
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) checkCommand() *cobra.Command {
	var method string
	c := &cobra.Command{
		Use:   "check",
		Short: "Show what this machine offers: instruction sets, kernels, memory, optional runtimes",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			d, err := neuroquant.CheckDependencies(method)
			if err != nil {
				return &usageError{err}
			}
			if a.json {
				return a.printJSON(d)
			}
			m := d.Machine
			a.printf("CPU        %s, %d cores, %d threads used\n", m.CPU, m.Cores, m.Threads)
			a.printf("features   %s\n", orDash(strings.Join(m.Features, " ")))
			a.printf("kernels    %s\n", m.ISA)
			a.printf("memory     %s, %s available\n", report.Bytes(m.MemoryBytes), report.Bytes(m.MemoryFree))
			a.printf("method     %s: %s\n\n", d.Method, map[bool]string{true: "available, nothing to install", false: "not in this version"}[d.Available])
			best := map[string][]string{}
			for _, k := range d.Kernels {
				name := k.ISA
				if k.Used {
					name += " *"
				} else if !k.CPUHas {
					name = "(" + name + ")"
				}
				best[k.Kernel] = append(best[k.Kernel], name)
			}
			names := make([]string, 0, len(best))
			for k := range best {
				names = append(names, k)
			}
			sort.Strings(names)
			var rows [][]string
			for _, k := range names {
				rows = append(rows, []string{k, strings.Join(best[k], "  ")})
			}
			if len(rows) > 0 {
				a.table([]string{"kernel", "implementations (* switched on; in brackets: not on this CPU)"}, rows)
				a.printf("\n")
			}
			for _, r := range d.Runtimes {
				where := "not found"
				if r.Found {
					where = r.Path
				}
				a.printf("optional   %s: %s (%s)\n", r.Name, where, r.For)
			}
			for _, n := range d.Notes {
				a.printf("note       %s\n", n)
			}
			return nil
		},
	}
	c.Flags().StringVar(&method, "method", "dynamic", "the method to check for")
	complete(c, "method", neuroquant.MethodNames(false)...)
	return c
}

func (a *app) recommendCommand() *cobra.Command {
	var use, kind string
	c := &cobra.Command{
		Use:   "recommend [MODEL]",
		Short: "Recommend a method for a model, or for a type of model",
		Example: `  neuroquant recommend model.onnx
  neuroquant recommend --type llm --use fine_tuning`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r *neuroquant.Recommendation
			var err error
			switch {
			case len(args) == 1 && kind != "":
				return usagef("recommend: give a MODEL or --type, not both")
			case len(args) == 1:
				r, err = neuroquant.RecommendFor(cmd.Context(), args[0], use)
			case kind == "":
				return usagef("recommend: give a MODEL, or --type with one of transformer, cnn, llm, custom")
			default:
				if r, err = neuroquant.Recommend(kind, use); err != nil {
					return &usageError{err}
				}
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			for _, t := range r.Traits {
				a.printf("%s\n", t)
			}
			a.printf("%s for %s: %s\n%s\n", r.ModelType, strings.ReplaceAll(r.UseCase, "_", " "), r.Method, r.Why)
			if !r.Available {
				a.printf("%s is not in this version", r.Method)
				if r.Instead != "" {
					a.printf("; %s is", r.Instead)
				}
				a.printf("\n")
			}
			name := r.Method
			if !r.Available {
				name = r.Instead
			}
			if len(args) == 1 && name != "" {
				samples := ""
				if needsData(name) {
					samples = " --data SAMPLES"
				}
				a.printf("\nNext: neuroquant quantize %s out/ --method %s%s\n", args[0], name, samples)
			}
			return nil
		},
	}
	c.Flags().StringVar(&use, "use", "inference", "inference, training or fine_tuning")
	c.Flags().StringVar(&kind, "type", "", "transformer, cnn, llm or custom, instead of looking at a model")
	complete(c, "use", "inference", "training", "fine_tuning")
	complete(c, "type", "transformer", "cnn", "llm", "custom")
	return c
}
