package torch

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/internal/model"
)

// members reads a zip archive into memory.
func members(t testing.TB, path string) (names []string, data map[string][]byte) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data = map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
		data[f.Name] = b
	}
	return names, data
}

// build packs members and builds the graph of the archive. Programs run for long only if they are many: the watchdog tells.
func buildArchive(t testing.TB, names []string, data map[string][]byte) {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, n := range names {
		m, err := w.CreateHeader(&zip.FileHeader{Name: n, Method: zip.Store})
		if err != nil {
			return
		}
		if _, err := m.Write(data[n]); err != nil {
			return
		}
	}
	if w.Close() != nil {
		return
	}
	watchdog := time.AfterFunc(20*time.Second, func() { panic("a program of an archive takes longer than 20 s") })
	defer watchdog.Stop()
	f, err := checkpoint.Parse("fuzz.pt", buf.Bytes())
	if err != nil {
		return
	}
	g, err := build(context.Background(), f, &model.Model{Metadata: map[string]string{}})
	if err == nil && g.Verify() != nil {
		t.Fatalf("a graph that is not well formed: %v", g.Verify())
	}
	_, _ = contents(context.Background(), f)
}

// programs lists the archives of the tests of a kind.
func programs(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/programs/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatal("there are no programs", err)
	}
	slices.Sort(files)
	return files
}

var token = regexp.MustCompile(`[A-Za-z_][A-Za-z_0-9.]*|-?[0-9][0-9.e+-]*|"[^"\n]*"|[^\s]`)

// oddTokens are what code is likely not to expect.
var oddTokens = []string{
	"0", "-1", "1", "2", "3", "7", "9223372036854775807", "-9223372036854775807", "4294967296", "1e30", "None", "True", "False", "inf", "[]", "[0]", "[1, -1]", "[-1]", "\"x\"",
	"torch.size", "torch.add", "torch.view", "torch.cat", "torch.slice", "torch.select", "torch.expand", "torch.index", "torch.einsum", "torch.conv2d", "torch.max_pool2d", "torch.pad", "torch.split",
	"torch.chunk", "torch.unbind", "torch.roll", "torch.gather", "torch.scatter", "torch.std", "torch.topk", "torch.one_hot", "torch.diagonal", "torch.im2col", "torch.upsample_bilinear2d", "torch.lstm",
	"torch.arange", "torch.zeros", "torch.full", "torch.linspace", "torch.repeat", "torch.unfold", "torch.meshgrid", "torch.copy_", "torch.mul_", "torch.index_put_", "torch.squeeze", "torch.permute",
	"torch.floordiv", "torch.remainder", "torch.append", "torch.len", "torch.tensor", "torch.movedim", "torch.flatten", "torch.tensordot", "torch.embedding_bag", "torch.layer_norm", "torch.group_norm",
}

// FuzzScript follows code in which tokens are replaced: edits are pairs of a place and what comes there.
func FuzzScript(f *testing.F) {
	type archive struct {
		names []string
		data  map[string][]byte
		code  []string
	}
	var all []archive
	for i, p := range append(programs(f, "*.trace.pt"), programs(f, "*.script.pt")...) {
		names, data := members(f, p)
		a := archive{names: names, data: data}
		for _, n := range names {
			if strings.HasSuffix(n, ".py") {
				a.code = append(a.code, n)
			}
		}
		all = append(all, a)
		for j := range 8 {
			f.Add(byte(i), byte(j), []byte{byte(40 * j), byte(j), byte(i), byte(3 * j), byte(j), byte(7 * i)})
		}
	}
	f.Fuzz(func(t *testing.T, which, file byte, edits []byte) {
		a := all[int(which)%len(all)]
		name := a.code[int(file)%len(a.code)]
		text := a.data[name]
		places := token.FindAllIndex(text, -1)
		for ; len(edits) >= 3 && len(places) > 0; edits = edits[3:] {
			p := places[(int(edits[0])<<8|int(edits[1]))%len(places)]
			with := oddTokens[int(edits[2])%len(oddTokens)]
			if edits[2] >= 200 { // another part of the same code
				o := places[(int(edits[0])*31+int(edits[2]))%len(places)]
				with = string(text[o[0]:o[1]])
			}
			text = slices.Concat(text[:p[0]], []byte(with), text[p[1]:])
			places = token.FindAllIndex(text, -1)
		}
		data := map[string][]byte{}
		for n, b := range a.data {
			data[n] = b
		}
		data[name] = text
		buildArchive(t, a.names, data)
	})
}

