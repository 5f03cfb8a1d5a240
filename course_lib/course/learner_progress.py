"""What a learner has done so far, kept on this machine in one file of JSON.

{lesson: {question: outcome of its visible test}}, and under the names below what the
quizzes, the hidden checks and the predictions gave.  A damaged part counts as none.
"""

import os
from pathlib import Path

from course_lib import files, paths

NOT_ATTEMPTED, INCORRECT = "not attempted", "incorrect"
PASSES = "visible test passes"  # no more is known: the score is for other inputs
CORRECT = "correct"  # a choice in a quiz; of tests: PASSES in older files
QUIZ = "quiz"  # {lesson: {number: CORRECT or INCORRECT}}
SCORE = "score"  # {lesson: {question: points}}
ATTEMPTS = "attempts"  # {lesson: {question: {"passed", "failed": digests}}}
PREDICTIONS = "predictions"  # {name: {"guess", "result", "verdict"}}
GOOD, OFF, NOTED = "good", "off", "noted"  # verdicts; a text is only noted
ENOUGH_FAILED = 3  # attempts after which a solution unfolds


def file() -> Path:
    """Where progress is kept: COURSE_PROGRESS, else in the course's cache folder."""
    named = os.environ.get("COURSE_PROGRESS")
    return Path(named) if named else paths.CACHE / "progress.json"


def load() -> dict[str, dict]:
    """{lesson: {question: outcome}} and the other parts; empty when there is none."""
    found = files.stored_json(file())
    return {key: value for key, value in found.items() if isinstance(value, dict)}


def part(name: str, key: str) -> dict:
    """One entry of a part, such as the scores of a lesson; empty when there is none."""
    found = load().get(name, {}).get(key)
    return found if isinstance(found, dict) else {}


def _store(found: dict) -> None:
    """Write the file; a folder that cannot be written to is no error."""
    try:
        files.atomic_write_json(file(), found)
    except OSError:
        pass


def remember(lesson: str, question: str, outcome: str) -> None:
    """Note the outcome of one visible test."""
    found = load()
    found.setdefault(lesson, {})[question] = outcome
    _store(found)


def remember_part(name: str, key: str, entry: dict) -> None:
    """Replace one entry of a part."""
    found = load()
    found.setdefault(name, {})[key] = entry
    _store(found)


def remember_quiz(lesson: str, number: int, is_right: bool) -> None:
    """Note the first answer to a question of a lesson's quiz; later ones do nothing."""
    own = part(QUIZ, lesson)
    if str(number) not in own:
        own[str(number)] = CORRECT if is_right else INCORRECT
        remember_part(QUIZ, lesson, own)


# -- attempts --------------------------------------------------------------------------


def _attempt(found) -> dict:
    """One entry of attempts in the form that it must have."""
    found = found if isinstance(found, dict) else {}
    failed = found.get("failed")
    failed = failed if isinstance(failed, list) else []
    return {"passed": found.get("passed") is True, "failed": failed}


def remember_attempts(lesson: str, tried: dict[str, tuple[bool, str]]) -> None:
    """Note attempts: {question: (passed, digest of the answer)}.

    The same wrong answer twice is one attempt.
    """
    own = part(ATTEMPTS, lesson)
    for question, (passed, digest) in tried.items():
        entry = own[question] = _attempt(own.get(question))
        entry["passed"] |= passed
        if not passed and digest not in entry["failed"]:
            entry["failed"].append(digest)
    remember_part(ATTEMPTS, lesson, own)


def attempts_left(lesson: str, question: str) -> int:
    """Failed attempts that are missing before a solution unfolds; 0: it may."""
    entry = _attempt(part(ATTEMPTS, lesson).get(question))
    return 0 if entry["passed"] else max(ENOUGH_FAILED - len(entry["failed"]), 0)
