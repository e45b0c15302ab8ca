#!/usr/bin/env python3
"""Folders in the layouts GPTQ, AWQ and compressed-tensors are loaded by transformers with gptqmodel and compressed-tensors, and folders that
GPTQModel saved are loaded by neuroquant: the same weights on both sides, and the same logits.

    check_loaders.py NEUROQUANT SHARED [WORD...]     needs interop/requirements-loaders.txt; words choose cases by their names
    check_loaders.py NEUROQUANT SHARED llm-compressor     the folders that llm-compressor saves; needs interop/requirements-llmcompressor.txt

Weights: what the loader's own module decodes, in the type that it computes in, equals what neuroquant decodes, rounded to that type; and
so do those of layouts.py, in float32. Logits: PyTorch's float32 products of the weights and neuroquant's of what it decodes differ by
summation order alone; the loader's own kernels compute in float16. neuroquant's on codes round activations to 8 bits in blocks: what that
costs is held to what it costs in a PyTorch emulation.
"""

import itertools
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "GPTQMODEL_CPU_WORKERS": "2"}
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AwqConfig, GPTQConfig
from transformers.utils import logging as hf_logging

import layouts

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)
hf_logging.disable_progress_bar()
tool, shared, words = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3:]
here = tempfile.TemporaryDirectory()
os.chdir(here.name)  # gptqmodel writes logs into the working folder
SUMS = 2e-5  # of the range of the logits: float32 sums in another order
HALVES = 1e-2  # products of float16
CODES = 2  # what rounding activations costs, by what it costs in PyTorch: both are the largest of many errors
failed = checked = 0


def report(what, ok, text):
    global failed, checked
    failed += not ok
    checked += 1
    print(f"{'ok  ' if ok else 'FAIL'} {what}: {text}", flush=True)


def neuroquant(*args):
    done = subprocess.run([tool, *map(str, args)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{args[0]}: {done.stderr.strip()[-400:]}")
    return done.stdout


def logits(folder, ids, work):
    np.save(work / "ids.npy", ids)
    neuroquant("run", folder, "--input", work / "ids.npy", "--out", work, "-q")
    return np.load(work / "logits.npy")


def theirs(model, ids):
    with torch.no_grad():
        return model(torch.from_numpy(ids)).logits.float().numpy()


def load(folder, config):
    """The model as transformers loads it for computing, and the weights that its modules decode."""
    method = config["quant_method"]
    if method == "compressed-tensors":
        return load_compressed(folder, config)
    if config.get("lm_head"):  # which transformers leaves at random values
        from gptqmodel import GPTQModel

        wrapped = GPTQModel.load(str(folder), device="cpu", backend="gptq_torch" if method == "gptq" else "torch_awq")
        coded = {n: m for n, m in wrapped.model.named_modules() if hasattr(m, "qweight")}
        return wrapped.model, {n: layouts.decode(load_file(folder / "model.safetensors"), config)[n] for n in coded}, sorted({type(m).__name__ for m in coded.values()})
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
    names = sorted({type(m).__name__ for m in model.modules() if hasattr(m, "qweight") or hasattr(m, "qzeros")})
    if method == "awq":
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

        t = load_file(folder / "model.safetensors")
        modules = [n[:-8] for n in t if n.endswith(".qweight")]
        try:
            theirs(model, np.ones((1, 4), np.int64))
        except RuntimeError:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16, quantization_config=AwqConfig(backend="torch_awq", **{k: config[k] for k in ("bits", "group_size", "zero_point")}))
            names += ["in place of which the backend torch_awq computes"]
        size = lambda n: config["group_size"] if config["group_size"] > 0 else t[n + ".qweight"].shape[0]
        return model, {n: dequantize_gemm(t[n + ".qweight"], t[n + ".qzeros"], t[n + ".scales"], config["bits"], size(n)).T for n in modules}, names
    # The kernel that is chosen by itself may refuse groups that its module takes; TorchFusedLinear of gptqmodel 7.7.0 computes otherwise than
    # its own module decodes where there are zero points.
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16, quantization_config=GPTQConfig(bits=config["bits"], backend="gptq_torch"))
    try:
        if "TorchFusedLinear" in names and not config["sym"]:
            raise RuntimeError
        theirs(model, np.ones((1, 4), np.int64))
    except RuntimeError:
        model, names = plain, names + ["in place of which TorchLinear computes"]
    return model, {n: m.dequantize_weight().T for n, m in plain.named_modules() if hasattr(m, "dequantize_weight")}, names


