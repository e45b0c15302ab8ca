package torch

import (
	"errors"
	"fmt"
	"strings"

	"github.com/neurotrain/neuroquant/internal/arch/vision"
	"github.com/neurotrain/neuroquant/internal/checkpoint"
)

// waysOut says how a model that only its own code can run becomes one that opens.
const waysOut = `three ways to a file that opens, in Python where the class is at hand:
  TorchScript: torch.jit.trace(model.eval(), example).save("model.ts.pt")
  export:      torch.export.save(torch.export.export(model.eval(), (example,)), "model.pt2")
  ONNX:        torch.onnx.export(model.eval(), (example,), "model.onnx")`

// refuseClasses is the error for a whole module with classes that are not known.
func refuseClasses(s *checkpoint.State, unknown []string, f *checkpoint.File) error {
	return withRefused(fmt.Errorf("a module of class %s with %s is %w: the code of a model is not in its file and is never run, and these classes are not known: %s\n%s",
		s.Module.Class, count(s), checkpoint.ErrUnsupported, list(unknown, 12), waysOut), f)
}

// refuseState is the error for a state dict that identifies no architecture.
func refuseState(s *checkpoint.State, f *checkpoint.File) error {
	var names []string
	for _, t := range s.Tensors {
		names = append(names, fmt.Sprintf("%s %v", t.Name, t.Tensor))
	}
	where := ""
	if s.Where != "" {
		where = " under " + s.Where
	}
	if s.Module != nil {
		where += " of a module of class " + s.Module.Class
	}
	known := make([]string, len(vision.Archs))
	for i, a := range vision.Archs {
		known[i] = a.Name
	}
	return withRefused(fmt.Errorf("weights without a graph%s are %w unless their names and shapes are those of a known architecture: %s, %s; say which one it is with --arch (%s), or take\n%s",
		where, checkpoint.ErrUnsupported, count(s), list(names, 6), strings.Join(known, ", "), waysOut), f)
}

// count says how much a state dict holds.
func count(s *checkpoint.State) string {
	n := 0
	for _, t := range s.Tensors {
		n += t.Shape().Len()
	}
	return fmt.Sprintf("%d tensors of %d values", len(s.Tensors), n)
}

// list joins at most n items.
func list(items []string, n int) string {
	if len(items) <= n {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:n], ", "), len(items)-n)
}

// withRefused adds the names that the reader refused to an error.
func withRefused(err error, f *checkpoint.File) error {
	uses := f.Refused()
	if len(uses) == 0 {
		return err
	}
	var names []string
	for _, u := range uses {
		names = append(names, fmt.Sprintf("%s (%s)", u.Name, u.How))
	}
	return fmt.Errorf("%w\nnames in the file that are not known and were left alone: %s", err, list(names, 12))
}

// limit keeps the first of many errors of one graph.
func limit(err error) error {
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		return err
	}
	errs := many.Unwrap()
	const most = 5
	if len(errs) <= most {
		return err
	}
	return errors.Join(append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))...)
}
