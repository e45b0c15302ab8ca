#!/usr/bin/env python3
"""Folders that method bitsandbytes wrote are loaded by transformers with bitsandbytes, and folders that those saved are loaded by neuroquant;
both compute the same logits within rounding, and on float weights rounded by one or the other the same codes.
usage: check_bitsandbytes.py NEUROQUANT SHARED   needs interop/requirements-llm.txt"""
import json, logging, os, subprocess, sys, tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import numpy as np
import torch
import bitsandbytes.functional as F
from bitsandbytes.functional import QuantState
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

logging.disable(logging.WARNING)
tool, shared = sys.argv[1], sys.argv[2]
source = os.path.join(shared, "data/golm-15m")
ids = np.random.default_rng(5).integers(1, 4000, (1, 96))
failed = 0
SUMS = 2e-5  # of the range of the logits: float32 sums in another order


def ours(folder):
    with tempfile.TemporaryDirectory() as out:
        np.save(os.path.join(out, "ids.npy"), ids)
        subprocess.run([tool, "run", folder, "--input", os.path.join(out, "ids.npy"), "--out", out, "-q"], check=True, stdout=subprocess.DEVNULL)
        return np.load(os.path.join(out, "logits.npy"))


def theirs(model):
    with torch.no_grad():
        return model(torch.from_numpy(ids)).logits.float().numpy()


def tensors(folder):
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}


def nested(key, t):
    """The codes that bitsandbytes gives the scales of a weight less the offset that is in its description."""
    single = tensors(singles)[key]
    name = key.removesuffix(".absmax")
    state = json.loads(bytes(next(v for k, v in t.items() if k.startswith(name + ".quant_state")).tolist()))
    return F.quantize_blockwise(single - torch.tensor(state["nested_offset"], dtype=torch.float32), code=t[name + ".nested_quant_map"], blocksize=256)[0]


def report(what, ok, text):
    global failed
    failed += not ok
    print(f"{'ok  ' if ok else 'FAIL'} {what}: {text}", flush=True)


variants = {
    "nf4": (["--load-in-4bit", "--bnb-4bit-compute-dtype", "float32"], dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)),
    "nf4 double": (["--load-in-4bit", "--bnb-4bit-use-double-quant", "--bnb-4bit-compute-dtype", "float32"],
                   dict(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32)),
    "fp4": (["--load-in-4bit", "--bnb-4bit-quant-type", "fp4", "--bnb-4bit-compute-dtype", "float32"],
            dict(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_compute_dtype=torch.float32)),
    "int8": (["--load-in-8bit"], dict(load_in_8bit=True)),
}
def dequantized(folder):
    """Logits in float32 of the weights that bitsandbytes decodes to float32: its own products on CPUs round both operands to bfloat16."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    t = tensors(folder)
    for name, m in model.named_modules():
        w = name + ".weight"
        states = {k: v for k, v in t.items() if k.startswith(w + ".")}
        if states:
            state = QuantState.from_dict(states, device="cpu")
            state.dtype = torch.float32
            m.weight.data = F.dequantize_4bit(t[w], state)
        elif name + ".SCB" in t:
            m.weight.data = t[w].float() * (t[name + ".SCB"] / 127).unsqueeze(1)
    return theirs(model)


floats = theirs(AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32))
scale = np.abs(floats).max()
with tempfile.TemporaryDirectory() as work:
    for name, (flags, config) in variants.items():
        singles = os.path.join(work, "mine-nf4")  # whose scales are floats
        mine, other = os.path.join(work, "mine-" + name.replace(" ", "-")), os.path.join(work, "other-" + name.replace(" ", "-"))
        subprocess.run([tool, "quantize", source, mine, "--method", "bitsandbytes", "-q", *flags], check=True, stdout=subprocess.DEVNULL)
        dtype = torch.float16 if name == "int8" else torch.float32
        model = AutoModelForCausalLM.from_pretrained(mine, dtype=dtype)
        classes = {type(m).__name__ for m in model.modules() if "Linear" in type(m).__name__}
        a, b, c = ours(mine), theirs(model), dequantized(mine)
        lost = np.abs(b - floats).max() / scale
        # In 4 bits ours are float32 products of what bitsandbytes decodes, theirs of bfloat16. In 8 bits both round activations, there of float16.
        near = np.abs(a - c).max() / scale
        d = np.abs(a - b).max() / scale
        ok = d < 2e-2 and lost < 0.5 and classes & {"Linear4bit", "Linear8bitLt"} != set()
        report(f"{name}, written here", ok and (name == "int8" or near < SUMS),
               f"logits differ by {d:.2e} of their range, from float32 products of the decoded weights by {near:.2e}, classes {sorted(classes)}")
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16 if name != "int8" else torch.float16, quantization_config=BitsAndBytesConfig(**config))
        model.save_pretrained(other)
        if name != "int8":
            model = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
        a, b, c = ours(other), theirs(model), dequantized(other)
        d, near = np.abs(a - b).max() / scale, np.abs(a - c).max() / scale
        report(f"{name}, saved there", d < 2e-2 and (name == "int8" or near < SUMS), f"logits differ by {d:.2e} of their range, from float32 products by {near:.2e}")
        x, y = tensors(mine), tensors(other)
        report(f"{name}, names", set(x) == set(y), f"{len(x)} tensors; {sorted(set(x) ^ set(y))[:3]}")
        for part in (".weight", ".absmax", ".SCB"):
            keys = [k for k in x if k.endswith(part) and x[k].dtype in (torch.uint8, torch.int8, torch.float32)]
            wrong, count = sum(int((x[k] != y[k]).sum()) for k in keys), sum(x[k].numel() for k in keys)
            if "double" in name and part == ".absmax":
                # PyTorch's sum, whose mean is taken off, has the order of this machine's vectors and threads: codes are compared with our mean.
                wrong = sum(int((x[k] != nested(k, x)).sum()) for k in keys)
            report(f"{name}, elements of {part}", wrong == 0, f"{wrong} of {count} differ")
sys.exit(failed > 0)
