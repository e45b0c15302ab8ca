package outfile

import (
	"os"
	"path/filepath"
	"testing"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return out
}

func TestCommitShowsAllFilesAtOnce(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "a")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var s Set
	defer s.Abort()
	for _, n := range []string{"a", "b"} {
		f, err := s.Create(filepath.Join(dir, n))
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString("new " + n)
	}
	if b, _ := os.ReadFile(old); string(b) != "old" {
		t.Errorf("before Commit the file has %q", b)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	s.Abort()
	if b, _ := os.ReadFile(old); string(b) != "new a" {
		t.Errorf("after Commit the file has %q", b)
	}
	if n := names(t, dir); len(n) != 2 {
		t.Errorf("files %v", n)
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	var s Set
	f, err := s.Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("x")
	s.Abort()
	if n := names(t, dir); len(n) != 0 {
		t.Errorf("files %v", n)
	}
	if _, err := s.Create(filepath.Join(dir, "no", "a")); err == nil {
		t.Error("a missing folder was accepted")
	}
	var over Set
	if _, err := over.Create(dir); err == nil {
		t.Error("a folder was accepted as a file")
	}
}

func TestFailedCommitLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	var s Set
	f, err := s.Create(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("x")
	f.f.Close() // as a full disk would, this makes Flush fail
	if err := s.Commit(); err == nil {
		t.Error("Commit succeeded")
	}
	if n := names(t, dir); len(n) != 0 {
		t.Errorf("files %v", n)
	}
}
