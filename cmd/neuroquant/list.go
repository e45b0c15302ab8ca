package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
)

func (a *app) listCommand() *cobra.Command {
	var operators, markdown bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the methods, what they store weights in, and which this version has; or the operators",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if markdown && !operators {
				return usagef("list: --markdown goes with --operators")
			}
			if operators {
				return a.listOperators(markdown)
			}
			methods := neuroquant.Methods()
			if a.json {
				return a.printJSON(map[string]any{"methods": methods})
			}
			var rows [][]string
			for _, m := range methods {
				have := "no"
				if m.Available {
					have = "yes"
				}
				rows = append(rows, []string{m.Name, have, orDash(strings.Join(m.DTypes, ", ")), m.Title})
			}
			a.table([]string{"method", "available", "dtypes", "what it does"}, rows)
			return nil
		},
	}
	c.Flags().BoolVar(&operators, "operators", false, "list the operators that are computed here, with what methods do with them")
	c.Flags().BoolVar(&markdown, "markdown", false, "with --operators: as the page docs/operators.md")
	return c
}

// listOperators prints what becomes of the operators of each kind.
func (a *app) listOperators(markdown bool) error {
	all := neuroquant.Operators()
	if a.json {
		return a.printJSON(map[string]any{"operators": all, "onnx_runtime": neuroquant.RuntimeVersion()})
	}
	header := []string{"operator", "static, qat", "dynamic", "gradient", "ONNX Runtime"}
	yes := map[bool]string{true: "yes", false: "-"}
	var rows [][]string
	for _, o := range all {
		name := o.Name
		if o.Domain != "" {
			name = o.Domain + "." + name
		}
		rows = append(rows, []string{name, orDash(o.Static), yes[o.Dynamic], yes[o.Gradient], yes[o.Runtime]})
	}
	about := fmt.Sprintf("%d operators are computed here. ONNX Runtime is %s, on a CPU.", len(all), neuroquant.RuntimeVersion())
	if !markdown {
		a.table(header, rows)
		a.printf("%s\n", about)
		return nil
	}
	a.printf(`# Operators

<!-- neuroquant list --operators --markdown writes this page. -->

%s Older spellings, such as Upsample, become these when a file
is read. *static, qat* says how those methods compute an operator where its inputs and attributes allow codes: the plan says it of each
node (`+"`quantize --dry-run --print-placement`"+`, [more](static.md)); - is in float. *dynamic*: its weights are quantized. *gradient*: it can be trained through.

`, about)
	for _, row := range append([][]string{header, {"---", "---", "---", "---", "---"}}, rows...) {
		a.printf("| %s |\n", strings.Join(row, " | "))
	}
	return nil
}
