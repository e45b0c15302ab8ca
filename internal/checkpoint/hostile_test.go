package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/neurotrain/neuroquant/internal/codec/pickle"
	"github.com/neurotrain/neuroquant/tensor"
)

// hostile is a file that must not do harm: an error that says want, or, where refused is set, plain data with the name refused.
type hostile struct {
	name    string
	data    []byte
	want    string
	refused string
}

// use does with a file what the program may do with it: it looks for weights and modules and reads every tensor.
func use(f *File) error {
	v, err := f.Object()
	if err != nil {
		return err
	}
	if f.Kind == Script {
		if _, err := f.Unpickle("constants.pkl", "constants"); err != nil {
			return err
		}
	}
	if _, err := Modules(v); err != nil {
		return err
	}
	s, err := StateDict(v)
	if err != nil {
		return err
	}
	for _, t := range s.Tensors {
		if _, err := t.Real(); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return nil
}

// payload makes a file if it is ever run by a shell or by Python.
const payload = "CANARY"

// executing are pickles that run code in Python, one for every way that an opcode or a known gadget has, with the name that the
// error must give.
func executing() []hostile {
	str := func(s string) string { return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s }
	sh := str("touch " + payload)
	code := str("open('" + payload + "','w')")
	short := func(s string) string { return "\x8c" + string(rune(len(s))) + s }
	one := func(name, module, global, arg string) hostile {
		return hostile{name: name, data: []byte("\x80\x02c" + module + "\n" + global + "\n" + arg + "\x85R."), want: "names " + module + "." + global}
	}
	return []hostile{
		{name: "REDUCE of protocol 0", data: []byte("cos\nsystem\n(S'touch " + payload + "'\ntR."), want: "names os.system"},
		one("REDUCE", "posix", "system", sh), one("REDUCE on Windows", "nt", "system", sh),
		one("subprocess", "subprocess", "check_output", sh), one("popen", "os", "popen", sh), one("pty", "pty", "spawn", sh),
		one("eval", "builtins", "eval", code), one("exec", "builtins", "exec", code), one("execfile", "builtins", "execfile", sh),
		one("compile", "builtins", "compile", code), one("import", "builtins", "__import__", str("os")), one("open", "builtins", "open", code),
		one("import_module", "importlib", "import_module", str("antigravity")), one("runpy", "runpy", "run_path", sh), one("ctypes", "ctypes", "CDLL", sh),
		one("nested pickle", "pickle", "loads", sh), one("marshal", "marshal", "loads", sh), one("nested dill", "dill", "loads", sh), one("nested joblib", "joblib", "load", sh),
		one("nested torch", "torch", "load", sh), one("nested torch.serialization", "torch.serialization", "load", sh), one("nested numpy", "numpy", "load", sh),
		one("hub", "torch.hub", "load", sh), one("extension", "torch.utils.cpp_extension", "load_inline", sh), one("native library", "torch._ops", "_Ops.load_library", sh),
		one("runstring", "numpy.testing._private.utils", "runstring", code), one("f2py", "numpy.f2py", "compile", code),
		one("timeit", "timeit", "timeit", code), one("profile", "cProfile", "run", code), one("debugger", "pdb", "run", code),
		one("network", "urllib.request", "urlopen", str("http://localhost/")), one("socket", "socket", "create_connection", sh), one("browser", "webbrowser", "open", sh),
		one("delete", "shutil", "rmtree", sh), one("write", "pathlib", "Path.write_text", sh), one("io", "io", "open", sh),
		{name: "Python 2 name", data: []byte("c__builtin__\neval\n(S'1'\ntR."), want: "names builtins.eval"},
		{name: "STACK_GLOBAL", data: []byte("\x80\x04" + short("os") + short("system") + "\x93" + short("touch "+payload) + "\x85R."), want: "names os.system"},
		{name: "name of an import of another module", data: []byte("\x80\x04" + short("torch") + short("os.system") + "\x93" + short("touch "+payload) + "\x85R."), want: "names torch.os.system"},
		{name: "name through a class", data: []byte("\x80\x04" + short("m") + short("C.__init__.__globals__") + "\x93."), want: "names m.C.__init__.__globals__"},
		{name: "INST", data: []byte("(S'touch " + payload + "'\nios\nsystem\n."), want: "names os.system"},
		{name: "OBJ", data: []byte("(cos\nsystem\nS'touch " + payload + "'\no."), want: "names os.system"},
		{name: "NEWOBJ", data: []byte("\x80\x02csubprocess\nPopen\n" + sh + "\x85\x81."), want: "names subprocess.Popen"},
		{name: "NEWOBJ_EX", data: []byte("\x80\x04" + short("subprocess") + short("Popen") + "\x93)}" + short("args") + short("touch "+payload) + "s\x92."), want: "names subprocess.Popen"},
		{name: "BUILD of a method", data: []byte("\x80\x02cm\nC\n)\x81}" + str("__setstate__") + "cos\nsystem\nsb" + sh + "b."), want: "names os.system"},
		{name: "EXT1", data: []byte("\x80\x02\x82\x01)R."), want: "opcode EXT1 at offset 2"},
		{name: "EXT2", data: []byte("\x80\x02\x83\x01\x00)R."), want: "opcode EXT2 at offset 2"},
		{name: "EXT4", data: []byte("\x80\x02\x84\x01\x00\x00\x00)R."), want: "opcode EXT4 at offset 2"},
		{name: "extension registry", data: []byte("ccopyreg\nadd_extension\n(Vos\nVsystem\nI1\ntR0\x82\x01(S'touch " + payload + "'\ntR."), want: "EXT1"},
		{name: "call of a result", data: []byte("cm\nf\n(tR(S'touch " + payload + "'\ntR."), want: "only named classes and functions are"},
		{name: "hidden below the result", data: []byte("cos\nsystem\n(S'touch " + payload + "'\ntR0N."), want: "names os.system"},
		{name: "in a memo", data: []byte("cos\nsystem\np0\n0g0\n(S'touch " + payload + "'\ntR."), want: "names os.system"},
		{name: "factory of a defaultdict", data: []byte("ccollections\ndefaultdict\n(cos\nsystem\ntR."), want: "names os.system"},
		{name: "map", data: []byte("cbuiltins\nmap\n(cos\nsystem\n(S'touch " + payload + "'\nltR."), want: "names"},
		{name: "reconstructor", data: []byte("ccopy_reg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR."), want: "names subprocess.Popen"},
		{name: "tensor rebuilt by a command", data: []byte("\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n" + sh + "\x85Nt" + "R."), want: "os.system"},
		{name: "class that is not known", data: []byte("\x80\x02cevil\nThing\n)\x81}" + str("cmd") + sh + "sb."), want: "evil.Thing", refused: "evil.Thing"},
		{name: "function that is not known", data: []byte("\x80\x02cevil\nrun\n" + sh + "\x85R."), want: "evil.run", refused: "evil.run"},
		{name: "partial", data: []byte("\x80\x02cfunctools\npartial\ncevil\nrun\n\x85R."), want: "functools.partial", refused: "evil.run"},
		{name: "getattr", data: []byte("\x80\x02cbuiltins\ngetattr\ncevil\nrun\n" + code + "\x86R."), want: "builtins.getattr", refused: "builtins.getattr"},
	}
}

// bombs are pickles that take memory or time out of proportion.
func bombs(t testing.TB) []hostile {
	le64 := func(v uint64) string { return string(binary.LittleEndian.AppendUint64(nil, v)) }
	repeat := func(s string, n int) []byte { return []byte(strings.Repeat(s, n)) }
	laughs := []byte("\x80\x02]q\x00")
	for i := range 40 { // each list holds the one before ten times
		laughs = append(laughs, '0', ']', 'q', byte(i+1), '(')
		for range 10 {
			laughs = append(laughs, 'h', byte(i))
		}
		laughs = append(laughs, 'e')
	}
	module := []byte("\x80\x02cm\nNet\n)\x81q\x00}X\x08\x00\x00\x00_modules}X\x01\x00\x00\x00ah\x00ssb.")
	return []hostile{
		{name: "long string", data: []byte("\x80\x04\x8d" + le64(1<<60)), want: "wants 1152921504606846976 bytes"},
		{name: "long bytes", data: []byte("\x80\x04\x8e" + le64(1<<63)), want: "it wants"},
		{name: "long bytearray", data: []byte("\x80\x05\x96" + le64(1<<40)), want: "it wants"},
		{name: "long frame", data: []byte("\x80\x04\x95" + le64(1<<62)), want: "a frame of"},
		{name: "long number", data: append([]byte("\x80\x02\x8b\xff\xff\xff\x7f"), make([]byte, 1<<20)...), want: "a whole number of 2147483647 bytes"},
		{name: "long decimal", data: append(append([]byte("L"), repeat("9", 60000)...), "L\n."...), want: "a whole number of 60000 digits"},
		{name: "long line", data: append([]byte("V"), repeat("a", 1<<17)...), want: "a line of more than"},
		{name: "high memo", data: []byte("\x80\x02Nr\xff\xff\xff\xff."), want: "no dictionary of tensors"},
		{name: "empty lists", data: repeat("]", 4<<20), want: "bytes of memory"},
		{name: "empty dictionaries", data: repeat("}", 4<<20), want: "bytes of memory"},
		{name: "empty sets", data: append([]byte("\x80\x04"), repeat("\x8f", 4<<20)...), want: "bytes of memory"},
		{name: "marks", data: repeat("(", 1<<20), want: "nested in more than"},
		{name: "copies of the stack", data: append([]byte("N"), repeat("2", 8<<20)...), want: "bytes of memory"},
		{name: "memo of one value", data: append([]byte("\x80\x04N"), repeat("\x94", 8<<20)...), want: "bytes of memory"},
		{name: "deep lists", data: append(repeat("]", 50000), append(repeat("a", 49999), '.')...), want: "nested deeper"},
		{name: "deep tuples", data: append(append([]byte("N"), repeat("\x85", 50000)...), '.'), want: "nested deeper"},
		{name: "lists of lists of lists", data: append(laughs, '.'), want: "no dictionary of tensors"},
		{name: "list that holds itself", data: []byte("\x80\x02]q\x00h\x00a."), want: "no dictionary of tensors"},
		{name: "dictionary that holds itself", data: []byte("\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."), want: "no dictionary of tensors"},
		{name: "module that holds itself", data: module, want: "holds itself"},
		{name: "key of many keys", data: encode(t, &pickle.List{Items: []any{longKey(7), called(global("builtins", "dict"), &pickle.List{Items: []any{pickle.Tuple{longKey(12), nil}}})}}), want: "a dictionary key that is a tuple"},
		{name: "doubled text", data: doubled(), want: "no dictionary of tensors"},
	}
}

// longKey is a tuple of tuples of tuples.
func longKey(depth int) pickle.Tuple {
	k := pickle.Tuple{"a"}
	for range depth {
		k = pickle.Tuple{k}
	}
	return k
}

// doubled is a pickle whose values share a long text many times.
func doubled() []byte {
	b := append([]byte("\x80\x02X\x00\x00\x10\x00"), bytes.Repeat([]byte("a"), 1<<20)...)
	b = append(b, "q\x000]("...)
	for range 1 << 16 {
		b = append(b, "h\x00"...)
	}
	return append(b, "e."...)
}

// badTensors are files whose tensors lie outside of what is stored, or take more than there is.
func badTensors(t testing.TB) []hostile {
	four := make([]byte, 16)
	file := func(x any, storages ...[]byte) []byte { return saved(t, encode(t, dict("w", x)), storages...) }
	float := func(offset int, shape, strides pickle.Tuple) []byte {
		return file(tensorOf(storage("FloatStorage", "0", 4), offset, shape, strides), four)
	}
	tup := func(v ...any) pickle.Tuple { return v }
	many := dict()
	for i := range 100 { // each takes 16 MiB out of 4 bytes
		if err := many.Set(fmt.Sprint(i), tensorOf(storage("FloatStorage", "0", 4), 0, tup(1<<22-i), tup(0))); err != nil {
			t.Fatal(err)
		}
	}
	turned := dict()
	big := make([]byte, 1<<20)
	for i := range 200 { // each is a transposed view of the same storage
		if err := turned.Set(fmt.Sprint(i), tensorOf(storage("FloatStorage", "0", 1<<18), 0, tup(512-i, 512), tup(1, 512))); err != nil {
			t.Fatal(err)
		}
	}
	array := called(global("numpy.core.multiarray", "_reconstruct"), global("numpy", "ndarray"), tup(0), pickle.Bytes("b"))
	array.State = tup(1, tup(1<<40), called(global("numpy", "dtype"), "f4", false, true), false, pickle.Bytes("abcd"))
	return []hostile{
		{name: "huge stride", data: float(0, tup(2, 2), tup(1<<61, 1)), want: "reaches beyond any storage"},
		{name: "stride out of the storage", data: float(0, tup(2, 2), tup(4, 1)), want: "reaches element 5 of a storage of 4"},
		{name: "negative stride", data: float(0, tup(2), tup(-1)), want: "a tensor of stride -1"},
		{name: "offset out of the storage", data: float(3, tup(2), tup(1)), want: "reaches element 4"},
		{name: "huge offset", data: float(1<<62, tup(2), tup(1)), want: "reaches"},
		{name: "negative offset", data: float(-1, tup(2), tup(1)), want: "at element -1"},
		{name: "negative size", data: float(0, tup(-2), tup(1)), want: "a tensor of shape [-2]"},
		{name: "size beyond counting", data: float(0, tup(1<<40, 1<<40), tup(0, 0)), want: "a tensor of shape"},
		{name: "repeated element", data: float(0, tup(1<<40), tup(0)), want: "repeats elements of a storage"},
		{name: "many repeated elements", data: saved(t, encode(t, many), four), want: "not supported"},
		{name: "many overlapping views", data: saved(t, encode(t, turned), big), want: "not supported"},
		{name: "more strides than sizes", data: float(0, tup(2), tup(1, 1)), want: "1 dimensions with 2 strides"},
		{name: "too many dimensions", data: float(0, append(make(pickle.Tuple, 0), ones(65)...), append(make(pickle.Tuple, 0), ones(65)...)), want: "arguments"},
		{name: "storage larger than its bytes", data: file(tensorOf(storage("FloatStorage", "0", 5), 0, tup(5), tup(1)), four), want: "5 elements of float32 take 20"},
		{name: "storage of many elements", data: file(tensorOf(storage("DoubleStorage", "0", 1<<60), 0, tup(1), tup(1)), four), want: "of 1152921504606846976 elements"},
		{name: "storage of -1 elements", data: file(tensorOf(storage("FloatStorage", "0", -1), 0, tup(1), tup(1)), four), want: "of -1 elements"},
		{name: "storage of another folder", data: file(tensorOf(storage("FloatStorage", "../version", 0), 0, tup(0), tup(1)), four), want: `a storage named "../version"`},
		{name: "storage that there is not", data: file(tensorOf(storage("FloatStorage", "7", 4), 0, tup(4), tup(1)), four), want: "no member m/data/7"},
		{name: "storage of an unknown class", data: file(tensorOf(storage("EvilStorage", "0", 4), 0, tup(4), tup(1)), four), want: "torch.EvilStorage"},
		{name: "no storage", data: file(tensorOf("storage", 0, tup(4), tup(1)), four), want: "arguments"},
		{name: "id of another form", data: file(pickle.Persistent{ID: "0"}, four), want: "a persistent id"},
		{name: "channels that there are not", data: file(called(global("torch._utils", "_rebuild_qtensor"), storage("QInt8Storage", "0", 4), 0, tup(2, 2), tup(2, 1), tup(global("torch", "per_channel_affine"), nil, nil, 9), false, nil), four), want: "axis 9"},
		{name: "array larger than its bytes", data: file(array), want: "over 4 bytes"},
		{name: "state of a module that is none", data: file(&pickle.Object{Class: global("torch.nn.modules.linear", "Linear"), State: dict("_modules", 5)}), want: "the submodules of torch.nn.modules.linear.Linear are a int"},
	}
}

func ones(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// badContainers are archives and streams that lie about what they hold.
func badContainers(t testing.TB) []hostile {
	good := encode(t, dict("w", tensorOf(storage("FloatStorage", "0", 4), 0, pickle.Tuple{4}, pickle.Tuple{1})))
	four := make([]byte, 16)
	inner := saved(t, good, four)
	legacy := encode(t, dict("w", tensorOf(legacyStorage("FloatStorage", "7", 4, nil), 0, pickle.Tuple{4}, pickle.Tuple{1})))
	with := func(names ...string) []byte {
		members := []member{{name: "m/data.pkl", data: good}, {name: "m/data/0", data: four}}
		for _, n := range names {
			members = append(members, member{name: n, data: four})
		}
		return zipOf(t, members...)
	}
	zeros := make([]byte, 80<<20)
	shared := saved(t, encode(t, pickle.Tuple{"w", 1}), four, four)
	second := bytes.Index(shared, []byte("PK\x01\x02"))
	for range 3 { // the entry of data/1
		second += 4 + bytes.Index(shared[second+4:], []byte("PK\x01\x02"))
	}
	overlap := bytes.Clone(shared)
	binary.LittleEndian.PutUint32(overlap[second+42:], uint32(bytes.Index(shared, []byte("PK\x03\x04"))))
	tarNames := []string{"storages", "tensors", "pickle"}
	return []hostile{
		{name: "zip slip", data: with("m/../../etc/cron.d/x"), want: "a path upwards"},
		{name: "zip slip, absolute", data: with("/etc/passwd"), want: "an absolute path"},
		{name: "zip slip, Windows", data: with(`..\..\x`), want: "a backslash"},
		{name: "zip slip, drive", data: with("C:x"), want: "a drive"},
		{name: "member twice", data: with("m/data.pkl"), want: "occurs twice"},
		{name: "members that overlap", data: overlap, want: "another name"},
		{name: "zip in a zip", data: zipOf(t, member{name: "m/data.pkl", data: inner}), want: "opcode"},
		{name: "zip of a zip only", data: zipOf(t, member{name: "m/inner.pt", data: inner}), want: "without m/data.pkl"},
		{name: "empty zip", data: zipOf(t), want: "not a valid PyTorch file"},
		{name: "deflate bomb in the pickle", data: zipOf(t, member{name: "m/data.pkl", data: zeros, deflate: true}), want: "accepted are"},
		{name: "deflate bomb in a storage", data: zipOf(t, member{name: "m/data.pkl", data: encode(t, dict("w", tensorOf(storage("FloatStorage", "0", len(zeros)/4), 0, pickle.Tuple{len(zeros) / 4}, pickle.Tuple{1})))}, member{name: "m/data/0", data: zeros, deflate: true}), want: "unpack"},
		{name: "byte order of another kind", data: zipOf(t, member{name: "m/data.pkl", data: good}, member{name: "m/byteorder", data: []byte("middle")}), want: `byte order "middle"`},
		{name: "pickle with a tail", data: saved(t, append(bytes.Clone(good), "cos\nsystem\n."...), four), want: "bytes follow the pickle"},
		{name: "command in the constants of TorchScript", data: zipOf(t, member{name: "m/data.pkl", data: good}, member{name: "m/data/0", data: four}, member{name: "m/constants.pkl", data: []byte("cos\nsystem\n(S'touch " + payload + "'\ntR.")}), want: "names os.system"},
		{name: "command in the list of a stream", data: append(append(append(append(bytes.Clone(legacyMagic), encode(t, legacyProtocol)...), encode(t, new(pickle.Dict))...), legacy...), "cos\nsystem\n(S'touch "+payload+"'\ntR."...), want: "names os.system"},
		{name: "stream of another protocol", data: append(bytes.Clone(legacyMagic), encode(t, 7)...), want: "protocol 7"},
		{name: "stream of another count", data: stream(t, legacy, []string{"7"}, counted(5, four)), want: "it has 5 elements, and 4 where it is used"},
		{name: "stream that lists a storage twice", data: stream(t, legacy, []string{"7", "7"}, counted(4, four), counted(4, four)), want: "listed twice"},
		{name: "stream with a foreign storage", data: stream(t, legacy, []string{"8"}, counted(4, four)), want: `storages names "8"`},
		{name: "stream without its storage", data: stream(t, legacy, nil), want: "are missing"},
		{name: "stream with a view out of its storage", data: stream(t, encode(t, dict("w", tensorOf(legacyStorage("FloatStorage", "7", 4, pickle.Tuple{"v", 2, 3}), 0, pickle.Tuple{3}, pickle.Tuple{1}))), []string{"7"}, counted(4, four)), want: "a view of 3 elements at 2"},
		{name: "stream of a huge storage", data: stream(t, encode(t, dict("w", tensorOf(legacyStorage("FloatStorage", "7", 1<<40, nil), 0, pickle.Tuple{1}, pickle.Tuple{1}))), []string{"7"}, counted(1<<40, four)), want: "in a file of"},
		{name: "tar without its members", data: tarOf(tarNames[:1], four), want: "without a member tensors"},
		{name: "tar with a member twice", data: tarOf([]string{"pickle", "pickle"}, four, four), want: "occurs twice"},
		{name: "tar of many storages", data: tarOf(tarNames, encode(t, 1<<40), encode(t, 0), encode(t, 0)), want: "entries in"},
		{name: "tar with a command", data: tarOf(tarNames, append(encode(t, 0), encode(t, &pickle.List{})...), encode(t, 0), []byte("cos\nsystem\n(S'touch "+payload+"'\ntR.")), want: "names os.system"},
		{name: "nothing", data: nil, want: "empty"},
		{name: "a text", data: []byte("import os\n"), want: "it starts with"},
	}
}

// truncated are good files, cut at many places: an error at each.
func truncated(t testing.TB) []hostile {
	data := make([]byte, 64)
	object := encode(t, dict("w", tensorOf(storage("FloatStorage", "0", 16), 0, pickle.Tuple{4, 4}, pickle.Tuple{4, 1})))
	legacy := encode(t, dict("w", tensorOf(legacyStorage("FloatStorage", "7", 16, nil), 0, pickle.Tuple{4, 4}, pickle.Tuple{4, 1})))
	var out []hostile
	for name, whole := range map[string][]byte{"zip": saved(t, object, data), "stream": stream(t, legacy, []string{"7"}, counted(16, data)), "pickle": encode(t, dict("a", dict("b", 1.5)))} {
		step := max(1, len(whole)/40)
		for n := 1; n < len(whole); n += step {
			out = append(out, hostile{name: fmt.Sprintf("%s cut to %d bytes", name, n), data: whole[:n], want: "not a valid PyTorch file"})
		}
	}
	return out
}

// maxGrowth is what reading a file may take beyond its size.
const maxGrowth = 64 << 20

// Hostile files run nothing, take no memory to speak of, and end in an error that says what was found.
func TestHostileFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var all []hostile
	for _, list := range [][]hostile{executing(), bombs(t), badTensors(t), badContainers(t), truncated(t)} {
		all = append(all, list...)
	}
	t.Logf("%d files", len(all))
	for _, h := range all {
		t.Run(h.name, func(t *testing.T) {
			data := h.data
			if len(data) > 0 && data[0] != 0x80 && !strings.HasPrefix(string(data), "PK") && h.want != "it starts with" && !isTar(data) {
				data = append([]byte("\x80\x00"), data...) // a pickle of protocol 0 is read where one of a later protocol is
			}
			path := filepath.Join(dir, "file.pt")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f, err := Open(path)
			var refused []pickle.Use
			if err == nil {
				err = use(f)
				refused = f.Refused()
				if cerr := f.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > uint64(maxGrowth+len(data)) {
				t.Errorf("it took %d MiB for a file of %d bytes", grown>>20, len(data))
			}
			if err == nil || !strings.Contains(err.Error(), h.want) {
				t.Errorf("error %v, want %q", err, h.want)
			} else if len(err.Error()) > 2000 {
				t.Errorf("an error of %d characters", len(err.Error()))
			}
			if h.refused != "" && (len(refused) == 0 || refused[0].Name != h.refused) {
				t.Errorf("refused %v, want %s", refused, h.refused)
			}
			if strings.HasPrefix(h.want, "names ") {
				var unsafe *pickle.UnsafeError
				if !errors.As(err, &unsafe) {
					t.Errorf("error %v is no UnsafeError", err)
				}
			}
		})
	}
	if _, err := os.Stat(payload); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a payload ran: %v", err)
	}
}

// FuzzParse uses anything as the program does, without a panic.
func FuzzParse(f *testing.F) {
	for _, list := range [][]hostile{executing()[:3], badTensors(f)[:4], truncated(f)[:3]} {
		for _, h := range list {
			f.Add(h.data)
		}
	}
	four := make([]byte, 16)
	f.Add(saved(f, encode(f, dict("w", tensorOf(storage("FloatStorage", "0", 4), 0, pickle.Tuple{2, 2}, pickle.Tuple{1, 2}))), four))
	f.Add(stream(f, encode(f, dict("w", tensorOf(legacyStorage("FloatStorage", "7", 4, nil), 0, pickle.Tuple{4}, pickle.Tuple{1}))), []string{"7"}, counted(4, four)))
	f.Add(tarOf([]string{"storages", "tensors", "pickle"}, append(encode(f, 0), encode(f, &pickle.List{})...), encode(f, 0), encode(f, dict())))
	f.Fuzz(func(t *testing.T, data []byte) {
		if !Match(data) {
			return
		}
		file, err := Parse("fuzz", data)
		if err != nil {
			return
		}
		for _, n := range file.Names() {
			if !file.Has(n) {
				t.Fatalf("%q is listed and not there", n)
			}
		}
		_ = use(file)
		file.Refused()
		if m, err := file.Tensor("data/0", tensor.Float32, tensor.Shape{1}, nil, 0); err == nil {
			if _, err := m.Load(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
