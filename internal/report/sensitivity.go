package report

import (
	"strings"

	"github.com/neurotrain/neuroquant/internal/quantize"
)

// causesShown bounds the causes that are shown of a layer.
const causesShown = 3

// Causes words the weightiest causes of a layer; sums of 16 bits, which are a matter of the CPU, have a table of their own.
func Causes(s quantize.Sensitivity) []string {
	var out []string
	for _, c := range s.Causes {
		if c.Kind == quantize.CauseSums16 || len(out) == causesShown {
			continue
		}
		text := c.Kind + ": " + c.Text
		if c.Share > 0 {
			text += " (" + fraction(c.Share) + ")"
		}
		out = append(out, text)
	}
	return out
}

func causesText(s quantize.Sensitivity) string { return strings.Join(Causes(s), "; ") }

// sensitivity writes what 8 bits cost every layer.
func sensitivity(p func(format string, a ...any), list []quantize.Sensitivity) {
	if len(list) == 0 {
		return
	}
	p("")
	p("## Sensitivity")
	p("")
	p("What the codes of each layer lose by themselves, estimated from calibration statistics and weights, and why; shares are of that error.")
	p("")
	p("| layer | operator | SQNR dB | with it alone in float | causes |")
	p("| --- | --- | ---: | ---: | --- |")
	for _, s := range list {
		p("| %s | %s | %s | %s | %s |", escape(s.Layer), s.Op, DB(s.SQNR), without(s), escape(causesText(s)))
	}
}

func without(s quantize.Sensitivity) string {
	if s.Without == nil && !s.WithoutExact {
		return "-"
	}
	return DB(s.Without)
}
