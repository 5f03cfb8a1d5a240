"""Does a plan fit on a card, what makes it fit, and how much fits at the most?"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from course_lib.errors import CourseError
from course_lib.memory.plan_options import OPTIMIZERS
from course_lib.memory.planning import GB, GIB, Plan, replan


class Change(NamedTuple):
    """One thing to change on top of those before it, and the plan that results.

    Bytes: what it saves, and what is then to spare (negative: still missing).
    """

    text: str
    saving: int
    spare: int
    plan: Plan


@dataclass(frozen=True)
class Verdict:
    """Does a plan fit?  Bytes: ``capacity`` of the card, ``reserve`` kept free,
    ``spare`` what is left (negative: what is missing); ``changes`` to make it fit."""

    fits: bool
    capacity: int
    reserve: int
    spare: int
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        size = abs(self.spare) / GB
        size = f"{size:.1f} GB" if size >= 0.1 else f"{size * 1000:.0f} MB"
        return f"yes, {size} to spare" if self.fits else f"no, {size} are missing"


def capacity(gigabytes: float, unit: str = "GiB") -> int:
    """Bytes of a card: sold as "24 GB" it has 24 GiB, 25.8 GB of 10^9 bytes.

    unit "GB" takes the number literally.  Raises CourseError unless it is positive.
    """
    if unit not in ("GiB", "GB") or not 0 < gigabytes < math.inf:
        raise CourseError(
            f"A memory of {gigabytes} {unit} is not possible.\nExpected: a positive "
            "number of GiB or GB.\nDo: give the size of the card, such as 24."
        )
    return int(gigabytes * (GIB if unit == "GiB" else GB))


def fits(
    planned: Plan, gigabytes: float, reserve: float = 1.0, unit: str = "GiB"
) -> Verdict:
    """Does the plan fit on a card, and if not, what to change?

    ``reserve`` (in GiB) is kept for the CUDA context and fragmentation.  Changes are
    made one on top of the other until the plan fits, those first that leave the result
    of training as it is; what saves nothing is left out.  If the plan of the last one
    does not fit either, the card is too small for all of them.
    """
    room = capacity(gigabytes, unit)
    held = int(reserve * GIB)
    budget = room - held
    spare = budget - planned.total
    changes, now = [], planned
    for text, new in _suggestions(planned):
        if now.total <= budget:
            break
        better = replan(now, **new)
        saving = now.total - better.total
        if saving > 0:
            changes.append(Change(text, saving, budget - better.total, better))
            now = better
    return Verdict(spare >= 0, room, held, spare, tuple(changes))


def _suggestions(planned: Plan) -> list[tuple[str, dict[str, Any]]]:
    """What may help, from no price at all to another run: [(words, options)]."""
    o = planned.options
    method, (moments, size, paged) = o.method, OPTIMIZERS[o.optimizer]
    quantised, adam = method == "qlora", moments == 2
    of_16 = "bfloat16" if o.dtype == "float32" else o.dtype
    micro = f"micro-batch of 1, gradients accumulated over {o.batch}"
    bare = dict(prepared=False)
    single = quantised and not o.double_quantisation
    steps = [
        (not o.checkpointing, "gradient checkpointing", dict(checkpointing=True)),
        (o.batch > 1, micro, dict(batch=1)),
        (quantised and o.prepared, "no cast to float32 (not prepared)", bare),
        (single, "double quantisation", dict(double_quantisation=True)),
        (adam and size != 1, "8-bit AdamW", dict(optimizer="adamw8bit")),
        (adam and not paged, "paged 8-bit AdamW", dict(optimizer="paged adamw8bit")),
        (of_16 != o.dtype, "bfloat16", dict(dtype=of_16)),
        (method == "full", "LoRA", dict(method="lora")),
        (not quantised, "QLoRA (not prepared)", dict(method="qlora") | bare),
    ]
    found = [(words, options) for use, words, options in steps if use]
    for key, words, least in (("sequence", "sequences of", 128), ("r", "rank", 4)):
        value = getattr(o, key)
        while value > least:
            value = max(least, value // 2)
            found.append((f"{words} {value}", {key: value}))
    return found


def largest(
    planned: Plan,
    gigabytes: float,
    what: str = "batch",
    reserve: float = 1.0,
    unit: str = "GiB",
) -> int:
    """The largest batch, or sequence, with which the plan fits; 0 if none does.

    A sequence is at most as long as the model has positions.  Raises CourseError when
    ``what`` is neither.
    """
    if what not in ("batch", "sequence"):
        raise CourseError(
            f"largest: {what!r} is unknown.\nExpected: batch or sequence.\n"
            "Do: choose one of these."
        )
    budget = capacity(gigabytes, unit) - int(reserve * GIB)
    top = planned.model.positions if what == "sequence" else 0
    top = top or 2**24

    def too_much(value):
        return replan(planned, **{what: value}).total > budget

    low, high = 0, 1
    while high <= top and not too_much(high):
        low, high = high, 2 * high
    high = min(high, top + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if too_much(middle) else (middle, high)
    return low
