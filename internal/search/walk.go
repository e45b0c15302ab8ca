package search

import (
	"cmp"
	"context"
	"math"
	"slices"
)

// walk goes through the search: calibrators with everything in 8 bits; then layers ranked and left in float, as few as the target
// takes; then other calibrators for what is left; then each layer in float tried in 8 bits again, and against cheaper ones.
func (w *walk) walk(ctx context.Context) error {
	w.step = "calibrators"
	for _, c := range w.Calibrators {
		if _, err := w.measure(ctx, Choice{Calibrator: c}, 0); err != nil {
			return err
		}
	}
	for !w.best.Meets {
		before := len(w.best.Float)
		if err := w.layers(ctx); err != nil {
			return err
		}
		if len(w.best.Float) <= before { // nothing that is left, or that was ranked, would help
			w.result.Stopped = w.cut
			return nil
		}
	}
	if len(w.best.Float) == 0 {
		return nil
	}
	w.step = "calibrators again"
	float := w.best.Float
	for _, c := range w.Calibrators {
		if _, err := w.measure(ctx, Choice{Calibrator: c, Float: float, Ranges: w.best.Ranges}, 0); err != nil {
			return err
		}
	}
	if err := w.back(ctx); err != nil {
		return err
	}
	return w.exchange(ctx)
}

// layers leaves more and more layers in float, in the order of what that gains for what it costs, until the target is met, and
// then finds how few of them do.
func (w *walk) layers(ctx context.Context) error {
	from := w.best.Choice
	ranks, err := w.rank(ctx, from)
	if err != nil {
		return err
	}
	w.step = "layers"
	chain := w.chain(ranks, from)
	meets := func(k int) (bool, error) {
		p, err := w.measure(ctx, w.with(from, chain[k]...), 0)
		return p.Meets, err
	}
	// Doubling steps up to the first that meets the target, then halving between the last two.
	least, most := -1, -1 // the longest known to be too short, the shortest known to do
	for k := 0; k < len(chain); k = min(2*k+1, max(len(chain)-1, k+1)) {
		ok, err := meets(k)
		if err != nil {
			return err
		}
		if ok {
			most = k
			break
		}
		least = k
	}
	for most >= 0 && most-least > 1 {
		k := (least + most) / 2
		ok, err := meets(k)
		if err != nil {
			return err
		}
		if ok {
			most = k
		} else {
			least = k
		}
	}
	return nil
}

// rank measures what each unit, and each range that no single unit can leave alone, gains in float.
func (w *walk) rank(ctx context.Context, from Choice) ([]Rank, error) {
	w.step = "rank"
	base, err := w.measure(ctx, from, w.RankSamples)
	if err != nil {
		return nil, err
	}
	first := w.result.Ranking == nil
	if first {
		w.result.Baseline = base.SQNR
	}
	var list []Rank
	for _, u := range w.order {
		if !slices.Contains(from.Float, u) {
			list = append(list, Rank{Layers: []string{u}})
		}
	}
	for _, r := range w.subject.Ranges() {
		left := slices.DeleteFunc(w.sorted(r.Units), func(u string) bool { return slices.Contains(from.Float, u) })
		if len(left) > 1 && !slices.ContainsFunc(list, func(x Rank) bool { return slices.Equal(x.Layers, left) }) {
			list = append(list, Rank{Layers: left, Value: r.Value})
		}
	}
	// The ranking takes at most half of what is left of the budget.
	evaluations, seconds := math.MaxInt, math.Inf(1)
	if w.Evaluations > 0 {
		evaluations = (w.result.Evaluations + w.Evaluations) / 2
	}
	if w.Time > 0 {
		seconds = (w.seconds + w.Time.Seconds()) / 2
	}
	var ranks []Rank
	for _, r := range list {
		w.cut = ""
		switch {
		case len(ranks) == 0:
		case w.result.Evaluations >= evaluations:
			w.cut = OutOfEvaluations
		case w.seconds >= seconds:
			w.cut = OutOfTime
		}
		if w.cut != "" {
			break
		}
		c := w.with(from, r.Layers...)
		if len(c.Float) == len(w.order) { // the original
			continue
		}
		p, err := w.measure(ctx, c, w.RankSamples)
		if err != nil {
			return nil, err
		}
		r.SQNR, r.Gain, r.Cost = p.SQNR, base.noise()-p.noise(), w.costOf(r.Layers)
		ranks = append(ranks, r)
	}
	slices.SortStableFunc(ranks, func(a, b Rank) int { return cmp.Compare(b.Gain/b.Cost, a.Gain/a.Cost) })
	if first {
		w.result.Ranking = ranks
	}
	return ranks, nil
}

