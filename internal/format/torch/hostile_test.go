package torch

import (
	"context"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/exec"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/tensor"
)

// maxGrowth is what opening a file may take beyond its size.
const maxGrowth = 64 << 20

// Code of an archive that would take time or memory without end, or reach outside of its archive, is an error; nothing of it is
// run but arithmetic on sizes.
func TestHostileCodeIsRefused(t *testing.T) {
	names, data := members(t, "testdata/programs/arithmetic.trace.pt")
	code := names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, "__torch__.py") })]
	original := string(data[code])
	start := strings.Index(original, "    _0 = ")
	const open = "    x = torch.relu(x)\n"
	body := func(lines ...string) string {
		return open + "    " + strings.Join(lines, "\n    ") + "\n    return x\n"
	}
	loop := func(before, step string) string {
		return body(before, "_r = True", "_i = 0", "while _r:", "  "+step, "  _i = torch.add(_i, 1)", "  _r = torch.lt(_i, 4611686018427387904)")
	}
	for name, c := range map[string]struct{ code, want string }{
		"import":                   {body("import os"), "__torch__.py"},
		"eval":                     {body(`_1 = eval("1")`), "the function eval"},
		"call of a name":           {body(`_1 = __import__("os")`), "the function __import__"},
		"dunder":                   {body(`_1 = (x).__class__.__bases__`), ""},
		"system":                   {body(`_1 = ops.os.system("touch x")`), "os::system"},
		"load":                     {body(`_1 = torch.load("x")`), "aten::load"},
		"save":                     {body(`_1 = torch.save(x, "/tmp/x")`), "aten::save"},
		"from_file":                {body(`_1 = torch.from_file("/etc/passwd", False, 10)`), "aten::from_file"},
		"open":                     {body(`_1 = open("/etc/passwd")`), "the function open"},
		"another file":             {body("_2 = __torch__.os.f(x)"), "no member arithmetic.trace/code/__torch__/os.py"},
		"endless loop":             {body("_r = True", "while _r:", "  _r = True"), ""},
		"long range":               {body("for _i in range(4611686018427387904):", "  x = torch.relu(x)"), ""},
		"long loop of nodes":       {loop("_1 = 0", "x = torch.relu(x)"), ""},
		"doubled list":             {loop("_1 = [1]", "_1 = torch.add(_1, _1)"), ""},
		"repeated list":            {body("_1 = torch.mul([0], 4611686018427387904)"), ""},
		"doubled text":             {loop(`_1 = "aaaaaaaaaaaaaaaa"`, "_1 = torch.add(_1, _1)"), ""},
		"formatted text":           {loop(`_1 = "{}{}"`, "_1 = torch.format(_1, _1, _1)"), ""},
		"nested list":              {loop("_1 = [[1]]", "_1 = [_1, _1]"), ""},
		"big constant":             {body("_1 = torch.zeros([1048576, 1048576])", "x = torch.add(x, _1)"), ""},
		"big arange":               {body("_1 = torch.arange(4611686018427387904)", "x = torch.add(x, _1)"), ""},
		"big repeat":               {body("x = torch.repeat(x, [1048576, 1048576, 1048576])"), ""},
		"big unbind":               {body("_1 = torch.unbind(torch.expand(torch.unsqueeze(x, 0), [1073741824, -1, -1]))"), ""},
		"big split":                {body("_1 = torch.split(torch.expand(torch.unsqueeze(x, 0), [1073741824, -1, -1]), 1)"), ""},
		"big one_hot":              {body("_1 = torch.one_hot(torch.zeros([2], dtype=4), 4611686018427387904)"), ""},
		"endless recursion":        {open + "    return (self).forward(x, )\n", "deep"},
		"deep expression":          {open + "    return " + strings.Repeat("torch.relu(", 5000) + "x" + strings.Repeat(")", 5000) + "\n", "in one another"},
		"deep list":                {body("_1 = " + strings.Repeat("[", 100000)), "in one another"},
		"deep block":               {open + deepBlock(3000), "201 blocks"},
		"long name":                {body("_1 = " + strings.Repeat("a", 1<<20)), ""},
		"long message":             {body(`ops.prim.RaiseException("` + strings.Repeat("a", 1<<20) + `")`), ""},
		"long texts":               {body(`_1 = torch.view(x, "` + strings.Repeat("a", 1<<20) + `")`), ""},
		"long operator":            {body(`_1 = ops.a` + strings.Repeat(".a", 1<<18) + `(x)`), ""},
		"number beyond all":        {body("_1 = " + strings.Repeat("9", 1<<16)), ""},
		"text that does not end":   {body(`_1 = "` + strings.Repeat("a", 1<<16)), ""},
		"bytes that are no text":   {body("_1 = \xff\xfe\x00"), "__torch__.py"},
		"constant that is absent":  {body("_1 = CONSTANTS.c4611686018427387904"), "constant"},
		"attribute that is absent": {body("_1 = self.secret"), "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			data[code] = []byte(original[:start] + c.code)
			path := filepath.Join(t.TempDir(), "model.pt")
			writeZip(t, path, names, data)
			o := model.OpenOptions{Inputs: map[string][]graph.Dim{"": {graph.Known(3), graph.Known(6)}}}
			stop := watch()
			m, err := Open(model.WithOpenOptions(context.Background(), o), path)
			if err == nil { // what is too large for any machine may show when it runs
				err = runOnce(m.Graph)
				m.Close()
			}
			grown := stop()
			if grown > uint64(maxGrowth+len(data[code])) {
				t.Errorf("it took %d MiB", grown>>20)
			}
			if err == nil {
				t.Error("it runs")
			} else if !strings.Contains(err.Error(), c.want) || len(err.Error()) > 4000 {
				t.Errorf("error of %d characters %.400v, want %q", len(err.Error()), err, c.want)
			}
		})
	}
}

// runOnce runs a graph on zeros.
func runOnce(g *graph.Graph) error {
	s, err := exec.NewSession(g, exec.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer s.Close()
	_, err = s.Run(context.Background(), []*tensor.Tensor{tensor.New(tensor.Float32, 3, 6)})
	return err
}

// watch returns what tells how far the live memory has grown at most since.
func watch() (stop func() uint64) {
	old := debug.SetGCPercent(20)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	start, peak := m.HeapAlloc, m.HeapAlloc
	done, ended := make(chan struct{}), make(chan struct{})
	sample := func() {
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				sample()
				return
			case <-time.After(2 * time.Millisecond):
				sample()
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-ended
		debug.SetGCPercent(old)
		return peak - start
	}
}

// deepBlock is code of blocks within blocks.
func deepBlock(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", 4+i) + "if True:\n")
	}
	b.WriteString(strings.Repeat(" ", 4+depth) + "x = torch.relu(x)\n    return x\n")
	return b.String()
}
