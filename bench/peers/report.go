package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
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
		m := mean{Engine: k[0], Kind: k[1], Cases: len(ratios[k]), Ratio: geometricMean(ratios[k]), Limit: torchMeanBar}
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

// grid is a table: a header and rows of cells.
type grid struct {
	title  string
	header []string
	rows   [][]string
}

func (s *summary) grids() []grid {
	cases := grid{"Time of a call", []string{"peer", "model", "type", "batch", "threads", "peer ms", "ours ms", "ratio", "limit", "", "peer share", "ours share", "cpu ratio", "others", "error"}, nil}
	for _, r := range s.Results {
		cases.rows = append(cases.rows, []string{
			r.Engine, r.Model, r.Kind, fmt.Sprint(r.Batch), fmt.Sprint(r.Threads), milliseconds(r.Peer), milliseconds(r.Ours),
			times(r.Ratio), times(r.Limit), verdict(r.Pass), percent(r.PeerShare), percent(r.OursShare), times(r.RatioCPU), percent(r.Others), fmt.Sprintf("%.1e", r.Error),
		})
	}
	means := grid{"Geometric means", []string{"peer", "type", "cases", "ratio", "limit", ""}, nil}
	for _, m := range s.Means {
		means.rows = append(means.rows, []string{m.Engine, m.Kind, fmt.Sprint(m.Cases), times(m.Ratio), times(m.Limit), verdict(m.Pass)})
	}
	ups := grid{"int8 over float32, both ours", []string{"model", "batch", "threads", "ratio", "limit", ""}, nil}
	for _, u := range s.Speedups {
		limit := "-"
		if u.Limit > 0 {
			limit = times(u.Limit)
		}
		ups.rows = append(ups.rows, []string{u.Model, fmt.Sprint(u.Batch), fmt.Sprint(u.Threads), times(u.Ratio), limit, verdict(u.Pass)})
	}
	constant := grid{"From run to run", []string{"model", "type", "equal for 1 to 4 threads", "allocations a run", "bytes", "of them outputs"}, nil}
	for _, c := range s.Steady {
		constant.rows = append(constant.rows, []string{c.Model, c.Kind, verdict(c.Equal), fmt.Sprintf("%.1f", c.Allocs), fmt.Sprintf("%.0f", c.Bytes), fmt.Sprint(c.Outputs)})
	}
	memory := grid{"Memory of ResNet-50 float32, batch 1", []string{"weights", "peak", "limit", "", "anonymous", "mapped"}, nil}
	if m := s.Memory; m != nil {
		memory.rows = append(memory.rows, []string{mib(m.Weights), mib(m.Peak), mib(m.Limit), verdict(m.Peak <= m.Limit), mib(m.Heap), mib(m.Mapped)})
	}
	crowd := grid{"Time of a call beside spinning processes, over that alone", []string{"model", "type", "threads", "processes", "peer", "ours", "limit", ""}, nil}
	for _, c := range s.Crowded {
		crowd.rows = append(crowd.rows, []string{c.Model, c.Kind, fmt.Sprint(c.Threads), fmt.Sprint(c.Spinners), times(c.Peer), times(c.Ours), times(c.Limit), verdict(c.Pass)})
	}
	var out []grid
	for _, g := range []grid{cases, means, ups, constant, memory, crowd} {
		if len(g.rows) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// text writes aligned columns.
func (s *summary) text(w io.Writer) error {
	var b strings.Builder
	b.WriteString(s.Machine.String() + "\n")
	for _, g := range s.grids() {
		fmt.Fprintf(&b, "\n%s\n", g.title)
		width := make([]int, len(g.header))
		all := append([][]string{g.header}, g.rows...)
		for _, row := range all {
			for i, cell := range row {
				width[i] = max(width[i], len(cell))
			}
		}
		for _, row := range all {
			var line strings.Builder
			for i, cell := range row {
				fmt.Fprintf(&line, "%-*s  ", width[i], cell)
			}
			b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown writes the same as tables.
func (s *summary) markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(s.Machine.String() + "\n")
	for _, g := range s.grids() {
		fmt.Fprintf(&b, "\n### %s\n\n| %s |\n|%s\n", g.title, strings.Join(g.header, " | "), strings.Repeat(" --- |", len(g.header)))
		for _, row := range g.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *summary) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

func (m *machine) String() string {
	return fmt.Sprintf("%s, %d processors, %s; against %s", m.CPU, m.CPUs, m.Implementation, strings.Join(m.Peers, ", "))
}

func milliseconds(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

func times(v float64) string { return fmt.Sprintf("%.2fx", v) }

func percent(v float64) string {
	if v < 0 || math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}

func mib(v int64) string { return fmt.Sprintf("%.1f MiB", float64(v)/(1<<20)) }

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "MISSED"
}
