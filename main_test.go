package neuroquant_test

import (
	"log"
	"os"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestMain(m *testing.M) {
	var err error
	if dir, err = os.MkdirTemp("", "neuroquant-test-"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// trim takes the folder of the tests out of a message.
func trim(err error) string {
	return strings.ReplaceAll(err.Error(), dir+string(os.PathSeparator), "")
}

// testSet returns labelled samples of the embedded convolutional network.
func testSet(n int) data.Set {
	m := example.Models()[0]
	x, labels := m.Test(n)
	set, err := data.Arrays([]string{m.Input}, []*tensor.Tensor{x}, labels)
	if err != nil {
		log.Fatal(err)
	}
	return set
}
