"""Questions to put to features, whose answers are known: of pictures and of texts.

A probe (:mod:`probes`) shows whether the answer can be read.  Conneau et al. 2018.
"""

from dataclasses import dataclass

import numpy as np

# -- of pictures: the answers are in the pixels -----------------------------------


def hues(images: np.ndarray, bins: int = 6, least: float = 0.05) -> np.ndarray:
    """Which of ``bins`` hues the mean colour of each image has; -1 where it is grey.

    images: uint8 (N, H, W, 3).  ``least`` is the smallest chroma, 0 to 1, that counts
    as a colour.  Returns int64 (N,).
    """
    r, g, b = images.mean(axis=(1, 2)).T / 255
    u, v = r - (g + b) / 2, (g - b) * 0.75**0.5
    return _binned(np.arctan2(v, u), bins, np.hypot(u, v) > least)


def angles(images: np.ndarray, bins: int = 6, least: float = 0.3) -> np.ndarray:
    """Which of ``bins`` orientations prevails in each image; -1 where none does.

    The main axis of the structure tensor of the grey image; ``least`` is the smallest
    coherence, 0 to 1.  images: uint8 (N, H, W, 3).  Returns int64 (N,).
    Bigun & Granlund 1987.
    """
    dy, dx = np.gradient(images.mean(axis=3), axis=(1, 2))
    xx, yy, xy = ((a * b).sum(axis=(1, 2)) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    coherent = np.hypot(xx - yy, 2 * xy) > least * (xx + yy)
    return _binned(np.arctan2(2 * xy, xx - yy), bins, coherent)


def _binned(angle: np.ndarray, bins: int, valid: np.ndarray) -> np.ndarray:
    turn = angle / (2 * np.pi) % 1
    return np.where(valid, (turn * bins).astype(np.int64) % bins, -1)


# -- notes for a text encoder -----------------------------------------------------

STEPS = {
    "lithography": "exposure photoresist reticle scanner overlay stepper focus mask",
    "etching": "plasma etcher undercut sidewall trench etchant overetch ion-beam",
    "deposition": "sputtering film precursor oxide-layer epitaxy coating furnace CVD",
    "cleaning": "rinse residue megasonics wet-bench particles scrubber solvent dirt",
}
OPENINGS = ("problem with", "trouble with", "fault in", "issue with")
OPEN = ("was not fixed", "is still there", "could not be solved", "remains unclear")
SOLVED = ("was fixed", "is gone", "has been solved", "is understood")
OPEN += ("keeps coming back", "has got worse")
SOLVED += ("did not come back", "has disappeared")
PLACES = ("on line two", "in bay four", "at the west end", "on tool seven")


@dataclass(frozen=True)
class Notes:
    """Shift notes and what was drawn for each: int64 (N,) columns."""

    texts: list[str]
    opening: np.ndarray  # which synonym opens the note
    word: np.ndarray  # which of 32 words names the trouble
    step: np.ndarray  # which process step the word belongs to
    phrase: np.ndarray  # which of 12 phrases says how it stands
    solved: np.ndarray  # is the problem gone?
    again: np.ndarray  # does the note end with "again"?


def shift_notes(n: int, seed: int) -> Notes:
    """``n`` one-sentence notes of a fab's night shift, every part drawn independently.

    A surface question is which word stands where (``opening``, ``again``); a question
    about meaning is what different words have in common (``step``, ``solved``).
    """
    words = [w.replace("-", " ") for step in STEPS.values() for w in step.split()]
    phrases = OPEN + SOLVED
    sizes = (len(OPENINGS), len(words), len(phrases), len(PLACES), 2)
    rng = np.random.default_rng(seed)
    opening, word, phrase, place, again = (rng.integers(size, size=n) for size in sizes)
    texts = [
        f"The {OPENINGS[o]} the {words[w]} {phrases[p]} {PLACES[at]}{' again' * a}."
        for o, w, p, at, a in zip(opening, word, phrase, place, again, strict=True)
    ]
    step, solved = word // 8, phrase // len(OPEN)
    return Notes(texts, opening, word, step, phrase, solved, again)


def unseen(labels: np.ndarray, kinds: np.ndarray, seed: int) -> np.ndarray:
    """Rows to test on, bool (N,): half of the kinds that occur within each label.

    With ``kinds`` a word or phrase number, no word of a tested row is among the rest:
    a probe fitted there cannot answer by recognising the word.
    """
    rng, test = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        found = rng.permutation(np.unique(kinds[labels == label]))
        test |= np.isin(kinds, found[: len(found) // 2]) & (labels == label)
    return test
