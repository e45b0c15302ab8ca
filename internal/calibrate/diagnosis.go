package calibrate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Diagnosis says how well the samples cover what values can be.
type Diagnosis struct {
	Samples int64 `json:"samples"`
	Values  int   `json:"values"`
	// Growth is how wide ranges are with fewer samples, from one to all: means over the values, relative to all samples.
	Growth []Growth `json:"growth,omitempty"`
	// Doubling is how much wider a range became when the samples were doubled last, on average; Widest is the value that grew
	// most and WidestBy by how much.
	Doubling float64 `json:"last_doubling"`
	Widest   string  `json:"widest_value,omitempty"`
	WidestBy float64 `json:"widest_by,omitempty"`
	// Outliers are samples that stretch ranges far beyond what the others reach, those that stretch most values first.
	Outliers []Outlier `json:"outliers,omitempty"`
	// Dead are values that are always zero; Channels counts those channels of others that are.
	Dead         []string `json:"dead_values,omitempty"`
	DeadChannels int      `json:"dead_channels,omitempty"`
	Advice       string   `json:"advice"`
}

// Growth is the mean width of ranges with so many samples.
type Growth struct {
	Samples int     `json:"samples"`
	Width   float64 `json:"width"`
}

// Outlier is a sample whose extremes are far beyond those of the others.
type Outlier struct {
	Sample string  `json:"sample"`
	Values int     `json:"values"` // whose ranges it stretches
	Most   string  `json:"most"`   // the value that it stretches most
	Factor float64 `json:"factor"` // by how much: its extreme over that of ordinary samples
}

const (
	// outlierFactor is how far beyond the fifth-largest extreme one has to lie to be called an outlier.
	outlierFactor = 1.5
	// mostOutliers bounds the list.
	mostOutliers = 10
	// Ranges that grow less than this when samples are doubled are settled.
	settledGrowth = 0.02
)

// Diagnose looks at the statistics of values, by name. It does not depend on the order of the samples: with fewer samples means
// with that many drawn at random.
func Diagnose(values map[string]*Stats) *Diagnosis {
	d := &Diagnosis{}
	names := slices.Sorted(maps.Keys(values))
	outliers := map[string]*Outlier{}
	var grown []string // values whose ranges can be followed
	for _, name := range names {
		s := values[name]
		d.Values++
		d.Samples = max(d.Samples, s.High.samples())
		if s.All.empty() {
			if s.Count > 0 {
				d.Dead = append(d.Dead, name)
			}
			continue
		}
		grown = append(grown, name)
		if s.Channels != nil {
			for i, lo := range s.Channels.Min {
				if lo == 0 && s.Channels.Max[i] == 0 {
					d.DeadChannels++
				}
			}
		}
		s.High.outliers(name, outliers)
		s.Low.outliers(name, outliers)
	}
	d.Outliers = slices.SortedFunc(func(yield func(Outlier) bool) {
		for _, o := range outliers {
			if !yield(*o) {
				return
			}
		}
	}, func(a, b Outlier) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(b.Factor, a.Factor), cmp.Compare(a.Sample, b.Sample))
	})
	d.Outliers = d.Outliers[:min(len(d.Outliers), mostOutliers)]
	d.grow(values, grown)
	d.advise()
	return d
}

// outliers notes the samples that reach far beyond the last of the remembered ones.
func (e *Extremes) outliers(value string, into map[string]*Outlier) {
	if len(e.Top) < topSamples {
		return
	}
	last := e.Top[topSamples-1].Value
	if last <= 0 {
		return
	}
	for _, s := range e.Top[:topSamples-1] {
		f := float64(s.Value) / float64(last)
		if f < outlierFactor {
			break
		}
		o := into[s.ID]
		if o == nil {
			o = &Outlier{Sample: s.ID}
			into[s.ID] = o
		}
		if o.Most != value { // both ends of a range count once
			o.Values++
		}
		if f > o.Factor {
			o.Factor, o.Most = f, value
		}
	}
}

// width is the mean width of the range that m samples give.
func (s *Stats) width(m int) float64 {
	return max(s.High.expected(m), 0) + max(s.Low.expected(m), 0)
}

func (d *Diagnosis) grow(values map[string]*Stats, names []string) {
	if len(names) == 0 || d.Samples == 0 {
		return
	}
	for m := 1; ; m *= 2 {
		m = int(min(int64(m), d.Samples))
		sum := 0.0
		for _, name := range names {
			s := values[name]
			sum += s.width(m) / s.width(int(d.Samples))
		}
		d.Growth = append(d.Growth, Growth{m, sum / float64(len(names))})
		if int64(m) == d.Samples {
			break
		}
	}
	half := int(d.Samples / 2)
	if half == 0 {
		return
	}
	for _, name := range names {
		s := values[name]
		by := s.width(int(d.Samples))/s.width(half) - 1
		d.Doubling += by / float64(len(names))
		if by > d.WidestBy {
			d.Widest, d.WidestBy = name, by
		}
	}
}

func (d *Diagnosis) advise() {
	percent := func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) }
	switch {
	case d.Samples == 0:
		d.Advice = "no samples were seen"
	case d.Samples == 1:
		d.Advice = "one sample says nothing about others; use more"
	case math.IsNaN(d.Doubling):
		d.Advice = "the ranges cannot be followed"
	case d.Doubling > settledGrowth:
		d.Advice = fmt.Sprintf("more samples would help: the last doubling widened ranges by %s on average, that of %s by %s", percent(d.Doubling), d.Widest, percent(d.WidestBy))
	default:
		d.Advice = fmt.Sprintf("enough samples: the last doubling widened ranges by %s on average", percent(d.Doubling))
	}
	if n := len(d.Outliers); n > 0 {
		d.Advice += fmt.Sprintf("; look at the outlier samples: %d of them stretch ranges alone", n)
	}
}
