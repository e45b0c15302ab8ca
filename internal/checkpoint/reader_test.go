package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

// expected is what torch.load gives for a file, as the cases of pt-reader have it.
type expected struct {
	Error  string              `json:"error"`
	Dict   map[string]expected `json:"dict"`
	List   []expected          `json:"list"`
	Tensor string              `json:"tensor"`
	Shape  []int               `json:"shape"`
	SHA256 string              `json:"sha256_le_contiguous"`
	Values []any               `json:"values"`
	Value  any                 `json:"value"`
}

func TestReadsWhatPyTorchReads(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(material.Path(t, "data/pt-reader"), "*.expect.json"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d cases (%v)", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".expect.json")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want expected
			if err := json.Unmarshal(b, &want); err != nil {
				t.Fatal(err)
			}
			f, err := Open(strings.TrimSuffix(file, ".expect.json"))
			var got any
			if err == nil {
				defer f.Close()
				got, err = f.Object()
			}
			if want.Error != "" {
				if err == nil {
					t.Errorf("PyTorch refuses the file; here it is %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r := f.Refused(); len(r) > 0 {
				t.Errorf("refused: %v", r)
			}
			compare(t, "", got, want)
		})
	}
}

func compare(t *testing.T, at string, got any, want expected) {
	t.Helper()
	switch {
	case want.Dict != nil:
		d, ok := got.(*pickle.Dict)
		if !ok || d.Len() != len(want.Dict) {
			t.Errorf("%s: want a dictionary of %d, got %s", at, len(want.Dict), describe(got))
			return
		}
		for i, k := range d.Keys {
			w, ok := want.Dict[fmt.Sprint(k)]
			if !ok {
				t.Errorf("%s: key %v is not expected", at, k)
			}
			compare(t, fmt.Sprintf("%s[%v]", at, k), d.Values[i], w)
		}
	case want.List != nil:
		items, ok := pickle.Items(got)
		if !ok || len(items) != len(want.List) {
			t.Errorf("%s: want a list of %d, got %s", at, len(want.List), pickle.TypeName(got))
			return
		}
		for i, x := range items {
			compare(t, fmt.Sprintf("%s[%d]", at, i), x, want.List[i])
		}
	case want.Tensor != "":
		x, ok := got.(*Tensor)
		if !ok {
			t.Errorf("%s: want a tensor, got %s", at, pickle.TypeName(got))
			return
		}
		loaded, err := x.Load()
		if err != nil {
			t.Errorf("%s: %v", at, err)
			return
		}
		if loaded.DType.String() != want.Tensor || !slices.Equal(loaded.Shape, want.Shape) {
			t.Errorf("%s: want %s %v, got %v", at, want.Tensor, want.Shape, loaded)
		}
		if sum := sha256.Sum256(loaded.Bytes()); hex.EncodeToString(sum[:]) != want.SHA256 {
			t.Errorf("%s: other bytes than PyTorch's", at)
		}
		checkValues(t, at, loaded, want.Values)
	case want.Value != nil:
		s := fmt.Sprint(got)
		if b, ok := got.(bool); ok {
			s = map[bool]string{true: "True", false: "False"}[b]
		}
		if s != fmt.Sprint(want.Value) {
			t.Errorf("%s: want %v, got %s", at, want.Value, s)
		}
	default:
		t.Errorf("%s: a case of an unknown form", at)
	}
}

func checkValues(t *testing.T, at string, x *tensor.Tensor, want []any) {
	t.Helper()
	if want == nil {
		return
	}
	v, err := x.Float64s()
	if x.DType == tensor.Bool {
		v = nil
		for _, b := range tensor.Data[bool](x) {
			v = append(v, map[bool]float64{true: 1}[b])
		}
	} else if err != nil {
		t.Errorf("%s: %v", at, err)
		return
	}
	if len(v) != len(want) {
		t.Errorf("%s: want %d values, got %d", at, len(want), len(v))
		return
	}
	for i, x := range want {
		s := fmt.Sprint(x)
		w, err := strconv.ParseFloat(s, 64)
		if err != nil {
			w = map[string]float64{"True": 1}[s]
		}
		if v[i] != w && !(math.IsNaN(v[i]) && math.IsNaN(w)) {
			t.Errorf("%s: value %d is %v, want %s", at, i, v[i], s)
		}
	}
}
