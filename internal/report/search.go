package report

import (
	"cmp"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/search"
)

// searchText writes what a search for the layers to leave in float found.
func searchText(p func(format string, a ...any), x *search.Picture) {
	if x == nil {
		return
	}
	p("")
	p("## Search")
	p("")
	p("%s", escape(searched(x)))
	p("")
	p("| layers in float | SQNR dB | top-1 | same class | parameters | ms | calibrator | |")
	p("| ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |")
	for _, f := range x.Front {
		p("| %d | %s | %s | %s | %s | %s | %s | %s |", len(f.Float), DB(f.SQNR), optionalPercent(f.Top1), optionalPercent(f.Agreement), Bytes(f.Bytes), milliseconds(f.Timing), calibrators(f.Point), chosen(x, f.Point))
	}
	if len(x.Best.Float) > 0 {
		p("")
		p("In float: %s.", escape(strings.Join(x.Best.Float, ", ")))
	}
	if len(x.Ranking) == 0 {
		return
	}
	p("")
	p("What hurts most: SQNR with these layers alone in float, %s dB with none.", DB(x.Baseline))
	p("")
	p("| layers | SQNR dB | share of the model | shared range |")
	p("| --- | ---: | ---: | --- |")
	for _, r := range firstRanks(x) {
		p("| %s | %s | %s | %s |", escape(strings.Join(r.Layers, ", ")), DB(r.SQNR), fraction(r.Cost), escape(r.Value))
	}
}

// searched says in a sentence or two how a search ended.
func searched(x *search.Picture) string {
	text := fmt.Sprintf("The accuracy asked for, %s, is met with %s in float.", x.Target, layers(len(x.Best.Float)))
	if !x.Met {
		text = fmt.Sprintf("The accuracy asked for, %s, is not met; the nearest has %s in float.", x.Target, layers(len(x.Best.Float)))
	}
	text += fmt.Sprintf(" %d quantizations were measured.", x.Evaluations)
	switch x.Stopped {
	case "":
	case search.OutOfEvaluations, search.OutOfTime:
		text += fmt.Sprintf(" The search was stopped by its budget of %s; it goes on when it is started again with a larger one.", x.Stopped)
	default:
		text += fmt.Sprintf(" The search was stopped (%s); it goes on when it is started again.", x.Stopped)
	}
	return text
}

func layers(n int) string {
	if n == 1 {
		return "1 layer"
	}
	return fmt.Sprintf("%d layers", n)
}

// ranksShown bounds the list of layers that hurt; the JSON has all.
const ranksShown = 15

func firstRanks(x *search.Picture) []search.Rank { return x.Ranking[:min(len(x.Ranking), ranksShown)] }

func optionalPercent(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100**v)
}

func milliseconds(t *search.Timing) string {
	if t == nil {
		return "-"
	}
	return fmt.Sprintf("%.3g", t.MS)
}

// calibrators names that of most ranges, and how many have another.
func calibrators(p search.Point) string {
	switch n := len(p.Ranges); n {
	case 0:
		return p.Calibrator
	case 1:
		return p.Calibrator + ", 1 range by another"
	default:
		return fmt.Sprintf("%s, %d ranges by others", p.Calibrator, n)
	}
}

func chosen(x *search.Picture, p search.Point) string {
	if p.Same(x.Best.Choice) {
		return "written"
	}
	return ""
}

// measureOf returns what a picture shows as accuracy: what the target asks for, in percent or dB. It is infinite where the output is
// exact.
func measureOf(target string) (name string, of func(m search.Measure) float64) {
	fraction := func(v *float64) float64 {
		if v == nil {
			return 0
		}
		return 100 * *v
	}
	switch {
	case strings.Contains(target, "top1=") || strings.Contains(target, "drop="):
		return "top-1 %", func(m search.Measure) float64 { return fraction(m.Top1) }
	case strings.Contains(target, "agreement="):
		return "same class %", func(m search.Measure) float64 { return fraction(m.Agreement) }
	}
	return "SQNR dB", func(m search.Measure) float64 {
		if m.SQNR == nil {
			return math.Inf(1)
		}
		return *m.SQNR
	}
}

// dot is one choice in a picture.
type dot struct {
	x, y    float64
	title   string
	isFront bool
	isBest  bool
}

