"""Checks the trained ResNet-20 in each of PyTorch's forms: TorchScript, a checkpoint and a state dict. Its logits must be those that
PyTorch computed and that are stored; quantized, ONNX Runtime must load it and see what we see.

usage: check_resnet20.py BINARY SHARED
"""

import json
import pathlib
import sys
import tempfile

import numpy as np

import material
from compare import agreement, snr
from neuroquant import Binary, Failed
from sessions import session
from table import Table

FILES = ("resnet20.pt", "resnet20.th", "resnet20_state_dict.pt")


def run(binary, path, images, work):
    """The logits of a model, whatever its input and output are called."""
    said = json.loads(binary.command("inspect", path, "--json"))
    source, result = said["inputs"][0]["name"], said["outputs"][0]["name"]
    return binary.run(path, {source: images}, [result], work)[result]


def main(binary, shared):
    binary, shared = Binary(pathlib.Path(binary).resolve()), pathlib.Path(shared)
    table = Table()
    images = material.raw_images(shared)
    stored = np.load(shared / "data/cifar10/resnet20_fp32_logits_raw500.npy")
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        calibration = work / "training.npy"
        np.save(calibration, material.training_images(shared, "raw"))
        for name in FILES:
            path = shared / "data/cifar10" / name
            try:
                table.at_most(name, "largest difference to the stored logits", np.abs(run(binary, path, images, work / "float") - stored).max(), 1e-3)
                for method, flags in (("dynamic", []), ("static", ["--data", calibration])):
                    model, _ = binary.quantize(path, work / f"{name}-{method}", method, *flags)
                    there = session(model)
                    theirs = np.concatenate([there.run(None, {there.get_inputs()[0].name: x})[0] for x in np.array_split(images, 5)])
                    ours = np.concatenate([run(binary, model, x, work / "ours") for x in np.array_split(images, 5)])
                    table.at_least(name, f"{method}: top-1 agreement of ONNX Runtime with us", agreement(ours, theirs), 0.995)
                    table.at_least(name, f"{method}: top-1 agreement of ONNX Runtime with PyTorch's float", agreement(theirs, stored), 0.985)
                    table.at_least(name, f"{method}: logit SNR of ONNX Runtime (dB)", snr(stored, theirs), 28)
            except Failed as e:
                table.error(name, "reads, quantizes and runs", e)
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
