"""What a language model says: `course predict` on the folder of a language job."""

from collections.abc import Sequence
from pathlib import Path

from course_lib.datasets.messages import listed
from course_lib.errors import CourseError
from course_lib.jobs import language_export
from course_lib.jobs.language_data import Conversation
from course_lib.models import language_models

TOGETHER = 32  # prompts that are answered at once


def answers(folder: str | Path, asked: Sequence[Conversation]) -> list[str]:
    """The merged model's answers, greedily, as long as in training at the most.

    Raises CourseError where there is no model, and that names every prompt which
    leaves no room for an answer.
    """
    model, tokenizer, about = language_export.load(folder)
    ends = about["ends"]
    starts = [
        language_models.conversation(tokenizer, one.messages, ends[0])["input_ids"]
        for one in asked
    ]
    positions = int(getattr(model.config, "max_position_embeddings", 0) or 0)
    room = positions - about["new_tokens"] if positions else None
    long = [
        f"{one.where} ({len(start)} tokens)"
        for one, start in zip(asked, starts)
        if room is not None and len(start) > room
    ]
    if long:
        raise CourseError(
            f"{len(long)} prompts are too long: {listed(long, len(long))}.\nExpected: "
            f"up to {room} tokens, so that an answer of {about['new_tokens']} fits.\n"
            "Do: shorten or split them."
        )
    return language_models.continued(
        model, tokenizer, starts, about["new_tokens"], TOGETHER, ends
    )
