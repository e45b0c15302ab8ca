package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/neurotrain/neuroquant/internal/material"
)

// disk mounts a file system of a size, which a process with the right to do so can make larger.
func disk(t *testing.T, size string) (dir string, grow func(size string)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("no file system of a size can be mounted: %v", err)
		}
		t.Skipf("no file system of a size can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir, func(size string) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full in the middle of a run, while layers, values between them or the result are written, is said, and the same command goes on
// once there is space, to the bytes of a run that was not disturbed.
func TestDiskFillsUp(t *testing.T) {
	folder := material.Path(t, "data/stories260k")
	quantize := func(out string, more ...string) []string {
		return append([]string{
			"quantize", folder, out, "--method", "gptq", "--group-size", "32",
			"--data", filepath.Join(folder, "eval", "tinystories-calib.json"), "--num-calibration-samples", "64",
		}, more...)
	}
	whole := filepath.Join(t.TempDir(), "out")
	if code, _, stderr := child(t, nil, quantize(whole)...); code != exitDone {
		t.Fatal(stderr)
	}
	want := contents(t, whole)
	for _, test := range []struct {
		size string
		says string
		more []string
	}{
		{"12k", "codes.bin: no space left on device; ", nil},
		{"300k", "out: cannot write there: no space left on device", nil},
		{"300k", "activations-", []string{"--max-memory", "70MiB"}},
	} {
		dir, grow := disk(t, test.size)
		out := filepath.Join(dir, "out")
		code, stdout, stderr := child(t, nil, quantize(out, test.more...)...)
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, test.says) || !strings.Contains(stderr, "with more space the same command goes on from there") {
			t.Errorf("%s %v: exit code %d, stderr %q", test.size, test.more, code, stderr)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s %v: there is a result", test.size, test.more)
		}
		grow("64m")
		code, _, stderr = child(t, nil, quantize(out, test.more...)...)
		if code != exitDone {
			t.Fatalf("%s %v, with space: exit code %d, stderr %q", test.size, test.more, code, stderr)
		}
		if test.more == nil && !strings.Contains(stderr, "an earlier run has finished") {
			t.Errorf("%s: with space it did not go on: %q", test.size, stderr)
		}
		if got := contents(t, out); test.more == nil && got != want {
			t.Errorf("%s: other bytes than those of a whole run:\n%s\n%s", test.size, got, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s %v: left behind beside the result: %v", test.size, test.more, entries)
		}
	}
}

// Work that nobody goes on with is removed when another method writes the same output folder; a run that was killed while it wrote leaves a folder
// that the next removes.
func TestAbandonedFolders(t *testing.T) {
	folder := material.Path(t, "data/stories260k")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	work, partial := filepath.Join(dir, ".out.neuroquant-work"), filepath.Join(dir, ".out.partial-123")
	for i, d := range []string{work, partial} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d, []string{"codes.bin", "model.safetensors"}[i]), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	code, _, stderr := child(t, nil, "quantize", folder, out, "--method", "rtn", "--group-size", "32")
	if code != exitDone || !strings.Contains(stderr, fmt.Sprintf("removed %s, unfinished work of another run on %s", work, out)) {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "out" {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
