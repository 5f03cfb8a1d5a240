"""Text files of rows (CSV, TSV and their relatives) as cells, with every row accounted.

The encoding and the separator are found; a scan counts records and fields on its own,
pandas reads them, and the two must agree.  A file in which a quotation mark or a
separator may have joined, cut or moved something is an error that names the rows.
RFC 4180.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from course_lib.datasets.labels import tidy
from course_lib.datasets.messages import listed
from course_lib.errors import CourseError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
ENCODINGS = ("UTF-8", "cp1252")  # tried in this order where no mark says which
MARKS = (  # UTF-32 before UTF-16, whose mark it begins with
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
COMMENTS = ("#", "//", "%")
QUOTE = '"'
LOOKED_AT = 20  # records among which the header is looked for


@dataclass
class Cells:
    """Every record of a file as text.

    frame: a DataFrame of str without a header, '' where there is nothing.  rows: the
    number of each record as a spreadsheet counts, from 1.  widths: the number of fields
    of each record, None where the file is a rectangle.  blank: records of lines without
    a sign.  skip: remarks.  notes: sentences for the reader.
    """

    frame: object
    rows: list[int]
    widths: list[int] | None = None
    blank: set[int] = field(default_factory=set)
    skip: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    row_words: Callable[[int], str] | None = None

    def named(self, indices: Collection[int]) -> str:
        """ "row 3, row 7 (line 9) ..." of records, by index; the first dozen."""
        words = self.row_words or (lambda i: f"row {self.rows[i]}")
        return listed([words(i) for i in indices])


# -- bytes to text ----------------------------------------------------------------


def decoded(content: bytes, path, encoding: str | None, option) -> tuple[str, list]:
    """The text of a file and sentences about it.

    A byte-order mark decides; without one UTF-16 is known by its zero bytes, then UTF-8
    and cp1252 are tried.  encoding: what the caller asks for instead.  Raises
    CourseError where none fits, where two are mixed, and on zero characters.
    """
    if encoding is not None:
        text, notes = _as_asked(content, path, encoding, option), []
    else:
        text, notes = _guessed(content, path, option)
    text = text.removeprefix("\ufeff")
    zeros = [i + 1 for i, line in enumerate(split_lines(text)) if "\0" in line]
    if zeros:
        raise CourseError(
            f"{path} cannot be read as text: zero characters (NUL) in {len(zeros)} "
            f"line(s): {listed(zeros)}.\nExpected: text; zero characters come from "
            "damaged files, and programs cut a text there.\nDo: save the file again "
            "from where it was made, as UTF-8."
        )
    return text, notes


def _as_asked(content, path, encoding, option) -> str:
    try:
        return content.decode(encoding)
    except LookupError:
        raise CourseError(
            f"There is no encoding {encoding!r}.\nExpected: a name that Python knows, "
            f"such as utf-8, cp1252, cp1251, shift_jis or gb18030.\nDo: correct "
            f"{option('encoding', 'NAME')}."
        ) from None
    except (UnicodeError, ValueError) as error:
        raise CourseError(
            f"{path} cannot be read as {encoding} ({error}).\nExpected: the encoding "
            f"that it was saved in.\nDo: change {option('encoding', 'NAME')}, or leave "
            "it out."
        ) from None


def _guessed(content, path, option):
    for mark, name in MARKS:
        if content.startswith(mark):
            text = _tried(content[len(mark) :], name)
            if text is None or "utf-8" != name and not re.search(r"[\r\n]", text):
                raise _unreadable(path, f"its mark says {name}, the rest does not")
            said = [] if name == "utf-8" else [f"The table was read as {name.upper()}."]
            return text, said
    if wide := _wide(content):
        text = _tried(content, wide)
        if text is not None and re.search(r"[\r\n]", text):
            return text, [f"The table was read as {wide.upper()}, by its zero bytes."]
    text = _tried(content, "utf-8")
    if text is not None:
        return text, []
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    utf8 = [_tried(line, "utf-8") is not None for line in lines]
    wide_ones = [i for i, line in enumerate(lines) if utf8[i] and not line.isascii()]
    others = [i + 1 for i, fits in enumerate(utf8) if not fits]
    if wide_ones:
        raise _unreadable(
            path,
            f"{len(wide_ones)} line(s) are UTF-8 and {len(others)} are not: "
            f"{listed(others)}",
        )
    text = _tried(content, "cp1252")
    if text is None:
        raise _unreadable(path, f"neither of {', '.join(ENCODINGS)} fits")
    words = dict.fromkeys(re.findall(r"\w*[^\x00-\x7f]\w*", text))
    sample = ", ".join(repr(word) for word in list(words)[:3])
    return text, [
        f"The table is not UTF-8; it was read as cp1252 (Western European): {sample}. "
        f"If these are no words, name the encoding: {option('encoding', 'NAME')}."
    ]


def _tried(content: bytes, name: str) -> str | None:
    try:
        return content.decode(name)
    except UnicodeError:
        return None


def _wide(content: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of plain letters is zero."""
    some = content[:4096]
    if len(some) < 4 or some.count(0) < len(some) // 4:
        return None
    odd, even = some[1::2].count(0), some[::2].count(0)
    return "utf-16-le" if odd > even else "utf-16-be"


