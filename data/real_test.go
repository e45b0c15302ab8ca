package data

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
	"github.com/neurotrain/neuroquant/tensor"
)

func TestCIFARJPEGZip(t *testing.T) {
	s, err := Open(material.Path(t, "data/cifar10/test_jpeg_2000.zip"), Options{Transform: Transform{DType: tensor.Uint8, Layout: "nhwc"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
	if s.Len() != 2000 || !slices.Equal(Classes(s), want) || s.Fields()[0].String() != "uint8[32x32x3]" {
		t.Fatalf("got %d samples of %v in classes %v", s.Len(), s.Fields(), Classes(s))
	}
	count := map[int]int{}
	for _, l := range s.Labels() {
		count[l]++
	}
	for c := range 10 {
		if count[c] != 200 {
			t.Errorf("class %d has %d images", c, count[c])
		}
	}
	// libjpeg-turbo's decoding of some of them.
	ref, err := ReadNPYFile(material.Path(t, "data/cifar10/jpeg_decoded_256.npy"))
	if err != nil {
		t.Fatal(err)
	}
	refLabels, err := ReadNPYFile(material.Path(t, "data/cifar10/jpeg_decoded_256_labels.npy"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(material.Path(t, "data/cifar10/jpeg_decoded_256_names.json"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	row := 0
	for b, err := range Batches(t.Context(), s, 300) {
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range b.IDs {
			at[id] = row
			row++
		}
	}
	if row != 2000 {
		t.Fatalf("batches hold %d samples", row)
	}
	index := make([]int, len(names))
	for i, n := range names {
		var ok bool
		if index[i], ok = at[n]; !ok {
			t.Fatalf("no sample %s", n)
		}
	}
	some, err := Subset(s, index)
	if err != nil {
		t.Fatal(err)
	}
	b, err := some.Read(t.Context(), seq(len(index)))
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range tensor.Data[uint8](refLabels) {
		if b.Labels[i] != int(l) {
			t.Fatalf("%s: label %d, want %d", b.IDs[i], b.Labels[i], l)
		}
	}
	got, want8 := tensor.Data[uint8](b.Inputs[0]), tensor.Data[uint8](ref)
	mean, largest := distance(got, want8)
	same := 0
	for i := range got {
		if got[i] == want8[i] {
			same++
		}
	}
	t.Logf("against libjpeg-turbo: mean difference %.4f grey levels, largest %d, %.2f %% of the values equal", mean, largest, 100*float64(same)/float64(len(got)))
	if largest > 0 {
		t.Errorf("mean difference %.3f, largest %d grey levels", mean, largest)
	}
}

func TestCIFARRawArray(t *testing.T) {
	path := material.Path(t, "data/cifar10/raw_test_500.npy")
	s, err := Open(path, Options{Transform: Transform{Mean: []float64{0.485, 0.456, 0.406}, Std: []float64{0.229, 0.224, 0.225}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	raw, err := ReadNPYFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != 500 || len(s.Labels()) != 500 || s.Fields()[0].String() != "float32[3x32x32]" {
		t.Fatalf("got %d samples, %d labels, %v", s.Len(), len(s.Labels()), s.Fields())
	}
	b, err := s.Read(t.Context(), []int{499, 7})
	if err != nil {
		t.Fatal(err)
	}
	pix := tensor.Data[uint8](raw)
	out := tensor.Data[float32](b.Inputs[0])
	for _, p := range []struct{ sample, row, y, x, ch int }{{499, 0, 0, 0, 0}, {499, 0, 31, 5, 2}, {7, 1, 12, 30, 1}} {
		v := pix[((p.sample*32+p.y)*32+p.x)*3+p.ch]
		m := []float32{0.485, 0.456, 0.406}[p.ch]
		d := []float32{0.229, 0.224, 0.225}[p.ch]
		if want := (float32(v)/255 - m) / d; out[((p.row*3+p.ch)*32+p.y)*32+p.x] != want {
			t.Errorf("%+v: got %v, want %v", p, out[((p.row*3+p.ch)*32+p.y)*32+p.x], want)
		}
	}
}

func TestMNISTArray(t *testing.T) {
	s, err := Open(material.Path(t, "data/mnist/test_images.npy"), Options{Limit: 100, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Len() != 100 || len(s.Labels()) != 100 || s.Fields()[0].String() != "float32[1x28x28]" {
		t.Fatalf("got %d samples, %d labels, %v", s.Len(), len(s.Labels()), s.Fields())
	}
}
