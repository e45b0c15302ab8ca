package neuroquant

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func someRecord(tb testing.TB) []byte {
	tb.Helper()
	r := &Result{
		Config: DefaultConfig(), input: inputRecord{File: "a.onnx", Bytes: 40, XXH128: "00"}, FrozenInputs: []string{"w"},
		Decisions: []Decision{{Layer: "fc", Op: "Gemm", Shape: []int{2, 3}, Stored: "QUInt8", Before: 24, After: 6, Why: "weight", Quantized: true}},
	}
	text, err := json.Marshal(r.record(10))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestParseRecord(t *testing.T) {
	rec, err := parseRecord(someRecord(t))
	if err != nil {
		t.Fatal(err)
	}
	if rec.Settings.Method != DefaultConfig().Method || rec.Sizes.CompressionRatio != 4 || rec.Decisions[0].Layer != "fc" || rec.Input.File != "a.onnx" {
		t.Errorf("got %+v", rec)
	}
	for text, want := range map[string]string{
		"":                                    "unexpected end",
		"null":                                `got tool "" and schema 0`,
		`{"tool": "neuroquant", "schema": 2}`: "with schema 1, got",
		`{"schema": "1"}`:                     "cannot unmarshal",
	} {
		if _, err := parseRecord([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(someRecord(f))
	f.Add([]byte(`{"tool": "neuroquant", "schema": 1, "decisions": [{}], "settings": {"bits": 3}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := parseRecord(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(rec)
		if err != nil {
			t.Fatalf("read but not written: %v", err)
		}
		back, err := parseRecord(again)
		if err != nil {
			t.Fatalf("%s is not read back: %v", again, err)
		}
		if third, err := json.Marshal(back); err != nil || !reflect.DeepEqual(third, again) {
			t.Fatalf("%s comes back as %s, %v", again, third, err)
		}
	})
}
