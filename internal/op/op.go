// Package op is the operator set: for each operator a struct of its attributes with Infer (types), Eval (values) and, where it
// can be trained through, Backward. Meanings are those of the ONNX operator specification at the newest operator set followed
// here; older forms are brought to it by the importer.
//
// One file holds one family and its table; [New] looks an operator up in the list of tables.
package op

import (
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/graph"
	"github.com/neurotrain/neuroquant/tensor"
)

// table maps an operator kind to a constructor of the operator with default attributes.
type table map[string]func() graph.Op

// tables lists the families. An operator of another domain than ONNX's default carries the domain as a prefix.
var tables = []table{
	elementwiseOps, reduceOps, castOps, activationOps, randomOps,
	shapeOps, indexOps, sequenceOps, controlOps, stringOps,
	linearOps, convOps, poolOps, normOps, quantizeOps,
	recurrentOps, attentionOps, imageOps, lossOps, signalOps, treeOps,
	contribOps, fusedOps, optimizerOps,
}

// New returns a fresh operator of the given kind with its default attributes, or false if there is none.
func New(kind string) (graph.Op, bool) {
	for _, t := range tables {
		if f := t[kind]; f != nil {
			op := f()
			if err := SetAttrs(op, nil); err != nil {
				panic("op: " + kind + ": " + err.Error())
			}
			return op, true
		}
	}
	return nil, false
}

// Kinds lists all operators, sorted.
func Kinds() []string {
	var out []string
	for _, t := range tables {
		for k := range t {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

// Attributes are struct fields tagged `attr:"name"` or, with a default, `attr:"name,default"`; that of a list is of
// all its elements. The Go types of attribute
// values are int, float32, string, bool (ONNX int 0 or 1), []int, []float32, []string, *tensor.Tensor, *graph.Graph,
// *graph.Type, and *int or *float32 for attributes whose absence means something; a nil slice or pointer is an absent attribute.

// SetAttrs sets the fields of op from attribute values as a file gives them: int64, float32, string, []int64, []float32,
// []string, *tensor.Tensor, *graph.Graph, graph.Type. Attributes that the operator does not have and values of a wrong type are errors.
// Fields that attrs does not mention get their defaults.
func SetAttrs(op graph.Op, attrs map[string]any) error {
	fields := attrFields(op)
	for name, f := range fields {
		if _, given := attrs[name]; !given && f.def != "" {
			if err := f.setDefault(); err != nil {
				return fmt.Errorf("attribute %q: default: %w", name, err)
			}
		}
	}
	names := make([]string, 0, len(attrs))
	for name := range attrs {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		f, ok := fields[name]
		if !ok {
			known := make([]string, 0, len(fields))
			for k := range fields {
				known = append(known, k)
			}
			sort.Strings(known)
			return fmt.Errorf("unknown attribute %q; known are %s", name, strings.Join(known, ", "))
		}
		if err := f.set(attrs[name]); err != nil {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
	}
	return nil
}

// Attrs returns the attributes of op that differ from their defaults (and those without a default that are set), with the
// value types that [SetAttrs] takes.
func Attrs(op graph.Op) map[string]any {
	out := map[string]any{}
	for name, f := range attrFields(op) {
		if v, ok := f.get(); ok {
			out[name] = v
		}
	}
	return out
}

type attrField struct {
	v   reflect.Value
	def string
}

func attrFields(op graph.Op) map[string]attrField {
	fields := map[string]attrField{}
	v := reflect.ValueOf(op)
	if v.Kind() != reflect.Pointer {
		return fields
	}
	collectFields(v.Elem(), fields)
	return fields
}

func collectFields(v reflect.Value, fields map[string]attrField) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if sf.Anonymous {
			collectFields(v.Field(i), fields)
			continue
		}
		if tag, ok := sf.Tag.Lookup("attr"); ok {
			name, def, _ := strings.Cut(tag, ",")
			fields[name] = attrField{v.Field(i), def}
		}
	}
}

func (f attrField) setDefault() error {
	switch f.v.Interface().(type) {
	case int:
		n, err := strconv.Atoi(f.def)
		f.v.SetInt(int64(n))
		return err
	case bool:
		f.v.SetBool(f.def == "1")
	case float32:
		x, err := strconv.ParseFloat(f.def, 32)
		f.v.SetFloat(x)
		return err
	case string:
		f.v.SetString(f.def)
	case []int: // nil stands for so many of the default as there are axes
		f.v.SetZero()
	default:
		return fmt.Errorf("a %v has no default", f.v.Type())
	}
	return nil
}

func (f attrField) set(val any) error {
	wrong := func() error { return fmt.Errorf("want %v, got %T", f.v.Type(), val) }
	switch p := f.v.Addr().Interface().(type) {
	case *int:
		x, ok := val.(int64)
		if !ok {
			return wrong()
		}
		*p = int(x)
	case **int:
		x, ok := val.(int64)
		if !ok {
			return wrong()
		}
		n := int(x)
		*p = &n
	case *bool:
		x, ok := val.(int64)
		if !ok {
			return wrong()
		}
		*p = x != 0
	case *float32:
		x, ok := val.(float32)
		if !ok {
			return wrong()
		}
		*p = x
	case **float32:
		x, ok := val.(float32)
		if !ok {
			return wrong()
		}
		*p = &x
	case *string:
		x, ok := val.(string)
		if !ok {
			return wrong()
		}
		*p = x
	case *[]int:
		x, ok := val.([]int64)
		if !ok {
			return wrong()
		}
		*p = make([]int, len(x))
		for i, n := range x {
			(*p)[i] = int(n)
		}
	case *[]float32:
		x, ok := val.([]float32)
		if !ok {
			return wrong()
		}
		*p = x
	case *[]string:
		x, ok := val.([]string)
		if !ok {
			return wrong()
		}
		*p = x
	case **tensor.Tensor:
		x, ok := val.(*tensor.Tensor)
		if !ok {
			return wrong()
		}
		*p = x
	case **graph.Graph:
		x, ok := val.(*graph.Graph)
		if !ok {
			return wrong()
		}
		*p = x
	case **graph.Type:
		x, ok := val.(graph.Type)
		if !ok {
			return wrong()
		}
		*p = &x
	default:
		return fmt.Errorf("a field of type %v cannot be an attribute", f.v.Type())
	}
	return nil
}

func (f attrField) get() (any, bool) {
	switch x := f.v.Interface().(type) {
	case int:
		return int64(x), f.def == "" || strconv.Itoa(x) != f.def
	case *int:
		if x == nil {
			return nil, false
		}
		return int64(*x), true
	case bool:
		if x {
			return int64(1), f.def != "1"
		}
		return int64(0), f.def == "1"
	case float32:
		d, err := strconv.ParseFloat(f.def, 32)
		return x, err != nil || float32(d) != x
	case *float32:
		if x == nil {
			return nil, false
		}
		return *x, true
	case string:
		return x, x != f.def
	case []int:
		out, plain := make([]int64, len(x)), f.def != ""
		for i, n := range x {
			out[i] = int64(n)
			plain = plain && strconv.Itoa(n) == f.def
		}
		return out, x != nil && !plain
	case []float32:
		return x, x != nil
	case []string:
		return x, x != nil
	case *tensor.Tensor:
		return x, x != nil
	case *graph.Graph:
		return x, x != nil
	case *graph.Type:
		if x == nil {
			return nil, false
		}
		return *x, true
	}
	return nil, false
}
