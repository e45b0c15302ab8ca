// Command _asm writes the assembly of package kernel and the Go declarations of its functions.
//
// Each file of this module holds the generator of one family of kernels; what a generated function
// computes is said in its Doc lines, which become the comment of the Go declaration. Run it through
// `go generate ./internal/kernel`.
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

// files lists every generated pair NAME_amd64.s and NAME_stub_amd64.go with its generator.
var files = []struct {
	name string
	gen  func(g *gen)
}{
	{"pause", pause},
	{"peak", peak},
	{"gemmf32", gemmF32},
	{"gemmf64", gemmFloat(f64)},
	{"gemmbf16", gemmBF16},
	{"gemmint8", gemmInt8},
	{"affine", affine},
	{"narrow", narrow},
	{"table", table},
	{"pack", pack},
	{"conv", conv},
	{"depthwise", depthwise},
	{"convcodes", convCodes},
	{"stripf32", stripsF32},
	{"winograd", winograd},
	{"codes", codes},
	{"vector", vector},
	{"convert", convert},
	{"elementary", elementary},
	{"solve", solve},
	{"fit", fit},
}

func main() {
	flags := flag.NewFlagSet("_asm", flag.ExitOnError) // avo takes names of the global set
	out := flags.String("out", "..", "folder to write to")
	_ = flags.Parse(os.Args[1:])
	var written []string
	for _, f := range files {
		g := &gen{Context: build.NewContext(), globals: map[string]operand.Mem{}}
		g.ConstraintExpr("amd64,!purego")
		f.gen(g)
		file, err := g.Result()
		if err == nil {
			err = pass.Compile.Execute(file)
		}
		if err != nil {
			log.Fatalf("%s: %v", f.name, err)
		}
		cfg := printer.Config{Argv: []string{"go", "generate"}, Pkg: "kernel"}
		for suffix, p := range map[string]printer.Printer{"_amd64.s": printer.NewGoAsm(cfg), "_stub_amd64.go": printer.NewStubs(cfg)} {
			text, err := p.Print(file)
			if err != nil {
				log.Fatalf("%s: %v", f.name, err)
			}
			if err := checkAVX2(text); err != nil {
				log.Fatalf("%s: %v", f.name, err)
			}
			path := filepath.Join(*out, f.name+suffix)
			if err := os.WriteFile(path, encodeRaw(bytes.TrimLeft(text, "\n")), 0o644); err != nil {
				log.Fatal(err)
			}
			written = append(written, f.name+suffix)
		}
	}
	if err := writeSums(*out, written); err != nil {
		log.Fatal(err)
	}
}

// writeSums writes generated.sha256: the sums of the generator's sources and of the files it wrote, by
// which a test sees, without this module's dependencies, that both belong together.
func writeSums(out string, written []string) error {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		return err
	}
	var text strings.Builder
	add := func(label, path string) error {
		data, err := os.ReadFile(path)
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(data), label)
		return err
	}
	for _, s := range append(sources, "go.mod") {
		if err := add("_asm/"+s, s); err != nil {
			return err
		}
	}
	sort.Strings(written)
	for _, w := range written {
		if err := add(w, filepath.Join(out, w)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(out, "generated.sha256"), []byte(text.String()), 0o644)
}

var (
	textLine   = regexp.MustCompile(`^TEXT ·(\w+)\(`)
	newerThan2 = regexp.MustCompile(`\b([XY](1[6-9]|2[0-9]|3[01])|Z\d+|K[0-7])\b`)
)

// checkAVX2 reports a function for AVX2 or AVX-VNNI that uses a register of AVX-512: the allocator does not know the
// difference, and the assembler would encode it.
func checkAVX2(text []byte) error {
	function := ""
	for line := range strings.Lines(string(text)) {
		if m := textLine.FindStringSubmatch(line); m != nil {
			function = m[1]
		}
		if (strings.HasSuffix(function, "AVX2") || strings.HasSuffix(function, "AVXVNNI")) && !strings.HasPrefix(line, "//") && newerThan2.MatchString(line) {
			return fmt.Errorf("%s: %s", function, strings.TrimSpace(line))
		}
	}
	return nil
}

// gen is an avo context with the few things that every generator needs.
type gen struct {
	*build.Context
	globals map[string]operand.Mem
}

// function begins a function without a frame. doc, which continues "NAME computes", becomes the
// declaration's comment.
func (g *gen) function(name, signature string, doc ...string) {
	g.Function(name)
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr(signature)
	g.Pragma("noescape")
	doc[0] = name + " computes " + doc[0]
	g.Doc(doc...)
}

// arg loads the named parameter into a new 64-bit register.
func (g *gen) arg(name string) reg.GPVirtual {
	r := g.GP64()
	g.Load(g.Param(name), r)
	return r
}

// at is the memory at base + disp.
func at(base reg.Register, disp int) operand.Mem { return operand.Mem{Base: base, Disp: disp} }

// indexed is the memory at base + index*scale + disp.
func indexed(base, index reg.Register, scale uint8, disp int) operand.Mem {
	return operand.Mem{Base: base, Index: index, Scale: scale, Disp: disp}
}

// dwords declares a read-only table of 32-bit words once and returns its address.
func (g *gen) dwords(name string, words ...uint32) operand.Mem {
	if m, ok := g.globals[name]; ok {
		return m
	}
	m := g.StaticGlobal(name)
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, w := range words {
		g.AddDatum(4*i, operand.U32(w))
	}
	g.globals[name] = m
	return m
}

// laneMasks returns a table of 16 all-ones dwords followed by 16 zeros: eight dwords from index 16-n+8i
// mask the lanes of the i-th 8-lane vector of n values.
func (g *gen) laneMasks() operand.Mem {
	words := make([]uint32, 32)
	for i := range 16 {
		words[i] = 0xffffffff
	}
	return g.dwords("laneMasks", words...)
}

func pause(g *gen) {
	g.Function("pause")
	g.Attributes(attr.NOSPLIT)
	g.SignatureExpr("func()")
	g.Doc("pause waits a moment inside a spin loop.")
	g.PAUSE()
	g.RET()
}

func name(format string, v ...any) string { return fmt.Sprintf(format, v...) }
