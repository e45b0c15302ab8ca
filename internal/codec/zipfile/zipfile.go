// Package zipfile reads zip archives that are in memory, such as a mapped file, without trusting them.
//
// The directory is checked as a whole when an archive is opened: names stay below the archive's root and occur once, every
// member lies inside the file, and no two share bytes, which is what bombs of overlapping members are made of. Members that
// are stored without compression are slices of the archive.
package zipfile

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
)

// Member is a file of an archive.
type Member struct {
	Name   string
	Stored bool   // without compression
	Offset int    // of the data in the archive
	Packed int    // bytes of the data in the archive
	Size   int    // bytes of the contents
	CRC    uint32 // of the contents; 0 where the writer did not compute it
}

// Archive is the checked directory of an archive.
type Archive struct {
	Members []Member // in the order of the directory
	data    []byte
	end     int // of what members may lie in: the directory begins there
	index   map[string]int
}

// ErrNotZip is in the chain of the error for what is no zip archive.
var ErrNotZip = errors.New("not a zip archive")

const (
	endLen     = 22 // end of central directory, without its comment
	end64Len   = 56
	locatorLen = 20
	centralLen = 46
	localLen   = 30
	maxName    = 4096
)

// Methods of compression.
const (
	methodStored  = 0
	methodDeflate = 8
)

var le = binary.LittleEndian

// Parse reads the directory of the archive that data is.
func Parse(data []byte) (*Archive, error) {
	dir, start, count, err := directory(data)
	if err != nil {
		return nil, err
	}
	a := &Archive{data: data, end: start, index: make(map[string]int, count)}
	for i := range count {
		m, n, err := a.central(dir)
		if err != nil {
			return nil, fmt.Errorf("member %d: %w", i, err)
		}
		dir = dir[n:]
		if strings.HasSuffix(m.Name, "/") && m.Size == 0 {
			continue // a folder
		}
		if _, twice := a.index[m.Name]; twice {
			return nil, fmt.Errorf("member %q occurs twice", m.Name)
		}
		a.index[m.Name] = len(a.Members)
		a.Members = append(a.Members, m)
	}
	return a, a.checkOverlap()
}

// directory finds the central directory, where it begins, and the number of its entries.
func directory(data []byte) (dir []byte, start, count int, err error) {
	at := -1
	for i := len(data) - endLen; i >= 0 && i >= len(data)-endLen-1<<16; i-- {
		if le.Uint32(data[i:]) == 0x06054b50 && i+endLen+int(le.Uint16(data[i+20:])) == len(data) {
			at = i
			break
		}
	}
	if at < 0 {
		return nil, 0, 0, fmt.Errorf("%w, or cut short: its directory, which ends the file, is missing", ErrNotZip)
	}
	end := data[at:]
	disk, first, here, all := le.Uint16(end[4:]), le.Uint16(end[6:]), uint64(le.Uint16(end[8:])), uint64(le.Uint16(end[10:]))
	size, offset := uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	limit := uint64(at)
	if l := at - locatorLen; l >= 0 && le.Uint32(data[l:]) == 0x07064b50 {
		pos := le.Uint64(data[l+8:])
		if pos > uint64(l) || uint64(l)-pos < end64Len || le.Uint32(data[pos:]) != 0x06064b50 {
			return nil, 0, 0, fmt.Errorf("the zip64 directory is said to end at %d, where there is none", pos)
		}
		e := data[pos:]
		if le.Uint32(e[16:]) != 0 || le.Uint32(e[20:]) != 0 {
			return nil, 0, 0, errors.New("the archive is split over several files")
		}
		here, all, size, offset = le.Uint64(e[24:]), le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:])
		limit = pos
	} else if disk != 0 || first != 0 {
		return nil, 0, 0, errors.New("the archive is split over several files")
	}
	if here != all {
		return nil, 0, 0, fmt.Errorf("the directory has %d members in one place and %d in another", here, all)
	}
	if offset > limit || size > limit-offset {
		return nil, 0, 0, fmt.Errorf("the directory of %d bytes at %d reaches beyond %d", size, offset, limit)
	}
	if all > size/centralLen {
		return nil, 0, 0, fmt.Errorf("the directory of %d bytes cannot hold %d members", size, all)
	}
	return data[offset : offset+size], int(offset), int(all), nil
}

// central reads one entry of the central directory and returns its length.
func (a *Archive) central(dir []byte) (Member, int, error) {
	if len(dir) < centralLen || le.Uint32(dir) != 0x02014b50 {
		return Member{}, 0, errors.New("its entry in the directory is cut short or something else")
	}
	flags, method := le.Uint16(dir[8:]), le.Uint16(dir[10:])
	packed, size, local := uint64(le.Uint32(dir[20:])), uint64(le.Uint32(dir[24:])), uint64(le.Uint32(dir[42:]))
	nameLen, extraLen, commentLen := int(le.Uint16(dir[28:])), int(le.Uint16(dir[30:])), int(le.Uint16(dir[32:]))
	n := centralLen + nameLen + extraLen + commentLen
	if n > len(dir) {
		return Member{}, 0, errors.New("its entry in the directory is cut short")
	}
	name := string(dir[centralLen : centralLen+nameLen])
	if err := checkName(name); err != nil {
		return Member{}, 0, err
	}
	fail := func(format string, args ...any) (Member, int, error) {
		return Member{}, 0, fmt.Errorf("%q: %w", name, fmt.Errorf(format, args...))
	}
	if err := wide(dir[centralLen+nameLen:centralLen+nameLen+extraLen], &size, &packed, &local); err != nil {
		return fail("%w", err)
	}
	if flags&1 != 0 {
		return fail("it is encrypted")
	}
	if method != methodStored && method != methodDeflate {
		return fail("it is compressed by method %d; read are 0 (stored) and 8 (deflate)", method)
	}
	if method == methodStored && size != packed {
		return fail("it is stored in %d bytes and said to have %d", packed, size)
	}
	offset, err := a.local(name, local)
	if err != nil {
		return fail("%w", err)
	}
	if offset > uint64(a.end) || packed > uint64(a.end)-offset {
		return fail("its %d bytes at %d reach beyond the end of the members at %d", packed, offset, a.end)
	}
	// Deflate shrinks to a thousandth at best.
	if size > 1100*packed+64 {
		return fail("it is said to unpack %d bytes to %d, which cannot be", packed, size)
	}
	return Member{Name: name, Stored: method == methodStored, Offset: int(offset), Packed: int(packed), Size: int(size), CRC: le.Uint32(dir[16:])}, n, nil
}

