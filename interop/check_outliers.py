#!/usr/bin/env python3
"""Outlying channels of activations: a copy of golm-15m that computes the same, with six channels of every normalization 256 times as large
and the columns of the weights that read them as much smaller, is quantized and its perplexity measured.

    check_outliers.py NEUROQUANT SHARED     needs interop/requirements-llm.txt

Plain 8-bit activations must lose it (at least 10 % of perplexity), SmoothQuant keep it within 0.1 % of float, and AWQ with 4 bits
recover at least 80 % of what plain rounding loses. LLM.int8() must keep the perplexity within 0.1 % of float on the original and on a copy in
which one channel of every normalization is outlying, where the same codes with a threshold of 0, which is plain 8-bit activations, lose at least
10 %. It keeps less where six channels are: the weights of those are so small beside the rest of their row that most of their 8-bit codes are 0, which
the layout of bitsandbytes shares. The outlying copies are written by this script with safetensors alone; factors are powers of two, so that
their bfloat16 weights are exact.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

from neuroquant import Binary
from table import Table

FACTOR, CHANNELS = 256.0, 6
READERS = {"input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj")}


def inject(source, out, channels):
    """Writes a copy with so many outlying channels. They are those of a seeded draw, others for each normalization."""
    out.mkdir()
    t = load_file(source / "model.safetensors")
    g = torch.Generator().manual_seed(7)
    layers = json.loads((source / "config.json").read_text())["num_hidden_layers"]
    places = [(f"model.layers.{i}.{n}.weight", [f"model.layers.{i}.{r}.weight" for r in rs]) for i in range(layers) for n, rs in READERS.items()]
    for norm, readers in places + [("model.norm.weight", ["lm_head.weight"])]:
        at = torch.randperm(t[norm].shape[0], generator=g)[:channels]
        t[norm][at] *= FACTOR
        for r in readers:
            t[r][:, at] /= FACTOR
    save_file(t, out / "model.safetensors", {"format": "pt"})
    for f in source.iterdir():
        if f.is_file() and f.name not in ("model.safetensors", "README.md"):
            (out / f.name).write_bytes(f.read_bytes())


def main():
    tool, shared = Binary(sys.argv[1]), pathlib.Path(sys.argv[2])
    source = shared / "data/golm-15m"
    text, calibration = source / "eval/wikitext2-test-part1.txt", ["--data", source / "eval/calib-train-mix.txt", "--num-calibration-samples", 64, "--calibration-length", 512]
    table = Table()
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        inject(source, work / "outliers", CHANNELS)
        inject(source, work / "outlier", 1)

        def perplexity(model):
            return json.loads(tool.command("eval", model, "--text", text, "--json", "-q"))["perplexity"]["perplexity"]

        def quantized(model, name, *flags):
            tool.command("quantize", model, work / name, "-q", *flags)
            return perplexity(work / name)

        float_, same = perplexity(source), perplexity(work / "outliers")
        table.at_most("golm-15m with outliers", "perplexity against the original", abs(same / float_ - 1), 1e-4)
        table.note("golm-15m with outliers", "perplexity, float", same)
        table.note("golm-15m", "perplexity, w8a8", quantized(source, "w8", "--method", "w8a8"))
        plain = quantized(work / "outliers", "plain", "--method", "w8a8")
        table.at_least("w8a8", "perplexity by float", plain / same, 1.1)
        smooth = quantized(work / "outliers", "smooth", "--method", "w8a8", "--smooth-quant", *calibration)
        table.note("w8a8 with SmoothQuant", "perplexity", smooth)
        table.at_most("w8a8 with SmoothQuant", "perplexity by float, less 1", smooth / same - 1, 1e-3)
        rtn = quantized(work / "outliers", "rtn", "--method", "rtn", "--sym=false")
        awq = quantized(work / "outliers", "awq", "--method", "awq", *calibration)
        table.note("rtn, 4 bits", "perplexity", rtn)
        table.note("awq, 4 bits", "perplexity", awq)
        table.at_least("awq, 4 bits", "share of what rtn loses that is recovered", (rtn - awq) / (rtn - same), 0.8)
        int8 = ["--method", "bitsandbytes", "--load-in-8bit"]
        table.at_most("LLM.int8()", "perplexity by float, less 1", quantized(source, "int8", *int8) / float_ - 1, 1e-3)
        table.at_least("LLM.int8(), an outlier, threshold 0", "perplexity by float", quantized(work / "outlier", "int8-plain", *int8, "--llm-int8-threshold", 0) / float_, 1.1)
        table.at_most("LLM.int8(), an outlier", "perplexity by float, less 1", quantized(work / "outlier", "int8-outlier", *int8) / float_ - 1, 1e-3)
        table.note("LLM.int8(), six outliers", "perplexity by float, less 1", quantized(work / "outliers", "int8-outliers", *int8) / float_ - 1)
    table.finish()


main()
