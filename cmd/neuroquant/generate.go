package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/neurotrain/neuroquant"
	"github.com/neurotrain/neuroquant/internal/report"
)

// generateFlags are the flags of generate that have no other home.
type generateFlags struct {
	prompts     []string
	file        string
	chat        bool
	system      string
	cache       string
	products    string
	adapter     string
	context     int
	o           neuroquant.GenerateOptions
	temperature float64
	topK        int
	topP, minP  float64
	penalty     float64
}

func (g *generateFlags) add(f *pflag.FlagSet) {
	f.StringArrayVarP(&g.prompts, "prompt", "p", nil, "the text to continue; given several times, all are continued together")
	f.BoolVar(&g.chat, "chat", false, "talk to the model by its chat template: each prompt is a message, answered in turn; without one messages are lines of the standard input or the terminal")
	f.StringVar(&g.system, "system", "", "with --chat, what the model is told before the first message")
	f.StringVar(&g.file, "prompt-file", "", "file with the text to continue; - is standard input")
	f.IntVarP(&g.o.MaxTokens, "max-tokens", "n", 0, "most new tokens; default: as the model's generation_config.json says, or 256")
	f.Float64Var(&g.temperature, "temperature", 0, "0 takes the most probable token; higher is more random; default: as the model says")
	f.IntVar(&g.topK, "top-k", 0, "draw from so many most probable tokens; 0: all")
	f.Float64Var(&g.topP, "top-p", 1, "draw from the fewest tokens that have this probability together")
	f.Float64Var(&g.minP, "min-p", 0, "draw from tokens of at least this share of the highest probability")
	f.Float64Var(&g.penalty, "repetition-penalty", 1, "lowers tokens that were there; 1: not")
	f.Uint64Var(&g.o.Seed, "seed", 0, "of the draws")
	f.StringArrayVar(&g.o.Stop, "stop", nil, "text that ends the answer; may be given several times")
	f.StringVar(&g.cache, "cache", "float16", "element type of the key-value cache: float16, int8 or float32")
	f.StringVar(&g.products, "products", "bfloat16", "how prompts are multiplied by 16-bit weights, and all tokens by NF4 and FP4: bfloat16 rounds to it, or these to 8 bits, for speed; float32 does not")
	f.StringVar(&g.adapter, "adapter", "", adapterHelp)
	f.IntVar(&g.context, "context", 0, "most tokens of prompt and answer together; default: what the model was made for")
	f.BoolVar(&g.o.Begin, "bos", false, "put the token that begins a text before a prompt whose tokenizer does not")
	f.BoolVar(&g.o.IgnoreEnd, "ignore-eos", false, "go on after the token that ends a text")
}

// options completes the options by the flags that were given.
func (g *generateFlags) options(f *pflag.FlagSet) neuroquant.GenerateOptions {
	o := g.o
	for name, set := range map[string]func(){
		"temperature": func() { o.Temperature = &g.temperature }, "top-k": func() { o.TopK = &g.topK }, "top-p": func() { o.TopP = &g.topP },
		"min-p": func() { o.MinP = &g.minP }, "repetition-penalty": func() { o.RepetitionPenalty = &g.penalty },
	} {
		if f.Changed(name) {
			set()
		}
	}
	return o
}

// texts returns the prompts.
func (g *generateFlags) texts(stdin io.Reader) ([]string, error) {
	if g.file == "" {
		if len(g.prompts) == 0 {
			return nil, usagef("generate: --prompt is missing")
		}
		return g.prompts, nil
	}
	var b []byte
	var err error
	if g.file == "-" {
		b, err = io.ReadAll(io.LimitReader(stdin, 64<<20))
	} else {
		b, err = os.ReadFile(g.file)
	}
	return append(slices.Clone(g.prompts), string(b)), err
}

func (a *app) generateCommand() *cobra.Command {
	var g generateFlags
	c := &cobra.Command{
		Use:   "generate MODEL [--prompt TEXT] [--chat]",
		Short: "Continue a text with a language model, or talk to it",
		Long: `Continue a text with a language model: a Hugging Face folder of a known architecture, float or quantized, or a GGUF file. The text appears
as it is generated; how tokens are chosen is as the model's generation_config.json says, unless flags say otherwise.

With --chat the prompts are messages to the model, written by its chat template, and it answers each; what was computed of the conversation is
kept from turn to turn. Without prompts the messages are lines of the standard input; on a terminal they are asked for until it ends (Ctrl-D).`,
		Example: `  neuroquant generate model/ --prompt "Once upon a time" --max-tokens 100
  neuroquant generate model/ --prompt "A" --prompt "B" --temperature 0.8 --top-p 0.95 --seed 7 --json
  neuroquant generate model.gguf --chat --system "You answer in one sentence."`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if g.system != "" && !g.chat {
				return usagef("generate: --system goes with --chat")
			}
			asking := g.chat && len(g.prompts) == 0 && g.file == "" && !a.json && isTerminal(cmd.InOrStdin())
			var prompts []string
			var err error
			switch {
			case asking:
			case g.chat && len(g.prompts) == 0 && g.file == "" && !isTerminal(cmd.InOrStdin()):
				prompts, err = messageLines(cmd.InOrStdin())
			default:
				prompts, err = g.texts(cmd.InOrStdin())
			}
			if err != nil {
				return err
			}
			m, err := a.openAdapted(cmd.Context(), args[0], g.adapter)
			if err != nil {
				return err
			}
			defer m.Close()
			gen, err := m.NewGenerator(neuroquant.GeneratorOptions{Cache: g.cache, Context: g.context, Products: g.products})
			if err != nil {
				return err
			}
			defer gen.Close()
			if g.chat {
				c, err := gen.NewChat(g.system, g.options(cmd.Flags()))
				if err != nil {
					return err
				}
				if asking {
					return a.ask(cmd.Context(), c, cmd.InOrStdin())
				}
				return a.chat(cmd.Context(), c, prompts)
			}
			var each func(int, string) error
			if !a.json && len(prompts) == 1 {
				each = func(_ int, text string) error {
					a.printf("%s", text)
					return cmd.Context().Err()
				}
			}
			out, timing, err := gen.Generate(cmd.Context(), prompts, g.options(cmd.Flags()), each)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"generations": out, "timing": timing})
			}
			if each != nil {
				a.printf("\n")
			} else {
				for i, o := range out {
					a.printf("--- %d\n%s\n", i+1, o.Text)
				}
			}
			if !a.quiet {
				fmt.Fprintln(a.stderr, generationSpeed(timing))
			}
			return nil
		},
	}
	g.add(c.Flags())
	return c
}

// generationSpeed words where the time went.
func generationSpeed(t *neuroquant.GenerationTiming) string {
	rate := func(n int, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }
	return fmt.Sprintf("prompt: %d tokens, %.1f tokens/s; generated: %d tokens, %.1f tokens/s; cache %s",
		t.PromptTokens, rate(t.PromptTokens, t.Prefill), t.GeneratedTokens, rate(t.GeneratedTokens, t.Decode), report.Bytes(int64(t.CacheBytes)))
}