def load_compressed(folder, config):
    """As load. Versions 0.19 and 0.20 take no packed zero points in transformers, their own neither: those are decoded by their compressor."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    scheme = config["config_groups"]["group_0"]
    if config["format"] != "pack-quantized" or scheme["weights"]["symmetric"]:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
        theirs(model, np.ones((1, 4), np.int64))  # decodes
        marked = {n: m for n, m in model.named_modules() if getattr(m, "quantization_scheme", None)}
        return model, {n: m.weight.detach() for n, m in marked.items()}, sorted({type(m).__name__ for m in marked.values()})
    t = load_file(folder / "model.safetensors")
    compressor = BaseCompressor.get_value_from_registry(config["format"])
    weights = {}
    for module in [n[:-14] for n in t if n.endswith(".weight_packed")]:
        parts = {k[len(module) + 1 :]: v for k, v in t.items() if k.startswith(module + ".")}
        weights[module] = compressor.decompress(parts, QuantizationScheme(**scheme))["weight"]
    plain = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, quantization_config=None), dtype=torch.float16)
    plain.load_state_dict({k: v for k, v in t.items() if ".weight_" not in k} | {n + ".weight": w.half() for n, w in weights.items()}, strict=False)
    return plain, weights, [compressor.__name__]


def as_here(model, modules, config, tensors):
    """Makes a model of float32 weights round the inputs of modules as neuroquant's kernels do."""
    scheme = config["config_groups"]["group_0"]["weights"] if "config_groups" in config else config
    bits = scheme.get("num_bits", scheme.get("bits"))
    tokens = config.get("format") == "int-quantized"

    def rounded(x, block):
        pad = -x.shape[-1] % block
        y = torch.nn.functional.pad(x, (0, pad)).unflatten(-1, (-1, block))
        largest = y.abs().amax(-1, keepdim=True)
        return (torch.round(y * (127 / largest.clamp(min=2**-100))) * (largest / 127)).flatten(-2)[..., : x.shape[-1]]

    for name, m in model.named_modules():
        if name not in modules:
            continue
        cols = m.weight.shape[1]
        group = scheme.get("group_size") or -1
        small = 0 < group < cols and group % 32 != 0
        block = cols if tokens else 16 if small or bits == 6 else 32
        index = tensors.get(name + ".g_idx")
        order = torch.argsort(index, stable=True) if index is not None else torch.arange(cols)
        back = torch.argsort(order)
        m.register_forward_pre_hook(lambda _, x, block=block, order=order, back=back: (rounded(x[0][..., order], block)[..., back],))
    return model


