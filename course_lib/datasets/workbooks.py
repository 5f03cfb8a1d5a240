"""Excel workbooks as cells: sheets, merged cells, formulas and errors are told.

pandas reads the values with openpyxl; no macro and no formula is run.
"""

import datetime
import math
import warnings

from course_lib.datasets.delimited import LOOKED_AT, Cells, plain_name
from course_lib.datasets.messages import listed, missing_library
from course_lib.errors import CourseError

LONGEST = 32_767  # characters in a cell: Excel cuts there


def read(path, names: set[str], reading) -> Cells:
    """The cells of one sheet: the one asked for, or the first with the columns.

    names: column names that are looked for.  Raises CourseError for an unknown sheet,
    formulas without a stored value, and a file that is no workbook.
    """
    book = _opened(path)
    sheets = book.sheet_names
    if reading.sheet is not None and reading.sheet not in sheets:
        raise CourseError(
            f"{path} has no sheet {reading.sheet!r}.\nExpected: one of "
            f"{', '.join(map(repr, sheets))}.\nDo: correct "
            f"{reading.option('sheet', 'NAME')}."
        )
    frames = {
        name: _frame(book, name)
        for name in ([reading.sheet] if reading.sheet else sheets)
    }
    fitting = [name for name, frame in frames.items() if _known(frame, names)]
    filled = [name for name, frame in frames.items() if len(frame)]
    chosen = (fitting or filled or list(frames))[0]
    frame = frames[chosen]
    notes = []
    if len(sheets) > 1:
        others = [
            f"{name!r} ({len(frames[name])} rows)" if name in frames else repr(name)
            for name in sheets
            if name != chosen
        ]
        notes.append(
            f"Sheet {chosen!r} of {path.name} was read; not read: {listed(others)}. "
            f"Another one is named with {reading.option('sheet', 'NAME')}."
        )
    if not len(frame):
        raise CourseError(
            f"{path}: sheet {chosen!r} has no rows.\nExpected: a header line and a row "
            "for each example.\nDo: name another sheet with "
            f"{reading.option('sheet', 'NAME')}."
        )
    sheet = book.book[chosen]
    _check_formulas(path, chosen, sheet)
    notes += _filled_down(frame, sheet)
    hidden = [r for r, d in sheet.row_dimensions.items() if d.hidden]
    hidden = [r for r in hidden if r <= len(frame)]
    if hidden:
        notes.append(f"Rows hidden in the sheet were read, too: {len(hidden)}.")
    texts = frame.map(_text)
    cut = int((texts.map(len) == LONGEST).to_numpy().sum())
    if cut:
        notes.append(
            f"{cut} cell(s) hold exactly {LONGEST:,} characters, the most that Excel "
            "keeps: their texts may have been cut when the workbook was made."
        )
    return Cells(texts, list(range(1, len(texts) + 1)), notes=notes)


def _opened(path):
    import pandas as pd

    try:
        with warnings.catch_warnings():  # styles and validations that it leaves out
            warnings.simplefilter("ignore")
            return pd.ExcelFile(
                path,
                engine="openpyxl",
                engine_kwargs={"read_only": False, "data_only": True},
            )
    except ImportError:
        raise missing_library(path, "openpyxl") from None
    except Exception as error:  # damaged parts raise what they like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CourseError(
            f"{path} cannot be read as an Excel workbook ({reason[:200]}).\nExpected: "
            "a whole .xlsx file without a password.\nDo: open it in Excel or "
            "LibreOffice and save it again, or as CSV UTF-8."
        ) from None


def _frame(book, name):
    """The values of a sheet; row 1 of the frame is row 1 of the sheet."""
    sheet = book.book[name]
    if not hasattr(sheet, "iter_rows"):  # a chart
        return book.parse(book.sheet_names[0], nrows=0, header=None)
    return book.parse(name, header=None, dtype=object, na_filter=False)


def _known(frame, names) -> bool:
    """Does one of the first rows hold a name that is looked for?"""
    for row in frame.iloc[:LOOKED_AT].itertuples(index=False):
        if {plain_name(cell) for cell in row if isinstance(cell, str)} & names:
            return True
    return False


def _check_formulas(path, name, sheet) -> None:
    """CourseError for formulas whose value was never computed and stored."""
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open(path, "rb") as stream:  # a path would be judged by its ending
            written = openpyxl.load_workbook(stream, data_only=False)[name]
    lacking = [
        cell.coordinate
        for row in written.iter_rows()
        for cell in row
        if cell.data_type == "f" and sheet[cell.coordinate].value is None
    ]
    wrong = [
        f"{cell.coordinate} {cell.value}"
        for row in sheet.iter_rows()
        for cell in row
        if cell.data_type == "e"
    ]
    if lacking or wrong:
        what = "formulas without a stored value" if lacking else "cells with an error"
        found = lacking or wrong
        raise CourseError(
            f"{path}, sheet {name!r}: {len(found)} {what}: {listed(found)}.\nExpected: "
            "values.\nDo: open the workbook in Excel or LibreOffice, correct it and "
            "save it, or paste the values over the formulas."
        )


def _filled_down(frame, sheet) -> list[str]:
    """Gives every row of a merged cell its value, in place; says where."""
    filled = []
    for area in sorted(sheet.merged_cells.ranges, key=lambda a: (a.min_row, a.min_col)):
        top, bottom, column = area.min_row - 1, area.max_row - 1, area.min_col - 1
        if bottom > top and top < len(frame) and column < frame.shape[1]:
            last = min(bottom, len(frame) - 1)
            frame.iloc[top + 1 : last + 1, column] = frame.iloc[top, column]
            filled.append(str(area))
    if not filled:
        return []
    return [
        f"Cells merged over several rows gave their value to each: {listed(filled)}."
    ]


def _text(value) -> str:
    """A cell as Excel shows it: whole numbers without ".0", days without a time."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime) and value.time() == datetime.time(0):
        return value.date().isoformat()
    return str(value)