// searchPlots draws accuracy over size, of all choices, and over time, of those that were timed.
func searchPlots(x *search.Picture) template.HTML {
	if x == nil {
		return ""
	}
	_, of := measureOf(x.Target)
	title := func(p search.Point, t *search.Timing) string {
		s := fmt.Sprintf("%s in float, %s: SQNR %s dB, %s", layers(len(p.Float)), calibrators(p), DB(p.SQNR), Bytes(p.Bytes))
		if p.Top1 != nil {
			s += ", top-1 " + optionalPercent(p.Top1)
		}
		if t != nil {
			s += fmt.Sprintf(", %.3g ms", t.MS)
		}
		return s
	}
	var size, time []dot
	for _, p := range x.Points {
		size = append(size, dot{x: float64(p.Bytes) / (1 << 20), y: of(p.Measure), title: title(p, nil), isBest: p.Same(x.Best.Choice)})
	}
	original := math.NaN()
	for _, f := range x.Front {
		d := dot{x: float64(f.Bytes) / (1 << 20), y: of(f.Measure), title: title(f.Point, f.Timing), isFront: true, isBest: f.Same(x.Best.Choice)}
		size = append(size, d)
		if f.Timing != nil {
			d.x = f.Timing.MS
			time = append(time, d)
			original = f.Timing.OriginalMS
		}
	}
	panels := []panel{{"parameters, MiB", size, float64(x.OriginalBytes) / (1 << 20)}}
	if len(time) > 0 {
		panels = append(panels, panel{"ms per call", time, original})
	}
	return scatter(panels, x.Target)
}

// panel is one of the pictures that stand side by side.
type panel struct {
	label    string
	dots     []dot
	original float64 // where the original lies
}

// front returns the dots that no other is both above and left of, from the left.
func (p panel) front() []dot {
	sorted := slices.Clone(p.dots)
	slices.SortStableFunc(sorted, func(a, b dot) int { return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y)) })
	var out []dot
	for _, d := range sorted {
		if len(out) == 0 || d.y > out[len(out)-1].y {
			out = append(out, d)
		}
	}
	return out
}

func scatter(panels []panel, target string) template.HTML {
	name, _ := measureOf(target)
	const left, gap, top, plot, bottom = 52.0, 40.0, 14.0, 220.0, 46.0
	least, most := math.Inf(1), math.Inf(-1)
	for _, p := range panels {
		for _, d := range p.dots {
			if !math.IsInf(d.y, 0) {
				least, most = min(least, d.y), max(most, d.y)
			}
		}
	}
	if least > most {
		least, most = 0, 1
	}
	ySteps := ticks(least, most)
	lo, hi := ySteps[0], ySteps[len(ySteps)-1]
	y := func(v float64) float64 { return top + plot*(1-(min(max(v, lo), hi)-lo)/(hi-lo)) }
	var s svg
	s.open(int(top+plot+bottom), "accuracy of the choices over size and time")
	width := (chartWidth - left - gap*float64(len(panels)-1) - 8) / float64(len(panels))
	s.text("tick", 0, top+plot+bottom-8, name)
	for i, p := range panels {
		x0 := left + float64(i)*(width+gap)
		far := p.original
		for _, d := range p.dots {
			if math.IsNaN(far) || d.x > far {
				far = d.x
			}
		}
		xSteps := ticks(0, far)
		x := func(v float64) float64 { return x0 + width*v/xSteps[len(xSteps)-1] }
		for _, v := range ySteps {
			s.line("grid", x0, y(v), x0+width, y(v))
			if i == 0 {
				s.text("tick", 0, y(v)+4, tickText(v))
			}
		}
		for _, v := range xSteps {
			s.text("tick middle", x(v), top+plot+18, tickText(v))
		}
		s.text("tick middle", x0+width/2, top+plot+bottom-8, p.label)
		if !math.IsNaN(p.original) {
			s.line("original", x(p.original), top, x(p.original), top+plot)
			s.text("tick middle", x(p.original)-24, top+10, "original")
		}
		var path []string
		for _, d := range p.front() {
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(d.x), y(d.y)))
		}
		if len(path) > 1 {
			fmt.Fprintf(&s, `<polyline class="front" points="%s"/>`, strings.Join(path, " "))
		}
		for _, d := range p.dots {
			class, radius := "dot", 3.0
			if d.isFront {
				class, radius = "dot on", 4.5
			}
			if d.isBest {
				class, radius = "dot best", 6.5
			}
			fmt.Fprintf(&s, `<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f"><title>%s</title></circle>`, class, x(d.x), y(d.y), radius, template.HTMLEscapeString(d.title))
		}
	}
	return s.done()
}

// ticks returns round numbers that enclose a range, five or so.
func ticks(lo, hi float64) []float64 {
	if hi-lo < 1e-9 {
		lo, hi = lo-0.5, hi+0.5
	}
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/4)))
	for _, f := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*f) <= 6 {
			step *= f
			break
		}
	}
	var out []float64
	for k := math.Floor(lo/step + 1e-9); ; k++ {
		out = append(out, k*step)
		if k*step >= hi-1e-9*step && len(out) > 1 {
			return out
		}
	}
}

func tickText(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v), "0"), ".")
}
