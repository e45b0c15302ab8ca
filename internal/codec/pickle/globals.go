package pickle

import (
	"errors"
	"fmt"
	"strings"
)

// python maps the globals of Python itself that are known everywhere; names of Python 2 stand beside those of Python 3.
var python = map[string]Call{
	"collections.OrderedDict": makeDict("OrderedDict", 0),
	"collections.defaultdict": makeDict("defaultdict", 1),
	"collections.Counter":     makeDict("Counter", 0),
	"builtins.dict":           makeDict("", 0),
	"builtins.list":           makeList,
	"builtins.tuple":          makeTuple,
	"builtins.set":            makeSet(false),
	"builtins.frozenset":      makeSet(true),
	"builtins.bytearray":      makeBytes,
	"builtins.bytes":          makeBytes,
	"builtins.complex":        makeComplex,
	"builtins.int":            makeSame[int64](0),
	"builtins.float":          makeSame[float64](0),
	"builtins.bool":           makeSame(false),
	"builtins.str":            makeSame(""),
	"builtins.slice":          makeSlice,
	"builtins.range":          makeSlice,
	"_codecs.encode":          encodeText,
}

// knownNames are globals of Python itself that carry no more than their name where they appear.
var knownNames = map[string]bool{
	"builtins.object": true, "builtins.type": true, "builtins.NoneType": true,
}

// python3 returns the global under the name that Python 3 has for it.
func python3(g Global) Global {
	switch g.Module {
	case "__builtin__":
		g.Module = "builtins"
	case "copy_reg":
		g.Module = "copyreg"
	}
	switch g {
	case Global{"builtins", "unicode"}:
		g.Name = "str"
	case Global{"builtins", "long"}:
		g.Name = "int"
	case Global{"builtins", "xrange"}:
		g.Name = "range"
	}
	return g
}

// unsafeModules are those whose functions run programs, load code, or reach files, the network or the interpreter: no model
// needs any of them. An entry holds for modules below it too.
var unsafeModules = []string{
	"os", "posix", "nt", "posixpath", "ntpath", "sys", "subprocess", "_posixsubprocess", "commands", "popen2", "pty", "platform",
	"shutil", "tempfile", "glob", "fileinput", "linecache", "mmap", "fcntl", "signal", "resource", "atexit", "gc",
	"socket", "_socket", "ssl", "_ssl", "select", "selectors", "asyncio", "http", "httplib", "urllib", "urllib2", "requests", "aiohttp", "httpx", "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser", "antigravity",
	"importlib", "_frozen_importlib", "_frozen_importlib_external", "imp", "_imp", "runpy", "pkgutil", "zipimport", "pip", "setuptools", "distutils", "ensurepip", "venv", "site",
	"code", "codeop", "compileall", "py_compile", "dis", "ast", "inspect", "pdb", "bdb", "trace", "cProfile", "profile", "timeit", "doctest", "test",
	"pickle", "_pickle", "cPickle", "pickletools", "marshal", "shelve", "dill", "_dill", "cloudpickle", "joblib", "jsonpickle", "yaml",
	"ctypes", "_ctypes", "cffi", "_cffi_backend", "types", "operator", "_operator", "new", "weakref", "_thread", "threading", "multiprocessing", "concurrent", "sched", "logging.config",
	"numpy.testing", "numpy.f2py", "numpy.distutils", "torch.hub", "torch.ops", "torch._ops", "torch.classes", "torch._classes", "torch._inductor", "torch.utils.cpp_extension", "torch.utils.model_zoo", "torch.package", "torch.testing",
	"idlelib", "lib2to3", "turtledemo", "this", "paramiko", "fabric", "docker", "builtins.eval",
}

// unsafeNames are such functions of modules that hold harmless things too.
var unsafeNames = map[string]bool{
	"builtins.eval": true, "builtins.exec": true, "builtins.execfile": true, "builtins.compile": true, "builtins.__import__": true,
	"builtins.open": true, "builtins.file": true, "builtins.input": true, "builtins.raw_input": true, "builtins.apply": true,
	"builtins.globals": true, "builtins.locals": true, "builtins.vars": true, "builtins.setattr": true, "builtins.delattr": true,
	"builtins.map": true, "builtins.filter": true, "builtins.reload": true, "builtins.breakpoint": true, "builtins.memoryview": true,
	"builtins.exit": true, "builtins.quit": true, "builtins.help": true, "builtins.__build_class__": true, "builtins.__dict__": true,
	"functools.reduce": true, "copyreg.add_extension": true, "copyreg.constructor": true, "copyreg.pickle": true,
	"torch.load": true, "torch.save": true, "torch.serialization.load": true, "torch.jit.load": true, "torch.compile": true, "torch.ops": true, "torch.classes": true,
	"torch.jit.script": true, "torch.jit._script.script": true, "torch._dynamo.guards.GuardBuilder.get": true, "torch.from_file": true,
	"numpy.load": true, "numpy.save": true, "numpy.fromfile": true, "numpy.memmap": true, "numpy.loadtxt": true, "numpy.genfromtxt": true, "numpy.fromregex": true, "pandas.read_pickle": true, "pandas.eval": true,
	"io.open": true, "_io.open": true, "io.FileIO": true, "_io.FileIO": true, "_io.open_code": true, "io.open_code": true, "codecs.open": true, "bz2.open": true, "gzip.open": true, "lzma.open": true,
	"timeit.timeit": true, "string.Formatter": true, "logging.FileHandler": true, "decimal.Context": false,
	"pathlib.Path.unlink": true, "pathlib.Path.write_text": true, "pathlib.Path.write_bytes": true,
}

