package outfile

import (
	"errors"
	"os"
	"path/filepath"
)

// partial makes a folder of a temporary name that no other process takes for one that was left behind, until held is closed.
func partial(parent, pattern string) (dir string, held *os.File, err error) {
	for range 8 {
		if dir, err = os.MkdirTemp(parent, pattern); err != nil {
			return "", nil, err
		}
		if held, err = os.Open(dir); err == nil {
			if err = Lock(held); err == nil && is(dir, held) {
				return dir, held, nil
			}
			_ = held.Close()
		}
	}
	return "", nil, errors.Join(err, os.RemoveAll(dir)) // taken away each time between making and holding it
}

// is reports whether the folder of a name is the one that was opened.
func is(dir string, f *os.File) bool {
	a, errA := os.Stat(dir)
	b, errB := f.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// removeStale removes what runs left in a folder that ended without cleaning up, such as by kill -9: folders whose name a pattern gives and that no
// process holds. Where the system does not tell that, they stay.
func removeStale(parent, pattern string) {
	if !locks {
		return
	}
	found, _ := filepath.Glob(filepath.Join(escaped(parent), escaped(pattern)+"*"))
	for _, dir := range found {
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.IsDir() && Lock(f) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = f.Close()
	}
}

// escaped is a name as a pattern that it alone matches.
func escaped(name string) string {
	var out []rune
	for _, r := range name {
		if r == '*' || r == '?' || r == '[' || r == '\\' && filepath.Separator != '\\' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// RemoveWork removes unfinished work on the folder at path that nobody goes on with, see [WorkFolder], and returns its name; empty: there is none, or
// another process works there. held is the name of the file in it that the process which works there has locked.
func RemoveWork(path, held string) (string, error) {
	for _, dir := range workFolders(path) {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if f, err := os.Open(filepath.Join(dir, held)); err == nil {
			err = Lock(f)
			_ = f.Close()
			if err != nil || !locks {
				continue
			}
		}
		return dir, os.RemoveAll(dir)
	}
	return "", nil
}
