// Package protobuf reads and writes ONNX messages on the protocol buffer wire.
//
// Parsing works over one slice, usually a memory map, and does not copy tensor contents: [Tensor.RawData] and the packed
// typed fields are sub-slices of it. Names and other short strings are copied. A 500 MB model therefore parses in the time
// its node list takes.
//
// Fields that this package does not know are kept byte by byte in each message's Unknown and written back, so that reading and
// writing a model loses nothing. Field numbers are those of onnx.proto (ONNX 1.22, IR version 13).
package protobuf

// Model is ModelProto.
type Model struct {
	IRVersion       int64
	ProducerName    string
	ProducerVersion string
	Domain          string
	ModelVersion    int64
	DocString       string
	Graph           *Graph
	OpsetImport     []OperatorSetID
	MetadataProps   []StringEntry
	Functions       []*Function
	Unknown         []byte
}

// OperatorSetID is OperatorSetIdProto: the version of the operators of one domain.
type OperatorSetID struct {
	Domain  string
	Version int64
	Unknown []byte
}

// StringEntry is StringStringEntryProto.
type StringEntry struct {
	Key, Value string
	Unknown    []byte
}

// Graph is GraphProto.
type Graph struct {
	Name              string
	Nodes             []*Node
	Initializers      []*Tensor
	SparseInitializer []*SparseTensor
	DocString         string
	Inputs            []*ValueInfo
	Outputs           []*ValueInfo
	ValueInfo         []*ValueInfo
	MetadataProps     []StringEntry
	Unknown           []byte
}

// Node is NodeProto.
type Node struct {
	Inputs        []string
	Outputs       []string
	Name          string
	OpType        string
	Domain        string
	Overload      string
	Attributes    []*Attribute
	DocString     string
	MetadataProps []StringEntry
	Unknown       []byte
}

// AttributeType is AttributeProto.AttributeType.
type AttributeType int32

// Attribute types.
const (
	AttrUndefined     AttributeType = 0
	AttrFloat         AttributeType = 1
	AttrInt           AttributeType = 2
	AttrString        AttributeType = 3
	AttrTensor        AttributeType = 4
	AttrGraph         AttributeType = 5
	AttrFloats        AttributeType = 6
	AttrInts          AttributeType = 7
	AttrStrings       AttributeType = 8
	AttrTensors       AttributeType = 9
	AttrGraphs        AttributeType = 10
	AttrSparseTensor  AttributeType = 11
	AttrSparseTensors AttributeType = 12
	AttrTypeProto     AttributeType = 13
	AttrTypeProtos    AttributeType = 14
)

// Attribute is AttributeProto. Type says which field holds the value; files of old producers that leave it out have it set from
// the field that is present.
type Attribute struct {
	Name          string
	RefAttrName   string
	DocString     string
	Type          AttributeType
	F             float32
	I             int64
	S             []byte
	T             *Tensor
	G             *Graph
	SparseTensor  *SparseTensor
	TypeProto     *Type
	Floats        []float32
	Ints          []int64
	Strings       [][]byte
	Tensors       []*Tensor
	Graphs        []*Graph
	SparseTensors []*SparseTensor
	TypeProtos    []*Type
	Unknown       []byte
}

// ValueInfo is ValueInfoProto.
type ValueInfo struct {
	Name          string
	Type          *Type
	DocString     string
	MetadataProps []StringEntry
	Unknown       []byte
}

// Type is TypeProto; at most one of the pointers is set.
type Type struct {
	Tensor       *TensorType
	Sequence     *ElemType
	Map          *MapType
	Optional     *ElemType
	SparseTensor *TensorType
	Denotation   string
	Unknown      []byte
}

// TensorType is TypeProto.Tensor and TypeProto.SparseTensor. A nil Shape means that the rank is not known.
type TensorType struct {
	ElemType int32
	Shape    *Shape
	Unknown  []byte
}

// ElemType is TypeProto.Sequence and TypeProto.Optional.
type ElemType struct {
	Elem    *Type
	Unknown []byte
}

// MapType is TypeProto.Map.
type MapType struct {
	KeyType int32
	Value   *Type
	Unknown []byte
}

// Shape is TensorShapeProto.
type Shape struct {
	Dims    []Dim
	Unknown []byte
}

// Dim is TensorShapeProto.Dimension: a number if HasValue, otherwise a name, which may be empty for an unknown size.
type Dim struct {
	Value      int64
	HasValue   bool
	Param      string
	Denotation string
	Unknown    []byte
}

// Tensor is TensorProto. The contents are in RawData, in one of the typed fields, or in an external file.
type Tensor struct {
	Name     string
	Dims     []int64
	DataType int32

	// RawData holds little-endian fixed-width elements. HasRaw tells an empty field from an absent one.
	RawData []byte
	HasRaw  bool
	// Stream, if set, writes the contents in place of RawData when the message is written; it must write StreamLen bytes.
	Stream    func(w Sink) error
	StreamLen int64

	// The typed fields hold elements as packed on the wire: four or eight little-endian bytes each, or varints. See
	// [Tensor.Int32s] and its siblings.
	FloatData, DoubleData            []byte
	Int32Data, Int64Data, Uint64Data []byte
	StringData                       [][]byte
	ExternalData                     []StringEntry
	DataLocation                     int32 // 1: ExternalData says where the contents are
	DocString                        string
	MetadataProps                    []StringEntry
	Unknown                          []byte
}

// External is the value of [Tensor.DataLocation] for contents in another file.
const External = 1

// SparseTensor is SparseTensorProto.
type SparseTensor struct {
	Values  *Tensor
	Indices *Tensor
	Dims    []int64
	Unknown []byte
}

// Function is FunctionProto: an operator defined by nodes.
type Function struct {
	Name            string
	Domain          string
	Overload        string
	Inputs          []string
	Outputs         []string
	Attributes      []string // names of attributes without a default
	AttributeProtos []*Attribute
	Nodes           []*Node
	DocString       string
	OpsetImport     []OperatorSetID
	ValueInfo       []*ValueInfo
	MetadataProps   []StringEntry
	Unknown         []byte
}

// Sequence is SequenceProto. ElemType: 1 tensor, 2 sparse tensor, 3 sequence, 4 map, 5 optional.
type Sequence struct {
	Name      string
	ElemType  int32
	Tensors   []*Tensor
	Sparse    []*SparseTensor
	Sequences []*Sequence
	Optionals []*Optional
	Unknown   []byte
}

// Optional is OptionalProto; ElemType is as in [Sequence], 0 for an empty one.
type Optional struct {
	Name     string
	ElemType int32
	Tensor   *Tensor
	Sparse   *SparseTensor
	Sequence *Sequence
	Optional *Optional
	Unknown  []byte
}
