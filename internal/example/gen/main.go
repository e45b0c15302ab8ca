// Command gen writes the test data of the example models as npy files, for programs in other languages:
//
//	go run ./internal/example/gen -out DIR
package main

import (
	"flag"
	"log"
	"os"
	"path/filepath"

	"github.com/neurotrain/neuroquant/data"
	"github.com/neurotrain/neuroquant/internal/example"
	"github.com/neurotrain/neuroquant/tensor"
)

// testSamples is the size of the test sets, as the tests of the example package expect it.
const testSamples = 2000

func main() {
	log.SetFlags(0)
	out := flag.String("out", "", "folder for the files NAME_test_inputs.npy and NAME_test_labels.npy")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*out); err != nil {
		log.Fatal(err)
	}
}

func run(out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, m := range example.Models() {
		inputs, labels := m.Test(testSamples)
		if err := writeSet(out, m.Name+"_test", inputs, labels); err != nil {
			return err
		}
	}
	return nil
}

func writeSet(dir, name string, inputs *tensor.Tensor, labels []int) error {
	ids := make([]int64, len(labels))
	for i, l := range labels {
		ids[i] = int64(l)
	}
	if err := data.WriteNPYFile(filepath.Join(dir, name+"_inputs.npy"), inputs); err != nil {
		return err
	}
	return data.WriteNPYFile(filepath.Join(dir, name+"_labels.npy"), tensor.Vector(ids...))
}
