"""Maintenance tickets of the fab: short texts, five causes, many ways to say them.

A ticket names one defect that is at fault, in one of many wordings, and often others
that are not: denied, cleared, on another wafer, or harmless.  Counting words therefore
cannot decide it.  Wordings and authors are divided: the few labelled tickets show part
of both, the test set all of them.  Every probability below was set before any model
was run (data/cards/tickets.md).
"""

import re
import tomllib
from pathlib import Path

import numpy as np

from course_lib.datasets.texts import TextDataset
from course_lib.errors import CourseError

SEED = 20_250_317
CLASSES = ("scratch", "particle", "residue", "bridge", "crack")
SIZES = {"train": 500, "validation": 500, "test": 1000}
SPLITS = {"train": 0, "validation": 1, "test": 2, "pool": 3}
COMMON = 10  # the first so many wordings of a defect occur in the training split
MENTIONED = (0.30, 0.45, 0.25)  # probability of 0, 1, 2 defects that are not at fault
AUTHORS = ("engineer", "shift log", "complaint")  # the last not in the training split
ABBREVIATED = {"engineer": 0.1, "shift log": 0.7, "complaint": 0.0}
MISSPELT = {"engineer": 0.01, "shift log": 0.05, "complaint": 0.02}  # of the words

_WORDS = tomllib.loads(Path(__file__).with_name("tickets.toml").read_text("utf-8"))
WORDINGS, ABBREVIATIONS = _WORDS["wordings"], _WORDS["abbreviations"]
AT_FAULT, NOT_AT_FAULT = _WORDS["at_fault"], _WORDS["not_at_fault"]
OPENINGS, ASIDES = _WORDS["openings"], _WORDS["asides"]
PLACES, STEPS, TOOLS = _WORDS["places"], _WORDS["steps"], _WORDS["tools"]


def pick(rng, options):
    """One of the options, each as likely as another."""
    return options[int(rng.integers(len(options)))]


def _filled(rng, frame: str, **words) -> str:
    """A frame with its place, step, tool, lot and number drawn."""
    words["place"] = pick(rng, PLACES).replace("{n}", str(rng.integers(1, 9)))
    words["step"], words["tool"] = pick(rng, STEPS), pick(rng, TOOLS)
    words["lot"] = f"{'ABKMRT'[rng.integers(6)]}{rng.integers(1000, 9999)}"
    return frame.format(n=rng.integers(2, 40), **words)


def without_article(wording: str) -> str:
    """The wording without a leading "a" or "an"."""
    return re.sub(r"^an? ", "", wording)


def misspelt(rng, word: str) -> str:
    """Two neighbouring letters swapped, one dropped or one doubled."""
    if len(word) < 4 or not word.isalpha():
        return word
    k = int(rng.integers(1, len(word) - 2))
    kind = int(rng.integers(3))
    if kind == 0:
        return word[:k] + word[k + 1] + word[k] + word[k + 2 :]
    return word[:k] + word[k + 1 :] if kind == 1 else word[:k] + word[k] + word[k:]


def written(rng, text: str, author: str) -> str:
    """The author's habits: abbreviations, lower case, misspellings."""
    short = rng.random() < ABBREVIATED[author]
    if author == "shift log":
        text = text.lower()
    words = []
    for token in re.findall(r"\w[\w-]*|\W", text):
        if short and token.lower() in ABBREVIATIONS:
            token = ABBREVIATIONS[token.lower()]
        elif rng.random() < MISSPELT[author]:
            token = misspelt(rng, token)
        words.append(token)
    return "".join(words)


def ticket(rng, label: int, split: str) -> tuple[str, dict]:
    """One ticket whose cause is ``CLASSES[label]``, and what is known about it."""
    seen_only = split == "train"
    author = pick(rng, AUTHORS[:2] if seen_only else AUTHORS)
    count = COMMON if seen_only else len(WORDINGS["scratch"])
    number = int(rng.integers(count))
    cause = CLASSES[label]
    sentences = [_filled(rng, pick(rng, AT_FAULT[author]), x=WORDINGS[cause][number])]
    others = rng.permutation([c for c in CLASSES if c != cause])
    mentions = int(rng.choice(3, p=MENTIONED))
    for other in others[:mentions]:
        wording = WORDINGS[str(other)][int(rng.integers(count))]
        frame = pick(rng, NOT_AT_FAULT)
        sentences.append(_filled(rng, frame, a=wording, y=without_article(wording)))
    order = rng.permutation(len(sentences))
    body = [sentences[i] for i in order]
    opening = _filled(rng, pick(rng, OPENINGS[author]))
    aside = _filled(rng, pick(rng, ASIDES[author]))
    sentences = [s[0].upper() + s[1:] for s in (opening, *body, aside) if s]
    text = written(rng, " ".join(sentences), author)
    about = dict(
        author=author,
        mentions=mentions,
        familiar=number < COMMON and author in AUTHORS[:2],
    )
    return text, about


def render(n: int, seed: int = SEED, split: str = "pool", first: int = 0):
    """``n`` tickets as a TextDataset; ticket i has the label i mod 5.

    metadata: ``author``, ``mentions`` (defects named that are not at fault) and
    ``familiar`` (wording and author occur in the training split).  Ticket i depends
    only on (seed, split, i).  Raises CourseError for an unknown split.
    """
    return drawn(ticket, n, seed, split, first, "tickets")


def drawn(make, n: int, seed: int, split: str, first: int, name: str) -> TextDataset:
    """A data set of ``make(rng, label, split)``: texts, and metadata by column."""
    if split not in SPLITS:
        raise CourseError(
            f"{name}: there is no split {split!r}. Expected one of {', '.join(SPLITS)}."
        )
    labels = (first + np.arange(n, dtype=np.int64)) % len(CLASSES)
    pairs = [
        make(np.random.default_rng((seed, SPLITS[split], first + i)), int(label), split)
        for i, label in enumerate(labels)
    ]
    texts, rows = zip(*pairs)
    metadata = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return TextDataset(texts, labels, CLASSES, name, split, metadata)
