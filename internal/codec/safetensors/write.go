package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/tensor"
)

// DefaultShardBytes is the most that a shard holds where the caller does not say: what transformers writes.
const DefaultShardBytes = 5_000_000_000

// WriteOptions of a writer.
type WriteOptions struct {
	Stem       string            // of file names; "" is "model"
	ShardBytes int               // the most a shard holds, but for a tensor that is larger; 0: DefaultShardBytes
	Metadata   map[string]string // nil: {"format": "pt"}, which loaders insist on
}

// Writer writes tensors to one file, or to shards with an index. Tensors come in any order; each goes to its place in a file
// at once. The files get their names when the writer is closed and everything came.
type Writer struct {
	files  outfile.Set
	shards []*shard
	places map[string]*place
}

type shard struct {
	name    string
	entries []Entry
	size    int // bytes of the data
	head    int // bytes before the data
	file    *outfile.File
}

// place is where a tensor goes.
type place struct {
	shard   *shard
	entry   Entry
	written bool
}

// Create lays out the tensors, of which Begin and End need not be set, in the order given, and starts the files in a folder
// that exists.
func Create(dir string, entries []Entry, o WriteOptions) (*Writer, error) {
	w, err := newWriter(entries, &o)
	if err != nil {
		return nil, err
	}
	for _, s := range w.shards {
		if err := w.start(dir, s, o.Metadata); err != nil {
			w.files.Abort()
			return nil, err
		}
	}
	if len(w.shards) > 1 {
		if err := w.writeIndex(filepath.Join(dir, o.Stem+".safetensors.index.json")); err != nil {
			w.files.Abort()
			return nil, err
		}
	}
	return w, nil
}

// ByteLen is what the files that [Create] makes of the tensors take.
func ByteLen(entries []Entry, o WriteOptions) (int64, error) {
	w, err := newWriter(entries, &o)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, s := range w.shards {
		head, err := s.header(o.Metadata)
		if err != nil {
			return 0, err
		}
		n += int64(len(head) + s.size)
	}
	if len(w.shards) > 1 {
		text, err := w.index()
		if err != nil {
			return 0, err
		}
		n += int64(len(text))
	}
	return n, nil
}

// newWriter lays out the tensors and sets what the options leave open.
func newWriter(entries []Entry, o *WriteOptions) (*Writer, error) {
	if o.Stem == "" {
		o.Stem = "model"
	}
	if o.ShardBytes == 0 {
		o.ShardBytes = DefaultShardBytes
	}
	if o.Metadata == nil {
		o.Metadata = map[string]string{"format": "pt"}
	}
	w := &Writer{places: map[string]*place{}}
	return w, w.layOut(entries, *o)
}

// layOut fills the shards one after the other.
func (w *Writer) layOut(entries []Entry, o WriteOptions) error {
	cur := &shard{}
	w.shards = []*shard{cur}
	for _, e := range entries {
		if e.Name == MetadataKey || w.places[e.Name] != nil {
			return fmt.Errorf("tensor %q cannot be written twice, or under a name that is taken", e.Name)
		}
		if _, ok := typeName(e.DType); !ok {
			return fmt.Errorf("tensor %q: safetensors cannot hold %v", e.Name, e.DType)
		}
		n, ok := e.Shape.CheckedLen()
		if !ok {
			return fmt.Errorf("tensor %q: shape %v is negative or too large", e.Name, []int(e.Shape))
		}
		size := e.DType.ByteLen(n)
		if cur.size > 0 && cur.size+size > o.ShardBytes {
			cur = &shard{}
			w.shards = append(w.shards, cur)
		}
		e.Begin, e.End = cur.size, cur.size+size
		if err := e.check(); err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		cur.entries = append(cur.entries, e)
		cur.size = e.End
		w.places[e.Name] = &place{shard: cur, entry: e}
	}
	for i, s := range w.shards {
		s.name = o.Stem + ".safetensors"
		if len(w.shards) > 1 {
			s.name = fmt.Sprintf("%s-%05d-of-%05d.safetensors", o.Stem, i+1, len(w.shards))
		}
	}
	return nil
}

