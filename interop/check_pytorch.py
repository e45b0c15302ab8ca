"""Compares what neuroquant computes from files of PyTorch, of every form and of small networks of every supported layer, with what
PyTorch computes.

    check_pytorch.py NEUROQUANT [PYTHON...]

The files are those of pytorch_files.py, made by this Python and by each other one named, such as one with an older PyTorch. The
largest difference may be 1e-4 of the largest output. A file whose inputs have no known shape is opened again with the shapes
given. Refusals are listed; they may be 5 % of the files, and none of the traces.
"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

from neuroquant import Binary, Failed, file_stem

KINDS = ("module", "legacy", "trace", "script", "export")
HERE = os.path.dirname(os.path.abspath(__file__))


class Files:
    """The files of one folder."""

    def __init__(self, folder):
        self.folder = folder

    def names(self):
        return sorted(os.path.basename(f)[: -len(".names.json")] for f in glob.glob(f"{self.folder}/*.names.json"))

    def path(self, name, kind):
        return f"{self.folder}/{name}.{kind}.pt{'2' if kind == 'export' else ''}"

    def arrays(self, name, which):
        return [np.load(f"{self.folder}/{name}.{which}{i}.npy") for i in range(len(glob.glob(f"{self.folder}/{name}.{which}*.npy")))]

    def arguments(self, name):
        with open(f"{self.folder}/{name}.names.json") as f:
            return json.load(f)


def shapes(names, inputs):
    words = []
    for name, x in zip(names, inputs):
        words += ["--input-shape", f"{name}={'x'.join(map(str, x.shape))}" if len(inputs) > 1 else "x".join(map(str, x.shape))]
    return words


def compare(binary, path, inputs, outputs, given, scratch):
    """Returns the largest difference by the largest output."""
    said = json.loads(binary.command("inspect", path, "--json", *given))
    if "no_graph" in said:
        raise Failed(said["no_graph"])
    words = list(given)
    for i, x in zip(said["inputs"], range(len(inputs))):
        words += ["--input", f"{i['name']}={scratch}/in{x}.npy"]
        np.save(f"{scratch}/in{x}.npy", inputs[x])
    binary.command("run", path, *words, "--out", f"{scratch}/out", "-q")
    got = [np.load(f"{scratch}/out/{file_stem(o['name'])}.npy") for o in said["outputs"]]
    worst = 0.0
    for g, want in zip(got, outputs, strict=True) if len(got) <= len(outputs) else zip(got, outputs):
        if g.shape != want.shape:
            raise Failed(f"a result of shape {g.shape}; want {want.shape}")
        if want.size:
            worst = max(worst, np.abs(g.astype(np.float64) - want).max() / max(np.abs(want).max(), 1e-30))
    return worst


def check(binary, files, kind, name, scratch):
    """Returns the difference and whether shapes had to be given."""
    inputs, outputs = files.arrays(name, "in"), files.arrays(name, "out")
    try:
        return compare(binary, files.path(name, kind), inputs, outputs, [], scratch), False
    except Failed as e:
        if not re.search(r"input-shape|what its input is|shape|dimensions|size", str(e)):
            raise
    return compare(binary, files.path(name, kind), inputs, outputs, shapes(files.arguments(name), inputs), scratch), True


def main():
    binary, pythons = Binary(os.path.abspath(sys.argv[1])), [sys.executable, *sys.argv[2:]]
    refusals, missed, rows, total = [], [], [], 0
    for python in pythons:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as scratch:
            made = subprocess.run([python, os.path.join(HERE, "pytorch_files.py"), folder], capture_output=True, text=True, check=True).stdout.strip().split("\n")
            print("\n".join(made))
            files = Files(folder)
            for kind in KINDS:
                count, with_shapes, worst = 0, 0, 0.0
                for name in files.names():
                    if not os.path.exists(files.path(name, kind)):
                        continue
                    count += 1
                    try:
                        d, given = check(binary, files, kind, name, scratch)
                        with_shapes += given
                        worst = max(worst, d)
                        if not d <= 1e-4:
                            missed.append(f"{kind} {name}: a difference of {d:.1e}")
                    except Failed as e:
                        refusals.append((kind, f"{kind} {name}: {' '.join(str(e).split())[:240]}"))
                total += count
                if count:
                    rows.append((made[-1].split()[-1], kind, count, with_shapes, f"{worst:.1e}"))
    print(f"\n{'PyTorch':14}{'form':10}{'files':>7}{'shapes given':>14}{'worst':>10}")
    for version, kind, count, given, worst in rows:
        print(f"{version:14}{kind:10}{count:7}{given:14}{worst:>10}")
    for _, text in refusals:
        print("refused:", text)
    for text in missed:
        print("MISSED:", text)
    share = len(refusals) / max(total, 1)
    print(f"{total} files, {len(missed)} missed, {len(refusals)} refused ({share:.1%}; at most 5 %, none of the traces)")
    sys.exit(bool(missed) or share > 0.05 or any(kind == "trace" for kind, _ in refusals) or not total)


main()
