package train

import (
	"fmt"
	"math"
	"strings"
)

// Schedules lists the names of schedules, the default first: a constant rate; a factor every so many epochs; half a cosine down to zero
// (Loshchilov and Hutter, "SGDR"); a line down to zero; up and down again (Smith and Topin, "Super-Convergence").
var Schedules = []string{"constant", "step", "cosine", "linear", "one_cycle"}

// Schedule changes the learning rate from step to step.
type Schedule struct {
	Name string // one of [Schedules]; "" is the first
	// WarmUp is how many steps the rate takes to rise, in a line, to where it starts.
	WarmUp int
	// StepEpochs and Gamma are those of step: the rate is multiplied by Gamma every StepEpochs epochs; 0 stands for 10 epochs and 0.1.
	StepEpochs int
	Gamma      float64
}

// Check reports settings that cannot be meant.
func (s *Schedule) Check() error {
	known := s.Name == ""
	for _, n := range Schedules {
		known = known || n == s.Name
	}
	switch {
	case !known:
		return fmt.Errorf("schedule: want one of %s, got %q", strings.Join(Schedules, ", "), s.Name)
	case s.WarmUp < 0 || s.StepEpochs < 0 || !(s.Gamma >= 0):
		return fmt.Errorf("schedule: warm-up, epochs of a step and gamma want 0 or more, got %d, %d and %v", s.WarmUp, s.StepEpochs, s.Gamma)
	}
	return nil
}

// factor is what the learning rate of a step, counted from 0, is multiplied by; perEpoch steps make an epoch and total all of training.
func (s *Schedule) factor(step, perEpoch, total int) float64 {
	if step < s.WarmUp {
		return float64(step+1) / float64(s.WarmUp+1)
	}
	done := float64(step-s.WarmUp) / float64(max(total-s.WarmUp, 1))
	switch s.Name {
	case "step":
		every, gamma := s.StepEpochs, s.Gamma
		if every == 0 {
			every = 10
		}
		if gamma == 0 {
			gamma = 0.1
		}
		return math.Pow(gamma, float64(step/max(perEpoch*every, 1)))
	case "cosine":
		return (1 + math.Cos(math.Pi*done)) / 2
	case "linear":
		return 1 - done
	case "one_cycle": // from 1/25 up for the first 30 %, then down to 1/250000, both along half a cosine
		const rise, first, last = 0.3, 1. / 25, 1. / 250000
		if done < rise {
			return 1 + (first-1)*(1+math.Cos(math.Pi*done/rise))/2
		}
		return last + (1-last)*(1+math.Cos(math.Pi*(done-rise)/(1-rise)))/2
	}
	return 1
}
