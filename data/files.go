package data

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/codec/picture"
	"github.com/neurotrain/neuroquant/tensor"
)

// maxImageFile bounds an encoded image.
const maxImageFile = 1 << 30

// imageFile is an encoded image that is read when it is needed.
type imageFile struct {
	name  string // slash-separated path inside the folder or archive
	class int    // -1: none
	read  func() ([]byte, error)
}

// fileSet is a set of image files.
type fileSet struct {
	from    string
	files   []imageFile
	labels  []int
	classes []string
	k       *compiled
	size    Size // of every transformed image
	close   func() error
}

// folderFiles lists the images below a folder.
func folderFiles(dir string) ([]imageFile, error) {
	var files []imageFile
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if p != "." && hidden(d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() || !picture.IsName(p) {
			return nil
		}
		full := filepath.Join(dir, filepath.FromSlash(p))
		files = append(files, imageFile{p, -1, func() ([]byte, error) {
			st, err := os.Stat(full)
			if err != nil {
				return nil, err
			}
			if st.Size() > maxImageFile {
				return nil, fmt.Errorf("%d bytes are above the limit of an image, %d", st.Size(), maxImageFile)
			}
			return os.ReadFile(full)
		}})
		return nil
	})
	return files, err
}

// zipFiles lists the images of an archive whose names start with the given folder.
func zipFiles(r *zip.Reader, under string) ([]imageFile, error) {
	var files []imageFile
	seen := map[string]bool{}
	for _, f := range r.File {
		name := f.Name
		if under != "" {
			var ok bool
			if name, ok = strings.CutPrefix(name, strings.Trim(under, "/")+"/"); !ok {
				continue
			}
		}
		if strings.HasSuffix(name, "/") || !picture.IsName(name) || slices.ContainsFunc(strings.Split(name, "/"), hidden) {
			continue
		}
		if seen[name] {
			return nil, fmt.Errorf("file %q twice", f.Name)
		}
		seen[name] = true
		files = append(files, imageFile{name, -1, func() ([]byte, error) { return readMember(f) }})
	}
	return files, nil
}

func readMember(f *zip.File) ([]byte, error) {
	if err := plausibleMember(f); err != nil {
		return nil, err
	}
	if f.UncompressedSize64 > maxImageFile {
		return nil, fmt.Errorf("%d bytes are above the limit of an image, %d", f.UncompressedSize64, maxImageFile)
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := readGrowing(r, int(f.UncompressedSize64))
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // checks the checksum
		return nil, err
	}
	return raw, nil
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") || name == "__MACOSX" }

// splitNames are folders that hold parts of a data set, not classes.
var splitNames = []string{"train", "training", "val", "valid", "validation", "test", "testing", "eval"}

// classify sets the class of each file by the first folder that is not common to all of them, numbers the folders in sorted
// order (or by the given list) and sorts the files by class and name. Without class folders there are no classes.
func classify(files []imageFile, known []string) ([]string, error) {
	common := strings.Split(files[0].name, "/")
	common = common[:len(common)-1]
	for _, f := range files {
		parts := strings.Split(f.name, "/")
		parts = parts[:len(parts)-1]
		n := 0
		for n < min(len(common), len(parts)) && common[n] == parts[n] {
			n++
		}
		common = common[:n]
	}
	// With a list of classes a single class folder is one too.
	if n := len(common); n > 0 && slices.Contains(known, common[n-1]) {
		common = common[:n-1]
	}
	folder := func(f imageFile) string {
		rest := strings.Split(f.name, "/")[len(common):]
		if len(rest) == 1 {
			return ""
		}
		return rest[0]
	}
	var folders []string
	loose := ""
	for _, f := range files {
		if d := folder(f); d == "" {
			loose = f.name
		} else if !slices.Contains(folders, d) {
			folders = append(folders, d)
		}
	}
	slices.Sort(folders)
	if len(folders) == 0 {
		slices.SortFunc(files, func(a, b imageFile) int { return cmp.Compare(a.name, b.name) })
		return nil, nil
	}
	if loose != "" {
		return nil, fmt.Errorf("want either class folders or images without folders, found %s beside the folders %s", loose, some(folders))
	}
	if !slices.ContainsFunc(folders, func(d string) bool { return !slices.Contains(splitNames, strings.ToLower(d)) }) {
		return nil, fmt.Errorf("want class folders, found the parts %s of a data set: name one by appending #%s", some(folders), folders[0])
	}
	classes := folders
	if known != nil {
		classes = known
		var unknown []string
		for _, d := range folders {
			if !slices.Contains(known, d) {
				unknown = append(unknown, d)
			}
		}
		if unknown != nil {
			return nil, fmt.Errorf("folders %s are not in the list of classes: %s", some(unknown), some(known))
		}
	}
	for i := range files {
		files[i].class = slices.Index(classes, folder(files[i]))
	}
	slices.SortFunc(files, func(a, b imageFile) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(a.name, b.name))
	})
	return classes, nil
}

