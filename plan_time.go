package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/quantize"
	"github.com/neurotrain/neuroquant/tensor"
)

// hashProbe is how much of a model is hashed to time it.
const hashProbe = 128 << 20

// startSeconds is what a process takes until it runs its command, and to end.
const startSeconds = 0.008

// timeWriting adds the time of starting, of hashing what is read, of writing the tensors, of which one of each kind is made and written for it,
// and of the files beside them.
func (m *Manager) timeWriting(ctx context.Context, orig *model.Model, c *hf.Contents, f *Forecast, o ForecastOptions) error {
	if f.Parts == nil {
		if solvesLayers(m.config.Method) { // of which the time is not known
			return nil
		}
		f.Parts = map[string]float64{}
	}
	defer quantize.HoldHeap(c.Heap)()
	f.Parts["starting"] = startSeconds
	hash, err := timeHash(ctx, orig)
	if err != nil {
		return err
	}
	f.Parts["hash of the input"] = hash.Seconds()
	file, err := os.CreateTemp(m.beside(o), ".neuroquant-probe-")
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close()
		_ = os.Remove(file.Name())
	}()
	seen := map[string]time.Duration{}
	var total time.Duration
	var written int64
	for _, e := range c.State {
		if err := ctx.Err(); err != nil {
			return err
		}
		kind := fmt.Sprint(e.Name[strings.LastIndexByte(e.Name, '.')+1:], e.DType(), e.Shape())
		t, ok := seen[kind]
		if !ok {
			start := time.Now()
			n, err := writeTensor(file, e)
			if err != nil {
				return err
			}
			t, written = time.Since(start), written+n
			seen[kind] = t
		}
		total += t
	}
	start := time.Now()
	if err := file.Sync(); err != nil {
		return err
	}
	flush := time.Duration(float64(time.Since(start)) * float64(c.Bytes) / float64(max(written, 1)))
	f.Parts["writing"] = (total + flush).Seconds()
	small, err := timeFile(m.beside(o))
	f.Parts["files beside the weights"] = float64(c.Files+2) * small.Seconds() // the record and the folder as well
	return err
}

// timeFile is the time of writing a small file that lasts, the least of a few tries.
func timeFile(dir string) (time.Duration, error) {
	dir, err := os.MkdirTemp(dir, ".neuroquant-probe-")
	if err != nil {
		return 0, err
	}
	least := time.Duration(math.MaxInt64)
	for range 5 {
		start := time.Now()
		var s outfile.Set
		file, err := s.Create(filepath.Join(dir, "file"))
		if err == nil {
			_, err = file.Write(make([]byte, 4<<10))
		}
		if err == nil {
			err = s.Commit()
		}
		if err != nil {
			s.Abort()
			return 0, errors.Join(err, os.RemoveAll(dir))
		}
		least = min(least, time.Since(start))
	}
	return least, os.RemoveAll(dir)
}

// writeTensor makes a tensor and writes it behind what a file has.
func writeTensor(file *os.File, e model.Entry) (int64, error) {
	t, err := e.Load()
	if err != nil {
		return 0, fmt.Errorf("tensor %q: %w", e.Name, err)
	}
	defer tensor.Release(e.Source)
	b := t.Bytes
	if n, ok := t.Packed.(*packed.Narrow); ok && n.DType == e.DType() {
		b = n.Bytes
	} else if t.Packed != nil {
		return 0, fmt.Errorf("tensor %q: %v has no bytes", e.Name, t)
	}
	n, err := file.Write(b())
	return int64(n), err
}

// timeHash is the time of hashing a model, of which the beginning tells the rest.
func timeHash(ctx context.Context, m *model.Model) (time.Duration, error) {
	all := diskBytes(m)
	left, h, enough := int64(hashProbe), xxh3.New(), errors.New("enough")
	start := time.Now()
	for _, name := range m.Files {
		err := mmap.Stream(filepath.Join(m.Dir, name), hashPiece, func(b []byte) error {
			if left <= 0 {
				return enough
			}
			_, _ = h.Write(b)
			left -= int64(len(b))
			return ctx.Err()
		})
		if err != nil && !errors.Is(err, enough) {
			return 0, err
		}
	}
	return time.Duration(float64(time.Since(start)) * float64(all) / float64(max(hashProbe-left, 1))), nil
}
