package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the methods, what they store weights in, and which this version has",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
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
}