def _unreadable(path, why) -> CourseError:
    return CourseError(
        f"{path} cannot be read as text: {why}.\nExpected: UTF-8 (or UTF-16 with its "
        'mark, or cp1252).\nDo: save it as UTF-8, in a spreadsheet as "CSV UTF-8".'
    )


def split_lines(text: str, end: str = r"\r\n|\n|\r") -> list[str]:
    """Lines at CR LF, LF or CR only; str.splitlines also cuts at other signs."""
    lines = re.split(end, text)
    if lines and not lines[-1]:
        lines.pop()
    return lines


# -- the scan: records and fields, counted without pandas --------------------------


@dataclass(frozen=True)
class Dialect:
    """How fields are written: separator ("" for a single column) and quoting."""

    separator: str
    blanks: bool = False  # blanks after a separator are no part of the field
    escape: bool = False  # \" instead of ""
    quoted: bool = True

    @property
    def sign(self) -> str:
        return self.separator or "\x1f"  # stands in no text


@dataclass
class Record:
    """One record of a text: where it stands, its fields, and what is odd about it."""

    line: int  # index of its first line
    lines: int  # how many it spans
    width: int  # fields
    doubt: str = ""
    column: int = -1  # the field that spans lines


def scan(lines: list[str], dialect: Dialect) -> list[Record]:
    """The records of a text, as a reader after RFC 4180 sees them, with what is odd."""
    records, i = [], 0
    sign = dialect.sign
    while i < len(lines):
        if QUOTE not in lines[i] or not dialect.quoted:
            records.append(Record(i, 1, lines[i].count(sign) + 1))
        else:
            records.append(_quoted_record(lines, i, dialect))
        i += records[-1].lines
    return records


def _quoted_record(lines, start, dialect) -> Record:
    """One record that may hold quoted fields; an odd one ends with its first line."""
    i, position, width, column = start, 0, 1, -1
    sign = dialect.sign
    while True:
        line = lines[i]
        if dialect.blanks:
            while line[position : position + 1] == " ":
                position += 1
        if line[position : position + 1] == QUOTE:
            end_line, end = _closing(lines, i, position + 1, dialect.escape)
            if end < 0:
                odd = "a quotation mark opens a text and never closes"
                return Record(start, 1, line.count(sign) + 1, odd)
            if end_line > i:
                column = width - 1
            i, position = end_line, end
            line = lines[i]
            following = line.find(sign, position)
            behind = line[position : following if following >= 0 else len(line)]
            if behind.strip():
                odd = "text stands behind a closing quotation mark"
                if end_line > start:
                    odd = f"a quotation mark opens here and closes in line {i + 1}, "
                    odd += "with text behind it"
                return Record(start, 1, lines[start].count(sign) + 1, odd)
        else:
            following = line.find(sign, position)
        if following < 0:
            return Record(start, i - start + 1, width, column=column)
        width, position = width + 1, following + len(sign)


def _closing(lines, i, position, escape):
    """(line, position behind the mark) of the quotation mark that closes; -1: none."""
    while i < len(lines):
        end = lines[i].find(QUOTE, position)
        if end < 0:
            i, position = i + 1, 0
        elif escape and (end - len(lines[i][:end].rstrip("\\"))) % 2:  # odd: \" is text
            position = end + 1
        elif not escape and lines[i][end + 1 : end + 2] == QUOTE:
            position = end + 2
        else:
            return i, end + 1
    return i, -1


# -- separator and quoting ---------------------------------------------------------


