package neuroquant_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/example"
)

func TestRecommend(t *testing.T) {
	want := map[string]string{
		"transformer inference": "dynamic", "transformer training": "qat", "transformer fine_tuning": "bitsandbytes",
		"cnn inference": "static", "cnn training": "qat", "cnn fine_tuning": "qat",
		"llm inference": "gptq", "llm training": "bitsandbytes", "llm fine_tuning": "bitsandbytes",
		"custom inference": "dynamic", "custom training": "qat", "custom fine_tuning": "qat",
	}
	var available []string
	for _, m := range neuroquant.Methods() {
		if m.Available {
			available = append(available, m.Name)
		}
	}
	for key, method := range want {
		kind, use, _ := strings.Cut(key, " ")
		r, err := neuroquant.Recommend(kind, use)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if r.Method != method || r.ModelType != kind || r.UseCase != use || r.Why == "" {
			t.Errorf("%s: got %+v, want %s", key, r, method)
		}
		if r.Available != slices.Contains(available, method) {
			t.Errorf("%s: available is %v, available methods are %v", key, r.Available, available)
		}
		if r.Instead != "" && !slices.Contains(available, r.Instead) {
			t.Errorf("%s: instead %s, which is not there", key, r.Instead)
		}
	}
	_, err := neuroquant.Recommend("rnn", "sleep")
	if err == nil || !strings.Contains(err.Error(), `model type: want one of transformer, cnn, llm, custom, got "rnn"`) || !strings.Contains(err.Error(), `use case: want one of inference, training, fine_tuning, got "sleep"`) {
		t.Errorf("unknown words: %v", err)
	}
}

func TestRecommendForModels(t *testing.T) {
	for i, kind := range []string{"cnn", "transformer"} {
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := os.WriteFile(path, example.Models()[i].ONNX, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := neuroquant.RecommendFor(context.Background(), path, "inference")
		if err != nil || r.ModelType != kind || len(r.Traits) == 0 {
			t.Errorf("%s: got %+v, %v", kind, r, err)
		}
		if _, err := neuroquant.RecommendFor(context.Background(), path, "sleep"); err == nil {
			t.Errorf("%s: an unknown use was accepted", kind)
		}
	}
	if _, err := neuroquant.RecommendFor(context.Background(), "missing.onnx", "inference"); err == nil || !strings.Contains(err.Error(), "missing.onnx: no such file") {
		t.Errorf("missing model: %v", err)
	}
}

func TestCheckDependencies(t *testing.T) {
	for _, m := range neuroquant.Methods() {
		d, err := neuroquant.CheckDependencies(m.Name)
		if err != nil {
			t.Fatal(err)
		}
		if d.Method != m.Name || d.Available != m.Available || d.Machine.Cores < 1 || d.Machine.Threads < 1 || d.Machine.ISA == "" || d.Machine.OS == "" {
			t.Errorf("%s: %+v", m.Name, d)
		}
		for _, k := range d.Kernels {
			if k.Used && !k.CPUHas {
				t.Errorf("kernel %s %s runs on a CPU that does not have it", k.Kernel, k.ISA)
			}
		}
		if note := strings.Join(d.Notes, "\n"); strings.Contains(note, "is not in this version") == m.Available {
			t.Errorf("%s: notes %q", m.Name, note)
		}
	}
	if _, err := neuroquant.CheckDependencies("ptq"); err == nil || !strings.Contains(err.Error(), `unknown method "ptq"; the methods are dynamic, `) {
		t.Errorf("unknown method: %v", err)
	}
}
