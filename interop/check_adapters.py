"""Adapters between neuroquant and PEFT: those that `train --method lora` writes give PEFT our logits on the same base, in float and in NF4, and merged into
it; those that PEFT saves give us its logits. Usage: check_adapters.py NEUROQUANT SHARED"""

import logging
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import bitsandbytes.functional
import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from neuroquant import Binary

IDS = np.array([[0, 5, 77, 301, 42, 7, 900, 33, 12, 250, 61, 8], [1, 400, 23, 99, 7, 7, 18, 640, 5, 300, 2, 11]], np.int64)
TEXT = "The river rose in the night and the town woke to water. Nobody had seen the like. "
logging.disable(logging.WARNING)
disable_progress_bar()
failed = False


def report(name, got, want, bound):
    global failed
    worst, scale = float(np.abs(got - want).max()), float(np.abs(want).max())
    bad = not worst <= bound * scale
    failed = failed or bad
    print(f"{name}: largest difference {worst:.2e}, largest logit {scale:.2f}{' FAILED' if bad else ''}")


def logits(model, ids):
    with torch.no_grad():
        return model(torch.from_numpy(ids)).logits.float().numpy()


def base(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def decoded(path, source):
    """The model with the float32 values of the codes of bitsandbytes: its products on CPUs round both operands to bfloat16."""
    coded, model = base(path), base(source)
    for name, m in coded.named_modules():
        state = getattr(getattr(m, "weight", None), "quant_state", None)
        if state is not None:
            state.dtype = torch.float32
            model.get_submodule(name).weight.data = bitsandbytes.functional.dequantize_4bit(m.weight.data, state)
    return model


def randomized(model):
    """Gives the products of adapters values that are not zero."""
    torch.manual_seed(7)
    for name, p in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(p, std=0.05)
    return model.eval()


def ours(tool, tmp, path, adapter, ids=IDS):
    out = tmp / "ours"
    np.save(tmp / "ids.npy", ids)
    flags = ["--adapter", adapter] if adapter else []
    tool.command("run", path, "--input", f"input_ids={tmp / 'ids.npy'}", "--out", out, *flags)
    return np.load(out / "logits.npy")


def main():
    tool, shared = Binary(sys.argv[1]), pathlib.Path(sys.argv[2])
    float_base = shared / "data/golm-15m"
    with tempfile.TemporaryDirectory() as folder:
        tmp = pathlib.Path(folder)
        (tmp / "train.txt").write_text(TEXT * 200)
        tool.command("quantize", float_base, tmp / "nf4", "--method", "bitsandbytes", "--load-in-4bit", "--bnb-4bit-compute-dtype", "float32", "-q")

        # Ours, trained, in PEFT.
        for name, path, flags in (
            ("float", float_base, []),
            ("float, some modules, rank-stabilized, dropout", float_base, ["--target-modules", "q_proj,v_proj,layers.3.mlp.down_proj", "--use-rslora", "--lora-dropout", "0.1"]),
            ("nf4", tmp / "nf4", []),
        ):
            adapter = tmp / f"adapter {name}"
            tool.command("train", path, adapter, "--method", "lora", "--data", tmp / "train.txt", "--max-steps", "8", "--epochs", "1", "--length", "64",
                         "--learning-rate", "0.002", "--lora-rank", "8", "-q", *flags)
            loaded = base(path) if path == float_base else decoded(path, float_base)
            without = logits(loaded, IDS)
            want = logits(PeftModel.from_pretrained(loaded, adapter).eval(), IDS)
            print(f"adapter ({name}): it moves logits by {np.abs(want - without).max():.2f}")
            report(f"ours in PEFT ({name})", ours(tool, tmp, path, adapter), want, 1e-4)
            if path != float_base:
                report(f"ours in PEFT ({name}, products of bitsandbytes)", ours(tool, tmp, path, adapter), logits(PeftModel.from_pretrained(base(path), adapter).eval(), IDS), 2e-2)
            merged = tmp / f"merged {name}"
            tool.command("convert", path, merged, "--to", "hf", "--adapter", adapter)
            report(f"ours merged, in transformers ({name})", logits(base(merged), IDS), want, 1e-4 if path != float_base else 2e-2)  # bfloat16 weights

        # PEFT's, here.
        for name, path, config in (
            ("all linear layers", float_base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")),
            ("patterns", float_base, LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 6}, alpha_pattern={"layers.2.self_attn.q_proj": 30}, use_rslora=True)),
            ("the head too", float_base, LoraConfig(r=4, lora_alpha=8, target_modules=["lm_head", "o_proj"])),
            ("nf4", tmp / "nf4", LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])),
        ):
            theirs = randomized(get_peft_model(base(path) if path == float_base else decoded(path, float_base), config))
            adapter = tmp / f"theirs {name}"
            theirs.save_pretrained(adapter)
            report(f"PEFT's here ({name})", ours(tool, tmp, path, adapter), logits(theirs, IDS), 1e-4)

        # Other architectures: matrices that lie the other way around, embeddings that are the head, checkpoints without the prefix.
        torch.manual_seed(3)
        for name, model in (
            ("gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=1000, n_positions=64, n_embd=48, n_layer=2, n_head=4))),
            ("tied llama", LlamaForCausalLM(LlamaConfig(vocab_size=1000, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True))),
        ):
            model.eval().save_pretrained(tmp / name)
            model.base_model.save_pretrained(tmp / f"{name} without prefix")
            theirs = randomized(get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", fan_in_fan_out=name == "gpt2", task_type="CAUSAL_LM")))
            theirs.save_pretrained(tmp / f"theirs {name}")
            want = logits(theirs, IDS)
            report(f"PEFT's here ({name})", ours(tool, tmp, tmp / name, tmp / f"theirs {name}"), want, 1e-4)
            tool.command("convert", tmp / name, tmp / f"merged {name}", "--to", "hf", "--adapter", tmp / f"theirs {name}")
            report(f"PEFT's merged here ({name})", logits(base(tmp / f"merged {name}"), IDS), want, 1e-4)
            if name == "tied llama":  # the head of what has no prefix is the embedding
                report(f"PEFT's here ({name}, checkpoint without prefix)", ours(tool, tmp, tmp / f"{name} without prefix", tmp / f"theirs {name}"), want, 1e-4)
    sys.exit(failed)


if __name__ == "__main__":
    main()
