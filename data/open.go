package data

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
	"github.com/neurotrain/neuroquant/tensor"
)

// NoLabels as [Options.Labels] ignores labels that the source has.
const NoLabels = "none"

// Options say how samples are chosen, labelled and transformed.
type Options struct {
	// Transform applies to images: image files, and uint8 arrays of the shapes [samples, height, width], [samples, height,
	// width, channels] and [samples, channels, height, width]. Arrays of other types are passed as they are.
	Transform
	// Raw passes uint8 arrays as they are too.
	Raw bool
	// Labels is a file of class indices or names; see [ReadLabels]. Without it labels come from class folders, from an array
	// named labels or y beside others, or from the file next to an array (x.npy and x_labels.npy, ...-images-... and
	// ...-labels-...). [NoLabels] ignores them.
	Labels string
	// Classes fixes the class index of folder and class names; nil: sorted order.
	Classes []string
	// Limit draws that many samples by Seed, in the set's order; 0 takes all.
	Limit int
	Seed  uint64
	// Inputs are what random data is made for: a model's inputs.
	Inputs []Field
}

// Accepted describes what [Open] reads, for messages and help texts.
const Accepted = "an .npy or .npz array, a folder or .zip of images (in class folders if they have labels), an IDX file (MNIST, also .gz), CIFAR .bin files, or random:N"

// Open opens the data that spec names: a path, or random:N for N random samples. What a file is, its content tells. "path#part"
// names a folder in a zip, an array of an npz, or a subfolder. The caller closes the set.
func Open(spec string, o Options) (Set, error) {
	s, err := open(spec, &o)
	if err != nil {
		return nil, err
	}
	if o.Limit < 0 {
		s.Close()
		return nil, fmt.Errorf("limit: want at least 0, got %d", o.Limit)
	}
	if s.Len() == 0 {
		s.Close()
		return nil, fmt.Errorf("%s: no samples", spec)
	}
	if o.Limit > 0 {
		return Sample(s, o.Limit, o.Seed), nil
	}
	return s, nil
}

func open(spec string, o *Options) (Set, error) {
	if err := o.Transform.Check(); err != nil {
		return nil, err
	}
	if count, ok := strings.CutPrefix(spec, "random:"); ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || n > 1<<40 {
			return nil, fmt.Errorf("data %q: want random:N with N samples, such as random:64", spec)
		}
		return Random(n, o.Inputs, o.Seed)
	}
	path, part := spec, ""
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if at := strings.LastIndexByte(spec, '#'); at > 0 {
			path, part = spec[:at], spec[at+1:]
			st, err = os.Stat(path)
		}
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("data %q does not exist; want %s", path, Accepted)
		}
		return nil, err
	}
	if st.IsDir() {
		return openFolder(filepath.Join(path, filepath.FromSlash(part)), o)
	}
	return openFile(path, part, o)
}

func openFile(path, part string, o *Options) (Set, error) {
	head, err := fileHead(path)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(head), "PK\x03\x04") || strings.HasPrefix(string(head), "PK\x05\x06") {
		npz, err := holdsArrays(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if npz {
			return openNPZSet(path, part, o)
		}
		return openZip(path, part, o)
	}
	if part != "" {
		return nil, fmt.Errorf("%s: #%s names a part of a folder, zip or npz, and this is none", path, part)
	}
	switch {
	case strings.HasPrefix(string(head), npyMagic):
		return openNPYSet(path, o)
	case isGzip(head), isIDX(head):
		return openIDXSet(path, o)
	case strings.EqualFold(filepath.Ext(path), ".bin"):
		return openCIFARSet(path, []string{path}, o)
	}
	if picture.IsImage(head) {
		return openImageFile(path, o)
	}
	return nil, fmt.Errorf("%s: want %s; found a file that starts with %.8q", path, Accepted, head)
}

// fileHead returns the first bytes of a file.
func fileHead(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return head[:n], nil
}

// holdsArrays tells an npz from an archive of images.
func holdsArrays(path string) (bool, error) {
	r, err := zip.OpenReader(path)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return strings.EqualFold(filepath.Ext(path), ".npz") ||
		slices.ContainsFunc(r.File, func(f *zip.File) bool { return strings.HasSuffix(f.Name, ".npy") }), nil
}

// openFolder opens images in class folders, arrays that are a model's inputs by name, or the files of MNIST or CIFAR.
func openFolder(dir string, o *Options) (Set, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var arrays, idx, bins []string
	for _, e := range entries {
		name := e.Name()
		full := filepath.Join(dir, name)
		switch {
		case e.IsDir() || hidden(name):
		case strings.HasSuffix(name, ".npy"):
			arrays = append(arrays, full)
		case strings.Contains(name, "-images") && strings.Contains(name, "idx3"):
			idx = append(idx, full)
		case strings.HasSuffix(name, ".bin"):
			bins = append(bins, full)
		}
	}
	switch {
	case len(arrays) > 0:
		return openArrayFolder(dir, arrays, o)
	case len(idx) > 1:
		return nil, fmt.Errorf("%s: found several sets of images: name one of %s", dir, strings.Join(idx, ", "))
	case len(idx) == 1:
		return openIDXSet(idx[0], o)
	case len(bins) > 0:
		train := slices.DeleteFunc(slices.Clone(bins), func(p string) bool { return strings.HasPrefix(filepath.Base(p), "test") })
		if len(train) > 0 && len(train) < len(bins) {
			return nil, fmt.Errorf("%s: found training and test files: name one of %s", dir, strings.Join(bins, ", "))
		}
		return openCIFARSet(dir, bins, o)
	}
	files, err := folderFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: found neither images (%s) nor .npy, IDX or CIFAR .bin files", dir, strings.Join(picture.Suffixes(), " "))
	}
	return openFolderImages(dir, files, o)
}

