package torchexport

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/aten"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/torchop"
	"github.com/neurotrain/neuroquant/tensor"
)

// Limits of what is read of an archive into memory.
const (
	maxProgram = 1 << 28
	maxConfig  = 1 << 26
)

// dtypes are the element types by the numbers of the schema, which are not those of PyTorch at run time.
var dtypes = map[int]tensor.DType{
	1: tensor.Uint8, 2: tensor.Int8, 3: tensor.Int16, 4: tensor.Int32, 5: tensor.Int64, 6: tensor.Float16, 7: tensor.Float32, 8: tensor.Float64,
	10: tensor.Complex64, 11: tensor.Complex128, 12: tensor.Bool, 13: tensor.BFloat16, 28: tensor.Uint16, 29: tensor.Float8E4M3FN, 30: tensor.Float8E5M2,
	31: tensor.Float8E4M3FNUZ, 32: tensor.Float8E5M2FNUZ,
}

// weights finds the tensors of a program by name.
type weights struct {
	file   *checkpoint.File
	tables []table
	cells  map[string]*torchop.Tensor
}

// table is a set of tensors of an archive: a list of members, or what one pickle holds.
type table struct {
	folder string
	config map[string]weightEntry
	tensor map[string]*checkpoint.Tensor
}

// openWeights reads where the tensors of the program of a name are.
func openWeights(f *checkpoint.File, name string) (*weights, error) {
	w := &weights{file: f, cells: map[string]*torchop.Tensor{}}
	for _, s := range []struct{ folder, config, pickled string }{
		{"data/weights/", "data/weights/" + name + "_weights_config.json", "data/weights/" + name + ".pt"},
		{"data/constants/", "data/constants/" + name + "_constants_config.json", "data/constants/" + name + ".pt"},
		{"", "", "serialized_state_dict.pt"},
		{"", "", "serialized_constants.pt"},
	} {
		switch {
		case s.config != "" && f.Has(s.config):
			b, err := f.Read(s.config, maxConfig)
			if err != nil {
				return nil, err
			}
			var c weightsConfig
			if err := json.Unmarshal(b, &c); err != nil {
				return nil, fmt.Errorf("%w: %s: %w", checkpoint.ErrFormat, s.config, err)
			}
			w.tables = append(w.tables, table{folder: s.folder, config: c.Config})
		case f.Has(s.pickled):
			v, err := w.saved(s.pickled)
			if err != nil {
				return nil, err
			}
			t := table{tensor: map[string]*checkpoint.Tensor{}}
			if d, ok := v.(*pickle.Dict); ok {
				for i, k := range d.Keys {
					name, ok1 := k.(string)
					x, ok2 := d.Values[i].(*checkpoint.Tensor)
					if ok1 && ok2 {
						t.tensor[name] = x
					}
				}
			}
			w.tables = append(w.tables, t)
		}
	}
	return w, nil
}

// saved reads a member that torch.save wrote.
func (w *weights) saved(name string) (any, error) {
	b, err := w.file.Read(name, 1<<40)
	if err != nil {
		return nil, err
	}
	inner, err := checkpoint.Parse(w.file.Path+":"+name, b)
	if err == nil && inner.Kind != checkpoint.Saved {
		err = fmt.Errorf("%w: a %s archive within the archive", checkpoint.ErrFormat, inner.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return inner.Object()
}

// tensor returns a parameter, buffer or constant.
func (w *weights) tensor(name string) (*torchop.Tensor, error) {
	for _, t := range w.tables {
		if x := t.tensor[name]; x != nil {
			return w.cell(name, name, x)
		}
		e, ok := t.config[name]
		if !ok {
			continue
		}
		key := t.folder + e.PathName
		if strings.Contains(e.PathName, "/") {
			return nil, fmt.Errorf("%w: tensor %s lies in %.80q", checkpoint.ErrFormat, name, e.PathName)
		}
		if e.UsePickle {
			v, err := w.saved(key)
			if err != nil {
				return nil, err
			}
			x, ok := v.(*checkpoint.Tensor)
			if !ok {
				return nil, fmt.Errorf("constant %s is a %s; accepted are tensors: %w", name, pickle.TypeName(v), checkpoint.ErrUnsupported)
			}
			return w.cell(key, name, x)
		}
		if e.TensorMeta == nil {
			return nil, fmt.Errorf("%w: tensor %s has no type", checkpoint.ErrFormat, name)
		}
		m := e.TensorMeta
		d, ok := dtypes[m.DType]
		if !ok {
			return nil, fmt.Errorf("tensor %s: element type %d of the schema is %w", name, m.DType, checkpoint.ErrUnsupported)
		}
		shape, err := numbers(m.Sizes)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		strides, err := numbers(m.Strides)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		if len(strides) == 0 {
			strides = make([]int, 0)
		}
		x, err := w.file.Tensor(key, d, shape, strides, int(m.StorageOffset.Int))
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		return w.cell(fmt.Sprint(key, d, shape, strides, m.StorageOffset.Int), name, x)
	}
	return nil, fmt.Errorf("%w: the archive has no tensor %s", checkpoint.ErrFormat, name)
}

// cell returns a tensor of the archive, the same for the same elements. The half types are computed in float32.
func (w *weights) cell(key, name string, x *checkpoint.Tensor) (*torchop.Tensor, error) {
	if t := w.cells[key]; t != nil {
		return t, nil
	}
	if x.Err() != nil {
		return nil, fmt.Errorf("tensor %s: %w", name, x.Err())
	}
	var s tensor.Source = x
	if d := x.DType(); d == tensor.Float16 || d == tensor.BFloat16 {
		s = aten.Float32(x)
	}
	t := torchop.Param(name, s)
	w.cells[key] = t
	return t, nil
}

// numbers returns sizes that are all known.
func numbers(list []symInt) ([]int, error) {
	out := make([]int, len(list))
	for i, s := range list {
		if !s.Known || s.Int < 0 || s.Int > 1<<48 {
			return nil, fmt.Errorf("%w: the size %v%s", checkpoint.ErrFormat, s.Int, s.Expr)
		}
		out[i] = int(s.Int)
	}
	return out, nil
}
