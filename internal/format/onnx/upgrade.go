package onnx

import (
	"strings"
)

// upgrades lists what changed in the operators of the default domain, oldest first for each of them. A node of an operator set
// below the given one is rewritten; several rewrites may apply one after the other, until the node has its newest form.
// Changes that only admit more types or inputs, or add an attribute whose default is the old meaning, need no entry.
var upgrades = []struct {
	kinds string
	below int
	do    func(c *call) error
}{
	{"Abs Add BatchNormalization Ceil Clip Div Dropout Elu Exp Floor HardSigmoid InstanceNormalization LeakyRelu Log Max Mean Min " +
		"Mul Neg PRelu Reciprocal Relu Reshape Selu Sigmoid Sqrt Sub Sum Tanh", 6, drop("consumed_inputs")},
	{"Selu", 6, seluConstants},
	{"Add And Div Equal Greater Less Mul Or Pow Sub Xor", 7, broadcastAttrs},
	{"PRelu", 7, channelSlope},
	{"Gemm", 7, drop("broadcast")},
	{"GRU LSTM RNN", 3, forwardDirection},
	{"GRU LSTM RNN", 7, outputSequence},
	{"Concat", 4, defaultInt("axis", 1)},
	{"Cast", 6, castTypeName},
	{"GlobalLpPool LpPool", 2, integerP},
	{"Reshape", 5, attrsToInputs(1, "shape")},
	{"Tile", 6, tileAxis},
	{"BatchNormalization", 7, isTestNormalization},
	{"BatchNormalization", 9, perActivation},
	{"BatchNormalization", 14, trainingOutputs},
	{"Dropout", 7, isTestDropout},
	{"Dropout", 10, maskType},
	{"Dropout", 12, dropoutRatio},
	{"Clip", 11, clipLimits},
	{"Pad", 2, paddings},
	{"Pad", 11, padValue},
	{"Split", 2, splitInput},
	{"Split", 13, splitSizes},
	{"Split", 18, splitCount},
	{"Slice", 10, attrsToInputs(1, "starts", "ends", "axes")},
	{"TopK", 10, topCount},
	{"Upsample", 7, upsampleSizes},
	{"Upsample", 9, upsampleScales},
	{"Upsample", maxOpset + 1, upsample},
	{"Resize", 11, asymmetric},
	{"Scatter", maxOpset + 1, renameTo("ScatterElements")},
	{"Scan", 9, batchedScan},
	{"Squeeze Unsqueeze ReduceSum", 13, attrsToInputs(1, "axes")},
	{"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare", 18, attrsToInputs(1, "axes")},
	{"Hardmax LogSoftmax Softmax", 13, flattened},
	{"RoiAlign", 16, defaultString("coordinate_transformation_mode", "output_half_pixel")},
	{"GridSample", 20, interpolationName},
	{"DFT", 20, axisInput},
	{"GroupNormalization", 21, perGroupScale},
	{"Constant", maxOpset + 1, sparseConstant},
	{"ai.onnx.ml.LabelEncoder", 2, classLabels},
}

// renamed lists operators that exist only in older operator sets and are rewritten to another one.
var renamed = map[string]bool{"Upsample": true, "Scatter": true}

// upgradesOf indexes upgrades by operator.
var upgradesOf = func() map[string][]int {
	m := map[string][]int{}
	for i, u := range upgrades {
		for k := range strings.FieldsSeq(u.kinds) {
			m[k] = append(m[k], i)
		}
	}
	return m
}()

// upgrade brings the call to the newest form of its operator.
func (c *call) upgrade() error {
	for _, i := range upgradesOf[c.kind] {
		if u := upgrades[i]; c.version < u.below {
			if err := u.do(c); err != nil {
				return err
			}
			if c.results != nil {
				return nil
			}
		}
	}
	return nil
}
