"""Tables as people have them: CSV and its relatives, Excel, Parquet, JSON lines.

Every value is read as text ("007", "NA" and "1.0" stay as they are written).  No row is
lost and no text is cut without a word: what is doubtful is an error that names the
rows, what is left out or understood in a certain way is a sentence in ``notes``.
"""

from __future__ import annotations

import datetime
import json
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from course_lib.datasets import column_kinds, delimited, pictures, workbooks
from course_lib.datasets.delimited import Cells, plain_name
from course_lib.datasets.labels import indexed, tidy
from course_lib.datasets.layout import part_of
from course_lib.datasets.messages import listed, missing_library
from course_lib.errors import CourseError

# Names under which a column is looked for, the first before the others.
TEXT = ("text", "texts", "sentence", "message", "comment", "review", "description",
        "document", "content", "body", "tweet", "question", "query",
        "utterance")  # fmt: skip
LABEL = ("label", "labels", "class", "category", "target", "intent", "sentiment", "tag")
IMAGE = ("image", "images", "picture", "photo", "img", "file_name", "filename",
         "file name", "image_path", "image path", "image_name", "image name",
         "filepath", "file_path", "file path", "file", "path")  # fmt: skip
ENDINGS = (".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".parquet", ".jsonl", ".ndjson",
           ".json")  # fmt: skip
MISSING = {"na", "n/a", "nan", "null", "none", "nil", "-", "?", "#n/a", "unknown",
           "missing", "<na>", "undefined", "tbd"}  # fmt: skip
TRUTHS = ({"1", "true", "yes", "y", "t"}, {"0", "false", "no", "n", "f"})
SPREADSHEET_ERRORS = set("#NAME? #VALUE! #REF! #DIV/0! #N/A #NULL! #NUM!".split())
HIDDEN = " \t\r\n\f\v\u00a0\u200b\ufeff\u00ad"  # a text of these alone is empty


def in_python(key: str, value: str) -> str:
    """How an option is written in a call."""
    text = f"{key}={value}" if value == "True" else f"{key}={value!r}"
    return text if key.endswith("_column") else f"reading=tables.Reading({text})"


@dataclass(frozen=True)
class Reading:
    """How a table is to be read, where the file does not say it itself.

    encoding, sheet: None finds them.  skip_empty: rows without a text, label
    or picture are left out and counted, instead of an error.  labels: a rule of
    :mod:`course_lib.datasets.labels`.  option: how the caller's user writes an option
    and its value, for messages.
    """

    encoding: str | None = None
    sheet: str | None = None
    skip_empty: bool = False
    labels: str = "auto"
    option: Callable[[str, str], str] = in_python


