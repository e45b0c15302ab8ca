package calibrate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/neurotrain/neuroquant/internal/codec/outfile"
)

// File is calibration statistics as they are stored: JSON, one value a line. It holds no times and no paths, so that the same
// samples give the same bytes, in whatever order and in however many runs they were seen.
type File struct {
	Model   Identity
	Samples int64
	// Repairs are those that the model had undergone when it was run, see package quantize.
	Repairs []string

	values map[string]*wireStats
}

const (
	fileKind   = "neuroquant calibration statistics"
	fileSchema = 1
)

type wireFile struct {
	Kind    string                `json:"kind"`
	Schema  int                   `json:"schema"`
	Model   Identity              `json:"model"`
	Samples int64                 `json:"samples"`
	Repairs []string              `json:"repairs,omitempty"`
	Values  map[string]*wireStats `json:"values"`
}

// New returns a file of the statistics of a model's values.
func New(id Identity, samples int64, repairs []string, values map[string]*Stats) *File {
	f := &File{Model: id, Samples: samples, Repairs: repairs, values: map[string]*wireStats{}}
	for name, s := range values {
		f.values[name] = s.wire()
	}
	return f
}

// Values returns the statistics by the name of the value.
func (f *File) Values() map[string]*Stats {
	out := make(map[string]*Stats, len(f.values))
	for name, w := range f.values {
		out[name] = w.stats()
	}
	return out
}

// Check reports whether the statistics are of a model, with what differs if they are not.
func (f *File) Check(id Identity, repairs []string) error {
	if err := f.Model.differs(id); err != nil {
		return fmt.Errorf("the statistics are of another model (%s); %s is one %w", f.Model.File, id.File, err)
	}
	if !slices.Equal(f.Repairs, repairs) {
		return fmt.Errorf("the statistics are of the model with repairs %q; want %q", f.Repairs, repairs)
	}
	return nil
}

// Merge adds the statistics of o, which must be of the same model.
func (f *File) Merge(o *File) error {
	if err := f.Check(o.Model, o.Repairs); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(f.values))
	if !slices.Equal(names, slices.Sorted(maps.Keys(o.values))) {
		return errors.New("the statistics are of other values of the model: they were made by different versions of this program")
	}
	for _, name := range names {
		s := f.values[name].stats()
		s.Merge(o.values[name].stats())
		f.values[name] = s.wire()
	}
	f.Samples += o.Samples
	return nil
}

// WriteTo writes the file.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: bufio.NewWriter(w)}
	head, err := json.MarshalIndent(wireFile{Kind: fileKind, Schema: fileSchema, Model: f.Model, Samples: f.Samples, Repairs: f.Repairs}, "", " ")
	if err != nil {
		return 0, err
	}
	const none = "\"values\": null\n}"
	c.write(bytes.TrimSuffix(head, []byte(none)), []byte("\"values\": {\n"))
	for i, name := range slices.Sorted(maps.Keys(f.values)) {
		key, err := json.Marshal(name)
		if err != nil {
			return c.n, err
		}
		value, err := json.Marshal(f.values[name])
		if err != nil {
			return c.n, err
		}
		if i > 0 {
			c.write([]byte(",\n"))
		}
		c.write([]byte("  "), key, []byte(": "), value)
	}
	c.write([]byte("\n }\n}\n"))
	return c.n, errors.Join(c.err, c.w.Flush())
}

type counter struct {
	w   *bufio.Writer
	n   int64
	err error
}

func (c *counter) write(parts ...[]byte) {
	for _, p := range parts {
		n, err := c.w.Write(p)
		c.n += int64(n)
		c.err = errors.Join(c.err, err)
	}
}

// Save writes the file at path, whole or not at all.
func (f *File) Save(path string) error {
	var set outfile.Set
	out, err := set.Create(path)
	if err == nil {
		_, err = f.WriteTo(out)
	}
	if err != nil {
		set.Abort()
		return err
	}
	return set.Commit()
}

// Parse reads a file.
func Parse(text []byte) (*File, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var w wireFile
	// What it is comes before what is wrong with it.
	var head struct {
		Kind   string `json:"kind"`
		Schema int    `json:"schema"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Kind != fileKind {
		return nil, errors.Join(fmt.Errorf("this is no file of %s", fileKind), err)
	}
	if head.Schema != fileSchema {
		return nil, fmt.Errorf("statistics of schema %d; this version reads schema %d", head.Schema, fileSchema)
	}
	if err := d.Decode(&w); err != nil {
		return nil, err
	}
	if w.Samples < 1 {
		return nil, fmt.Errorf("statistics of %d samples", w.Samples)
	}
	for _, name := range slices.Sorted(maps.Keys(w.Values)) {
		if err := w.Values[name].check(); err != nil {
			return nil, fmt.Errorf("value %q: %w", name, err)
		}
	}
	return &File{Model: w.Model, Samples: w.Samples, Repairs: w.Repairs, values: w.Values}, nil
}

// Load reads the file at path.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// LoadAll reads and merges files.
func LoadAll(ctx context.Context, paths []string) (*File, error) {
	var f *File
	for i, p := range paths {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next, err := Load(p)
		if err != nil {
			return nil, err
		}
		if f == nil {
			f = next
		} else if err := f.Merge(next); err != nil {
			return nil, fmt.Errorf("%s and %s: %w", paths[0], paths[i], err)
		}
	}
	if f == nil {
		return nil, errors.New("no statistics files")
	}
	return f, nil
}
