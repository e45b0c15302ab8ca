package search

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Target is the accuracy that a search is to keep. Fields that are nil are not asked for; of those that are, all must hold.
type Target struct {
	SQNR      *float64 // of every output, in dB, at least
	Agreement *float64 // fraction of samples that keep their first class, at least
	Top1      *float64 // fraction, at least
	Drop      *float64 // fraction that top-1 may be below the original's
}

// The targets that are meant where none is given.
const (
	DefaultTarget         = "sqnr=30"
	DefaultLabelledTarget = "drop=0.01"
)

// targets lists the names with what is accepted.
var targets = []struct {
	name     string
	field    func(*Target) **float64
	fraction bool
}{
	{"sqnr", func(t *Target) **float64 { return &t.SQNR }, false},
	{"agreement", func(t *Target) **float64 { return &t.Agreement }, true},
	{"top1", func(t *Target) **float64 { return &t.Top1 }, true},
	{"drop", func(t *Target) **float64 { return &t.Drop }, true},
}

// ParseTarget reads a target such as "drop=0.01" or "sqnr=30,agreement=0.99".
func ParseTarget(text string) (Target, error) {
	var t Target
	var errs []error
	for _, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		known := false
		for _, x := range targets {
			if name != x.name {
				continue
			}
			known = true
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			switch f := x.field(&t); {
			case err != nil || v-v != 0:
				errs = append(errs, fmt.Errorf("%s: want a number, got %q", name, value))
			case x.fraction && (v < 0 || v > 1):
				errs = append(errs, fmt.Errorf("%s: want a fraction of 0 to 1, got %v", name, v))
			case *f != nil:
				errs = append(errs, fmt.Errorf("%s: given twice", name))
			default:
				*f = &v
			}
		}
		if !known {
			errs = append(errs, fmt.Errorf("want sqnr=DB, agreement=FRACTION, top1=FRACTION or drop=FRACTION, or several with commas between them, got %q", part))
		}
	}
	return t, errors.Join(errs...)
}

// String is the target as [ParseTarget] reads it.
func (t Target) String() string {
	var parts []string
	for _, x := range targets {
		if f := *x.field(&t); f != nil {
			parts = append(parts, x.name+"="+strconv.FormatFloat(*f, 'g', -1, 64))
		}
	}
	return strings.Join(parts, ",")
}

// NeedsLabels reports whether the target can only be measured on samples with labels.
func (t Target) NeedsLabels() bool { return t.Top1 != nil || t.Drop != nil }

// Check reports a target that cannot be measured on the samples, or that the original does not reach; original is its top-1, nil without labels.
func (t Target) Check(original *float64) error {
	switch {
	case t.NeedsLabels() && original == nil:
		return fmt.Errorf("target %s needs samples with labels", t)
	case t.Top1 != nil && *t.Top1 > *original:
		return fmt.Errorf("target %s is more than the original reaches on these samples: top1=%.4f", t, *original)
	}
	return nil
}

// rounding is how far apart fractions may be that are the same count.
const rounding = 1e-9

// short is how far a measure is from the target, in dB and percentage points; 0 if it meets it.
func (t Target) short(m Measure, original *float64) float64 {
	sum := 0.0
	lacks := func(have *float64, want, scale float64) {
		if have == nil {
			sum += want * scale
			return
		}
		if lack := want - *have; lack > rounding {
			sum += lack * scale
		}
	}
	if t.SQNR != nil && m.SQNR != nil {
		lacks(m.SQNR, *t.SQNR, 1)
	}
	if t.Agreement != nil {
		lacks(m.Agreement, *t.Agreement, 100)
	}
	if t.Top1 != nil {
		lacks(m.Top1, *t.Top1, 100)
	}
	if t.Drop != nil {
		lacks(m.Top1, *original-*t.Drop, 100)
	}
	return sum
}
