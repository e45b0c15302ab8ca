"""Trains ResNet-20 with rounding in place at several bits, a few updates each, and compares what ONNX Runtime computes from the written file with
the training-time evaluation (its top-1) and with neuroquant (every class). Usage: check_qat.py NEUROQUANT SHARED"""
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from sessions import session


def main():
    tool, data = sys.argv[1], os.path.join(sys.argv[2], "data/cifar10")
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    x = np.ascontiguousarray(((np.load(os.path.join(data, "raw_test_500.npy")).astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2))
    labels = np.load(os.path.join(data, "raw_test_500_labels.npy"))
    failed = False
    with tempfile.TemporaryDirectory() as tmp:
        np.save(os.path.join(tmp, "x.npy"), x)
        for weights, activations, rate in ((8, 8, "0.00001"), (4, 8, "0.0002"), (4, 4, "0.0003"), (3, 5, "0.0003")):
            out = os.path.join(tmp, f"w{weights}a{activations}")
            subprocess.run(
                [tool, "train", os.path.join(data, "resnet20.onnx"), out, "--method", "qat", "--data", os.path.join(data, "raw_train_3000.npy"),
                 "--valid", os.path.join(data, "raw_test_500.npy"), "--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--batch-size", "50",
                 "--epochs", "1", "--distill", "1", "--learning-rate", rate, "--weight-bits", str(weights), "--activation-bits", str(activations),
                 "--save-best=false", "--quiet"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with open(os.path.join(out, "history.json")) as f:
                trained = round(500 * json.load(f)["epochs"][-1]["valid_accuracy"])
            file = os.path.join(out, "model.onnx")
            there = session(file)
            name = there.get_inputs()[0].name
            theirs = np.concatenate([there.run(None, {name: x[i : i + 50]})[0] for i in range(0, 500, 50)]).argmax(1)
            scores = os.path.join(out, "scores")
            subprocess.run([tool, "run", file, "--input", os.path.join(tmp, "x.npy"), "--out", scores], check=True, stdout=subprocess.DEVNULL)
            ours = np.load(glob.glob(os.path.join(scores, "*.npy"))[0]).argmax(1)
            same, right = int((ours == theirs).sum()), int((theirs == labels).sum())
            ok = same >= 499 and abs(right - trained) <= 1
            failed = failed or not ok
            print(f"weights of {weights} bits, activations of {activations}: top-1 {trained} of 500 in training, {right} in ONNX Runtime; "
                  f"its class is that of neuroquant for {same}{'' if ok else ' FAILED'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
