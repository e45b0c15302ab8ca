package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/format/onnx"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/shapes"
)

var full = flag.Bool("full", false, "measure ResNet-50 with 500 images of 224x224 and print the figures")

// Calibration takes the model, the values of one call and a fixed amount of memory, however many samples there are.
func TestCalibrationMemory(t *testing.T) {
	const beside = 64 << 20
	net, samples := shapes.ResNet18(), 12
	net.Side = 64
	if *full {
		net, samples = shapes.ResNet50(), 500
	}
	g, err := net.Graph()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "model.onnx")
	if err := onnx.Format.Save(context.Background(), path, &model.Model{Graph: g}, model.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	m, err := neuroquant.Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := m.RunPlan(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	limit := m.DiskBytes() + int64(plan.PeakBytes) + beside
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	n := fmt.Sprint(samples)
	c := exec.Command("neuroquant", "calibrate", path, filepath.Join(dir, "stats.json"), "--data", "random:"+n, "--num-calibration-samples", n, "-q")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var peak int64
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			running = false
		case <-time.After(time.Millisecond):
			peak = max(peak, highWater(c.Process.Pid))
		}
	}
	if peak == 0 {
		t.Fatal("the process was not seen")
	}
	if *full {
		fmt.Fprintf(os.Stdout, "calibration on %s samples: %.1f MiB at most; the limit is %.1f MiB: the model %.1f, values of a call %.1f, 64 beside\n",
			n, mib(peak), mib(limit), mib(limit-beside-int64(plan.PeakBytes)), mib(int64(plan.PeakBytes)))
	}
	if peak > limit {
		t.Errorf("calibration on %s samples takes %.1f MiB, want at most %.1f", n, mib(peak), mib(limit))
	}
}

// highWater returns the largest resident size of a process so far; that of its resource usage counts this one's too. 0: it is not
// there.
func highWater(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kib int64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib << 10
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
