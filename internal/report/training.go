package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/train"
)

// curve is a line of a chart: values at positions along the axis of updates.
type curve struct {
	class, name string
	x, y        []float64
}

// most points that a curve is drawn by; more updates are averaged.
const mostPoints = 240

// lossCurves are the losses of updates and, by epoch, of the validation data.
func lossCurves(h *train.History) []curve {
	updates := curve{class: "series0", name: "training, by update"}
	n := len(h.Losses)
	for i := range min(n, mostPoints) {
		lo, hi := n*i/min(n, mostPoints), n*(i+1)/min(n, mostPoints)
		sum := 0.0
		for _, v := range h.Losses[lo:hi] {
			sum += v
		}
		updates.x, updates.y = append(updates.x, float64(lo+hi+1)/2), append(updates.y, sum/float64(hi-lo))
	}
	return append([]curve{updates}, epochCurve("series1", "validation", h, func(e train.Epoch) *float64 { return e.Valid })...)
}

// accuracyCurves are the accuracies of epochs, in percent.
func accuracyCurves(h *train.History) []curve {
	return append(epochCurve("series0", "training, by epoch", h, func(e train.Epoch) *float64 { return percentOf(e.Accuracy) }),
		epochCurve("series1", "validation", h, func(e train.Epoch) *float64 { return percentOf(e.Right) })...)
}

func percentOf(v *float64) *float64 {
	if v == nil {
		return nil
	}
	p := 100 * *v
	return &p
}

func epochCurve(class, name string, h *train.History, of func(train.Epoch) *float64) []curve {
	c := curve{class: class, name: name}
	for _, e := range h.Epochs {
		if v := of(e); v != nil {
			c.x, c.y = append(c.x, float64(e.Updates)), append(c.y, *v)
		}
	}
	if c.x == nil {
		return nil
	}
	return []curve{c}
}

// trainingPlots draws the curves of a training: the loss and, where there is one, the accuracy.
func trainingPlots(h *train.History) template.HTML {
	if h == nil || len(h.Losses) == 0 {
		return ""
	}
	plots := linePlot("loss by update", lossCurves(h))
	if a := accuracyCurves(h); len(a) > 0 {
		plots += linePlot("accuracy by update, %", a)
	}
	return plots
}

func linePlot(label string, curves []curve) template.HTML {
	const left, top, plot, bottom = 64.0, 30.0, 200.0, 40.0
	least, most, last := math.Inf(1), math.Inf(-1), 1.0
	for _, c := range curves {
		least, most, last = min(least, slices.Min(c.y)), max(most, slices.Max(c.y)), max(last, slices.Max(c.x))
	}
	if most-least < 1e-9*math.Abs(most) || most == least {
		least, most = least-1, most+1
	}
	var s svg
	s.open(int(top+plot+bottom), label)
	s.text("label", 0, 14, label)
	for i, c := range curves {
		x := 260 + 220*float64(i)
		s.rect(c.class, x, 6, 14, 8, c.name)
		s.text("label", x+20, 14, c.name)
	}
	at := func(x, y float64) (float64, float64) {
		return left + (chartWidth-left-10)*x/last, top + plot*(1-(y-least)/(most-least))
	}
	for i := range 5 {
		v := least + (most-least)*float64(i)/4
		_, y := at(0, v)
		s.line("grid", left, y, chartWidth, y)
		s.text("tick", 0, y+4, fmt.Sprintf("%.4g", v))
	}
	for i := range 5 {
		n := last * float64(i) / 4
		x, _ := at(n, least)
		s.text("tick", x-8, top+plot+18, fmt.Sprintf("%.0f", n))
	}
	for _, c := range curves {
		var points []string
		for i := range c.x {
			x, y := at(c.x[i], c.y[i])
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, y))
		}
		fmt.Fprintf(&s, `<polyline class="curve %s" points="%s"/>`, c.class, strings.Join(points, " "))
		if len(c.x) <= 32 {
			for i := range c.x {
				x, y := at(c.x[i], c.y[i])
				fmt.Fprintf(&s, `<circle class="%s" cx="%.1f" cy="%.1f" r="3.5"><title>update %.0f: %.4g</title></circle>`, c.class, x, y, c.x[i], c.y[i])
			}
		}
	}
	return s.done()
}

// trainingMarkdown writes the curves as block characters and a line for every epoch.
func trainingMarkdown(p func(string, ...any), h *train.History) {
	if h == nil || len(h.Losses) == 0 {
		return
	}
	p("")
	p("## Training")
	p("")
	p("Loss of %d updates, %.4g to %.4g: %s", len(h.Losses), h.Losses[0], h.Losses[len(h.Losses)-1], progress.Curve(h.Losses, 48))
	p("")
	p("| epoch | updates | learning rate | loss | accuracy | validation loss | validation accuracy |")
	p("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, e := range h.Epochs {
		valid := "-"
		if e.Valid != nil {
			valid = fmt.Sprintf("%.4f", *e.Valid)
		}
		p("| %d | %d | %.3g | %.4f | %s | %s | %s |", e.Epoch, e.Updates, e.Rate, e.Loss, optionalPercent(e.Accuracy), valid, optionalPercent(e.Right))
	}
	if h.Stopped != "" {
		p("")
		p("It ended early: %s.", escape(h.Stopped))
	}
}
