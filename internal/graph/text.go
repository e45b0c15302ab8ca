package graph

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// String returns the graph in a readable form, one line per node:
//
//	conv1 = Conv(x: float32[n,3,32,32], conv1.weight) -> float32[n,16,32,32]
func (g *Graph) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %s\n", g.Name)
	for _, v := range g.Inputs {
		fmt.Fprintf(&b, "  input %s: %v\n", v.Name, v.Type)
	}
	for _, v := range g.Params() {
		fmt.Fprintf(&b, "  param %s: %v\n", v.Name, v.Type)
	}
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "  %s = %s(%s)%s", names(n.Out), n.Op.Kind(), names(n.In), attrs(n.Op))
		if len(n.Out) > 0 && n.Out[0] != nil {
			fmt.Fprintf(&b, " -> %v", n.Out[0].Type)
		}
		b.WriteByte('\n')
		if body, ok := n.Op.(Body); ok {
			for _, sub := range body.Bodies() {
				for _, line := range strings.Split(strings.TrimRight(sub.String(), "\n"), "\n") {
					fmt.Fprintf(&b, "    %s\n", line)
				}
			}
		}
	}
	for _, v := range g.Outputs {
		fmt.Fprintf(&b, "  output %s: %v\n", v.Name, v.Type)
	}
	return b.String()
}

func names(vs []*Value) string {
	s := make([]string, len(vs))
	for i, v := range vs {
		if v == nil {
			s[i] = "_"
		} else {
			s[i] = v.Name
		}
	}
	return strings.Join(s, ", ")
}

// attrs prints the attributes of an operator that differ from their defaults, as its field tags name them (see package op);
// subgraphs are printed by themselves.
func attrs(op Op) string {
	v := reflect.Indirect(reflect.ValueOf(op))
	if v.Kind() != reflect.Struct {
		return ""
	}
	var list []string
	for _, f := range reflect.VisibleFields(v.Type()) {
		tag, ok := f.Tag.Lookup("attr")
		if !ok {
			continue
		}
		x := v.FieldByIndex(f.Index)
		if _, ok := x.Interface().(*Graph); ok || (x.Kind() == reflect.Pointer || x.Kind() == reflect.Slice) && x.IsNil() {
			continue
		}
		if _, ok := x.Interface().(fmt.Stringer); !ok {
			x = reflect.Indirect(x)
		}
		name, def, _ := strings.Cut(tag, ",")
		if d, err := strconv.ParseFloat(def, 32); err == nil && x.Kind() == reflect.Float32 {
			def = attrText(reflect.ValueOf(float32(d)))
		}
		if text := attrText(x); text != def && !(def == "" && f.Type.Kind() != reflect.Pointer && x.IsZero()) {
			list = append(list, name+"="+text)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " {" + strings.Join(list, ", ") + "}"
}

func attrText(x reflect.Value) string {
	switch x.Kind() {
	case reflect.Bool:
		if x.Bool() {
			return "1"
		}
		return "0"
	case reflect.Float32:
		return strconv.FormatFloat(x.Float(), 'g', -1, 32)
	}
	return fmt.Sprint(x.Interface())
}
