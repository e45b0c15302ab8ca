package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// field is what the tags of a struct field say.
type field struct {
	name     string
	typ      reflect.Type
	index    []int
	doc      string
	enum     []string
	min, max *float64
}

// fieldsOf lists the keys of a struct, those of inlined structs among them, in order.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if strings.Contains(","+opts+",", ",inline,") && f.Type.Kind() == reflect.Struct {
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				out = append(out, inner)
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		x := field{name: name, typ: f.Type, index: []int{i}, doc: f.Tag.Get("doc")}
		if e := f.Tag.Get("enum"); e != "" {
			x.enum = strings.Split(e, ",")
		}
		x.min, x.max = bound(t, f, "min"), bound(t, f, "max")
		out = append(out, x)
	}
	return out
}

func bound(t reflect.Type, f reflect.StructField, tag string) *float64 {
	s := f.Tag.Get(tag)
	if s == "" {
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(fmt.Sprintf("config: %v.%s: tag %s: %q is not a number", t, f.Name, tag, s))
	}
	return &v
}

var durationType = reflect.TypeFor[time.Duration]()
