"""Times training steps of ResNet-20 (batch 64) and of a Llama of 5 million parameters (batch 8 of 256 tokens) by PyTorch and by bench/train in turns, and prints the ratios.
Usage: compare.py BIN [THREADS] [ROUNDS]"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "interop"))
import llama  # noqa: E402
from check_training import ResNet20, grouped  # noqa: E402


def torch_step(model, x, y, steps, last):
    """Returns the median of some steps in milliseconds."""
    if last:
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    model.train()
    o = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    times = []
    for i in range(steps + 3):
        start = time.perf_counter()
        loss = F.cross_entropy(model(x), y)
        o.zero_grad()
        loss.backward()
        o.step()
        if i >= 3:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def fake_quantized(model, x):
    """PyTorch's quantization-aware form of the model."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    return prepare_qat_fx(model.train(), get_default_qat_qconfig_mapping("x86"), (x,))


def language_step(ids, steps):
    """Returns the median of some steps of the language model in milliseconds."""
    model = llama.model()
    o = torch.optim.AdamW(grouped(model, 0.01), 0.001)
    times = []
    for i in range(steps + 2):
        start = time.perf_counter()
        loss = llama.loss(model, ids)
        o.zero_grad()
        loss.backward()
        o.step()
        if i >= 2:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main():
    binary = sys.argv[1]
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    x, y = torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,))
    model = ResNet20()
    ids = torch.from_numpy(llama.sequences(8))
    ours = {"float": [], "qat": [], "language": []}
    theirs = {"float": [], "channels last": [], "qat": [], "language": []}
    with tempfile.TemporaryDirectory() as tmp:
        torch.jit.trace(model.eval(), x[:2]).save(os.path.join(tmp, "model.pt"))
        np.save(os.path.join(tmp, "x.npy"), x.numpy())
        np.save(os.path.join(tmp, "y.npy"), y.numpy())
        llama.model().save_pretrained(os.path.join(tmp, "llama"))
        np.save(os.path.join(tmp, "ids.npy"), ids.numpy())
        images = ["-model", os.path.join(tmp, "model.pt"), "-data", os.path.join(tmp, "x.npy"), "-labels", os.path.join(tmp, "y.npy")]
        tokens = ["-model", os.path.join(tmp, "llama"), "-data", os.path.join(tmp, "ids.npy"), "-batch", "8"]
        for _ in range(rounds):
            for mode in ours:
                r = subprocess.run(
                    [binary, "-mode", mode, "-threads", str(threads), "-steps", "10"] + (tokens if mode == "language" else images),
                    check=True, capture_output=True, text=True)
                ours[mode].append(json.loads(r.stdout)["median_ms"])
            theirs["float"].append(torch_step(ResNet20(), x, y, 8, False))
            theirs["channels last"].append(torch_step(ResNet20(), x, y, 8, True))
            theirs["language"].append(language_step(ids, 5))
            try:
                theirs["qat"].append(torch_step(fake_quantized(ResNet20(), x), x, y, 6, False))
            except Exception as e:  # a version without it
                print("PyTorch has no quantization-aware form here:", e)
    mid = {k: statistics.median(v) for k, v in ours.items()}
    peer = {k: statistics.median(v) for k, v in theirs.items() if v}
    best = min(peer["float"], peer["channels last"])
    print(f"torch {torch.__version__}, {threads} threads, batch 64, medians of {rounds} rounds")
    print(f"float: ours {mid['float']:.1f} ms, PyTorch {peer['float']:.1f} ms, channels last {peer['channels last']:.1f} ms: {best / mid['float']:.2f} times as fast as the better")
    if "qat" in peer:
        print(f"qat:   ours {mid['qat']:.1f} ms, PyTorch {peer['qat']:.1f} ms: {peer['qat'] / mid['qat']:.2f} times as fast")
    print(f"Llama of 5M, batch 8 of 256 tokens: ours {mid['language']:.1f} ms, PyTorch {peer['language']:.1f} ms: {peer['language'] / mid['language']:.2f} times as fast")
    print(f"our qat step takes {mid['qat'] / mid['float']:.2f} times our float step")


if __name__ == "__main__":
    main()
