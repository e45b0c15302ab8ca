package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/neurotrain/neuroquant/bench/measure"
)

// Bars of the comparison with ONNX Runtime: the geometric mean over all cases of an element type, and each case.
var (
	meanBar = map[string]float64{"float32": 1, "int8": 1.1}
	caseBar = 0.8
)

// Bars of the comparison with PyTorch.
const (
	torchMeanBar = 1.3
	torchCaseBar = 1.0
)

// result is one comparison.
type result struct {
	Engine  string `json:"peer"` // kind of peer: onnxruntime, or torch and its mode
	Model   string `json:"model"`
	Kind    string `json:"type"`
	Batch   int    `json:"batch"`
	Threads int    `json:"threads"`
	pair
	// Shares of the peak of the machine's multiply-add instructions of the element type on that many threads.
	PeerShare float64 `json:"peer_share"`
	OursShare float64 `json:"ours_share"`
	Limit     float64 `json:"limit"` // the least ratio that passes
	Pass      bool    `json:"pass"`
}

// speedup is how many times faster int8 is than float32 of the same network, both ours.
type speedup struct {
	Model   string  `json:"model"`
	Batch   int     `json:"batch"`
	Threads int     `json:"threads"`
	Ratio   float64 `json:"ratio"`
	Limit   float64 `json:"limit,omitempty"`
	Pass    bool    `json:"pass"`
}

// mean is the geometric mean of the ratios to one kind of peer.
type mean struct {
	Engine string  `json:"peer"`
	Kind   string  `json:"type"`
	Cases  int     `json:"cases"`
	Ratio  float64 `json:"ratio"`
	Limit  float64 `json:"limit"`
	Pass   bool    `json:"pass"`
}

// machine is what the figures were taken on.
type machine struct {
	CPU            string             `json:"cpu"`
	CPUs           int                `json:"cpus"`
	Implementation string             `json:"implementation"`
	Peaks          map[string]float64 `json:"peaks"` // operations a second, by element type and threads
	Peers          []string           `json:"peers"`
}

// summary is everything that one run of the benchmark found.
type summary struct {
	Machine  machine    `json:"machine"`
	Results  []result   `json:"results"`
	Means    []mean     `json:"means"`
	Speedups []speedup  `json:"int8_over_float32"`
	Memory   *memoryUse `json:"memory,omitempty"`
	Steady   []steady   `json:"steady"`
	Crowded  []crowded  `json:"crowded,omitempty"`
}

// conclude computes what follows from the single results.
func (s *summary) conclude() {
	ratios := map[[2]string][]float64{}
	var order [][2]string
	for _, r := range s.Results {
		k := [2]string{r.Engine, r.Kind}
		if ratios[k] == nil {
			order = append(order, k)
		}
		ratios[k] = append(ratios[k], r.Ratio)
	}
	for _, k := range order {
		m := mean{Engine: k[0], Kind: k[1], Cases: len(ratios[k]), Ratio: measure.GeometricMean(ratios[k]), Limit: torchMeanBar}
		if k[0] == "onnxruntime" {
			m.Limit = meanBar[k[1]]
		}
		m.Pass = m.Ratio >= m.Limit
		s.Means = append(s.Means, m)
	}
	for _, i := range s.Results {
		for _, f := range s.Results {
			if i.Kind != "int8" || f.Kind != "float32" || i.Engine != "onnxruntime" || f.Engine != i.Engine || i.Model != f.Model || i.Batch != f.Batch || i.Threads != f.Threads {
				continue
			}
			u := speedup{Model: i.Model, Batch: i.Batch, Threads: i.Threads, Ratio: f.Ours / i.Ours}
			for _, n := range networks {
				if n.name == i.Model {
					u.Limit = n.minInt8
				}
			}
			u.Pass = u.Ratio >= u.Limit
			s.Speedups = append(s.Speedups, u)
		}
	}
}

