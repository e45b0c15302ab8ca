package onnx

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/protobuf"
	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

var printTable = flag.Bool("table", false, "print the conformance table")

// minPasses is how many of the 1,905 cases pass in all three forms; it only grows.
const minPasses = 1902

// forms are the shapes of a graph in which every case runs.
var forms = []struct {
	name string
	make func(*graph.Graph) (*graph.Graph, error)
}{
	{"raw", func(g *graph.Graph) (*graph.Graph, error) { return g, nil }},
	{"cleaned", func(g *graph.Graph) (*graph.Graph, error) {
		c := g.Clone()
		return c, pass.Clean(c)
	}},
	{"lowered", pass.Lower},
}

// verdict of a case: "pass", "unsupported" or "fail".
type verdict struct {
	state, reason string
	kinds         []string
}

// TestConformance runs the ONNX backend test data. Nothing may fail; what is not supported is listed with the reason.
func TestConformance(t *testing.T) {
	cases := conformanceCases(t)
	if len(cases) != 1905 {
		t.Fatalf("the archive has %d cases, want 1905", len(cases))
	}
	verdicts := make([]verdict, len(cases))
	for i, c := range cases {
		t.Run(c.suite+"/"+c.name, func(t *testing.T) {
			verdicts[i] = c.run()
			if v := verdicts[i]; v.state == "fail" {
				t.Error(v.reason)
			}
		})
	}
	counts := map[string]int{}
	ran := 0
	for _, v := range verdicts {
		if v.state != "" {
			ran++
		}
		counts[v.state]++
	}
	if *printTable {
		report(cases, verdicts)
	}
	if ran == len(cases) && counts["pass"] < minPasses {
		t.Errorf("%d cases pass, want at least %d", counts["pass"], minPasses)
	}
	for i, v := range verdicts {
		if v.state == "unsupported" {
			t.Logf("unsupported: %s: %s", cases[i].name, v.reason)
		}
	}
	t.Logf("conformance: %d pass, %d unsupported, %d fail of %d", counts["pass"], counts["unsupported"], counts["fail"], ran)
}

func (c *conformanceCase) run() (v verdict) {
	m, err := read(context.Background(), c.model, filepath.Join(os.TempDir(), "model.onnx"))
	v.kinds = kindsOf(c.model)
	if err != nil {
		v.state, v.reason = "fail", err.Error()
		if errors.Is(err, ErrUnsupported) {
			v.state = "unsupported"
		}
		return v
	}
	defer m.Close()
	for _, f := range forms {
		g, err := f.make(m.Graph)
		if err == nil {
			err = c.runGraph(g, m)
		}
		if err != nil {
			v.state, v.reason = "fail", fmt.Sprintf("%s: %v", f.name, err)
			if isUnsupportedRun(err) {
				v.state = "unsupported"
			}
			return v
		}
	}
	v.state = "pass"
	return v
}

// isUnsupportedRun reports whether a run met what only its input shows, such as an image format.
func isUnsupportedRun(err error) bool { return strings.HasSuffix(err.Error(), "not supported") }

// limit returns the tolerance of the reference runner but for two kinds of cases. JPEG decoders that satisfy ISO/IEC 10918-2 may
// round each coefficient differently, which the colour transform turns into up to two levels. The inverse DFT expects zeros as
// the rounding noise of single precision.
func (c *conformanceCase) limit() tolerance {
	switch {
	case strings.Contains(c.name, "decode_jpeg_"):
		return tolerance{0, 2}
	case strings.HasPrefix(c.name, "test_dft_inverse"):
		return tolerance{1e-3, 1e-6}
	}
	return tolerance{1e-3, 1e-7}
}

// isRandom reports whether a case expects the numbers of a particular generator: only types and shapes can be compared.
func (c *conformanceCase) isRandom() bool {
	return strings.HasPrefix(c.name, "test_bernoulli") || strings.HasPrefix(c.name, "test_training_dropout") ||
		strings.Contains(c.name, "RandomUniform") || strings.Contains(c.name, "random")
}

func (c *conformanceCase) runGraph(g *graph.Graph, m *model.Model) error {
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer s.Close()
	for k, files := range c.sets {
		in, err := c.inputs(g, files)
		if err != nil {
			return fmt.Errorf("set %d: %w", k, err)
		}
		out, err := s.Run(context.Background(), in)
		if err != nil {
			return fmt.Errorf("set %d: %w", k, err)
		}
		for j, o := range g.Outputs {
			b, ok := files[fmt.Sprintf("output_%d", j)]
			if !ok {
				continue
			}
			t := o.Type
			t.DType = out[j].DType
			want, err := decodeValue(b, t)
			if err != nil {
				return fmt.Errorf("set %d: expected output %d: %w", k, j, err)
			}
			if c.isRandom() {
				if out[j].DType != want.DType || !out[j].Shape.Equal(want.Shape) {
					return fmt.Errorf("set %d: output %q: got %v, want %v", k, o.Name, out[j], want)
				}
				continue
			}
			if err := c.limit().differ(out[j], want); err != nil {
				return fmt.Errorf("set %d: output %q: %w", k, o.Name, err)
			}
		}
	}
	return nil
}

