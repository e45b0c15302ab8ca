package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/progress"
)

// app is what all subcommands share.
type app struct {
	stdout, stderr io.Writer

	json       bool
	verbose    bool
	quiet      bool
	threads    int
	cpuProfile string
	arch       string
	shapes     []string // of inputs, as text

	reporter progress.Reporter
	log      *slog.Logger
	stopCPU  func()
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "neuroquant",
		Short: "Quantize neural networks, measure the effect, write files that other runtimes load",
		Long: `neuroquant makes neural networks smaller and faster. It reads a model, quantizes it by the method you
name, shows what that cost and gained, and writes it in the format that your runtime loads.

Try it on models that are built in:   neuroquant example
Quantize your own:                    neuroquant quantize model.onnx out/ --method dynamic
Compare with the original:            neuroquant analyze model.onnx out/ report/ --data images/`,
		Version:       neuroquant.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON document on stdout and nothing else there")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "debug messages on stderr")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress")
	f.IntVar(&a.threads, "threads", 0, "worker threads; 0: all cores")
	f.StringVar(&a.arch, "arch", "", "architecture of a file of weights without a graph, such as resnet50; by default it is told by their names and shapes")
	f.StringArrayVar(&a.shapes, "input-shape", nil, "shape of the input of a model that does not say it, such as Nx3x224x224; a word is a size that is free; NAME=SHAPE where there are several inputs")
	f.StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile to this file")
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.start(cmd) }
	root.AddCommand(a.quantizeCommand(), a.planCommand(), a.trainCommand(), a.calibrateCommand(), a.sensitivityCommand(), a.analyzeCommand(), a.verifyCommand(), a.lintCommand(), a.exampleCommand(), a.listCommand(), a.inspectCommand(), a.tokenizeCommand(), a.runCommand(), a.convertCommand(),
		a.evalCommand(), a.generateCommand(), a.checkCommand(), a.recommendCommand(), a.configCommand())
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	checkArgs(root)
	return root
}

// start sets up threads, logs and progress before a subcommand runs.
func (a *app) start(cmd *cobra.Command) error {
	if a.threads < 0 {
		return usagef("--threads: want 0 or more, got %d", a.threads)
	}
	if a.threads > 0 { // for the pool that all work shares
		runtime.GOMAXPROCS(a.threads)
	}
	if a.cpuProfile != "" {
		f, err := os.Create(a.cpuProfile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(err, f.Close())
		}
		a.stopCPU = func() { pprof.StopCPUProfile(); _ = f.Close() }
	}
	o, err := neuroquant.ParseOpenOptions(a.arch, a.shapes)
	if err != nil {
		return usagef("--input-shape %w", err)
	}
	ctx := neuroquant.WithOpenOptions(cmd.Context(), o)
	a.reporter, a.log = newReporter(a)
	ctx = progress.With(ctx, a.reporter)
	cmd.SetContext(ctx)
	return nil
}

func (a *app) closeReporter() {
	if a.reporter != nil {
		a.reporter.Close()
		a.reporter = nil
	}
	if a.stopCPU != nil {
		a.stopCPU()
		a.stopCPU = nil
	}
}

// printJSON writes the command's one document.
func (a *app) printJSON(v any) error {
	a.closeReporter()
	enc := json.NewEncoder(a.stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) jsonError(err error) error {
	return a.printJSON(map[string]any{"error": map[string]string{"message": err.Error()}})
}

// printf writes to stdout for people; with --json it writes nothing.
func (a *app) printf(format string, args ...any) {
	if !a.json {
		a.closeReporter()
		_, _ = io.WriteString(a.stdout, printable(fmt.Sprintf(format, args...))) // run reports the error
	}
}

// table prints rows under a header; columns listed in right are right-aligned.
func (a *app) table(header []string, rows [][]string, right ...int) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options.SeparateColumns = false
	t.Style().Options.DrawBorder = false
	t.Style().Format.Header = text.FormatDefault
	row := func(cells []string) table.Row {
		r := make(table.Row, len(cells))
		for i, c := range cells {
			r[i] = c
		}
		return r
	}
	t.AppendHeader(row(header))
	for _, r := range rows {
		t.AppendRow(row(r))
	}
	var cols []table.ColumnConfig
	for _, c := range right {
		cols = append(cols, table.ColumnConfig{Number: c + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(cols)
	a.printf("%s\n", t.Render())
}

// printable shows control characters, which names from a model may hold, in place of passing them to the terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, isControl) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isControl(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isControl(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

func percent(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) }

func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}

const adapterHelp = "folder with an adapter in the layout of PEFT, such as train --method lora writes, to put beside the layers of the model"

// openAdapted is open, with the adapter of a folder unless that is "".
func (a *app) openAdapted(ctx context.Context, path, adapter string) (*neuroquant.Model, error) {
	m, err := a.open(ctx, path)
	if err != nil || adapter == "" {
		return m, err
	}
	if err := m.Adapt(adapter); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// open opens a model with the threads asked for.
func (a *app) open(ctx context.Context, path string) (*neuroquant.Model, error) {
	m, err := neuroquant.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	m.SetThreads(a.threads)
	if a.cpuProfile != "" {
		m.LabelProfiles()
	}
	a.log.Debug("opened", "path", path, "parameters", m.Parameters())
	return m, nil
}