def check(name, source, folder, work):
    """One folder, written here or there."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    floats = work / "floats"
    neuroquant("convert", folder, floats, "--to", "hf", "--force", "-q")
    ours = load_file(floats / "model.safetensors")
    stored = load_file(folder / "model.safetensors")
    spec = layouts.decode(stored, config)
    off = [n for n, w in spec.items() if not torch.equal(w.float(), ours[n + ".weight"])]
    report(f"{name}, decoded from the description", not off and spec, f"{len(spec)} weights, equal but for {off[:2]}" if off else f"{len(spec)} weights are equal")
    try:
        model, weights, classes = load(folder, config)
    except Exception as e:
        report(f"{name}, loaded", False, f"{type(e).__name__}: {str(e).splitlines()[0][:200]}")
        return
    off = [n for n, w in weights.items() if not torch.equal(w.half(), ours[n + ".weight"].half())]
    report(f"{name}, weights", not off and len(weights) == len(spec), f"{len(weights)} of {len(spec)} are modules of codes, {' '.join(classes)}; {len(off)} decode otherwise {off[:2]}")
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    ids = np.random.default_rng(5).integers(1, vocab, (1, 96))
    # The kernel that is chosen by itself may refuse groups that its module takes.
    plain = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    plain.load_state_dict({k: v.float() for k, v in ours.items()} | {n + ".weight": w.float() for n, w in spec.items()}, strict=False)
    a, b, c, d = theirs(model, ids), logits(folder, ids, work), theirs(plain, ids), logits(floats, ids, work)
    e = theirs(as_here(plain, spec, config, stored), ids)
    scale = np.abs(c).max()
    near = lambda x, y: float(np.abs(x - y).max() / scale)
    # The loader rounds activations of 8 bits too, to 127.5 steps: as far from float32 as ours may be.
    own = near(a, c) < HALVES or config.get("format") == "int-quantized" and near(a, c) < 1.5 * near(b, c)
    ok = near(d, c) < SUMS and own and near(b, c) < CODES * near(e, c) + HALVES / 10
    report(f"{name}, logits", ok, f"of their range, float32 differs by {near(d, c):.1e}, the loader's own by {near(a, c):.1e}, ours on codes by {near(b, c):.1e}, their emulation by {near(e, c):.1e}")


def cases():
    """Name, model, format and flags of what is written here."""
    golm, tiny = "golm-15m", "stories260k"
    sym = {True: "sym", False: "asym"}
    for fmt, bits, group, s in itertools.product(("gptq", "gptq_v2"), (2, 3, 4, 8), (-1, 32, 64, 128), (True, False)):
        yield f"{tiny} {fmt} {bits} bits group {group} {sym[s]}", tiny, fmt, ["rtn", "--bits", bits, "--group-size", group, f"--sym={str(s).lower()}"]
        if group != -1:
            yield f"{tiny} {fmt} {bits} bits group {group} {sym[s]} desc_act", tiny, fmt, ["gptq", "--bits", bits, "--group-size", group, f"--sym={str(s).lower()}", "--desc-act"]
    for fmt, bits, group in [("gptq", 4, 128), ("gptq_v2", 4, 64), ("gptq", 8, 32), ("gptq", 3, 128), ("gptq_v2", 2, 128), ("gptq", 4, -1)]:
        yield f"{golm} {fmt} {bits} bits group {group} asym", golm, fmt, ["rtn", "--bits", bits, "--group-size", group, "--sym=false"]
        yield f"{golm} {fmt} {bits} bits group {group} sym", golm, fmt, ["rtn", "--bits", bits, "--group-size", group]
    for fmt in ("gptq", "gptq_v2"):
        yield f"{golm} {fmt} 4 bits group 128 desc_act", golm, fmt, ["gptq", "--desc-act"]
    for group, s, model in itertools.product((-1, 32, 64, 128), (True, False), (golm, tiny)):
        if model == tiny and group == 128:  # its layers have 64 inputs
            continue
        yield f"{model} awq group {group} {sym[s]}", model, "awq", ["rtn", "--group-size", group, f"--sym={str(s).lower()}"]
    for bits, group, s, model in itertools.product(range(2, 9), (-1, 32, 128), (True, False), (golm, tiny)):
        if model == tiny or bits in (4, 8):
            yield f"{model} compressed-tensors {bits} bits group {group} {sym[s]}", model, "compressed-tensors", ["rtn", "--bits", bits, "--group-size", group, f"--sym={str(s).lower()}"]
    yield f"{golm} compressed-tensors 4 bits with lm_head", golm, "compressed-tensors", ["rtn", "--lm-head"]
    yield f"{golm} compressed-tensors w8a8 with lm_head", golm, "compressed-tensors", ["w8a8", "--lm-head"]
    yield f"{golm} gptq with lm_head", golm, "gptq", ["rtn", "--lm-head"]
    yield f"{golm} awq with lm_head", golm, "awq", ["rtn", "--lm-head", "--sym=false"]
    for model in (golm, tiny):
        yield f"{model} compressed-tensors w8a8", model, "compressed-tensors", ["w8a8"]
        yield f"{model} compressed-tensors w8a8 with SmoothQuant", model, "compressed-tensors", ["w8a8", "--smooth-quant"]


def saved_there(name, **config):
    """A folder that GPTQModel quantized and saved."""
    from gptqmodel import GPTQModel, QuantizeConfig

    source = shared / "data" / name
    texts = {"golm-15m": "eval/calib-train-mix.txt", "stories260k": "eval/tinystories-calib.json"}
    text = (source / texts[name]).read_text()
    samples = json.loads(text)[:8] if texts[name].endswith("json") else [text[i : i + 800] for i in range(0, 8000, 800)]
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        model = GPTQModel.load(str(source), QuantizeConfig(**config), backend="gptq_torch")
        model.quantize(samples, batch_size=1)
        model.save(str(work / "saved"))
        check(f"{name} saved by GPTQModel, {' '.join(f'{k} {v}' for k, v in config.items())}", source, work / "saved", work)


def saved_by_llmcompressor(scheme, smooth):
    """A folder that llm-compressor quantized and saved, run here."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
    from llmcompressor.modifiers.smoothquant import SmoothQuantModifier
    from transformers import AutoTokenizer

    source = shared / "data/golm-15m"
    text = (source / "eval/calib-train-mix.txt").read_text()
    recipe = [GPTQModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]) if scheme == "W4A16" else QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"])]
    recipe = ([SmoothQuantModifier(smoothing_strength=0.8)] if smooth else []) + recipe
    name = f"golm-15m saved by llm-compressor, {scheme}{' with SmoothQuant' if smooth else ''}"
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float16)
        tokenizer = AutoTokenizer.from_pretrained(source)
        data = Dataset.from_list([tokenizer(text[i : i + 1200], truncation=True, max_length=256) for i in range(0, 9600, 1200)])
        oneshot(model=model, processor=tokenizer, dataset=data, recipe=recipe, max_seq_length=256, num_calibration_samples=8)
        model.save_pretrained(work / "saved")
        try:
            check(name, source, work / "saved", work)
        except Exception as e:
            report(name, False, f"{type(e).__name__}: {e}")


