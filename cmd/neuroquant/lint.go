package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
)

func (a *app) lintCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lint FOLDER",
		Short: "Look for what loaders trip over in a quantized Hugging Face folder",
		Args:  cobra.ExactArgs(1),
		Long: `Look for what loaders trip over in a quantized Hugging Face folder: fields of its configuration that transformers, gptqmodel,
compressed-tensors or vLLM refuse, zero points of another version of GPTQ than the configuration says, columns of groups that there are not,
scales that are not finite, layers that are floats without being named, and tensors that are missing or have other shapes.

The exit status is 1 if there is an error; remarks are not errors.`,
		Example: `  neuroquant lint ./llama-gptq`,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := neuroquant.Lint(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			errors := 0
			var rows [][]string
			for _, f := range list {
				kind := "remark"
				if f.Error {
					kind = "error"
					errors++
				}
				rows = append(rows, []string{kind, f.Where, f.Loader, f.What})
			}
			if a.json {
				if err := a.printJSON(map[string]any{"findings": append([]neuroquant.Finding{}, list...)}); err != nil {
					return err
				}
			} else {
				if len(rows) > 0 {
					a.table([]string{"", "where", "loader", "what"}, rows)
				}
				a.printf("%d errors, %d remarks\n", errors, len(list)-errors)
			}
			if errors > 0 {
				return fmt.Errorf("lint: %s: %d errors", args[0], errors)
			}
			return nil
		},
	}
}