// wide reads the sizes that do not fit 32 bits from the extra field.
func wide(extra []byte, fields ...*uint64) error {
	var missing bool
	for _, f := range fields {
		missing = missing || *f == 0xffffffff
	}
	if !missing {
		return nil
	}
	for len(extra) >= 4 {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if n > len(extra)-4 {
			break
		}
		body := extra[4 : 4+n]
		extra = extra[4+n:]
		if id != 1 {
			continue
		}
		for _, f := range fields {
			if *f != 0xffffffff {
				continue
			}
			if len(body) < 8 {
				return errors.New("its zip64 field is too short")
			}
			*f, body = le.Uint64(body), body[8:]
		}
		return nil
	}
	return nil // a size that is just the largest of 32 bits
}

// local returns where the data begins after the local header, whose name and extra field have lengths of their own.
func (a *Archive) local(name string, at uint64) (uint64, error) {
	if at > uint64(len(a.data)) || uint64(len(a.data))-at < localLen || le.Uint32(a.data[at:]) != 0x04034b50 {
		return 0, fmt.Errorf("its header is said to be at %d, where there is none", at)
	}
	h := a.data[at:]
	nameLen, extraLen := int(le.Uint16(h[26:])), int(le.Uint16(h[28:]))
	if localLen+nameLen+extraLen > len(h) {
		return 0, fmt.Errorf("its header at %d reaches beyond the end of the file", at)
	}
	if got := string(h[localLen : localLen+nameLen]); got != name {
		return 0, fmt.Errorf("its header at %d has another name, %.80q", at, got)
	}
	return at + uint64(localLen+nameLen+extraLen), nil
}

// checkName refuses names that would leave the folder that an archive is unpacked to, or hide something.
func checkName(name string) error {
	bad := ""
	switch {
	case name == "" || len(name) > maxName:
		return fmt.Errorf("a name of %d characters", len(name))
	case strings.HasPrefix(name, "/"):
		bad = "an absolute path"
	case strings.ContainsAny(name, "\\\x00"):
		bad = "a backslash or a zero byte"
	case len(name) > 1 && name[1] == ':':
		bad = "a drive"
	case slices.Contains(strings.Split(name, "/"), ".."):
		bad = "a path upwards"
	default:
		return nil
	}
	return fmt.Errorf("the name %.80q holds %s", name, bad)
}

// checkOverlap refuses members that share bytes.
func (a *Archive) checkOverlap() error {
	order := make([]int, len(a.Members))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return a.Members[i].Offset - a.Members[j].Offset })
	for k := 1; k < len(order); k++ {
		p, q := &a.Members[order[k-1]], &a.Members[order[k]]
		if p.Offset+p.Packed > q.Offset-localLen-len(q.Name) {
			return fmt.Errorf("members %q and %q overlap", p.Name, q.Name)
		}
	}
	return nil
}

// Find returns the member of a name.
func (a *Archive) Find(name string) (Member, bool) {
	i, ok := a.index[name]
	if !ok {
		return Member{}, false
	}
	return a.Members[i], true
}

// Slice returns the contents of a stored member in place, unchecked.
func (a *Archive) Slice(m Member) ([]byte, error) {
	if !m.Stored {
		return nil, fmt.Errorf("member %q is compressed; it must be stored", m.Name)
	}
	return a.data[m.Offset : m.Offset+m.Size : m.Offset+m.Size], nil
}

// Read returns the contents of a member of at most limit bytes, in place if it is stored, and checks their sum.
func (a *Archive) Read(m Member, limit int) ([]byte, error) {
	if m.Size > limit {
		return nil, fmt.Errorf("member %q has %d bytes; accepted are %d", m.Name, m.Size, limit)
	}
	b := a.data[m.Offset : m.Offset+m.Packed : m.Offset+m.Packed]
	if !m.Stored {
		r := flate.NewReader(bytes.NewReader(b))
		out := make([]byte, m.Size) // within the limit, and within what the packed bytes can become
		_, err := io.ReadFull(r, out)
		if err == nil {
			var more [1]byte
			if n, end := io.ReadFull(r, more[:]); n > 0 {
				err = io.ErrUnexpectedEOF
			} else if !errors.Is(end, io.EOF) {
				err = end
			}
		}
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("member %q unpacks to another size than the %d bytes announced", m.Name, m.Size)
		}
		if err != nil {
			return nil, fmt.Errorf("member %q: unpack: %w", m.Name, err)
		}
		b = out
	}
	if m.CRC != 0 && crc32.ChecksumIEEE(b) != m.CRC {
		return nil, fmt.Errorf("member %q is damaged: its checksum is wrong", m.Name)
	}
	return b, nil
}