// isUnsafe reports whether a global serves to run code or to reach outside of the file. A dotted name, as protocol 4 has for
// what is nested in a class, is judged by its parts too: "a.os.system" names what module a imported.
func isUnsafe(g Global) bool {
	if unsafeNames[g.String()] {
		return true
	}
	for _, m := range unsafeModules {
		if g.Module == m || strings.HasPrefix(g.Module, m+".") {
			return true
		}
	}
	for part := range strings.SplitSeq(g.Name, ".") {
		if part != g.Name && (strings.HasPrefix(part, "__") || unsafeNames["builtins."+part] || part == "os" || part == "sys" || part == "subprocess") {
			return true
		}
	}
	return false
}

var errArgs = errors.New("wrong arguments")

// makeDict returns what makes dictionaries of a class of module collections, which takes extra arguments before the entries.
func makeDict(class string, extra int) Call {
	var g Global
	if class != "" {
		g = Global{"collections", class}
	}
	return func(args []any) (any, error) {
		d := &Dict{Class: g}
		n := min(extra, len(args))
		d.Args = args[:n:n]
		switch rest := args[n:]; {
		case len(rest) == 0:
			return d, nil
		case len(rest) > 1:
			return nil, errArgs
		default:
			return d, fillDict(d, rest[0])
		}
	}
}

func fillDict(d *Dict, from any) error {
	switch from := from.(type) {
	case *Dict:
		for i, k := range from.Keys {
			if err := d.Set(k, from.Values[i]); err != nil {
				return err
			}
		}
		return nil
	case *List:
		return fillPairs(d, from.Items)
	case Tuple:
		return fillPairs(d, from)
	}
	return errArgs
}

func fillPairs(d *Dict, pairs []any) error {
	for _, p := range pairs {
		kv, ok := p.(Tuple)
		if l, isList := p.(*List); isList {
			kv, ok = l.Items, true
		}
		if !ok || len(kv) != 2 {
			return errArgs
		}
		if err := d.Set(kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

// items returns the elements of a sequence or set.
func items(v any) ([]any, bool) {
	switch v := v.(type) {
	case Tuple:
		return v, true
	case *List:
		return v.Items, true
	case *Set:
		return v.Items, true
	}
	return nil, false
}

// oneSequence returns the elements of the only argument, or none.
func oneSequence(args []any) ([]any, error) {
	switch len(args) {
	case 0:
		return nil, nil
	case 1:
		if s, ok := items(args[0]); ok {
			return append([]any(nil), s...), nil
		}
	}
	return nil, errArgs
}

func makeList(args []any) (any, error) {
	s, err := oneSequence(args)
	return &List{s}, err
}

func makeTuple(args []any) (any, error) {
	s, err := oneSequence(args)
	return Tuple(s), err
}

func makeSet(frozen bool) Call {
	return func(args []any) (any, error) {
		s, err := oneSequence(args)
		return &Set{s, frozen}, err
	}
}

func makeBytes(args []any) (any, error) {
	switch len(args) {
	case 0:
		return Bytes{}, nil
	case 1:
		if b, ok := args[0].(Bytes); ok {
			return b, nil
		}
	case 2:
		return encodeText(args)
	}
	return nil, errArgs
}

func makeComplex(args []any) (any, error) {
	if len(args) != 2 {
		return nil, errArgs
	}
	re, ok1 := args[0].(float64)
	im, ok2 := args[1].(float64)
	if !ok1 || !ok2 {
		return nil, errArgs
	}
	return complex(re, im), nil
}

// makeSame returns a conversion that is the identity: no other occurs in data.
func makeSame[T any](zero T) Call {
	return func(args []any) (any, error) {
		if len(args) == 0 {
			return zero, nil
		}
		if v, ok := args[0].(T); ok && len(args) == 1 {
			return v, nil
		}
		return nil, errArgs
	}
}

// makeSlice keeps a slice or range as the tuple of its arguments.
func makeSlice(args []any) (any, error) { return Tuple(args), nil }

// encodeText turns the text that protocol 2 has for bytes back.
func encodeText(args []any) (any, error) {
	if len(args) == 0 || len(args) > 2 {
		return nil, errArgs
	}
	s, ok := args[0].(string)
	if !ok {
		return nil, errArgs
	}
	enc := "utf-8"
	if len(args) == 2 {
		if enc, ok = args[1].(string); !ok {
			return nil, errArgs
		}
	}
	switch strings.ToLower(strings.ReplaceAll(enc, "_", "-")) {
	case "latin1", "latin-1", "iso-8859-1", "iso8859-1":
		b := make(Bytes, 0, len(s))
		for _, r := range s {
			if r > 0xff {
				return nil, fmt.Errorf("character %q is not one of latin1", r)
			}
			b = append(b, byte(r))
		}
		return b, nil
	case "utf-8", "utf8", "ascii":
		return Bytes(s), nil
	}
	return nil, fmt.Errorf("unknown encoding %q", enc)
}

// Items returns the elements of a list, tuple or set, or false for anything else.
func Items(v any) ([]any, bool) { return items(v) }
