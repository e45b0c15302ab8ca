package protobuf

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// ParseModel reads a ModelProto. The result aliases b.
func ParseModel(b []byte) (*Model, error) { return top[Model](b) }

// ParseTensor reads a TensorProto. The result aliases b.
func ParseTensor(b []byte) (*Tensor, error) { return top[Tensor](b) }

// ParseSequence reads a SequenceProto. The result aliases b.
func ParseSequence(b []byte) (*Sequence, error) { return top[Sequence](b) }

// ParseOptional reads an OptionalProto. The result aliases b.
func ParseOptional(b []byte) (*Optional, error) { return top[Optional](b) }

func (m *Model) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.int64(&m.IRVersion)
	case 2:
		return true, f.str(&m.ProducerName)
	case 3:
		return true, f.str(&m.ProducerVersion)
	case 4:
		return true, f.str(&m.Domain)
	case 5:
		return true, f.int64(&m.ModelVersion)
	case 6:
		return true, f.str(&m.DocString)
	case 7:
		return true, one(f, &m.Graph)
	case 8:
		return true, values[OperatorSetID](f, &m.OpsetImport)
	case 14:
		return true, values[StringEntry](f, &m.MetadataProps)
	case 25:
		return true, many(f, &m.Functions)
	}
	return false, nil
}

func (m *OperatorSetID) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.str(&m.Domain)
	case 2:
		return true, f.int64(&m.Version)
	}
	return false, nil
}

func (m *StringEntry) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.str(&m.Key)
	case 2:
		return true, f.str(&m.Value)
	}
	return false, nil
}

func (m *Graph) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, many(f, &m.Nodes)
	case 2:
		return true, f.str(&m.Name)
	case 5:
		return true, many(f, &m.Initializers)
	case 10:
		return true, f.str(&m.DocString)
	case 11:
		return true, many(f, &m.Inputs)
	case 12:
		return true, many(f, &m.Outputs)
	case 13:
		return true, many(f, &m.ValueInfo)
	case 15:
		return true, many(f, &m.SparseInitializer)
	case 16:
		return true, values[StringEntry](f, &m.MetadataProps)
	}
	return false, nil
}

func (m *Node) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.strs(&m.Inputs)
	case 2:
		return true, f.strs(&m.Outputs)
	case 3:
		return true, f.str(&m.Name)
	case 4:
		return true, f.str(&m.OpType)
	case 5:
		return true, many(f, &m.Attributes)
	case 6:
		return true, f.str(&m.DocString)
	case 7:
		return true, f.str(&m.Domain)
	case 8:
		return true, f.str(&m.Overload)
	case 9:
		return true, values[StringEntry](f, &m.MetadataProps)
	}
	return false, nil
}

func (m *Attribute) set(f field) (bool, error) {
	has := func(t AttributeType, err error) (bool, error) {
		if m.Type == AttrUndefined {
			m.Type = t
		}
		return true, err
	}
	switch f.num {
	case 1:
		return true, f.str(&m.Name)
	case 2:
		m.F = math.Float32frombits(uint32(f.u))
		return has(AttrFloat, f.want(protowire.Fixed32Type))
	case 3:
		return has(AttrInt, f.int64(&m.I))
	case 4:
		return has(AttrString, f.bytes(&m.S))
	case 5:
		return has(AttrTensor, one(f, &m.T))
	case 6:
		return has(AttrGraph, one(f, &m.G))
	case 7:
		return has(AttrFloats, f.floats(&m.Floats))
	case 8:
		return has(AttrInts, f.int64s(&m.Ints))
	case 9:
		return has(AttrStrings, f.bytesList(&m.Strings))
	case 10:
		return has(AttrTensors, many(f, &m.Tensors))
	case 11:
		return has(AttrGraphs, many(f, &m.Graphs))
	case 13:
		return true, f.str(&m.DocString)
	case 14:
		return has(AttrTypeProto, one(f, &m.TypeProto))
	case 15:
		return has(AttrTypeProtos, many(f, &m.TypeProtos))
	case 20:
		if t := AttributeType(f.u); t != AttrUndefined {
			m.Type = t
		}
		return true, f.want(protowire.VarintType)
	case 21:
		return true, f.str(&m.RefAttrName)
	case 22:
		return has(AttrSparseTensor, one(f, &m.SparseTensor))
	case 23:
		return has(AttrSparseTensors, many(f, &m.SparseTensors))
	}
	return false, nil
}