def _chosen(lines, names, separator, suffix):
    """(dialect, its records): the one whose header and rows fit best."""
    if separator is not None:
        candidates = [separator]
    else:
        candidates = [s for s in SEPARATORS if any(s in x for x in lines[:LOOKED_AT])]
    # The best separator knows the header, then gives most rows of one width and least
    # doubt; text with commas in every row would otherwise win over its real separator.
    best, score = None, None
    for sign in candidates:
        dialect, records = _with_quoting(lines, Dialect(sign), suffix)
        head = next((r for r in records if not _passed_over(lines[r.line])), None)
        usual = Counter(r.width for r in records if lines[r.line].strip())
        width, count = usual.most_common(1)[0] if usual else (1, 0)
        known = _knows_header(lines, records, sign, names)
        wide = head is not None and head.width > 1 or known
        if not wide and separator is None:
            continue
        good = sum(not r.doubt for r in records)
        own = (known, count + good, width > 1, -SEPARATOR_ORDER.get(sign, 9))
        if score is None or own > score:
            best, score = (dialect, records), own
    return best or _with_quoting(lines, Dialect(""), suffix)


SEPARATOR_ORDER = {sign: i for i, sign in enumerate(SEPARATORS)}


def _knows_header(lines, records, sign, names) -> int:
    """The most of the names looked for that one of the first records holds."""
    most = 0
    for record in records[:LOOKED_AT]:
        fields = lines[record.line].split(sign)
        if len(fields) > 1:
            own = {plain_name(one.strip().strip(QUOTE)) for one in fields}
            most = max(most, len(own & names))
    return min(most, 2)


def plain_name(name: str) -> str:
    """A column's name without blanks, case and forms of signs."""
    return tidy(name).lower()


def _with_quoting(lines, dialect, suffix):
    """The dialect with the way of quoting that leaves nothing odd, if there is one."""
    records = scan(lines, dialect)
    if not _odd(records, lines):
        return dialect, records
    # do backslashes stand only before a quotation mark or another backslash?
    text = "\n".join(lines)
    others = re.search(r'\\(?:[^"\\]|$)', text.replace("\\\\", ""))
    only_escapes = '\\"' in text and not others
    for other in (replace(dialect, blanks=True), replace(dialect, escape=True)):
        if other.escape and not only_escapes:
            continue
        tried = scan(lines, other)
        if not _odd(tried, lines):
            return other, tried
    if suffix in (".tsv", ".tab") or dialect.separator == "\t":
        plain = replace(dialect, quoted=False)
        tried = scan(lines, plain)
        sign = dialect.sign
        quoted = any(
            len(f) > 1 and f[0] == f[-1] == QUOTE
            for line in lines if QUOTE in line for f in line.split(sign)
        )  # fmt: skip
        if not _odd(tried, lines) and not quoted:
            return plain, tried
    return dialect, records


def _odd(records, lines) -> bool:
    widths = {r.width for r in records if not _passed_over(lines[r.line])}
    return any(r.doubt for r in records) or len(widths) > 1