@dataclass
class Table:
    """The rows of a table as text.

    frame: a DataFrame of str, its columns named, '' where nothing stands.  rows: the
    number of each row as a spreadsheet counts.  notes: what the user should know.
    unusable: {column: why} of those that hold no text.  doubled: {column: others of its
    name}.  headless: a sentence, if the header line looks like a row.
    """

    path: Path
    frame: object
    rows: list[int]
    reading: Reading
    notes: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, list[str]] = field(default_factory=dict)
    headless: str = ""
    left_out: int = 0  # rows, for want of a value

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[str]:
        """The values of a column."""
        return self.frame[column].tolist()

    @property
    def columns(self) -> list[str]:
        return list(self.frame.columns)

    def names(self) -> list[str]:
        """ "row 7" of each row."""
        return [f"row {row}" for row in self.rows]

    def column(self, key: str, given: str | None, usual: Sequence[str]) -> str:
        """The column called ``given``, or by a usual name; blanks and case are free.

        Where none has a usual name, the content decides.  key: the option that names
        it.  Raises CourseError without such a column, for
        several, and for one that holds no text.
        """
        by_name: dict[str, list[str]] = {}
        for name in self.columns:
            by_name.setdefault(plain_name(name), []).append(name)
        if given is not None:
            found = [given] if given in self.columns else by_name.get(plain_name(given))
        else:
            plain = dict.fromkeys(map(plain_name, usual))
            known = [by_name[name] for name in plain if name in by_name]
            if len(known) > 1 and plain_name(usual[0]) not in by_name:
                several = ", ".join(repr(one[0]) for one in known)
                raise self._no_column(key, f"could be {several}", "one of them named")
            found = known[0] if known else self._by_content(key)
        if not found:
            wanted = given if given is not None else usual[0]
            raise self._no_column(
                key, "", f"{wanted!r}" + ("" if given else " or a usual name for it")
            )
        name = found[0]
        same = [*found[1:], *self.doubled.get(name, ())]
        if any(self[other] != self[name] for other in same):
            raise CourseError(
                f"{self.path} has {1 + len(same)} columns {name!r} with different "
                "values.\nExpected: different names.\nDo: rename or remove one of them."
            )
        if name in self.unusable:
            raise CourseError(
                f"{self.path}: column {name!r} holds {self.unusable[name]}.\nExpected: "
                f"one text in each row.\nDo: name another one with {self._write(key)}, "
                "or write the texts into a column."
            )
        if given is None and plain_name(name) != plain_name(usual[0]):
            kind, why = key.removesuffix("_column"), ""
            if plain_name(name) not in map(plain_name, usual):
                others = listed([repr(n) for n in self.columns if n != name])
                why = f", found by what it holds (others: {others})"
            told = f"The {kind}s are column {name!r} of {self.path.name}{why}."
            if told not in self.notes:
                self.notes.append(told)
        return name

    def _by_content(self, key) -> list[str]:
        """[the column that holds what ``key`` wants], empty where none does.

        Raises CourseError where several may be meant.
        """
        if self.headless:
            return []
        usable = {n: self[n] for n in self.columns if n not in self.unusable}
        which = {
            "text_column": column_kinds.texts,
            "image_column": column_kinds.images,
            "label_column": column_kinds.labels,
        }
        found = which[key](usable)
        if len(found) > 1:
            several = ", ".join(map(repr, found))
            raise self._no_column(key, f"could be {several}", "one of them named")
        return found

    def _no_column(self, key, several, expected) -> CourseError:
        wanted = expected.split(" or ")[0]
        problem = f"has no column {wanted}"
        if several:
            problem = f"does not say which column holds the {key.split('_')[0]}: it "
            problem += several
        columns = listed([repr(name) for name in self.columns])
        own = {plain_name(name) for name in self.columns}
        hint = self.headless
        if key == "image_column" and own & set(TEXT):
            hint += " It looks like a table of texts, not of names of pictures; "
            hint += "`course train` learns from texts with `task: text`."
        elif key == "text_column" and own & set(IMAGE):
            hint += " It looks like a table of names of pictures, not of texts; "
            hint += "`course train` learns from pictures with `task: images`."
        return CourseError(
            f"{self.path} {problem}; its columns are {columns}.{hint}\n"
            f"Expected: {expected}.\nDo: name it with {self._write(key)}, or rename it "
            "in the table."
        )

    def _write(self, key: str, value: str = "NAME") -> str:
        return self.reading.option(key, value)

    def complete(self, columns: Sequence[str]) -> Table:
        """The rows that have a value in these columns.

        Raises CourseError that counts and names the others, unless skip_empty is set:
        then they are left out, and a note says so.
        """
        empty, good = [], []
        for i, values in enumerate(zip(*(self[name] for name in columns))):
            lacking = [c for c, v in zip(columns, values) if not v.strip(HIDDEN)]
            if lacking:
                named = " and ".join(map(repr, lacking))
                are = "are" if len(lacking) > 1 else "is"
                empty.append(f"row {self.rows[i]}: {named} {are} empty")
            else:
                good.append(i)
        if not empty:
            return self
        if not self.reading.skip_empty:
            raise CourseError(
                f"{self.path}: {len(empty)} of {len(self)} rows lack a value. "
                f"{listed(empty)}.\nExpected: a value in every row.\nDo: fill or "
                "remove these rows, or leave them out with "
                f"{self._write('skip_empty', 'True')}."
            )
        if not good:
            raise CourseError(
                f"{self.path}: no row has a value in {', '.join(map(repr, columns))}.\n"
                "Expected: values.\nDo: name other columns."
            )
        self.notes.append(f"Rows left out, {len(empty)}: {listed(empty)}.")
        frame = self.frame.iloc[good].reset_index(drop=True)
        rows = [self.rows[i] for i in good]
        return replace(self, frame=frame, rows=rows, left_out=len(empty))

    def others(self, used: Sequence[str]) -> list[str]:
        """The columns besides these that hold text."""
        return [c for c in self.columns if c not in used and c not in self.unusable]


