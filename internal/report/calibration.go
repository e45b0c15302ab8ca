package report

import "github.com/neurotrain/neuroquant/internal/calibrate"

// calibration writes how well the calibration samples cover what values can be.
func calibration(p func(format string, a ...any), d *calibrate.Diagnosis) {
	if d == nil {
		return
	}
	p("")
	p("## Calibration")
	p("")
	p("%d values on %d samples: %s.", d.Values, d.Samples, escape(d.Advice))
	if len(d.Growth) > 1 {
		p("")
		p("| samples | width of ranges |")
		p("| ---: | ---: |")
		for _, g := range d.Growth {
			p("| %d | %s |", g.Samples, fraction(g.Width))
		}
	}
	if len(d.Outliers) > 0 {
		p("")
		p("| outlier sample | ranges it stretches | most | by |")
		p("| --- | ---: | --- | ---: |")
		for _, o := range d.Outliers {
			p("| %s | %d | %s | %.2fx |", escape(o.Sample), o.Values, escape(o.Most), o.Factor)
		}
	}
	if len(d.Dead) > 0 || d.DeadChannels > 0 {
		p("")
		p("%d values and %d channels of others were always zero.", len(d.Dead), d.DeadChannels)
	}
}
