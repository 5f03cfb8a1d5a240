"""How alike are two representations, and how oriented is a unit?  Lesson 01."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from course_lib.errors import CourseError


def linear_cka(X: np.ndarray, Y: np.ndarray) -> float:
    """Linear centred kernel alignment of X (N, p) and Y (N, q), from 0 to 1.

    Row i of both belongs to the same input.  For centred columns
    ``||Y'X||_F^2 / (||X'X||_F ||Y'Y||_F)``: unchanged when either side is rotated or
    scaled as a whole, but not under arbitrary linear maps.  With p of the order of N
    or above, even unrelated features score well above 0: compare with a shuffled
    baseline.  Raises CourseError on different N or constant features.
    Kornblith et al. 2019; lesson 01.
    """
    X, Y = (np.asarray(M, dtype=np.float64) for M in (X, Y))
    if X.ndim != 2 or Y.ndim != 2 or len(X) != len(Y) or len(X) < 2:
        raise CourseError(
            f"linear_cka: shapes {X.shape} and {Y.shape}. Expected (N, p) and (N, q) "
            "with the same N >= 2: one row for each input. Pool maps over space first "
            "(features.extract does)."
        )
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    if len(X) < max(X.shape[1], Y.shape[1]):  # Gram form: the same number, N x N
        K, L = X @ X.T, Y @ Y.T
        between, within = (K * L).sum(), np.linalg.norm(K) * np.linalg.norm(L)
    else:
        between = (np.linalg.norm(Y.T @ X)) ** 2
        within = np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y)
    if not within > 0:
        raise CourseError(
            "linear_cka: one side is constant (or not finite) over all inputs, so "
            "there is nothing to compare. Check for a dead layer."
        )
    return float(between / within)


def gratings(
    n_orientations: int = 12, wavelength: float = 8.0, n_phases: int = 4, size: int = 64
) -> np.ndarray:
    """Sinusoidal gratings, uint8 (n_orientations, n_phases, size, size, 3).

    Orientation k varies along the direction k * 180 / n_orientations degrees;
    ``wavelength`` is in pixels.  The stimulus of Hubel and Wiesel; lesson 01.
    """
    theta = np.pi * np.arange(n_orientations) / n_orientations
    phase = 2 * np.pi * np.arange(n_phases) / n_phases
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    along = np.cos(theta)[:, None, None] * x + np.sin(theta)[:, None, None] * y
    wave = np.sin(2 * np.pi * along[:, None] / wavelength + phase[:, None, None])
    grey = np.floor(127.5 + 127.5 * wave + 0.5).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def orientation_tuning(
    backbone,
    module: str,
    wavelengths: Sequence[float] = (4, 6, 8, 12),
    n_orientations: int = 12,
    n_phases: int = 4,
    size: int = 64,
) -> np.ndarray:
    """Mean response (n_orientations, units) of a layer's units to gratings.

    Positive part of the activation, averaged over the central half of the map (the
    border sees the padding) and over phases, at each unit's best wavelength.
    Lesson 01.
    """
    from course_lib.models import features

    best = None
    for wavelength in wavelengths:
        images = gratings(n_orientations, wavelength, n_phases, size)
        x = features.preprocess_of(backbone)(images.reshape(-1, size, size, 3))
        maps = features.activations(backbone, x, [module])[module].clamp(min=0)
        if maps.ndim == 4:
            h, w = maps.shape[2:]
            maps = maps[:, :, h // 4 : h - h // 4, w // 4 : w - w // 4].mean(dim=(2, 3))
        elif maps.ndim == 3:
            maps = maps.mean(dim=1)
        tuning = maps.reshape(n_orientations, n_phases, -1).mean(dim=1).cpu().numpy()
        if best is None:
            best = tuning
        stronger = tuning.max(axis=0) > best.max(axis=0)
        best = np.where(stronger, tuning, best)
    return best


def orientation_selectivity(responses: np.ndarray) -> np.ndarray:
    """Orientation selectivity index of each unit: 0 (none) to 1 (one orientation).

    responses: (K, units), >= 0, to K orientations evenly spaced over 180 degrees.
    ``|sum_k r_k exp(2 i theta_k)| / sum_k r_k``, one minus the circular variance;
    NaN for a unit that never responds.  Raises CourseError on negative responses.
    Ringach et al. 2002; lesson 01.
    """
    r = np.asarray(responses, dtype=np.float64)
    if r.ndim != 2 or len(r) < 3 or (r < 0).any():
        raise CourseError(
            f"orientation_selectivity: responses of shape {r.shape}, smallest "
            f"{r.min(initial=0):.3g}. Expected (K, units) with K >= 3 and no negative "
            "value (apply the ReLU first)."
        )
    theta = np.pi * np.arange(len(r)) / len(r)
    resultant = np.abs((r * np.exp(2j * theta)[:, None]).sum(axis=0))
    total = r.sum(axis=0)
    return np.divide(resultant, total, out=np.full(r.shape[1], np.nan), where=total > 0)