func (m *ValueInfo) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.str(&m.Name)
	case 2:
		return true, one(f, &m.Type)
	case 3:
		return true, f.str(&m.DocString)
	case 4:
		return true, values[StringEntry](f, &m.MetadataProps)
	}
	return false, nil
}

func (m *Type) set(f field) (bool, error) {
	old := *m
	if f.num != 6 {
		m.Tensor, m.Sequence, m.Map, m.Optional, m.SparseTensor = nil, nil, nil, nil, nil
	}
	switch f.num {
	case 1:
		m.Tensor = old.Tensor
		return true, one(f, &m.Tensor)
	case 4:
		m.Sequence = old.Sequence
		return true, one(f, &m.Sequence)
	case 5:
		m.Map = old.Map
		return true, one(f, &m.Map)
	case 6:
		return true, f.str(&m.Denotation)
	case 8:
		m.SparseTensor = old.SparseTensor
		return true, one(f, &m.SparseTensor)
	case 9:
		m.Optional = old.Optional
		return true, one(f, &m.Optional)
	}
	*m = old
	return false, nil
}

func (m *TensorType) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.int32(&m.ElemType)
	case 2:
		return true, one(f, &m.Shape)
	}
	return false, nil
}

func (m *ElemType) set(f field) (bool, error) {
	if f.num == 1 {
		return true, one(f, &m.Elem)
	}
	return false, nil
}

func (m *MapType) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.int32(&m.KeyType)
	case 2:
		return true, one(f, &m.Value)
	}
	return false, nil
}

func (m *Shape) set(f field) (bool, error) {
	if f.num == 1 {
		return true, values[Dim](f, &m.Dims)
	}
	return false, nil
}

func (m *Dim) set(f field) (bool, error) {
	switch f.num {
	case 1:
		m.HasValue, m.Param = true, ""
		return true, f.int64(&m.Value)
	case 2:
		m.HasValue, m.Value = false, 0
		return true, f.str(&m.Param)
	case 3:
		return true, f.str(&m.Denotation)
	}
	return false, nil
}

func (m *Tensor) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.int64s(&m.Dims)
	case 2:
		return true, f.int32(&m.DataType)
	case 4:
		return true, f.packed(&m.FloatData, protowire.Fixed32Type)
	case 5:
		return true, f.packed(&m.Int32Data, protowire.VarintType)
	case 6:
		return true, f.bytesList(&m.StringData)
	case 7:
		return true, f.packed(&m.Int64Data, protowire.VarintType)
	case 8:
		return true, f.str(&m.Name)
	case 9:
		m.HasRaw = true
		return true, f.bytes(&m.RawData)
	case 10:
		return true, f.packed(&m.DoubleData, protowire.Fixed64Type)
	case 11:
		return true, f.packed(&m.Uint64Data, protowire.VarintType)
	case 12:
		return true, f.str(&m.DocString)
	case 13:
		return true, values[StringEntry](f, &m.ExternalData)
	case 14:
		return true, f.int32(&m.DataLocation)
	case 16:
		return true, values[StringEntry](f, &m.MetadataProps)
	}
	return false, nil
}

func (m *SparseTensor) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, one(f, &m.Values)
	case 2:
		return true, one(f, &m.Indices)
	case 3:
		return true, f.int64s(&m.Dims)
	}
	return false, nil
}

