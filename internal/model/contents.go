package model

// Contents is what a file holds beside a graph, or in place of one.
type Contents struct {
	Kind      string           `json:"kind"`      // such as "torchscript"
	Container string           `json:"container"` // such as "zip"
	BigEndian bool             `json:"big_endian,omitempty"`
	Where     string           `json:"where,omitempty"`  // keys that lead to the weights, such as "state_dict"
	Prefix    string           `json:"prefix,omitempty"` // that the names of all tensors begin with
	Tensors   []ContentTensor  `json:"tensors"`
	Modules   *ContentModule   `json:"modules,omitempty"` // the tree of a whole module
	Other     []ContentValue   `json:"other,omitempty"`   // what else was saved
	Refused   []ContentRefused `json:"refused,omitempty"` // classes and functions that are not known: nothing of them was run
}

// ContentTensor is a tensor of a file.
type ContentTensor struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"` // of its elements
	// Storage names the bytes that it lies in; tensors that share some have the same.
	Storage string `json:"storage,omitempty"`
	Note    string `json:"note,omitempty"` // how it is quantized, or why it cannot be loaded
}

// ContentModule is a module of a file with the modules below it.
type ContentModule struct {
	Name       string          `json:"name"`
	Class      string          `json:"class"`
	Unknown    bool            `json:"unknown,omitempty"` // no graph is built from modules of this class
	Parameters int             `json:"parameters"`        // values, those below included
	Modules    []ContentModule `json:"modules,omitempty"`
}

// ContentValue is a value that is no tensor, spelled out briefly.
type ContentValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ContentRefused is a class or function that a file names.
type ContentRefused struct {
	Name  string `json:"name"`
	How   string `json:"how"` // "named", "made" (an instance of a class) or "called"
	Count int    `json:"count"`
}