# -- reading ----------------------------------------------------------------------


def read(
    path: str | Path, wanted: Sequence[str], reading: Reading | None = None
) -> Table:
    """A table of any kind; what it is, is seen by its content.

    wanted: names of columns that are looked for; where a file leaves a choice (of
    separator, sheet, header line) they decide it.  Raises CourseError that names file,
    row or column and what to do.
    """
    path, reading = Path(path), reading or Reading()
    names = {plain_name(name) for name in wanted}
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CourseError(
            f"The table {path} does not exist.\nExpected: a file, such as table.csv.\n"
            "Do: check the path."
        ) from None
    except OSError as error:
        raise CourseError(
            f"The table {path} cannot be read ({error}).\nExpected: a file.\n"
            "Do: check the path, and whether you may read it."
        ) from None
    _refuse_picture(path)
    kind = _kind(path, content)
    if kind == "parquet":
        return _parquet(path, reading)
    if kind == "excel":
        return _with_header(workbooks.read(path, names, reading), path, names, reading)
    text, notes = delimited.decoded(content, path, reading.encoding, reading.option)
    if kind == "json":
        return _json(text, path, notes, reading)
    cells = delimited.read(text, path, names, path.suffix.lower())
    cells.notes[:0] = notes
    return _with_header(cells, path, names, reading)


def _refuse_picture(path: Path) -> None:
    try:
        picture = path.suffix and pictures.reader_of(path)
    except pictures.MissingReader:
        picture = True
    if picture:
        raise CourseError(
            f"{path} is one picture by its name, and no table.\nExpected: a folder "
            f"with a sub-folder of pictures for each class, or a table "
            f"({', '.join(ENDINGS)}).\nDo: name the folder or the table."
        )


def _kind(path, content: bytes) -> str:
    """What a file is; CourseError for a kind that is not read."""
    suffix = path.suffix.lower()
    if content[:4] == b"PAR1":
        return "parquet"
    if content[:4] == b"PK\3\4":
        try:
            with zipfile.ZipFile(path) as archive:
                inside = set(archive.namelist())
        except (zipfile.BadZipFile, OSError):
            inside = set()
        if "xl/workbook.xml" in inside:
            return "excel"
        what = "an OpenDocument table" if "content.xml" in inside else "an archive"
    elif content[:4] == b"\xd0\xcf\x11\xe0":
        what = "a table of an Excel before 2007, or one with a password"
    elif content[:2] == b"\x1f\x8b" or content[:3] == b"BZh" or content[:2] == b"\xfd7":
        what = "compressed"
    elif (
        content[:256]
        .lstrip(b"\xef\xbb\xbf \r\n\t")
        .lower()
        .startswith((b"<html", b"<!doctype html", b"<table", b"<?xml"))
    ):
        what = "a web page or XML"
    elif suffix in (".xls", ".xlsx", ".xlsm", ".parquet", ".ods", ".xlsb") and (
        b"\0" in content[:1000] or not content
    ):
        what = "damaged or empty"
    else:
        return "json" if suffix in (".json", ".jsonl", ".ndjson") else "text"
    raise CourseError(
        f"{path} is no table that is read here: it is {what}.\nExpected: one of "
        f"{', '.join(ENDINGS)}.\nDo: open it in a spreadsheet and save it as .xlsx or "
        'as CSV ("CSV UTF-8"); unpack an archive first.'
    )


