package neuroquant

import (
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"github.com/neurotrain/neuroquant/internal/impl"
)

// Dependencies is what this machine offers a method. The methods themselves need nothing installed.
type Dependencies struct {
	Method    string       `json:"method"`
	Available bool         `json:"available"` // whether this version has the method
	Machine   MachineInfo  `json:"machine"`
	Kernels   []KernelInfo `json:"kernels"`
	// Runtimes are programs that load what this tool writes; none is needed.
	Runtimes []RuntimeInfo `json:"optional_runtimes"`
	Notes    []string      `json:"notes,omitempty"`
}

// MachineInfo is the processor and memory as seen by this program.
type MachineInfo struct {
	CPU          string   `json:"cpu"`
	Cores        int      `json:"cores"`
	Threads      int      `json:"threads"` // that this program uses
	ISA          string   `json:"isa"`     // the highest instruction set that its kernels use
	Features     []string `json:"features"`
	MemoryBytes  int64    `json:"memory_bytes"`           // of the machine or its container; 0: not known
	MemoryFree   int64    `json:"memory_available_bytes"` // 0: not known
	OS           string   `json:"os"`
	Architecture string   `json:"arch"`
}

// KernelInfo is one implementation of a kernel.
type KernelInfo struct {
	Kernel string `json:"kernel"`
	ISA    string `json:"isa"`
	Used   bool   `json:"used"`
	CPUHas bool   `json:"cpu_has"`
}

// RuntimeInfo is a program found on this machine.
type RuntimeInfo struct {
	Name  string `json:"name"`
	Path  string `json:"path,omitempty"`
	Found bool   `json:"found"`
	For   string `json:"for"`
}

// CheckDependencies tells what this machine offers a method; an unknown name is an error.
func CheckDependencies(method string) (*Dependencies, error) {
	i := slices.IndexFunc(Methods(), func(m MethodInfo) bool { return m.Name == method })
	if i < 0 {
		return nil, fmt.Errorf("unknown method %q; the methods are %s", method, strings.Join(MethodNames(false), ", "))
	}
	d := &Dependencies{Method: method, Available: Methods()[i].Available, Machine: thisMachine()}
	for _, k := range impl.List() {
		d.Kernels = append(d.Kernels, KernelInfo{Kernel: k.Kernel, ISA: k.ISA, Used: k.Enabled, CPUHas: k.Available})
	}
	if err := impl.EnvError(); err != nil {
		d.Notes = append(d.Notes, err.Error())
	}
	if !d.Available {
		d.Notes = append(d.Notes, fmt.Sprintf("method %s is not in this version; available: %s", method, strings.Join(MethodNames(true), ", ")))
	}
	if runtime.GOARCH != "amd64" {
		d.Notes = append(d.Notes, "kernels in assembly exist for amd64; here the portable ones run")
	} else if !cpuid.CPU.Supports(cpuid.AVX512VNNI) {
		d.Notes = append(d.Notes, "this CPU has no AVX-512 VNNI: integer products run on older instructions, and 8-bit models gain less")
	}
	for _, r := range []RuntimeInfo{
		{Name: "python3", For: "running written models in ONNX Runtime (pip onnxruntime)"},
		{Name: "node", For: "running written models in ONNX Runtime (npm onnxruntime-node)"},
	} {
		if p, err := exec.LookPath(r.Name); err == nil {
			r.Path, r.Found = p, true
		}
		d.Runtimes = append(d.Runtimes, r)
	}
	return d, nil
}

func thisMachine() MachineInfo {
	total, free := impl.Memory()
	m := MachineInfo{
		CPU: cpuid.CPU.BrandName, Cores: runtime.NumCPU(), Threads: runtime.GOMAXPROCS(0), ISA: impl.Current(),
		MemoryBytes: total, MemoryFree: free, OS: runtime.GOOS, Architecture: runtime.GOARCH,
	}
	for _, f := range []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.AVXVNNI, cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VBMI, cpuid.AVX512VNNI, cpuid.AVX512BF16} {
		if cpuid.CPU.Supports(f) {
			m.Features = append(m.Features, f.String())
		}
	}
	return m
}
