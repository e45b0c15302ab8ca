"""The neuroquant binary as the checks call it."""

import json
import pathlib
import re
import subprocess

import numpy as np


class Failed(Exception):
    """A command of the binary ended with an error; the message holds what it printed."""


class Binary:
    def __init__(self, path):
        self.path = str(path)

    def command(self, *words):
        done = subprocess.run([self.path, *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{words[0]}: exit {done.returncode}: {(done.stderr.strip() or done.stdout.strip())[-600:]}")
        return done.stdout

    def quantize(self, model, out, method, *flags):
        """Quantizes into the folder out and returns the path of the written model and the command's JSON."""
        text = self.command("quantize", model, out, "--method", method, *flags, "--json", "--quiet")
        return pathlib.Path(out, "model.onnx"), json.loads(text)

    def run(self, model, feeds, names, folder):
        """Runs a model on arrays and returns its outputs of the given names. Arrays pass through npy files in folder."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        words = []
        for i, (name, array) in enumerate(feeds.items()):
            file = folder / f"input{i}.npy"
            np.save(file, array)
            words += ["--input", f"{name}={file}"]
        out = folder / "outputs"
        self.command("run", model, *words, "--out", out)
        return {name: np.load(out / (file_stem(name) + ".npy")) for name in names}


def file_stem(name):
    """The name of an output as `run` spells it in a file name."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name) if name not in ("", ".", "..") else "_"
