package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/tensor"
)

// Set is the tensors of one file, or of all shards that an index names. The files are mapped into memory; tensors alias them
// until [Set.Close].
type Set struct {
	Files    []string // names of the files, in the folder of the first one opened
	Metadata map[string]string

	tensors []*Tensor
	byName  map[string]*Tensor
	maps    []*mmap.File
}

// Tensor is a tensor of a set; it implements [tensor.Releaser].
type Tensor struct {
	Name string
	File string // name of the file that it is in

	entry Entry
	data  []byte
	file  *mmap.File
}

// Shape implements [tensor.Source].
func (t *Tensor) Shape() tensor.Shape { return t.entry.Shape }

// DType implements [tensor.Source].
func (t *Tensor) DType() tensor.DType { return t.entry.DType }

// Bytes returns the bytes of the tensor in the mapped file.
func (t *Tensor) Bytes() []byte { return t.data }

// Load implements [tensor.Source]. Nothing is copied unless a file has its elements at odd addresses.
func (t *Tensor) Load() (*tensor.Tensor, error) {
	data := t.data
	if size := uintptr(t.entry.DType.Size()); size > 1 && len(data) > 0 && uintptr(unsafe.Pointer(&data[0]))%min(size, 8) != 0 {
		data = tensor.New(t.entry.DType, t.entry.Shape...).Bytes()
		copy(data, t.data)
	}
	return tensor.FromBytes(t.entry.DType, t.entry.Shape, data)
}

// Release implements [tensor.Releaser].
func (t *Tensor) Release() { t.file.Drop(t.data) }

// Tensors lists the tensors in the order of the files and of their bytes there.
func (s *Set) Tensors() []*Tensor { return s.tensors }

// Tensor returns the tensor of a name, or nil.
func (s *Set) Tensor(name string) *Tensor { return s.byName[name] }

// Close ends the use of the files and of all tensors that alias them.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.maps {
		errs = append(errs, m.Close())
	}
	s.maps = nil
	return errors.Join(errs...)
}

// Open opens a safetensors file, or with an extension .json the index of a set of shards, which lie beside it.
func Open(path string) (*Set, error) {
	s := &Set{byName: map[string]*Tensor{}, Metadata: map[string]string{}}
	var err error
	if strings.HasSuffix(path, ".json") {
		err = s.openShards(path)
	} else {
		err = s.add(path, nil)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// add maps a file and takes its tensors, those that belong to other files by home left out.
func (s *Set) add(path string, home map[string]string) error {
	m, err := mmap.Open(path)
	if err != nil {
		return err
	}
	s.maps = append(s.maps, m)
	h, err := Parse(m.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	name := filepath.Base(path)
	s.Files = append(s.Files, name)
	for k, v := range h.Metadata {
		s.Metadata[k] = v
	}
	data := m.Bytes()[h.Len:]
	for _, e := range h.Entries {
		if in, ok := home[e.Name]; ok && in != name {
			continue
		}
		if other := s.byName[e.Name]; other != nil {
			return fmt.Errorf("%s: tensor %q is in %s as well, and the index does not say which is meant", path, e.Name, other.File)
		}
		t := &Tensor{e.Name, name, e, data[e.Begin:e.End:e.End], m}
		s.byName[e.Name] = t
		s.tensors = append(s.tensors, t)
	}
	return nil
}

// maxIndex bounds the index file.
const maxIndex = 256 << 20

// index is the file that says in which shard a tensor is.
type index struct {
	Metadata  map[string]any    `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

// openShards opens all shards of an index and checks that they hold what it says.
func (s *Set) openShards(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxIndex {
		return fmt.Errorf("%s: an index of %d bytes; at most %d are accepted", path, info.Size(), maxIndex)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var x index
	if err := json.Unmarshal(text, &x); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(x.WeightMap) == 0 {
		return fmt.Errorf("%s: weight_map is missing or empty", path)
	}
	var shards, missing []string
	for name, file := range x.WeightMap {
		if !filepath.IsLocal(file) || filepath.Base(file) != file {
			return fmt.Errorf("%s: tensor %q: shard %q is not the name of a file in the same folder", path, name, file)
		}
		if !slices.Contains(shards, file) {
			shards = append(shards, file)
		}
	}
	slices.Sort(shards)
	for _, f := range shards {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), f)); err != nil {
			missing = append(missing, f)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s: %d of %d shards are missing: %s", path, len(missing), len(shards), strings.Join(missing, ", "))
	}
	for _, f := range shards {
		if err := s.add(filepath.Join(filepath.Dir(path), f), x.WeightMap); err != nil {
			return err
		}
	}
	var lost []string
	for name, file := range x.WeightMap {
		if s.byName[name] == nil {
			lost = append(lost, fmt.Sprintf("%s (%s)", name, file))
		}
	}
	if len(lost) > 0 {
		slices.Sort(lost)
		return fmt.Errorf("%s: %d tensors are not in the shards that the index names: %s", path, len(lost), strings.Join(lost[:min(len(lost), 5)], ", "))
	}
	return nil
}
