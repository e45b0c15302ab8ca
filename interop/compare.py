"""Measures of agreement between two arrays. They are computed in float64."""

import numpy as np


def cosine(a, b):
    """Cosine of the angle between a and b; 1 for two zero vectors, -1 if the shapes differ or a value is not finite."""
    if a.shape != b.shape:
        return -1.0
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -1.0
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norms) if norms else float(not a.any() and not b.any())


def excess(a, b, rtol=1e-3, atol=1e-4):
    """The largest |a-b| in units of what is allowed, atol + rtol |b|: at most 1 means close; inf if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    worst = np.max(np.abs(a - b) / (atol + rtol * np.abs(b)), initial=0.0)
    return float(worst) if np.isfinite(worst) else float("inf")


def agreement(a, b):
    """The share of rows of two [samples, classes] arrays whose largest element is at the same place."""
    return float(np.mean(a.argmax(1) == b.argmax(1)))


def snr(exact, approximate):
    """Energy of the exact values over energy of the error, in decibels."""
    exact, approximate = exact.astype(np.float64), approximate.astype(np.float64)
    error = np.sum((exact - approximate) ** 2)
    return float(10 * np.log10(np.sum(exact**2) / error)) if error else float("inf")
