"""Checks the float outputs of the CIFAR-10 networks against PyTorch running the same network from its own file.

usage: check_torch.py BINARY SHARED
"""

import pathlib
import sys
import tempfile

import numpy as np
import torch

import material
from compare import agreement
from neuroquant import Binary, Failed
from table import Table


def main(binary, shared):
    binary, shared = Binary(pathlib.Path(binary).resolve()), pathlib.Path(shared)
    torch.set_num_threads(1)
    table = Table()
    images = material.raw_images(shared)
    with torch.no_grad():
        theirs = torch.jit.load(shared / "data/cifar10/resnet20.pt").eval()(torch.from_numpy(images)).numpy()
    with tempfile.TemporaryDirectory() as work:
        for name in ("resnet20", "resnet20_bn"):
            try:
                ours = binary.run(shared / "data/cifar10" / f"{name}.onnx", {"input": images}, ["logits"], pathlib.Path(work, name))["logits"]
            except Failed as e:
                table.error(name, "runs here", e)
                continue
            table.at_most(name, "largest difference to PyTorch's logits, raw_test_500", np.abs(ours - theirs).max(), 1e-3)
            table.at_least(name, "top-1 agreement with PyTorch, raw_test_500", agreement(ours, theirs), 1)
    table.finish()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
