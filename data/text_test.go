package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/neurotrain/neuroquant/tensor"
)

func TestReadTexts(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	type row struct {
		ID   int64
		Text string `parquet:"text"`
		Note string `parquet:"note"`
	}
	table := filepath.Join(dir, "t.parquet")
	if err := parquet.WriteFile(table, []row{{1, "one", "a"}, {2, " ", "b"}, {3, "drei", "c"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, field string
		want        []string
	}{
		{put("a.txt", "one\ntwo"), "", []string{"one\ntwo"}},
		{put("a.json", `["one", {"text": "two"}, ""]`), "", []string{"one", "two"}},
		{put("a.jsonl", "{\"content\": \"one\"}\n\n\"two\"\n{\"prompt\":\"three\"}"), "", []string{"one", "two", "three"}},
		{put("b.jsonl", `{"text": "one", "body": "two"}`), "body", []string{"two"}},
		{table, "", []string{"one", "drei"}},
		{table, "note", []string{"a", "b", "c"}},
	} {
		got, err := ReadTexts(c.path, c.field)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", filepath.Base(c.path), got, err, c.want)
		}
		if !IsText(c.path) {
			t.Errorf("%s is no text", c.path)
		}
	}
	if got, err := ReadText(put("a.raw", "one\ntwo\n")); err != nil || got != "one\ntwo\n" {
		t.Errorf("%q, %v", got, err)
	}
	for want, text := range map[string]string{"not UTF-8": "\xff", "no texts": " \n"} {
		if _, err := ReadText(put("b.raw", text)); err == nil || !strings.Contains(err.Error(), "b.raw: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	whole, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, field, want string }{
		{put("c.txt", "\xff\xfe"), "", "not UTF-8"},
		{put("c.json", `{"text": "one"}`), "", "want a list"},
		{put("d.json", `["one", 2]`), "", "item 1: want a text or a record"},
		{put("c.jsonl", "\"one\"\n{\"title\": \"x\", \"body\": \"y\"}"), "", "line 2: the record has no field text, content, document, prompt; it has body, title"},
		{put("d.jsonl", `{"text": 1}`), "", `field "text": want a text`},
		{put("empty.txt", " \n"), "", "no texts"},
		{put("x.csv", "a"), "", "not a file of texts"},
		{table, "title", "the table has no column title; it has ID, text, note"},
		{table, "ID", "column ID holds"},
		{put("cut.parquet", string(whole[:len(whole)-9])), "", "cut.parquet"},
		{filepath.Join(dir, "none.txt"), "", "none.txt"},
	} {
		if _, err := ReadTexts(c.path, c.field); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Base(c.path)) {
			t.Errorf("%s: %v; want %q", filepath.Base(c.path), err, c.want)
		}
	}
}

func TestWindows(t *testing.T) {
	s, err := Windows("input_ids", []int64{1, 2, 3, 4, 5, 6, 7}, 3)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Read(t.Context(), []int{1})
	if err != nil || s.Len() != 2 || !slices.Equal(tensor.Data[int64](b.Inputs[0]), []int64{4, 5, 6}) {
		t.Errorf("%d windows, the second %v, %v", s.Len(), b.Inputs, err)
	}
	if s, err := Windows("x", []int64{1, 2}, 10); err != nil || s.Len() != 1 {
		t.Errorf("fewer tokens than a window: %v", err)
	}
	if _, err := Windows("x", nil, 10); err == nil {
		t.Error("no tokens are taken")
	}
}