chosen = [c for c in cases() if all(w in c[0] for w in words)]
for name, model, fmt, (method, *flags) in chosen:
    source = shared / "data" / model
    calibration = []
    if method == "gptq" or "--smooth-quant" in flags:
        calibration = ["--data", source / ("eval/calib-train-mix.txt" if model == "golm-15m" else "eval/tinystories-calib.json"), "--num-calibration-samples", 2, "--calibration-length", 64]
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        try:
            neuroquant("quantize", source, work / "q", "--method", method, "--format", fmt, "-q", *flags, *calibration)
            check(name, source, work / "q", work)
        except Exception as e:
            report(name, False, f"{type(e).__name__}: {e}")
if not words or "GPTQModel" in words:
    for config in [dict(bits=4, group_size=128), dict(bits=4, group_size=64, sym=False, format="gptq_v2"), dict(bits=8, group_size=32), dict(bits=3, group_size=128), dict(bits=2, group_size=64), dict(bits=4, group_size=128, desc_act=True)]:
        saved_there("golm-15m", **config)
if "llm-compressor" in words:
    for scheme, smooth in [("W4A16", False), ("W4A16_ASYM", False), ("W8A16", False), ("W8A8", False), ("W8A8", True)]:
        saved_by_llmcompressor(scheme, smooth)
print(f"{checked - failed} of {checked} checks passed")
sys.exit(failed > 0 or not checked)
