package report

import (
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/analyze"
)

// saturation writes what sums of products in 16 bits would do to the model.
func saturation(p func(format string, a ...any), s *analyze.Saturation) {
	if s == nil {
		return
	}
	p("")
	p("## Sums in 16 bits")
	p("")
	seen := ""
	if s.Samples > 0 {
		seen = fmt.Sprintf("; on %d samples %d of them do", s.Samples, s.Seen)
	}
	p("%d of %d output channels hold neighbouring weights whose products some activations add up beyond 16 bits%s. Runtimes that add products in pairs with VPMADDUBSW, on CPUs with AVX2 or AVX-512 but without VNNI, then compute other values than elsewhere; this program never does.", s.AtRisk, s.Channels, seen)
	layers := risky(s)
	if len(layers) == 0 {
		return
	}
	p("`--reduce-range needed` quantizes just these channels with a larger scale.")
	p("")
	p("| layer | operator | channels at risk | worst sum | outputs that overflow | channels |")
	p("| --- | --- | ---: | ---: | ---: | --- |")
	for _, l := range layers {
		p("| %s | %s | %d of %d | %d | %s | %s |", escape(l.Layer), l.Op, len(l.Risky), l.Channels, l.Worst, share(l.Saturated, l.Outputs), firstChannels(l))
	}
}

// risky returns the layers with channels at risk.
func risky(s *analyze.Saturation) []analyze.LayerSaturation {
	var out []analyze.LayerSaturation
	for _, l := range s.Layers {
		if l.Risky != nil {
			out = append(out, l)
		}
	}
	return out
}

// share words a part of a whole; nothing if there is no whole.
func share(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fraction(float64(part) / float64(whole))
}

// fraction words a fraction as a percentage, small ones with more digits.
func fraction(f float64) string {
	switch {
	case f == 0:
		return "none"
	case f < 0.001:
		return fmt.Sprintf("%.2g %%", 100*f)
	}
	return fmt.Sprintf("%.2f %%", 100*f)
}

// firstChannels names the channels of a layer that lose most; the JSON has all.
func firstChannels(l analyze.LayerSaturation) string {
	const most = 12
	var parts []string
	for i, c := range l.Risky {
		if i == most {
			parts = append(parts, fmt.Sprintf("and %d more", len(l.Risky)-most))
			break
		}
		text := fmt.Sprint(c.Channel)
		if c.Saturated > 0 {
			text += fmt.Sprintf(" (%s)", fraction(c.Saturated))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}
