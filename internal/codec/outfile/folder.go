package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// WriteFolder makes the folder at path out of what write puts into the folder that it is given. The result appears as a whole
// or not at all: write works in a folder of a temporary name that takes its place when all went well and is removed otherwise,
// together with parents that were made for it. A folder that exists and is not empty is refused unless overwrite is set; then
// its files are replaced one by one, and those that write did not make stay. Folders of temporary names for the same path whose processes
// ended without removing them are removed.
func WriteFolder(path string, overwrite bool, write func(dir string) error) (err error) {
	path = filepath.Clean(path)
	if err := CheckFolder(path, overwrite); err != nil {
		return err
	}
	_, err = os.Stat(path)
	exists := err == nil
	// Beside the result, so that one rename does it; inside a folder that exists, since that may be a file system of its own.
	parent, pattern := filepath.Dir(path), "."+filepath.Base(path)+".partial-"
	var made []string
	if exists {
		parent, pattern = path, partialName
	} else if made, err = makeParents(parent); err != nil {
		return cannotWrite(path, err)
	}
	defer func() {
		if err != nil {
			removeEmpty(made)
		}
	}()
	removeStale(parent, pattern)
	tmp, held, err := partial(parent, pattern)
	if err != nil {
		return cannotWrite(path, err)
	}
	defer func() {
		if rm := os.RemoveAll(tmp); err == nil {
			err = rm
		}
		_ = held.Close()
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return cannotWrite(path, err)
	}
	if err := write(tmp); err != nil {
		var p *fs.PathError
		if errors.As(err, &p) && strings.HasPrefix(p.Path, tmp) {
			return cannotWrite(path, p)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	if !exists {
		return os.Rename(tmp, path)
	}
	return moveFiles(tmp, path)
}

// CheckFolder reports whether [WriteFolder] could write, before work is done that would be lost. What it creates to find out it
// removes.
func CheckFolder(path string, overwrite bool) error {
	path = filepath.Clean(path)
	at := path
	info, err := os.Stat(at)
	for err != nil && filepath.Dir(at) != at { // up to the nearest that exists
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
		return cannotWrite(path, err)
	case !info.IsDir() && at == path:
		return fmt.Errorf("%s: is a file; the output is a folder: choose another name", path)
	case !info.IsDir():
		return fmt.Errorf("%s: cannot write there: %s is a file; choose another folder", path, at)
	}
	if at == path && !overwrite {
		entries, err := os.ReadDir(path)
		if err != nil {
			return cannotWrite(path, err)
		}
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != workFolder && !strings.HasPrefix(e.Name(), partialName) }) {
			return fmt.Errorf("%s: the folder exists and is not empty; choose another or pass --force to replace its files", path)
		}
	}
	probe, err := os.MkdirTemp(at, partialName)
	if err != nil {
		return cannotWrite(path, err)
	}
	return os.Remove(probe)
}

// partialName begins the names of temporary folders inside of one that exists.
const partialName = ".partial-"

// workFolder is the ending of the names of folders for unfinished work.
const workFolder = ".neuroquant-work"

// WorkFolder names the folder for unfinished work on the folder at path: one that is there, else inside of the folder if that exists, where
// [CheckFolder] does not mind it, else beside it.
func WorkFolder(path string) string {
	names := workFolders(path)
	for _, dir := range names {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return names[0]
}

// workFolders are the places of [WorkFolder], the one to begin in first.
func workFolders(path string) []string {
	path = filepath.Clean(path)
	inside, beside := filepath.Join(path, workFolder), filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+workFolder)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return []string{inside, beside}
	}
	return []string{beside}
}

// cannotWrite words an error of the system for the folder that the user named; the temporary name would say nothing.
func cannotWrite(path string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%s: cannot write there: %w; choose another folder, or give this one the permission or space", path, err)
}

// makeParents makes a folder with its parents and returns those that it made, the highest first.
func makeParents(dir string) (made []string, err error) {
	if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
		return nil, err
	}
	if made, err = makeParents(filepath.Dir(dir)); err != nil {
		return made, err
	}
	if err = os.Mkdir(dir, 0o755); err == nil {
		return append(made, dir), nil
	}
	if errors.Is(err, fs.ErrExist) { // somebody else was faster
		return made, nil
	}
	removeEmpty(made)
	return nil, err
}

// removeEmpty removes folders, the last first, as far as they are empty.
func removeEmpty(dirs []string) {
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = os.Remove(dirs[i])
	}
}

// moveFiles moves the files of src over those of dst, folders merged.
func moveFiles(src, dst string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())
		if e.IsDir() {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return err
			}
			if err := moveFiles(from, to); err != nil {
				return err
			}
			continue
		}
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	return nil
}
