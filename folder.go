package neuroquant

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
)

// inputRecord names the input of a quantization by content.
type inputRecord struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // of the model file followed by its external data files
}

func recordInput(ctx context.Context, m *model.Model) (inputRecord, error) {
	r := inputRecord{File: filepath.Base(m.Path)}
	if m.Path == "" {
		r.File = m.Graph.Name
		return r, nil
	}
	task := progress.From(ctx).Start("hash input", diskBytes(m), "bytes")
	defer task.Done()
	h := sha256.New()
	for _, name := range m.Files {
		f, err := os.Open(filepath.Join(m.Dir, name))
		if err != nil {
			return r, err
		}
		n, err := io.Copy(h, &contextReader{ctx, f, task})
		if err = errors.Join(err, f.Close()); err != nil {
			return r, fmt.Errorf("%s: %w", name, err)
		}
		r.Bytes += n
	}
	r.SHA256 = hex.EncodeToString(h.Sum(nil))
	return r, nil
}

// contextReader stops reading when its context is cancelled and counts bytes as progress.
type contextReader struct {
	ctx  context.Context
	r    io.Reader
	task progress.Task
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.task.Add(int64(n))
	return n, err
}

// writeFolder makes the folder out with what write puts into it. write works in a folder beside out, which takes out's place
// when all went well and is removed otherwise.
func writeFolder(out string, overwrite bool, write func(dir string) error) (err error) {
	out = filepath.Clean(out)
	if err := checkFolder(out, overwrite); err != nil {
		return err
	}
	parent := filepath.Dir(out)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("%s: cannot make the folder: %w", parent, err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(out)+".partial-")
	if err != nil {
		return fmt.Errorf("%s: cannot write beside it: %w", out, err)
	}
	defer func() {
		if rm := os.RemoveAll(tmp); err == nil {
			err = rm
		}
	}()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := write(tmp); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	if _, err := os.Stat(out); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(tmp, out)
	}
	return replaceFiles(tmp, out)
}

// CheckOutput reports whether a folder can be written, before work starts that would be lost: an existing one that is not
// empty needs overwrite, and a file in its place is refused.
func CheckOutput(out string, overwrite bool) error {
	return checkFolder(filepath.Clean(out), overwrite)
}

// checkFolder reports whether a folder could be written: an existing one that is not empty needs overwrite, and a file in its
// place is refused.
func checkFolder(out string, overwrite bool) error {
	info, err := os.Stat(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: is a file; the output is a folder", out)
	}
	entries, err := os.ReadDir(out)
	if err != nil {
		return err
	}
	if len(entries) > 0 && !overwrite {
		return fmt.Errorf("%s: the folder exists and is not empty; choose another or pass --force to replace its files", out)
	}
	return nil
}

// replaceFiles moves the files of src over those of dst, file by file, folders merged.
func replaceFiles(src, dst string) error {
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
			if err := replaceFiles(from, to); err != nil {
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

// modelBytes sums the saved model of a folder and its external data.
func modelBytes(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), modelFile) {
			info, err := e.Info()
			if err != nil {
				return 0, err
			}
			n += info.Size()
		}
	}
	return n, nil
}
