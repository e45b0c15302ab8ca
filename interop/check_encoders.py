#!/usr/bin/env python3
"""Every architecture of encoders, on small random checkpoints that transformers saves: texts of several lengths, batches with padding and types, and
images. All outputs are within 1e-4 of the range of those that transformers computes in float32: ours from the folder, and those of ONNX Runtime
from the ONNX file that the folder is converted to. Then one class of each architecture by methods of quantization: ours and ONNX Runtime's outputs of
ONNX files, ours and those of transformers with bitsandbytes of folders.
usage: check_encoders.py NEUROQUANT [--only PART] [--keep FOLDER]   needs interop/requirements-llm.txt"""
import argparse, logging, os, shutil, subprocess, sys, tempfile, zlib

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
import numpy as np
import onnxruntime
import torch
import transformers
import bitsandbytes.functional as F
from bitsandbytes.functional import QuantState
from safetensors.torch import load_file, save_file
from transformers.utils.logging import disable_progress_bar

from encoders import ENCODERS

logging.disable(logging.WARNING)
disable_progress_bar()
torch.set_num_threads(1)
VOCAB, LIMIT = 96, 1e-4


def randomize(model, seed):
    """Weights of such sizes that every part of the model has its say in the outputs."""
    r = torch.Generator().manual_seed(seed)
    draw = lambda p: torch.randn(p.shape, generator=r)
    for name, p in model.named_parameters():
        if p.ndim == 1 and name.endswith("bias"):
            p.data = 0.2 * draw(p)
        elif p.ndim == 1:
            p.data += 0.2 * draw(p)
        elif "relative_attention_bias" in name:
            p.data = draw(p)
        elif "embeddings" in name and p.ndim < 4:
            p.data = 0.5 * draw(p)
        else:
            p.data = draw(p) / p[0].numel() ** 0.5


def make(kind, name, fields, folder):
    """Saves a checkpoint and returns it as a model, loaded anew."""
    seed = zlib.crc32(repr((kind, name, fields)).encode())
    torch.manual_seed(seed)
    built = getattr(transformers, name.partition(",")[0])
    model = built(built.config_class(**{**({} if kind == "vit" else dict(vocab_size=VOCAB)), **fields}))
    randomize(model, seed)
    model.save_pretrained(folder)
    return built.from_pretrained(folder, dtype=torch.float32).eval()


def old_names(folder):
    """Calls the parameters of normalizations as checkpoints do that were converted from TensorFlow."""
    file = os.path.join(folder, "model.safetensors")
    old = lambda k: k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    tensors = {old(k): v.clone() for k, v in load_file(file).items()}
    assert any(k.endswith(".gamma") for k in tensors)
    save_file(tensors, file, {"format": "pt"})


def batches(kind, model):
    """Inputs by name: single texts, batches of texts filled up with padding, on either side, choices between texts, and images."""
    c, r = model.config, np.random.default_rng(zlib.crc32(kind.encode()))
    if kind == "vit":
        size = c.image_size if isinstance(c.image_size, (list, tuple)) else (c.image_size, c.image_size)
        return [{"pixel_values": r.standard_normal((n, c.num_channels, *size), dtype=np.float32)} for n in (1, 3)]
    out = []
    longest = c.max_position_embeddings - 4
    for lengths, left in (((1,), False), ((37,), False), ((5, 23, 12), False), ((longest, 17), False), ((9, 14), True)):
        ids = np.full((len(lengths), max(lengths)), c.pad_token_id, np.int64)
        mask = np.zeros_like(ids)
        for row, n in enumerate(lengths):
            at = slice(max(lengths) - n, None) if left else slice(0, n)
            ids[row, at], mask[row, at] = r.integers(4, VOCAB, n), 1
        one = {"input_ids": ids, "attention_mask": mask}
        if getattr(c, "type_vocab_size", 1) > 1:
            one["token_type_ids"] = r.integers(0, c.type_vocab_size, ids.shape) * mask
        if type(model).__name__.endswith("ForMultipleChoice"):
            one = {k: np.stack([v] * 3, 1) for k, v in one.items()}
            for i in range(3):
                one["input_ids"][:, i] = np.where(mask, 4 + (ids + 31 * i) % (VOCAB - 4), ids)
        out.append(one)
    return out


