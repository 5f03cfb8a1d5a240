"""The bank that proves the checks: right and wrong answers to every question.

``solutions/NN_name/bank/QUESTION.py`` holds answers, each under a line
``# %% right: what it is`` or ``# %% wrong: what it is -> hint``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from course_lib.course.grading import submission
from course_lib.course.grading.checks import Checks, Learner, NotAttempted, Wrong
from course_lib.course.grading.grade import CALL_SECONDS, CELL_SECONDS, rng_of
from course_lib.course.grading.sandbox import Kernel
from course_lib.errors import CourseError

HEAD = re.compile(r"^# %% (right|wrong): (.+?)(?: -> (.+))?$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One answer of the bank; ``hint`` is None for a right one."""

    question: str
    name: str
    source: str
    hint: str | None


def entries(folder: Path) -> list[Entry]:
    """All answers of a lesson's bank, by question and in the order of the files.

    Raises CourseError for a head that is neither right nor wrong with a hint.
    """
    found = []
    for path in sorted((folder / "bank").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        heads = list(HEAD.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        for head, end in zip(heads, ends):
            kind, name, hint = head.groups()
            if (kind == "wrong") != (hint is not None):
                raise CourseError(
                    f"{path.name}: {head.group()!r}.\nExpected: `# %% right: name` or "
                    "`# %% wrong: name -> hint`."
                )
            source = text[head.end() : end].strip() + "\n"
            found.append(Entry(path.stem, name, source, hint))
        if not heads:
            raise CourseError(
                f"{path.name}: no answers.\nExpected: `# %% right: name`."
            )
    return found


def try_all(
    release: dict, checks: str, answers: list[Entry], seed: int, isolated: bool = True
) -> list[str]:
    """Run every answer through its check in one kernel; a line for each surprise.

    Answers of the bank are trusted to end; each is put where the question's answer
    stands, after the released cells before it.
    """
    known, surprises = Checks(checks), []
    cells = release["cells"]
    asked = {q.name: q for q in submission.questions(release)}
    with Kernel(isolated=isolated) as kernel:
        learner = Learner(kernel, lambda: CALL_SECONDS)
        locked = {q.scored for q in asked.values()} | {q.answer for q in asked.values()}
        for i, cell in enumerate(cells):
            if cell["cell_type"] == "code" and i not in locked:
                kernel.run(cell["source"], CELL_SECONDS)
        for entry in answers:
            if entry.question not in asked:
                surprises.append(f"{entry.question}: no such question")
                continue
            names = submission.defined(entry.source) | submission.defined(
                cells[asked[entry.question].answer]["source"]
            )
            kernel.run("".join(f"{n} = None; del {n}\n" for n in names), CELL_SECONDS)
            kernel.run(entry.source, CELL_SECONDS)
            got = None
            try:
                known.ask(entry.question, learner, rng_of(seed, entry.question))
            except Wrong as wrong:
                got = wrong.hint
            except NotAttempted:
                got = "not attempted"
            if got != entry.hint:
                surprises.append(
                    f"{entry.question}, {entry.name}: {got or 'accepted'}, expected "
                    f"{entry.hint or 'accepted'}"
                )
    return surprises