// inputs decodes the input files. They are numbered as the file lists its graph inputs, parameters among them in old files:
// those were fixed when the model was opened.
func (c *conformanceCase) inputs(g *graph.Graph, files map[string][]byte) ([]*tensor.Tensor, error) {
	p, err := protobuf.ParseModel(c.model)
	if err != nil {
		return nil, err
	}
	in := make([]*tensor.Tensor, len(g.Inputs))
	for i, info := range p.Graph.Inputs {
		j := slices.IndexFunc(g.Inputs, func(v *graph.Value) bool { return v.Name == info.Name })
		b, ok := files[fmt.Sprintf("input_%d", i)]
		if j < 0 || !ok {
			continue
		}
		if in[j], err = decodeValue(b, g.Inputs[j].Type); err != nil {
			return nil, fmt.Errorf("input %d: %w", i, err)
		}
	}
	return in, nil
}

// kindsOf lists the operators of a model, those of subgraphs included.
func kindsOf(b []byte) []string {
	p, err := protobuf.ParseModel(b)
	if err != nil || p.Graph == nil {
		return nil
	}
	seen := map[string]bool{}
	var visit func(g *protobuf.Graph)
	visit = func(g *protobuf.Graph) {
		for _, n := range g.Nodes {
			seen[kind(n.Domain, n.OpType)] = true
			for _, a := range n.Attributes {
				if a.G != nil {
					visit(a.G)
				}
			}
		}
	}
	visit(p.Graph)
	var kinds []string
	for k := range seen {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	return kinds
}

// report prints the table of operators and the list of cases that are not supported.
func report(cases []*conformanceCase, verdicts []verdict) {
	type row struct{ pass, unsupported, fail int }
	rows := map[string]*row{}
	for _, v := range verdicts {
		for _, k := range v.kinds {
			r := rows[k]
			if r == nil {
				r = &row{}
				rows[k] = r
			}
			switch v.state {
			case "pass":
				r.pass++
			case "unsupported":
				r.unsupported++
			default:
				r.fail++
			}
		}
	}
	kinds := make([]string, 0, len(rows))
	for k := range rows {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	fmt.Printf("%-40s %6s %12s %6s\n", "operator", "pass", "unsupported", "fail")
	for _, k := range kinds {
		fmt.Printf("%-40s %6d %12d %6d\n", k, rows[k].pass, rows[k].unsupported, rows[k].fail)
	}
	total := row{}
	for i, v := range verdicts {
		switch v.state {
		case "pass":
			total.pass++
		case "unsupported":
			total.unsupported++
			fmt.Printf("unsupported: %s/%s: %s\n", cases[i].suite, cases[i].name, v.reason)
		case "fail":
			total.fail++
			fmt.Printf("fail: %s/%s: %s\n", cases[i].suite, cases[i].name, v.reason)
		}
	}
	fmt.Printf("%-40s %6d %12d %6d\n", "all cases", total.pass, total.unsupported, total.fail)
}

// TestRoundTrip parses every model and value of the archive, writes it and parses that again: nothing may be lost.
func TestRoundTrip(t *testing.T) {
	files := conformanceFiles(t)
	for name, b := range files {
		var err error
		if strings.HasSuffix(name, ".onnx") {
			err = sameModel(b)
		} else if strings.HasSuffix(name, ".pb") {
			err = sameValue(b)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func sameModel(b []byte) error {
	m, err := protobuf.ParseModel(b)
	if err != nil {
		return err
	}
	w, err := m.Marshal()
	if err != nil {
		return err
	}
	if int64(len(w)) != m.Size() {
		return fmt.Errorf("wrote %d bytes, the size is %d", len(w), m.Size())
	}
	again, err := protobuf.ParseModel(w)
	if err != nil {
		return err
	}
	return same(m, again)
}

// sameValue tries the three kinds of message that a value file may hold: the archive does not say which one it is, and what one
// kind does not know it must keep.
func sameValue(b []byte) error {
	if m, err := protobuf.ParseTensor(b); err == nil {
		w, err := m.Marshal()
		if err != nil {
			return err
		}
		again, err := protobuf.ParseTensor(w)
		if err != nil {
			return err
		}
		return same(m, again)
	}
	if m, err := protobuf.ParseSequence(b); err == nil {
		w, err := m.Marshal()
		if err != nil {
			return err
		}
		again, err := protobuf.ParseSequence(w)
		if err != nil {
			return err
		}
		return same(m, again)
	}
	m, err := protobuf.ParseOptional(b)
	if err != nil {
		return err
	}
	w, err := m.Marshal()
	if err != nil {
		return err
	}
	again, err := protobuf.ParseOptional(w)
	if err != nil {
		return err
	}
	return same(m, again)
}
