package hf

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// Finding is something about a folder that a loader may trip over.
type Finding struct {
	Error bool   `json:"error"` // false: a remark
	Where string `json:"where"` // a tensor, a module or a field of the configuration
	What  string `json:"what"`
	// Loader names the program that it matters to; empty: all.
	Loader string `json:"loader,omitempty"`
}

// linter gathers findings of a folder.
type linter struct {
	w      *Weights
	config map[string]any
	list   []Finding
}

func (l *linter) bad(loader, where, what string, a ...any) {
	l.list = append(l.list, Finding{true, where, fmt.Sprintf(what, a...), loader})
}

func (l *linter) note(loader, where, what string, a ...any) {
	l.list = append(l.list, Finding{false, where, fmt.Sprintf(what, a...), loader})
}

// Lint looks for what loaders trip over in the quantized folder at path: its configuration, the names and shapes of its tensors, zero points,
// groups and scales. A folder that cannot be read at all is an error.
func Lint(ctx context.Context, path string) ([]Finding, error) {
	dir, err := folder(path)
	if err != nil {
		return nil, err
	}
	config, err := ReadJSON(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, err
	}
	w, err := openWeights(dir, path)
	if err != nil { // such as shards that the index names and that are not there
		return []Finding{{true, "files", err.Error(), ""}}, nil
	}
	defer w.Close()
	l := &linter{w: w}
	q, ok := config["quantization_config"].(map[string]any)
	if !ok {
		l.note("", "quantization_config", "is missing: a folder of floats")
		return l.list, nil
	}
	l.config = q
	l.copy(dir)
	method, _ := q["quant_method"].(string)
	if layouts[method] == nil {
		l.bad("", "quantization_config.quant_method", "%q is no layout that is known here", method)
		return l.list, nil
	}
	weights, err := quantized(config, w)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			l.bad("", "tensors", "%s", line)
		}
		return l.list, nil
	}
	switch method {
	case "gptq":
		l.gptq()
	case "awq":
		l.awq()
	case "compressed-tensors":
		l.compressed()
	case bitsAndBytes:
		if s := fmt.Sprint(q["llm_int8_threshold"]); q["llm_int8_threshold"] != nil && !strings.ContainsAny(s, ".e") {
			l.bad("transformers", "quantization_config.llm_int8_threshold", "is %s; want a number with a point, such as %s.0", s, s)
		}
	}
	cw, ok := weights.(*codedWeights)
	if !ok || len(cw.coded) == 0 {
		l.bad("", "tensors", "none is a matrix of layout %s", method)
		return l.list, nil
	}
	l.siblings(cw)
	l.head(cw, method)
	return l.list, l.matrices(ctx, cw)
}

// copy compares the configuration with its copy beside it.
func (l *linter) copy(dir string) {
	other, err := ReadJSON(filepath.Join(dir, quantizeConfigFile))
	if err != nil {
		return
	}
	for _, key := range []string{"bits", "group_size", "sym", "desc_act", "checkpoint_format"} {
		if a, b := l.config[key], other[key]; a != nil && b != nil && !reflect.DeepEqual(a, b) {
			l.bad("vLLM", quantizeConfigFile+": "+key, "is %v, in %s it is %v", b, ConfigFile, a)
		}
	}
}

func (l *linter) gptq() {
	for _, key := range []string{"bits", "group_size", "desc_act", "sym"} {
		if l.config[key] == nil {
			l.bad("vLLM", "quantization_config."+key, "is missing")
		}
	}
	n := &numbers{config: l.config}
	if g := n.integer(-1, "group_size"); !slices.Contains([]int{-1, 16, 32, 64, 128, 256, 512, 1024}, g) {
		l.bad("gptqmodel", "quantization_config.group_size", "is %d; its kernels take -1 and powers of two from 16 to 1024", g)
	}
	if v, err := numberOf(l.config["damp_percent"]); err == nil && !(v > 0 && v < 1) {
		l.bad("transformers", "quantization_config.damp_percent", "is %v; want more than 0 and less than 1", v)
	}
	if n.boolean(false, "desc_act") {
		l.note("vLLM", "quantization_config.desc_act", "columns in an order of their own have no fast kernels, and rows cannot be split among devices")
	}
	kept := l.floats()
	if len(kept) > 0 && l.config["modules_in_block_to_quantize"] == nil {
		l.bad("transformers", "quantization_config.modules_in_block_to_quantize", "is missing, and %d linear layers of blocks are floats, such as %q", len(kept), kept[0])
	}
	if len(kept) > 0 && l.config["dynamic"] == nil {
		l.bad("gptqmodel", "quantization_config.dynamic", "is missing, and %d linear layers of blocks are floats, such as %q", len(kept), kept[0])
	}
}

func (l *linter) awq() {
	if s, _ := l.config["version"].(string); s != strings.ToLower(s) {
		l.note("vLLM", "quantization_config.version", "is %q; want it in small letters", s)
	}
	n := &numbers{config: l.config}
	if g := n.integer(128, "group_size", "q_group_size"); !slices.Contains([]int{-1, 16, 32, 64, 128}, g) {
		l.bad("gptqmodel", "quantization_config.group_size", "is %d; its kernels take -1, 16, 32, 64 and 128", g)
	}
	l.listed("transformers", "modules_to_not_convert", l.floats())
}

func (l *linter) compressed() {
	l.listed("compressed-tensors", "ignore", l.floats())
	groups, _ := l.config["config_groups"].(map[string]any)
	for name, g := range groups {
		m, _ := g.(map[string]any)
		weights, _ := m["weights"].(map[string]any)
		at := "quantization_config.config_groups." + name + ".weights"
		if order := fmt.Sprint(weights["actorder"]); order == "group" || order == "dynamic" {
			l.bad("compressed-tensors", at+".actorder", "is %q, which versions from 0.19 on refuse", order)
		}
		if weights["symmetric"] == false && l.config["format"] == "pack-quantized" {
			l.bad("transformers", at+".symmetric", "is false: with compressed-tensors 0.19 and 0.20 packed zero points are refused")
		}
	}
}

