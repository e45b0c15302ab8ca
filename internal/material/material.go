// Package material finds, for tests, the models, texts and cases that are too large for the repository and lie beside it, in
// ../shared.
package material

import (
	"os"
	"path/filepath"
	"testing"
)

// Path returns where a file or folder of the material is, by its name relative to the material's root. The test is skipped where it
// is absent, and fails there if the variable CI is set.
func Path(t testing.TB, name string) string {
	t.Helper()
	root, err := root()
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(root, "..", "shared", filepath.FromSlash(name))
	if _, err := os.Stat(p); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the material beside the repository is absent: %v", err)
		}
		t.Skipf("the material beside the repository is absent: %v", err)
	}
	return p
}

// root returns the folder of the module, relative to the folder of the package under test, in which its tests run.
func root() (string, error) {
	dir := "."
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Join(dir, "..")
		a, err := filepath.Abs(dir)
		if err != nil {
			return "", err
		}
		if a == filepath.Dir(a) {
			return "", os.ErrNotExist
		}
		dir = up
	}
}