def _passed_over(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith(COMMENTS)


# -- reading ----------------------------------------------------------------------


def read(text: str, path, names: set[str], suffix: str) -> Cells:
    """The cells of a delimited text; every record is in them or named in the notes.

    names: column names that are looked for, plain (see :func:`plain_name`).  Raises
    CourseError that names the rows in doubt.
    """
    # by the end of the first line: where lines end with \n alone, writers leave an \r
    # inside a text unquoted
    first = re.search(r"\r\n|\n|\r", text)
    end = {"\n": r"\n", "\r": r"\r"}.get(first and first[0], r"\r\n|\n|\r")
    lines = split_lines(text, end)
    hint = re.fullmatch(r'"?sep=(.)"?[\s,;]*', lines[0], re.I) if lines else None
    above, separator = 0, None
    if hint:  # the first line of what Excel writes for itself
        above, separator = 1, hint[1]
        lines, text = lines[1:], re.split(end, text, maxsplit=1)[1]
    if not any(line.strip() for line in lines):
        raise CourseError(
            f"{path} has no rows.\nExpected: a header line and a row for each example."
            "\nDo: check the file."
        )
    dialect, records = _chosen(lines, names, separator, suffix)

    def words(i):
        row, line = above + i + 1, above + records[i].line + 1
        return f"row {row}" + (f" (line {line})" if line != row else "")

    _check_doubts(records, path, words)
    frame = _by_pandas(text, dialect, max(r.width for r in records), path, end)
    _check_counts(frame, records, path)
    _check_swallowed(lines, records, frame, dialect, path, words)
    blank = {i for i, r in enumerate(records) if not lines[r.line].strip()}
    remarks = {
        i
        for i, r in enumerate(records)
        if dialect.separator and r.width == r.lines == 1
        and lines[r.line].lstrip().startswith(COMMENTS)
    }  # fmt: skip
    return Cells(
        frame,
        [above + i + 1 for i in range(len(records))],
        [r.width for r in records],
        blank,
        remarks,
        _said(lines, records, dialect, words),
        words,
    )


def _check_doubts(records, path, words) -> None:
    doubts = [i for i, r in enumerate(records) if r.doubt]
    if not doubts:
        return
    named = listed([f"{words(i)}: {records[i].doubt}" for i in doubts])
    raise CourseError(
        f"{path}: quotation marks are in doubt in {len(doubts)} row(s). {named}.\n"
        "Expected: a text with separators, quotation marks or line breaks stands in "
        'quotation marks, and those inside are doubled (""). Otherwise rows are joined '
        "and lost.\nDo: correct these rows, or save the table again from a "
        "spreadsheet, as .xlsx or CSV."
    )


def _check_counts(frame, records, path) -> None:
    """Have pandas and the scan seen the same records and fields?"""
    rows = zip(frame.itertuples(index=False, name=None), records)
    odd = [row for row, record in rows if any(row[record.width :])]
    if len(frame) != len(records) or odd:
        raise CourseError(
            f"{path}: {len(records)} records were counted and {len(frame)} were read; "
            f"{len(odd)} have other fields.\nExpected: the same.\nDo: save the table "
            "again, as .xlsx or as CSV with every text in quotation marks."
        )


def _check_swallowed(lines, records, frame, dialect, path, words) -> None:
    """CourseError where lines inside a quoted text are rows of their own.

    Two stray marks, each at the edge of a text, join all rows between them and leave
    nothing odd.  What shows it is that every line of the text ends (or begins) with a
    value that the other rows have in a column of few values, such as a label.
    """
    spread = [r for r in records if r.lines > 2]
    if not spread or not dialect.separator:
        return
    # columns of few values, such as labels, by the rows that are beyond doubt
    single = [i for i, r in enumerate(records) if r.lines == 1]
    few = {}
    for column in frame.columns:
        values = Counter(frame[column].iloc[single])
        if len(values) <= max(2, len(single) // 2):
            few[column] = {v for v, n in values.items() if v and n > 1}
    found = []
    for i, record in enumerate(records):
        if record.lines < 3:
            continue
        width, own = record.width, lines[record.line : record.line + record.lines]
        for column, values in few.items():
            # behind the text: every line but the last ends with a label; before it:
            # every line but the first begins with one
            rows = own[:-1] if column > record.column else own[1:]
            cut = [line.split(dialect.sign) for line in rows]
            if all(len(c) == width and c[column].strip(QUOTE) in values for c in cut):
                found.append(i)
                break
    if found:
        raise CourseError(
            f"{path}: {len(found)} text(s) in quotation marks hold lines that look "
            f"like rows of their own: {listed([words(i) for i in found])}.\nExpected: "
            "a quotation mark at the beginning of a text and one at its end; two stray "
            "ones join all rows between them.\nDo: look at these rows and correct the "
            "marks; if the texts are right, save the table as .xlsx, .parquet or "
            ".jsonl."
        )


def _said(lines, records, dialect, words) -> list[str]:
    notes = []
    if dialect.separator not in ("", ","):
        sign = SEPARATORS.get(dialect.separator, repr(dialect.separator))
        notes.append(f"Fields are separated by a {sign}.")
    if dialect.escape:
        notes.append('Quotation marks inside texts are written \\" in this table.')
    if not dialect.quoted:
        marked = [i for i, r in enumerate(records) if QUOTE in lines[r.line]]
        notes.append(
            "Quotation marks were read as plain signs, for they enclose no field; they "
            f"stand in {len(marked)} row(s): {listed([words(i) for i in marked])}."
        )
    spread = [i for i, r in enumerate(records) if r.lines > 1]
    if spread:
        most = max(records[i].lines for i in spread)
        notes.append(
            f"{len(spread)} row(s) hold texts of several lines, up to {most}: "
            f"{listed([words(i) for i in spread])}."
        )
    return notes


def _by_pandas(text, dialect, width, path, end):
    """A DataFrame (records, width) of str, '' where a record has fewer fields."""
    import pandas as pd

    options = {}
    if sign := {r"\n": "\n", r"\r": "\r"}.get(end):
        # else pandas ends a record at a carriage return in a text
        options["lineterminator"] = sign
    if dialect.escape:
        options |= dict(escapechar="\\", doublequote=False)
    try:
        return pd.read_csv(
            io.StringIO(text, newline=""),
            sep=dialect.sign,
            header=None,
            names=range(width),
            index_col=False,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
            skipinitialspace=dialect.blanks,
            quoting=csv.QUOTE_MINIMAL if dialect.quoted else csv.QUOTE_NONE,
            **options,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"{path} cannot be read as a table ({reason}).\nExpected: rows with the "
            "same number of fields, a text with separators in quotation marks.\n"
            "Do: save it again from a spreadsheet, or as .xlsx."
        ) from None
