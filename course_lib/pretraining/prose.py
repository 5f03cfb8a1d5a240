"""Text to pre-train a small language model on: the fab's and the world's, generated.

A document follows one of the plots in prose.toml: each step is one of several
sentences, and a name, lot or tool stays the same throughout the document, so that there
is something to remember.  About a quarter of the documents are raw tickets.  No
document is in the form of a report (course_lib.datasets.reports): that is left to
fine-tuning.
"""

import re
import tomllib
from pathlib import Path

import numpy as np

from course_lib.datasets import tickets

SEED = 20_260_110
SHARE_TICKETS = 0.25
SHARE_GLOSSARY = 0.06
SHARE_LISTS = 0.10
SHARE_ECHOES = 0.20

MADE_OF = tomllib.loads(Path(__file__).with_name("prose.toml").read_text("utf-8"))
WORDS = {
    "tool": tickets.TOOLS,
    "step": tickets.STEPS,
    "place": [place for place in tickets.PLACES if "{" not in place],
    "defect": tickets.CLASSES,
    **MADE_OF["words"],
}


class Draws(dict):
    """The words of one document: drawn when first asked for, then kept.

    {tool2} is another draw of the same kind as {tool}.
    """

    def __init__(self, rng):
        super().__init__()
        self.rng = rng

    def __missing__(self, slot: str):
        kind = slot.rstrip("2")
        if kind == "lot":
            letter = "ABKMRT"[int(self.rng.integers(6))]
            drawn = f"{letter}{self.rng.integers(1000, 9999)}"
        elif kind in ("n", "k"):
            drawn = str(self.rng.integers(2, 26))
        elif kind in ("a", "b"):
            drawn = str(self.rng.integers(2, 10))
        elif kind == "sum":
            drawn = str(int(self["a"]) + int(self["b"]))
        else:
            taken = {self.get(kind), self.get(kind + "2")}
            drawn = tickets.pick(self.rng, [w for w in WORDS[kind] if w not in taken])
        self[slot] = drawn
        return drawn


def _sentence(frame: str, words: Draws) -> str:
    text = frame.format_map(words)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    start = re.search(r"\w", text).start()
    return text[:start] + text[start].upper() + text[start + 1 :]


def _glossary(rng) -> str:
    """Three entries: what the wordings of defects stand for."""
    lines = []
    for _ in range(3):
        cause = tickets.pick(rng, tickets.CLASSES)
        wordings = tickets.WORDINGS[cause]
        x = wordings[int(rng.integers(1, len(wordings)))]
        line = tickets.pick(rng, MADE_OF["glossary"]).format(x=x, y=cause)
        lines.append(line[0].upper() + line[1:])
    return " ".join(lines)


def _list(rng) -> str:
    """A heading and three or four lines, each of words of its own."""
    heading, line = tickets.pick(rng, MADE_OF["lists"])
    lines = [_sentence(heading, Draws(rng))]
    for _ in range(int(rng.integers(3, 5))):
        lines.append(line.format_map(Draws(rng)))
    return "\n".join(lines)


def _echo(rng) -> str:
    """Things said and said again: what teaches a model to look back and copy.

    Half of them repeat a list, half ask for what belongs to a name that was mentioned.
    Copying is learned from such text long before it is from stories (Olsson et al.
    2022, on induction heads).
    """
    kinds = [*WORDS, "lot", "lot", "lot", "n"]
    drawn = [Draws(rng)[kinds[int(rng.integers(len(kinds)))]] for _ in range(8)]
    if rng.random() < 0.5:
        said = ", ".join(drawn[: int(rng.integers(3, 9))])
        return f"Read back: {said}. Once more: {said}."
    names = rng.permutation([*WORDS["woman"], *WORDS["man"]])[: int(rng.integers(3, 6))]
    said = ", ".join(f"{name} {thing}" for name, thing in zip(names, drawn))
    asked = [int(i) for i in rng.permutation(len(names))[:3]]
    answers = " ".join(f"What has {names[i]}? {drawn[i]}." for i in asked)
    return f"Noted: {said}. {answers}"


def document(index: int, seed: int = SEED) -> str:
    """Document ``index`` of the corpus: a paragraph; depends on (seed, index) alone."""
    rng = np.random.default_rng((seed, index))
    kind = rng.random()
    if kind < SHARE_TICKETS:
        label = int(rng.integers(len(tickets.CLASSES)))
        return tickets.ticket(rng, label, "pool")[0]
    if kind < SHARE_TICKETS + SHARE_GLOSSARY:
        return _glossary(rng)
    if kind < SHARE_TICKETS + SHARE_GLOSSARY + SHARE_LISTS:
        return _list(rng)
    if kind < SHARE_TICKETS + SHARE_GLOSSARY + SHARE_LISTS + SHARE_ECHOES:
        return _echo(rng)
    plots = MADE_OF["fab" if rng.random() < 0.5 else "general"]
    plot, words = tickets.pick(rng, plots)["plot"], Draws(rng)
    frames = [tickets.pick(rng, step) for step in plot]
    return " ".join(_sentence(frame, words) for frame in frames)
