"""Trains ResNet-20, a Llama of 5 million parameters and a small mixture of experts with PyTorch and with neuroquant from the same weights, on the same batches, with the
same settings, and compares the losses of every update. Large learning rates make training chaotic: rounding grows to percents within some ten updates, also between two layouts of
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

import llama

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


def grouped(model, decay):
    """Returns the parameters in groups: weights decay, biases and gains do not."""
    return [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": decay},
            {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0}]


def ours(tool, model, out, batch, per_epoch, updates, args):
    """Returns the losses of a training by neuroquant."""
    subprocess.run(
        [tool, "train", model, out, "--method", "float", "--shuffle=false", "--batch-size", str(batch), "--epochs", str(updates // per_epoch + 1),
         "--max-steps", str(updates), "--lr-scheduler", "constant", "--quiet"] + args, check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(out, "history.json")) as f:
        return json.load(f)["losses"]


def compare(name, got, want, other, other_name):
    """Prints the differences of losses and reports whether they are within 1 %."""
    worst = max(abs(a - b) / b for a, b in zip(got, want))
    self_worst = max(abs(a - b) / b for a, b in zip(other, want))
    mean = sum(abs(a - b) / b for a, b in zip(got, want)) / len(want)
    ok = len(got) == len(want) and worst <= 0.01
    print(f"{name}: {len(got)} updates, loss {want[0]:.4f} to {want[-1]:.4f} (PyTorch), {got[0]:.4f} to {got[-1]:.4f}; "
          f"largest difference {100 * worst:.3f} %, mean {100 * mean:.3f} %, of {other_name} {100 * self_worst:.3f} %{'' if ok else ' FAILED'}", flush=True)
    return ok


OPTIMIZERS = (
    ("sgd", 1e-4, lambda p: torch.optim.SGD(p, 0.001, momentum=0.9), ["--optimizer", "sgd", "--momentum", "0.9", "--weight-decay", "0.0001", "--learning-rate", "0.001"]),
    ("adamw", 0.01, lambda p: torch.optim.AdamW(p, 0.0002), ["--optimizer", "adamw", "--weight-decay", "0.01", "--learning-rate", "0.0002"]),
)


def resnet20(tool, shared, tmp, updates):
    batch = 64
    torch.manual_seed(1)
    raw = np.load(os.path.join(shared, "data/cifar10/raw_train_3000.npy"))
    labels = np.load(os.path.join(shared, "data/cifar10/raw_train_3000_labels.npy")).astype(np.int64)
    x = np.ascontiguousarray(((raw.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))
    model = ResNet20()
    np.save(os.path.join(tmp, "x.npy"), x)
    np.save(os.path.join(tmp, "y.npy"), labels)
    model.eval()
    torch.jit.trace(model, torch.from_numpy(x[:2])).save(os.path.join(tmp, "model.pt"))
    per_epoch, ok = len(x) // batch, True
    for name, decay, opt, args in OPTIMIZERS:

        def torch_losses(layout):
            copy = ResNet20()
            copy.load_state_dict(model.state_dict())
            copy = copy.train().to(memory_format=layout)
            o = opt(grouped(copy, decay))
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
        got = ours(tool, os.path.join(tmp, "model.pt"), os.path.join(tmp, name), batch, per_epoch, updates,
                   ["--data", os.path.join(tmp, "x.npy"), "--labels", os.path.join(tmp, "y.npy"), "--raw"] + args)
        ok = compare(f"ResNet-20, {name}", got, want, other, "PyTorch's layouts") and ok
    return ok


def language(tool, tmp, updates, title, make):
    batch = 8
    torch.manual_seed(1)
    model = make()
    folder = os.path.join(tmp, make.__name__)
    model.save_pretrained(folder)
    ids = llama.sequences(batch * updates)
    np.save(os.path.join(tmp, "ids.npy"), ids)
    decay, args = 0.01, ["--optimizer", "adamw", "--weight-decay", "0.01", "--learning-rate", "0.001"]

    def torch_losses(attention):
        copy = make(attention)
        copy.load_state_dict(model.state_dict())
        o = torch.optim.AdamW(grouped(copy, decay), 0.001)
        losses = []
        for k in range(updates):
            loss = llama.loss(copy, torch.from_numpy(ids[k * batch : (k + 1) * batch]))
            o.zero_grad()
            loss.backward()
            o.step()
            losses.append(loss.item())
        return losses

    want, other = torch_losses("sdpa"), torch_losses("eager")
    got = ours(tool, folder, folder + "-trained", batch, updates, updates, ["--criterion", "next_token", "--data", os.path.join(tmp, "ids.npy")] + args)
    return compare(f"{title}, adamw", got, want, other, "PyTorch's attentions")


def main():
    tool, shared = sys.argv[1], sys.argv[2]
    updates = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    with tempfile.TemporaryDirectory() as tmp:
        ok = [language(tool, tmp, updates, "Llama of 5M", llama.model), language(tool, tmp, updates, "mixture of experts", llama.mixture),
              resnet20(tool, shared, tmp, updates)]
    sys.exit(not all(ok))


if __name__ == "__main__":
    main()
