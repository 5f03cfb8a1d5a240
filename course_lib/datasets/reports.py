"""Raw tickets of the fab and the standard reports that belong to them.

The tickets are of the kind of `tickets`: the same frames, wordings and authors.  But
each has *one* lot, tool, step and place throughout, so that a report can state them: it
has five lines in a fixed order, "not stated" where the ticket says nothing, and the
action that the fab's handbook prescribes for the defect.
"""

import re
from string import Formatter

import numpy as np

from course_lib.datasets import tickets
from course_lib.errors import CourseError

SEED = 20_260_111
CLASSES = tickets.CLASSES
SIZES = {"train": 1000, "validation": 200, "test": 400}
SPLITS = tickets.SPLITS
FIELDS = ("Lot", "Defect", "Place", "Step", "Action")
NOT_STATED = "not stated"
ACTIONS = {
    "scratch": "check the handler",
    "particle": "clean the chamber",
    "residue": "repeat the clean",
    "bridge": "check the exposure",
    "crack": "scrap the wafer",
}
PLACES = tuple(
    place.replace("{n}", str(n))
    for place in tickets.PLACES
    for n in (range(1, 9) if "{n}" in place else (0,))
)
VALUES = {  # what may stand in a field; the lot is a letter and four digits
    "Defect": CLASSES,
    "Place": (*PLACES, NOT_STATED),
    "Step": (*tickets.STEPS, NOT_STATED),
    "Action": tuple(ACTIONS.values()),
}
_LOT = re.compile(rf"[A-Z]\d{{4}}|{NOT_STATED}")


def report(facts: dict[str, str]) -> str:
    """The standard report: one line a field, in the order of FIELDS."""
    return "\n".join(f"{field}: {facts[field]}" for field in FIELDS)


def parse(text: str) -> dict[str, str] | None:
    """The fields of a report; None unless its format is exactly right.

    Right means: five lines, "Field: value" in the order of FIELDS, every value one that
    the field may have.  Whether the values are *true* is another question (`score`).
    """
    lines = text.strip().split("\n")
    if len(lines) != len(FIELDS):
        return None
    found = {}
    for field, line in zip(FIELDS, lines):
        name, colon, value = line.partition(": ")
        allowed = (
            _LOT.fullmatch(value) if field == "Lot" else value in VALUES.get(field, ())
        )
        if name != field or not colon or not allowed:
            return None
        found[field] = value
    return found


def score(written: list[str], wanted: list[str]) -> dict[str, float]:
    """Shares of the reports: ``format`` exactly right, every field right (``exact``),
    and each field by its name in lower case.  A report of a wrong format has no field
    right.  Raises CourseError when the lists differ in length or are empty.
    """
    if len(written) != len(wanted) or not written:
        raise CourseError(
            f"score: {len(written)} reports for {len(wanted)} tickets. Expected one "
            "report a ticket, and at least one."
        )
    found = [parse(text) for text in written]
    truth = [parse(text) for text in wanted]
    share = {
        field.lower(): np.mean(
            [f is not None and f[field] == t[field] for f, t in zip(found, truth)]
        )
        for field in FIELDS
    }
    share["format"] = np.mean([f is not None for f in found])
    share["exact"] = np.mean([f == t for f, t in zip(found, truth)])
    return {key: float(value) for key, value in share.items()}


def pair(rng, label: int, split: str) -> tuple[str, dict]:
    """One ticket whose cause is ``CLASSES[label]``; what is known of it, its report."""
    seen_only = split == "train"
    author = tickets.pick(rng, tickets.AUTHORS[:2] if seen_only else tickets.AUTHORS)
    wordings = tickets.COMMON if seen_only else len(tickets.WORDINGS["scratch"])
    number, cause = int(rng.integers(wordings)), CLASSES[label]
    facts = {
        "lot": f"{'ABKMRT'[rng.integers(6)]}{rng.integers(1000, 9999)}",
        "place": tickets.pick(rng, PLACES),
        "step": tickets.pick(rng, tickets.STEPS),
        "tool": tickets.pick(rng, tickets.TOOLS),
    }
    stated = set()

    def filled(frame, **words):
        stated.update(slot for _, slot, _, _ in Formatter().parse(frame) if slot)
        return frame.format(n=rng.integers(2, 40), **facts, **words)

    at_fault = tickets.pick(rng, tickets.AT_FAULT[author])
    sentences = [filled(at_fault, x=tickets.WORDINGS[cause][number])]
    others = rng.permutation([c for c in CLASSES if c != cause])
    mentions = int(rng.choice(3, p=tickets.MENTIONED))
    for other in others[:mentions]:
        wording = tickets.WORDINGS[str(other)][int(rng.integers(wordings))]
        frame = tickets.pick(rng, tickets.NOT_AT_FAULT)
        words = dict(a=wording, y=tickets.without_article(wording))
        sentences.append(filled(frame, **words))
    body = [sentences[i] for i in rng.permutation(len(sentences))]
    opening = filled(tickets.pick(rng, tickets.OPENINGS[author]))
    aside = filled(tickets.pick(rng, tickets.ASIDES[author]))
    sentences = [s[0].upper() + s[1:] for s in (opening, *body, aside) if s]
    text = tickets.written(rng, " ".join(sentences), author)
    known = {
        field: facts[field.lower()] if field.lower() in stated else NOT_STATED
        for field in ("Lot", "Place", "Step")
    }
    known |= {"Defect": cause, "Action": ACTIONS[cause]}
    familiar = number < tickets.COMMON and author in tickets.AUTHORS[:2]
    about = dict(author=author, mentions=mentions, familiar=familiar)
    return text, about | {"report": report(known)}


def render(n: int, seed: int = SEED, split: str = "pool", first: int = 0):
    """``n`` tickets with reports as a TextDataset; ticket i has the cause i mod 5.

    metadata: ``report``, and ``author``, ``mentions``, ``familiar`` as in `tickets`.
    Ticket i depends only on (seed, split, i).  Raises CourseError for an unknown split.
    """
    return tickets.drawn(pair, n, seed, split, first, "reports")
