package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type quantization struct {
	Method    string   `yaml:"method" doc:"how to quantize" enum:"dynamic,static,gptq"`
	Bits      int      `yaml:"bits" doc:"bits per weight" min:"2" max:"8"`
	GroupSize int32    `yaml:"group_size" doc:"weights that share a scale"`
	DescAct   bool     `yaml:"desc_act"`
	Damping   float64  `yaml:"damping"`
	Keep      []string `yaml:"keep" doc:"layers to leave in float"`
	Path      string   `yaml:"path"`
}

type settings struct {
	Quantization quantization   `yaml:"quantization" doc:"what becomes of the weights"`
	Names        map[string]int `yaml:"names"`
	Timeout      time.Duration  `yaml:"timeout"`
	Mean         [3]float32     `yaml:"mean,flow"`
	Seed         uint64         `yaml:"seed"`
	Extra        *quantization  `yaml:"extra"`
}

func defaults() settings {
	return settings{Quantization: quantization{Method: "dynamic", Bits: 4, GroupSize: 128, Keep: []string{"a"}}, Names: map[string]int{"one": 1}}
}

// The bad and the tricky documents of the kind that other decoders read silently, report one at a time or without a place.
func TestDocuments(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // messages, in order; nil: the document is good
		check      func(s settings) bool
	}{
		{"unknown key", "quantization:\n  bitz: 4\n", []string{`2:3: quantization: unknown key "bitz" (did you mean "bits"?)`}, nil},
		{"wrong type", "quantization:\n  bits: four\n", []string{`2:9: quantization.bits: want a whole number, found the text "four"`}, nil},
		{"key twice", "quantization:\n  bits: 4\n  bits: 8\n", []string{`3:3: quantization: key "bits" is already set on line 2`}, nil},
		{"overflow", "quantization:\n  group_size: 3000000000\n", []string{"2:15: quantization.group_size: want a whole number from -2147483648 to 2147483647, found 3000000000"}, nil},
		{"three errors at once", "quantization:\n  methid: gptq\n  bits: [4]\n  desc_act: maybe\nnames: 3\n", []string{
			`2:3: quantization: unknown key "methid" (did you mean "method"?)`,
			`3:9: quantization.bits: want a whole number, found a list`,
			`4:13: quantization.desc_act: want true or false, found the text "maybe"`,
			`5:8: names: want a block of keys, found the number 3`,
		}, nil},
		{"second document", "seed: 1\n---\nseed: 2\n", []string{"2:1: a second document starts here; want one per file"}, nil},
		{
			"merge key and override", "x-base: &base\n  bits: 8\n  damping: 0.5\nquantization:\n  <<: *base\n  bits: 3\n", nil,
			func(s settings) bool { return s.Quantization.Bits == 3 && s.Quantization.Damping == 0.5 },
		},
		{"no stays text", "quantization:\n  path: no\n", nil, func(s settings) bool { return s.Quantization.Path == "no" }},
		{"octal", "quantization:\n  bits: 010\n", []string{"2:9: quantization.bits: 010 starts with 0, which YAML reads as octal; write it without"}, nil},
		{"tab", "quantization:\n\tbits: 4\n", []string{"2:1: a tab indents this line; YAML wants spaces"}, nil},
		{"unclosed quote", "seed: 1\nquantization:\n  path: 'abc\n", []string{"3:9: the quote or bracket that opens here is not closed"}, nil},

		{"unknown key at the top", "quantisation:\n  bits: 4\n", []string{`1:1: unknown key "quantisation" (did you mean "quantization"?)`}, nil},
		{"unknown key, nothing near", "zzz: 1\n", []string{`1:1: unknown key "zzz"; known: quantization, names, timeout, mean, seed, extra`}, nil},
		{"dash for underscore", "quantization: {desc-act: true}\n", []string{`1:16: quantization: unknown key "desc-act" (did you mean "desc_act"?)`}, nil},
		{"number for text", "quantization:\n  path: 2024\n", []string{`2:9: quantization.path: want text, found the number 2024; put it in quotes if it is meant: "2024"`}, nil},
		{"text for a list", "quantization:\n  keep: conv1\n", []string{`2:9: quantization.keep: want a list, found the text "conv1"; write [conv1]`}, nil},
		{"number in a list", "quantization:\n  keep:\n    - a\n    - 1\n", []string{"4:7: quantization.keep[1]: want text, found the number 1"}, nil},
		{"enum", "quantization: {method: statik}\n", []string{`1:24: quantization.method: want one of dynamic, static, gptq, found "statik" (did you mean "static"?)`}, nil},
		{"bounds", "quantization:\n  bits: 9\n", []string{"2:9: quantization.bits: want a number from 2 to 8, found 9"}, nil},
		{"fraction", "quantization:\n  bits: 4.5\n", []string{"2:9: quantization.bits: want a whole number, found the number 4.5"}, nil},
		{"negative for unsigned", "seed: -1\n", []string{"1:7: seed: want a whole number from 0 to 18446744073709551615, found -1"}, nil},
		{"huge exponent", "seed: 1e300\ntimeout: 5s\n", []string{"1:7: seed: want a whole number from 0 to 18446744073709551615, found 1e300"}, nil},
		{"quoted bool", "quantization:\n  desc_act: 'true'\n", []string{`want true or false, found the text "true"`}, nil},
		{"missing value", "quantization:\n  bits:\n", []string{"quantization.bits: want a whole number, found nothing"}, nil},
		{"list for a block", "- a\n- b\n", []string{"1:1: want a block of keys, found a list"}, nil},
		{"duration", "timeout: 30\n", []string{"1:10: timeout: want a duration such as 30s or 5m, found the number 30"}, nil},
		{"array length", "mean: [1, 2]\n", []string{"1:7: mean: want a list of 3, found 2"}, nil},
		{"alias without anchor", "seed: *x\n", []string{"1:7: unknown anchor 'x' referenced"}, nil},
		{"cycle", "x-a: &x [*x]\nseed: a\n", []string{`2:7: seed: want a whole number`}, nil},
		{"wrong type behind a merge", "x-b: &b {bits: x}\nquantization: {<<: *b}\n", []string{`1:16: quantization.bits: want a whole number, found the text "x"`}, nil},
		{"unclosed bracket", "mean: [1, 2\nseed: 1\n", []string{"did not find expected ',' or ']'"}, nil},
		{"integer keys", "names: {1: 2}\n", nil, func(s settings) bool { return s.Names["1"] == 2 }},
		{"defaults stay", "seed: 7\n", nil, func(s settings) bool {
			d := defaults()
			d.Seed = 7
			return reflect.DeepEqual(s, d)
		}},
		{"lists replace", "quantization: {keep: [x, y]}\n", nil, func(s settings) bool { return reflect.DeepEqual(s.Quantization.Keep, []string{"x", "y"}) }},
		{"empty", "", nil, func(s settings) bool { return reflect.DeepEqual(s, defaults()) }},
		{"comments only", "# nothing\n", nil, func(s settings) bool { return reflect.DeepEqual(s, defaults()) }},
		{"empty block", "quantization:\n", nil, func(s settings) bool { return s.Quantization.Bits == 4 }},
		{"all kinds", "\ufefftimeout: 1m30s\nmean: [0.5, 1, .inf]\nseed: 1_000\nquantization: {desc_act: yes, damping: 1e-2, bits: 0x8}\nextra: {bits: 2}\n", nil, func(s settings) bool {
			return s.Timeout == 90*time.Second && s.Mean[0] == 0.5 && s.Seed == 1000 && s.Quantization.DescAct && s.Quantization.Damping == 0.01 && s.Quantization.Bits == 8 && s.Extra.Bits == 2
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := defaults()
			_, err := Parse("f.yaml", []byte(c.text), &s)
			if c.want == nil {
				if err != nil || !c.check(s) {
					t.Fatalf("got %+v, %v", s, err)
				}
				return
			}
			if !reflect.DeepEqual(s, defaults()) {
				t.Errorf("a bad document changed the settings: %+v", s)
			}
			var errs Errors
			if !errors.As(err, &errs) || len(errs) != len(c.want) {
				t.Fatalf("want %d errors, got:\n%v", len(c.want), err)
			}
			for i, w := range c.want {
				if !strings.Contains(errs[i].Error(), w) || !strings.HasPrefix(errs[i].Error(), "f.yaml:") {
					t.Errorf("error %d: want %q in:\n%v", i, w, errs[i])
				}
			}
		})
	}
}

