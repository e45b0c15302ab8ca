package onnxruntime

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/tensor"
)

// The test program stands in for Python, so that the tests need none: it speaks as peer.py does.
func TestMain(m *testing.M) {
	if mode := os.Getenv("STAND_IN"); mode != "" {
		standIn(mode)
		return
	}
	os.Exit(m.Run())
}

func standIn(mode string) {
	switch mode {
	case "none":
		fmt.Println(`{"error": "No module named 'onnxruntime'"}`)
		return
	case "talks":
		fmt.Println("hello")
		return
	case "dies":
		fmt.Fprintln(os.Stderr, "no such option: -c")
		os.Exit(2)
	}
	fmt.Println(`{"version": "1.2.3"}`)
	in := bufio.NewScanner(os.Stdin)
	sessions := 0
	for in.Scan() {
		var c struct {
			Do, Model, Folder string
			Session           int
			Inputs            map[string]string
		}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			fmt.Printf("{\"error\": %q}\n", err)
			continue
		}
		switch {
		case c.Do == "load" && !filepath.IsAbs(c.Model), c.Do == "load" && strings.Contains(c.Model, "bad"):
			fmt.Printf("{\"error\": \"cannot load %s\"}\n", filepath.Base(c.Model))
		case c.Do == "load":
			fmt.Printf("{\"session\": %d}\n", sessions)
			sessions++
		case c.Session >= sessions:
			fmt.Println(`{"error": "no such session"}`)
		default: // the outputs are the inputs
			out := map[string]string{}
			for name, path := range c.Inputs {
				out[name] = filepath.Join(c.Folder, fmt.Sprintf("output%d.npy", len(out)))
				copyFile(path, out[name])
			}
			text, _ := json.Marshal(map[string]any{"outputs": out})
			fmt.Println(string(text))
		}
	}
}

func copyFile(from, to string) {
	r, err := os.Open(from)
	if err != nil {
		panic(err)
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		panic(err)
	}
	defer w.Close()
	if _, err := io.Copy(w, r); err != nil {
		panic(err)
	}
}

func TestRun(t *testing.T) {
	t.Setenv("STAND_IN", "works")
	r, err := Start(context.Background(), os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if r.Version != "1.2.3" || r.Python != os.Args[0] {
		t.Errorf("%+v", r)
	}
	if _, err := r.Load("bad.onnx", 1); err == nil || !strings.Contains(err.Error(), "ONNX Runtime 1.2.3: cannot load bad.onnx") {
		t.Errorf("a model that it refuses: %v", err)
	}
	var sessions []*Session
	for range 2 {
		s, err := r.Load("model.onnx", 1)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	in := map[string]*tensor.Tensor{"a b": tensor.Vector[int8](1, -2, 3), "x/y": tensor.Of(tensor.Shape{2, 1}, []float32{0.5, -4})}
	for _, s := range sessions {
		out, err := s.Run(in)
		if err != nil {
			t.Fatal(err)
		}
		for name, x := range in {
			if y := out[name]; y == nil || y.DType != x.DType || !y.Shape.Equal(x.Shape) || string(y.Bytes()) != string(x.Bytes()) {
				t.Errorf("%s comes back as %v", name, y)
			}
		}
	}
	folder := r.folder
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder for arrays is left: %v", err)
	}
	if _, err := sessions[0].Run(in); err == nil {
		t.Error("a closed runtime runs")
	}
}

func TestThereIsNone(t *testing.T) {
	for mode, want := range map[string]string{"none": "No module named 'onnxruntime'", "talks": "is no answer", "dies": "no such option: -c"} {
		t.Setenv("STAND_IN", mode)
		if r, err := Start(context.Background(), os.Args[0]); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", mode, r, err, want)
		}
	}
	if _, err := Start(context.Background(), "/nowhere/python"); !errors.Is(err, ErrNone) {
		t.Errorf("no such file: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(context.Background(), ""); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "python3: ") || !strings.Contains(err.Error(), "python: ") {
		t.Errorf("an empty search path: %v", err)
	}
}
