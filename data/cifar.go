package data

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/neurotrain/neuroquant/tensor"
)

// The binary version of CIFAR: records of label bytes (CIFAR-10: the class; CIFAR-100: the superclass, then the class) and
// 32x32 pixels as a red, a green and a blue plane.
const (
	cifarPixels = 3 * 32 * 32
	cifar10     = 1 + cifarPixels
	cifar100    = 2 + cifarPixels
)

// ReadCIFAR reads the images (uint8, samples x 3 x 32 x 32) and classes of CIFAR-10 or CIFAR-100 binary files, one after the
// other. For CIFAR-100 the class is the fine label.
func ReadCIFAR(paths ...string) (images *tensor.Tensor, labels []int, err error) {
	var pix []uint8
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		size, err := cifarRecord(path, raw)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		for at := 0; at < len(raw); at += size {
			rec := raw[at : at+size]
			labels = append(labels, int(rec[size-cifarPixels-1]))
			pix = append(pix, rec[size-cifarPixels:]...)
		}
	}
	return tensor.Of(tensor.Shape{len(labels), 3, 32, 32}, pix), labels, nil
}

// cifarRecord tells the two versions apart by the file's size and, where that leaves a doubt, by the label bytes.
func cifarRecord(path string, raw []byte) (int, error) {
	fits := func(size, fine, coarse int) bool {
		if len(raw) == 0 || len(raw)%size != 0 {
			return false
		}
		for at := 0; at < len(raw); at += size {
			if size == cifar100 && int(raw[at]) >= coarse || int(raw[at+size-cifarPixels-1]) >= fine {
				return false
			}
		}
		return true
	}
	is10, is100 := fits(cifar10, 10, 0), fits(cifar100, 100, 20)
	switch {
	case is10 && is100:
		if strings.Contains(filepath.Dir(path), "100") {
			return cifar100, nil
		}
		return cifar10, nil
	case is10:
		return cifar10, nil
	case is100:
		return cifar100, nil
	}
	return 0, fmt.Errorf("cifar: want records of %d bytes with a class below 10 (CIFAR-10) or of %d bytes with classes below 20 and 100 (CIFAR-100), found %d bytes that are neither",
		cifar10, cifar100, len(raw))
}
