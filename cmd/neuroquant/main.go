// Command neuroquant quantizes neural networks, measures what that cost and gained, and writes files that other runtimes load.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells report a program ended by Ctrl-C
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with everything that tests replace. The first interrupt cancels the work, which then leaves nothing
// half-written; a second one ends the program at once.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	a := &app{stdout: stdout, stderr: stderr}
	root := a.command()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	a.closeReporter()
	if err == nil {
		return exitDone
	}
	code := exitFailed
	var usage *usageError
	switch {
	case errors.As(err, &usage) || a.cobraUsage:
		code = exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		code = exitInterrupted
		err = errors.New("interrupted; nothing was written")
	}
	if a.json && a.jsonError(err) == nil {
		return code
	}
	fmt.Fprintf(stderr, "neuroquant: %v\n", err)
	if code == exitUsage {
		fmt.Fprintf(stderr, "Run 'neuroquant --help' or 'neuroquant COMMAND --help' for what is accepted.\n")
	}
	return code
}

// usageError is a mistake in the command line or in a configuration file.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, a ...any) error { return &usageError{fmt.Errorf(format, a...)} }
