package zipfile

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
)

// member is what an archive for a test is made of.
type member struct {
	name, text string
	deflate    bool
	extra      []byte
}

// archive writes a zip file with Go's own writer.
func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		h := &zip.FileHeader{Name: m.name, Method: zip.Store, Extra: m.extra}
		var f io.Writer
		var err error
		if m.deflate {
			h.Method = zip.Deflate
			f, err = w.CreateHeader(h)
		} else {
			h.CRC32, h.CompressedSize64, h.UncompressedSize64 = crc32.ChecksumIEEE([]byte(m.text)), uint64(len(m.text)), uint64(len(m.text))
			f, err = w.CreateRaw(h)
		}
		if err == nil {
			_, err = io.WriteString(f, m.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadsStoredAndDeflatedMembers(t *testing.T) {
	long := strings.Repeat("weights ", 1000)
	b := archive(t, member{name: "m/", text: ""}, member{name: "m/a", text: "hello"}, member{name: "m/b", text: long, deflate: true}, member{name: "m/c", text: "x", extra: []byte("FB\x02\x00ZZ")})
	a, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Members) != 3 {
		t.Fatalf("members %v", a.Members)
	}
	for name, want := range map[string]string{"m/a": "hello", "m/b": long, "m/c": "x"} {
		m, ok := a.Find(name)
		if !ok || m.Size != len(want) {
			t.Fatalf("%s: %v, %v", name, m, ok)
		}
		got, err := a.Read(m, len(want))
		if err != nil || string(got) != want {
			t.Errorf("%s: %.20q, %v", name, got, err)
		}
		if _, err := a.Read(m, len(want)-1); err == nil || !strings.Contains(err.Error(), "accepted are") {
			t.Errorf("%s: over the limit: %v", name, err)
		}
		slice, err := a.Slice(m)
		if m.Stored != (err == nil) || m.Stored && &slice[0] != &b[m.Offset] {
			t.Errorf("%s: slice %.20q, %v", name, slice, err)
		}
	}
	if _, ok := a.Find("m/none"); ok {
		t.Error("a member that there is not is found")
	}
}

// patch changes a copy of b.
func patch(b []byte, f func(b []byte)) []byte {
	c := bytes.Clone(b)
	f(c)
	return c
}

// Places in the archive of a test with one member "m/a".
func parts(b []byte) (local, central, end int) {
	return 0, bytes.Index(b, []byte("PK\x01\x02")), bytes.LastIndex(b, []byte("PK\x05\x06"))
}

func TestBrokenArchivesAreErrors(t *testing.T) {
	good := archive(t, member{name: "m/a", text: "hello"})
	local, central, end := parts(good)
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	put16 := func(at int, v uint16) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
	}
	name := func(n string) []byte { return archive(t, member{name: n, text: "hello"}) }
	for want, b := range map[string][]byte{
		"not a zip archive, or cut short":       good[:len(good)-1],
		"a path upwards":                        name("m/../../a"),
		"an absolute path":                      name("/etc/passwd"),
		"a backslash or a zero byte":            name("m\\a"),
		"a drive":                               name("C:a"),
		"a name of 0 characters":                name(""),
		"occurs twice":                          archive(t, member{name: "m/a", text: "hello"}, member{name: "m/a", text: "hello"}),
		"split over several files":              patch(good, put16(end+4, 1)),
		"in one place and 7 in another":         patch(good, put16(end+10, 7)),
		"reaches beyond":                        patch(good, put32(end+12, 1<<20)),
		"cannot hold 9 members":                 patch(good, func(b []byte) { put16(end+8, 9)(b); put16(end+10, 9)(b) }),
		"cut short or something else":           patch(good, put32(central, 0)),
		"it is encrypted":                       patch(good, put16(central+8, 1)),
		"compressed by method 12":               patch(good, put16(central+10, 12)),
		"stored in 5 bytes and said to have 6":  patch(good, put32(central+24, 6)),
		"has another name":                      patch(good, func(b []byte) { b[local+localLen] = 'x' }),
		"where there is none":                   patch(good, put32(central+42, 3)),
		"reach beyond the end of the members":   patch(good, func(b []byte) { put32(central+20, 1<<30)(b); put32(central+24, 1<<30)(b) }),
		"which cannot be":                       patch(archive(t, member{name: "m/a", text: "hello", deflate: true}), func(b []byte) { _, c, _ := parts(b); put32(c+24, 1<<30)(b) }),
		"zip64 field is too short":              patch(archive(t, member{name: "m/a", text: "hello", extra: []byte{1, 0, 2, 0, 0, 0}}), func(b []byte) { _, c, _ := parts(b); put32(c+24, 1<<32-1)(b) }),
		"zip64 directory is said to end at 255": append(append(bytes.Clone(good[:end]), "PK\x06\x07\x00\x00\x00\x00\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"...), good[end:]...),
	} {
		_, err := Parse(b)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if _, err := Parse([]byte("text")); !errors.Is(err, ErrNotZip) {
		t.Errorf("a text: %v", err)
	}
	for want, b := range map[string][]byte{
		"its checksum is wrong": patch(good, put32(central+16, 1)),
		"unpacks to another size": patch(archive(t, member{name: "m/a", text: "hello", deflate: true}), func(b []byte) {
			_, c, _ := parts(b)
			put32(c+24, 3)(b)
		}),
		"unpack: ": patch(archive(t, member{name: "m/a", text: "hello", deflate: true}), func(b []byte) { b[localLen+3] = 0xff }),
	} {
		a, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if _, err := a.Read(a.Members[0], 100); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// An archive whose directory names the same bytes several times, as bombs do, is refused.
func TestMembersDoNotShareBytes(t *testing.T) {
	b := archive(t, member{name: "a", text: strings.Repeat("x", 100)}, member{name: "b", text: "y"})
	inner := bytes.Index(b, []byte("PK\x01\x02"))
	second := inner + 1 + bytes.Index(b[inner+1:], []byte("PK\x01\x02"))
	b[second+centralLen] = 'a' // both entries name the first member
	b[second+centralLen] = 'b'
	binary.LittleEndian.PutUint32(b[inner+20:], 120)
	binary.LittleEndian.PutUint32(b[inner+24:], 120)
	if _, err := Parse(b); err == nil || !strings.Contains(err.Error(), `members "a" and "b" overlap`) {
		t.Errorf("error %v", err)
	}
}

// FuzzParse reads anything without panicking, and every member that it gives lies in the archive.
func FuzzParse(f *testing.F) {
	f.Add(archive(f, member{name: "m/a", text: "hello"}, member{name: "m/b", text: strings.Repeat("b", 500), deflate: true}))
	f.Add(archive(f, member{name: "m/c", text: "x", extra: []byte("FB\x02\x00ZZ")}, member{name: "m/d", extra: []byte{1, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0}}))
	f.Add(archive(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err != nil {
			return
		}
		last := 0
		for _, m := range a.Members {
			if found, ok := a.Find(m.Name); !ok || found != m {
				t.Fatalf("%v is not found", m)
			}
			last += m.Packed
			if b, err := a.Slice(m); err == nil && len(b) != m.Size {
				t.Fatalf("%v: %d bytes", m, len(b))
			}
			if b, err := a.Read(m, 1<<20); err == nil && len(b) != m.Size {
				t.Fatalf("%v: %d bytes read", m, len(b))
			}
		}
		if last > len(data) {
			t.Fatalf("members of %d bytes in %d", last, len(data))
		}
	})
}
