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
