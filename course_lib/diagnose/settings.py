"""How a diagnosis is made: how many labels, for how long, how often, at which rates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Self

from course_lib.analysis.statistics import MATTERS
from course_lib.diagnose.modality import Modality
from course_lib.errors import CourseError
from course_lib.training.augmentation import AUGMENTATIONS


@dataclass(frozen=True)
class Settings:
    """What the arms of a diagnosis have in common.  Raises CourseError.

    labels_per_class: examples of each class to train on, all that are not held out by
    default.  minutes: about how long the whole may take, by which the length and the
    number of the training runs are set.  repeats: fewest and most draws of training
    examples and seeds.  rates: learning rates to choose from on validation, the same
    from pretrained and from random weights (default: the modality's).  steps: updates
    of each run (default by the number of labels, fewer where the time does not suffice;
    the same for all).  augment: of pictures "none", "shift" (default), "flip" (and
    shift) or "turn" (eight turns and mirrorings, and shift).  matters: the smallest
    gain that would change a decision (default 0.02, two points); a gain that is surely
    smaller is called no difference.
    """

    labels_per_class: int | None = None
    minutes: float = 5.0
    repeats: tuple[int, int] = (3, 7)
    rates: Sequence[float] | None = None
    steps: int | None = None
    augment: str | None = None
    matters: float = MATTERS
    seed: int = 0

    def __post_init__(self):
        fewest, most = self.repeats
        n, steps = self.labels_per_class, self.steps
        wrong = {
            "repeats": not 2 <= fewest <= most,
            "minutes": not self.minutes > 0,
            "labels_per_class": n is not None and (int(n) != n or n < 2),
            "steps": steps is not None and (int(steps) != steps or steps < 1),
            "rates": self.rates is not None and min(self.rates, default=0) <= 0,
            "augment": self.augment not in (None, *AUGMENTATIONS),
            "matters": not 0 < self.matters < 1,
            "seed": int(self.seed) != self.seed or self.seed < 0,
        }
        for name, bad in wrong.items():
            if bad:
                raise CourseError(
                    f"diagnose: {name}={getattr(self, name)!r}.\nExpected: repeats "
                    "(fewest >= 2, most), minutes > 0, labels_per_class >= 2 or None, "
                    "steps >= 1 or None, rates > 0, 0 < matters < 1, a whole seed >= "
                    f"0, augment one of {', '.join(AUGMENTATIONS)}.\n"
                    f"Do: correct {name}."
                )

    def completed(self, modality: Modality) -> Self:
        """With what was left open filled in.  Raises CourseError for what cannot be."""
        if self.augment not in (None, "none") and modality.augment == "none":
            raise CourseError(
                f"diagnose: augment={self.augment!r}, and the data are "
                f"{modality.inputs}.\nExpected: none; pictures alone are augmented.\n"
                "Do: leave augment out."
            )
        rates, augment = self.rates or modality.rates, self.augment or modality.augment
        return replace(self, rates=rates, augment=augment)

    def to_dict(self) -> dict:
        """Plain data, ready for json.dumps; finished steps are stored under it."""
        values = asdict(self)
        return values | {"repeats": list(self.repeats), "rates": list(self.rates)}
