"""Writes pictures.json: encoded images and their pixels as Pillow decodes them to RGB.

Run: python make_pictures.py   (Pillow 13.0.0 with libjpeg-turbo 3.2.0 and libwebp 1.6.0 made the committed file)
"""
import base64
import io
import json

import numpy as np
from PIL import Image


def noise(width, height):
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width), dtype=np.uint8))


def smooth(width, height):
    y, x = np.mgrid[0:height, 0:width].astype(float)
    r = 127 + 120 * np.sin(x / 5 + y / 9)
    g = 127 + 120 * np.cos(x / 7 - y / 4)
    b = 255 * x / max(width - 1, 1)
    b[(x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2] = 30
    return Image.fromarray(np.stack([r, g, b], 2).clip(0, 255).astype(np.uint8))


decoded = []


def add(name, im, fmt, exact=True, patch=None, **kw):
    f = io.BytesIO()
    im.save(f, fmt, **kw)
    file = patch(f.getvalue()) if patch else f.getvalue()
    back = Image.open(io.BytesIO(file)).convert("RGB")
    decoded.append(dict(name=name, width=back.width, height=back.height, exact=exact, file=base64.b64encode(file).decode(),
                        pixels=base64.b64encode(back.tobytes()).decode()))


for (w, h) in [(33, 21), (16, 16), (5, 7), (3, 3), (1, 1)]:
    for sub, label in [(0, "444"), (1, "422"), (2, "420")]:
        add(f"jpeg {label} {w}x{h}", smooth(w, h), "JPEG", quality=90, subsampling=sub)
# Sampling factors 2x1 relabelled 1x2: as many units, scrambled, but a valid 4:4:0 file.
add("jpeg 440", smooth(32, 32), "JPEG", quality=90, subsampling=1,
    patch=lambda b: b.replace(b"\x01\x21\x00", b"\x01\x12\x00"))
add("jpeg gray", smooth(20, 12).convert("L"), "JPEG", quality=80)
add("jpeg progressive", smooth(33, 21), "JPEG", quality=75, progressive=True)
add("jpeg cmyk", smooth(18, 12).convert("CMYK"), "JPEG", exact=False, quality=90)
add("jpeg fine", smooth(33, 21), "JPEG", exact=False, quality=97)
add("jpeg rgb", smooth(18, 12), "JPEG", exact=False, quality=90, keep_rgb=True)
# Coefficients of black and white overshoot: samples are cut off, and most coefficients lost.
bars = Image.fromarray((np.indices((24, 40)).sum(0) // 5 % 2 * 255).astype(np.uint8))
for q in (30, 60, 85):
    add(f"jpeg bars {q}", bars.convert("RGB"), "JPEG", exact=False, quality=q)
flash = Image.fromarray((np.asarray(smooth(33, 21), int) * 2 - 100).clip(0, 255).astype(np.uint8))
add("jpeg flash", flash, "JPEG", quality=75)
rgb = smooth(19, 11)
add("png rgb", rgb, "PNG")
add("png gray", rgb.convert("L"), "PNG")
add("png palette", rgb.convert("P", palette=Image.ADAPTIVE, colors=30), "PNG")
add("png 1 bit", rgb.convert("1"), "PNG")
rgba = rgb.copy()
rgba.putalpha(noise(19, 11))
add("png alpha", rgba, "PNG")
add("png gray alpha", rgba.convert("LA"), "PNG")
add("bmp", rgb, "BMP")
add("bmp gray", rgb.convert("L"), "BMP")
add("gif", rgb, "GIF")
add("tiff", rgb, "TIFF", compression="tiff_lzw")
add("tiff gray", rgb.convert("L"), "TIFF")
add("ppm", rgb, "PPM")
add("pgm", rgb.convert("L"), "PPM")
add("pbm", rgb.convert("1"), "PPM")


def gif(transparent):
    """A frame of 2x2 pixels 0, 1, 3, 2 at (1, 1) of a canvas of 4x4; a code that clears the table before every pixel."""
    bits = "".join(format(c, "03b")[::-1] for p in (0, 1, 3, 2) for c in (4, p)) + format(5, "03b")[::-1] + "00000"
    codes = bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, 32, 8))
    colours = bytes([10, 20, 30, 200, 100, 50, 1, 2, 3, 250, 251, 252])
    control = b"" if transparent is None else bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    frame = b"," + bytes([1, 0, 1, 0, 2, 0, 2, 0, 0, 2, len(codes)])
    return b"GIF89a" + bytes([4, 0, 4, 0, 0x81, 2, 0]) + colours + control + frame + codes + b"\0;"


for transparent in (None, 0, 3):
    add(f"gif canvas {transparent}", rgb, "GIF", patch=lambda _: gif(transparent))
add("webp lossless", rgb, "WEBP", lossless=True)
add("webp lossless alpha", rgba, "WEBP", lossless=True, exact=True)
add("webp lossy", smooth(33, 21), "WEBP", quality=80)
add("webp lossy even", smooth(32, 20), "WEBP", quality=80)
add("webp lossy alpha", rgba, "WEBP", quality=80)
json.dump(decoded, open("pictures.json", "w"), indent=0)
