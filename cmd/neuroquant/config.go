package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Write, check and describe configuration files"}
	var method string
	var force bool
	initialize := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a configuration file with every setting, its default and what it means",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := neuroquant.ExampleConfig(method)
			if err != nil {
				return &usageError{err}
			}
			if len(args) == 0 {
				if a.json {
					return a.printJSON(map[string]string{"yaml": string(text)})
				}
				a.printf("%s", text)
				return nil
			}
			if _, err := os.Stat(args[0]); err == nil && !force {
				return fmt.Errorf("%s: the file exists; pass --force to replace it", args[0])
			}
			var set outfile.Set
			defer set.Abort()
			f, err := set.Create(args[0])
			if err != nil {
				return err
			}
			if _, err := f.Write(text); err != nil {
				return err
			}
			if err := set.Commit(); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"file": args[0]})
			}
			a.printf("wrote %s\n", args[0])
			return nil
		},
	}
	initialize.Flags().StringVar(&method, "method", "dynamic", "the method to configure")
	initialize.Flags().BoolVar(&force, "force", false, "replace FILE")
	complete(initialize, "method", neuroquant.MethodNames(true)...)
	validate := &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a configuration file and report every mistake with line and column",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := neuroquant.LoadConfig(args[0])
			if err != nil {
				return configError(err)
			}
			if a.json {
				return a.printJSON(map[string]any{"valid": true, "settings": c})
			}
			a.printf("%s: valid (method %s, dtype %s)\n", args[0], c.Method, c.DType)
			return nil
		},
	}
	schema := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of configuration files, for editors",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := neuroquant.ConfigSchema()
			if err != nil {
				return err
			}
			a.closeReporter()
			_, err = a.stdout.Write(append(text, '\n'))
			return err
		},
	}
	c.AddCommand(initialize, validate, schema)
	return c
}
