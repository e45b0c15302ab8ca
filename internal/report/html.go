package report

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/neurotrain/neuroquant/internal/analyze"
)

// The chart library uPlot (MIT) is kept as published, with its licence, in the folder uplot.
//
//go:embed uplot/uPlot.iife.min.js uplot/uPlot.min.css uplot/LICENSE page.html page.css page.js
var assets embed.FS

var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page.html").Funcs(template.FuncMap{
		"bytes": Bytes, "ratio": ratio, "db": DB, "times": times, "percent": func(x float64) string { return fmt.Sprintf("%.2f %%", 100*x) },
		"signed":   func(x float64) string { return fmt.Sprintf("%+.2f", 100*x) },
		"signed4":  func(x float64) string { return fmt.Sprintf("%+.4f", x) },
		"sub":      func(a, b float64) float64 { return a - b },
		"f4":       func(x float64) string { return fmt.Sprintf("%.4f", x) },
		"f6":       func(x float64) string { return fmt.Sprintf("%.6f", x) },
		"g4":       func(x float64) string { return fmt.Sprintf("%.4g", x) },
		"shape":    func(s []int) string { return strings.Trim(strings.ReplaceAll(fmt.Sprint(s), " ", "x"), "[]") },
		"grade":    grade,
		"fraction": fraction, "share": share, "risky": risky, "first": firstChannels,
		"causes": causesText, "without": without, "searched": searched, "optional": optionalPercent, "ms": milliseconds, "calibrators": calibrators, "chosen": chosen, "ranks": firstRanks, "join": strings.Join,
	}).ParseFS(assets, "page.html"))
})

// view is what the page shows: the report and what is drawn of it.
type view struct {
	*Report
	Style       template.CSS
	Script      template.JS
	Licence     string
	ChartData   chartData
	SizeBars    template.HTML
	TimeBars    template.HTML
	LayerBars   template.HTML
	SearchPlots template.HTML
	Curves      template.HTML
	Worst       []analyze.LayerError
	Cards       []card
}

// card is one headline figure.
type card struct{ Value, Label, Detail string }

// chartData is what the script draws; it travels in the page as JSON.
type chartData struct {
	Names     []string   `json:"names"`
	Ops       []string   `json:"ops"`
	SQNR      []*float64 `json:"sqnr"`
	MaxDiff   []float64  `json:"max_diff"`
	Quantized []bool     `json:"quantized"`
}

// HTML writes the report as one page that needs nothing else: style, script and charts are in it, and it asks for nothing
// from the network.
func HTML(w io.Writer, r *Report) error {
	read := func(name string) string {
		b, err := assets.ReadFile(name)
		if err != nil {
			panic(err) // embedded
		}
		return string(b)
	}
	v := view{
		Report: r, Licence: read("uplot/LICENSE"),
		Style:  template.CSS(read("uplot/uPlot.min.css") + read("page.css")),
		Script: template.JS(read("uplot/uPlot.iife.min.js") + "\n" + read("page.js")),
		Worst:  Worst(r.Layers), Cards: cards(r),
		SizeBars: sizeBars(r), TimeBars: timeBars(r), LayerBars: layerBars(r.Layers), SearchPlots: searchPlots(r.Search), Curves: trainingPlots(r.Training),
	}
	for _, l := range r.Layers {
		v.ChartData.Names = append(v.ChartData.Names, l.Layer)
		v.ChartData.Ops = append(v.ChartData.Ops, l.Op)
		v.ChartData.SQNR = append(v.ChartData.SQNR, l.SQNR)
		v.ChartData.MaxDiff = append(v.ChartData.MaxDiff, l.MaxDiff)
		v.ChartData.Quantized = append(v.ChartData.Quantized, l.Quantized)
	}
	return page().Execute(w, v)
}

func cards(r *Report) []card {
	out := []card{{fmt.Sprintf("%.2fx", r.Compression), "smaller", Bytes(total(r.Original)) + " to " + Bytes(total(r.Quantized))}}
	if len(r.Speed) > 0 {
		s := r.Speed[0]
		word := "faster"
		if s.Speedup < 1 {
			word = "speed"
		}
		out = append(out, card{fmt.Sprintf("%.2fx", s.Speedup), word, fmt.Sprintf("%.3g to %.3g ms, batch %d", s.Original.Median, s.Quantized.Median, s.Batch)})
	}
	if a := r.Accuracy; a != nil {
		switch {
		case a.Original != nil:
			out = append(out, card{fmt.Sprintf("%+.2f", 100*(a.Quantized.Top1-a.Original.Top1)), "points of top-1", fmt.Sprintf("%.2f %% to %.2f %%", 100*a.Original.Top1, 100*a.Quantized.Top1)})
		case a.Agreement != nil:
			out = append(out, card{fmt.Sprintf("%.1f %%", 100**a.Agreement), "same class first", fmt.Sprintf("%d samples", a.Samples)})
		}
		if len(a.Outputs) > 0 {
			out = append(out, card{DB(a.Outputs[0].SQNR), "dB SQNR", "of output " + a.Outputs[0].Name})
		}
	}
	return out
}

