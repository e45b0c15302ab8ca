"""Kills a training at random points (SIGKILL), gives the same command again until it ends, and compares what it wrote with an uninterrupted
training, byte for byte. Usage: check_crash.py NEUROQUANT SHARED [KILLS]"""
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time


def compare(whole, cut, kills):
    for name in ("model.onnx", "history.json"):
        with open(os.path.join(whole, name), "rb") as a, open(os.path.join(cut, name), "rb") as b:
            if a.read() != b.read():
                sys.exit(f"{name} differs after {kills} kills")


def main():
    tool, shared = sys.argv[1], sys.argv[2]
    kills = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    images = os.path.join(shared, "data/cifar10/raw_test_500.npy")
    random.seed(1)

    def command(out):
        return [
            tool, "train", os.path.join(shared, "data/cifar10/resnet20.onnx"), out, "--method", "qat", "--data", images, "--mean", "0.485,0.456,0.406",
            "--std", "0.229,0.224,0.225", "--epochs", "3", "--batch-size", "50", "--learning-rate", "0.001", "--optimizer", "adamw", "--random-crop", "2",
            "--horizontal-flip", "--checkpoint-steps", "1", "--num-calibration-samples", "50", "--quiet",
        ]

    with tempfile.TemporaryDirectory() as tmp:
        whole, cut = os.path.join(tmp, "whole"), os.path.join(tmp, "cut")
        start = time.time()
        subprocess.run(command(whole), check=True, stdout=subprocess.DEVNULL)
        took = time.time() - start
        done = 0
        while done < kills:
            p = subprocess.Popen(command(cut), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0.1, 0.6) * took / 2)
            if p.poll() is not None:  # it ended before: compare, and begin again
                compare(whole, cut, done)
                shutil.rmtree(cut)
                continue
            p.send_signal(signal.SIGKILL)
            p.wait()
            done += 1
        if not os.path.exists(cut):
            subprocess.run(command(cut), check=True, stdout=subprocess.DEVNULL)
        compare(whole, cut, done)
        left = [f for f in os.listdir(tmp) if f not in ("whole", "cut")]
        print(f"killed {done} times: model.onnx and history.json are those of the uninterrupted training; left behind: {left or 'nothing'}")


if __name__ == "__main__":
    main()
