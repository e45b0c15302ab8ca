package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/format/hf"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/progress"
	"github.com/neurotrain/neuroquant/internal/quantize"
)

// hashProbe is how much of a model is hashed to time it.
const hashProbe = 128 << 20

// startSeconds is what a process takes until it runs its command, and to end.
const startSeconds = 0.008

// timeWriting adds the time of starting, of reading and hashing the input, and of writing the output, which is done with a part of it.
func (m *Manager) timeWriting(ctx context.Context, orig, work *model.Model, c *hf.Contents, f *Forecast, o ForecastOptions) error {
	if f.Parts == nil {
		if solvesLayers(m.config.Method) { // of which the time is not known
			return nil
		}
		f.Parts = map[string]float64{}
	}
	defer quantize.HoldHeap(c.Heap)()
	f.Parts["starting"] = startSeconds
	small, err := timeFile(m.beside(o))
	if err != nil {
		return err
	}
	p := writingProbe{m.beside(o), work, model.SaveOptions{Layout: f.Format, Settings: m.resolved.layoutSettings()}, small * time.Duration(c.Files+1)}
	writing, err := p.all(ctx)
	if err != nil {
		return err
	}
	f.Parts["writing"] = (writing + 2*small).Seconds() // the record and the folder as well
	reading, hash, err := timeHash(ctx, orig)
	if err != nil {
		return err
	}
	if reading > 0 {
		f.Parts["reading from the disk"] = reading.Seconds()
	}
	if !solvesLayers(m.config.Method) && runtime.GOMAXPROCS(0) > 1 { // which hash the input before they begin; others hash it beside writing
		hash = max(hash-writing, 0)
	}
	f.Parts["hash of the input"] = hash.Seconds()
	return nil
}

// writingProbe times the writing of a model in a layout.
type writingProbe struct {
	dir   string
	m     *model.Model
	o     model.SaveOptions
	fixed time.Duration // of any model: the files beside the weights
}

const (
	wholeValues  = 32 << 20 // values of models that are written as a whole
	writingTries = 5
	writingShort = 600 * time.Millisecond // of all tries
)

var numberPart = regexp.MustCompile(`\.[0-9]+\.`)

// all is how long the model takes to write. Of tensors that many blocks have, those of one tell the others.
func (p *writingProbe) all(ctx context.Context) (time.Duration, error) {
	seen := map[string]int{}
	kind := func(e model.Entry) string {
		return fmt.Sprint(numberPart.ReplaceAllString(e.Name, ".N."), e.DType(), e.Shape())
	}
	state := p.m.StateDict()
	values := 0
	for _, e := range state {
		seen[kind(e)]++
		values += e.Shape().Len()
	}
	var first, block []model.Entry
	repeated, once := 0, 0
	taken := map[string]bool{}
	for _, e := range state {
		k := kind(e)
		if seen[k] > 1 {
			repeated += e.Shape().Len()
		}
		if taken[k] {
			continue
		}
		taken[k] = true
		first = append(first, e)
		if seen[k] > 1 {
			block, once = append(block, e), once+e.Shape().Len()
		}
	}
	if values <= wholeValues || once == 0 {
		return p.save(ctx, state)
	}
	one, err := p.save(ctx, first)
	if err != nil {
		return 0, err
	}
	again, err := p.save(ctx, block)
	return one + time.Duration(float64(max(again-p.fixed, 0))*float64(repeated-once)/float64(once)), err
}

// save writes tensors, short ones several times, of which the least counts: the first prepares threads and memory, and the disk may be busy.
func (p *writingProbe) save(ctx context.Context, state []model.Entry) (time.Duration, error) {
	m := p.m.With(p.m.Graph)
	m.State = state
	least, spent := time.Duration(math.MaxInt64), time.Duration(0)
	for i := 0; i < writingTries && spent < writingShort; i++ {
		dir, err := os.MkdirTemp(p.dir, ".neuroquant-probe-")
		if err != nil {
			return 0, err
		}
		start := time.Now()
		err = hf.Save(progress.With(ctx, nil), dir, m, p.o)
		t := time.Since(start)
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			return 0, err
		}
		least, spent = min(least, t), spent+t
	}
	return least, nil
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

// timeHash is how long it takes to read the files of a model from the disk, as far as the system does not have them in memory, and to hash them, of
// which the beginning tells the rest.
func timeHash(ctx context.Context, m *model.Model) (reading, hash time.Duration, err error) {
	all := diskBytes(m)
	pass := func() (float64, error) {
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
		return float64(time.Since(start)) * float64(all) / float64(max(hashProbe-left, 1)), nil
	}
	first, err := pass()
	if err != nil {
		return 0, 0, err
	}
	least := first
	for range 2 {
		again, err := pass()
		if err != nil {
			return 0, 0, err
		}
		least = min(least, again)
	}
	if first < 1.5*least { // the difference is chance
		first = least
	}
	return time.Duration(first - least), time.Duration(least), nil
}