// start creates the file of a shard and writes its header.
func (w *Writer) start(dir string, s *shard, metadata map[string]string) error {
	head, err := s.header(metadata)
	if err != nil {
		return err
	}
	if s.file, err = w.files.Create(filepath.Join(dir, s.name)); err != nil {
		return err
	}
	s.head = len(head)
	return s.file.WriteAt(head, 0)
}

// header is what a shard has before the data.
func (s *shard) header(metadata map[string]string) ([]byte, error) {
	head := []byte{'{'}
	put := func(name string, v any) error {
		k, err := json.Marshal(name)
		if err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if len(head) > 1 {
			head = append(head, ',')
		}
		head = append(append(append(head, k...), ':'), text...)
		return nil
	}
	if len(metadata) > 0 {
		if err := put(MetadataKey, metadata); err != nil {
			return nil, err
		}
	}
	for _, e := range s.entries {
		name, _ := typeName(e.DType)
		if err := put(e.Name, struct {
			DType   string `json:"dtype"`
			Shape   []int  `json:"shape"`
			Offsets [2]int `json:"data_offsets"`
		}{name, append([]int{}, e.Shape...), [2]int{e.Begin, e.End}}); err != nil {
			return nil, err
		}
	}
	head = append(head, '}')
	for len(head)%8 != 0 {
		head = append(head, ' ')
	}
	if len(head) > maxHeader {
		return nil, fmt.Errorf("%s: the header takes %d bytes, readers accept %d", s.name, len(head), maxHeader)
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...), nil
}

func (w *Writer) writeIndex(path string) error {
	text, err := w.index()
	if err != nil {
		return err
	}
	f, err := w.files.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return err
}

// index is the text of the file that says what is in which shard.
func (w *Writer) index() ([]byte, error) {
	total := 0
	x := index{Metadata: map[string]any{}, WeightMap: map[string]string{}}
	for _, s := range w.shards {
		total += s.size
		for _, e := range s.entries {
			x.WeightMap[e.Name] = s.name
		}
	}
	x.Metadata["total_size"] = total
	text, err := json.MarshalIndent(x, "", "  ")
	return append(text, '\n'), err
}

// Write puts a tensor in its place.
func (w *Writer) Write(name string, t *tensor.Tensor) error {
	return w.WriteInPieces(name, t, nil, nil)
}

// PieceBytes is how much of a tensor is written at a time.
const PieceBytes = 4 << 20

// WriteInPieces puts a tensor in its place piece by piece. It calls before, if it is not nil, with each piece, which is not written if that fails,
// and after, if it is not nil, when the piece is written: memory of a mapped file that was read can be let go of then.
func (w *Writer) WriteInPieces(name string, t *tensor.Tensor, before func(piece []byte) error, after func()) error {
	p := w.places[name]
	switch {
	case p == nil:
		return fmt.Errorf("tensor %q was not announced", name)
	case p.written:
		return fmt.Errorf("tensor %q came twice", name)
	case t.Packed != nil || t.DType != p.entry.DType || !t.Shape.Equal(p.entry.Shape):
		return fmt.Errorf("tensor %q: want %v[%v], got %v", name, p.entry.DType, p.entry.Shape, t)
	}
	at := int64(p.shard.head + p.entry.Begin)
	for b := range slices.Chunk(t.Bytes(), PieceBytes) {
		if before != nil {
			if err := before(b); err != nil {
				return err
			}
		}
		if err := p.shard.file.WriteAt(b, at); err != nil {
			return err
		}
		at += int64(len(b))
		if after != nil {
			after()
		}
	}
	p.written = true
	return nil
}

// Files lists the names of the files that will be there.
func (w *Writer) Files() []string {
	var out []string
	for _, s := range w.shards {
		out = append(out, s.name)
	}
	return out
}

// Abort removes what was written. After Close it does nothing.
func (w *Writer) Abort() { w.files.Abort() }

// Close gives the files their names. If a tensor did not come, it reports which, and nothing is left behind.
func (w *Writer) Close() error {
	var missing []string
	for name, p := range w.places {
		if !p.written {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		w.files.Abort()
		slices.Sort(missing)
		return errors.New("tensors were not written: " + strings.Join(missing[:min(len(missing), 10)], ", "))
	}
	return w.files.Commit()
}
