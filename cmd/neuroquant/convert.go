package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

func (a *app) convertCommand() *cobra.Command {
	var o neuroquant.ConvertOptions
	var splitMB int64
	var tensors bool
	c := &cobra.Command{
		Use:   "convert MODEL OUTPUT",
		Short: "Write a model as a GGUF file, a Hugging Face folder, an ONNX file, or in another layout of its codes",
		Args:  cobra.ExactArgs(2),
		Long: `Write a language model, a Hugging Face folder or a GGUF file, in another format: as a GGUF file for llama.cpp, quantized or not, or as
a Hugging Face folder. The types of GGUF files are llama.cpp's:

  ` + strings.Join(neuroquant.ConvertTypes(), " ") + `

A K type ends in S, M or L for the mixture, in which some tensors get more bits; Q4_K is short for Q4_K_M. Rows that are no multiple of 256
get another type of about the same size; with --pure all matrices get the first type of the mixture. The bytes are those of llama.cpp's own program.

A model whose matrices are codes, of GPTQ, AWQ, compressed-tensors, MatMulNBits or the blocks Q4_0, Q5_0 and Q8_0, goes to another such layout
without loss: with --to gptq, gptq_v2, awq, compressed-tensors or onnx, or as a GGUF file without --type. What was written is read back and
compared tensor by tensor. Matrices that the layout does not hold as they are are an error that says why, or are rounded again with --lossy.
An ONNX file needs --like: the folder that it was made from.

With --adapter the low-rank products that train --method lora or PEFT made are added to the weights, which are then written as floats.

An output that ends in .onnx gets the graph of the model, with floats as float32 and codes as MatMulNBits: language models compute the logits of a
whole text, without a cache; encoders take attention_mask and token_type_ids beside input_ids.`,
		Example: `  neuroquant convert ./Llama-3.2-1B model.gguf --type Q4_K_M
  neuroquant convert model-f16.gguf model-q8.gguf --type Q8_0
  neuroquant convert model.gguf ./folder --to hf
  neuroquant convert ./bert-base-uncased bert.onnx
  neuroquant convert ./llama-gptq ./llama-awq --to awq
  neuroquant convert ./llama-gptq llama.gguf
  neuroquant convert ./base ./merged --adapter ./adapter`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if splitMB < 0 {
				return usagef("convert: --split-mb: want 0 or more, got %d", splitMB)
			}
			o.SplitBytes = splitMB << 20
			done, err := neuroquant.Convert(cmd.Context(), args[0], args[1], o)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(done)
			}
			return a.conversion(done, tensors, o.DryRun)
		},
	}
	f := c.Flags()
	f.StringVar(&o.To, "to", "", "format: gguf, hf (floats), gptq, gptq_v2, awq, compressed-tensors or onnx; by default what the output ends in, .gguf or .onnx, else hf")
	f.StringVar(&o.Like, "like", "", "folder that an ONNX file was made from: its configuration, tokenizer and names of tensors")
	f.StringVar(&o.Adapter, "adapter", "", "folder with an adapter in the layout of PEFT, which is merged into the weights")
	f.BoolVar(&o.Lossy, "lossy", false, "round matrices again that the format does not hold as they are")
	f.StringVar(&o.Type, "type", "", "type of a GGUF file; by default F16, or the blocks that hold the codes of the model")
	f.BoolVar(&o.Pure, "pure", false, "all matrices of a GGUF file in the first block type of the mixture, the embedding and the head too")
	f.StringVar(&o.Importance, "importance", "", "file with what columns of weights are multiplied by, of this program or of llama.cpp's imatrix")
	f.StringVar(&o.ImportanceText, "importance-text", "", "file of texts, as of eval --text, that the model is run on to find what columns of weights are multiplied by")
	f.StringVar(&o.SaveImportance, "save-importance", "", "file to keep what --importance-text found in, which llama.cpp reads as well")
	f.Int64Var(&splitMB, "split-mb", 0, "most tensor data in a GGUF file, in MiB; 0: all in one file")
	f.BoolVar(&o.Overwrite, "force", false, "replace files that are there")
	f.BoolVar(&o.DryRun, "dry-run", false, "decide and write nothing")
	f.BoolVar(&tensors, "tensors", false, "list every tensor")
	return c
}

// conversion prints what was converted.
func (a *app) conversion(c *neuroquant.Conversion, all, dry bool) error {
	type sum struct {
		tensors int
		bytes   int64
	}
	sums := map[string]*sum{}
	var rows [][]string
	for _, t := range c.Tensors {
		if sums[t.Type] == nil {
			sums[t.Type] = &sum{}
		}
		sums[t.Type].tensors++
		sums[t.Type].bytes += t.Bytes
		rows = append(rows, []string{t.Name, t.Type, strings.Trim(strings.ReplaceAll(fmt.Sprint(t.Shape), " ", "x"), "[]"), report.Bytes(t.Bytes)})
	}
	if all {
		a.table([]string{"tensor", "type", "shape", "size"}, rows)
	} else {
		rows = nil
		for _, name := range slices.Sorted(maps.Keys(sums)) {
			rows = append(rows, []string{name, fmt.Sprint(sums[name].tensors), report.Bytes(sums[name].bytes)})
		}
		a.table([]string{"type", "tensors", "size"}, rows)
	}
	verb := "wrote"
	if dry {
		verb = "would write"
	}
	a.printf("\n%s %s: %s in %d tensors\n", verb, c.Output, report.Bytes(c.Bytes), len(c.Tensors))
	for _, n := range c.Notes {
		a.printf("note: %s\n", n)
	}
	if c.Equal+c.Differ == 0 {
		return nil
	}
	a.printf("%d tensors decode to the same values as those of %s, %d do not\n", c.Equal, c.Input, c.Differ)
	rows = nil
	for _, t := range c.Tensors {
		if t.Equal != nil && !*t.Equal {
			rows = append(rows, []string{t.From, t.Type, fmt.Sprintf("%.3g", t.MaxDiff), t.Why})
		}
	}
	if len(rows) > 0 {
		a.table([]string{"tensor", "stored as", "largest difference", "why"}, rows, 2)
	}
	return nil
}