// floats lists the linear layers of blocks that are floats.
func (l *linter) floats() []string {
	var out []string
	for _, name := range l.w.Names() {
		module, ok := strings.CutSuffix(name, ".weight")
		s := l.w.Tensor(name)
		if ok && len(s.Shape()) == 2 && s.DType().IsFloat() && slices.ContainsFunc(strings.Split(module, "."), isNumber) && !strings.Contains(module, "embed") {
			out = append(out, module)
		}
	}
	return out
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// listed checks that a list of the configuration has modules, by their names or parts of them.
func (l *linter) listed(loader, key string, modules []string) {
	list, _ := l.config[key].([]any)
	for _, m := range modules {
		named := func(x any) bool {
			s, _ := x.(string)
			return s != "" && (strings.Contains(m, s) || strings.HasPrefix(s, "re:"))
		}
		if !slices.ContainsFunc(list, named) {
			l.bad(loader, "quantization_config."+key, "does not name %q, which is a float", m)
		}
	}
}

// head checks the layer that gives logits where it is in codes.
func (l *linter) head(w *codedWeights, method string) {
	in := w.coded[headModule+".weight"] != nil
	says, _ := l.config["lm_head"].(bool)
	switch {
	case method != "gptq" && method != "awq":
	case in && !says:
		l.bad("gptqmodel, vLLM", "quantization_config."+headModule, "is not true, and %s is in codes", headModule)
	case !in && says:
		l.bad("gptqmodel, vLLM", "quantization_config."+headModule, "is true, and %s is a float", headModule)
	}
	if !in {
		return
	}
	for _, loader := range slices.Sorted(maps.Keys(noHead[method])) {
		l.note(loader, headModule, "does not take %s", noHead[method][loader])
	}
}

// siblings checks layers that servers join.
func (l *linter) siblings(w *codedWeights) {
	for _, set := range [][]string{{"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}} {
		for name := range w.coded {
			base, ok := strings.CutSuffix(strings.TrimSuffix(name, ".weight"), set[0])
			if !ok {
				continue
			}
			for _, other := range set[1:] {
				if s := base + other; w.coded[s+".weight"] == nil && w.Tensor(s+".weight") != nil {
					l.bad("vLLM", s, "is a float, and %s%s, which it is joined with, is not", base, set[0])
				}
			}
		}
	}
}

// matrices decodes all matrices of codes.
func (l *linter) matrices(ctx context.Context, w *codedWeights) error {
	conventions := map[string]int{}
	for _, name := range w.names {
		s := w.coded[name]
		if s == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		module := strings.TrimSuffix(name, ".weight")
		if l.config["quant_method"] == "gptq" {
			conventions[l.convention(module)]++
		}
		t, err := s.Load()
		if err != nil {
			l.bad("", module, "%v", err)
			continue
		}
		l.scales(module, t)
		tensor.Release(s)
	}
	says, _ := l.config["checkpoint_format"].(string)
	for found, n := range conventions {
		if found != "" && says != "" && found != strings.ToLower(says) {
			l.bad("", "quantization_config.checkpoint_format", "is %q, and the zero points of %d layers are those of %s", says, n, found)
		}
	}
	return nil
}

// convention is the version that the zero points of symmetric codes are of; empty where they do not tell.
func (l *linter) convention(module string) string {
	n := &numbers{config: l.config}
	bits := n.integer(0, "bits", "w_bit")
	s := l.w.Tensor(module + ".qzeros")
	if s == nil || !n.boolean(true, "sym") {
		return ""
	}
	t, err := s.Load()
	if err != nil || t.DType != tensor.Int32 {
		return ""
	}
	words, width := uint32s(t), t.Shape[len(t.Shape)-1]
	seen := map[byte]bool{}
	for row := 0; row+width <= len(words); row += width {
		for i := range width * 32 / bits {
			seen[getCode(words[row:row+width], 1, i, bits)] = true
		}
	}
	middle := byte(1) << (bits - 1)
	switch {
	case len(seen) == 1 && seen[middle]:
		return "gptq_v2"
	case len(seen) == 1 && seen[middle-1]:
		return "gptq"
	}
	l.bad("", module+".qzeros", "symmetric codes have the zero points %d or %d; found %d others", middle, middle-1, len(seen))
	return ""
}

// scales checks scales, which are those of groups.
func (l *linter) scales(module string, t *tensor.Tensor) {
	var list []float32
	switch p := t.Packed.(type) {
	case interface{ GroupScales() []float32 }:
		list = p.GroupScales()
	default:
		return
	}
	count := func(is func(v float32) bool) (n int) {
		for _, v := range list {
			if is(v) {
				n++
			}
		}
		return n
	}
	if n := count(func(v float32) bool { return v-v != 0 }); n > 0 {
		l.bad("", module, "%d of %d scales are not finite", n, len(list))
	}
	if n := count(func(v float32) bool { return v < 0 }); n > 0 {
		l.note("", module, "%d of %d scales are negative", n, len(list))
	}
	if n := count(func(v float32) bool { return v == 0 }); n > 0 {
		l.note("", module, "%d of %d scales are 0", n, len(list))
	}
	if n := count(func(v float32) bool { return v != 0 && v < 0x1p-14 && v > -0x1p-14 }); n > 0 {
		l.note("", module, "%d of %d scales are below the normal numbers of float16, which some kernels take for 0", n, len(list))
	}
}