@dataclass
class Examples:
    """The rows of a table as inputs and numbered labels.

    inputs: N texts, or names of pictures.  labels: int64 (N,), indices into
    ``classes``.  columns: {"text" or "image", "label": name of the column}.
    """

    table: Table
    inputs: list[str]
    labels: object
    classes: list[str]
    columns: dict[str, str]
    notes: list[str]

    def metadata(self) -> dict[str, object]:
        """The other columns, as arrays of texts."""
        others = self.table.others(tuple(self.columns.values()))
        return {name: np.array(self.table[name], dtype=str) for name in others}


def inputs_of(path: str | Path, reading: Reading | None = None) -> str:
    """ "images" or "text": what the rows of a table hold beside their labels.

    Names of picture files are seen by their endings; else the usual names of columns
    decide, then the texts.  Raises CourseError where it is neither.
    """
    table = read(path, [*TEXT, *IMAGE, *LABEL], reading)
    usable = {n: table[n] for n in table.columns if n not in table.unusable}
    own = {plain_name(name) for name in table.columns}
    if column_kinds.images(usable):
        return "images"
    for task, usual in (("text", TEXT), ("images", IMAGE)):
        if own & set(map(plain_name, usual)):
            return task
    if column_kinds.texts(usable) and not table.headless:
        return "text"
    columns = listed([repr(name) for name in table.columns])
    raise CourseError(
        f"{path}: no column holds texts or names of pictures; its columns are {columns}"
        f".{table.headless}\nExpected: a column of texts of several words, or one of "
        "names of picture files.\nDo: check the table, or name its columns in a "
        "configuration: `course train --example text > job.yaml`."
    )


def examples(
    path: str | Path,
    kind: str,
    column: str | None = None,
    label_column: str | None = None,
    classes: Sequence[str] | None = None,
    reading: Reading | None = None,
) -> Examples:
    """Texts or names of pictures with their labels, settled where spelt in two ways.

    kind: "text" or "image".  column, label_column: None takes a usual name.  classes:
    their order; None takes all labels, sorted.  Raises CourseError as :func:`read`, and
    for fewer than two classes.
    """
    usual = TEXT if kind == "text" else IMAGE
    key, reading = f"{kind}_column", reading or Reading()
    wanted = [column] if column else list(usual)
    wanted += [label_column] if label_column else list(LABEL)
    table = read(path, wanted, reading)
    columns = {
        kind: table.column(key, column, usual),
        "label": table.column("label_column", label_column, LABEL),
    }
    if columns[kind] == columns["label"]:
        raise CourseError(
            f"{path}: {columns['label']!r} is named as {kind} and as label.\nExpected: "
            f"two columns.\nDo: change {reading.option(key, 'NAME')}."
        )
    table = table.complete(tuple(columns.values()))
    what = f"column {columns['label']!r} of {table.path.name}"
    labels, classes, said = indexed(
        table[columns["label"]],
        classes,
        what,
        reading.labels,
        lambda rule: reading.option("labels", rule),
    )
    if len(classes) < 2:
        raise CourseError(
            f"{path}: column {columns['label']!r} holds only the label {classes[0]!r}."
            "\nExpected: at least two classes.\nDo: add examples of another class, or "
            f"name another column with {reading.option('label_column', 'NAME')}."
        )
    said += _placeholders(labels, classes, what) + _truths(labels, classes, what)
    said += _own_split(table, tuple(columns.values()))
    if kind == "text":
        said += _lost_signs(table, columns[kind])
    inputs = table[columns[kind]]
    if kind == "image":
        inputs = [name.strip() for name in inputs]
    return Examples(table, inputs, labels, classes, columns, [*table.notes, *said])


