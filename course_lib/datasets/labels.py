"""Labels as people type them: near-equal spellings found, and settled or kept apart.

"leak", "Leak", "leak " and "ｌｅａｋ" are one class that several hands wrote; "a" and
"A" may be two letters.  What is merged is said, with every spelling and its count, and
a case that cannot be decided is an error that lists it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.errors import CourseError

RULES = ("auto", "merge", "as_written")
LETTERS = 6  # pairs such as a/A from which on they are taken for an alphabet
SHOWN = 12  # classes whose spellings are listed
# Characters that Unicode calls another form of the same one: full-width, ligatures,
# hard blanks.  Superscripts (m²), circles and fractions are not among them: they mean
# something else than the plain digit.
SAME = ("<wide>", "<narrow>", "<noBreak>", "<compat>", "<initial>", "<medial>",
        "<final>", "<isolated>", "<vertical>", "<small>")  # fmt: skip
QUOTES = dict.fromkeys("‘’‚‛′`´", "'") | dict.fromkeys("“”„‟″«»", '"')


def tidy(name: str) -> str:
    """A name without blanks around it, doubled or hard blanks and invisible signs.

    Accents are composed (NFC), and full-width letters and ligatures are plain ones.
    """
    plain = (_plain(character) for character in unicodedata.normalize("NFC", name))
    return " ".join(unicodedata.normalize("NFC", "".join(plain)).split())


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.category(character) == "Cf":  # soft hyphen, zero width, a mark
        return ""
    form, _, _ = unicodedata.decomposition(character).partition(" ")
    return unicodedata.normalize("NFKC", character) if form in SAME else character


def key(name: str) -> str:
    """What near-equal names have in common: case, dashes, quotes, 1 and 1.0."""
    name = unicodedata.normalize("NFC", tidy(name).lower())
    dashes = (
        "-" if unicodedata.category(c) == "Pd" or c == "\u2212" else QUOTES.get(c, c)
        for c in name
    )
    name = "".join(dashes)
    number = re.fullmatch(r"[+]?(-?\d+)(\.0*|,00?)?", name)
    return number[1] if number else name


def settled(
    names: Sequence[str],
    what: str,
    rule: str = "auto",
    option: Callable[[str], str] = "labels: {}".format,
) -> tuple[list[str], list[str]]:
    """(names with near-equal ones merged to one spelling, sentences that say so).

    names: one for each example or folder.  what: where they stand, for the sentences.
    rule: "merge"; "as_written" keeps every difference; "auto" merges all but names of
    one character that differ by case, which are an alphabet where six or more do, and
    else an error.  The spelling kept is the most frequent one.  option: how a rule is
    written where the caller's user can choose it.  Raises CourseError for that error,
    and for another rule.
    """
    if rule not in RULES:
        raise CourseError(
            f"{option(rule)}: this is no rule for near-equal labels.\nExpected: one of "
            f"{', '.join(RULES)}.\nDo: correct it, or leave it out."
        )
    counts = Counter(names)
    groups: dict[str, Counter] = {}
    for name, count in counts.items():
        groups.setdefault(key(name), Counter())[name] = count
    notes = []
    if rule == "as_written":
        if alike := [g for g in groups.values() if len(g) > 1]:
            notes.append(
                f"Near-equal labels in {what} were kept apart, as "
                f"{option('as_written')} asks: {_listed(alike)}."
            )
        return list(names), notes
    if rule == "auto":
        groups, notes = _letters_apart(groups, what, option)
    spelling, merged, blanks = {}, [], 0
    for common, group in groups.items():
        best = _spelling(common, group)
        spelling |= dict.fromkeys(group, best)
        if len(group) > 1:
            merged.append((best, group))
        else:
            blanks += sum(n for name, n in group.items() if name != best)
    notes = [*_sentences(merged, blanks, what), *notes, *_alike(spelling, counts, what)]
    return [spelling[name] for name in names], notes


def _letters_apart(groups, what, option):
    """Groups in which single characters of two cases are two names, and a sentence."""
    pairs = {}
    for common, group in groups.items():
        cases = sorted({tidy(name) for name in group})
        if len(cases) > 1 and all(len(name) == 1 and name.isalpha() for name in cases):
            pairs[common] = cases
    if not pairs:
        return groups, []
    shown = _listed([groups[common] for common in pairs])
    if len(pairs) < LETTERS:
        raise CourseError(
            f"Labels of one letter in {what} differ only by case: {shown}.\nExpected: "
            "one spelling of each class; whether these are one class or two cannot be "
            f"told.\nDo: {option('merge')} if they are the same, "
            f"{option('as_written')} if they are not; or correct the data."
        )
    apart = {}
    for common, group in groups.items():
        for name, count in group.items():
            own = tidy(name) if common in pairs else common
            apart.setdefault(own, Counter())[name] = count
    note = (
        f"Letters in {what} that differ by case were kept apart, as an alphabet: "
        f"{shown}. If they are the same: {option('merge')}."
    )
    return apart, [note]


def _spelling(common: str, group: Counter) -> str:
    """The most frequent tidy spelling; of equally frequent ones the first."""
    tidied: Counter = Counter()
    for name, count in group.items():
        tidied[tidy(name)] += count
    if len(tidied) > 1 and re.fullmatch(r"-?\d+", common):
        return common  # 1, not 1.0
    return min(tidied, key=lambda name: (-tidied[name], len(name), name.swapcase()))


def _sentences(merged, blanks, what) -> list[str]:
    said = []
    if merged:
        classes = "one class was" if len(merged) == 1 else f"{len(merged)} classes were"
        listed = _listed([group for _, group in merged])
        kept = ", ".join(repr(best) for best, _ in merged[:SHOWN])
        kept += ", ..." if len(merged) > SHOWN else ""
        said.append(
            f"Labels in {what}: {classes} written in several ways and merged: {listed}."
            f" Kept: {kept}."
        )
    if blanks:
        said.append(
            f"{blanks} label(s) in {what} had blanks around them, or signs in another "
            "form (full-width, decomposed): written plainly."
        )
    return said


def _alike(spelling, counts, what) -> list[str]:
    """Names that differ only by accents or signs: told, and kept apart."""
    bare: dict[str, Counter] = {}
    for name, count in counts.items():
        kept = spelling[name]
        letters = unicodedata.normalize("NFKD", kept.casefold())
        letters = re.sub(r"[\W_]+", "", letters)
        if kept.isdecimal():
            letters = f"number {int(kept)}"  # 01 and 1
        if letters and not letters.isdigit():
            bare.setdefault(letters, Counter())[kept] += count
    alike = [g for g in bare.values() if len({name.lower() for name in g}) > 1]
    if not alike:
        return []
    return [
        f"Alike, but kept apart in {what}: {_listed(alike)}. If they are the same, "
        "write them alike."
    ]


def _listed(groups) -> str:
    """'leak' (71), 'Leak' (12); 'heat' ..."""
    some = [
        ", ".join(f"{_shown(name)} ({n})" for name, n in group.most_common(SHOWN))
        + (", ..." if len(group) > SHOWN else "")
        for group in groups[:SHOWN]
    ]
    more = f"; and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return "; ".join(some) + more


def _shown(name: str) -> str:
    """In quotes; with escapes where two names would look the same."""
    hidden = any(unicodedata.category(c) in ("Cf", "Zs") and c != " " for c in name)
    decomposed = unicodedata.normalize("NFC", name) != name
    return ascii(name) if hidden or decomposed else repr(name)


def indexed(
    names: Sequence[str],
    classes: Sequence[str] | None,
    what: str,
    rule: str = "auto",
    option: Callable[[str], str] = "labels: {}".format,
) -> tuple[np.ndarray, list[str], list[str]]:
    """Labels by name as numbers: (int64 (N,), classes, sentences), settled before.

    classes: their order; None takes all names, sorted.  Raises CourseError for labels
    that are none of them, and as :func:`settled`.
    """
    names, notes = settled(names, what, rule, option)
    if classes is None:
        classes = sorted(set(names))
    classes = [str(name) for name in classes]
    index = {name: k for k, name in enumerate(classes)}
    if rule != "as_written":
        # a label that is near to one class alone is of that class; its own spelling,
        # where it is a class itself, goes before
        common = Counter(map(key, classes))
        near = {key(c): k for c, k in index.items() if common[key(c)] == 1}
        index = {n: near[key(n)] for n in set(names) if key(n) in near} | index
    unknown = sorted(set(names) - set(index))
    if unknown:
        raise CourseError(
            f"{what}: label {unknown[0]!r} is not one of the classes {classes}."
            + (f" Nor are {len(unknown) - 1} others." if unknown[1:] else "")
            + "\nExpected: these classes only.\nDo: correct the labels, or the classes."
        )
    return np.array([index[name] for name in names], dtype=np.int64), classes, notes
