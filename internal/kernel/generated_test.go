package kernel

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The generated files and the generator that made them are those that generated.sha256 records: neither
// was changed without `go generate ./internal/kernel`.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	text, err := os.ReadFile("generated.sha256")
	if err != nil {
		t.Fatal(err)
	}
	recorded := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("generated.sha256: %q", line)
		}
		recorded[name] = true
		data, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); got != sum {
			t.Errorf("%s does not belong to the recorded generation: run go generate ./internal/kernel", name)
		}
	}
	for _, pattern := range []string{"*_amd64.s", "*_stub_amd64.go", "_asm/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !recorded[filepath.ToSlash(f)] {
				t.Errorf("%s is not in generated.sha256", f)
			}
		}
	}
}