def _placeholders(labels, classes, what) -> list[str]:
    """A sentence about classes that may stand for a missing label."""
    counts = np.bincount(labels, minlength=len(classes))
    found = [
        f"{name!r} ({count})"
        for name, count in zip(classes, counts.tolist())
        if name.lower() in MISSING and count
    ]
    if not found:
        return []
    return [
        f"Read as a class of its own in {what}: {', '.join(found)}. If it stands for a "
        "missing label, empty these cells."
    ]


def _truths(labels, classes, what) -> list[str]:
    """A sentence about classes that say yes, or no, in several ways."""
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    same = [
        [f"{name!r} ({n})" for name, n in zip(classes, counts) if name.lower() in words]
        for words in TRUTHS
    ]
    if max(map(len, same)) < 2:
        return []
    listed_ones = "; ".join(", ".join(names) for names in same if len(names) > 1)
    return [
        f"Classes of their own in {what}, which may mean the same: {listed_ones}. If "
        "they do, write them alike."
    ]


def _own_split(table, used) -> list[str]:
    """A sentence about columns that say train or test, for they are not followed."""
    said = []
    for name in table.others(used):
        counts = Counter(table[name])
        parts = {part_of(value) for value in counts if value} if len(counts) < 9 else ()
        if len(parts) > 1 and all(part and not rest for part, rest in parts):
            values = listed([f"{value} {n}" for value, n in counts.most_common()])
            said.append(
                f"Column {name!r} of {table.path.name} names parts ({values}); rows "
                "are split anew all the same. To hold out rows of your choice, leave "
                "them out of this table, and give them to `course predict`."
            )
    return said


def _lost_signs(table, column) -> list[str]:
    """A sentence about texts in which another program has lost characters."""
    rows = [
        name
        for name, text in zip(table.names(), table[column])
        if "\ufffd" in text or text.strip() in SPREADSHEET_ERRORS
    ]
    if not rows:
        return []
    return [
        f"Texts with lost characters (\ufffd) or an error of a spreadsheet in their "
        f"place (#NAME?) in column {column!r}, {len(rows)}: {listed(rows)}. They were "
        "lost before: save the table again from where it was made."
    ]


# -- header and rows --------------------------------------------------------------


def _with_header(cells: Cells, path, names, reading) -> Table:
    """The table below its header line, with every record accounted for."""
    top, above = _header(cells, names)
    frame = cells.frame
    header = [tidy(name) for name in frame.iloc[top]]
    if header and header[0].lstrip("#% ").lower() in names:
        header[0] = header[0].lstrip("#% ")
    notes = list(cells.notes)
    if above:
        shown = listed([repr(_shortened(" ".join(frame.iloc[i]))) for i in above])
        notes.append(f"Lines above the header were left out, {len(above)}: {shown}.")
    width = max((k + 1 for k, name in enumerate(header) if name), default=0)
    empty = {i for i, n in enumerate(_filled(frame)) if not n} | cells.blank
    body = [i for i in range(top + 1, len(frame)) if i not in cells.skip | empty]
    if not body:
        raise CourseError(
            f"{path} has no rows below its header line.\nExpected: a row for each "
            "example.\nDo: check the file."
        )
    width = _check_widths(cells, body, top, width, path)
    remarks = sorted(i for i in cells.skip if i > top)
    blank = [i for i in sorted(empty) if top < i < body[-1]]
    if remarks:
        notes.append(f"Remarks left out, {len(remarks)}: {cells.named(remarks)}.")
    if blank:
        notes.append(f"Empty rows passed over, {len(blank)}: {cells.named(blank)}.")
    rows = frame.iloc[body, :width].reset_index(drop=True)
    rows.columns, doubled = _unique(header[:width])
    if lost := [n for n in doubled if n]:
        notes.append(f"Columns that stand there twice: {listed(map(repr, lost))}.")
    table = Table(path, rows, [cells.rows[i] for i in body], reading, notes)
    table.doubled = doubled
    table.headless = _looks_headless(table, names, header[:width])
    return table


