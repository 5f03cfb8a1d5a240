"""Real time series, and the same as pictures: a far domain for ImageNet weights.

Speech (JapaneseVowels: 9 speakers, 12 cepstral coefficients), power drawn by
appliances (ACSF1: 10 kinds), acceleration of a wrist (BasicMotions: 4 activities), the
motion of a hand (GunPoint: 2) and outlines of leaves (OSULeaf: 6), with the train and
test parts of the archives that they come from (Dau et al. 2019, arXiv:1810.07758;
Bagnall et al. 2018, arXiv:1811.00075).  Known traps: data/cards/series.md.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image

from course_lib import assets
from course_lib.datasets.images import ImageDataset
from course_lib.datasets.labelled import Labelled, check_labels
from course_lib.errors import CourseError

NAMES = ("JapaneseVowels", "ACSF1", "BasicMotions", "GunPoint", "OSULeaf")
SPLITS = ("train", "test")
SIZE = 96  # pixels a side of the pictures
SHORT = 32  # time steps below which a series is drawn as it is, not as a spectrogram
WINDOWS = 48  # frames of a spectrogram, about


@dataclass(frozen=True, eq=False)
class SeriesDataset(Labelled):
    """Series of one split with their labels; behaves like a torch map-style dataset.

    series: N float32 arrays (channels, time); times may differ between them.
    labels: int64 (N,).  Raises CourseError when shapes or labels do not fit.
    """

    holds = "series"
    series: tuple[np.ndarray, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    name: str = "series"
    split: str = "train"
    metadata: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "series", tuple(self.series))
        if len({x.shape[0] for x in self.series if x.ndim == 2}) > 1 or any(
            x.ndim != 2 for x in self.series
        ):
            raise CourseError(
                f"data set {self.name!r}: expected series of one number of channels, "
                "each (channels, time)."
            )
        check_labels(self)

    def padded(self, length: int | None = None) -> np.ndarray:
        """float32 (N, channels, length): zeros at the end; longer ones are cut.

        length: by default that of the longest.  For methods that want one length.
        """
        length = length or max(x.shape[1] for x in self.series)
        out = np.zeros((len(self), self.series[0].shape[0], length), np.float32)
        for row, x in zip(out, self.series):
            row[:, : x.shape[1]] = x[:, :length]
        return out


@lru_cache(maxsize=10)
def load(name: str, split: str = "train") -> SeriesDataset:
    """One split of one set.  Raises CourseError for other names."""
    if name not in NAMES or split not in SPLITS:
        raise CourseError(
            f"series: name={name!r}, split={split!r}.\nExpected: one of "
            f"{', '.join(NAMES)}, and 'train' or 'test'."
        )
    path = assets.folder("series") / f"{name}_{split.upper()}.ts"
    series, labels, classes = _read(path.read_text(encoding="utf-8"))
    index = {label: k for k, label in enumerate(classes)}
    numbers = np.array([index[label] for label in labels], dtype=np.int64)
    return SeriesDataset(series, numbers, classes, f"series/{name}", split)


def _read(text: str):
    """(series, labels, classes) of a file in the .ts format.

    Lines with # are comments, with @ say what follows; then one series a line, its
    channels separated by colons, numbers by commas, the label last.
    """
    series, labels, classes = [], [], ()
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("@classLabel"):
            classes = tuple(line.split()[2:])
        if not line or line[0] in "#@":
            continue
        *channels, label = line.split(":")
        rows = [np.array(channel.split(","), dtype=np.float32) for channel in channels]
        series.append(np.stack(rows))
        labels.append(label)
    return series, labels, classes


# -- as pictures ------------------------------------------------------------------


def pictures(data: SeriesDataset, like: SeriesDataset, size: int = SIZE):
    """The series as grey pictures, an ImageDataset: uint8 (N, size, size, 3).

    Long series become log-magnitude spectrograms, one band of rows for each channel;
    short ones (under 32 steps) a map of channels over time.  Grey values run from the
    1st to the 99th percentile of ``like``, the training part, so that nothing of the
    test part is used to draw it.
    """
    low, high = np.percentile(
        np.concatenate([_map(x).ravel() for x in like.series]), (1, 99)
    )
    images = np.empty((len(data), size, size, 3), dtype=np.uint8)
    for i, x in enumerate(data.series):
        grey = (_map(x) - low) / max(float(high - low), 1e-12)
        levels = np.floor(np.clip(grey, 0, 1) * 255 + 0.5).astype(np.uint8)
        resized = Image.fromarray(levels).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        images[i] = np.asarray(resized)[..., None]
    return ImageDataset(
        images, data.labels, data.classes, data.name, data.split, dict(data.metadata)
    )


def _map(x: np.ndarray) -> np.ndarray:
    """A series (channels, time) as one picture (rows, columns), values as they come."""
    if x.shape[1] < SHORT:
        return x
    from scipy.signal import stft

    width = int(min(256, max(16, 2 ** round(np.log2(x.shape[1] / 8)))))
    step = max(1, x.shape[1] // WINDOWS)
    _, _, Z = stft(x, nperseg=width, noverlap=width - step, padded=False)
    power = np.log10(np.abs(Z) + 1e-4)  # (channels, frequencies, frames)
    return np.concatenate([channel[::-1] for channel in power])  # low notes below
