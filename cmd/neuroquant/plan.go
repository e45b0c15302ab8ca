package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) planCommand() *cobra.Command {
	var d dataFlags
	var configFile string
	var o neuroquant.ForecastOptions
	flags := neuroquant.DefaultConfig()
	c := &cobra.Command{
		Use:   "plan MODEL [OUT] --method M",
		Short: "Say what quantizing a model would do, take and give, before anything is done",
		Long: `Say what 'neuroquant quantize' with the same flags would do, from the headers of MODEL: what becomes of every tensor and why, and for methods
that quantize weights alone (gptq, awq, rtn, bitsandbytes, w8a8) the bytes of the written files, the most memory that is taken, the time by a
probe of some seconds, among how many devices the result can be split, and which programs load it.

What is impossible is refused: a format that cannot hold the codes, or a --max-memory below what the largest layer takes. Of --data the number
and the length of samples count; without it, the settings say both. Nothing is written but for files of the probe, which are removed.`,
		Example: `  neuroquant plan llama/ --method gptq --bits 4 --group-size 128 --max-memory 4GiB
  neuroquant plan llama/ out/ --method bitsandbytes --load-in-4bit --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.settings(cmd.Flags(), configFile, neuroquant.DefaultConfig(), flags)
			if err != nil {
				return err
			}
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			m := neuroquant.NewManager(cfg)
			if d.given() {
				d.length = cfg.CalibrationLength
				orig, err := a.open(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				defer orig.Close()
				set, err := d.open(orig)
				if err != nil {
					return err
				}
				defer set.Close()
				m.Calibrate(set)
			}
			if o.Output = cfg.QuantizedModelPath; len(args) == 2 {
				o.Output = args[1]
			}
			f, err := m.Forecast(cmd.Context(), args[0], o)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(f)
			}
			a.forecast(f)
			return nil
		},
	}
	f := c.Flags()
	configFlags(f, &flags)
	f.StringVar(&configFile, "config", "", "YAML file with a quantization block; flags override it")
	f.BoolVar(&o.NoTime, "no-time", false, "leave the time out, and the probe that estimates it")
	d.add(f)
	complete(c, "method", neuroquant.MethodNames(true)...)
	return c
}

func (a *app) forecast(f *neuroquant.Forecast) {
	a.decisions(f.Decisions)
	a.printf("\nparameters %s -> %s (%.2fx)\n", report.Bytes(f.OriginalBytes), report.Bytes(f.QuantizedBytes), f.CompressionRatio)
	if f.OutputBytes != nil {
		a.printf("written files: %d bytes (format %s)\n", *f.OutputBytes, f.Format)
	}
	if f.PeakBytes != nil {
		a.printf("memory: at most %s\n", report.Bytes(*f.PeakBytes))
	}
	if f.Seconds != nil {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(f.Parts)) {
			parts = append(parts, fmt.Sprintf("%s %s", name, shortTime(f.Parts[name])))
		}
		a.printf("time: about %s (%s)\n", shortTime(*f.Seconds), strings.Join(parts, ", "))
	}
	if f.Samples > 0 {
		a.printf("calibration: %d samples of %d tokens\n", f.Samples, f.Tokens)
	}
	for _, s := range f.Splits {
		switch {
		case s.Possible:
			a.printf("%d devices: can be split\n", s.Devices)
		case s.Group > 0:
			a.printf("%d devices: cannot be split, %s; it could with groups of %d\n", s.Devices, strings.Join(s.Problems, "; "), s.Group)
		default:
			a.printf("%d devices: cannot be split, %s\n", s.Devices, strings.Join(s.Problems, "; "))
		}
	}
	for _, l := range f.Loaders {
		what := "loads it"
		if !l.Accepts {
			what = "does not load it"
		}
		if l.Why != "" {
			what += ": " + l.Why
		}
		a.printf("%s %s\n", l.Loader, what)
	}
	for _, n := range f.Notes {
		a.printf("note: %s\n", n)
	}
}

// shortTime shows seconds as people say times.
func shortTime(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < 10*time.Minute:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
