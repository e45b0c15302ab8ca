"""Trains ResNet-20 with PyTorch and with neuroquant from the same weights, on the same batches, with the same settings, and compares the
losses of every update. Large learning rates make training chaotic: rounding grows to percents within some ten updates, also between two layouts of
PyTorch, whose difference is printed beside ours. Usage: check_training.py NEUROQUANT SHARED [UPDATES]"""
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


class Block(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.grow = cout - cin if stride > 1 else 0

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.grow:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow // 2, self.grow // 2))
        return F.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        blocks, cin = [], 16
        for cout in (16, 32, 64):
            for k in range(3):
                blocks.append(Block(cin, cout, 2 if k == 0 and cout > 16 else 1))
                cin = cout
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.linear(x.mean((2, 3)))


def main():
    tool, shared = sys.argv[1], sys.argv[2]
    updates = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    batch = 64
    torch.manual_seed(1)
    raw = np.load(os.path.join(shared, "data/cifar10/raw_train_3000.npy"))
    labels = np.load(os.path.join(shared, "data/cifar10/raw_train_3000_labels.npy")).astype(np.int64)
    x = np.ascontiguousarray(((raw.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))
    model = ResNet20()
    failed = False
    with tempfile.TemporaryDirectory() as tmp:
        np.save(os.path.join(tmp, "x.npy"), x)
        np.save(os.path.join(tmp, "y.npy"), labels)
        model.eval()
        torch.jit.trace(model, torch.from_numpy(x[:2])).save(os.path.join(tmp, "model.pt"))
        for name, opt, args in (
            ("sgd", lambda p: torch.optim.SGD(p, 0.001, momentum=0.9), ["--optimizer", "sgd", "--momentum", "0.9", "--weight-decay", "0.0001", "--learning-rate", "0.001"]),
            ("adamw", lambda p: torch.optim.AdamW(p, 0.0002), ["--optimizer", "adamw", "--weight-decay", "0.01", "--learning-rate", "0.0002"]),
        ):
            per_epoch = len(x) // batch

            def torch_losses(layout):
                copy = ResNet20()
                copy.load_state_dict(model.state_dict())
                copy = copy.train().to(memory_format=layout)
                decay = 1e-4 if name == "sgd" else 0.01
                o = opt([
                    {"params": [p for p in copy.parameters() if p.dim() > 1], "weight_decay": decay},
                    {"params": [p for p in copy.parameters() if p.dim() <= 1], "weight_decay": 0.0},
                ])
                losses = []
                for k in range(updates):
                    i = k % per_epoch * batch
                    loss = F.cross_entropy(copy(torch.from_numpy(x[i : i + batch]).to(memory_format=layout)), torch.from_numpy(labels[i : i + batch]))
                    o.zero_grad()
                    loss.backward()
                    o.step()
                    losses.append(loss.item())
                return losses

            want, other = torch_losses(torch.contiguous_format), torch_losses(torch.channels_last)
            out = os.path.join(tmp, name)
            subprocess.run(
                [tool, "train", os.path.join(tmp, "model.pt"), out, "--data", os.path.join(tmp, "x.npy"), "--labels", os.path.join(tmp, "y.npy"), "--raw",
                 "--shuffle=false", "--batch-size", str(batch), "--epochs", str(updates // per_epoch + 1), "--max-steps", str(updates),
                 "--lr-scheduler", "constant", "--quiet"] + args,
                check=True, stdout=subprocess.DEVNULL)
            with open(os.path.join(out, "history.json")) as f:
                got = json.load(f)["losses"]
            worst = max(abs(a - b) / b for a, b in zip(got, want))
            self_worst = max(abs(a - b) / b for a, b in zip(other, want))
            mean = sum(abs(a - b) / b for a, b in zip(got, want)) / len(want)
            ok = len(got) == updates and worst <= 0.01
            failed = failed or not ok
            print(f"{name}: {len(got)} updates, loss {want[0]:.4f} to {want[-1]:.4f} (PyTorch), {got[0]:.4f} to {got[-1]:.4f}; "
                  f"largest difference {100 * worst:.3f} %, mean {100 * mean:.3f} %, of PyTorch's layouts {100 * self_worst:.3f} %{'' if ok else ' FAILED'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
