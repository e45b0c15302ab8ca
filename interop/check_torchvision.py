"""Saves networks of torchvision with random weights as state dicts, whole modules, TorchScript traces, scripts and archives of
torch.export, and compares what neuroquant computes from the files with what PyTorch computes.

    check_torchvision.py NEUROQUANT [--all [PATTERN]]

With --all every network of the families up to 150 million parameters is taken (or those that match a regular expression), as a
state dict and a whole module. The largest difference may be 1e-4 of the largest output. Works with PyTorch 1.13 too.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
import torchvision

NETWORKS = """alexnet vgg11 vgg11_bn resnet18 resnext50_32x4d wide_resnet50_2 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
efficientnet_b0 densenet121 googlenet inception_v3 shufflenet_v2_x1_0 squeezenet1_1 mnasnet0_5 regnet_y_400mf convnext_tiny
vit_b_32 swin_t swin_v2_t""".split()
FAMILIES = r"alexnet|vgg|resne[xt]t?\d|wide_resnet|mobilenet|efficientnet|densenet|googlenet|inception|shufflenet|squeezenet|mnasnet|regnet|convnext|vit_|swin"
LARGE = 150e6  # parameters of networks that --all leaves out


def network(name):
    """Returns a network whose normalizations have statistics and whose last layer is not zero."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = getattr(torchvision.models, name)(weights=None, **options).eval()
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.05)
            m.running_var.uniform_(0.8, 1.2)
    if name.startswith("vit"):
        torch.nn.init.normal_(model.heads.head.weight, 0, 0.02)
    for m in model.modules():
        if hasattr(m, "layer_scale"):  # one that lets the blocks be seen
            torch.nn.init.uniform_(m.layer_scale, 0.1, 0.5)
    return model


def difference(program, path, want, folder):
    """Runs the file and returns the largest difference by the largest output, or what the program said."""
    out = os.path.join(folder, "out")
    run = subprocess.run([program, "run", path, "--input", os.path.join(folder, "x.npy"), "--out", out, "-q"], capture_output=True, text=True)
    if run.returncode:
        return run.stderr.strip().split("\n")[0]
    got = [np.load(os.path.join(out, f)) for f in os.listdir(out)]
    for f in os.listdir(out):
        os.remove(os.path.join(out, f))
    return min(np.abs(g - want).max() / np.abs(want).max() for g in got if g.shape == want.shape)


FORMS = {
    "state dict": lambda m, x, path: torch.save(m.state_dict(), path),
    "module": lambda m, x, path: torch.save(m, path),
    "legacy dict": lambda m, x, path: torch.save(m.state_dict(), path, _use_new_zipfile_serialization=False),
    "legacy": lambda m, x, path: torch.save(m, path, _use_new_zipfile_serialization=False),
    "trace": lambda m, x, path: torch.jit.trace(m, x).save(path),
    "script": lambda m, x, path: torch.jit.script(m).save(path),
    "export": lambda m, x, path: torch.export.save(torch.export.export(m, (x,)), path),
}
if not hasattr(torch, "export") or not hasattr(torch.export, "save"):
    del FORMS["export"]


def main():
    program, every, missed, count = sys.argv[1], "--all" in sys.argv[2:], 0, {}
    names = NETWORKS
    if every:
        names = [n for n, f in sorted(vars(torchvision.models).items()) if callable(f) and n.islower() and re.match(FAMILIES, n) and re.search((sys.argv[3:] or [""])[0], n)]
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            if not hasattr(torchvision.models, name):
                continue
            model = network(name)
            if every and sum(p.numel() for p in model.parameters()) > LARGE:
                print(f"{name:20} left out: large")
                continue
            side = 299 if name == "inception_v3" else getattr(model, "image_size", 224)
            x = torch.randn(1, 3, side, side)
            with torch.no_grad():
                want = model(x).numpy()
            np.save(os.path.join(folder, "x.npy"), x.numpy())
            path = os.path.join(folder, name + ".pt")
            row = []
            for kind, save in FORMS.items():
                if every and kind not in ("state dict", "module"):
                    continue
                with torch.no_grad():
                    save(model, x, path)
                d = difference(program, path, want, folder)
                os.remove(path)
                good = not isinstance(d, str) and d <= 1e-4
                missed += not good
                count[kind] = count.get(kind, 0) + 1
                row.append(f"{kind} {d if isinstance(d, str) else format(d, '.1e')}{'' if good else ' MISSED'}")
            print(f"{name:20}", ", ".join(row), flush=True)
    print(f"PyTorch {torch.__version__}, torchvision {torchvision.__version__}: {sum(count.values())} files ({', '.join(f'{n} {k}' for k, n in count.items())}), {missed} missed")
    sys.exit(missed > 0 or not count)


main()
