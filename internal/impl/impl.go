// Package impl knows which kernel implementations this CPU can run and which are switched on.
//
// A kernel package declares one bool per (kernel, instruction set) pair, registers it here from an
// init function, and dispatches with a plain `if useX {`. Registration sets the bool when the CPU
// has the instruction set and the cap of the environment variable NEUROQUANT_ISA allows it. Tests
// walk [Caps] and call [Cap] to run on every implementation.
package impl

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"

	"github.com/klauspost/cpuid/v2"
)

// The instruction sets a kernel may be registered for, in the order in which a cap admits them.
const (
	Generic    = "generic"    // portable Go, always there, never registered
	AVX2       = "avx2"       // AVX2, FMA3, F16C and BMI2
	AVXVNNI    = "avxvnni"    // AVX2 and VPDPBUSD without AVX-512
	AVX512     = "avx512"     // AVX-512 F, BW, DQ, VL, CD
	AVX512VNNI = "avx512vnni" // AVX512 and VPDPBUSD
	AVX512BF16 = "avx512bf16" // AVX512VNNI and VDPBF16PS
)

var order = []string{Generic, AVX2, AVXVNNI, AVX512, AVX512VNNI, AVX512BF16}

// EnvISA is the environment variable that caps the instruction sets in use: one of the names above,
// in any letter case. An unknown value is reported by [EnvError] and ignored.
const EnvISA = "NEUROQUANT_ISA"

// Implementation is one registered variant of a kernel.
type Implementation struct {
	Kernel    string // e.g. "gemmF32"
	ISA       string // e.g. "avx512"
	Available bool   // the CPU has the instruction set
	Enabled   bool   // dispatch may take it now
}

type entry struct {
	kernel, isa string
	use         *bool
}

var (
	mu      sync.Mutex
	entries []entry
	limit   = len(order) - 1
	envErr  error
	has     = map[string]bool{Generic: true}
)

func init() {
	c := &cpuid.CPU
	has[AVX2] = c.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.BMI2)
	has[AVXVNNI] = has[AVX2] && c.Supports(cpuid.AVXVNNI)
	has[AVX512] = has[AVX2] && c.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL, cpuid.AVX512CD)
	has[AVX512VNNI] = has[AVX512] && c.Supports(cpuid.AVX512VNNI)
	has[AVX512BF16] = has[AVX512VNNI] && c.Supports(cpuid.AVX512BF16)
	if v := os.Getenv(EnvISA); v != "" {
		if l := level(v); l >= 0 {
			limit = l
		} else {
			envErr = fmt.Errorf("impl: %s=%q: want one of %s", EnvISA, v, strings.Join(order, ", "))
		}
	}
}

func level(isa string) int {
	for i, name := range order {
		if strings.EqualFold(name, isa) {
			return i
		}
	}
	return -1
}

// Register names *use as the switch of kernel's variant for isa and sets it. It is called from init
// functions; it panics on an unknown isa or a pair registered twice.
func Register(kernel, isa string, use *bool) {
	mu.Lock()
	defer mu.Unlock()
	l := level(isa)
	if l <= 0 {
		panic("impl: unknown instruction set " + isa)
	}
	isa = order[l]
	for _, e := range entries {
		if e.kernel == kernel && e.isa == isa {
			panic("impl: " + kernel + "/" + isa + " registered twice")
		}
	}
	entries = append(entries, entry{kernel, isa, use})
	*use = has[isa] && l <= limit
}

// EnvError reports a value of NEUROQUANT_ISA that was not understood, or nil.
func EnvError() error { return envErr }

// Has reports whether the CPU has the named instruction set, whatever the cap.
func Has(isa string) bool { l := level(isa); return l >= 0 && has[order[l]] }

// Current returns the name of the highest instruction set that the CPU has and the cap admits.
func Current() string {
	mu.Lock()
	defer mu.Unlock()
	for l := limit; l > 0; l-- {
		if has[order[l]] {
			return order[l]
		}
	}
	return Generic
}

// List returns every registered implementation, sorted by kernel and then by instruction set.
func List() []Implementation {
	mu.Lock()
	defer mu.Unlock()
	out := make([]Implementation, len(entries))
	for i, e := range entries {
		out[i] = Implementation{e.kernel, e.isa, has[e.isa], *e.use}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Kernel != out[j].Kernel {
			return out[i].Kernel < out[j].Kernel
		}
		return level(out[i].ISA) < level(out[j].ISA)
	})
	return out
}

// Caps returns the caps that change anything on this CPU in this build, lowest first: always
// "generic", then every available instruction set that some kernel is registered for and that
// NEUROQUANT_ISA admits.
func Caps() []string {
	mu.Lock()
	defer mu.Unlock()
	out := []string{Generic}
	for l := 1; l <= limit; l++ {
		for _, e := range entries {
			if e.isa == order[l] && has[e.isa] {
				out = append(out, e.isa)
				break
			}
		}
	}
	return out
}

// Cap switches every implementation above isa off and every available one up to isa on, and returns
// a function that puts the former cap back. It must not run beside kernels: it is for tests and
// benchmarks. It panics on an unknown name.
func Cap(isa string) (restore func()) {
	l := level(isa)
	if l < 0 {
		panic("impl: unknown instruction set " + isa)
	}
	mu.Lock()
	defer mu.Unlock()
	old := limit
	set(l)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		set(old)
	}
}

func set(l int) {
	limit = l
	for _, e := range entries {
		*e.use = has[e.isa] && level(e.isa) <= limit
	}
}
