package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant/internal/config"
)

// usageError is a mistake in the command line or in a configuration file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, a ...any) error { return &usageError{fmt.Errorf(format, a...)} }

// configError is the usage error for what a configuration file says; one that cannot be read is a failure.
func configError(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return err
	}
	return &usageError{err}
}

// checkArgs makes mistakes in the words of a command line usage errors: wrong numbers of arguments say what the command takes,
// and words that are no command say which there are.
func checkArgs(c *cobra.Command) {
	if subs := c.Commands(); len(subs) > 0 {
		group(c)
		for _, sub := range subs {
			checkArgs(sub)
		}
		return
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				what := strings.ReplaceAll(err.Error(), "arg(s)", "arguments")
				if strings.HasPrefix(what, "unknown command") { // how cobra words it where none is taken
					what = fmt.Sprintf("accepts no arguments, received %q", args)
				}
				return usagef("%s: %s; usage: %s", cmd.Name(), what, cmd.UseLine())
			}
			return nil
		}
	}
}

// group makes a command that only holds others show what they are.
func group(c *cobra.Command) {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		if asked, _ := cmd.Flags().GetBool("json"); asked {
			return usagef("%s: name a command: %s", cmd.CommandPath(), strings.Join(commandNames(cmd), ", "))
		}
		return cmd.Help()
	}
}

func unknownCommand(c *cobra.Command, word string) error {
	names := commandNames(c)
	return usagef("unknown command %q for %s%s; the commands are %s", word, c.CommandPath(), config.Suggest(word, names), strings.Join(names, ", "))
}

func commandNames(c *cobra.Command) []string {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			names = append(names, sub.Name())
		}
	}
	return names
}

// flagError words what cobra found wrong with flags. A flag of a command that does not exist is not the mistake to report.
func flagError(c *cobra.Command, err error) error {
	if args := c.Flags().Args(); c.HasSubCommands() && len(args) > 0 {
		return unknownCommand(c, args[0])
	}
	return &usageError{err}
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show how a command is used",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(target, args[len(args)-max(len(rest), 1)])
			}
			return target.Help()
		},
	}
}

// jsonAsked reports whether the command line asks for JSON, for errors that are found before the flag is parsed.
func jsonAsked(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

// complete makes shells offer the values of a flag.
func complete(c *cobra.Command, flag string, values ...string) {
	err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag exists
	}
}
