"""Kills GPTQ and AWQ at random points and checks that the same command goes on and ends with the bytes of a run that was not disturbed.

    check_resume.py NEUROQUANT SHARED [--points 20] [--seed 0]

Each point is a run that is ended by SIGKILL after a random share of the time that a whole one takes, some of them twice, and begun again with
another number of threads. Then: a run whose disk is full in the middle, one whose settings were changed, and runs of the values between
layers in memory and in files.
"""

import argparse
import hashlib
import pathlib
import random
import resource
import signal
import subprocess
import tempfile
import time

from table import Table

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("shared", type=pathlib.Path)
parser.add_argument("--points", type=int, default=20)
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

model = args.shared / "data/golm-15m"
base = ["--data", model / "eval/calib-train-mix.txt", "--num-calibration-samples", "8"]
GOES_ON, OVER = "an earlier run has finished", "starting over"


def digest(folder):
    h = hashlib.sha256()
    for f in sorted(folder.iterdir()):
        h.update(f.name.encode() + b"\0" + f.read_bytes())
    return h.hexdigest()


def command(out, method, threads, *more):
    return [str(x) for x in [args.program, "quantize", model, out, "--method", method, "--threads", threads, *base, *more]]


def run(*a, after=None, limit=None):
    """Runs a command, killed after a time or with files of at most a size. Returns the exit code and what it said."""

    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    p = subprocess.Popen(command(*a), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=small if limit else None)
    try:
        _, said = p.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        p.send_signal(signal.SIGKILL)
        _, said = p.communicate()
    return p.returncode, said


table = Table()
rng = random.Random(args.seed)
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for method in ("gptq", "awq"):
        whole = folder / f"{method}-whole"
        start = time.monotonic()
        code, said = run(whole, method, 1)
        seconds = time.monotonic() - start
        if code != 0:
            table.error(method, "a whole run", said)
            continue
        want = digest(whole)
        same = resumed = killed = 0
        for i in range(args.points):
            out = folder / f"{method}-{i}"
            went_on = False
            for _ in range(rng.choice((1, 1, 2))):
                code, said = run(out, method, rng.choice((1, 2, 4)), after=rng.uniform(0.03, 1) * seconds)
                killed += code == -signal.SIGKILL
                went_on |= GOES_ON in said
            if not out.exists():
                code, said = run(out, method, rng.choice((1, 2, 4)))
                went_on |= GOES_ON in said
            same += out.exists() and digest(out) == want
            resumed += went_on
        table.note(method, "runs killed", killed)
        table.at_least(method, f"of {args.points} points, went on from finished layers", resumed, args.points // 2)
        table.at_least(method, f"of {args.points} points, bytes of the whole run", same, args.points)

        out = folder / f"{method}-full"
        code, said = run(out, method, 2, limit=300_000)
        clear = code == 1 and "cannot write there" in said and not out.exists()
        code, said = run(out, method, 1)
        table.at_least(method, "a full disk is said, and gone on from", clear and code == 0 and GOES_ON in said and digest(out) == want, 1)

        out = folder / f"{method}-changed"
        run(out, method, 1, "--group-size", 64, after=0.7 * seconds)
        code, said = run(out, method, 1)
        table.at_least(method, "changed settings are said and start over", code == 0 and OVER in said and "settings" in said and digest(out) == want, 1)
    left = [p.name for p in folder.iterdir() if p.name.startswith(".")]
    table.at_most("all", "folders of work that are left", len(left), 0)
table.finish()
