// Package quantize decides how a model is quantized and does it.
//
// A [Recipe] says what the user asked for. [NewPlan] turns it into decisions, one per layer, from headers alone: nothing is
// read or computed that a dry run should not cost. [Run] carries a plan out. Each method is one file and one row of [Methods].
package quantize

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/calibrate"
	"github.com/neurotrain/neuroquant/internal/model"
	"github.com/neurotrain/neuroquant/internal/packed"
	"github.com/neurotrain/neuroquant/internal/pass"
	"github.com/neurotrain/neuroquant/tensor"
)

// Recipe is what the user asked for.
type Recipe struct {
	Method string
	// Weight is the type weights are stored in: "qint8", "quint8", "qint4", "float16" or "bfloat16".
	Weight string
	// PerTensor gives a weight one scale instead of one per output channel.
	PerTensor bool
	// FitWeights gives weights the scales that lose least, in place of those that cover all values. For method static.
	FitWeights bool
	// Activations is what activations are held in: one of [ActivationTypes], "" is the first. With SymmetricActivations zero is in the
	// middle of their codes. For method static.
	Activations          string
	SymmetricActivations bool
	// BlockSize, if it is not 0, is how many weights along the inputs of a layer share a scale, instead of all of a channel. For method
	// static.
	BlockSize int
	// Keep lists layers to leave in float, Only the layers to quantize, as patterns over layer names, weight names and operator
	// kinds; * matches any run of characters. A pattern that matches nothing is an error.
	Keep, Only []string
	// Head quantizes the layer that gives logits too, for methods that quantize weights alone; it is an error if its weight is the embedding's.
	Head bool
	// Layers says of layers, by their exact names, what they compute in; the others are quantized. For method static.
	Layers map[string]Precision
	// ReduceRange makes weights safe for CPUs that add products in 16 bits: one of [ReduceRanges], "" is none. For method static.
	ReduceRange string
	// Format is how integer operators are written: one of [Formats], "" is the first. For method static.
	Format string
	// Calibrator turns what calibration saw into ranges; for methods that calibrate. Ranges names other calibrators for single ranges,
	// by the value that stands for them, see [Plan.Ranges].
	Calibrator Calibrator
	Ranges     map[string]string
	// Repairs are done to the model before and after ranges are found.
	Repairs Repairs
	// WeightOnly are the settings of methods that quantize weights alone.
	WeightOnly WeightSettings
	// Memory is the most bytes that methods gptq and awq may take; 0: as many as they need.
	Memory int
	// Rounding is the encoding of method bitsandbytes.
	Rounding packed.Rounding

	activationBits int          // below 8; 0: all of the type of Activations
	trained        *trainedBits // of method qat, once it is prepared
}

// Precision is what a layer computes in.
type Precision string

// InFloat leaves a layer as it is.
const InFloat Precision = "float"

// checkPrecisions reports precisions that there are not and layers that the model does not have.
func checkPrecisions(layers map[string]Precision, names []string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(layers)) {
		if p := layers[name]; p != InFloat {
			errs = append(errs, fmt.Errorf("layer %q: want precision %s, got %q", name, InFloat, p))
		}
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("precision of layer %q: there is no such layer", name))
		}
	}
	return errors.Join(errs...)
}

// What methods calibrate with, see package calibrate.
type (
	// Samples are the inputs that a method calibrates with.
	Samples = calibrate.Samples
	// Call is the inputs of one call of the model.
	Call = calibrate.Call
	// Calibrator turns what calibration saw into ranges.
	Calibrator = calibrate.Calibrator
)

// Calibrators lists the methods of a [Calibrator], the default first.
var Calibrators = calibrate.Methods

// Formats are the forms of a statically quantized graph: ONNX's operators between DequantizeLinear and QuantizeLinear, which every
// runtime takes, or operators on codes, which ONNX Runtime takes as they are.
var Formats = []string{"qdq", "qoperator"}

// Decision is what becomes of one layer or parameter, and why.
type Decision struct {
	Layer  string        `json:"layer"`
	Op     string        `json:"op"`
	Param  string        `json:"param"`
	Scheme tensor.Scheme `json:"-"`
	// Quantized is false where the layer stays as it is.
	Quantized bool   `json:"quantized"`
	Stored    string `json:"scheme"`
	Why       string `json:"why"`
	// Shape of the weight and the bytes it takes before and after, scales included.
	Shape  []int `json:"shape,omitempty"`
	Before int   `json:"original_bytes"`
	After  int   `json:"quantized_bytes"`
	// Outputs and Inputs of a layer whose weights alone are quantized.
	Outputs int `json:"-"`
	Inputs  int `json:"-"`
}

