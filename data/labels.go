package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// label is one entry of a label file.
type label struct {
	key   string // the sample that it belongs to; "": the one at the same position
	class string // the class name; "": index is the class
	index int
}

// ReadLabels reads the class index of each of n samples. The file is an npy or IDX array of integers, a JSON list of indices or
// class names, a JSON object from sample to either, or text with one of them a line, optionally after the sample's name
// ("img_1.jpg 7" or "img_1.jpg,cat"). ids names the samples where the file does; classes gives the index of a class name, and
// may be nil: then names count in sorted order. It returns the labels and the class names if the file has some.
func ReadLabels(file string, ids []string, classes []string) ([]int, []string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	list, err := parseLabels(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	labels, classes, err := resolveLabels(list, ids, classes)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return labels, classes, nil
}

func parseLabels(raw []byte) ([]label, error) {
	if bytes.HasPrefix(raw, []byte(npyMagic)) {
		t, err := ReadNPY(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		return tensorLabels(t)
	}
	if isIDX(raw) || isGzip(raw) {
		t, err := decodeIDX(raw)
		if err != nil {
			return nil, err
		}
		return tensorLabels(t)
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\ufeff")))
	if len(text) == 0 {
		return nil, errors.New("no labels")
	}
	if text[0] == '[' || text[0] == '{' {
		return jsonLabels(text)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return nil, errors.New("want labels as an npy or IDX array of integers, JSON or text, found binary data")
	}
	return textLabels(string(text)), nil
}

// tensorLabels takes one integer per sample; floats are accepted if they are whole.
func tensorLabels(t *tensor.Tensor) ([]label, error) {
	if len(t.Shape) != 1 && !(len(t.Shape) == 2 && t.Shape[1] == 1) {
		return nil, fmt.Errorf("labels: want one class index per sample, found %v", t)
	}
	out := make([]label, t.Len())
	if t.DType == tensor.String {
		for i, s := range t.Text() {
			out[i].class = s
		}
		return out, nil
	}
	v, err := t.Float64s()
	if err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	for i, x := range v {
		if x != float64(int(x)) {
			return nil, fmt.Errorf("labels: want whole numbers, found %v for sample %d", x, i)
		}
		out[i].index = int(x)
	}
	return out, nil
}

func jsonLabels(text []byte) ([]label, error) {
	one := func(key string, raw json.RawMessage) (label, error) {
		l := label{key: key}
		if json.Unmarshal(raw, &l.index) == nil && string(raw) != "null" {
			return l, nil
		}
		if json.Unmarshal(raw, &l.class) == nil && l.class != "" {
			return l, nil
		}
		return l, fmt.Errorf("want a class index or name, found %.40s", raw)
	}
	var out []label
	if text[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(text, &list); err != nil {
			return nil, fmt.Errorf("labels: %w", err)
		}
		for i, raw := range list {
			l, err := one("", raw)
			if err != nil {
				return nil, fmt.Errorf("label %d: %w", i, err)
			}
			out = append(out, l)
		}
		return out, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, fmt.Errorf("labels: %w", err)
	}
	for key, raw := range object {
		l, err := one(key, raw)
		if err != nil {
			return nil, fmt.Errorf("label of %q: %w", key, err)
		}
		out = append(out, l)
	}
	return out, nil
}

func textLabels(text string) []label {
	var out []label
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var l label
		value := line
		if key, rest, ok := strings.Cut(line, ","); ok {
			l.key, value = strings.TrimSpace(key), strings.TrimSpace(rest)
		} else if f := strings.Fields(line); len(f) == 2 {
			if _, err := strconv.Atoi(f[1]); err == nil {
				l.key, value = f[0], f[1]
			}
		}
		if n, err := strconv.Atoi(value); err == nil {
			l.index = n
		} else {
			l.class = value
		}
		out = append(out, l)
	}
	// A table may start with the names of its columns.
	if len(out) > 1 && out[0].key != "" && out[0].class != "" && !slices.ContainsFunc(out[1:], func(l label) bool { return l.class != "" }) {
		out = out[1:]
	}
	return out
}

// resolveLabels matches the entries to the samples and class names to indices.
func resolveLabels(list []label, ids, classes []string) ([]int, []string, error) {
	if slices.ContainsFunc(list, func(l label) bool { return l.class != "" }) && classes == nil {
		for _, l := range list {
			if l.class != "" {
				classes = append(classes, l.class)
			}
		}
		slices.Sort(classes)
		classes = slices.Compact(classes)
	}
	index := func(l label) (int, error) {
		if l.class == "" {
			if l.index < 0 {
				return 0, fmt.Errorf("class index %d is below 0", l.index)
			}
			if classes != nil && l.index >= len(classes) {
				return 0, fmt.Errorf("class index %d of %d classes", l.index, len(classes))
			}
			return l.index, nil
		}
		if i := slices.Index(classes, l.class); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("unknown class %q; known: %s", l.class, some(classes))
	}
	keyed := map[string]label{}
	for _, l := range list {
		if l.key != "" {
			keyed[l.key] = l
		}
	}
	if len(keyed) == 0 && len(list) != len(ids) {
		return nil, nil, fmt.Errorf("%d labels for %d samples", len(list), len(ids))
	}
	out := make([]int, len(ids))
	var missing []string
	for i, id := range ids {
		var l label
		if len(keyed) == 0 {
			l = list[i]
		} else {
			var ok bool
			if l, ok = keyed[id]; !ok {
				if l, ok = keyed[path.Base(id)]; !ok {
					missing = append(missing, id)
					continue
				}
			}
		}
		n, err := index(l)
		if err != nil {
			return nil, nil, fmt.Errorf("label of %s: %w", id, err)
		}
		out[i] = n
	}
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("no label for %d of %d samples: %s", len(missing), len(ids), some(missing))
	}
	return out, classes, nil
}

// some joins the first few names.
func some(names []string) string {
	const few = 8
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
}
