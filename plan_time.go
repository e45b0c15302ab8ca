package neuroquant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// hashProbe is how much of a model is hashed to time it.
const hashProbe = 128 << 20

// timeWriting adds the time of hashing what is read and of writing the tensors of state: one of each kind is made and written for it.
func (m *Manager) timeWriting(ctx context.Context, orig *model.Model, state []model.Entry, bytes int64, f *Forecast, o ForecastOptions) error {
	if f.Parts == nil {
		if solvesLayers(m.config.Method) { // of which the time is not known
			return nil
		}
		f.Parts = map[string]float64{}
	}
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
	for _, e := range state {
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
	flush := time.Duration(float64(time.Since(start)) * float64(bytes) / float64(max(written, 1)))
	f.Parts["writing"] = (total + flush).Seconds()
	return nil
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
	left, h := int64(hashProbe), sha256.New()
	start := time.Now()
	for _, name := range m.Files {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if left <= 0 {
			break
		}
		f, err := os.Open(filepath.Join(m.Dir, name))
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(h, io.LimitReader(f, left))
		if err = errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		left -= n
	}
	return time.Duration(float64(time.Since(start)) * float64(all) / float64(max(hashProbe-left, 1))), nil
}