func TestExcerpt(t *testing.T) {
	var s settings
	_, err := Parse("f.yaml", []byte("seed: 1\nquantization:\n  bits: four # words\n"), &s)
	want := "f.yaml:3:9: quantization.bits: want a whole number, found the text \"four\"\n  3 |   bits: four # words\n    |         ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = Parse("f.yaml", []byte("quantization: {path: "+strings.Repeat("x", 150)+", bits: four, method: "+strings.Repeat("y", 50)+"}\n"), &s)
	for line := range strings.Lines(err.Error()) {
		if len(line) > 250 {
			t.Errorf("long line: %q", line)
		}
	}
}

func TestPositions(t *testing.T) {
	s := defaults()
	d, err := Parse("f.yaml", []byte("x-b: &b\n  damping: 1\nquantization:\n  <<: *b\n  bits: 3\n  keep:\n    - a\n    - b\n"), &s)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path         string
		line, column int
		has          bool
	}{
		{"quantization.bits", 5, 9, true},
		{"quantization.keep", 6, 3, true},
		{"quantization.keep[1]", 8, 7, true},
		{"quantization.keep[2]", 6, 3, false},
		{"quantization.damping", 2, 12, true},
		{"quantization.method", 3, 1, false},
		{"seed", 0, 0, false},
	} {
		if line, column := d.Position(c.path); line != c.line || column != c.column || d.Has(c.path) != c.has {
			t.Errorf("%s: got %d:%d %v, want %d:%d %v", c.path, line, column, d.Has(c.path), c.line, c.column, c.has)
		}
	}
	cause := errors.New("method dynamic has no such setting")
	e := d.At("quantization.bits", cause)
	if !errors.Is(e, cause) || !strings.HasPrefix(e.Error(), "f.yaml:5:9: quantization.bits: method dynamic has no such setting\n  5 |   bits: 3\n") {
		t.Errorf("got %v", e)
	}
	if e := d.At("seed", cause); e.Error() != "f.yaml: seed: method dynamic has no such setting" {
		t.Errorf("got %v", e)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"bits", "group_size", "desc_act", "method", "load_in_4bit", "load_in_8bit"}
	for word, want := range map[string]string{
		"bit": "bits", "groupsize": "group_size", "Group-Size": "group_size", "desc_atc": "desc_act", "mehtod": "method", "load_in_4bits": "load_in_4bit",
		"group": "group_size", "": "", "x": "", "temperature": "",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
	if got := Suggest("bit", names); got != ` (did you mean "bits"?)` {
		t.Error(got)
	}
}

