package onnx

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant/internal/model"
)

// FuzzOpen imports arbitrary bytes as a model: errors are fine, panics and endless work are not. What can be imported can be
// written, or the error says why not.
func FuzzOpen(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "legacy.json"))
	if err != nil {
		f.Fatal(err)
	}
	var cases []struct {
		Model []byte `json:"model"`
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		f.Add(c.Model)
	}
	// While fuzzing, the small models of the conformance archive are seeds too, where it is at hand.
	if flag.Lookup("test.fuzz").Value.String() == "" {
		f.Log("the seeds are those of testdata/legacy.json")
	} else if files, err := readArchive(sharedDir + "onnx-conformance.tar.zst"); err == nil {
		for name, b := range files {
			if filepath.Base(name) == "model.onnx" && len(b) < 4<<10 {
				f.Add(b)
			}
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		// Endless work is a finding as well; fuzzing itself would only wait.
		watchdog := time.AfterFunc(20*time.Second, func() {
			buf := make([]byte, 1<<16)
			panic("no end after 20 s\n" + string(buf[:runtime.Stack(buf, true)]))
		})
		defer watchdog.Stop()
		m, err := read(context.Background(), b, filepath.Join(dir, "model.onnx"))
		if err != nil {
			return
		}
		defer m.Close()
		for _, p := range m.Graph.Params() {
			if p.Data.Shape().Len() < 1<<20 {
				p.Data.Load()
			}
		}
		p, _, err := export(context.Background(), m, model.SaveOptions{})
		if err == nil && p.Size() < 1<<20 {
			_, err = p.Marshal()
		}
		_ = err
	})
}