// newFileSet makes a set of image files, which it sorts.
func newFileSet(from string, files []imageFile, o *Options, closer func() error) (*fileSet, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no images (%s)", from, strings.Join(picture.Suffixes(), " "))
	}
	classes, err := classify(files, o.Classes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	k, err := o.Transform.compile(3, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	s := &fileSet{from: from, files: files, classes: classes, k: k, close: closer}
	if classes != nil {
		s.labels = make([]int, len(files))
		for i, f := range files {
			s.labels[i] = f.class
		}
	}
	raw, err := files[0].read()
	if err != nil {
		return nil, s.named(0, err)
	}
	w, h, err := picture.Size(raw)
	if err != nil {
		return nil, s.named(0, err)
	}
	if _, s.size, err = k.sizeFor(w, h); err != nil {
		return nil, s.named(0, err)
	}
	return s, nil
}

// named adds the file to an error, once.
func (s *fileSet) named(i int, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return fmt.Errorf("%s: %s: %w", s.from, s.files[i].name, err)
}

func (s *fileSet) Len() int          { return len(s.files) }
func (s *fileSet) Labels() []int     { return s.labels }
func (s *fileSet) Classes() []string { return s.classes }
func (s *fileSet) Fields() []Field {
	return []Field{{DType: s.k.dtype(), Shape: s.k.shape(s.size)}}
}

func (s *fileSet) ids() []string {
	ids := make([]string, len(s.files))
	for i, f := range s.files {
		ids[i] = f.name
	}
	return ids
}

func (s *fileSet) Read(ctx context.Context, index []int) (Batch, error) {
	dst := tensor.New(s.k.storage(), append(tensor.Shape{len(index)}, s.k.shape(s.size)...)...)
	b := Batch{Names: []string{""}, IDs: make([]string, len(index))}
	for k, i := range index {
		if i < 0 || i >= len(s.files) {
			return Batch{}, fmt.Errorf("%s: sample %d of %d", s.from, i, len(s.files))
		}
		b.IDs[k] = s.files[i].name
	}
	b.Labels = pickLabels(s.labels, index)
	err := parallel(ctx, len(index), func(k int) error {
		i := index[k]
		raw, err := s.files[i].read()
		if err != nil {
			return s.named(i, err)
		}
		r, err := picture.Decode(raw)
		if err != nil {
			return s.named(i, err)
		}
		was := Size{r.Height, r.Width}
		if r, err = s.k.geometry(r); err != nil {
			return s.named(i, err)
		}
		if r.Height != s.size.Height || r.Width != s.size.Width {
			return s.named(i, fmt.Errorf("images differ in size: this one is %v, which gives %v, the first gave %v: set a size (height x width) or a crop",
				was, Size{r.Height, r.Width}, s.size))
		}
		s.k.store(dst, k, r)
		return nil
	})
	if err != nil {
		return Batch{}, err
	}
	t, err := s.k.finish(dst)
	if err != nil {
		return Batch{}, err
	}
	b.Inputs = []*tensor.Tensor{t}
	return b, nil
}

func (s *fileSet) Close() error {
	if s.close == nil {
		return nil
	}
	err := s.close()
	s.close = nil
	return err
}

// openFolderImages opens a folder of images.
func openFolderImages(dir string, files []imageFile, o *Options) (Set, error) {
	s, err := newFileSet(dir, files, o, nil)
	if err != nil {
		return nil, err
	}
	return labeledFiles(s, o)
}

// openZip opens an archive of images, or of those below a folder in it.
func openZip(file, under string, o *Options) (Set, error) {
	r, err := zip.OpenReader(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	files, err := zipFiles(&r.Reader, under)
	var s *fileSet
	if err == nil {
		s, err = newFileSet(file, files, o, r.Close)
	} else {
		err = fmt.Errorf("%s: %w", file, err)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return labeledFiles(s, o)
}

// openImageFile makes a set of one image.
func openImageFile(file string, o *Options) (Set, error) {
	one := imageFile{path.Base(filepath.ToSlash(file)), -1, func() ([]byte, error) { return os.ReadFile(file) }}
	s, err := newFileSet(filepath.Dir(file), []imageFile{one}, o, nil)
	if err != nil {
		return nil, err
	}
	return labeledFiles(s, o)
}

// labeledFiles replaces the labels by those of a label file if the options name one.
func labeledFiles(s *fileSet, o *Options) (Set, error) {
	switch o.Labels {
	case "":
		return s, nil
	case NoLabels:
		s.labels, s.classes = nil, nil
		return s, nil
	}
	known := o.Classes
	if known == nil {
		known = s.classes
	}
	labels, classes, err := ReadLabels(o.Labels, s.ids(), known)
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", s.from, err)
	}
	s.labels, s.classes = labels, classes
	return s, nil
}
