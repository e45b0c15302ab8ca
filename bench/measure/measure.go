package measure

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// MedianRatio is the median of a[i]/b[i]; 0 where b is not known.
func MedianRatio(a, b []float64) float64 {
	r := make([]float64, len(a))
	for i := range r {
		if b[i] > 0 {
			r[i] = a[i] / b[i]
		}
	}
	return Median(r)
}

// Median is the middle of v, or the mean of the two there.
func Median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// GeometricMean of positive numbers; NaN of none.
func GeometricMean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += math.Log(x)
	}
	return math.Exp(sum / float64(len(v)))
}

// Numbers reads a list of numbers above 0 with commas between.
func Numbers(list string) ([]int, error) {
	var out []int
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a list of numbers above 0", list)
		}
		out = append(out, n)
	}
	return out, nil
}

// CPUName returns what the system calls the processor.
func CPUName() string {
	raw, err := os.ReadFile(filepath.FromSlash("/proc/cpuinfo"))
	if err == nil {
		for line := range strings.SplitSeq(string(raw), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				return strings.TrimSpace(value)
			}
		}
	}
	return runtime.GOARCH
}

// CPUs is the number of processors of the machine, also where this process may use fewer.
func CPUs() int {
	raw, err := os.ReadFile(filepath.FromSlash("/proc/stat"))
	n := 0
	if err == nil {
		for line := range strings.SplitSeq(string(raw), "\n") {
			if len(line) > 3 && strings.HasPrefix(line, "cpu") && line[3] >= '0' && line[3] <= '9' {
				n++
			}
		}
	}
	return max(n, runtime.NumCPU())
}