// Plan is a recipe applied to a model's headers.
type Plan struct {
	Recipe    Recipe
	Decisions []Decision
	Frozen    []string // inputs with defaults that were made constants before
	// Gemms were taken apart before, for methods that quantize weights alone.
	Gemms   []pass.SplitGemm
	Rounded Rounded // what weights became, once the plan is carried out
	// Of methods that quantize weights alone, once the plan is carried out: what layers lost, and parameters that became others.
	Errors  []LayerErrors
	Changes map[tensor.Source]tensor.Source
	Tokens  int // of all calibration samples, of models that take ids of tokens
	// Work keeps what methods that solve layer after layer have finished; nil: memory does.
	Work *Work

	place  *placement // of methods that calibrate
	placed []string   // see [Plan.Placement]
}

// Bytes sums the weights of all decisions before and after.
func (p *Plan) Bytes() (before, after int) {
	for _, d := range p.Decisions {
		before += d.Before
		after += d.After
	}
	return before, after
}

// Quantized counts the decisions that change a layer.
func (p *Plan) Quantized() int {
	n := 0
	for _, d := range p.Decisions {
		if d.Quantized {
			n++
		}
	}
	return n
}

// Method is one way of quantizing.
type Method struct {
	Name    string
	Title   string
	Weights []string // accepted values of Recipe.Weight, the default first; nil: other settings say it
	// Calibrate is set for methods that need samples.
	Calibrate bool
	plan      func(m *model.Model, r Recipe) (*Plan, error)
	run       func(ctx context.Context, m *model.Model, p *Plan, s Samples) error
}

// Methods lists what is built, in the order in which it is shown.
var Methods = []Method{dynamic, static, qat, rtn, gptq, awq, bitsAndBytes, w8a8}

// Find returns the method of a name. The error of an unknown name lists the known ones.
func Find(name string) (*Method, error) {
	var names []string
	for i := range Methods {
		if Methods[i].Name == name {
			return &Methods[i], nil
		}
		names = append(names, Methods[i].Name)
	}
	return nil, fmt.Errorf("method %q is not available; available: %s", name, strings.Join(names, ", "))
}

// ErrNothing is wrapped by the errors of plans that leave everything in float.
var ErrNothing = errors.New("nothing to quantize")

// NewPlan decides what a recipe does to a model. The model's graph is in portable form (see pass.Clean) and is not changed.
func NewPlan(m *model.Model, r Recipe) (*Plan, error) {
	method, err := Find(r.Method)
	if err != nil {
		return nil, err
	}
	if r.Weight == "" && method.Weights != nil {
		r.Weight = method.Weights[0]
	}
	if method.Weights != nil && !slices.Contains(method.Weights, r.Weight) {
		return nil, fmt.Errorf("method %s: dtype %q is not available; available: %s", method.Name, r.Weight, strings.Join(method.Weights, ", "))
	}
	p, err := method.plan(m, r)
	if err != nil {
		return nil, err
	}
	if p.Quantized() == 0 {
		return p, fmt.Errorf("method %s: %w: %s", method.Name, ErrNothing, summarize(p))
	}
	return p, nil
}

// Run carries out a plan on the graph of m, which becomes the quantized model. A cancelled ctx stops between layers and leaves
// m unusable. Methods that calibrate need samples; others do not look at them.
func Run(ctx context.Context, m *model.Model, p *Plan, s Samples) error {
	method, err := Find(p.Recipe.Method)
	if err != nil {
		return err
	}
	if method.Calibrate && s.All == nil {
		return fmt.Errorf("method %s needs calibration data", method.Name)
	}
	return method.run(ctx, m, p, s)
}

// summarize says why no layer was chosen.
func summarize(p *Plan) string {
	if len(p.Decisions) == 0 {
		return "the model has no layer with constant weights that this method handles"
	}
	count := map[string]int{}
	var order []string
	for _, d := range p.Decisions {
		if count[d.Why] == 0 {
			order = append(order, d.Why)
		}
		count[d.Why]++
	}
	var parts []string
	for _, w := range order {
		parts = append(parts, fmt.Sprintf("%d left (%s)", count[w], w))
	}
	return strings.Join(parts, "; ")
}
