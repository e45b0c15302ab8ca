#!/usr/bin/env python3
"""Writes golden.json: small models of the architectures with the logits that transformers computes in float32. Their weights are not stored: they
follow from the name of a tensor and the place of an element, by the formula of weights().
usage: golden.py   in this folder, with a Python that has interop/requirements-llm.txt"""
import json, logging, os, sys, tempfile, zlib

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../interop"))
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from decoders import DECODERS

logging.disable(logging.WARNING)
disable_progress_bar()
CASES = {
    "llama": ["biases", "rope dynamic", "rope llama3", "rope yarn, all fields"], "mistral": ["wide heads, tied"],
    "mixtral": ["3 experts, window", "all experts, wide heads"], "qwen2": ["window in some", "GQA"], "qwen2_moe": ["some layers", "shared expert"],
    "qwen3": ["GQA"], "qwen3_moe": ["normalized, tied"], "gemma": ["MQA"], "gemma2": ["low caps"], "gemma3_text": ["global rope linear"],
    "phi": ["normalized", "GQA, tied"], "phi3": ["longrope, long text", "partial"], "gpt2": ["scale by layer", "tied"],
    "gpt_neox": ["parallel", "one after the other"], "opt": ["norms behind, narrow embedding"],
    "falcon": ["multi query", "new, two norms", "alibi, one after the other"], "bloom": ["residual from norm", "tied"],
    "stablelm": ["parallel, normalized"], "starcoder2": ["untied, window", "GQA, tied"], "cohere": ["normalized", "GQA"], "olmo2": ["GQA"],
    "granite": ["factors"], "smollm3": ["window", "5 layers"],
}
VOCAB, IDS = 32, [(7 * i * i + 3 * i + 5) % 32 for i in range(20)]


def weights(name, shape):
    """Element i is (h/2^32 - 1/2)*s + m, h the high half of (crc32(name) + i + 1)*0x9E3779B97F4A7C15 modulo 2^64; s is 4/sqrt(last dimension) for
    matrices and 1/2 for vectors, m is 1 for vectors called weight."""
    n = int(np.prod(shape))
    h = ((np.uint64(zlib.crc32(name.encode())) + np.arange(1, n + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    scale, mean = (4 / shape[-1] ** 0.5, 0) if len(shape) > 1 else (0.5, float(name.endswith("weight")))
    return ((h.astype(np.float64) / 2**32 - 0.5) * scale + mean).astype(np.float32).reshape(shape)


def case(kind, name):
    config = AutoConfig.for_model(kind, **{**dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0), **DECODERS[kind][name]})
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        file = os.path.join(folder, "model.safetensors")
        with safe_open(file, "pt") as f:
            shapes = {k: f.get_slice(k).get_shape() for k in f.keys()}
        save_file({k: torch.from_numpy(weights(k, s)) for k, s in shapes.items()}, file, {"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0, -1].numpy()
        with open(os.path.join(folder, "config.json")) as f:
            saved = json.load(f)
    return {"name": name, "config": saved, "shapes": shapes, "logits": [float(f"{x:.6g}") for x in logits]}


with open("golden.json", "w") as f:
    f.write('{"ids": %s, "cases": [\n' % json.dumps(IDS))
    f.write(",\n".join(json.dumps(case(k, n), separators=(",", ":")) for k, names in CASES.items() for n in names))
    f.write("\n]}\n")
