// Package layers holds the test of the import rule: a package imports only from lower lines, never from its own.
package layers

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/neurotrain/neuroquant"

// layers lists our packages from the lowest up; a trailing /* stands for all packages below a folder. It is a statement of
// policy: a build that violates it is mended, not this list.
var layers = []string{
	"tensor internal/impl internal/progress internal/config internal/journal internal/jinja internal/material",
	"internal/codec/mmap internal/codec/outfile",
	"internal/codec/*",
	"internal/kernel internal/checkpoint",
	"internal/torchtest",
	"internal/tokenizer internal/chat",
	"data",
	"internal/packed internal/saturate internal/solve internal/activations",
	"internal/graph",
	"internal/op",
	"internal/pass internal/aten internal/equalize",
	"internal/exec internal/torchnn internal/torchop",
	"internal/arch internal/arch/* internal/torchscript internal/torchexport",
	"internal/model",
	"internal/train",
	"nn",
	"internal/format/*",
	"internal/format",
	"internal/calibrate internal/generate internal/onnxruntime",
	"internal/quantize",
	"internal/analyze",
	"internal/search",
	"internal/report",
	"internal/example internal/shapes",
	"internal/example/*",
	".",
	"bench/measure",
	"cmd/* bench/*",
}

func TestImportsGoDownward(t *testing.T) {
	const root = "../.."
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || nested(p)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") || strings.HasPrefix(rel, "examples/") {
			return nil
		}
		pkg := path.Dir(rel)
		from := level(pkg)
		if from < 0 {
			t.Errorf("package %s is in no layer", pkg)
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			dep, _ := strconv.Unquote(imp.Path.Value)
			if dep != module && !strings.HasPrefix(dep, module+"/") {
				continue
			}
			dep = strings.TrimPrefix(strings.TrimPrefix(dep, module), "/")
			if dep == "" {
				dep = "."
			}
			if to := level(dep); to < 0 || to >= from {
				t.Errorf("%s: package %s (layer %d) may not import %s (layer %d)", rel, pkg, from, dep, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// nested reports whether the folder is the root of another module.
func nested(dir string) bool {
	m, _ := filepath.Glob(filepath.Join(dir, "go.mod"))
	abs, _ := filepath.Abs(dir)
	rootAbs, _ := filepath.Abs("../..")
	return len(m) > 0 && abs != rootAbs
}

func level(pkg string) int {
	for i, line := range layers {
		for _, pattern := range strings.Fields(line) {
			if pattern == pkg || strings.HasSuffix(pattern, "/*") && strings.HasPrefix(pkg, strings.TrimSuffix(pattern, "*")) {
				return i
			}
		}
	}
	return -1
}

func TestLevelOrder(t *testing.T) {
	if level("internal/op") <= level("internal/graph") || level("cmd/neuroquant") <= level(".") || level("nowhere") != -1 {
		t.Fatal("the table of layers is not read as written")
	}
}
