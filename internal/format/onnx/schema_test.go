package onnx

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/op"
)

// attrNames lists the attributes of an operator, those of embedded structs included.
func attrNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			names = append(names, attrNames(f.Type)...)
		} else if tag, ok := f.Tag.Lookup("attr"); ok {
			name, _, _ := strings.Cut(tag, ",")
			names = append(names, name)
		}
	}
	return names
}

// TestOperatorsMatchTheSchema compares the attributes of all operators with the newest form in the specification.
func TestOperatorsMatchTheSchema(t *testing.T) {
	// Attributes that operators share with their family or have from a later operator set.
	extra := map[string]string{"DeformConv": "auto_pad", "SpaceToDepth": "mode"}
	checked := 0
	for _, kind := range op.Kinds() {
		s := schemaAt(kind, maxOpset)
		if s == nil {
			continue // another domain than ONNX's, or an operator of the lowered form
		}
		checked++
		o, _ := op.New(kind)
		have := attrNames(reflect.TypeOf(o).Elem())
		for _, a := range have {
			if !slices.Contains(s.attrs, a) && extra[kind] != a {
				t.Errorf("%s: attribute %q is not in the specification", kind, a)
			}
		}
		for _, a := range s.attrs {
			if !slices.Contains(have, a) && a != "sparse_value" { // the importer makes it a value
				t.Errorf("%s: attribute %q is missing", kind, a)
			}
		}
	}
	if checked < 190 {
		t.Errorf("only %d operators are in the schema", checked)
	}
}

// TestUpgradesNameOperators catches misspelt names in the tables of rewrites.
func TestUpgradesNameOperators(t *testing.T) {
	for _, u := range upgrades {
		for k := range strings.FieldsSeq(u.kinds) {
			if !known(k) {
				t.Errorf("upgrades: there is no operator %s", k)
			}
		}
	}
	for _, d := range downgrades {
		for k := range strings.FieldsSeq(d.kinds) {
			if schemaAt(k, maxOpset) == nil {
				t.Errorf("downgrades: there is no operator %s", k)
			}
		}
	}
	for k := range renamed {
		if len(upgradesOf[k]) == 0 {
			t.Errorf("%s is renamed by no rewrite", k)
		}
	}
}
