package onnx

import (
	"fmt"
	"reflect"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// same compares two messages field by field.
func same(a, b any) error {
	if reflect.DeepEqual(a, b) { // much faster, but it tells NaN from NaN
		return nil
	}
	if d := cmp.Diff(a, b, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); d != "" {
		return fmt.Errorf("differs after writing:\n%s", d)
	}
	return nil
}