func (s *summary) grids() []measure.Grid {
	cases := measure.Grid{Title: "Time of a call", Header: []string{"peer", "model", "type", "batch", "threads", "peer ms", "ours ms", "ratio", "limit", "", "peer share", "ours share", "cpu ratio", "others", "error"}}
	for _, r := range s.Results {
		cases.Rows = append(cases.Rows, []string{
			r.Engine, r.Model, r.Kind, fmt.Sprint(r.Batch), fmt.Sprint(r.Threads), measure.Milliseconds(r.Peer), measure.Milliseconds(r.Ours),
			measure.Times(r.Ratio), measure.Times(r.Limit), measure.Verdict(r.Pass), measure.Percent(r.PeerShare), measure.Percent(r.OursShare), measure.Times(r.RatioCPU), measure.Percent(r.Others), fmt.Sprintf("%.1e", r.Error),
		})
	}
	means := measure.Grid{Title: "Geometric means", Header: []string{"peer", "type", "cases", "ratio", "limit", ""}}
	for _, m := range s.Means {
		means.Rows = append(means.Rows, []string{m.Engine, m.Kind, fmt.Sprint(m.Cases), measure.Times(m.Ratio), measure.Times(m.Limit), measure.Verdict(m.Pass)})
	}
	ups := measure.Grid{Title: "int8 over float32, both ours", Header: []string{"model", "batch", "threads", "ratio", "limit", ""}}
	for _, u := range s.Speedups {
		limit := "-"
		if u.Limit > 0 {
			limit = measure.Times(u.Limit)
		}
		ups.Rows = append(ups.Rows, []string{u.Model, fmt.Sprint(u.Batch), fmt.Sprint(u.Threads), measure.Times(u.Ratio), limit, measure.Verdict(u.Pass)})
	}
	constant := measure.Grid{Title: "From run to run", Header: []string{"model", "type", "equal for 1 to 4 threads", "allocations a run", "bytes", "of them outputs"}}
	for _, c := range s.Steady {
		constant.Rows = append(constant.Rows, []string{c.Model, c.Kind, measure.Verdict(c.Equal), fmt.Sprintf("%.1f", c.Allocs), fmt.Sprintf("%.0f", c.Bytes), fmt.Sprint(c.Outputs)})
	}
	memory := measure.Grid{Title: "Memory of ResNet-50 float32, batch 1", Header: []string{"weights", "peak", "limit", "", "anonymous", "mapped"}}
	if m := s.Memory; m != nil {
		memory.Rows = append(memory.Rows, []string{measure.MiB(m.Weights), measure.MiB(m.Peak), measure.MiB(m.Limit), measure.Verdict(m.Peak <= m.Limit), measure.MiB(m.Heap), measure.MiB(m.Mapped)})
	}
	crowd := measure.Grid{Title: "Time of a call beside spinning processes, over that alone", Header: []string{"model", "type", "threads", "processes", "peer", "ours", "limit", ""}}
	for _, c := range s.Crowded {
		crowd.Rows = append(crowd.Rows, []string{c.Model, c.Kind, fmt.Sprint(c.Threads), fmt.Sprint(c.Spinners), measure.Times(c.Peer), measure.Times(c.Ours), measure.Times(c.Limit), measure.Verdict(c.Pass)})
	}
	var out []measure.Grid
	for _, g := range []measure.Grid{cases, means, ups, constant, memory, crowd} {
		if len(g.Rows) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// text writes aligned columns.
func (s *summary) text(w io.Writer) error { return measure.Text(w, s.Machine.String(), s.grids()) }

// markdown writes the same as tables.
func (s *summary) markdown(w io.Writer) error {
	return measure.Markdown(w, s.Machine.String(), s.grids())
}

func (m *machine) String() string {
	return fmt.Sprintf("%s, %d processors, %s; against %s", m.CPU, m.CPUs, m.Implementation, strings.Join(m.Peers, ", "))
}
