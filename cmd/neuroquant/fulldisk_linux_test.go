package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/neurotrain/neuroquant/internal/material"
)

// failCalls makes a system call of this process fail with ENOSPC where the low half of an argument is at least so large. The kernel does it, with
// a filter that any process may install for itself (seccomp(2)): neither a file system of its own nor a privilege is needed.
func failCalls(call, argument int, least uint32) error {
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	half := uint32(16 + 8*argument) // behind the number of the call, the architecture and the instruction
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		half += 4
	}
	program := []unix.SockFilter{
		load(0),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 2},
		load(half),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: least, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSPC)},
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter))); err != 0 {
		return err
	}
	return nil
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
	spilling := []string{"--max-memory", "70MiB"}
	want := map[bool]string{}
	for _, spills := range []bool{false, true} {
		whole := filepath.Join(t.TempDir(), "out")
		args := quantize(whole)
		if spills {
			args = quantize(whole, spilling...)
		}
		if code, _, stderr := child(t, nil, args...); code != exitDone {
			t.Fatal(stderr)
		}
		want[spills] = contents(t, whole)
	}
	if a, b := weightsIn(want[false]), weightsIn(want[true]); a == "" || a != b {
		t.Errorf("with values in files the weights are others: %q, in memory %q", b, a)
	}
	for name, test := range map[string]struct {
		call, argument, least int
		says                  string
		more                  []string
	}{
		"codes":   {unix.SYS_PWRITE64, 3, 12 << 10, "codes.bin: no space left on device; ", nil},          // from an offset on
		"values":  {unix.SYS_PWRITE64, 3, 300 << 10, "activations-", spilling},                            // before a layer is finished
		"journal": {unix.SYS_FSYNC, 0, 0, "journal.jsonl: sync ", spilling},                               // as some file systems say it
		"result":  {unix.SYS_WRITE, 2, 16 << 10, "out: cannot write there: no space left on device", nil}, // of many bytes
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out := filepath.Join(dir, "out")
			full := fmt.Sprintf("%s=%d %d %d", envFullDisk, test.call, test.argument, test.least)
			code, stdout, stderr := child(t, []string{full}, quantize(out, test.more...)...)
			if code != exitFailed || stdout != "" || !strings.Contains(stderr, test.says) || !strings.Contains(stderr, "with more space the same command goes on from there") {
				t.Fatalf("exit code %d, stderr %q", code, stderr)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("there is a result")
			}
			code, _, stderr = child(t, nil, quantize(out, test.more...)...)
			if code != exitDone {
				t.Fatalf("with space: exit code %d, stderr %q", code, stderr)
			}
			if name != "journal" && name != "values" && !strings.Contains(stderr, "an earlier run has finished") {
				t.Errorf("with space it did not go on: %q", stderr)
			}
			if got := contents(t, out); got != want[test.more != nil] {
				t.Errorf("other bytes than those of a whole run:\n%s\n%s", got, want[test.more != nil])
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
				t.Errorf("left behind beside the result: %v", entries)
			}
		})
	}
}

// weightsIn is the line of the weights in the contents of a folder.
func weightsIn(contents string) string {
	for line := range strings.Lines(contents) {
		if strings.HasPrefix(line, "model.safetensors ") {
			return line
		}
	}
	return ""
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