// FuzzScriptText follows code of any kind in place of that of a network.
func FuzzScriptText(f *testing.F) {
	files := programs(f, "*.trace.pt")
	for i, p := range files {
		names, data := members(f, p)
		for _, n := range names {
			if strings.HasSuffix(n, ".py") && len(data[n]) < 1<<14 {
				f.Add(byte(i), string(data[n]))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, text string) {
		names, data := members(t, files[int(which)%len(files)])
		for _, n := range names {
			if strings.HasSuffix(n, ".py") {
				data[n] = []byte(text)
			}
		}
		buildArchive(t, names, data)
	})
}

// oddValues are what JSON of torch.export is likely not to have.
var oddValues = []any{
	nil, 0, 1, -1, 2, 3, 7, 1 << 20, int64(math.MaxInt64), int64(math.MinInt64), 1e300, 0.5, "x", "", true, false,
	[]any{},
	[]any{0},
	[]any{-1, 1 << 40},
	map[string]any{},
	map[string]any{"as_int": -5},
	map[string]any{"as_none": true},
	map[string]any{"as_ints": []any{0, 0}},
	map[string]any{"as_tensor": map[string]any{"name": "x"}},
	"torch.ops.aten.view.default", "torch.ops.aten.cat.default", "torch.ops.aten.slice.Tensor",
	"torch.ops.aten.index.Tensor", "torch.ops.aten.max_pool2d.default", "torch.ops.aten.expand.default", "_operator.getitem", "_operator.floordiv", "torch.ops.higher_order.wrap_with_set_grad_enabled",
}

// FuzzExport builds programs of torch.export in which values of the JSON are replaced.
func FuzzExport(f *testing.F) {
	type archive struct {
		names []string
		data  map[string][]byte
		json  []string
	}
	var all []archive
	for i, p := range programs(f, "*.export.pt2") {
		names, data := members(f, p)
		a := archive{names: names, data: data}
		for _, n := range names {
			if strings.HasSuffix(n, ".json") {
				a.json = append(a.json, n)
			}
		}
		all = append(all, a)
		for j := range 8 {
			f.Add(byte(i), byte(j), []byte{byte(j), byte(40 * j), byte(j), byte(i), byte(3 * j), byte(7 * i)})
		}
	}
	f.Fuzz(func(t *testing.T, which, file byte, edits []byte) {
		a := all[int(which)%len(all)]
		name := a.json[int(file)%len(a.json)]
		d := json.NewDecoder(bytes.NewReader(a.data[name]))
		d.UseNumber()
		var root any
		if d.Decode(&root) != nil {
			t.Fatal("the JSON of a test file cannot be read")
		}
		for ; len(edits) >= 3; edits = edits[3:] {
			var slots []func(any)
			walk(root, &slots)
			if len(slots) == 0 {
				break
			}
			slots[(int(edits[0])<<8|int(edits[1]))%len(slots)](oddValues[int(edits[2])%len(oddValues)])
		}
		text, err := json.Marshal(root)
		if err != nil {
			return
		}
		data := map[string][]byte{}
		for n, b := range a.data {
			data[n] = b
		}
		data[name] = text
		buildArchive(t, a.names, data)
	})
}

// walk collects what sets each value within a value.
func walk(v any, slots *[]func(any)) {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if k == "metadata" {
				continue
			}
			*slots = append(*slots, func(x any) { v[k] = x })
			walk(v[k], slots)
		}
	case []any:
		for i := range v {
			*slots = append(*slots, func(x any) { v[i] = x })
			walk(v[i], slots)
		}
	}
}

// A program of any kind is refused with an error that names what is wrong.
func TestProgramsAreRefused(t *testing.T) {
	names, data := members(t, "testdata/programs/arithmetic.trace.pt")
	code := ""
	for _, n := range names {
		if strings.HasSuffix(n, "__torch__.py") {
			code = n
		}
	}
	original := string(data[code])
	for _, c := range []struct{ from, to, want string }{
		{"torch.exp(", "torch.fft_rfft(", "aten::fft_rfft (once"},
		{"torch.exp(", "ops.quantized.exp(", "quantized::exp"},
		{"torch.sin(x)", "torch.sin(y9)", `the name "y9" is not known`},
		{"torch.sin(x)", "torch.sin(x, 1, 2)", "3 arguments"},
		{"torch.sin(x)", "torch.view(x, [7, 5])", "cannot reshape 3x6"},
		{"torch.sin(x)", "CONSTANTS.c99", "there is no constant c99"},
		{"torch.sin(x)", "(self).other(x, )", "has no method other"},
		{"torch.sin(x)", "__torch__.missing.f(x)", "missing.py"},
		{"torch.sin(x)", "torch.sin(", "code/__torch__.py:"},
	} {
		if !strings.Contains(original, c.from) {
			t.Fatalf("the code has no %q", c.from)
		}
		data[code] = []byte(strings.Replace(original, c.from, c.to, 1))
		path := filepath.Join(t.TempDir(), "model.pt")
		writeZip(t, path, names, data)
		o := model.OpenOptions{Inputs: map[string][]graph.Dim{"": {graph.Known(3), graph.Known(6)}}}
		m, err := Open(model.WithOpenOptions(context.Background(), o), path)
		if err == nil {
			m.Close()
			t.Errorf("%s: it opens", c.to)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %q; want %q in it", c.to, err, c.want)
		}
	}
}