def _header(cells, names) -> tuple[int, list[int]]:
    """(index of the header line, indices of what stands above it and is no data).

    The first record; or a later one that holds more of the names looked for, if those
    before it are blank, remarks or a title, that is, one value alone.
    """
    frame = cells.frame
    usable = [i for i in range(len(frame)) if i not in cells.skip | cells.blank]
    if not usable:
        raise CourseError("The table has no header line.\nExpected: one.\nDo: add it.")
    best, most = usable[0], -1
    for i in usable[: delimited.LOOKED_AT]:
        own = {plain_name(cell).lstrip("#% ") for cell in frame.iloc[i] if cell}
        known = len(own & names)
        if not known and frame.iloc[i, 0].startswith(delimited.COMMENTS):
            continue
        filled = sum(bool(cell.strip()) for cell in frame.iloc[i])
        if known > most and (filled > 1 or most < 0):
            best, most = i, known
        if filled > 1:
            break
    titles = [i for i in range(best) if any(cell.strip() for cell in frame.iloc[i])]
    return best, titles


def _shortened(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def _check_widths(cells, body, top, width, path) -> int:
    """The number of columns; CourseError for rows with more or fewer fields.

    width: columns up to the last one with a name.  Separators at the end of every row
    are no harm; at the end of some they may stand for a field that was moved.
    """
    filled = _filled(cells.frame)
    most = max(filled[i] for i in body)
    if cells.widths is None:  # a rectangle
        return max(width, most)
    header = cells.widths[top]
    # rows alike and longer than the names: separators at the end of each line
    widths = {cells.widths[i] for i in body}
    if len(widths) == 1 and width <= min(widths) and most <= header:
        return max(width, most)
    wrong = [i for i in body if cells.widths[i] != header]
    shown = listed([f"{cells.named([i])}: {_fields(cells.widths[i])}" for i in wrong])
    example = cells.frame.iloc[wrong[0]].tolist()[: cells.widths[wrong[0]]]
    raise CourseError(
        f"{path}: {len(wrong)} of {len(body)} rows have another number of fields than "
        f"the header, which has {header}. {shown}. The first of them reads "
        f"{_shortened(' | '.join(example), 100)!r}.\nExpected: {_fields(header)} in "
        "every row; a text that holds the separator stands in quotation marks.\nDo: "
        "correct these rows, or save the table again from a spreadsheet, as .xlsx or "
        "CSV."
    )


def _filled(frame) -> list[int]:
    """How many fields of each record there are up to the last that is not empty."""
    there = (frame != "").to_numpy()
    last = there.shape[1] - np.argmax(there[:, ::-1], axis=1)
    return np.where(there.any(axis=1), last, 0).tolist()


def _fields(n: int) -> str:
    return f"{n} field" + "s" * (n != 1)


def _unique(header) -> tuple[list[str], dict[str, list[str]]]:
    """(names that differ, {name: its other columns})."""
    names, doubled = [], {}
    for k, name in enumerate(header):
        name = name or f"column {k + 1}"
        own, n = name, 2
        while own in names:
            own, n = f"{name} ({n})", n + 1
        if own != name:
            doubled.setdefault(name, []).append(own)
        names.append(own)
    return names, doubled


def _looks_headless(table, names, header) -> str:
    """A sentence for messages, if the header line looks like a row."""
    if {plain_name(name) for name in header} & names:
        return ""
    repeated = [
        name
        for name, column in zip(header, table.columns)
        if name and name in set(table[column])
    ]
    if repeated or any(len(name) > 60 for name in header):
        return (
            f" The first line looks like a row ({_shortened(' | '.join(header), 80)}): "
            "is the header line missing? Then add one, such as text,label."
        )
    return ""


# -- tables whose columns are named ------------------------------------------------


def _typed(path, columns: dict[str, list], rows, reading, notes) -> Table:
    """A table of values of any type; those that are no plain values are unusable."""
    import pandas as pd

    unusable, texts = {}, {}
    for name, values in columns.items():
        kinds = Counter(type(v).__name__ for v in values if not _nothing(v))
        # pandas gives whole numbers beside a gap as floats: 7.0 was written 7
        whole = all(
            float(v).is_integer() for v in values if isinstance(v, float)
            and not math.isnan(v)
        )  # fmt: skip
        bad = {"list", "dict", "tuple", "set", "ndarray", "bytes"} & set(kinds)
        if bad:
            unusable[name] = "no plain values but " + ", ".join(sorted(bad))
            values = [""] * len(values)
        texts[name] = [_as_text(value, whole) for value in values]
    names, doubled = _unique([tidy(str(name)) for name in texts])
    frame = pd.DataFrame(dict(zip(names, texts.values())), dtype=str)
    unusable = {n: unusable[old] for n, old in zip(names, texts) if old in unusable}
    if not rows:
        raise CourseError(
            f"{path} has no rows.\nExpected: a row for each example.\nDo: check it."
        )
    return Table(path, frame, rows, reading, notes, unusable, doubled)


def _nothing(value) -> bool:
    if value is None or isinstance(value, float) and math.isnan(value):
        return True
    return type(value).__name__ in ("NAType", "NaTType")


def _as_text(value, whole: bool) -> str:
    """A cell as text: whole numbers without ".0", days without a time, '' for none."""
    if _nothing(value):
        return ""
    if isinstance(value, float) and whole:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0):
        return value.date().isoformat()
    return str(value)


