"""A quiz for each lesson: immediate feedback with the reason, no points for it.

Questions are data (``exercises/NN_name/quiz.json``): a text, options, the position of
the right one, and a reason for each.  Positions and lengths tell nothing about which
option is right; a test measures it.
"""

import html
import json
from dataclasses import dataclass

from course_lib import paths
from course_lib.course import exercises, learner_progress
from course_lib.errors import CourseError


@dataclass(frozen=True)
class Question:
    """What is asked, the options, the position of the right one, the reasons."""

    text: str
    options: tuple[str, ...]
    right: int
    reasons: tuple[str, ...]  # one for each option


def load(lesson: str) -> list[Question]:
    """The questions of a lesson's quiz.

    Raises CourseError when there is none, or an option lacks its reason.
    """
    files = sorted((paths.ROOT / "exercises").glob(f"{lesson.zfill(2)}_*/quiz.json"))
    if not files:
        raise CourseError(
            f"There is no quiz for lesson {lesson!r}.\nExpected: the number of a "
            "lesson with a quiz.\nDo: look into exercises/."
        )
    path, found = files[0], []
    for item in json.loads(path.read_text(encoding="utf-8")):
        options = tuple(option for option, _ in item["options"])
        reasons = tuple(reason for _, reason in item["options"])
        if not 0 <= item["right"] < len(options) or not all(reasons):
            raise CourseError(
                f"{path.parent.name}/quiz.json: {item['text']!r} is damaged."
            )
        found.append(Question(item["text"], options, item["right"], reasons))
    return found


def answered(question: Question, choice: int) -> str:
    """What is said to a choice: right or not, and why."""
    sign = "Right" if choice == question.right else "Not quite"
    return f"{sign}: {question.reasons[choice]}"


def show(lesson: str) -> None:
    """Show a lesson's quiz under the cell: choose an option, read why or why not.

    Below it stands the progress over the course, which notes the first choices.
    """
    import ipywidgets
    from IPython.display import display

    board = ipywidgets.HTML(exercises.dashboard()._repr_html_())
    for number, question in enumerate(load(lesson), 1):
        said = ipywidgets.HTML()
        choice = ipywidgets.RadioButtons(
            options=[(text, i) for i, text in enumerate(question.options)],
            index=None,
            layout=dict(width="max-content"),
        )

        def tell(change, number=number, question=question, said=said):
            if change["new"] is not None:
                said.value = html.escape(answered(question, change["new"]))
                is_right = change["new"] == question.right
                learner_progress.remember_quiz(lesson.zfill(2), number, is_right)
                board.value = exercises.dashboard()._repr_html_()

        choice.observe(tell, names="value")
        title = ipywidgets.HTML(html.escape(f"{number}. {question.text}"))
        display(ipywidgets.VBox([title, choice, said]))
    display(board)
