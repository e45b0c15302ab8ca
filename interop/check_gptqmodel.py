#!/usr/bin/env python3
"""GPTQ against GPTQModel on a CPU: golm-15m with the same calibration windows and settings given to both, whole runs timed in turn.

    check_gptqmodel.py NEUROQUANT SHARED     needs interop/requirements-loaders.txt

Perplexity, of both folders by neuroquant on the same text, must not be above GPTQModel's, and the run be at least three times as fast. The
time of GPTQModel is that from loading the model to the end of saving, without Python's imports; neuroquant's is that of the process. Both have
all cores. Peak memory is that of each process.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from tokenizers import Tokenizer

from table import Table

WINDOWS, LENGTH = 128, 512


def measured(command, folder=None, **environment):
    """Runs a command and returns seconds, peak MiB and what it printed last."""
    with tempfile.TemporaryFile("w+") as out:
        start = time.perf_counter()
        child = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=os.environ | environment)
        _, status, usage = os.wait4(child.pid, 0)
        took = time.perf_counter() - start
        out.seek(0)
        text = out.read()
    if status:
        raise SystemExit(f"{command[0]}: exit {status}: {text[-1500:]}")
    return took, usage.ru_maxrss / 1024, text.strip().splitlines()[-1] if text.strip() else ""


def perplexity(tool, model, file):
    done = subprocess.run([tool, "eval", model, "--text", file, "--json", "-q"], capture_output=True, check=True)
    return json.loads(done.stdout)["perplexity"]["perplexity"]


def quantize_there(source, ids, out, bits, mse):
    """The part that runs in a process of its own."""
    from gptqmodel import GPTQModel, QuantizeConfig

    windows = [{"input_ids": row.tolist(), "attention_mask": [1] * len(row)} for row in np.load(ids)]
    start = time.perf_counter()
    config = QuantizeConfig(bits=bits, group_size=128, sym=True, desc_act=False, act_group_aware=True, damp_percent=0.01, mse=mse)
    model = GPTQModel.load(source, config)
    model.quantize(windows, batch_size=1)
    model.save(out)
    print(time.perf_counter() - start, flush=True)


def main():
    tool, shared = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    source = shared / "data/golm-15m"
    texts = {"wikitext2": source / "eval/wikitext2-test-part1.txt", "go": source / "eval/go-test-part1.txt"}
    table = Table()
    with tempfile.TemporaryDirectory() as t:
        work = pathlib.Path(t)
        text = (source / "eval/calib-train-mix.txt").read_text()
        ids = np.array(Tokenizer.from_file(str(source / "tokenizer.json")).encode(text, add_special_tokens=False).ids, np.int64)
        count = min(WINDOWS, len(ids) // LENGTH)
        np.save(work / "ids.npy", ids[: count * LENGTH].reshape(count, LENGTH))
        print(f"{count} windows of {LENGTH} tokens")
        for bits, mse in ((4, 0.0), (3, 0.0), (4, 2.4), (3, 2.4)):
            mine, other = work / f"mine{bits}{mse}", work / f"other{bits}{mse}"
            flags = ["--bits", bits, "--group-size", 128, "--damp-percent", 0.01, "--mse", mse, "--data", work / "ids.npy", "--num-calibration-samples", count]
            took, peak, _ = measured([tool, "quantize", source, mine, "--method", "gptq", "--format", "gptq", "-q", *flags])
            whole, there_peak, line = measured([sys.executable, os.path.abspath(__file__), "--there", source, work / "ids.npy", other, bits, mse], work, CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", GPTQMODEL_CPU_WORKERS="2")
            there = float(line)
            name = f"{bits} bits, mse {mse}"
            for text, file in texts.items():
                a, b = (perplexity(tool, m, file) for m in (mine, other))
                table.note(name, f"perplexity {text}, GPTQModel", b)
                table.note(name, f"perplexity {text}", a)
                table.at_most(name, f"perplexity {text} by GPTQModel's", a / b, 1)
            print(f"{name}: {there:.1f} s and {there_peak:.0f} MiB there, {took:.1f} s and {peak:.0f} MiB here", flush=True)
            table.note(name, "seconds, GPTQModel", there)
            table.note(name, "seconds", took)
            table.at_least(name, "times as fast", there / took, 3)
            table.note(name, "peak MiB, GPTQModel", there_peak)
            table.note(name, "peak MiB", peak)
    table.finish()


if sys.argv[1] == "--there":
    quantize_there(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), float(sys.argv[6]))
else:
    main()