// Arguments that no network has, such as tensors without dimensions and sizes beyond all memory, are errors.
func TestOddArgumentsAreRefused(t *testing.T) {
	names, data := members(t, "testdata/programs/arithmetic.trace.pt")
	code := names[slices.IndexFunc(names, func(n string) bool { return strings.HasSuffix(n, "__torch__.py") })]
	original := string(data[code])
	start := strings.Index(original, "    _0 = ")
	const scalar, weight = "torch.sum(x)", "torch.zeros([4, 4])"
	for call, want := range map[string]string{
		"torch.tensordot(" + scalar + ", x, [0], [0])":                                                "axes [0] and [0]",
		"torch.scaled_dot_product_attention(" + scalar + ", " + scalar + ", " + scalar + ")":          "tokens of vectors",
		"torch.layer_norm(x, [4294967296, 4294967296, 4294967296])":                                   "without weights of -1 values",
		"torch.layer_norm(x, [99999999])":                                                             "without weights of 99999999 values",
		"torch.rms_norm(x, [-6])":                                                                     "without weights of -1 values",
		"torch.adaptive_avg_pool2d(x, [1000000000, 2])":                                               "adaptive pooling to [1000000000 2]",
		"torch.adaptive_max_pool2d(x, [-7, 2])":                                                       "adaptive pooling to [-7 2]",
		"torch.avg_pool2d(torch.unsqueeze(x, 0), [4294967296, 4294967296], [1], [0], False, True, 3)": "",
		"torch.lstm(x, [" + scalar + "], [x, x, x, x], True, 1, 0., False, False, False)":             "weight_ih_l0",
		"torch.lstm_cell(x, [" + scalar + ", " + scalar + "], x, x)":                                  "w_ih",
		"torch.gru_cell(x, " + scalar + ", " + weight + ")":                                           "w_hh",
		"torch.sum(" + scalar + ", [3], True)":                                                        "",
		"torch.squeeze(" + scalar + ", 3)":                                                            "",
		"torch.flatten(" + scalar + ", 2, 5)":                                                         "",
		"torch.linear(" + scalar + ", " + weight + ")":                                                "",
		"torch.permute(" + scalar + ", [0])":                                                          "",
		"torch.group_norm(" + scalar + ", 2)":                                                         "",
		"torch.select(" + scalar + ", 0, 0)":                                                          "",
		"torch.upsample_nearest2d(" + scalar + ", [2, 2])":                                            "",
		"torch.max_pool2d(" + scalar + ", [2, 2])":                                                    "",
		"torch.conv2d(" + scalar + ", " + weight + ")":                                                "",
		"torch.batch_norm(" + scalar + ", None, None, None, None, False, 0.1, 1e-5, True)":            "",
		"torch.embedding_bag(" + weight + ", " + scalar + ", " + scalar + ")":                         "",
	} {
		data[code] = []byte(original[:start] + "    return " + call + "\n")
		path := filepath.Join(t.TempDir(), "model.pt")
		writeZip(t, path, names, data)
		o := model.OpenOptions{Inputs: map[string][]graph.Dim{"": {graph.Known(3), graph.Known(6)}}}
		m, err := Open(model.WithOpenOptions(context.Background(), o), path)
		if err == nil {
			m.Close()
			if want != "" {
				t.Errorf("%s: it opens; want %q", call, want)
			}
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %q; want %q in it", call, err, want)
		}
	}
}

func writeZip(t *testing.T, path string, names []string, data map[string][]byte) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := zip.NewWriter(out)
	for _, n := range names {
		m, err := w.CreateHeader(&zip.FileHeader{Name: n, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write(data[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
