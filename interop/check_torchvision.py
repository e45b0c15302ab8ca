"""Saves networks of torchvision with random weights as state dicts, whole modules, TorchScript traces, scripts and archives of
torch.export, and compares what neuroquant computes from the files with what PyTorch computes.

    check_torchvision.py NEUROQUANT

The largest difference may be 1e-4 of the largest output.
"""

import os
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


def main():
    program, missed = sys.argv[1], 0
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            model = network(name)
            side = 299 if name == "inception_v3" else 224
            x = torch.randn(1, 3, side, side)
            with torch.no_grad():
                want = model(x).numpy()
            np.save(os.path.join(folder, "x.npy"), x.numpy())
            path = os.path.join(folder, name + ".pt")
            forms = {
                "state dict": lambda m, x: torch.save(m.state_dict(), path),
                "module": lambda m, x: torch.save(m, path),
                "trace": lambda m, x: torch.jit.trace(m, x).save(path),
                "script": lambda m, x: torch.jit.script(m).save(path),
                "export": lambda m, x: torch.export.save(torch.export.export(m, (x,)), path),
            }
            for kind, save in forms.items():
                with torch.no_grad():
                    save(model, x)
                d = difference(program, path, want, folder)
                good = not isinstance(d, str) and d <= 1e-4
                missed += not good
                print(f"{name:20} {kind:10} {d if isinstance(d, str) else format(d, '.1e')}{'' if good else '  MISSED'}")
            os.remove(path)
    print(f"{len(forms) * len(NETWORKS)} files, {missed} missed")
    sys.exit(missed > 0)


main()
