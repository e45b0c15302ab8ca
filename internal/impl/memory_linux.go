package impl

import (
	"os"
	"strconv"
	"strings"
)

// Memory returns the bytes of memory that this process may use and those that are free now, the limit of its container counted.
func Memory() (total, free int64) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "MemTotal:":
			total = kib << 10
		case "MemAvailable:":
			free = kib << 10
		}
	}
	if limit, ok := readInt("/sys/fs/cgroup/memory.max"); ok && limit < total {
		total = limit
		if used, ok := readInt("/sys/fs/cgroup/memory.current"); ok {
			free = min(free, max(limit-used, 0))
		}
	}
	return total, free
}

func readInt(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
