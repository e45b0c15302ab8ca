package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/neurotrain/neuroquant"
)

func (a *app) evalCommand() *cobra.Command {
	var d dataFlags
	var text textFlags
	c := &cobra.Command{
		Use:   "eval MODEL --data D [--labels L] | --text FILE",
		Short: "Measure a classifier on labelled samples, or a language model on a text",
		Long: `Measure a classifier: top-1, top-5 and loss on labelled samples. Or measure a language model: its perplexity on a text, and with
--reference how far its predictions are from those of another model, such as the one that it was quantized from.`,
		Example: `  neuroquant eval model.onnx --data test.npy --labels test_labels.npy
  neuroquant eval out/ --data images.zip --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
  neuroquant eval model/ --text wiki.txt --context 512 --reference original/
  neuroquant eval model/ --adapter adapter/ --text held-out.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if text.file != "" {
				if d.given() {
					return usagef("eval: --data and --text are for different models")
				}
				return a.evalText(cmd.Context(), args[0], text)
			}
			if text.adapter != "" {
				return usagef("eval: --adapter goes with --text")
			}
			if !d.given() {
				return usagef("eval: --data is missing, or --text for a language model")
			}
			if err := d.check(cmd.Flags()); err != nil {
				return err
			}
			m, err := a.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			defer m.Close()
			set, err := d.open(m)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, set.Close()) }()
			s, err := neuroquant.Evaluate(cmd.Context(), m, set, d.batch, d.output)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			a.table([]string{"samples", "top-1", "top-5", "loss"}, [][]string{{fmt.Sprint(s.Samples), percent(s.Top1), percent(s.Top5), fmt.Sprintf("%.4f", s.Loss)}}, 0, 1, 2, 3)
			if left := set.Len() - s.Samples; left > 0 {
				a.printf("note: the model takes batches of a fixed size; the last %d samples do not fill one and were left out\n", left)
			}
			if s.NonFinite > 0 {
				a.printf("note: %d samples have scores that are NaN or infinite\n", s.NonFinite)
			}
			return nil
		},
	}
	d.add(c.Flags())
	d.addRun(c.Flags())
	text.add(c.Flags())
	return c
}