func openNPYSet(path string, o *Options) (Set, error) {
	a, err := OpenNPY(path)
	if err != nil {
		return nil, err
	}
	c, err := fileColumn("", a)
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	beside := []string{stem + "_labels.npy", stem + "-labels.npy"}
	dir, base := filepath.Split(stem)
	if strings.Contains(base, "images") {
		beside = append(beside, dir+strings.Replace(base, "images", "labels", 1)+".npy")
	}
	return finishArrays(filepath.Base(path), []column{c}, []io.Closer{a}, nil, beside, o)
}

func openArrayFolder(dir string, paths []string, o *Options) (Set, error) {
	var cols []column
	var closers []io.Closer
	var labels *tensor.Tensor
	fail := func(err error) (Set, error) {
		for _, c := range closers {
			c.Close()
		}
		return nil, err
	}
	for _, p := range paths {
		name := strings.TrimSuffix(filepath.Base(p), ".npy")
		if isLabelName(name) && len(paths) > 1 {
			t, err := ReadNPYFile(p)
			if err != nil {
				return fail(err)
			}
			labels = t
			continue
		}
		a, err := OpenNPY(p)
		if err != nil {
			return fail(err)
		}
		closers = append(closers, a)
		c, err := fileColumn(name, a)
		if err != nil {
			return fail(fmt.Errorf("%s: %w", p, err))
		}
		cols = append(cols, c)
	}
	if len(cols) == 0 {
		return fail(fmt.Errorf("%s: found labels only", dir))
	}
	return finishArrays(dir, cols, closers, labels, nil, o)
}

func openNPZSet(path, part string, o *Options) (Set, error) {
	z, err := OpenNPZ(path)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (Set, error) {
		z.Close()
		return nil, err
	}
	names := z.Names()
	if part != "" {
		names = []string{part}
	}
	var cols []column
	var labels *tensor.Tensor
	for _, name := range names {
		if isLabelName(name) && len(names) > 1 {
			if labels, err = z.Load(name); err != nil {
				return fail(err)
			}
			continue
		}
		a, err := z.Open(name)
		if err != nil {
			return fail(err)
		}
		var c column
		if a != nil {
			c, err = fileColumn(name, a)
		} else {
			var t *tensor.Tensor
			if t, err = z.Load(name); err != nil {
				return fail(err)
			}
			c, err = memoryColumn(name, t)
		}
		if err != nil {
			return fail(fmt.Errorf("%s: array %q: %w", path, name, err))
		}
		cols = append(cols, c)
	}
	if len(cols) == 0 {
		return fail(fmt.Errorf("%s: found labels only", path))
	}
	if len(cols) == 1 && (part != "" || cols[0].name == "arr_0") { // numpy's name for an unnamed array
		cols[0].name = ""
	}
	return finishArrays(filepath.Base(path), cols, []io.Closer{z}, labels, nil, o)
}

func openIDXSet(path string, o *Options) (Set, error) {
	t, err := ReadIDXFile(path)
	if err != nil {
		return nil, err
	}
	c, err := memoryColumn("", t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	dir, base := filepath.Split(path)
	r := strings.NewReplacer("images", "labels", "idx3", "idx1")
	beside := strings.TrimSuffix(dir+r.Replace(base), ".gz")
	return finishArrays(base, []column{c}, nil, nil, []string{beside, beside + ".gz"}, o)
}

func openCIFARSet(from string, paths []string, o *Options) (Set, error) {
	images, classes, err := ReadCIFAR(paths...)
	if err != nil {
		return nil, err
	}
	c, err := memoryColumn("", images)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	labels := make([]int64, len(classes))
	for i, v := range classes {
		labels[i] = int64(v)
	}
	return finishArrays(filepath.Base(from), []column{c}, nil, tensor.Vector(labels...), nil, o)
}

// finishArrays applies the options to columns. labels is what the source itself has; beside lists files that may have them.
func finishArrays(from string, cols []column, closers []io.Closer, labels *tensor.Tensor, beside []string, o *Options) (_ Set, err error) {
	s := &arraySet{closers: closers}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	built, err := newArraySet(from, cols, o)
	if err != nil {
		return nil, err
	}
	built.closers = closers
	if o.Labels == NoLabels {
		return built, nil
	}
	ids := make([]string, built.n)
	for i := range ids {
		ids[i] = built.id(i)
	}
	file := o.Labels
	for _, p := range beside {
		if file == "" && labels == nil && p != "" {
			if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
				file = p
			}
		}
	}
	switch {
	case file != "":
		built.labels, built.classes, err = ReadLabels(file, ids, o.Classes)
	case labels != nil:
		var list []label
		if list, err = tensorLabels(labels); err == nil {
			built.labels, built.classes, err = resolveLabels(list, ids, o.Classes)
		}
	default:
		built.classes = o.Classes
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return built, nil
}