func total(s Subject) int64 {
	if s.Size.DiskBytes > 0 {
		return s.Size.DiskBytes
	}
	return s.Size.MemoryBytes
}

// grade names the colour class of a ratio in dB.
func grade(v *float64) string {
	switch {
	case v == nil || *v >= 30:
		return "good"
	case *v >= 20:
		return "fair"
	}
	return "poor"
}

// Every chart is drawn here as a static picture too, for printing and for readers without scripts.

const chartWidth = 860

type svg struct{ strings.Builder }

func (s *svg) open(height int, label string) {
	fmt.Fprintf(s, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, chartWidth, height, template.HTMLEscapeString(label))
}

func (s *svg) rect(class string, x, y, w, h float64, title string) {
	fmt.Fprintf(s, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`, class, x, y, max(w, 0.5), h, template.HTMLEscapeString(title))
}

func (s *svg) text(class string, x, y float64, t string) {
	fmt.Fprintf(s, `<text class="%s" x="%.1f" y="%.1f">%s</text>`, class, x, y, template.HTMLEscapeString(t))
}

func (s *svg) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(s, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (s *svg) done() template.HTML {
	s.WriteString("</svg>")
	return template.HTML(s.String())
}

// sizeBars draws the parameters of both models by type.
func sizeBars(r *Report) template.HTML {
	const left, bar, gap = 110.0, 34.0, 16.0
	most := float64(max(r.Original.Size.MemoryBytes, r.Quantized.Size.MemoryBytes, 1))
	var s svg
	s.open(120, "parameters by type")
	class := map[string]string{}
	for i, m := range []struct {
		name string
		size analyze.Size
	}{{"original", r.Original.Size}, {"quantized", r.Quantized.Size}} {
		y := gap + float64(i)*(bar+gap)
		s.text("label", 0, y+bar/2+5, m.name)
		x := left
		for _, t := range m.size.ByType {
			if class[t.DType] == "" {
				class[t.DType] = fmt.Sprintf("series%d", len(class)%6)
			}
			w := float64(t.Bytes) / most * (chartWidth - left - 120)
			s.rect(class[t.DType], x, y, w, bar, fmt.Sprintf("%s: %s, %d values", t.DType, Bytes(t.Bytes), t.Parameters))
			if w > 60 {
				s.text("inbar", x+8, y+bar/2+5, t.DType)
			}
			x += w
		}
		s.text("value", x+8, y+bar/2+5, Bytes(m.size.MemoryBytes))
	}
	return s.done()
}

// timeBars draws the median times with their spread.
func timeBars(r *Report) template.HTML {
	if len(r.Speed) == 0 {
		return ""
	}
	const left, bar, gap = 190.0, 20.0, 8.0
	most := 1e-9 // of any time at all
	for _, t := range r.Speed {
		most = max(most, t.Original.P90, t.Quantized.P90)
	}
	var s svg
	s.open(int(float64(len(r.Speed))*(2*bar+3*gap)+gap), "time per call")
	scale := (chartWidth - left - 110) / most
	y := gap
	for _, t := range r.Speed {
		for i, m := range []struct {
			name string
			t    analyze.Timing
		}{{"original", t.Original}, {"quantized", t.Quantized}} {
			s.text("label", 0, y+bar/2+5, fmt.Sprintf("batch %d, %s", t.Batch, m.name))
			s.rect(fmt.Sprintf("series%d", i), left, y, m.t.Median*scale, bar, fmt.Sprintf("median %.4g ms, p10 %.4g, p90 %.4g", m.t.Median, m.t.P10, m.t.P90))
			s.line("spread", left+m.t.P10*scale, y+bar/2, left+m.t.P90*scale, y+bar/2)
			s.text("value", left+m.t.P90*scale+8, y+bar/2+5, fmt.Sprintf("%.3g ms", m.t.Median))
			y += bar + gap
		}
		y += gap
	}
	return s.done()
}

// layerBars draws the SQNR of every value in the order of the graph; taller is better.
func layerBars(layers []analyze.LayerError) template.HTML {
	if len(layers) == 0 {
		return ""
	}
	const left, height, floor = 44.0, 240.0, 20.0
	top := 10.0
	for _, l := range layers {
		if l.SQNR != nil && !math.IsInf(*l.SQNR, 0) {
			top = max(top, *l.SQNR)
		}
	}
	top = math.Ceil(top/10) * 10
	var s svg
	s.open(int(height), "SQNR layer by layer")
	plot := height - 2*floor
	for db := 0.0; db <= top; db += 10 {
		y := floor + plot*(1-db/top)
		s.line("grid", left, y, chartWidth, y)
		s.text("tick", 0, y+4, fmt.Sprintf("%.0f dB", db))
	}
	step := (chartWidth - left) / float64(len(layers))
	for i, l := range layers {
		v := top
		if l.SQNR != nil {
			v = min(max(*l.SQNR, 0), top)
		}
		h := plot * v / top
		s.rect(grade(l.SQNR), left+float64(i)*step, floor+plot-h, max(step*0.8, 0.8), h, fmt.Sprintf("%s (%s): %s dB", l.Layer, l.Op, DB(l.SQNR)))
	}
	return s.done()
}
