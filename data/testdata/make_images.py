"""Writes images.json: what Pillow makes of seeded images (resizing) and of encoded files (decoding to RGB).

Run: python make_images.py   (Pillow 13.0.0 made the committed file)
"""
import base64
import hashlib
import io
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


def smooth(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    r = 127 + 120 * np.sin(x / 5 + y / 9)
    g = 127 + 120 * np.cos(x / 7 - y / 4)
    b = 255 * x / max(width - 1, 1)
    b[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2] = 30
    return Image.fromarray(np.stack([r, g, b], 2).clip(0, 255).astype(np.uint8))


FILTERS = dict(bilinear=Image.BILINEAR, bicubic=Image.BICUBIC, box=Image.BOX, nearest=Image.NEAREST, lanczos=Image.LANCZOS)
resized, decoded = [], []
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


def add(name, im, fmt, exact=True, patch=None, **kw):
    f = io.BytesIO()
    im.save(f, fmt, **kw)
    file = patch(f.getvalue()) if patch else f.getvalue()
    back = Image.open(io.BytesIO(file)).convert("RGB")
    decoded.append(dict(name=name, width=back.width, height=back.height, exact=exact, file=base64.b64encode(file).decode(),
                        pixels=base64.b64encode(back.tobytes()).decode()))


for (w, h) in [(33, 21), (16, 16), (5, 7), (3, 3), (1, 1)]:
    for sub, label in [(0, "444"), (1, "422"), (2, "420")]:
        add(f"jpeg {label} {w}x{h}", smooth(w, h), "JPEG", exact=False, quality=90, subsampling=sub)
# Sampling factors 2x1 relabelled 1x2: as many units, scrambled, but a valid 4:4:0 file.
add("jpeg 440", smooth(32, 32), "JPEG", exact=False, quality=90, subsampling=1,
    patch=lambda b: b.replace(b"\x01\x21\x00", b"\x01\x12\x00"))
add("jpeg gray", smooth(20, 12).convert("L"), "JPEG", exact=False, quality=80)
add("jpeg progressive", smooth(33, 21), "JPEG", exact=False, quality=75, progressive=True)
add("jpeg cmyk", smooth(18, 12).convert("CMYK"), "JPEG", exact=False, quality=90)
rgb = smooth(19, 11)
add("png rgb", rgb, "PNG")
add("png gray", rgb.convert("L"), "PNG")
add("png palette", rgb.convert("P", palette=Image.ADAPTIVE, colors=30), "PNG")
add("png 1 bit", rgb.convert("1"), "PNG")
rgba = rgb.copy()
rgba.putalpha(noise(19, 11, 1))
add("png alpha", rgba, "PNG")
add("png gray alpha", rgba.convert("LA"), "PNG")
add("bmp", rgb, "BMP")
add("bmp gray", rgb.convert("L"), "BMP")
add("gif", rgb, "GIF")
add("webp lossless", rgb, "WEBP", lossless=True)
add("webp lossless alpha", rgba, "WEBP", lossless=True, exact=True)
add("webp lossy", smooth(33, 21), "WEBP", quality=80)
add("webp lossy even", smooth(32, 20), "WEBP", quality=80)
add("webp lossy alpha", rgba, "WEBP", quality=80)
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
json.dump(dict(resized=resized, decoded=decoded, pipeline=pipeline), open("images.json", "w"), indent=0)
