"""How large the pictures of a training job are made: one rule, and what it costs.

    work = Work(900, learning=12_000)
    rule = SizeRule(lambda train, total: work, 20, " or set image_size")
    rule(300, 278, 397)   # -> 224; rule.why says so in a sentence

A network that reads any size answers best near the size that it learned from, and a
pass takes time by the number of pixels.  The rule takes the smallest of 128, 160 and
224 that is not below the pictures' own shorter side, and a smaller size where the time
asked for would not suffice.  Tan & Le 2019 (resolution and cost of EfficientNet).
"""

from collections.abc import Callable
from dataclasses import dataclass

SIZES = (64, 96, 128, 160, 224)  # pixels a side
LEAST = 128  # below, ImageNet's features answer worse, scaled-up pictures included
# Measured by benchmarks/own_pictures.py --cost: EfficientNet-Lite0 at 224 pixels.
PASS = 0.030  # processor seconds of a picture's way through the network
UPDATE = 4.0  # so many times as long (3.5 to 5): forward, backward, the optimizer
CORES = 1.7  # what two cores do in the time of one
MOST_BYTES = 2 * 1024**3  # of all pictures in memory


@dataclass(frozen=True)
class Work:
    """Pictures that go through the whole network, all epochs counted.

    forward: in evaluation or to be stored.  learning: in an update of all layers.
    """

    forward: float = 0.0
    learning: float = 0.0

    def seconds(self, size: int) -> float:
        """By the clock, on two cores, for pictures of so many pixels a side."""
        passes = self.forward + UPDATE * self.learning
        return passes * PASS * (size / 224) ** 2 / CORES


def reads_any_size(backbone) -> bool:
    """Is the size open: of a network that learned from photographs, none set yet?"""
    no_own = getattr(backbone.preprocess, "size", None) is None
    return no_own and "input_size" in backbone.card


class SizeRule:
    """The picture size of a set; ``why`` says how it came about, once it was asked.

    work: f(training pictures, all pictures) -> Work; the numbers are equal for a set
    that is not split yet.  minutes: that the job may take, on two cores; every network
    is taken to cost as much as EfficientNet-Lite0.  remedy: what else than more
    minutes leads to larger pictures.  least: no smaller than that, for the job keeps
    the time by fewer updates then; None if it cannot.
    """

    def __init__(
        self,
        work: Callable[[int, int], Work],
        minutes: float,
        remedy: str,
        least: int | None = None,
    ):
        self.work, self.minutes, self.remedy = work, minutes, remedy
        self.least, self.why = least, ""

    def __call__(self, side: float, train: int, total: int) -> int:
        """Pixels a side for pictures of this median shorter side."""
        wanted = next((s for s in SIZES if s >= max(side, LEAST)), SIZES[-1])
        work = self.work(train, total)

        def affordable(size):
            fits = total * size * size * 3 <= MOST_BYTES
            return fits and work.seconds(size) <= 60 * self.minutes

        size = max(filter(affordable, SIZES), default=SIZES[0])
        size = min(max(size, self.least or 0), wanted)
        self.why = (
            f"Pictures are made {size} pixels a side; their own shorter side has "
            f"{side:g} (median). {self._because(side, wanted, size, work)}"
        )
        return size

    def _because(self, side, wanted, size, work) -> str:
        """Why this size, in a sentence or two."""
        seconds = work.seconds(size)
        took = f"The job may take up to {_time(seconds)} on two cores."
        if self.least and seconds > 60 * self.minutes:
            took = f"All updates may take {_time(seconds)}: there will be fewer."
        if size < wanted:
            return (
                f"{wanted} pixels might take {_time(work.seconds(wanted))} on two cores"
                f" or too much memory, and `minutes` is {self.minutes:g}: raise it"
                f"{self.remedy}. {took}"
            )
        if side < size:
            reason = f"at least {LEAST} is" if size == LEAST else "the next larger is"
            return f"They were scaled up, for {reason} what the network reads. {took}"
        return f"{took}"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
