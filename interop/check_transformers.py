#!/usr/bin/env python3
"""Every architecture of language models, on small random checkpoints that transformers saves: the logits of a text, all at once, are within 1e-3
of the range of those that transformers computes in float32, those of ONNX Runtime too on the ONNX file that the folder is converted to, and the tokens
that follow one by one, with a cache on both sides, are the same.
usage: check_transformers.py NEUROQUANT [--only PART] [--keep FOLDER]   needs interop/requirements-llm.txt"""
import argparse, copy, json, logging, os, shutil, subprocess, sys, tempfile, zlib

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
import numpy as np
import onnxruntime
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from decoders import DECODERS

logging.disable(logging.WARNING)
disable_progress_bar()
torch.set_num_threads(1)
VOCAB, TEXT, NEW = 256, 40, 24
COMMON = dict(vocab_size=VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def byte_tokens():
    """The characters that stand for bytes in byte-level vocabularies, by byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) if b in plain else chr(256 + others.index(b)) for b in range(256)]


TOKENIZER = {
    "version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None, "truncation": None, "padding": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
              "byte_fallback": False, "vocab": {c: i for i, c in enumerate(byte_tokens())}, "merges": []},
}


def randomize(model, seed):
    """Weights of such sizes that every part of the model has its say in the logits."""
    r = torch.Generator().manual_seed(seed)
    draw = lambda p: torch.randn(p.shape, generator=r)
    for name, p in model.named_parameters():
        if p.ndim == 1 and name.endswith("bias"):
            p.data = 0.2 * draw(p)
        elif p.ndim == 1 or "norm" in name:
            p.data += 0.2 * draw(p)
        elif "embed" in name or ".wte" in name or ".wpe" in name:
            p.data = 0.5 * draw(p)
        else:
            p.data = draw(p) / p.shape[-1] ** 0.5


def make(kind, fields, folder):
    """Saves a checkpoint and returns it as a model."""
    seed = zlib.crc32(repr((kind, fields)).encode())
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **{**COMMON, **fields})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomize(model, seed)
    model.save_pretrained(folder)
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        json.dump(TOKENIZER, f)
    # Loaded anew, so that both sides see no more than what the folder says.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.generation_config.eos_token_id = None  # all go on to the last token
    return model


def theirs(model, ids):
    other = copy.deepcopy(model)  # a rotary embedding that is scaled by the length remembers the longest
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].float().numpy()
        start = torch.tensor([ids[: TEXT // 2]])
        out = other.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    return logits, out[0, TEXT // 2:].tolist()


def ours(tool, folder, ids):
    call = lambda *a: subprocess.run([tool, *a], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True).stdout
    np.save(os.path.join(folder, "ids.npy"), np.array([ids]))
    call("run", folder, "--input", os.path.join(folder, "ids.npy"), "--out", os.path.join(folder, "out"), "-q")
    text = "".join(map(chr, ids[: TEXT // 2]))
    said = json.loads(call("generate", folder, "--prompt", text, "-n", str(NEW), "--ignore-eos", "--temperature", "0", "--cache", "float32", "--json", "-q"))
    one = said["generations"][0]
    assert one["prompt_ids"] == ids[: TEXT // 2], one["prompt_ids"]
    return np.load(os.path.join(folder, "out", "logits.npy"))[0], one["ids"]


def runtime(tool, folder, ids):
    """The logits that ONNX Runtime computes of the folder as an ONNX file."""
    file = os.path.join(folder, "model.onnx")
    subprocess.run([tool, "convert", folder, file], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    logits = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"input_ids": np.array([ids])})[0][0]
    os.remove(file)
    return logits


def check(tool, kind, name, fields, folder):
    model = make(kind, fields, folder)
    ids = np.random.default_rng(zlib.crc32(name.encode())).integers(33, 127, TEXT).tolist()
    want, tokens = theirs(model, ids)
    try:
        got, said = ours(tool, folder, ids)
        onnx = runtime(tool, folder, ids)
    except subprocess.CalledProcessError as e:
        return False, "", e.stderr.strip().splitlines()[-1]
    off, other = (np.abs(v - want).max() / (want.max() - want.min()) for v in (got, onnx))
    return max(off, other) <= 1e-3 and said == tokens, f"{off:.1e} {other:>8.1e}", f"{sum(a == b for a, b in zip(said, tokens))} of {len(tokens)}"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tool")
    p.add_argument("--only", default="", help="those whose name contains this")
    p.add_argument("--keep", help="a folder for the checkpoints, which is made anew and left there")
    a = p.parse_args()
    if a.keep:
        shutil.rmtree(a.keep, ignore_errors=True)
    failed = done = 0
    print(f"{'':4} {'architecture':14} {'configuration':34} {'logits off':>10} {'onnx off':>8}  greedy tokens that agree")
    with tempfile.TemporaryDirectory() as work:
        for kind, variants in DECODERS.items():
            for name, fields in variants.items():
                if a.only not in f"{kind} {name}":
                    continue
                folder = os.path.join(a.keep or work, f"{kind}-{name}".replace(" ", "-").replace(",", ""))
                os.makedirs(folder, exist_ok=True)
                ok, off, tokens = check(os.path.abspath(a.tool), kind, name, fields, folder)
                failed, done = failed + (not ok), done + 1
                print(f"{'ok' if ok else 'FAIL':4} {kind:14} {name:34} {off:>19}  {tokens}", flush=True)
    print(f"{done - failed} of {done} configurations agree")
    return 1 if failed or not done else 0


if __name__ == "__main__":
    sys.exit(main())
