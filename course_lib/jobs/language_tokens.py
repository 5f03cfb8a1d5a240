"""Conversations as tokens: how long they are, what is too long, and what is learned."""

from dataclasses import dataclass

import numpy as np

from course_lib.datasets.messages import listed
from course_lib.errors import CourseError
from course_lib.jobs.language_data import Conversation, LanguageParts
from course_lib.models import language_models

MOST = 2048  # tokens of a conversation, unasked
SPARE = 8  # tokens that an answer may have beyond the longest one of the training part


@dataclass
class Tokens:
    """rows: {part: token lists of its conversations}, the same order as ``kept``.

    kept: {part: conversations}.  ends: tokens that end an answer.  about: numbers for
    result.json.  notes: sentences.
    """

    rows: dict[str, list[dict]]
    kept: dict[str, list[Conversation]]
    ends: list[int]
    about: dict
    notes: list[str]


def tokenised(parts: LanguageParts, tokenizer, config, positions: int) -> Tokens:
    """All conversations in the tokenizer's chat template, none longer than the limit.

    positions: tokens that the model reads, 0 where there is no limit.  Raises
    CourseError that names the conversations that are too long, unless the configuration
    says what is to be done, and those that hold the tokenizer's own signs.
    """
    notes = []
    if not language_models.with_template(tokenizer):
        notes.append(
            "The tokenizer has no chat template: conversations are written as lines "
            '"User: ..." and "Assistant: ...", as the model that is saved will do.'
        )
    _refuse_signs(parts, tokenizer)
    ends = language_models.ends(tokenizer)
    made = {
        part: [
            language_models.conversation(tokenizer, c.messages, ends[0]) for c in some
        ]
        for part, some in parts.named().items()
    }
    limit = _limit(made, config, positions)
    rows, kept, too_long = {}, {}, []
    for part, some in parts.named().items():
        rows[part], kept[part] = [], []
        for one, row in zip(some, made[part]):
            if len(row["input_ids"]) > limit:
                too_long.append((part, one, len(row["input_ids"])))
                row = _shortened(row, limit) if config.too_long == "cut" else None
            if row is not None:
                rows[part].append(row)
                kept[part].append(one)
    if too_long:
        notes.append(_on_long(too_long, limit, config, sum(map(len, made.values()))))
    for part, some in rows.items():
        if not some:
            raise config.error(
                "max_length",
                f"leaves no conversation of the {part} part",
                "a limit that most conversations keep",
                "raise max_length, or shorten the texts",
            )
    about = _lengths(made, limit, len(too_long), config)
    notes.insert(0, _sentence(about))
    return Tokens(rows, kept, ends, about, notes)


def _refuse_signs(parts, tokenizer) -> None:
    """CourseError for texts that hold signs which the tokenizer takes for its own."""
    signs = [sign for sign in tokenizer.all_special_tokens if len(sign) > 1]
    found = [
        one.where
        for some in parts.named().values()
        for one in some
        if any(sign in content for _, content in one.messages for sign in signs)
    ]
    if found:
        raise CourseError(
            f"{len(found)} conversations hold signs of the tokenizer "
            f"({listed(sorted(set(signs)))}): {listed(found, len(found))}.\nExpected: "
            "text alone; these signs begin and end turns, and the model would read "
            "other turns than yours.\nDo: remove them; the template adds its own."
        )


def _limit(made, config, positions: int) -> int:
    """The longest conversation that is taken."""
    if config.max_length and positions and config.max_length > positions:
        raise config.error(
            "max_length",
            f"is {config.max_length}, and {config.model} reads {positions} tokens",
            f"at most {positions}",
            "lower it, or leave it out",
        )
    longest = max(len(row["input_ids"]) for some in made.values() for row in some)
    return config.max_length or min(longest, MOST, positions or MOST)


def _shortened(row: dict, limit: int) -> dict | None:
    """The first tokens; None where nothing of an answer is left to learn."""
    labels = row["labels"][:limit]
    if max(labels) < 0:
        return None
    start = min(row["start"], limit)
    return dict(input_ids=row["input_ids"][:limit], labels=labels, start=start)


def _on_long(too_long, limit, config, count) -> str:
    """A sentence on conversations above the limit, or CourseError."""
    places = [f"{one.where} ({length} tokens)" for _, one, length in too_long]
    said = (
        f"{len(too_long)} of {count} conversations ({len(too_long) / count:.1%}) are "
        f"longer than {limit} tokens: {listed(places, len(places))}."
    )
    if config.too_long == "stop":
        raise CourseError(
            f"{config.where}: {said}\nExpected: conversations up to max_length.\nDo: "
            "raise max_length, as far as the model reads, or set too_long: leave_out, "
            "or too_long: cut, which takes the end of these answers away."
        )
    done = "Left out" if config.too_long == "leave_out" else "Cut at the end"
    return f"{done}: {said}"


def _lengths(made, limit: int, too_long: int, config) -> dict:
    """Lengths of conversations and answers in tokens."""
    every = [row for some in made.values() for row in some]
    lengths = np.array([len(row["input_ids"]) for row in every])
    answers = [sum(label >= 0 for label in row["labels"]) for row in made["train"]]
    last = [len(row["input_ids"]) - row["start"] for row in made["train"]]
    return {
        "longest": int(lengths.max()),
        "median": float(np.median(lengths)),
        "max_length": limit,
        "too_long": too_long,
        "longest_answer": max(last),
        "learned_share": sum(answers) / sum(len(r["labels"]) for r in made["train"]),
        "new_tokens": config.new_tokens or min(max(last) + SPARE, limit),
    }


def _sentence(about: dict) -> str:
    return (
        f"Conversations have up to {about['longest']:,} tokens (median "
        f"{about['median']:.0f}), max_length is {about['max_length']:,}; answers have "
        f"up to {about['longest_answer']:,}. {about['learned_share']:.0%} of the "
        "training tokens are learned: answers with their end, no prompt, no padding."
    )