func (m *Function) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.str(&m.Name)
	case 4:
		return true, f.strs(&m.Inputs)
	case 5:
		return true, f.strs(&m.Outputs)
	case 6:
		return true, f.strs(&m.Attributes)
	case 7:
		return true, many(f, &m.Nodes)
	case 8:
		return true, f.str(&m.DocString)
	case 9:
		return true, values[OperatorSetID](f, &m.OpsetImport)
	case 10:
		return true, f.str(&m.Domain)
	case 11:
		return true, many(f, &m.AttributeProtos)
	case 12:
		return true, many(f, &m.ValueInfo)
	case 13:
		return true, f.str(&m.Overload)
	case 14:
		return true, values[StringEntry](f, &m.MetadataProps)
	}
	return false, nil
}

func (m *Sequence) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.str(&m.Name)
	case 2:
		return true, f.int32(&m.ElemType)
	case 3:
		return true, many(f, &m.Tensors)
	case 4:
		return true, many(f, &m.Sparse)
	case 5:
		return true, many(f, &m.Sequences)
	case 7:
		return true, many(f, &m.Optionals)
	}
	return false, nil
}

func (m *Optional) set(f field) (bool, error) {
	switch f.num {
	case 1:
		return true, f.str(&m.Name)
	case 2:
		return true, f.int32(&m.ElemType)
	case 3:
		return true, one(f, &m.Tensor)
	case 4:
		return true, one(f, &m.Sparse)
	case 5:
		return true, one(f, &m.Sequence)
	case 7:
		return true, one(f, &m.Optional)
	}
	return false, nil
}

func (m *Model) unknown() *[]byte         { return &m.Unknown }
func (m *OperatorSetID) unknown() *[]byte { return &m.Unknown }
func (m *StringEntry) unknown() *[]byte   { return &m.Unknown }
func (m *Graph) unknown() *[]byte         { return &m.Unknown }
func (m *Node) unknown() *[]byte          { return &m.Unknown }
func (m *Attribute) unknown() *[]byte     { return &m.Unknown }
func (m *ValueInfo) unknown() *[]byte     { return &m.Unknown }
func (m *Type) unknown() *[]byte          { return &m.Unknown }
func (m *TensorType) unknown() *[]byte    { return &m.Unknown }
func (m *ElemType) unknown() *[]byte      { return &m.Unknown }
func (m *MapType) unknown() *[]byte       { return &m.Unknown }
func (m *Shape) unknown() *[]byte         { return &m.Unknown }
func (m *Dim) unknown() *[]byte           { return &m.Unknown }
func (m *Tensor) unknown() *[]byte        { return &m.Unknown }
func (m *SparseTensor) unknown() *[]byte  { return &m.Unknown }
func (m *Function) unknown() *[]byte      { return &m.Unknown }
func (m *Sequence) unknown() *[]byte      { return &m.Unknown }
func (m *Optional) unknown() *[]byte      { return &m.Unknown }

// varints decodes packed varints.
func varints(b []byte) ([]uint64, error) {
	n := 0
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	out := make([]uint64, 0, n)
	for len(b) > 0 {
		v, k := protowire.ConsumeVarint(b)
		if k < 0 {
			return nil, fmt.Errorf("packed numbers: %w", wireError(k))
		}
		out = append(out, v)
		b = b[k:]
	}
	return out, nil
}

// Int32s decodes int32_data.
func (m *Tensor) Int32s() ([]int32, error) {
	v, err := varints(m.Int32Data)
	if err != nil {
		return nil, err
	}
	out := make([]int32, len(v))
	for i, u := range v {
		out[i] = int32(u)
	}
	return out, nil
}

// Int64s decodes int64_data.
func (m *Tensor) Int64s() ([]int64, error) {
	v, err := varints(m.Int64Data)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(v))
	for i, u := range v {
		out[i] = int64(u)
	}
	return out, nil
}

// Uint64s decodes uint64_data.
func (m *Tensor) Uint64s() ([]uint64, error) { return varints(m.Uint64Data) }
