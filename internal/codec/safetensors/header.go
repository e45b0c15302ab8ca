package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/neurotrain/neuroquant/tensor"
)

// reader walks the tokens of a header. Package json would let the last of several equal names win, and a scanner that checks
// names sees them all.
type reader struct{ *json.Decoder }

// read parses the text of a header.
func (h *Header) read(text []byte) error {
	if len(text) == 0 || text[0] != '{' {
		return fmt.Errorf("want a JSON object, found %q", text[:min(len(text), 16)])
	}
	r := reader{json.NewDecoder(bytes.NewReader(text))}
	r.UseNumber()
	seen := map[string]bool{}
	err := r.object(func(name string) error {
		if seen[name] {
			return errDuplicate
		}
		seen[name] = true
		if name == MetadataKey {
			return h.readMetadata(r)
		}
		e, err := r.entry(name)
		if err == nil {
			h.Entries = append(h.Entries, e)
		}
		return err
	})
	if err != nil {
		return err
	}
	if t, err := r.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the object is followed by %v", t)
	}
	return nil
}

// readMetadata reads the texts by name.
func (h *Header) readMetadata(r reader) error {
	h.Metadata = map[string]string{}
	return r.object(func(name string) error {
		if _, ok := h.Metadata[name]; ok {
			return errDuplicate
		}
		t, err := r.Token()
		if err != nil {
			return err
		}
		s, ok := t.(string)
		if !ok {
			return fmt.Errorf("want a text, found %v", t)
		}
		h.Metadata[name] = s
		return nil
	})
}

// object calls f for each name of an object; f reads the value.
func (r reader) object(f func(name string) error) error {
	if err := r.delim('{'); err != nil {
		return err
	}
	for r.More() {
		t, err := r.Token()
		if err != nil {
			return err
		}
		name := t.(string) // the decoder allows nothing else there
		if err := f(name); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return r.delim('}')
}

func (r reader) delim(want json.Delim) error {
	t, err := r.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("want %v, found %v", want, t)
	}
	return nil
}

// entry reads what a header says of a tensor.
func (r reader) entry(name string) (Entry, error) {
	e := Entry{Name: name}
	seen := map[string]bool{}
	err := r.object(func(key string) error {
		if seen[key] {
			return errDuplicate
		}
		seen[key] = true
		switch key {
		case "dtype":
			t, err := r.Token()
			if err != nil {
				return err
			}
			s, ok := t.(string)
			if !ok {
				return fmt.Errorf("want a text, found %v", t)
			}
			if e.DType, ok = types[s]; !ok {
				return fmt.Errorf("unknown element type %q; known are %s", s, knownTypes())
			}
		case "shape":
			s, err := r.ints(64)
			e.Shape = tensor.Shape(s)
			return err
		case "data_offsets":
			s, err := r.ints(2)
			if err != nil {
				return err
			}
			if len(s) != 2 {
				return fmt.Errorf("want 2 numbers, found %d", len(s))
			}
			e.Begin, e.End = s[0], s[1]
		default:
			return errors.New("a tensor has dtype, shape and data_offsets, nothing else")
		}
		return nil
	})
	if err != nil {
		return e, err
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return e, fmt.Errorf("%s is missing", key)
		}
	}
	return e, e.check()
}

// ints reads a list of at most n numbers that are not negative.
func (r reader) ints(n int) ([]int, error) {
	if err := r.delim('['); err != nil {
		return nil, err
	}
	out := []int{}
	for r.More() {
		t, err := r.Token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("want a number, found %v", t)
		}
		v, err := strconv.ParseInt(number.String(), 10, 64)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("want a whole number that is not negative, found %s", number)
		}
		if len(out) == n {
			return nil, fmt.Errorf("more than %d numbers", n)
		}
		out = append(out, int(v))
	}
	return out, r.delim(']')
}
