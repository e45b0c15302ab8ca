package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/data"
)

// textFlags are the flags of eval for language models.
type textFlags struct {
	file, reference, adapter string

	o neuroquant.TextOptions
}

func (t *textFlags) add(f *pflag.FlagSet) {
	f.StringVar(&t.file, "text", "", "text to predict: "+data.AcceptedTexts+"; a file of another name is one text")
	f.StringVar(&t.adapter, "adapter", "", adapterHelp)
	f.IntVar(&t.o.Context, "context", 0, "tokens of a window; default 512, or what the model was made for if that is less")
	f.StringVar(&t.o.Protocol, "protocol", "windows", `of the perplexity: "windows", or "llama.cpp" for that of llama-perplexity`)
	f.BoolVar(&t.o.NoBegin, "no-bos", false, "do not put the token that begins a text before each")
	f.IntVar(&t.o.Limit, "windows", 0, "windows to measure at most; 0: all")
	f.StringVar(&t.reference, "reference", "", "model to compare the predictions with")
}

// protocolText says in words what was measured.
func protocolText(p *neuroquant.Perplexity) string {
	what := "all but the first of each are predicted from the earlier ones"
	if p.Protocol == "llama.cpp" {
		what = "the second half of each is predicted; each begins with the token that begins a text"
	}
	return fmt.Sprintf("%d tokens, %d windows of %d without overlap, the rest dropped; %s: %d tokens", p.IDs, p.Windows, p.Context, what, p.Predicted)
}

// evalText measures a language model.
func (a *app) evalText(ctx context.Context, path string, t textFlags) error {
	texts, err := neuroquant.ReadTexts(t.file)
	if err != nil {
		return err
	}
	m, err := a.openAdapted(ctx, path, t.adapter)
	if err != nil {
		return err
	}
	defer m.Close()
	var ref *neuroquant.Model
	if t.reference != "" {
		if ref, err = a.open(ctx, t.reference); err != nil {
			return err
		}
		defer ref.Close()
	}
	p, d, err := neuroquant.EvaluateText(ctx, m, ref, texts, t.o)
	if err != nil {
		return err
	}
	if a.json {
		document := map[string]any{"perplexity": p}
		if d != nil {
			document["divergence"] = d
		}
		return a.printJSON(document)
	}
	a.printf("%s\n\n", protocolText(p))
	a.table([]string{"perplexity", "±", "loss"}, [][]string{{fmt.Sprintf("%.4f", p.Perplexity), fmt.Sprintf("%.4f", p.StandardError), fmt.Sprintf("%.5f", p.Loss)}}, 0, 1, 2)
	if d != nil {
		a.printf("\n")
		a.divergence(d)
	}
	return nil
}

// divergence prints how far predictions are from those of a reference.
func (a *app) divergence(d *neuroquant.Divergence) {
	a.table([]string{"reference", "increase", "mean KL divergence", "99 %", "largest", "same top-1"}, [][]string{{
		fmt.Sprintf("%.4f", d.Reference), percent(d.PerplexityUp), fmt.Sprintf("%.6f", d.Mean), fmt.Sprintf("%.6f", d.P99), fmt.Sprintf("%.6f", d.Max), percent(d.Top1),
	}}, 0, 1, 2, 3, 4, 5)
}
