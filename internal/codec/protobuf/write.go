package protobuf

import (
	"bufio"
	"fmt"
	"io"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxSize is the largest message that protocol buffer readers accept.
const MaxSize = math.MaxInt32

// Sink is where [Tensor.Stream] writes to.
type Sink = io.Writer

// Size returns the length of the encoded message, streamed tensors included.
func (m *Model) Size() int64 { return size(m.put) }

// WriteTo encodes the message. Sizes are computed first, so that nothing but the small fields is ever held in memory.
func (m *Model) WriteTo(w io.Writer) (int64, error) { return writeTo(w, m.put) }

// Size returns the length of the encoded message.
func (m *Tensor) Size() int64 { return size(m.put) }

// Marshal returns the encoded message.
func (m *Model) Marshal() ([]byte, error) { return marshal(m.put) }

// Marshal returns the encoded message.
func (m *Tensor) Marshal() ([]byte, error) { return marshal(m.put) }

// Marshal returns the encoded message.
func (m *Sequence) Marshal() ([]byte, error) { return marshal(m.put) }

// Marshal returns the encoded message.
func (m *Optional) Marshal() ([]byte, error) { return marshal(m.put) }

func size(put func(*encoder)) int64 {
	e := &encoder{}
	put(e)
	return e.n
}

func marshal(put func(*encoder)) ([]byte, error) {
	var b sliceWriter
	_, err := writeTo(&b, put)
	return b, err
}

type sliceWriter []byte

func (s *sliceWriter) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

func writeTo(w io.Writer, put func(*encoder)) (int64, error) {
	measure := &encoder{}
	put(measure)
	bw := bufio.NewWriterSize(w, 1<<16)
	e := &encoder{w: bw, sizes: measure.sizes}
	put(e)
	if e.err != nil {
		return e.n, e.err
	}
	return e.n, bw.Flush()
}

// encoder walks a message twice: without a writer it adds up sizes and notes those of embedded messages in the order of the
// walk; with one it writes, taking the noted sizes in the same order.
type encoder struct {
	w     *bufio.Writer
	n     int64
	sizes []int64
	buf   []byte
	err   error
}

func (e *encoder) raw(b []byte) {
	if e.w != nil && e.err == nil {
		_, e.err = e.w.Write(b)
	}
	e.n += int64(len(b))
}

func (e *encoder) tag(num protowire.Number, t protowire.Type, v uint64) {
	e.buf = protowire.AppendTag(e.buf[:0], num, t)
	switch t {
	case protowire.Fixed32Type:
		e.buf = protowire.AppendFixed32(e.buf, uint32(v))
	case protowire.Fixed64Type:
		e.buf = protowire.AppendFixed64(e.buf, v)
	default:
		e.buf = protowire.AppendVarint(e.buf, v)
	}
	e.raw(e.buf)
}

// int writes an integer, even a zero one.
func (e *encoder) int(num protowire.Number, v int64) { e.tag(num, protowire.VarintType, uint64(v)) }

// nonzero writes an integer unless it is zero.
func (e *encoder) nonzero(num protowire.Number, v int64) {
	if v != 0 {
		e.int(num, v)
	}
}

// bytes writes a length-delimited value, even an empty one.
func (e *encoder) bytes(num protowire.Number, b []byte) {
	e.tag(num, protowire.BytesType, uint64(len(b)))
	e.raw(b)
}

func (e *encoder) str(num protowire.Number, s string) {
	if s != "" {
		e.bytes(num, []byte(s))
	}
}

func (e *encoder) strs(num protowire.Number, list []string) {
	for _, s := range list {
		e.bytes(num, []byte(s))
	}
}

func (e *encoder) packed(num protowire.Number, b []byte) {
	if len(b) > 0 {
		e.bytes(num, b)
	}
}

func (e *encoder) msg(num protowire.Number, put func(*encoder)) {
	if e.w != nil {
		n := e.sizes[0]
		e.sizes = e.sizes[1:]
		e.tag(num, protowire.BytesType, uint64(n))
		before := e.n
		put(e)
		if e.err == nil && e.n-before != n {
			e.err = fmt.Errorf("a message changed its size while it was written: %d, then %d", n, e.n-before)
		}
		return
	}
	i := len(e.sizes)
	e.sizes = append(e.sizes, 0)
	before := e.n
	put(e)
	e.sizes[i] = e.n - before
	e.tag(num, protowire.BytesType, uint64(e.sizes[i]))
}

func putAll[M interface{ put(*encoder) }](e *encoder, num protowire.Number, list []M) {
	for _, m := range list {
		e.msg(num, m.put)
	}
}

func putEntries(e *encoder, num protowire.Number, list []StringEntry) {
	for i := range list {
		e.msg(num, list[i].put)
	}
}

func putOpsets(e *encoder, num protowire.Number, list []OperatorSetID) {
	for i := range list {
		e.msg(num, list[i].put)
	}
}

func (m *Model) put(e *encoder) {
	e.nonzero(1, m.IRVersion)
	e.str(2, m.ProducerName)
	e.str(3, m.ProducerVersion)
	e.str(4, m.Domain)
	e.nonzero(5, m.ModelVersion)
	e.str(6, m.DocString)
	putOpsets(e, 8, m.OpsetImport)
	if m.Graph != nil {
		e.msg(7, m.Graph.put)
	}
	putEntries(e, 14, m.MetadataProps)
	putAll(e, 25, m.Functions)
	e.raw(m.Unknown)
}

func (m *OperatorSetID) put(e *encoder) {
	e.bytes(1, []byte(m.Domain))
	e.int(2, m.Version)
	e.raw(m.Unknown)
}

func (m *StringEntry) put(e *encoder) {
	e.str(1, m.Key)
	e.str(2, m.Value)
	e.raw(m.Unknown)
}

func (m *Graph) put(e *encoder) {
	putAll(e, 1, m.Nodes)
	e.str(2, m.Name)
	putAll(e, 5, m.Initializers)
	e.str(10, m.DocString)
	putAll(e, 11, m.Inputs)
	putAll(e, 12, m.Outputs)
	putAll(e, 13, m.ValueInfo)
	putAll(e, 15, m.SparseInitializer)
	putEntries(e, 16, m.MetadataProps)
	e.raw(m.Unknown)
}

func (m *Node) put(e *encoder) {
	e.strs(1, m.Inputs)
	e.strs(2, m.Outputs)
	e.str(3, m.Name)
	e.str(4, m.OpType)
	putAll(e, 5, m.Attributes)
	e.str(6, m.DocString)
	e.str(7, m.Domain)
	e.str(8, m.Overload)
	putEntries(e, 9, m.MetadataProps)
	e.raw(m.Unknown)
}

func (m *Attribute) put(e *encoder) {
	e.str(1, m.Name)
	// A scalar is written even when it is zero if Type says that it is the value: checkers ask whether the field is there.
	if m.F != 0 || math.Signbit(float64(m.F)) || m.F != m.F || m.Type == AttrFloat && m.RefAttrName == "" {
		e.tag(2, protowire.Fixed32Type, uint64(math.Float32bits(m.F)))
	}
	if m.I != 0 || m.Type == AttrInt && m.RefAttrName == "" {
		e.int(3, m.I)
	}
	if len(m.S) > 0 || m.Type == AttrString && m.RefAttrName == "" {
		e.bytes(4, m.S)
	}
	if m.T != nil {
		e.msg(5, m.T.put)
	}
	if m.G != nil {
		e.msg(6, m.G.put)
	}
	for _, f := range m.Floats {
		e.tag(7, protowire.Fixed32Type, uint64(math.Float32bits(f)))
	}
	for _, i := range m.Ints {
		e.int(8, i)
	}
	for _, s := range m.Strings {
		e.bytes(9, s)
	}
	putAll(e, 10, m.Tensors)
	putAll(e, 11, m.Graphs)
	e.str(13, m.DocString)
	if m.TypeProto != nil {
		e.msg(14, m.TypeProto.put)
	}
	putAll(e, 15, m.TypeProtos)
	e.nonzero(20, int64(m.Type))
	e.str(21, m.RefAttrName)
	if m.SparseTensor != nil {
		e.msg(22, m.SparseTensor.put)
	}
	putAll(e, 23, m.SparseTensors)
	e.raw(m.Unknown)
}

func (m *ValueInfo) put(e *encoder) {
	e.str(1, m.Name)
	if m.Type != nil {
		e.msg(2, m.Type.put)
	}
	e.str(3, m.DocString)
	putEntries(e, 4, m.MetadataProps)
	e.raw(m.Unknown)
}

func (m *Type) put(e *encoder) {
	switch {
	case m.Tensor != nil:
		e.msg(1, m.Tensor.put)
	case m.Sequence != nil:
		e.msg(4, m.Sequence.put)
	case m.Map != nil:
		e.msg(5, m.Map.put)
	case m.SparseTensor != nil:
		e.msg(8, m.SparseTensor.put)
	case m.Optional != nil:
		e.msg(9, m.Optional.put)
	}
	e.str(6, m.Denotation)
	e.raw(m.Unknown)
}

func (m *TensorType) put(e *encoder) {
	e.nonzero(1, int64(m.ElemType))
	if m.Shape != nil {
		e.msg(2, m.Shape.put)
	}
	e.raw(m.Unknown)
}

func (m *ElemType) put(e *encoder) {
	if m.Elem != nil {
		e.msg(1, m.Elem.put)
	}
	e.raw(m.Unknown)
}

func (m *MapType) put(e *encoder) {
	e.nonzero(1, int64(m.KeyType))
	if m.Value != nil {
		e.msg(2, m.Value.put)
	}
	e.raw(m.Unknown)
}

func (m *Shape) put(e *encoder) {
	for i := range m.Dims {
		e.msg(1, m.Dims[i].put)
	}
	e.raw(m.Unknown)
}

func (m *Dim) put(e *encoder) {
	if m.HasValue {
		e.int(1, m.Value)
	} else {
		e.str(2, m.Param)
	}
	e.str(3, m.Denotation)
	e.raw(m.Unknown)
}

func (m *Tensor) put(e *encoder) {
	for _, d := range m.Dims {
		e.int(1, d)
	}
	e.nonzero(2, int64(m.DataType))
	e.packed(4, m.FloatData)
	e.packed(5, m.Int32Data)
	for _, s := range m.StringData {
		e.bytes(6, s)
	}
	e.packed(7, m.Int64Data)
	e.str(8, m.Name)
	switch {
	case m.Stream != nil:
		e.tag(9, protowire.BytesType, uint64(m.StreamLen))
		e.stream(m)
	case m.HasRaw || len(m.RawData) > 0:
		e.bytes(9, m.RawData)
	}
	e.packed(10, m.DoubleData)
	e.packed(11, m.Uint64Data)
	e.str(12, m.DocString)
	putEntries(e, 13, m.ExternalData)
	e.nonzero(14, int64(m.DataLocation))
	putEntries(e, 16, m.MetadataProps)
	e.raw(m.Unknown)
}

func (e *encoder) stream(m *Tensor) {
	if e.w != nil && e.err == nil {
		c := &counter{w: e.w}
		if err := m.Stream(c); err != nil {
			e.err = fmt.Errorf("tensor %q: %w", m.Name, err)
		} else if c.n != m.StreamLen {
			e.err = fmt.Errorf("tensor %q: %d bytes were written, %d announced", m.Name, c.n, m.StreamLen)
		}
	}
	e.n += m.StreamLen
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (m *SparseTensor) put(e *encoder) {
	if m.Values != nil {
		e.msg(1, m.Values.put)
	}
	if m.Indices != nil {
		e.msg(2, m.Indices.put)
	}
	for _, d := range m.Dims {
		e.int(3, d)
	}
	e.raw(m.Unknown)
}

func (m *Function) put(e *encoder) {
	e.str(1, m.Name)
	e.strs(4, m.Inputs)
	e.strs(5, m.Outputs)
	e.strs(6, m.Attributes)
	putAll(e, 7, m.Nodes)
	e.str(8, m.DocString)
	putOpsets(e, 9, m.OpsetImport)
	e.str(10, m.Domain)
	putAll(e, 11, m.AttributeProtos)
	putAll(e, 12, m.ValueInfo)
	e.str(13, m.Overload)
	putEntries(e, 14, m.MetadataProps)
	e.raw(m.Unknown)
}

func (m *Sequence) put(e *encoder) {
	e.str(1, m.Name)
	e.nonzero(2, int64(m.ElemType))
	putAll(e, 3, m.Tensors)
	putAll(e, 4, m.Sparse)
	putAll(e, 5, m.Sequences)
	putAll(e, 7, m.Optionals)
	e.raw(m.Unknown)
}

func (m *Optional) put(e *encoder) {
	e.str(1, m.Name)
	e.nonzero(2, int64(m.ElemType))
	if m.Tensor != nil {
		e.msg(3, m.Tensor.put)
	}
	if m.Sparse != nil {
		e.msg(4, m.Sparse.put)
	}
	if m.Sequence != nil {
		e.msg(5, m.Sequence.put)
	}
	if m.Optional != nil {
		e.msg(7, m.Optional.put)
	}
	e.raw(m.Unknown)
}
