package jinja

import (
	"errors"
	"strings"
)

var builtinTests map[string]func(v any, a []any) (bool, error)

func plainTest(f func(v any) bool) func(any, []any) (bool, error) {
	return func(v any, a []any) (bool, error) {
		if len(a) > 0 {
			return false, errors.New("the test takes no arguments")
		}
		return f(v), nil
	}
}

func opTest(op string) func(any, []any) (bool, error) {
	return func(v any, a []any) (bool, error) {
		if len(a) != 1 {
			return false, errors.New("the test takes one argument")
		}
		return compareBy(op, v, a[0])
	}
}

func is[T any](v any) bool { _, ok := v.(T); return ok }

func init() {
	isNumber := func(v any) bool { return is[int64](v) || is[float64](v) || is[bool](v) }
	isIterable := func(v any) bool { _, err := iterate(v); return err == nil }
	integer := func(v any) int64 { i, _ := number(v).(int64); return i }
	builtinTests = map[string]func(v any, a []any) (bool, error){
		"defined":   plainTest(func(v any) bool { return !is[undefined](v) }),
		"undefined": plainTest(is[undefined]),
		"none":      plainTest(func(v any) bool { return v == nil }),
		"string":    plainTest(is[string]),
		"mapping":   plainTest(is[*Dict]),
		"boolean":   plainTest(is[bool]),
		"true":      plainTest(func(v any) bool { return v == true }),
		"false":     plainTest(func(v any) bool { return v == false }),
		"integer":   plainTest(is[int64]),
		"float":     plainTest(is[float64]),
		"number":    plainTest(isNumber),
		"iterable":  plainTest(isIterable),
		"sequence":  plainTest(isIterable),
		"callable":  plainTest(func(v any) bool { return is[Function](v) || is[*macro](v) || is[undefined](v) }),
		"odd":       plainTest(func(v any) bool { return integer(v)&1 == 1 }),
		"even":      plainTest(func(v any) bool { return isNumber(v) && integer(v)&1 == 0 }),
		"lower":     plainTest(func(v any) bool { s := toString(v); return s != strings.ToUpper(s) && s == strings.ToLower(s) }),
		"upper":     plainTest(func(v any) bool { s := toString(v); return s != strings.ToLower(s) && s == strings.ToUpper(s) }),
		"in":        opTest("in"),
		"eq":        opTest("=="), "equalto": opTest("=="), "ne": opTest("!="), "lt": opTest("<"), "lessthan": opTest("<"), "le": opTest("<="),
		"gt": opTest(">"), "greaterthan": opTest(">"), "ge": opTest(">="),
		"divisibleby": func(v any, a []any) (bool, error) {
			if len(a) != 1 {
				return false, errors.New("the test takes one argument")
			}
			m, err := arithmetic("%", v, a[0])
			return err == nil && equal(m, int64(0)), err
		},
	}
}
