"""Near-equal names of classes, settled on one spelling."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence


def settled(names: Sequence[str], what: str) -> tuple[list[str], list[str]]:
    """(names with near-equal ones merged to one spelling, sentences that say so)."""
    groups: dict[str, Counter] = {}
    for name, count in Counter(names).items():
        common = " ".join(unicodedata.normalize("NFC", name).lower().split())
        groups.setdefault(common, Counter())[name] = count
    spelling, notes = {}, []
    for group in groups.values():
        best = " ".join(unicodedata.normalize("NFC", max(group, key=group.get)).split())
        spelling |= dict.fromkeys(group, best)
        if len(group) > 1:
            listed = ", ".join(f"{name!r} ({n})" for name, n in group.items())
            notes.append(f"Labels in {what} were merged: {listed}. Kept: {best!r}.")
    return [spelling[name] for name in names], notes
