package neuroquant

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/quantize"
)

// Split says whether a quantized model can be shared out among devices as servers do it: of each layer either the outputs or, where
// what comes behind adds up the devices' results, the inputs.
type Split struct {
	Devices  int      `json:"devices"`
	Possible bool     `json:"possible"`
	Problems []string `json:"problems,omitempty"`
	// Group is the largest group size with which it were possible, where another would do.
	Group int `json:"group_size,omitempty"`
}

// splitDevices are the numbers of devices that a plan looks at.
var splitDevices = []int{2, 4, 8}

// rowParallel are the ends of the names of layers whose inputs are split.
var rowParallel = []string{"o_proj", "out_proj", "down_proj", "c_proj", "fc2", "w2", "dense_4h_to_h", "attention.dense", "self_attention.dense", "self_attn.dense"}

// splits checks the layers of a plan. groups is 0 for whole rows; config may be nil.
func splits(p *quantize.Plan, config map[string]any) []Split {
	var out []Split
	for _, n := range splitDevices {
		s := Split{Devices: n, Problems: headProblems(config, n)}
		others := len(s.Problems)
		s.Problems = append(s.Problems, splitProblems(p, n, 0)...)
		s.Possible = len(s.Problems) == 0
		if !s.Possible && others == 0 {
			for _, g := range []int{128, 64, 32, 16} {
				if len(splitProblems(p, n, g)) == 0 {
					s.Group = g
					break
				}
			}
		}
		out = append(out, s)
	}
	return out
}

// headProblems says which heads of attention cannot be shared out evenly.
func headProblems(config map[string]any, devices int) []string {
	var out []string
	for _, key := range []string{"num_attention_heads", "num_key_value_heads"} {
		number, _ := config[key].(json.Number)
		heads, err := number.Int64()
		if err != nil || heads < 1 || heads%int64(devices) == 0 || key == "num_key_value_heads" && int64(devices)%heads == 0 { // which are repeated
			continue
		}
		out = append(out, fmt.Sprintf("%s is %d, no multiple of %d", key, heads, devices))
	}
	return out
}

// splitProblems says which layers cannot be shared out with a group size, 0: that of the plan. One of each shape is named.
func splitProblems(p *quantize.Plan, devices, group int) []string {
	var out, seen []string
	for _, d := range p.Decisions {
		if !d.Quantized || d.Inputs == 0 {
			continue
		}
		g := d.Scheme.Group
		if group > 0 {
			g = group
		}
		rows, cols := d.Outputs, d.Inputs
		what := ""
		if slices.ContainsFunc(rowParallel, func(end string) bool { return strings.HasSuffix(d.Layer, "."+end) }) {
			part := cols / devices
			switch {
			case cols%devices != 0:
				what = fmt.Sprintf("%d inputs are no multiple of %d devices", cols, devices)
			case g > 0 && part%g != 0:
				what = fmt.Sprintf("%d inputs on each of %d devices are no multiple of the group, %d", part, devices, g)
			}
		} else if per := 32 / max(d.Scheme.Bits, 1); rows%devices != 0 || d.Scheme.Code == "int" && rows/devices%per != 0 {
			what = fmt.Sprintf("%d outputs on %d devices fill no whole words of %d codes", rows, devices, per)
		}
		if what != "" && !slices.Contains(seen, what) {
			seen = append(seen, what)
			out = append(out, fmt.Sprintf("%s: %s", d.Layer, what))
		}
	}
	return out
}
