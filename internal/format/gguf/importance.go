package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/gguf"
	"github.com/neurotrain/neuroquant/internal/codec/outfile"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
)

// Squares is what a matrix was multiplied by: for each column the sum of squares over all tokens.
type Squares struct {
	Sums   []float32
	Tokens int
}

// Endings of tensors in files of importance, as llama.cpp's imatrix program writes them.
const (
	endSums   = ".in_sum2"
	endCounts = ".counts"
)

// maxImportance bounds files of importance of the old kind.
const maxImportance = 1 << 30

// WriteImportance writes what the matrices of a model, by their names in the checkpoint, were multiplied by, as llama.cpp reads it.
func WriteImportance(path string, m *model.Model, squares map[string]Squares, text string) error {
	fam, err := familyFor(m)
	if err != nil {
		return err
	}
	pairs := []gguf.Pair{
		{Key: "general.type", Value: "imatrix"},
		{Key: "imatrix.datasets", Value: []string{filepath.Base(text)}},
		{Key: "imatrix.chunk_count", Value: uint32(1)},
		{Key: "imatrix.chunk_size", Value: uint32(512)},
	}
	var tensors []gguf.Tensor
	var sizes []int
	var data [][]float32
	add := func(name string, values []float32, shape ...int) {
		tensors = append(tensors, gguf.Tensor{Name: name, Type: uint32(packed.F32), Shape: shape})
		sizes = append(sizes, 4*len(values))
		data = append(data, values)
	}
	stacks := map[string]map[int]Squares{}
	for name, s := range squares {
		to := fam.toGGUF(name)
		if to.name == "" {
			continue
		}
		if stacks[to.name] == nil {
			stacks[to.name] = map[int]Squares{}
		}
		stacks[to.name][max(to.index, 0)] = s
	}
	for _, to := range slices.Sorted(maps.Keys(stacks)) {
		last := slices.Max(slices.Collect(maps.Keys(stacks[to])))
		cols := len(stacks[to][last].Sums)
		sums, counts := make([]float32, (last+1)*cols), make([]float32, last+1)
		for i, s := range stacks[to] {
			copy(sums[i*cols:(i+1)*cols], s.Sums)
			counts[i] = float32(s.Tokens)
		}
		add(to+endSums, sums, last+1, cols)
		add(to+endCounts, counts, last+1, 1)
	}
	header, err := gguf.Encode(pairs, tensors, sizes)
	if err != nil {
		return err
	}
	var files outfile.Set
	defer files.Abort()
	f, err := files.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(header); err != nil {
		return err
	}
	for i, values := range data {
		b := make([]byte, sizes[i]+gguf.Padding(sizes[i]))
		packed.F32.Encode(b, values, nil)
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return files.Commit()
}

func familyFor(m *model.Model) (*family, error) {
	modelType, _ := m.Config["model_type"].(string)
	names := map[string]bool{}
	for _, e := range m.StateDict() {
		names[e.Name] = true
	}
	return familyOf(modelType, func(name string) bool {
		_, short, _ := strings.Cut(name, ".") // of a checkpoint of a model without a head
		return names[name] || names[short] || names[strings.ReplaceAll(name, "%d", "0")]
	})
}

// Importance returns the mean squares by the names of a checkpoint, as [Options] take them.
func Importance(squares map[string]Squares) map[string][]float32 {
	out := map[string][]float32{}
	for name, s := range squares {
		if s.Tokens <= 0 {
			continue
		}
		w := make([]float32, len(s.Sums))
		for i, v := range s.Sums {
			w[i] = v / float32(s.Tokens)
		}
		out[name] = w
	}
	return out
}

// ReadImportance reads a file of importance, of this program or of llama.cpp's imatrix (GGUF or the older .dat), for a model.
func ReadImportance(path string, m *model.Model) (map[string][]float32, error) {
	fam, err := familyFor(m)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxImportance {
		return nil, fmt.Errorf("%s: %d bytes; at most %d are accepted", path, info.Size(), maxImportance)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var found map[string][][]float32
	if len(b) >= 4 && string(b[:4]) == gguf.Magic {
		found, err = parseImportance(b)
	} else {
		found, err = parseOldImportance(b)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out := map[string][]float32{}
	for name, list := range found {
		to := fam.toCheckpoint(name)
		for i, w := range list {
			for _, v := range w {
				if !(v >= 0) || math.IsInf(float64(v), 0) {
					return nil, fmt.Errorf("%s: tensor %q: an importance of %v", path, name, v)
				}
			}
			switch stacked := strings.Contains(to, "%d"); {
			case to == "" || w == nil:
			case stacked:
				out[fmt.Sprintf(to, i)] = w
			case len(list) == 1:
				out[to] = w
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: none of its %d tensors is one of the model", path, len(found))
	}
	return out, nil
}

// parseImportance returns the importance of each tensor, and of each expert where a tensor has them: nil for those that saw no token.
func parseImportance(file []byte) (map[string][][]float32, error) {
	h, err := gguf.Parse(file)
	if err != nil {
		return nil, err
	}
	values := map[string][]float32{}
	for i := range h.Tensors {
		t := &h.Tensors[i]
		if packed.Kind(t.Type) != packed.F32 {
			return nil, fmt.Errorf("tensor %q is of %v, want F32", t.Name, packed.Kind(t.Type))
		}
		n := t.Len()
		b, err := h.Bytes(file, t, 4*n)
		if err != nil {
			return nil, err
		}
		v := make([]float32, n)
		packed.F32.Decode(v, b)
		values[t.Name] = v
	}
	out := map[string][][]float32{}
	for name, sums := range values {
		base, ok := strings.CutSuffix(name, endSums)
		counts := values[base+endCounts]
		if !ok || len(counts) == 0 || len(sums)%len(counts) != 0 {
			continue
		}
		cols := len(sums) / len(counts)
		for i, n := range counts {
			var w []float32
			if n > 0 {
				w = make([]float32, cols)
				for c, v := range sums[i*cols : (i+1)*cols] {
					w[c] = v / n
				}
			}
			out[base] = append(out[base], w)
		}
	}
	return out, nil
}

// parseOldImportance reads a number of entries, each a name, a number of calls, a number of values and sums over the calls.
func parseOldImportance(b []byte) (map[string][][]float32, error) {
	short := errors.New("not a file of importance, or an incomplete one")
	take := func(n int) []byte {
		if n < 0 || n > len(b) {
			return nil
		}
		p := b[:n:n]
		b = b[n:]
		return p
	}
	number := func() int {
		p := take(4)
		if p == nil {
			return -1
		}
		return int(int32(binary.LittleEndian.Uint32(p)))
	}
	entries := number()
	if entries < 1 || entries > len(b)/12 {
		return nil, short
	}
	out := map[string][][]float32{}
	for range entries {
		name := string(take(number()))
		calls, n := number(), number()
		if name == "" || calls < 0 || n < 1 || n > len(b)/4 {
			return nil, short
		}
		w := make([]float32, n)
		packed.F32.Decode(w, take(4*n))
		for i := range w {
			w[i] /= float32(max(calls, 1))
		}
		out[name] = [][]float32{w}
	}
	return out, nil
}

// IsHead reports whether a tensor of a checkpoint is the head or the embedding.
func IsHead(m *model.Model, name string) bool {
	fam, err := familyFor(m)
	if err != nil {
		return false
	}
	to := fam.toGGUF(name).name
	return to == "output.weight" || to == "token_embd.weight"
}
