package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/neurotrain/neuroquant/internal/codec/mmap"
	"github.com/neurotrain/neuroquant/internal/codec/parquet"
	"github.com/neurotrain/neuroquant/tensor"
)

// AcceptedTexts describes what [ReadTexts] reads.
const AcceptedTexts = "a .txt file (one text), a .json list, .jsonl lines or a .parquet table of texts, or of records with a field text"

// maxTextBytes bounds a file of texts that is read whole.
const maxTextBytes = 1 << 31

// textFields are the fields that hold the text of a record, in the order in which they are looked for.
var textFields = []string{"text", "content", "document", "prompt"}

// IsText reports whether a file name is one that [ReadTexts] reads.
func IsText(path string) bool {
	return slices.Contains([]string{".txt", ".json", ".jsonl", ".parquet"}, strings.ToLower(filepath.Ext(path)))
}

// ReadTexts reads the texts of a file: what it is, its name tells, see [AcceptedTexts]. field names the field of records that holds the text; "":
// text, content, document or prompt, whichever they have. Empty texts are left out; it is an error if there are none.
func ReadTexts(path, field string) ([]string, error) {
	var texts []string
	var err error
	switch strings.ToLower(filepath.Ext(path)) {
	case ".txt":
		texts, err = wholeText(path)
	case ".json":
		texts, err = listedTexts(path, field)
	case ".jsonl":
		texts, err = lineTexts(path, field)
	case ".parquet":
		texts, err = parquetTexts(path, field)
	default:
		err = fmt.Errorf("not a file of texts: want %s", AcceptedTexts)
	}
	return present(path, texts, err)
}

// ReadText reads a file, whatever its name, as one text; it is an error if that is empty.
func ReadText(path string) (string, error) {
	texts, err := wholeText(path)
	if texts, err = present(path, texts, err); err != nil {
		return "", err
	}
	return texts[0], nil
}

// present leaves empty texts out and names the file in an error.
func present(path string, texts []string, err error) ([]string, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	texts = slices.DeleteFunc(texts, func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s: no texts", path)
	}
	return texts, nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxTextBytes {
		return nil, fmt.Errorf("a file of %d bytes; at most %d are read", info.Size(), maxTextBytes)
	}
	return os.ReadFile(path)
}

func wholeText(path string) ([]string, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(text) {
		return nil, errors.New("the text is not UTF-8")
	}
	return []string{string(text)}, nil
}

// listedTexts reads a JSON list.
func listedTexts(path, field string) ([]string, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("want a list of texts or records: %w", err)
	}
	out := make([]string, len(list))
	for i, r := range list {
		if out[i], err = textOf(r, field); err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
	}
	return out, nil
}

// lineTexts reads JSON values, one a line.
func lineTexts(path, field string) ([]string, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var out []string
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		s, err := textOf(line, field)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// textOf returns the text that a JSON value is or has.
func textOf(raw json.RawMessage, field string) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s, nil
	}
	var record map[string]json.RawMessage
	if err := json.Unmarshal(raw, &record); err != nil {
		return "", errors.New("want a text or a record")
	}
	names := textFields
	if field != "" {
		names = []string{field}
	}
	for _, name := range names {
		if v, ok := record[name]; ok {
			if err := json.Unmarshal(v, &s); err != nil {
				return "", fmt.Errorf("field %q: want a text", name)
			}
			return s, nil
		}
	}
	var have []string
	for k := range record {
		have = append(have, k)
	}
	slices.Sort(have)
	return "", fmt.Errorf("the record has no field %s; it has %s", strings.Join(names, ", "), strings.Join(have, ", "))
}

// parquetTexts reads one column of a table.
func parquetTexts(path, field string) (texts []string, err error) {
	f, err := mmap.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	table, err := parquet.Open(f.Bytes())
	if err != nil {
		return nil, err
	}
	names := textFields
	if field != "" {
		names = []string{field}
	}
	var have []string
	for _, c := range table.Columns {
		have = append(have, c.Name)
	}
	at := slices.IndexFunc(have, func(c string) bool { return slices.Contains(names, c) })
	if at < 0 {
		return nil, fmt.Errorf("the table has no column %s; it has %s", strings.Join(names, ", "), strings.Join(have, ", "))
	}
	total := 0
	for text, err := range table.Texts(at) {
		if err != nil {
			return nil, err
		}
		if total += len(text) + int(unsafe.Sizeof("")); total > maxTextBytes {
			return nil, fmt.Errorf("texts of more than %d bytes", maxTextBytes)
		}
		texts = append(texts, string(text))
	}
	return texts, nil
}

// Windows cuts a stream of token ids into samples of a length, without overlap; what is left over at the end is dropped, unless it is
// all there is. The input of the samples is called name.
func Windows(name string, ids []int64, length int) (Set, error) {
	if length < 1 {
		return nil, fmt.Errorf("windows of %d tokens; want at least 1", length)
	}
	if len(ids) == 0 {
		return nil, errors.New("there are no tokens")
	}
	length = min(length, len(ids))
	n := len(ids) / length
	t := tensor.Of(tensor.Shape{n, length}, ids[:n*length])
	return Arrays([]string{name}, []*tensor.Tensor{t}, nil)
}
