package report

import (
	"fmt"
	"io"
	"math"
	"sort"
	"strings"

	"github.com/neurotrain/neuroquant/internal/analyze"
)

// worstShown is how many layers the Markdown lists by name; the JSON and the page have all.
const worstShown = 15

// Markdown writes the report for people who read it in a terminal, a pull request or a wiki.
func Markdown(w io.Writer, r *Report) error {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("# %s", escape(r.Title))
	p("")
	p("%s %s on %s (%d of %d cores, %s)", r.Tool, r.Version, escape(r.Machine.CPU), r.Machine.Threads, r.Machine.Cores, r.Machine.ISA)
	p("")
	p("## Size")
	p("")
	p("| | original | quantized | ratio |")
	p("| --- | ---: | ---: | ---: |")
	p("| file | %s | %s | |", escape(r.Original.File), escape(r.Quantized.File))
	p("| on disk | %s | %s | %s |", Bytes(r.Original.Size.DiskBytes), Bytes(r.Quantized.Size.DiskBytes), ratio(r.Original.Size.DiskBytes, r.Quantized.Size.DiskBytes))
	p("| parameters in memory | %s | %s | %s |", Bytes(r.Original.Size.MemoryBytes), Bytes(r.Quantized.Size.MemoryBytes), ratio(r.Original.Size.MemoryBytes, r.Quantized.Size.MemoryBytes))
	p("| parameters | %d | %d | |", r.Original.Size.Parameters, r.Quantized.Size.Parameters)
	p("| by type | %s | %s | |", types(r.Original.Size), types(r.Quantized.Size))
	if len(r.Speed) > 0 {
		p("")
		p("## Speed")
		p("")
		p("| batch | threads | original ms (p10-p90) | quantized ms (p10-p90) | speedup |")
		p("| ---: | ---: | ---: | ---: | ---: |")
		for _, s := range r.Speed {
			p("| %d | %d | %s | %s | %.2fx |", s.Batch, s.Threads, times(s.Original), times(s.Quantized), s.Speedup)
		}
	}
	if a := r.Accuracy; a != nil {
		p("")
		p("## Accuracy")
		p("")
		p("%d samples%s.", a.Samples, onData(r.Data))
		p("")
		if a.Original != nil {
			p("| | original | quantized | change |")
			p("| --- | ---: | ---: | ---: |")
			p("| top-1 | %.2f %% | %.2f %% | %+.2f points |", 100*a.Original.Top1, 100*a.Quantized.Top1, 100*(a.Quantized.Top1-a.Original.Top1))
			p("| top-5 | %.2f %% | %.2f %% | %+.2f points |", 100*a.Original.Top5, 100*a.Quantized.Top5, 100*(a.Quantized.Top5-a.Original.Top5))
			p("| loss | %.4f | %.4f | %+.4f |", a.Original.Loss, a.Quantized.Loss, a.Quantized.Loss-a.Original.Loss)
			p("")
		}
		if a.Agreement != nil {
			p("Both models rank the same class first on %.2f %% of the samples.", 100**a.Agreement)
			p("")
		}
		p("| output | SQNR dB | cosine | largest difference |")
		p("| --- | ---: | ---: | ---: |")
		for _, o := range a.Outputs {
			p("| %s | %s | %.6f | %.4g |", escape(o.Name), DB(o.SQNR), o.Cosine, o.MaxDiff)
		}
	}
	if len(r.Layers) > 0 {
		p("")
		p("## Error layer by layer")
		p("")
		worst := Worst(r.Layers)
		if len(worst) > worstShown {
			p("The %d of %d values with the lowest SQNR:", worstShown, len(worst))
			p("")
			worst = worst[:worstShown]
		}
		p("| layer | operator | SQNR dB | cosine | largest difference |")
		p("| --- | --- | ---: | ---: | ---: |")
		for _, l := range worst {
			p("| %s | %s | %s | %.6f | %.4g |", escape(l.Layer), l.Op, DB(l.SQNR), l.Cosine, l.MaxDiff)
		}
	}
	trainingMarkdown(p, r.Training)
	searchText(p, r.Search)
	sensitivity(p, r.Sensitivity)
	saturation(p, r.Saturation)
	calibration(p, r.Calibration)
	if len(r.Decisions) > 0 {
		p("")
		p("## Decisions")
		p("")
		p("| layer | operator | weight | stored as | bytes | why |")
		p("| --- | --- | --- | --- | ---: | --- |")
		for _, d := range r.Decisions {
			p("| %s | %s | %s | %s | %d -> %d | %s |", escape(d.Layer), d.Op, escape(d.Param), d.Stored, d.Before, d.After, escape(d.Why))
		}
	}
	if len(r.Notes) > 0 {
		p("")
		p("## Notes")
		p("")
		for _, n := range r.Notes {
			p("- %s", escape(n))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Worst returns the layers in order of rising SQNR; layers without error come last.
func Worst(layers []analyze.LayerError) []analyze.LayerError {
	out := append([]analyze.LayerError(nil), layers...)
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i].SQNR, out[j].SQNR
		return a != nil && (b == nil || *a < *b)
	})
	return out
}

// DB prints a ratio in dB; "exact" where there is no error.
func DB(v *float64) string {
	if v == nil {
		return "exact"
	}
	if math.Abs(*v) >= 100 {
		return fmt.Sprintf("%.0f", *v)
	}
	return fmt.Sprintf("%.1f", *v)
}

// Bytes prints a size in the unit that suits it, powers of 1024.
func Bytes(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

func ratio(a, b int64) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2fx", float64(a)/float64(b))
}

func times(t analyze.Timing) string { return fmt.Sprintf("%.3g (%.3g-%.3g)", t.Median, t.P10, t.P90) }

func types(s analyze.Size) string {
	var parts []string
	for _, t := range s.ByType {
		parts = append(parts, fmt.Sprintf("%s %s", t.DType, Bytes(t.Bytes)))
	}
	return strings.Join(parts, ", ")
}

func onData(s string) string {
	if s == "" {
		return ""
	}
	return " of " + escape(s)
}

var escaper = strings.NewReplacer("\\", "\\\\", "|", "\\|", "<", "&lt;", "&", "&amp;", "\n", " ", "\r", " ", "`", "'", "*", "\\*", "_", "\\_", "[", "\\[")

// escape keeps names from files from being read as Markdown.
func escape(s string) string {
	return escaper.Replace(s)
}
