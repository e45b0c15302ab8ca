// Command neuroquant quantizes neural networks, measures what that cost and gained, and writes files that other runtimes load.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
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
	out := &countingWriter{w: stdout}
	a := &app{stdout: out, stderr: stderr}
	err := a.execute(ctx, args)
	a.closeReporter()
	if err == nil {
		err = out.err
	}
	if err == nil {
		return exitDone
	}
	code := exitFailed
	var usage *usageError
	switch {
	case errors.As(err, &usage):
		code = exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		code = exitInterrupted
		var told *interruptedError
		if !errors.As(err, &told) {
			err = errors.New("interrupted; nothing is half-written")
		}
	}
	if (a.json || jsonAsked(args)) && out.n == 0 && a.jsonError(err) == nil {
		return code
	}
	fmt.Fprintf(stderr, "neuroquant: %s\n", printable(err.Error()))
	if code == exitUsage {
		fmt.Fprintf(stderr, "Run 'neuroquant --help' or 'neuroquant COMMAND --help' for what is accepted.\n")
	}
	return code
}

// execute runs the command line. A panic is a defect of this program, not a mistake in how it was used: it becomes an error
// like others, after what was half-written is removed, with the stack on stderr for the report.
func (a *app) execute(ctx context.Context, args []string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.closeReporter()
			fmt.Fprintf(a.stderr, "%s\n", debug.Stack())
			err = fmt.Errorf("internal error: %v; this is a defect of neuroquant: please report it with the lines above", p)
		}
	}()
	root := a.command()
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// countingWriter notices what reached the output: a full disk must not look like success.
type countingWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("writing the output: %w", err)
	}
	return n, err
}
