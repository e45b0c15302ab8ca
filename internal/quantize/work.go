package quantize

import (
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/journal"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/tensor"
)

// WorkKey names work by content: where keys are equal, so are the results, to the bit.
type WorkKey struct {
	Version     string `json:"version"`     // of this program
	Arithmetic  string `json:"arithmetic"`  // what its kernels use of the machine: sums in another order differ in their last bits
	Model       string `json:"model"`       // hash of the files
	Settings    string `json:"settings"`    // of the quantization, as text
	Calibration string `json:"calibration"` // hash of the samples
}

// differs says in what a key differs from k, nothing if in nothing.
func (k WorkKey) differs(o WorkKey) string {
	var what []string
	for _, x := range []struct{ name, a, b string }{
		{"version of the program", k.Version, o.Version},
		{"instruction set", k.Arithmetic, o.Arithmetic},
		{"model", k.Model, o.Model},
		{"settings", k.Settings, o.Settings},
		{"calibration samples", k.Calibration, o.Calibration},
	} {
		if x.a != x.b {
			what = append(what, x.name)
		}
	}
	return strings.Join(what, ", ")
}

// Work is a folder in which a method keeps what it has finished: the codes of layers in one file, and a journal that says what is where. Each
// layer is on the disk when the next one is begun, so that the same work goes on there after it was cut off. It also takes the place of
// memory: the codes are read again when they are needed.
type Work struct {
	dir     string
	journal *journal.File
	codes   *os.File
	end     int64 // of the codes that the journal knows
	layers  map[string]*layerWork
	scales  map[string]*scaleWork
	removed bool
	// Dropped says of what else the work was that lay in the folder and was thrown away, or nothing.
	Dropped string
}

// layerWork is a finished layer: what its codes are like and where they lie, one after the other: codes, scales, zero points, index.
type layerWork struct {
	Layer     string      `json:"layer"`
	Bits      int         `json:"bits"`
	Rows      int         `json:"rows"`
	Cols      int         `json:"cols"`
	Group     int         `json:"group"`
	ScaleType string      `json:"scale_type"`
	Zeros     bool        `json:"zeros,omitempty"`
	Index     bool        `json:"index,omitempty"`
	At        int64       `json:"at"`
	Bytes     int         `json:"bytes"`
	Sum       uint64      `json:"crc64"`
	Why       string      `json:"why"`
	Errors    LayerErrors `json:"errors"`
}

// scaleWork is the finished search for the scales of a value.
type scaleWork struct {
	Value     string    `json:"value"`
	Scales    []float32 `json:"scales,omitempty"`
	Roundings []float64 `json:"roundings"`
	Why       string    `json:"why,omitempty"`
}

type workEntry struct {
	Layer  *layerWork `json:"layer,omitempty"`
	Scales *scaleWork `json:"scales,omitempty"`
}

var works = journal.Kind{Name: "neuroquant quantization", Schema: 1}

const (
	workJournal = "journal.jsonl"
	workCodes   = "codes.bin"
)

var crcTable = crc64.MakeTable(crc64.ECMA)

// AbandonWork removes work that lies beside the output folder out and that no process goes on with; it returns its name, empty if there is none.
func AbandonWork(out string) (string, error) { return outfile.RemoveWork(out, workCodes) }