func TestMarshalReadsBack(t *testing.T) {
	in := defaults()
	in.Timeout, in.Mean, in.Extra = time.Minute, [3]float32{0.5, 0.25, 1}, nil
	text, err := Marshal(in, "extra")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# what becomes of the weights\nquantization:\n",
		"  # how to quantize; one of dynamic, static, gptq\n  method: dynamic\n",
		"  # bits per weight; from 2 to 8\n  bits: 4\n", "timeout: 1m0s\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("want %q in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "extra") {
		t.Errorf("a key that was left out is there:\n%s", text)
	}
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	var out settings
	if _, err := Load(path, &out); err != nil || !reflect.DeepEqual(out, in) {
		t.Errorf("read back as %+v, %v\n%s", out, err, text)
	}
}

func TestSchema(t *testing.T) {
	raw, err := Schema(defaults(), "test")
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	at := func(path ...string) any {
		var v any = s
		for _, p := range path {
			v = v.(map[string]any)[p]
		}
		return v
	}
	q := []string{"properties", "quantization", "properties"}
	for _, c := range []struct {
		path []string
		want any
	}{
		{[]string{"additionalProperties"}, false},
		{append(q, "bits", "type"), "integer"},
		{append(q, "bits", "minimum"), 2.0},
		{append(q, "bits", "maximum"), 8.0},
		{append(q, "bits", "default"), 4.0},
		{append(q, "bits", "description"), "bits per weight"},
		{append(q, "method", "enum"), []any{"dynamic", "static", "gptq"}},
		{append(q, "keep", "items", "type"), "string"},
		{[]string{"properties", "names", "additionalProperties", "type"}, "integer"},
		{[]string{"properties", "seed", "minimum"}, 0.0},
	} {
		if got := at(c.path...); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: got %v, want %v", c.path, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("quantization:\n  bits: 4\n  <<: *x\n")
	f.Add("a: &a [*a]\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := defaults()
		_, err := Parse("f", []byte(text), &s)
		if err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		if err != nil && !reflect.DeepEqual(s, defaults()) {
			t.Fatal("a bad document changed the settings")
		}
	})
}