// chain returns growing sets of layers to leave in float. Each adds the layers that gain most for their cost, given those before:
// gains of layers add up, and what a range gains beyond its layers comes when the last of them is in float. Layers that gain nothing
// come last.
func (w *walk) chain(ranks []Rank, from Choice) [][]string {
	single := map[string]float64{}
	for _, r := range ranks {
		if len(r.Layers) == 1 {
			single[r.Layers[0]] = r.Gain
		}
	}
	gain := func(set map[string]bool) float64 {
		sum := 0.0
		for u := range set {
			sum += max(single[u], 0)
		}
		for _, r := range ranks {
			if len(r.Layers) < 2 || slices.ContainsFunc(r.Layers, func(u string) bool { return !set[u] }) {
				continue
			}
			more := r.Gain
			for _, u := range r.Layers {
				more -= max(single[u], 0)
			}
			sum += max(more, 0)
		}
		return sum
	}
	set := map[string]bool{}
	var out [][]string
	for {
		have, best, rate := gain(set), -1, 0.0
		for i, r := range ranks {
			union, cost := map[string]bool{}, 0.0
			for u := range set {
				union[u] = true
			}
			for _, u := range r.Layers {
				if !union[u] {
					union[u] = true
					cost += w.cost[u]
				}
			}
			if cost == 0 {
				continue
			}
			if x := (gain(union) - have) / cost; x > rate {
				best, rate = i, x
			}
		}
		if best < 0 { // what is left gains nothing by itself, but may together
			best = slices.IndexFunc(ranks, func(r Rank) bool { return len(r.Layers) == 1 && !set[r.Layers[0]] })
		}
		if best < 0 {
			return out
		}
		for _, u := range ranks[best].Layers {
			set[u] = true
		}
		if len(set)+len(from.Float) == len(w.order) { // the original
			return out
		}
		var list []string
		for u := range set {
			list = append(list, u)
		}
		out = append(out, w.sorted(list))
	}
}

// back tries each layer that is in float in 8 bits again, those that cost most first: as it would be, and with other calibrators for
// the ranges that it has a part in.
func (w *walk) back(ctx context.Context) error {
	w.step = "back to 8 bits"
	for _, u := range w.costly(w.best.Float) {
		p, err := w.measure(ctx, w.without(w.best.Choice, u), 0)
		if err != nil {
			return err
		}
		if p.Meets {
			continue
		}
		if err := w.recalibrate(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// recalibrate tries to bring a layer back into 8 bits with another calibrator for one of its ranges.
func (w *walk) recalibrate(ctx context.Context, layer string) error {
	c := w.without(w.best.Choice, layer)
	for _, r := range w.subject.Ranges() {
		if !slices.Contains(r.Units, layer) {
			continue
		}
		for _, m := range w.Calibrators {
			if m == c.Calibrator {
				continue
			}
			other := c
			other.Ranges = map[string]string{}
			for k, v := range c.Ranges {
				other.Ranges[k] = v
			}
			other.Ranges[r.Value] = m
			p, err := w.measure(ctx, other, 0)
			if err != nil || p.Meets {
				return err
			}
		}
	}
	return nil
}

// exchanged is how many layers are tried in place of one.
const exchanged = 5

// exchange tries cheaper layers in place of each that is in float, the best ranked first.
func (w *walk) exchange(ctx context.Context) error {
	w.step = "exchange"
	for _, u := range w.costly(w.best.Float) {
		tried := 0
		for _, r := range w.result.Ranking {
			if tried == exchanged {
				break
			}
			if len(r.Layers) != 1 || r.Gain <= 0 || w.cost[r.Layers[0]] >= w.cost[u] || slices.Contains(w.best.Float, r.Layers[0]) {
				continue
			}
			tried++
			p, err := w.measure(ctx, w.with(w.without(w.best.Choice, u), r.Layers[0]), 0)
			if err != nil {
				return err
			}
			if p.Meets {
				break
			}
		}
	}
	return nil
}

// costly sorts layers by falling cost.
func (w *walk) costly(layers []string) []string {
	out := slices.Clone(layers)
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(w.cost[b], w.cost[a]) })
	return out
}
