"""Predict, then see: a guess before the experiment, shown beside its result.

A lesson asks with `number`, `choice` or `text`; the cell with the experiment ends with
`reveal`.  The guess that was made before its result is kept, and how good it was.
Where nobody guesses (`course run`, tests) nothing is shown, and nothing when there is
no guess, so that what is stored of a lesson is the same for everyone.
"""

import html
import os
from collections.abc import Iterable

from course_lib.course import learner_progress
from course_lib.course.learner_progress import GOOD, NOTED, OFF, PREDICTIONS

SWITCH = "COURSE_PREDICTIONS"  # "off": nobody is asked
FACTOR = 2.0  # a number is close within this factor, where no distance is named

_asked: dict[str, float | None] = {}  # {name: distance} of the numbers asked for
_revealed: set[str] = set()  # names whose result this kernel has shown


def _is_off() -> bool:
    return os.environ.get(SWITCH) == "off"


def number(name: str, question: str, within: float | None = None) -> None:
    """Ask for a number.

    name: lesson and what is asked, such as "02-ratio".  within: how far off a close
    guess may be, in the units of the question; None: a factor of two.
    """
    _asked[name] = within
    close = f"within {within:g}" if within is not None else "within a factor of two"
    _ask(name, question, f"a number; {close} is close", _as_number)


def choice(name: str, question: str, options: Iterable[str]) -> None:
    """Ask for one of some options."""
    _ask(name, question, "", str, list(options))


def text(name: str, question: str) -> None:
    """Ask for words; they are shown beside the result and not judged."""
    _ask(name, question, "in your words", str)


def _as_number(typed: str) -> float:
    return float(typed.strip().removesuffix("%").replace(",", "."))


def _ask(name, question, hint, read, options=None) -> None:
    """Show a field, or buttons, that note a guess as long as its result is unknown."""
    if _is_off():
        return
    import ipywidgets
    from IPython.display import display

    if options:
        field = ipywidgets.RadioButtons(options=options, index=None)
    else:
        look = dict(width="420px", max_width="95%")
        field = ipywidgets.Text(placeholder=hint, continuous_update=False, layout=look)
    said = ipywidgets.HTML(html.escape(_state(name)))

    def tell(change):
        try:
            said.value = html.escape(note(name, read(change["new"])))
        except (TypeError, ValueError):
            said.value = "Not a number: try 35, or 0.35."

    field.observe(tell, names="value")
    label = ipywidgets.HTML(f"<b>Your prediction.</b> {html.escape(question)}")
    display(ipywidgets.VBox([label, field, said]))


def note(name: str, guess: float | str) -> str:
    """Keep a guess; what is said to it.  One made after its result is not kept."""
    if name in _revealed or "result" in _entry(name):
        return f"The result is known already, so this is not counted. {_state(name)}"
    entry = {"guess": guess, "within": _asked.get(name)}
    learner_progress.remember_part(PREDICTIONS, name, entry)
    return _state(name)


def _entry(name: str) -> dict:
    return learner_progress.part(PREDICTIONS, name)


def _shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def _state(name: str) -> str:
    entry = _entry(name)
    if "guess" not in entry:
        return ""
    if "result" not in entry:
        return f"Noted: {_shown(entry['guess'])}. The result comes below."
    return f"You predicted {_shown(entry['guess'])}; it was {_shown(entry['result'])}."


def verdict(guess: float | str, result: float | str, within: float | None) -> str:
    """GOOD or OFF: a number within its distance or factor, or the right choice."""
    if not isinstance(guess, int | float):
        return GOOD if guess == result else OFF
    if within is not None:
        return GOOD if abs(guess - result) <= within + 1e-9 else OFF
    low, high = sorted((abs(guess), abs(result)))
    is_close = guess * result > 0 and high <= FACTOR * low or guess == result
    return GOOD if is_close else OFF


def reveal(name: str, result: float | str, judged: bool = True) -> None:
    """Show the guess beside its result, and keep how good it was; without one, nothing.

    result: a number or the right option.  judged: False for a guess in words.
    """
    if _is_off():
        return
    _revealed.add(name)
    entry = _entry(name)
    if "guess" not in entry:
        return
    if not isinstance(result, str):
        result = float(result)  # of numpy or torch
    if "result" not in entry:
        entry["verdict"] = (
            verdict(entry["guess"], result, entry.get("within")) if judged else NOTED
        )
    entry["result"] = result
    learner_progress.remember_part(PREDICTIONS, name, entry)
    said = {GOOD: "Close." if isinstance(result, float) else "Right.", NOTED: ""}
    comment = said.get(entry.get("verdict"), "A surprise.")
    print(
        f"You predicted {_shown(entry['guess'])}; the result is {_shown(result)}. "
        f"{comment}".rstrip()
    )
