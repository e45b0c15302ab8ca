package outfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFolderAppearsWhole(t *testing.T) {
	root := t.TempDir()
	out := filepath.Join(root, "a", "b", "out")
	err := WriteFolder(out, false, func(dir string) error {
		if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the folder is there before it is complete: %v", err)
		}
		put(t, filepath.Join(dir, "model"), "new")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(out, "model")); string(b) != "new" {
		t.Errorf("model has %q", b)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if n := names(t, filepath.Dir(out)); len(n) != 1 {
		t.Errorf("left %v", n)
	}
}

func TestFailedFolderLeavesNothing(t *testing.T) {
	root := t.TempDir()
	boom := errors.New("boom")
	fail := func(dir string) error {
		put(t, filepath.Join(dir, "model"), "new")
		return boom
	}
	if err := WriteFolder(filepath.Join(root, "a", "b", "out"), false, fail); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	if n := names(t, root); len(n) != 0 {
		t.Errorf("left %v", n)
	}
	old := filepath.Join(root, "old")
	if err := os.Mkdir(old, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(old, "model"), "old")
	if err := WriteFolder(old, true, fail); !errors.Is(err, boom) {
		t.Errorf("error %v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(old, "model")); string(b) != "old" || len(names(t, old)) != 1 {
		t.Errorf("the old folder has %v, model %q", names(t, old), b)
	}
}

func TestFolderThatExists(t *testing.T) {
	root := t.TempDir()
	out := filepath.Join(root, "out")
	write := func(dir string) error {
		put(t, filepath.Join(dir, "model"), "new")
		sub := filepath.Join(dir, "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			return err
		}
		put(t, filepath.Join(sub, "x"), "new")
		return nil
	}
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFolder(out, false, write); err != nil {
		t.Fatalf("an empty folder: %v", err)
	}
	for _, check := range []func() error{
		func() error { return WriteFolder(out, false, write) },
		func() error { return CheckFolder(out, false) },
	} {
		if err := check(); err == nil || !strings.Contains(err.Error(), "not empty") {
			t.Errorf("a full folder: %v", err)
		}
	}
	put(t, filepath.Join(out, "model"), "old")
	put(t, filepath.Join(out, "notes"), "mine")
	if err := CheckFolder(out, true); err != nil {
		t.Error(err)
	}
	if err := WriteFolder(out, true, write); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(out, "model")); string(b) != "new" {
		t.Errorf("model has %q", b)
	}
	if n := strings.Join(names(t, out), " "); n != "model notes sub" {
		t.Errorf("files %s", n)
	}
}

func TestPlacesThatAreNoFolder(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "file")
	put(t, file, "x")
	for _, path := range []string{file, filepath.Join(file, "out"), filepath.Join(file, "a", "out")} {
		if err := CheckFolder(path, true); err == nil || !strings.Contains(err.Error(), "is a file") {
			t.Errorf("CheckFolder(%s): %v", path, err)
		}
		if err := WriteFolder(path, true, func(string) error { return nil }); err == nil {
			t.Errorf("WriteFolder(%s) succeeded", path)
		}
	}
	if n := names(t, root); len(n) != 1 {
		t.Errorf("left %v", n)
	}
	if err := CheckFolder(filepath.Join(root, "a", "b"), false); err != nil || len(names(t, root)) != 1 {
		t.Errorf("%v, files %v", err, names(t, root))
	}
}

// TestStaleFolders leaves folders behind as a killed process does, for this path and others, one of them held by a process.
func TestStaleFolders(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{".o[u]t.partial-1", ".o[u]t.partial-2", ".other.partial-1"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(root, ".o[u]t.partial-1", "model"), "half")
	held, err := os.Open(filepath.Join(root, ".o[u]t.partial-2"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := Lock(held); err != nil {
		t.Fatal(err)
	}
	write := func(dir string) error {
		// A second writer of the same path leaves the first alone.
		if name := filepath.Base(dir); strings.HasPrefix(name, ".o[u]t") {
			removeStale(root, ".o[u]t.partial-")
		}
		return os.WriteFile(filepath.Join(dir, "model"), []byte("whole"), 0o644)
	}
	if err := WriteFolder(filepath.Join(root, "o[u]t"), false, write); err != nil {
		t.Fatal(err)
	}
	want := ".o[u]t.partial-2 .other.partial-1 o[u]t"
	if !locks {
		want = ".o[u]t.partial-1 " + want
	}
	if n := strings.Join(names(t, root), " "); n != want {
		t.Errorf("there are %s, want %s", n, want)
	}

	// Inside a folder that exists they do not count as its files.
	in := filepath.Join(root, "in")
	if err := os.MkdirAll(filepath.Join(in, ".partial-7"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFolder(in, false, write); err != nil {
		t.Fatal(err)
	}
}

func TestWorkIsFoundWhereItIs(t *testing.T) {
	root := t.TempDir()
	out := filepath.Join(root, "out")
	first := WorkFolder(out)
	if err := os.Mkdir(first, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(first, "codes"), "x")
	if err := os.Mkdir(out, 0o755); err != nil { // which did not exist when the work began
		t.Fatal(err)
	}
	if got := WorkFolder(out); got != first {
		t.Errorf("work is looked for in %s, it is in %s", got, first)
	}
	f, err := os.Open(filepath.Join(first, "codes"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Lock(f); err != nil {
		t.Fatal(err)
	}
	if dir, err := RemoveWork(out, "codes"); dir != "" || err != nil {
		t.Errorf("work of another process: removed %q, %v", dir, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if dir, err := RemoveWork(out, "codes"); locks && dir != first || err != nil {
		t.Errorf("removed %q, %v", dir, err)
	}
	if got := WorkFolder(out); locks && got != filepath.Join(out, workFolder) {
		t.Errorf("new work goes to %s", got)
	}
}
