"""Writes images.json: what Pillow makes of seeded images (resizing, the usual preparation).

Run: python make_images.py   (Pillow 13.0.0 made the committed file)
"""
import base64
import hashlib
import json

import numpy as np
from PIL import Image


def noise(width, height, channels):
    """The same generator stands in images_test.go."""
    s, out = 12345, bytearray()
    for _ in range(width * height * channels):
        s = (s * 1103515245 + 12345) & 0x7FFFFFFF
        out.append((s >> 16) & 255)
    a = np.frombuffer(bytes(out), np.uint8).reshape(height, width, channels)
    return Image.fromarray(a if channels == 3 else a[:, :, 0])


FILTERS = dict(bilinear=Image.BILINEAR, bicubic=Image.BICUBIC, box=Image.BOX, nearest=Image.NEAREST, lanczos=Image.LANCZOS)
resized = []
for w, h, c, sizes in [
    (37, 23, 3, [(16, 16), (50, 31), (37, 9), (9, 23), (1, 1), (24, 15)]),
    (23, 41, 1, [(10, 18), (46, 82), (13, 50)]),
    (2, 3, 3, [(7, 7), (1, 2)]),
    (500, 375, 3, [(341, 256), (224, 224), (667, 500)]),
    (641, 481, 1, [(300, 200)]),
]:
    im = noise(w, h, c)
    for name, f in FILTERS.items():
        for ow, oh in sizes:
            out = im.resize((ow, oh), f).tobytes()
            case = dict(width=w, height=h, channels=c, filter=name, to=[ow, oh], sha256=hashlib.sha256(out).hexdigest())
            if len(out) <= 800:
                case["pixels"] = base64.b64encode(out).decode()
            resized.append(case)


# The usual evaluation pipeline: shorter side to 17, center crop 15x14, /255, normalize, channels first, in float32 steps.
pipeline = []
for w, h in [(37, 23), (23, 41)]:
    im = noise(w, h, 3)
    short = 17
    size = (int(short * w / h), short) if h <= w else (short, int(short * h / w))
    im = im.resize(size, Image.BILINEAR)
    ch, cw = 15, 14
    top, left = int(round((im.height - ch) / 2.0)), int(round((im.width - cw) / 2.0))
    a = np.asarray(im.crop((left, top, left + cw, top + ch))).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = [np.array(v, np.float32).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    pipeline.append(dict(width=w, height=h, values=base64.b64encode(((a - mean) / std).astype("<f4").tobytes()).decode()))
json.dump(dict(resized=resized, pipeline=pipeline), open("images.json", "w"), indent=0)
