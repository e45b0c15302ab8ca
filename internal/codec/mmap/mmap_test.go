package mmap

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestStream(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 4096, 4999, len(want), 1 << 20} {
		var got []byte
		err := Stream(path, n, func(b []byte) error {
			if len(b) == 0 || len(b) > n {
				t.Errorf("a piece of %d bytes, want at most %d", len(b), n)
			}
			got = append(got, b...)
			return nil
		})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d: %d bytes, %v", n, len(got), err)
		}
	}
	stop := errors.New("stop")
	if err := Stream(path, 10, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("want the error of the caller, got %v", err)
	}
	if err := Stream(path+"x", 10, func([]byte) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestMapping(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.Bytes(), want) {
		t.Fatal("contents differ from the file's")
	}
	for _, a := range []Advice{Sequential, Random, WillNeed, DontNeed} {
		if err := f.Advise(4999, 8000, a); err != nil {
			t.Errorf("advice %d: %v", a, err)
		}
	}
	if !bytes.Equal(f.Bytes(), want) {
		t.Fatal("contents changed after advice")
	}
	if f.Advise(15999, 2, WillNeed) == nil || f.Advise(-1, 1, WillNeed) == nil {
		t.Error("advice outside the file was taken")
	}
	for range 2 {
		if err := f.Close(); err != nil || f.Bytes() != nil {
			t.Errorf("after closing %d bytes are left: %v", len(f.Bytes()), err)
		}
	}
}

func TestEmptyMissingAndFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "empty")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil || len(f.Bytes()) != 0 {
		t.Fatalf("empty file: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !os.IsNotExist(err) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("a folder was mapped")
	}
}

func TestAnonymous(t *testing.T) {
	for _, n := range []int{1, os.Getpagesize() + 1, 2*hugePage + 5} {
		b, free, err := Anonymous(n)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skipf("this system has no such memory: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != n {
			t.Fatalf("%d bytes, want %d", len(b), n)
		}
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("byte %d of %d is %d", i, n, b[i])
			}
			b[i] = 1
		}
		if err := free(); err != nil {
			t.Error(err)
		}
	}
}

// TestTogether fills allocations that share mappings and gives them back in another order.
func TestTogether(t *testing.T) {
	var all [][]byte
	var frees []func() error
	for i, n := range []int{1, 100, regionBytes / 3, hugePage, regionBytes / 3, regionBytes/2 + 5, regionBytes / 3, 7} {
		b, free, err := Together(n)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skipf("this system has no such memory: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != n || cap(b) < n {
			t.Fatalf("%d bytes, want %d", len(b), n)
		}
		for j := range b {
			if b[j] != 0 {
				t.Fatalf("byte %d of allocation %d is %d", j, i, b[j])
			}
			b[j] = byte(i + 1)
		}
		all, frees = append(all, b), append(frees, free)
	}
	for _, i := range []int{2, 0, 7, 5, 1, 6, 3, 4} {
		for j, v := range all[i] {
			if v != byte(i+1) {
				t.Fatalf("byte %d of allocation %d has become %d", j, i, v)
			}
		}
		all[i] = nil
		if err := frees[i](); err != nil {
			t.Fatal(err)
		}
	}
	if regions.last != nil {
		t.Errorf("%d allocations of a mapping are left", regions.last.live)
	}
}

func TestDroppedPagesComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	want := make([]byte, 5*os.Getpagesize()+17)
	for i := range want {
		want[i] = byte(i * 7)
	}
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, page := f.Bytes(), os.Getpagesize()
	other := bytes.Clone(want)
	for _, part := range [][]byte{b, b[3:], b[page-1 : 3*page+1], b[page : 2*page], b[5:9], b[:0], nil, other} {
		f.Drop(part)
		if !bytes.Equal(f.Bytes(), want) || !bytes.Equal(other, want) {
			t.Fatalf("%d bytes dropped: the contents differ", len(part))
		}
	}
}
