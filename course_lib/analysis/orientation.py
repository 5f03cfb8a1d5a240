"""How oriented is a unit?  Its responses to gratings, as physiologists measure them."""

from collections.abc import Sequence

import numpy as np

from course_lib.errors import CourseError
from course_lib.models import features


def gratings(
    n_orientations: int = 12, wavelength: float = 8.0, n_phases: int = 4, size: int = 64
) -> np.ndarray:
    """Sinusoidal gratings, uint8 (n_orientations, n_phases, size, size, 3).

    Orientation k varies along the direction k * 180 / n_orientations degrees;
    ``wavelength`` is in pixels.  The stimulus of Hubel and Wiesel.
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
    """
    look = (wavelengths, n_orientations, n_phases, size)
    return orientation_tunings(backbone, [module], *look)[module]


def orientation_tunings(
    backbone,
    modules: Sequence[str],
    wavelengths: Sequence[float] = (4, 6, 8, 12),
    n_orientations: int = 12,
    n_phases: int = 4,
    size: int = 64,
) -> dict[str, np.ndarray]:
    """:func:`orientation_tuning` of several layers, {module: (n_orientations, units)}.

    One pass through the network for each wavelength.
    """
    best: dict[str, np.ndarray] = {}
    for wavelength in wavelengths:
        images = gratings(n_orientations, wavelength, n_phases, size)
        x = features.preprocess_of(backbone)(images.reshape(-1, size, size, 3))
        for module, maps in features.activations(backbone, x, modules).items():
            maps = maps.clamp(min=0)
            if maps.ndim == 4:
                h, w = maps.shape[2:]
                maps = maps[:, :, h // 4 : h - h // 4, w // 4 : w - w // 4]
                maps = maps.mean(dim=(2, 3))
            elif maps.ndim == 3:
                maps = maps.mean(dim=1)
            tuning = maps.reshape(n_orientations, n_phases, -1).mean(dim=1)
            tuning = tuning.cpu().numpy()
            before = best.get(module, tuning)
            stronger = tuning.max(axis=0) > before.max(axis=0)
            best[module] = np.where(stronger, tuning, before)
    return best


def orientation_selectivity(responses: np.ndarray) -> np.ndarray:
    """Orientation selectivity index of each unit: 0 (none) to 1 (one orientation).

    responses: (K, units), >= 0, to K orientations evenly spaced over 180 degrees.
    ``|sum_k r_k exp(2 i theta_k)| / sum_k r_k``, one minus the circular variance;
    NaN for a unit that never responds.  Raises CourseError on negative responses.
    Ringach et al. 2002.
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
