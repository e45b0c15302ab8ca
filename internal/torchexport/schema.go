package torchexport

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The parts of an exported program that matter here, as the JSON of torch.export has them (torch/_export/serde/schema.py).

type exportedProgram struct {
	GraphModule struct {
		Graph     graphJSON     `json:"graph"`
		Signature signatureJSON `json:"signature"`
	} `json:"graph_module"`
	SchemaVersion schemaVersion `json:"schema_version"`
	TorchVersion  string        `json:"torch_version"`
}

// schemaVersion is {"major": 8, "minor": 1}, or a number in older programs.
type schemaVersion struct{ Major, Minor int }

func (v *schemaVersion) UnmarshalJSON(b []byte) error {
	type pair schemaVersion
	if len(b) > 0 && b[0] != '{' {
		return json.Unmarshal(b, &v.Major)
	}
	return json.Unmarshal(b, (*pair)(v))
}

type graphJSON struct {
	Inputs       []argument             `json:"inputs"`
	Outputs      []argument             `json:"outputs"`
	Nodes        []nodeJSON             `json:"nodes"`
	TensorValues map[string]*tensorMeta `json:"tensor_values"`
}

type nodeJSON struct {
	Target   string            `json:"target"`
	Inputs   []namedArgument   `json:"inputs"`
	Outputs  []argument        `json:"outputs"`
	Metadata map[string]string `json:"metadata"`
	Name     string            `json:"name"`
}

type namedArgument struct {
	Name string   `json:"name"`
	Arg  argument `json:"arg"`
	Kind int      `json:"kind"` // 1: by position
}

// argument is a union: one key, which says what the value is.
type argument struct {
	Kind  string
	Value json.RawMessage
}

// union takes the only key of an object apart. Absent alternatives may be given as null.
func union(b []byte) (kind string, value json.RawMessage, err error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return "", nil, err
	}
	for k, v := range m {
		if string(v) == "null" {
			continue
		}
		if kind != "" {
			return "", nil, fmt.Errorf("%q and %q in place of one value", kind, k)
		}
		kind, value = k, v
	}
	return kind, value, nil
}

func (a *argument) UnmarshalJSON(b []byte) (err error) {
	a.Kind, a.Value, err = union(b)
	return err
}

type nameJSON struct {
	Name string `json:"name"`
}

type tensorMeta struct {
	DType         int      `json:"dtype"`
	Sizes         []symInt `json:"sizes"`
	Strides       []symInt `json:"strides"`
	StorageOffset symInt   `json:"storage_offset"`
	Layout        int      `json:"layout"`
}

// symInt is a whole number, or the text of an expression.
type symInt struct {
	Known bool
	Int   int64
	Expr  string
}

func (s *symInt) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '{' {
		s.Known = true
		return json.Unmarshal(b, &s.Int)
	}
	kind, value, err := union(b)
	if err != nil {
		return err
	}
	switch kind {
	case "as_int":
		s.Known = true
		return json.Unmarshal(value, &s.Int)
	case "as_expr":
		var e struct {
			Expr string `json:"expr_str"`
		}
		err := json.Unmarshal(value, &e)
		s.Expr = e.Expr
		return err
	}
	return fmt.Errorf("a size that is %q", kind)
}

// symbol returns the name of a size that is a symbol alone: "s0", or Symbol('s0', positive=True) in the form of SymPy.
func (s symInt) symbol() (string, bool) {
	e := s.Expr
	if rest, ok := strings.CutPrefix(e, "Symbol('"); ok {
		name, _, ok := strings.Cut(rest, "'")
		return name, ok && strings.Count(e, "(") == 1
	}
	for _, r := range e {
		if r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return "", false
		}
	}
	return e, e != ""
}

type signatureJSON struct {
	InputSpecs  []json.RawMessage `json:"input_specs"`
	OutputSpecs []json.RawMessage `json:"output_specs"`
}

// inputSpec says what an input of the graph is.
type inputSpec struct {
	kind string
	Arg  json.RawMessage `json:"arg"`
	// One of the names, by kind.
	Parameter string `json:"parameter_name"`
	Buffer    string `json:"buffer_name"`
	Constant  string `json:"tensor_constant_name"`
	// Persistent is whether a buffer is part of the state dict.
	Persistent *bool `json:"persistent"`
}

// Transient reports whether an input is a buffer that no state dict has.
func (s *inputSpec) Transient() bool { return s.Persistent != nil && !*s.Persistent }

func (s *inputSpec) name() string {
	switch s.kind {
	case "parameter":
		return s.Parameter
	case "buffer":
		return s.Buffer
	}
	return s.Constant
}

// weightsConfig maps names of tensors to members of the archive.
type weightsConfig struct {
	Config map[string]weightEntry `json:"config"`
}

type weightEntry struct {
	PathName   string      `json:"path_name"`
	UsePickle  bool        `json:"use_pickle"`
	TensorMeta *tensorMeta `json:"tensor_meta"`
}