def theirs(model, inputs):
    with torch.no_grad():
        out = model(**{k: torch.from_numpy(v) for k, v in inputs.items()})
    return {k: v.float().numpy() for k, v in out.items()}


def off(got, want, inputs):
    """The largest difference of outputs as a part of their range; what is computed of padding counts too."""
    if set(got) != set(want):
        return float("inf"), f"outputs {sorted(got)}, want {sorted(want)}"
    worst = 0.0
    for name, w in want.items():
        if got[name].shape != w.shape or not np.isfinite(got[name]).all():
            return float("inf"), f"{name}: {got[name].shape}, want {w.shape}"
        worst = max(worst, float(np.abs(got[name] - w).max() / (w.max() - w.min() if w.size > 1 else abs(w.max()) + 1)))
    return worst, ""


def call(*args):
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ours(tool, model, inputs, work):
    args, out = [], os.path.join(work, "out")
    for k, v in inputs.items():
        np.save(os.path.join(work, k + ".npy"), v)
        args += ["--input", f"{k}={work}/{k}.npy"]
    call(tool, "run", model, *args, "--out", out, "-q")
    got = {f[:-4]: np.load(os.path.join(out, f)) for f in os.listdir(out)}
    shutil.rmtree(out)
    return got


def runtime(file):
    """What ONNX Runtime computes of inputs."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs)))


def check(tool, kind, name, fields, folder):
    model = make(kind, name, fields, folder)
    if name == "BertModel":
        old_names(folder)
    result = {"folder": 0.0, "onnx": 0.0}
    try:
        onnx = os.path.join(folder, "model.onnx")
        call(tool, "convert", folder, onnx)
        session = runtime(onnx)
        for inputs in batches(kind, model):
            want = theirs(model, inputs)
            for key, got in (("folder", ours(tool, folder, inputs, folder)), ("onnx", session(inputs))):
                worst, why = off(got, want, inputs)
                if why:
                    return False, result, f"{key}: {why}"
                result[key] = max(result[key], worst)
    except subprocess.CalledProcessError as e:
        return False, result, e.stderr.strip().splitlines()[-1]
    return max(result.values()) <= LIMIT, result, ""


# Matrices of multiples of 64, as the products of bitsandbytes for CPUs want them.
BIG = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
QUANTIZED = {
    ("bert", "BertForSequenceClassification"): BIG, ("bert", "BertForMaskedLM"): BIG, ("roberta", "RobertaForMaskedLM"): dict(BIG, type_vocab_size=1),
    ("xlm-roberta", "XLMRobertaForTokenClassification"): BIG, ("distilbert", "DistilBertForSequenceClassification"): dict(dim=64, n_layers=2, n_heads=4, hidden_dim=128),
    ("electra", "ElectraForPreTraining"): dict(BIG, embedding_size=64), ("mpnet", "MPNetModel"): BIG,
    ("vit", "ViTForImageClassification"): dict(BIG, image_size=24, patch_size=8, num_labels=8), ("vit", "ViTModel"): dict(BIG, image_size=24, patch_size=8),
}
METHODS = {
    "dynamic": ["dynamic"], "dynamic float16": ["dynamic", "--dtype", "float16"], "static": ["static", "--data", "SAMPLES"],
    "rtn": ["rtn", "--format", "onnx", "--group-size", "16"], "nf4": ["bitsandbytes", "--load-in-4bit", "--bnb-4bit-compute-dtype", "float32"],
    "int8": ["bitsandbytes", "--load-in-8bit"],
}
# Float32 sums in another order; activations that are rounded, of which some on the border between two codes get the other one: those of bitsandbytes
# are of bfloat16, or 8 bits of float16.
SUMS, ROUNDED = 2e-5, 3e-2


def decoded(built, folder, quantized):
    """The model of a folder of floats with the weights that bitsandbytes decodes of 4 bits to float32."""
    tensors, file = load_file(os.path.join(quantized, "model.safetensors")), os.path.join(folder, "model.safetensors")
    floats = load_file(file)
    for name in floats:
        states = {k: v for k, v in tensors.items() if k.startswith(name + ".")}
        if states:
            state = QuantState.from_dict(states, device="cpu")
            state.dtype = torch.float32
            floats[name] = F.dequantize_4bit(tensors[name], state)
    save_file(floats, file, {"format": "pt"})
    return built.from_pretrained(folder, dtype=torch.float32).eval()


def samples(kind, model, file):
    """Calibration samples of one length."""
    if kind == "vit":
        np.savez(file, **batches(kind, model)[1])
        return
    ids = np.random.default_rng(1).integers(4, VOCAB, (16, 24))
    more = {"token_type_ids": np.zeros_like(ids)} if getattr(model.config, "type_vocab_size", 1) > 1 else {}
    np.savez(file, input_ids=ids, attention_mask=np.ones_like(ids), **more)


def check_quantized(tool, kind, name, fields, method, work):
    """The largest differences of ours from the runtime's outputs and, of 4 bits, from products in float32, as a part of the largest output."""
    folder, out = os.path.join(work, "float"), os.path.join(work, "quantized")
    for path in (folder, out):
        shutil.rmtree(path, ignore_errors=True)
    os.makedirs(folder)
    model = make(kind, name, fields, folder)
    data = os.path.join(work, "samples.npz")
    samples(kind, model, data)
    call(tool, "quantize", folder, out, "--method", *(data if a == "SAMPLES" else a for a in METHODS[method]))
    file, exact = os.path.join(out, "model.onnx"), None
    if os.path.exists(file):
        limit, other = ROUNDED if method in ("dynamic", "static") else LIMIT, runtime(file)
    else:
        limit, file = ROUNDED, out
        loaded = getattr(transformers, name).from_pretrained(out).eval()
        assert {type(m).__name__ for m in loaded.modules()} & {"Linear4bit", "Linear8bitLt"}
        other = lambda inputs: theirs(loaded, inputs)
        if method == "nf4":
            exact = decoded(type(model), folder, out)
    scale = worst = near = 0.0
    for inputs in batches(kind, model):
        got, want = ours(tool, file, inputs, work), other(inputs)
        scale = max([scale, *(np.abs(v).max() for v in want.values())])
        worst = max([worst, *(np.abs(got[k] - v).max() for k, v in want.items())])
        if exact:
            near = max([near, *(np.abs(got[k] - v).max() for k, v in theirs(exact, inputs).items())])
    return worst / scale <= limit and near / scale <= SUMS, f"{worst / scale:10.1e}" + (f"  from float32 products by {near / scale:.1e}" if exact else "")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tool")
    p.add_argument("--only", default="", help="those whose name contains this")
    p.add_argument("--keep", help="a folder for the checkpoints, which is made anew and left there")
    a = p.parse_args()
    tool = os.path.abspath(a.tool)
    if a.keep:
        shutil.rmtree(a.keep, ignore_errors=True)
    failed = done = 0
    print(f"{'':4} {'architecture':12} {'class':48} {'folder off':>10} {'onnx off':>10}")
    with tempfile.TemporaryDirectory() as work:
        for kind, variants in ENCODERS.items():
            for name, fields in variants.items():
                if a.only not in f"{kind} {name}":
                    continue
                folder = os.path.join(a.keep or work, f"{kind}-{name}".replace(" ", "-").replace(",", ""))
                os.makedirs(folder, exist_ok=True)
                ok, result, why = check(tool, kind, name, fields, folder)
                failed, done = failed + (not ok), done + 1
                print(f"{'ok' if ok else 'FAIL':4} {kind:12} {name:48} {result['folder']:>10.1e} {result['onnx']:>10.1e}  {why}", flush=True)
        for (kind, name), fields in QUANTIZED.items():
            for method in METHODS:
                if a.only not in f"{kind} {name}":
                    continue
                try:
                    ok, text = check_quantized(tool, kind, name, fields, method, work)
                except subprocess.CalledProcessError as e:
                    ok, text = False, e.stderr.strip().splitlines()[-1]
                failed, done = failed + (not ok), done + 1
                print(f"{'ok' if ok else 'FAIL':4} {kind:12} {name + ', ' + method:59} {text}", flush=True)
    print(f"{done - failed} of {done} configurations agree")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