// OpenWork opens the folder dir to go on with the work of a key, or begins it there: other work that lies in the folder is thrown away. It is an
// error if another process works there.
func OpenWork(dir string, key WorkKey) (w *Work, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	w = &Work{dir: dir, layers: map[string]*layerWork{}, scales: map[string]*scaleWork{}}
	if w.codes, err = os.OpenFile(filepath.Join(dir, workCodes), os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := outfile.Lock(w.codes); err != nil {
		return nil, fmt.Errorf("%s: another run works there: %w", dir, err)
	}
	// Values between layers of a run that was killed.
	stale, _ := filepath.Glob(filepath.Join(dir, "activations-*"))
	for _, name := range stale {
		if err := os.Remove(name); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(dir, workJournal)
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var was WorkKey
	whole, err := works.Parse(text, &was, w.take)
	switch {
	case err != nil:
		w.Dropped, whole = fmt.Sprintf("which cannot be read (%v)", err), 0
	case whole > 0:
		if d := was.differs(key); d != "" {
			w.Dropped, whole = "with other "+d, 0
		} else if bad := w.check(); bad != nil {
			w.Dropped, whole = fmt.Sprintf("which is damaged (%v)", bad), 0
		}
	}
	if whole == 0 {
		clear(w.layers)
		clear(w.scales)
		w.end = 0
	}
	if err := w.codes.Truncate(w.end); err != nil {
		return nil, err
	}
	w.journal, err = works.Open(path, whole, key)
	return w, err
}

// take takes a line of the journal.
func (w *Work) take(line []byte) error {
	var e workEntry
	if err := journal.Strict(line, &e); err != nil {
		return err
	}
	if e.Scales != nil {
		w.scales[e.Scales.Value] = e.Scales
	}
	if l := e.Layer; l != nil {
		a, err := l.form()
		if err != nil {
			return err
		}
		if l.At != w.end || l.Bytes != bytesOf(a) {
			return fmt.Errorf("layer %q: %d bytes at %d; want %d at %d", l.Layer, l.Bytes, l.At, bytesOf(a), w.end)
		}
		w.layers[l.Layer], w.end = l, l.At+int64(l.Bytes)
	}
	return nil
}

// check compares the codes on the disk with what the journal says.
func (w *Work) check() error {
	for _, l := range w.layers {
		h := crc64.New(crcTable)
		if n, err := io.Copy(h, io.NewSectionReader(w.codes, l.At, int64(l.Bytes))); err != nil || n != int64(l.Bytes) {
			return errors.Join(fmt.Errorf("layer %q: %d of %d bytes", l.Layer, n, l.Bytes), err)
		}
		if h.Sum64() != l.Sum {
			return fmt.Errorf("layer %q: its codes are not those that were written", l.Layer)
		}
	}
	return nil
}

// Finished returns how many layers were finished when the work was opened, or have been since.
func (w *Work) Finished() int { return len(w.layers) }

// form is the matrix of a layer without its contents.
func (l *layerWork) form() (*packed.Affine, error) {
	d, err := tensor.ParseDType(l.ScaleType)
	if err != nil {
		return nil, err
	}
	if l.Bits < 1 || l.Bits > 8 || l.Rows < 1 || l.Cols < 1 || l.Group < 1 || l.Rows > 1<<40/l.Cols {
		return nil, fmt.Errorf("layer %q: %d x %d codes of %d bits in groups of %d", l.Layer, l.Rows, l.Cols, l.Bits, l.Group)
	}
	a := &packed.Affine{Bits: l.Bits, Rows: l.Rows, Cols: l.Cols, Group: l.Group, ScaleType: d}
	if l.Zeros {
		a.Zeros = []byte{}
	}
	if l.Index {
		a.Index = []int32{}
	}
	return a, nil
}

// bytesOf is what a matrix takes in the file of codes.
func bytesOf(a *packed.Affine) int {
	codes, scales, zeros, index := partsOf(a)
	return codes + scales + zeros + index
}

// partsOf are the bytes of the codes, scales, zero points and index of a matrix there.
func partsOf(a *packed.Affine) (codes, scales, zeros, index int) {
	n := a.Rows * a.Groups()
	if a.Zeros != nil {
		zeros = n
	}
	if a.Index != nil {
		index = 4 * a.Cols
	}
	return a.Rows * ((a.Cols*a.Bits + 7) / 8), 4 * n, zeros, index
}

// put keeps a finished layer.
func (w *Work) put(l layerWork, a *packed.Affine) error {
	l.Bits, l.Rows, l.Cols, l.Group, l.ScaleType, l.Zeros, l.Index = a.Bits, a.Rows, a.Cols, a.Group, a.ScaleType.String(), a.Zeros != nil, a.Index != nil
	l.At, l.Bytes = w.end, bytesOf(a)
	h := crc64.New(crcTable)
	at := w.end
	for _, b := range [][]byte{a.Codes, bytesIn(a.Scales), a.Zeros, bytesIn(a.Index)} {
		if _, err := w.codes.WriteAt(b, at); err != nil {
			return w.failed(err)
		}
		_, _ = h.Write(b)
		at += int64(len(b))
	}
	l.Sum = h.Sum64()
	if err := w.codes.Sync(); err != nil {
		return w.failed(err)
	}
	if err := w.journal.Add(workEntry{Layer: &l}); err != nil {
		return w.failed(err)
	}
	w.layers[l.Layer], w.end = &l, at
	return nil
}

// failed says what can be done about a write that failed.
func (w *Work) failed(err error) error {
	return fmt.Errorf("%s: cannot write there: %w; %d layers are finished", w.dir, err, len(w.layers))
}

// putScales keeps what a search found.
func (w *Work) putScales(s *scaleWork) error {
	if err := w.journal.Add(workEntry{Scales: s}); err != nil {
		return w.failed(err)
	}
	w.scales[s.Value] = s
	return nil
}

func bytesIn[T float32 | int32](v []T) []byte {
	if len(v) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

// source returns the matrix of a finished layer, which is read when it is loaded.
func (w *Work) source(layer string) tensor.Source {
	l := w.layers[layer]
	form, _ := l.form() // it was right when it was taken or put
	return &workSource{w, l, form}
}

// workSource is a matrix of codes that lies in the file of codes.
type workSource struct {
	w    *Work
	l    *layerWork
	form *packed.Affine
}

// Shape implements [tensor.Source].
func (s *workSource) Shape() tensor.Shape { return tensor.Shape{s.l.Rows, s.l.Cols} }

// DType implements [tensor.Source].
func (s *workSource) DType() tensor.DType { return tensor.Float32 }

// Form implements [packed.Formed].
func (s *workSource) Form() *packed.Affine { return s.form }

// Affine implements [packed.Coded].
func (s *workSource) Affine() (*packed.Affine, error) {
	a := *s.form
	codes, scales, zeros, index := partsOf(s.form)
	a.Codes, a.Scales = make([]byte, codes), make([]float32, scales/4)
	if a.Zeros != nil {
		a.Zeros = make([]byte, zeros)
	}
	if a.Index != nil {
		a.Index = make([]int32, index/4)
	}
	at := s.l.At
	for _, b := range [][]byte{a.Codes, bytesIn(a.Scales), a.Zeros, bytesIn(a.Index)} {
		if _, err := s.w.codes.ReadAt(b, at); err != nil {
			return nil, fmt.Errorf("layer %q: %w", s.l.Layer, err)
		}
		at += int64(len(b))
	}
	return &a, nil
}

// Load implements [tensor.Source].
func (s *workSource) Load() (*tensor.Tensor, error) {
	a, err := s.Affine()
	if err != nil {
		return nil, err
	}
	return tensor.NewPacked(tensor.Float32, s.Shape(), a), nil
}

// Close ends the use of the folder, which stays unless [Work.Remove] was called. Matrices of it cannot be loaded any more.
func (w *Work) Close() error {
	var errs []error
	if w.journal != nil {
		errs = append(errs, w.journal.Close())
	}
	errs = append(errs, w.codes.Close())
	if w.removed {
		errs = append(errs, os.RemoveAll(w.dir))
	}
	return errors.Join(errs...)
}

// Remove removes the folder, on systems that cannot remove what is open when the work is closed. Matrices of it can be loaded until then.
func (w *Work) Remove() {
	w.removed = true
	_ = os.RemoveAll(w.dir)
}