def _parquet(path, reading) -> Table:
    import pandas as pd

    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_library(path, "pyarrow") from None
    try:
        frame = pd.read_parquet(path, dtype_backend="pyarrow")
        counted = pq.ParquetFile(path).metadata.num_rows
    except Exception as error:  # arrow raises a family of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"{path} cannot be read as Parquet ({reason[:200]}).\nExpected: a whole "
            "Parquet file.\nDo: copy or write it again."
        ) from None
    if frame.index.name or frame.index.nlevels > 1:
        frame = frame.reset_index()
    if len(frame) != counted:
        raise CourseError(
            f"{path} states {counted} rows, and {len(frame)} were read.\nExpected: the "
            "same number.\nDo: write the file again."
        )
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    return _typed(path, columns, list(range(1, len(frame) + 1)), reading, [])


def _json(text, path, notes, reading) -> Table:
    """JSON lines (an object a line), or a JSON list of objects."""
    # "1.0" and 1e3 stay as they are written, for a label is a text
    as_written = dict(parse_float=str, parse_int=str, parse_constant=str)
    records, rows, wrong = [], [], []
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text, **as_written)
            rows = list(range(1, len(records) + 1))
        except (ValueError, RecursionError) as error:
            raise CourseError(
                f"{path} is no JSON ({error}).\nExpected: a list of objects, or an "
                "object a line.\nDo: write it again."
            ) from None
    else:
        for number, line in enumerate(delimited.split_lines(text), start=1):
            if not line.strip():
                continue
            try:
                records.append(json.loads(line, **as_written))
                rows.append(number)
            except (ValueError, RecursionError):
                wrong.append(f"line {number}")
    wrong += [f"row {n}" for n, r in zip(rows, records) if not isinstance(r, dict)]
    if wrong:
        raise CourseError(
            f"{path}: {len(wrong)} row(s) are no JSON objects: {listed(wrong)}.\n"
            'Expected: an object a line, such as {"text": "...", "label": "..."}.\n'
            "Do: correct these rows."
        )
    keys = dict.fromkeys(key for record in records for key in record)
    columns = {key: [record.get(key) for record in records] for key in keys}
    return _typed(path, columns, rows, reading, notes)
