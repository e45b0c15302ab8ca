package neuroquant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/neurotrain/neuroquant/internal/config"
)

// configFile is the layout of a YAML file: the settings stand in a block, so that files for the whole training family can
// hold other blocks beside it in time.
type configFile struct {
	Quantization Config `yaml:"quantization" doc:"how to quantize"`
}

// LoadConfig reads the quantization block of a YAML file; keys that it lacks keep their defaults. The error names every mistake
// with file, line and column: unknown keys (with what was probably meant), wrong types, values that do not go together.
func LoadConfig(path string) (Config, error) {
	f := configFile{Quantization: DefaultConfig()}
	doc, err := config.Load(path, &f)
	if err != nil {
		return Config{}, err
	}
	if err := f.Quantization.Validate(); err != nil {
		return Config{}, placed(doc, err)
	}
	return f.Quantization, nil
}

// placed gives the errors of Validate their places in the file.
func placed(doc *config.Document, err error) error {
	var list config.Errors
	var rest []error
	var walk func(error)
	walk = func(e error) {
		if j, ok := e.(interface{ Unwrap() []error }); ok {
			for _, x := range j.Unwrap() {
				walk(x)
			}
			return
		}
		var f *FieldError
		if errors.As(e, &f) {
			list = append(list, doc.At("quantization."+f.Key, f.Err))
			return
		}
		rest = append(rest, e)
	}
	walk(err)
	slices.SortStableFunc(list, func(a, b *config.Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if len(rest) > 0 {
		return errors.Join(append([]error{list}, rest...)...)
	}
	return list
}

// ExampleConfig returns a YAML file for a method with its settings, their defaults and what they mean.
func ExampleConfig(method string) ([]byte, error) {
	presets := map[string]func() Config{"dynamic": DynamicConfig, "static": StaticConfig, "qat": QATConfig, "gptq": GPTQ4BitConfig, "awq": AWQ4BitConfig, "rtn": RTN4BitConfig, "bitsandbytes": BitsAndBytes4BitConfig, "w8a8": W8A8Config}
	preset := presets[method]
	if preset == nil {
		return nil, fmt.Errorf("unknown method %q%s; the methods are %s", method, config.Suggest(method, MethodNames(false)), strings.Join(MethodNames(false), ", "))
	}
	c := preset()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var leave []string // settings of other methods
	for _, k := range keysOf {
		if !slices.Contains(k.methods, method) {
			leave = append(leave, "quantization."+k.key)
		}
	}
	return config.Marshal(configFile{c}, leave...)
}

// ConfigSchema returns the JSON Schema of the YAML file, for editors.
func ConfigSchema() ([]byte, error) {
	return config.Schema(configFile{DefaultConfig()}, "NeuroQuant configuration")
}

// QuantizeFromConfig does what a YAML file says to the model at path: quantizes it, writes it to quantized_model_path if
// save_quantized_model is set, and the analysis (on random inputs; see [Analyzer] for real ones) to analysis_report_path if that
// is given. Folders that exist and are not empty are refused unless overwrite is set. The caller closes the result.
func QuantizeFromConfig(ctx context.Context, path, configPath string, overwrite bool) (*Result, error) {
	c, err := LoadConfig(configPath)
	if err != nil {
		return nil, err
	}
	if c.SaveQuantizedModel && c.QuantizedModelPath == "" {
		return nil, fmt.Errorf("%s: quantization.quantized_model_path is missing: the folder to write to (or set save_quantized_model: false)", configPath)
	}
	for _, out := range []string{c.QuantizedModelPath, c.AnalysisReportPath} {
		if out == "" {
			continue
		}
		if err := CheckOutput(out, overwrite); err != nil {
			return nil, err
		}
	}
	m := NewManager(c)
	res, err := m.Quantize(ctx, path)
	if err != nil {
		return nil, err
	}
	if c.SaveQuantizedModel {
		if err := m.Save(ctx, res, c.QuantizedModelPath, overwrite); err != nil {
			return nil, errors.Join(err, res.Close())
		}
	}
	if c.AnalysisReportPath != "" {
		orig, err := Open(ctx, path)
		if err != nil {
			return nil, errors.Join(err, res.Close())
		}
		a := &Analyzer{Original: orig, Quantized: res.Model}
		_, err = a.GenerateReport(ctx, nil, "", c.AnalysisReportPath, overwrite)
		if err = errors.Join(err, orig.Close()); err != nil {
			return nil, errors.Join(err, res.Close())
		}
	}
	return res, nil
}
