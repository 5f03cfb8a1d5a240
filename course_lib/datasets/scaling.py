"""The one rule that makes the pictures of a set uint8 RGB, whatever their depth.

Every picture of a set is scaled by the same numbers, found on the training part, so
that brightness keeps its meaning from one picture to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps

from course_lib.datasets.pictures import (
    DICOM,
    EIGHT,
    FLOATS,
    SIXTEEN,
    WHOLE,
    Look,
    Picture,
    Unreadable,
    full_scale,
    has_alpha_band,
)

FULL = {  # usual full scales, from which the smallest that holds all values is taken
    SIXTEEN: (255, 1023, 4095, 16383, 65535),
    WHOLE: (255, 1023, 4095, 16383, 65535),
    FLOATS: (1, 255, 4095, 65535),
    DICOM: (255, 1023, 4095, 16383, 65535),
}
# Share of a fourth channel that is fully opaque or fully clear where it is
# transparency.  Formats that define it as such are believed sooner than TIFF, in which
# programs mark near infrared, depth or a mask as "alpha", too.
BINARY = {"TIFF": 0.25, "other": 0.01}


@dataclass(frozen=True)
class Rule:
    """How the pictures of one set become uint8 RGB: the same numbers for all.

    ranges: {kind of numbers: (low, high)}; low becomes 0, high 255, what lies beyond is
    cut.  8 bits stay as they are.  transparent: {"TIFF" or "other": is a fourth channel
    transparency, laid over white, or left out}.  told: sentences on how the rule was
    found.
    """

    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    transparent: Mapping[str, bool] = field(default_factory=dict)
    told: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def found(cls, looks: Sequence[Look], value_range=None, where="the set") -> Rule:
        """The rule that fits these pictures: those of the training part.

        Of one kind of numbers alone: from 0 (or the smallest value, where it is below)
        to the usual full scale (1, 255, 1023, 4095, 16383, 65535) that holds the
        largest value, or to the largest value itself where that is below half of it.
        Of several kinds: each to its full scale, so that they stay comparable.  DICOM
        files that name a window: what their windows cover together.
        value_range: (low, high) for all deeper pictures instead.
        """
        kinds = sorted({one.kind for one in looks})
        ranges, told = {}, []
        for kind in kinds:
            if kind == EIGHT:
                continue
            own = [one for one in looks if one.kind == kind]
            if value_range is not None:
                ranges[kind], how = tuple(map(float, value_range)), "as asked for"
            else:
                ranges[kind], how = _range(kind, own, alone=len(kinds) == 1)
            told.append(_range_sentence(kind, len(own), ranges[kind], how, where))
            told += _outliers(ranges[kind], own) or _marks(ranges[kind], own)
        if value_range is not None and kinds == [EIGHT]:
            told.append("A value range has no effect: all pictures have 8 bits.")
        if len(kinds) > 1:
            if EIGHT in kinds:
                ranges[EIGHT] = (0.0, 255.0)
            counts = ", ".join(
                f"{kind} {sum(one.kind == kind for one in looks):,}" for kind in kinds
            )
            told.append(
                f"Pictures of several depths are in {where}: {counts}. Each depth has "
                "one scale; check that no class has a depth of its own."
            )
        return cls(ranges, _transparent(looks), tuple(told))

    @classmethod
    def of_one(cls, one: Look) -> Rule:
        """For a picture that is read alone: the full scale of its depth."""
        if one.kind == EIGHT:
            return cls({}, _transparent([one], alone=True))
        scales = {SIXTEEN: (65535,), FLOATS: (1, 255, 65535)}.get(
            one.kind, (255, 65535)
        )
        full = next((s for s in scales if one.high <= s), one.high)
        low = min(one.low, 0.0)
        span = one.window or (low, full)
        return cls({one.kind: span}, _transparent([one], alone=True))

    @classmethod
    def from_dict(cls, values: Mapping | None) -> Rule:
        """The inverse of :meth:`to_dict`; None is the rule of earlier models."""
        if values is None:
            spans = {EIGHT: (0.0, 255.0), SIXTEEN: (0.0, 65535.0)}
            return cls(spans, {"TIFF": True, "other": True})
        ranges = {kind: tuple(span) for kind, span in values["ranges"].items()}
        return cls(ranges, dict(values["transparent"]))

    def to_dict(self) -> dict:
        """Plain values, for model.json."""
        return {
            "ranges": {kind: list(span) for kind, span in self.ranges.items()},
            "transparent": dict(self.transparent),
        }

    def extended(self, looks: Sequence[Look]) -> Rule:
        """With full scales for the depths that the rule was not found on, and told."""
        ranges, transparent, told = dict(self.ranges), dict(self.transparent), []
        for kind in sorted({one.kind for one in looks} - {EIGHT, *self.ranges}):
            own = [one for one in looks if one.kind == kind]
            ranges[kind], how = _range(kind, own, alone=False)
            told.append(
                _range_sentence(kind, len(own), ranges[kind], how, "these pictures")
                + " The model was not trained on this depth: its answers may be wrong."
            )
        eight = sum(one.kind == EIGHT for one in looks)
        if eight and self.ranges and EIGHT not in self.ranges:
            told.append(
                f"Pictures of 8 bits, taken as they are: {eight:,}. The model was "
                f"trained with {' and '.join(self.ranges)}: its answers may be wrong."
            )
        for container, is_alpha in _transparent(looks).items():
            transparent.setdefault(container, is_alpha)
        return Rule(ranges, transparent, tuple(told))


def _range(kind: str, own: Sequence[Look], alone: bool):
    """((low, high) of one kind of numbers, how it was found)."""
    windows = {one.window for one in own}
    if None not in windows:
        low, high = min(w[0] for w in windows), max(w[1] for w in windows)
        how = "the window that the files name"
        if len(windows) > 1:
            how = f"what the {len(windows)} different windows of the files cover"
        return (low, high), how
    low, high = min(one.low for one in own), max(one.high for one in own)
    if low < 0:
        return (low, max(high, low + 1)), "the smallest and the largest value"
    # Alone, a kind may use all of its range; below half of a usual scale the pictures
    # would be dark.  Beside others it must not be stretched, or depths would differ.
    full = next((float(scale) for scale in FULL[kind] if high <= scale), None)
    if full is not None and (not alone or high > full / 2):
        return (0.0, full), f"the usual full scale that holds the largest, {high:g}"
    return (0.0, high or 1.0), "the largest value"


def _range_sentence(kind, count, span, how, where) -> str:
    return (
        f"Pictures with {kind} ({count:,}): values from {span[0]:g} to {span[1]:g} "
        f"became 0 to 255, in all of them alike ({how} of {where})."
    )


def _outliers(span, own) -> list[str]:
    """Is most of the scale spent on few bright values, or on none?"""
    least, most = min(one.low for one in own), max(one.most for one in own)
    low, high = span
    if any(one.window for one in own) or most - max(least, low) >= (high - low) / 8:
        return []
    if most - low < (high - low) / 8:
        return [
            f"99.9 % of the values of each picture lie below {most:g}: few grey levels "
            "are left for them. If what is brighter carries nothing, "
            f"{_asked(low, most)} gives them all."
        ]
    top = max(one.high for one in own)
    if top <= least:
        return []
    return [
        f"No value lies below {_number(least)}, the largest is {_number(top)}: few "
        f"grey levels are left for them. {_asked(least, top)} gives them all."
    ]


def _marks(span, own) -> list[str]:
    """Does one value, such as -9999 for "missing", take more than half of the scale?"""
    low, high = min(one.low for one in own), max(one.high for one in own)
    inner = [value for one in own for value in (*(one.inner or ()), one.low, one.high)]
    inner = [value for value in inner if low < value < high]
    if not inner or any(one.window for one in own):
        return []
    if low < span[0] or span[1] < high:
        return []
    first, last = min(inner), max(inner)
    if first - low > (high - low) / 2:
        value, first, last = low, first, high
    elif high - last > (high - low) / 2:
        value, first, last = high, low, last
    else:
        return []
    return [
        f"The value {value:g} stands far from all others ({first:g} to {last:g}), as a "
        "mark of missing pixels does, and takes most of the grey levels. To give them "
        f"to the others: {_asked(first, last)}."
    ]


def _asked(low, high) -> str:
    """How a user asks for a range: in a configuration, and of the command without."""
    low, high = _number(low), _number(high)
    return (
        f"value_range: [{low}, {high}] (of `course diagnose`: "
        f"--value-range {low} {high})"
    )


def _number(value: float) -> str:
    """Whole numbers with all digits, others with six."""
    whole = float(value).is_integer() and abs(value) < 2**53
    return str(int(value)) if whole else f"{value:g}"


def _transparent(looks: Iterable[Look], alone: bool = False) -> dict[str, bool]:
    """Is the fourth channel transparency?  One answer for all files of a container."""
    sums: dict[str, np.ndarray] = {}
    for one in looks:
        if one.fourth is not None:
            sums[one.container] = sums.get(one.container, 0) + np.array(one.fourth)
    found = {}
    for container, (opaque, clear, pixels) in sums.items():
        # transparency is mostly all or nothing; near infrared or depth hardly ever is
        binary = (opaque + clear) / pixels >= BINARY[container]
        found[container] = bool(binary and (opaque > 0 or alone))
    return found


# -- by the rule -----------------------------------------------------------------


def rgb(picture: Picture, rule: Rule):
    """(Pillow image RGB of 8 bits, was anything beyond the range cut?)."""
    beyond = False
    if picture.kind == EIGHT:
        image = picture.values
    else:
        levels, beyond = _levels(picture, rule)
        image = Image.fromarray(levels).convert("RGB")
        if picture.fourth is not None:
            alpha = picture.fourth / full_scale(picture.fourth.dtype) * 255
            alpha = np.floor(alpha + 0.5).clip(0, 255).astype(np.uint8)
            image.putalpha(Image.fromarray(alpha))
    if picture.kind == EIGHT and picture.inverted:
        image = ImageOps.invert(image.convert("RGB"))
    if image.mode == "RGB":
        return image, beyond
    has_alpha = has_alpha_band(image) or "a" in image.mode
    if picture.fourth is not None and not rule.transparent.get(picture.container, True):
        has_alpha = False
        image = image.convert("RGBA")  # of LA, too; the fourth channel is dropped
    if has_alpha:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB"), beyond


def _levels(picture: Picture, rule: Rule):
    """(uint8 values by the range of the kind, was anything beyond it?)."""
    if picture.kind not in rule.ranges:
        known = " and ".join([EIGHT, *rule.ranges])
        raise Unreadable(f"it holds {picture.kind}, and its rule is for {known}")
    low, high = rule.ranges[picture.kind]
    values = picture.values.astype(np.float64)
    beyond = bool(values.min() < low or values.max() > high)
    if picture.kind == DICOM and picture.window:
        beyond = False  # a window is meant to cut
    scaled = (values - low) * (255.0 / (high - low))
    levels = np.floor(scaled + 0.5).clip(0, 255).astype(np.uint8)
    return (255 - levels if picture.inverted else levels), beyond
