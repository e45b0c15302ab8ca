package neuroquant

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// ExpertCoverage is how many calibration tokens the experts of a mixture saw.
type ExpertCoverage struct {
	Mixture string `json:"mixture"` // the name of its experts without their numbers
	Tokens  []int  `json:"tokens"`  // by expert; 0 for those that are not quantized as well
	// Few are the experts that saw too few, fewer than Least: method gptq rounds their matrices plainly, and scales of method awq rest on little.
	Few   []int `json:"too_few,omitempty"`
	Least int   `json:"least"`
}

var expertName = regexp.MustCompile(`^(.*\.experts)\.(\d+)\.`)

// expertCoverage gathers what layers of experts saw of so many calibration tokens.
func expertCoverage(layers []LayerErrors, most int) []ExpertCoverage {
	var out []ExpertCoverage
	index := map[string]int{}
	for _, l := range layers {
		m := expertName.FindStringSubmatch(l.Layer)
		if m == nil {
			continue
		}
		at, ok := index[m[1]]
		if !ok {
			at = len(out)
			index[m[1]] = at
			out = append(out, ExpertCoverage{Mixture: m[1]})
		}
		n, err := strconv.Atoi(m[2])
		if err != nil || n > len(layers) { // a name that only looks like one
			continue
		}
		c := &out[at]
		for len(c.Tokens) <= n {
			c.Tokens = append(c.Tokens, 0)
		}
		c.Tokens[n] = l.Tokens
	}
	for i := range out {
		c := &out[i]
		c.Least = quantize.LeastTokens(most)
		for e, n := range c.Tokens {
			if n < c.Least {
				c.Few = append(c.Few, e)
			}
		}
	}
	return out
}

// warnOfExperts logs which mixtures have experts that saw too few tokens.
func warnOfExperts(ctx context.Context, list []ExpertCoverage) {
	for _, c := range list {
		if len(c.Few) > 0 {
			progress.From(ctx).Log(fmt.Sprintf("quantize: %s: %d of %d experts saw fewer than %d calibration tokens: %v; more samples, or samples of more kinds, serve them",
				c.Mixture, len(c.Few), len(c.Tokens), c.Least, c.Few))
		}
	}
}

// expertsForecast says of a model with experts how many of so many tokens an expert sees on average; nothing of others.
func expertsForecast(p *quantize.Plan, config map[string]any, tokens int) string {
	most := 0
	for _, d := range p.Decisions {
		if m := expertName.FindStringSubmatch(d.Layer); m != nil {
			if n, err := strconv.Atoi(m[2]); err == nil {
				most = max(most, n+1)
			}
		}
	}
	each, err := strconv.Atoi(fmt.Sprint(config["num_experts_per_tok"]))
	if most == 0 || err != nil || each < 1 {
		return ""
	}
	return fmt.Sprintf("each of %d experts sees %d of the %d calibration tokens on average, were they spread evenly; those that see fewer than %d are rounded plainly (gptq), which the result tells",
		most, tokens*each/most, tokens, quantize.LeastTokens(tokens))
}
