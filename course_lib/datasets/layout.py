"""Folders of examples as people have them: which part, which class, what is left out.

A set is a folder with a sub-folder for each class, or with parts (train, validation,
test under their usual names) of such sub-folders.  Hidden and system files are never
data, at any depth.  Every file is either an example of a class or counted, by name and
reason, among what is left out.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from course_lib.datasets import labels, pictures
from course_lib.datasets.messages import INSTALL, listed, shown
from course_lib.errors import CourseError

PARTS = {  # in several languages, without accents
    "train": ("train", "training", "trn", "trainings", "entrainement", "apprentissage",
              "entrenamiento", "addestramento", "treino", "treinamento", "训练",
              "训练集", "学習", "학습", "обучение"),
    "validation": ("val", "valid", "validation", "dev", "validierung", "validierungs",
                   "validacion", "validazione", "validacao", "validacja", "验证",
                   "验证集", "検証", "검증"),
    "test": ("test", "testing", "tst", "prueba", "pruebas", "teste", "测试", "测试集",
             "テスト", "테스트", "тест"),
    "held out": ("eval", "evaluation", "holdout", "heldout"),
}  # fmt: skip
NEUTRAL = set(
    "set data dataset datasets image images img imgs picture pictures pic pics photo "
    "photos part parts split splits folder dir files daten bilder".split()
)
# Words that name a series of the same classes, and hardly ever a class.
SERIES = NEUTRAL | set(
    "fold folds kfold cv batch session run exp trial seed site year mask masks label "
    "labels annotation annotations".split()
)
SYSTEM = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "@tmp", "#recycle",
    "#snapshot", "@recycle", "$recycle.bin", "recycler", "system volume information",
    "lost+found", "network trash folder", "temporary items", "icon\r", "dicomdir",
    "__pycache__", "found.000",
}  # fmt: skip
DEEPEST = 40  # folders below the root
OFTEN = 8  # times that links may lead to one folder
ASIDE = "_"  # a folder whose name begins so was put aside


def is_hidden(name: str) -> bool:
    """Is this a hidden or system file or folder, or a lock or backup of a program?"""
    low = name.lower()
    return low[0] == "." or low in SYSTEM or low[:2] == "~$" or low[-1] == "~"


@dataclass
class LeftOut:
    """What is not read, by reason, and how many of these are pictures."""

    names: dict[str, list[str]] = field(default_factory=dict)
    pictures: int = 0

    def add(self, reason: str, name, is_picture: bool = False) -> None:
        self.names.setdefault(reason, []).append(str(name))
        self.pictures += is_picture

    def sentences(self) -> list[str]:
        """One a reason: how many, and the first dozen by name."""
        return [
            f"Left out, {reason}: {len(names):,} ({listed(names)})."
            for reason, names in self.names.items()
        ]


@dataclass(frozen=True)
class Layout:
    """Which file is in which part and class.

    parts: {part: {class: files}}; the part "all" where the folder is not split, else
    "train", "test" and often "validation".  names: {file: its name below the root}.
    """

    root: Path
    parts: Mapping[str, Mapping[str, list[Path]]]
    left_out: LeftOut
    notes: list[str]

    def name(self, file: Path) -> str:
        """The path of a file below the root, with forward slashes."""
        return shown(file.relative_to(self.root).as_posix())

    @property
    def classes(self) -> list[str]:
        return sorted(self.parts.get("train", self.parts.get("all", {})))


# -- the tree ---------------------------------------------------------------------


@dataclass(frozen=True)
class Sort:
    """Which files are examples, and what people call these.

    accepts: f(path, name, left_out), which also counts what it refuses.
    """

    many: str
    one: str
    file: str  # an example of a name
    column: str  # of a table that holds such examples, or names them
    accepts: Callable[[Path, str, LeftOut], bool]


@dataclass
class _Folder:
    path: Path
    sort: Sort
    folders: list[_Folder] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    others: Counter = field(default_factory=Counter)
    _every: list[Path] | None = None

    @property
    def name(self) -> str:
        return shown(self.path.name)

    def every(self) -> list[Path]:
        """All examples in it and below, sorted."""
        if self._every is None:
            found = list(self.files)
            for folder in self.folders:
                found += folder.every()
            self._every = sorted(found)
        return self._every

    def filled(self) -> list[_Folder]:
        """Sub-folders that hold examples, at any depth."""
        return [folder for folder in self.folders if folder.every()]

    def endings(self) -> Counter:
        """Endings of the files that are no examples, in it and below."""
        return sum((folder.endings() for folder in self.folders), self.others.copy())


def _walk(root: Path, sort: Sort, left_out: LeftOut) -> _Folder:
    """The visible tree below a folder; what is not data goes to ``left_out``."""
    return _walked(_Folder(root, sort), root, left_out, (), Counter())


def _walked(folder: _Folder, root, left_out, above, visits) -> _Folder:
    path, sort = folder.path, folder.sort

    def relative(below: Path) -> str:
        return shown(below.relative_to(root).as_posix())

    try:
        status = path.stat()
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        reason = f"a folder that cannot be opened ({error.strerror})"
        left_out.add(reason, relative(path), True)
        return folder
    # Links may lead back up (a circle: skipped) or to one folder from several places
    # (allowed, within reason, or a few links would make a tree without end).
    above = (*above, (status.st_dev, status.st_ino))
    for entry in entries:
        own = Path(entry.path)
        if is_hidden(entry.name):
            left_out.add("hidden or system files and folders", relative(own))
            continue
        try:
            status = own.stat()
        except (OSError, ValueError):
            left_out.add("a link that leads nowhere, or in a circle", relative(own))
            continue
        if stat.S_ISDIR(status.st_mode):
            number = (status.st_dev, status.st_ino)
            visits[number] += entry.is_symlink()
            if number in above or entry.is_symlink() and visits[number] > OFTEN:
                left_out.add("a link that leads nowhere, or in a circle", relative(own))
            elif len(above) > DEEPEST:
                left_out.add(f"below {DEEPEST} folders", relative(own), True)
            else:
                child = _Folder(own, sort)
                folder.folders.append(_walked(child, root, left_out, above, visits))
        elif not stat.S_ISREG(status.st_mode):
            left_out.add("neither a file nor a folder", relative(own))
        elif sort.accepts(own, relative(own), left_out):
            folder.files.append(own)
        else:
            folder.others[own.suffix.lower() or "no ending"] += 1
    return folder


def _is_picture(path: Path, name: str, left_out: LeftOut) -> bool:
    ending = path.suffix.lower()
    try:
        if pictures.reader_of(path):
            return True
    except pictures.MissingReader as error:
        reason = f"{error.what}, which needs {error.library} ({INSTALL})"
        left_out.add(reason, name, True)
        return False
    unread = ending in pictures.UNREAD
    kind = f"the ending {ending}" if ending else "no ending"
    left_out.add(f"files with {kind}, which no reader takes", name, unread)
    return False


def _is_text(path: Path, name: str, left_out: LeftOut) -> bool:
    ending = path.suffix.lower()
    if ending in (".txt", ".text", ".md"):
        return True
    kind = f"the ending {ending}" if ending else "no ending"
    left_out.add(f"files with {kind}, which are not read as texts", name)
    return False


PICTURES = Sort("pictures", "picture", "picture.png", "image", _is_picture)
TEXTS = Sort("texts", "text", "text.txt", "text", _is_text)

# -- parts ------------------------------------------------------------------------


def part_of(name: str) -> tuple[str, tuple[str, ...]]:
    """(part that a folder's name stands for, or "", the words that are left over).

    Case, digits, and words before and behind do not matter: Train, seg_train,
    train_images, data-test, TestSet, val2017.  A name of two parts stands for none.
    """
    words = _words(name)
    pairs = [a + b for a, b in zip(words, words[1:])]  # hold-out
    found, used = set(), set()
    for word in [*words, *pairs]:
        bare = re.sub(r"(set|data|images|imgs|folder|daten|bilder)$", "", word)
        for part, usual in PARTS.items():
            if word in usual or bare in usual:
                found.add(part)
                used |= {word} | {w for w in words if word in pairs and w in word}
    if len(found) != 1:
        return "", ()
    rest = tuple(w for w in words if w not in NEUTRAL and w not in used)
    return found.pop(), rest


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without digits and accents."""
    bare = unicodedata.normalize("NFD", name)
    latin = [c for c in bare if not "\u0300" <= c <= "\u036f"]
    name = unicodedata.normalize("NFC", "".join(latin))
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+", name)
    return [word.lower() for word in words]


def _inner(folder: _Folder, left_out: LeftOut, rel) -> _Folder:
    """The folder that holds the classes: through doubled and single wrapping ones."""
    while not folder.files:
        inside = folder.filled()
        if len(inside) != 1:
            break
        name = inside[0].name.lower()
        words = set(re.findall(r"[^\W\d_]+", name))
        wrapping = words <= NEUTRAL if words else False  # train/images
        doubled = name == folder.name.lower() and part_of(name)[0]  # test/test
        if not (inside[0].filled() or wrapping or doubled):
            break
        for other in folder.folders:
            if other is not inside[0]:
                left_out.add(f"folders without a {folder.sort.one}", rel(other.path))
        folder = inside[0]
    return folder


def _classes_in(folder: _Folder) -> list[_Folder]:
    return [sub for sub in folder.folders if sub.name[0] != ASIDE]


def scan(
    path: str | Path, split: bool = True, reading=None, sort: Sort = PICTURES
) -> Layout:
    """The layout of a folder of examples.  split: may it consist of parts?
    reading: a tables.Reading, whose rule settles near-equal names of classes.

    Raises CourseError that says what is there, what was expected and what to do.
    """
    root = Path(path)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise CourseError(
            f"{root} {problem}; expected a folder with one sub-folder of "
            f"{sort.many} for each class."
        )
    left_out, notes = LeftOut(), []
    whole = _walk(root, sort, left_out)

    def rel(below: Path) -> str:
        return shown(below.relative_to(root).as_posix())

    # parts at the top, else below a wrapping folder, else inside of the classes
    parts = _parts(whole, root, split, left_out, notes, rel)
    if parts is None:
        top = _inner(whole, left_out, rel)
        if top is not whole:
            parts = _parts(top, root, split, left_out, notes, rel)
            notes.append(f"The data were found in {rel(top.path)}.")
        if parts is None:
            parts = _sideways(top, root, left_out, rel) or {"all": top}
    if "all" not in parts and not split:
        raise CourseError(
            f"{root}: in each class folder are the parts {sorted(parts)}.\nExpected: "
            "one part, with a sub-folder for each class.\nDo: `course train` and "
            "`course diagnose` read such a folder; or sort by part first."
        )
    found = {
        part: folder if isinstance(folder, dict)
        else _by_class(folder, part, root, left_out, notes, rel)
        for part, folder in parts.items()
    }  # fmt: skip
    found = _settled(found, root, notes, reading)
    if "all" not in found:
        _check_same_classes(found, root, sort.many)
    return Layout(root, found, left_out, notes)


def _parts(top: _Folder, root, split, left_out, notes, rel):
    """{part: folder of its classes} where the sub-folders are parts, else None.

    Parts are told from classes of such names (a train, a test strip) by what is in
    them: a part holds a sub-folder for each class.
    """
    named = {sub.name: part_of(sub.name) for sub in top.folders}
    inner = {sub.name: _inner(sub, LeftOut(), rel) for sub in top.folders}
    parted = [sub for sub in top.folders if named[sub.name][0]]
    deep = [sub for sub in parted if inner[sub.name].filled()]
    flat = [sub for sub in parted if sub not in deep and sub.every()]
    kinds = {named[sub.name][0] for sub in deep}
    if not deep:
        _refuse_unlabelled(top, flat, named, root)
        return None
    filled = top.filled()
    if len(kinds) == 1 and filled == deep and len(deep) == 1 and len(parted) == 1:
        return None  # one part and nothing beside: taken as the whole set
    if not split:
        names = sorted(sub.name for sub in top.folders)
        raise CourseError(
            f"{root}: its sub-folders are {names}. These look like splits: load each "
            f"alone, e.g. {deep[0].path}."
        )
    chosen = _chosen(deep, named, root, notes)
    alike = {(), *(named[sub.name][1] for sub in deep)}
    for sub in flat:
        part, rest = named[sub.name]
        part = "test" if part == "held out" else part
        if part not in chosen and rest in alike:
            raise _flat_part(sub, chosen, root)
    _refuse_missing(top, chosen, root)
    used = set()
    for part, sub in chosen.items():
        used.add(sub.name)
        chosen[part] = _inner(sub, left_out, rel)
    for sub in top.folders:
        if sub.name not in used:
            name = f"{rel(sub.path)} ({len(sub.every()):,} {sub.sort.many})"
            left_out.add("folders beside the parts", name, bool(sub.every()))
    for file in top.files:
        left_out.add(f"{top.sort.many} beside the parts", rel(file), True)
    return chosen


def _chosen(deep, named, root, notes) -> dict[str, _Folder]:
    """One folder for each part; of several the one with the plain name."""
    found: dict[str, list[_Folder]] = {}
    for sub in deep:
        found.setdefault(named[sub.name][0], []).append(sub)
    chosen = {}
    for part, subs in found.items():
        plain = [sub for sub in subs if not named[sub.name][1]] or subs
        if len(plain) > 1:
            names = [sub.name for sub in plain]
            raise CourseError(
                f"{root} has {len(plain)} folders for the {part} part: {listed(names)}."
                "\nExpected: one for each part.\nDo: put their classes together, or "
                "move what is no part to another place."
            )
        chosen[part] = plain[0]
    if "held out" in chosen:
        held = chosen.pop("held out")
        part = "test" if "test" not in chosen else "validation"
        if part not in chosen:
            chosen[part] = held
            notes.append(f"{held.name} was taken for the {part} part.")
    order = ("train", "validation", "test")
    return {part: chosen[part] for part in order if part in chosen}


def _refuse_unlabelled(top, flat, named, root) -> None:
    """Parts without class folders: examples without labels, and no classes."""
    alike: dict[tuple, set] = {}  # by what else is in the name: seg_train, seg_test
    for sub in flat:
        part, rest = named[sub.name]
        alike.setdefault(rest, set()).add(part)
    if max(map(len, alike.values()), default=0) < 2:
        return
    names = [f"{sub.name} ({len(sub.every()):,} {sub.sort.many})" for sub in flat]
    raise CourseError(
        f"{root} has the parts {listed(names)}, and no sub-folders of classes in them."
        "\nExpected: a sub-folder for each class in each part: "
        f"train/CLASS/{top.sort.file}."
        "\nDo: "
        + _sorting(flat[0].every(), top.sort)
        + " If these are classes, give them other names."
    )


def _flat_part(sub: _Folder, chosen, root) -> CourseError:
    count, train, many = len(sub.every()), chosen.get("train"), sub.sort.many
    where = root / train.name if train else root
    return CourseError(
        f"{sub.path} holds {count:,} {many} and no sub-folders of classes: they have "
        "no labels.\nExpected: the same class sub-folders in every part.\nDo: sort "
        f"them into such folders; or move {sub.name} elsewhere and name {where} alone, "
        f"which is then split (`course predict` answers for {many} without labels)."
    )


def _refuse_missing(top, chosen, root) -> None:
    missing = [part for part in ("train", "test") if part not in chosen]
    if not missing:
        return
    there = sorted(sub.name for sub in top.folders)
    raise CourseError(
        f"{root} has the sub-folders {there}, and none for {missing[0]}.\n"
        "Expected: train and test (validation is taken from train where there is "
        "none), or a sub-folder for each class.\nDo: add the folder; or put all "
        "classes into one folder, without parts, and let the job split it; or name the "
        f"folder of one part alone. If {there[0]} and the others are classes, and not "
        "parts, give them other names."
    )


def _sideways(top: _Folder, root, left_out, rel):
    """{part: {class: files}} of CLASS/train/FILE, else None."""
    filled = [sub for sub in _classes_in(top) if sub.every()]
    if len(filled) < 2 or any(sub.files for sub in filled):
        return None
    found: dict[str, dict[str, list[Path]]] = {}
    for sub in filled:
        for below in sub.filled():
            part, rest = part_of(below.name)
            if not part or rest or part == "held out":
                return None
            found.setdefault(part, {}).setdefault(sub.name, []).extend(below.every())
    if not {"train", "test"} <= set(found):
        return None
    inner = [below for sub in filled for below in sub.filled()]
    same = _same_inside(inner)
    if same and all(_is_series(sub.name) for sub in filled):
        names = listed([sub.name for sub in filled])
        raise CourseError(
            f"{root}: its sub-folders {names} each hold parts of their own, with the "
            f"same classes ({listed(same)}).\nExpected: one set of parts.\nDo: name "
            f"one of {names} alone."
        )
    for file in top.files:
        left_out.add(f"{top.sort.many} beside the class folders", rel(file), True)
    return found


# -- classes ----------------------------------------------------------------------


def _by_class(
    folder: _Folder, part, root, left_out, notes, rel
) -> dict[str, list[Path]]:
    """{class: files} of one part; CourseError where there are no classes."""
    classes, many = _classes_in(folder), folder.sort.many
    for sub in folder.folders:
        if sub not in classes:
            name = f"{rel(sub.path)} ({len(sub.every()):,} {sub.sort.many})"
            left_out.add(f"folders whose name begins with {ASIDE}", name, True)
    hint = f"Expected: folder/CLASS_NAME/{folder.sort.file}, with at least two classes."
    if folder.files and not any(sub.every() for sub in classes):
        raise _flat_folder(folder, root)
    if len(classes) < 2 and part in ("all", "train"):
        what = "has no sub-folders"
        if classes:
            what = f"has only one class, {classes[0].name!r}"
        raise CourseError(
            f"{folder.path} {what}. {hint}\nDo: give each class a sub-folder; a set of "
            "one class has nothing to tell apart." + _what_else(folder)
        )
    for sub in classes:
        if not sub.every() and part in ("all", "train"):
            raise CourseError(
                f"{sub.path} holds no {folder.sort.one}. {hint}\nDo: add {many} or "
                "remove the folder." + _what_else(sub)
            )
    for file in folder.files:
        left_out.add(f"{many} beside the class folders", rel(file), True)
    notes += _told_inside(folder, classes, rel)
    return {sub.name: sub.every() for sub in classes}


def _told_inside(folder: _Folder, classes, rel) -> list[str]:
    """Sentences about sub-folders in classes, whose files count as the class's.

    CourseError where the supposed classes are a series (fold0, fold1) of the same ones.
    """
    same, many = _same_inside(classes), folder.sort.many
    outer = [sub.name for sub in classes if sub.every()]
    if same and all(_is_series(name) for name in outer):
        raise CourseError(
            f"{folder.path}: its sub-folders {listed(outer)} each hold the sub-folders "
            f"{listed(same)}, which look like the classes.\nExpected: one "
            f"sub-folder for each class.\nDo: move all {many} of a class into one "
            f"folder ({folder.name}/{same[0]} ...), or name one of {listed(outer)} "
            "alone. To keep what belongs together in one part, write a table with "
            f"the columns {folder.sort.column} and label and a third for the key "
            "`together`."
        )
    if same:
        return [
            f"The classes {listed(outer)} each hold the sub-folders {listed(same)}. If "
            f"{listed(same)} are the classes, move all {many} of a class into one "
            f"folder: now {outer[0]} is told from {outer[1]}."
        ]
    inside = [sub for one in classes for sub in one.filled()]
    parts = [
        rel(b.path) for b in inside if part_of(b.name)[0] and not part_of(b.name)[1]
    ]
    others = [
        f"{rel(sub.path)} ({len(sub.every()):,} {sub.sort.many})"
        for sub in inside
        if rel(sub.path) not in parts
    ]
    said = []
    if parts:
        said.append(
            f"Folders with the names of parts lie inside of classes ({listed(parts)});"
            f" their {many} count as the class's, whatever part they were meant for."
        )
    if others:
        said.append(
            f"Sub-folders inside of classes, whose {many} count as the class's: "
            f"{len(others):,} ({listed(others)})."
        )
    return said


def _same_inside(classes) -> list[str]:
    """Two names or more that every class has as sub-folders, and no files beside."""
    filled = [sub for sub in classes if sub.every()]
    if len(filled) < 2 or any(sub.files for sub in filled):
        return []
    names = [{below.name for below in sub.filled()} for sub in filled]
    same = set.intersection(*names)
    return sorted(same) if len(same) > 1 else []


def _is_series(name: str) -> bool:
    if re.fullmatch(r"(19|20)\d\d", name):  # a year
        return True
    words = [word for word in _words(name) if len(word) > 1 or not word.isascii()]
    return bool(words) and SERIES.issuperset(words)


def _what_else(folder: _Folder) -> str:
    endings = folder.endings()
    if not endings:
        return ""
    said = ", ".join(f"{ending} {count:,}" for ending, count in endings.most_common(6))
    missing = [e for e in endings if e in pictures.LIBRARIES]
    needs = f" {listed(missing)}: {INSTALL}" if missing else ""
    return f"\nIt holds files that are not read: {said}.{needs}"


def _flat_folder(folder: _Folder, root: Path) -> CourseError:
    sort = folder.sort
    places = dict.fromkeys((folder.path, root))
    tables = [p for place in places for p in sorted(place.iterdir())
              if p.suffix.lower() in (".csv", ".tsv", ".xlsx", ".parquet")]  # fmt: skip
    table = (
        f" Or name the table {tables[0].relative_to(root)} with --data."
        if tables
        else ""
    )
    return CourseError(
        f"{folder.path} holds {len(folder.files):,} {sort.many} and has no sub-folders "
        f"of classes, so that nothing says which class a {sort.one} is of.\nExpected: "
        f"folder/CLASS_NAME/{sort.file}, or a CSV file with the columns {sort.column} "
        f"and label.\nDo: {_sorting(folder.files, sort)}{table}"
    )


def _sorting(files: Sequence[Path], sort: Sort) -> str:
    """What to do with files whose class stands in their name, or nowhere."""
    starts = Counter(
        re.split(r"[\s._\-(]*\d|[._\-\s]", file.stem, maxsplit=1)[0].lower()
        for file in files
    )
    # names such as cat_001, dog_002: few beginnings that cover most of the files
    common = [(name, n) for name, n in starts.most_common(5) if name and n > 1]
    if len(common) > 1 and sum(n for _, n in common) > 0.8 * len(files):
        said = ", ".join(f"{name} ({n:,})" for name, n in common)
        return (
            f"the names begin with {said}: if these are the classes, move each kind "
            "into a sub-folder of that name, or write a CSV file."
        )
    return (
        f"move the {sort.many} of each class into a sub-folder with the class's name."
    )


def _settled(found, root, notes, reading):
    """Near-equal names of classes merged, over all parts."""
    names = [
        name
        for part in found.values()
        for name, files in part.items()
        for _ in range(max(1, len(files)))
    ]
    rule = {}
    if reading is not None:
        rule = {"rule": reading.labels, "option": partial(reading.option, "labels")}
    kept, said = labels.settled(names, f"the folders of {root.name}", **rule)
    notes += said
    spelling = dict(zip(names, kept))
    out = {}
    for part, classes in found.items():
        merged: dict[str, list[Path]] = {}
        for name, files in classes.items():
            merged.setdefault(spelling[name], []).extend(files)
        out[part] = {name: merged[name] for name in sorted(merged)}
    return out


def _check_same_classes(found, root, many: str) -> None:
    """Every part has the classes of the training part, and no others."""
    train = set(found["train"])
    problems = []
    for part, classes in found.items():
        if more := sorted(set(classes) - train):
            is_are = f"{more[0]} is" if len(more) == 1 else f"{listed(more)} are"
            no_class = "no class" if len(more) == 1 else "no classes"
            problems.append(f"in {part}, {is_are} {no_class} of the training part")
        if lacks := sorted(train - {name for name, files in classes.items() if files}):
            problems.append(f"{part} has no {many} of {listed(lacks)}")
    if problems:
        raise CourseError(
            f"{root}: {'; '.join(problems)}. The training part has "
            f"{listed(sorted(train))}.\nExpected: the same sub-folders, with {many}, "
            "in every part.\nDo: rename, add or remove folders."
        )


# -- without classes --------------------------------------------------------------


def files_below(path: Path, left_out: LeftOut, sort: Sort = PICTURES) -> list[Path]:
    """All examples in a folder and below, sorted; for those without labels."""
    return _walk(path, sort, left_out).every()
