"""What can be read from each stage of a network: features, questions, figures.

Helpers of lesson 01: all stages pooled in one pass, questions whose answers come from
the pixels themselves, notes for probing a text encoder, and lines over the stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from course_lib.errors import CourseError
from course_lib.models import features
from course_lib.show import plots

# -- every stage at once ----------------------------------------------------------


def pooled(backbone, images: np.ndarray, batch_size: int = 200) -> tuple[dict, dict]:
    """Mean and maximum over positions of every stage, in one pass over the images.

    images: uint8 (N, H, W, 3).  Returns two dicts {stage: tensor (N, C)}.  Raises
    CourseError for stages without maps.  Lesson 01.
    """
    import torch

    stages = list(backbone.stages)
    mean, peak = {s: [] for s in stages}, {s: [] for s in stages}
    for start in range(0, len(images), batch_size):
        x = backbone.preprocess(images[start : start + batch_size])
        for stage, maps in features.activations(backbone, x, stages).items():
            if maps.ndim != 4:
                raise CourseError(
                    f"pooled: {stage} gives shape {tuple(maps.shape)}, expected maps "
                    "(N, C, h, w). Choose a convolutional network."
                )
            mean[stage].append(maps.mean((2, 3)).cpu())
            peak[stage].append(maps.amax((2, 3)).cpu())
    return tuple({s: torch.cat(parts) for s, parts in d.items()} for d in (mean, peak))


# -- questions whose answers are in the pixels ------------------------------------


def hues(images: np.ndarray, bins: int = 6, least: float = 0.05) -> np.ndarray:
    """Which of ``bins`` hues the mean colour of each image has; -1 where it is grey.

    images: uint8 (N, H, W, 3).  ``least`` is the smallest chroma, 0 to 1, that counts
    as a colour.  Returns int64 (N,).  Lesson 01.
    """
    r, g, b = images.mean(axis=(1, 2)).T / 255
    u, v = r - (g + b) / 2, (g - b) * 0.75**0.5
    return _binned(np.arctan2(v, u), bins, np.hypot(u, v) > least)


def angles(images: np.ndarray, bins: int = 6, least: float = 0.3) -> np.ndarray:
    """Which of ``bins`` orientations prevails in each image; -1 where none does.

    The main axis of the structure tensor of the grey image; ``least`` is the smallest
    coherence, 0 to 1.  images: uint8 (N, H, W, 3).  Returns int64 (N,).
    Bigun & Granlund 1987; lesson 01.
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
    Lesson 01.
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
    a probe fitted there cannot answer by recognising the word.  Lesson 01.
    """
    rng, test = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        found = rng.permutation(np.unique(kinds[labels == label]))
        test |= np.isin(kinds, found[: len(found) // 2]) & (labels == label)
    return test


# -- figures ----------------------------------------------------------------------


def by_stage(
    series: Mapping[str, Sequence],
    stages: Sequence[str],
    title: str,
    ylabel: str,
    chance: float | None = None,
    legend: str = "best",
    ax=None,
):
    """Lines over the stages for {label: (runs, stages)}, lowest to highest run shaded.

    ``chance`` draws a grey line; ``legend`` is a place, or "outside" at the right.
    With ``ax`` it is one panel of several, without a legend.  Lesson 01.
    """
    places = np.arange(len(stages))
    fig = plots.line_with_spread(
        places,
        series,
        spread="range",
        xlabel="" if ax else "input to output",
        ylabel=ylabel,
        title=title,
        ax=ax,
    )
    panel = ax or fig.axes[0]
    panel.set_xticks(places, stages)
    if chance is not None:
        panel.axhline(chance, color="grey", linewidth=0.8)
    if ax:
        panel.get_legend().remove()
    elif legend != "best":
        handles, labels = panel.get_legend_handles_labels()
        note = panel.get_legend().get_title().get_text()
        where = dict(loc=legend)
        if legend == "outside":
            where = dict(loc="upper left", bbox_to_anchor=(1.0, 1.0))
            note = note.replace(", ", ",\n")
            fig.set_figwidth(fig.get_figwidth() + 2.2)
        panel.legend(handles, labels, title=note, title_fontsize="small", **where)
    return fig


def panels(
    questions: Mapping[str, Mapping[str, Sequence]],
    stages: Sequence[str],
    title: str,
    ylabel: str,
    chance: Mapping[str, float],
    columns: int = 3,
):
    """One panel of :func:`by_stage` for each question, the legend in the spare place.

    questions: {question: {label: (runs, stages)}}, the same labels in each.  Lesson 01.
    """
    rows = len(questions) // columns + 1
    fig, axes = plots.new(8.4, 2.4 * rows, rows, columns)
    for i, (ax, (question, series)) in enumerate(zip(axes.flat, questions.items())):
        by_stage(
            series,
            stages,
            question,
            ylabel if i % columns == 0 else "",
            chance[question],
            ax=ax,
        )
    note = "lowest to highest run\ngrey line: the commonest answer"
    spare = axes.flat[len(questions) :]
    spare[0].legend(*ax.get_legend_handles_labels(), loc="center", title=note)
    for empty in spare:
        empty.axis("off")
    fig.suptitle(title, x=0.01, ha="left", fontsize=11)
    return fig
