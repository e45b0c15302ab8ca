package neuroquant

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
)

// inputRecord names the input of a quantization by content.
type inputRecord struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
	// XXH128 is the 128-bit XXH3 hash of the model file followed by its external data files, as xxhsum -H2 prints it. It tells files apart at
	// the speed of memory, which a cryptographic hash does not; it does not withstand one who makes files for it.
	XXH128 string `json:"xxh128"`
}

// recordInput describes a model and hashes its files.
func recordInput(ctx context.Context, m *model.Model) (inputRecord, error) {
	r := describeInput(m)
	var err error
	r.XXH128, err = hashInput(ctx, m)
	return r, err
}

// describeInput is recordInput without the hash.
func describeInput(m *model.Model) inputRecord {
	if m.Path == "" {
		return inputRecord{File: m.Graph.Name}
	}
	return inputRecord{File: filepath.Base(m.Path), Bytes: diskBytes(m)}
}

// hashPiece is how much of a file is hashed at a time, which stays in a cache near the processor.
const hashPiece = 256 << 10

// hashInput returns the hash of the files of a model, nothing for one that has none.
func hashInput(ctx context.Context, m *model.Model) (string, error) {
	if m.Path == "" {
		return "", nil
	}
	task := progress.From(ctx).Start("hash input", diskBytes(m), "bytes")
	defer task.Done()
	h := xxh3.New()
	for _, name := range m.Files {
		err := mmap.Stream(filepath.Join(m.Dir, name), hashPiece, func(b []byte) error {
			_, _ = h.Write(b)
			task.Add(int64(len(b)))
			return ctx.Err()
		})
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	sum := h.Sum128().Bytes()
	return hex.EncodeToString(sum[:]), nil
}

// hashBeside hashes the input of a result, unless that is done, while the result is written. wait waits for the hash; stop, which must be
// called, gives it up unless it is there.
func (r *Result) hashBeside(ctx context.Context) (wait func() error, stop func()) {
	if r.input.XXH128 != "" {
		return func() error { return nil }, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		hash, err := hashInput(ctx, r.original)
		if err == nil {
			r.input.XXH128 = hash
		}
		done <- err
	}()
	wait = sync.OnceValue(func() error { return <-done })
	return wait, func() {
		cancel()
		_ = wait()
	}
}

// CheckOutput reports whether a folder can be written, before work starts that would be lost: an existing one that is not
// empty needs overwrite, a file in its place and a place without permission are refused.
func CheckOutput(out string, overwrite bool) error { return outfile.CheckFolder(out, overwrite) }

// modelBytes sums the saved model of a folder and its external data.
func modelBytes(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), modelStem+".") || strings.HasPrefix(e.Name(), modelStem+"-") { // or a shard
			info, err := e.Info()
			if err != nil {
				return 0, err
			}
			n += info.Size()
		}
	}
	return n, nil
}
