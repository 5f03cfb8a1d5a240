"""Tables as people have them: no row is lost and no text is cut without a word."""

import csv
import io
import random
import re

import numpy as np
import openpyxl
import pandas as pd
import pytest

from course_lib import datasets
from course_lib.datasets import tables
from course_lib.errors import CourseError

WANTED = [*tables.TEXT, *tables.LABEL]


def written(path, content, encoding="utf-8"):
    data = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(data)
    return path


def read(path, wanted=WANTED, **reading):
    return tables.read(path, wanted, tables.Reading(**reading))


def table(tmp_path, content, name="t.csv", encoding="utf-8", **reading):
    return read(written(tmp_path / name, content, encoding), **reading)


def rows(found):
    return list(zip(found["text"], found["label"]))


def refused(tmp_path, content, *words, name="t.csv", **reading):
    with pytest.raises(CourseError) as caught:
        table(tmp_path, content, name, **reading)
    said = str(caught.value)
    assert "Expected: " in said and "\nDo: " in said, said
    for word in words:
        assert word in said, said
    return said


PLAIN = [("pump leaks", "leak"), ("fan hums", "noise"), ("casing hot", "heat")]


def lines(sign, data=PLAIN, head=("text", "label"), end="\n"):
    return "".join(sign.join(row) + end for row in (head, *data))


# -- separators -------------------------------------------------------------------


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_is_found_whatever_ends_the_lines(tmp_path, sign, end):
    assert rows(table(tmp_path, lines(sign, end=end))) == PLAIN


def test_the_header_decides_between_separators(tmp_path):
    data = [("hot, then cold; twice", "heat"), ("a, b, c", "leak")]
    quoted = [(f'"{text}"', label) for text, label in data]
    assert rows(table(tmp_path, lines(";", quoted))) == data
    commas = [("hot, then cold", "heat"), ("a, b", "leak")]
    for sign in (";", "\t", "|"):  # every row holds exactly one comma, too
        assert rows(table(tmp_path, lines(sign, commas))) == commas
    assert rows(table(tmp_path, "sep=|\n" + lines("|", commas))) == commas
    assert rows(table(tmp_path, 'sep=;\r\n"text";"label"\r\na;b\r\n')) == [("a", "b")]


def test_one_column_is_a_table_and_its_commas_are_text(tmp_path):
    found = table(tmp_path, 'text\nhot, then cold\n"a ""b"", c"\nx;y\n')
    assert found["text"] == ["hot, then cold", 'a "b", c', "x;y"]


# -- encodings --------------------------------------------------------------------

FOREIGN = [("Gr\u00f6\u00dfe pr\u00fcfen", "hei\u00df"), ("caf\u00e9", "k\u00fchl")]


@pytest.mark.parametrize(
    "encoding, said",
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "zero bytes"),
        ("utf-16-be", "zero bytes"),
        ("utf-32", "UTF-32"),
        ("cp1252", "'Gr\u00f6\u00dfe'"),
        ("latin-1", "cp1252"),
    ],
)
def test_the_encoding_is_found_and_said_where_it_is_not_utf_8(tmp_path, encoding, said):
    found = table(tmp_path, lines(",", FOREIGN), encoding=encoding)
    assert rows(found) == FOREIGN
    assert bool(found.notes) == (said is not None)
    assert said is None or said in found.notes[0]


def test_the_encoding_can_be_named(tmp_path):
    russian = [("шум", "да"), ("течь", "x")]
    path = written(tmp_path / "r.csv", lines(",", russian), "cp1251")
    assert rows(read(path, encoding="cp1251")) == russian
    assert "encoding" in read(path).notes[0]  # read as Western, and said so
    for name, words in (("nothing", "no encoding"), ("utf-8", "cannot be read as")):
        with pytest.raises(CourseError, match=f"(?s){words}.*Do: "):
            read(path, encoding=name)


@pytest.mark.parametrize(
    "content, words",
    [
        ("text,label\nGröße,x\n".encode() + b"Gr\xf6\xdfe,y\n", "not: 3"),
        (b"text,label\na\0b,x\n\0c,y\nd,x\n", "2 line(s): 2, 3"),
        (b"\xff\xfe\x00\x81", "cannot be read"),
        (b"text,label\n\x81\x8d,x\n", "cannot be read"),
        (b"", "no rows"),
        (b"\n \n\n", "no rows"),
    ],
)
def test_bytes_that_are_no_text_are_told(tmp_path, content, words):
    refused(tmp_path, content, words)


def test_lines_end_at_line_ends_alone(tmp_path):
    odd = [("a\u2028b\x0bc\x0cd\x85e\x1cf", "x"), ("g", "y")]
    assert rows(table(tmp_path, lines(",", odd))) == odd


# -- what libraries write comes back as it was -------------------------------------

SIGNS = list("ab \"',;\t|\n\r#=") + ["\r\n", "ü", "  "]


def texts(seed, n=60):
    r = random.Random(seed)
    made = ["".join(r.choices(SIGNS, k=r.randint(1, 14))) for _ in range(n)]
    return [one if one.strip() else f"{one}x" for one in made]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_what_csv_and_pandas_write_is_read_back_exactly(tmp_path, seed, sign):
    data = [(one, f"kind {k % 3}") for k, one in enumerate(texts(seed))]
    out = io.StringIO()
    quoting = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)[seed % 2]
    writer = csv.writer(out, delimiter=sign, quoting=quoting)
    writer.writerows([("text", "label"), *data])
    assert rows(table(tmp_path, out.getvalue())) == data
    frame = pd.DataFrame(data, columns=["text", "label"])
    written = frame.to_csv(sep=sign, quoting=csv.QUOTE_ALL)  # with its index
    found = table(tmp_path, written)
    assert rows(found) == data and "column 1" in found.columns


def test_long_fields_and_texts_of_many_lines_are_whole(tmp_path):
    long = "word " * 60_000
    letter = "Dear sir,\n\nthe pump, which is new, leaks.\nIt is loud, too.\nYours, A"
    data = [(long, "a"), (letter, "b"), ("short", "a")]
    out = io.StringIO()
    csv.writer(out).writerows([("text", "label"), *data])
    found = table(tmp_path, out.getvalue())
    assert rows(found) == data
    assert "1 row(s) hold texts of several lines, up to 5" in found.notes[0]
    assert found.names() == ["row 2", "row 3", "row 4"]


@pytest.mark.parametrize(
    "value", ["NA", "None", "null", "nan", "N/A", "007", "1.0", "1e5", "True", "-",
              "2024-01-05", " inside  two ", "0x1F", "1,000"],
)  # fmt: skip
def test_values_stay_as_they_are_written(tmp_path, value):
    data = [(value, "x"), ("other", value)]
    out = io.StringIO()
    csv.writer(out).writerows([("text", "label"), *data])
    assert rows(table(tmp_path, out.getvalue())) == data


# -- quotation marks and separators in doubt ---------------------------------------

MANY = [(f"{what} {i}", label) for i in range(20) for what, label in PLAIN]


def spoilt(changes):
    """60 rows, some of them changed: {row of the file: line}."""
    own = lines(",", MANY).split("\n")
    for row, line in changes.items():
        own[row - 1] = line
    return "\n".join(own)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({10: '"a,leak', 30: '"b,noise'}, ["2 row(s)", "row 10", "row 30"]),
        ({10: '"a,leak'}, ["1 row(s)", "row 10", "never closes"]),
        ({60: '"a,leak'}, ["row 60"]),
        ({10: '"a" and b,leak'}, ["row 10", "behind a closing"]),
        ({10: '"a,leak', 30: 'b",noise'}, ["row 10", "rows of their own"]),
        ({10: 'leak,"a', 11: "x,y", 12: 'b",noise'}, ["row"]),
        ({10: "a, b,leak"}, ["1 of 60 rows", "row 10: 3 fields"]),
        ({10: "a, b,leak,"}, ["1 of 60 rows", "row 10: 4 fields"]),
        ({10: "alone"}, ["row 10: 1 field"]),
        ({n: "a, b, c,x" for n in range(5, 45)}, ["40 of 60", "row 16", "28 more"]),
    ],
)
def test_a_row_in_doubt_is_named_and_nothing_is_read(tmp_path, changes, named):
    refused(tmp_path, spoilt(changes), *named)


def test_quotation_marks_inside_a_text_are_text(tmp_path):
    content = 'text,label\npipe of 5" leaks,x\nthe "new" fan,y\nlast",x\n"a ""b""",y\n'
    assert table(tmp_path, content)["text"] == [
        'pipe of 5" leaks', 'the "new" fan', 'last"', 'a "b"'
    ]  # fmt: skip


def test_other_ways_of_quoting_are_read_if_they_leave_nothing_odd(tmp_path):
    escaped = table(tmp_path, 'text,label\n"he said \\"stop, now\\"",x\n"b",y\n')
    assert escaped["text"] == ['he said "stop, now"', "b"]
    blanks = table(tmp_path, 'label, text\nx, "a, b"\ny, c\n')
    assert rows(blanks) == [("a, b", "x"), ("c", "y")]
    tabs = table(tmp_path, 'text\tlabel\n"stop he said\tx\n5" pipe\ty\n"end\tx\n')
    assert tabs["text"] == ['"stop he said', '5" pipe', '"end']
    assert "3 row(s): row 2, row 3, row 4" in " ".join(tabs.notes)


# -- headers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "head", ["Text,LABEL", " text , label ", '"text","label"', "\ufefftext,label",
             "text\u00a0,label", "ｔｅｘｔ,label", "# text,label"],
)  # fmt: skip
def test_a_header_is_known_whatever_its_case_blanks_and_signs(tmp_path, head):
    found = table(tmp_path, head + "\na,x\nb,y\n")
    assert found.column("text_column", None, tables.TEXT) == found.columns[0]
    assert found.column("label_column", "label", ()) == found.columns[1]
    assert len(found) == 2


def test_lines_above_the_header_and_remarks_are_left_out_and_said(tmp_path):
    content = "Export of 2024\n# by hand, twice\n\n" + (
        "text,label\na,x\n# middle\n\nb,y\n,\n"
    )
    found = table(tmp_path, content)
    assert rows(found) == [("a", "x"), ("b", "y")] and found.rows == [5, 8]
    said = " ".join(found.notes)
    for words in ("Export of 2024", "by hand", "Remarks left out, 1: row 6", "row 7"):
        assert words in said


def test_a_text_that_begins_like_a_remark_is_a_row(tmp_path):
    found = table(tmp_path, "text,label\n#3 pump leaks,x\n// see above,y\n")
    assert found["text"] == ["#3 pump leaks", "// see above"]


def test_separators_at_the_end_of_every_line_are_no_column(tmp_path):
    for content in ("text,label,\na,x,\nb,y,\n", "text,label\na,x,,\nb,y,,\n",
                    "text,label,,\na,x\nb,y\n"):  # fmt: skip
        assert table(tmp_path, content).columns == ["text", "label"]
    refused(tmp_path, "text,label\na,x,\nb,y\n", "row 2: 3 fields")


def column(found, key="text_column", given=None, usual=tables.TEXT):
    return found.column(key, given, usual)


def test_columns_are_found_by_usual_names_or_asked_for(tmp_path):
    found = table(tmp_path, "id,Message,Category\n1,a,x\n2,b,y\n")
    assert column(found) == "Message"
    assert column(found, "label_column", None, tables.LABEL) == "Category"
    assert found.notes == ["The texts are column 'Message' of t.csv.",
                           "The labels are column 'Category' of t.csv."]  # fmt: skip
    assert column(found, given="ID ") == "id"
    with pytest.raises(CourseError, match="(?s)no column 'nothing'.*Message.*text_col"):
        column(found, given="nothing")
    both = table(tmp_path, "comment,description\na,x\nb,y\n")
    with pytest.raises(CourseError, match="(?s)could be 'comment', 'description'.*Do:"):
        column(both)


def test_a_table_for_the_other_task_is_told(tmp_path):
    found = table(tmp_path, "message,label\na,x\nb,y\n")
    with pytest.raises(CourseError, match="(?s)no column 'image'.*table of texts"):
        column(found, "image_column", None, tables.IMAGE)
    found = table(tmp_path, "image,label\na.png,x\nb.png,y\n")
    with pytest.raises(CourseError, match="(?s)no column 'text'.*of pictures"):
        column(found)


def test_columns_of_one_name_are_told(tmp_path):
    found = table(tmp_path, "text,text,label,n,n\na,b,x,1,2\n")
    with pytest.raises(CourseError, match="(?s)2 columns 'text' with different"):
        column(found)
    assert (
        "n (2)" in found.columns
        and "stand there twice: 'n'" in found.notes[0]
        or ("'text', 'n'" in found.notes[0])
    )
    near = table(tmp_path, "text,Text,label\na,b,x\n")
    with pytest.raises(CourseError, match="2 columns 'text'"):
        column(near)
    same = table(tmp_path, "text,text,label\na,a,x\n")
    assert column(same) == "text"


def test_a_missing_header_line_is_guessed(tmp_path):
    found = table(tmp_path, "pump leaks,leak\nfan hums,noise\nvalve leaks,leak\n")
    with pytest.raises(CourseError, match="(?s)no column 'text'.*header line missing"):
        column(found)


# -- empty cells ------------------------------------------------------------------


def test_empty_cells_are_all_named_or_left_out_and_counted(tmp_path):
    content = "text,label\na,x\n ,y\nb,\n\u00a0,\u200b\nc,y\n"
    found = table(tmp_path, content)
    with pytest.raises(CourseError) as caught:
        found.complete(["text", "label"])
    said = str(caught.value)
    for words in ("3 of 5 rows", "row 3: 'text' is empty", "row 4: 'label' is empty",
                  "row 5: 'text' and 'label' are empty", "skip_empty"):  # fmt: skip
        assert words in said
    kept = table(tmp_path, content, skip_empty=True).complete(["text", "label"])
    assert kept["text"] == ["a", "c"] and kept.rows == [2, 6]
    assert "Rows left out, 3: row 3" in kept.notes[-1]
    with pytest.raises(CourseError, match="no row has a value"):
        table(tmp_path, "text,label\n,x\n ,y\n", skip_empty=True).complete(["text"])


# -- Excel ------------------------------------------------------------------------


def workbook(path, sheets, change=None):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, data in sheets.items():
        sheet = book.create_sheet(name)
        for row in data:
            sheet.append(row)
    if change:
        change(book)
    book.save(path)
    return path


def test_a_workbook_is_read_as_it_is_shown(tmp_path):
    import datetime

    data = [["text", "label", "day"], ["NA", 1, datetime.datetime(2024, 1, 5)],
            ["007", 2.0, None], ["a\nb", True, 1.5]]  # fmt: skip
    found = read(workbook(tmp_path / "t.xlsx", {"one": data}))
    assert found["text"] == ["NA", "007", "a\nb"]
    assert found["label"] == ["1", "2", "TRUE"]
    assert found["day"] == ["2024-01-05", "", "1.5"] and found.rows == [2, 3, 4]


def test_the_sheet_with_the_columns_is_read_and_the_others_are_named(tmp_path):
    sheets = {"about": [["made by A"], ["in 2024"]],
              "data": [["Report", None], [None, None], ["text", "label"], ["a", "x"]],
              "more": [["text", "label"], ["b", "y"], ["c", "z"]]}  # fmt: skip
    path = workbook(tmp_path / "t.xlsx", sheets)
    found = read(path)
    assert rows(found) == [("a", "x")] and found.rows == [4]
    assert "'about' (2 rows), 'more' (3 rows)" in found.notes[0]
    assert "Report" in found.notes[1]
    assert rows(read(path, sheet="more")) == [("b", "y"), ("c", "z")]
    with pytest.raises(CourseError, match="(?s)no sheet 'none'.*'data'"):
        read(path, sheet="none")


def test_merged_hidden_and_long_cells_are_said(tmp_path):
    def change(book):
        book["one"].merge_cells("B2:B3")
        book["one"].row_dimensions[4].hidden = True

    data = [["text", "label"], ["a", "x"], ["b", None], ["c" * 32_767, "y"]]
    found = read(workbook(tmp_path / "t.xlsx", {"one": data}, change))
    assert found["label"] == ["x", "x", "y"]
    said = " ".join(found.notes)
    for words in ("B2:B3", "hidden in the sheet were read, too: 1", "32,767"):
        assert words in said


def test_formulas_without_a_value_and_errors_are_named(tmp_path):
    data = [["text", "label"], ["a", "x"], ["=A2", "y"], ["c", "=1/0"]]
    path = workbook(tmp_path / "t.xlsx", {"one": data})
    with pytest.raises(CourseError, match="(?s)2 formulas without.*A3, B4.*Do: open"):
        read(path)


def test_the_ending_does_not_decide(tmp_path):
    path = workbook(tmp_path / "t.csv", {"one": [["text", "label"], ["a", "x"]]})
    assert rows(read(path)) == [("a", "x")]
    assert rows(table(tmp_path, "text,label\na,x\n", "t.xlsx")) == [("a", "x")]


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\xd0\xcf\x11\xe0" + bytes(600), "before 2007"),
        (b"\x1f\x8b\x08" + bytes(60), "compressed"),
        (b"PK\3\4" + bytes(60), "an archive"),
        (b"<html><table><tr><td>text</td></tr></table>", "web page"),
        (b"PAR1 and nothing else PAR1", "Parquet"),
    ],
)
def test_files_that_are_no_tables_are_told(tmp_path, content, words):
    refused(tmp_path, content, words, name="t.xls")


def test_a_missing_library_is_named_with_what_brings_it(tmp_path, monkeypatch):
    import sys

    workbook(tmp_path / "t.xlsx", {"one": [["text", "label"], ["a", "x"]]})
    pd.DataFrame({"text": ["a"]}).to_parquet(tmp_path / "t.parquet")
    for module, name in (("openpyxl", "t.xlsx"), ("pyarrow.parquet", "t.parquet")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            if module == "openpyxl":
                patch.setattr(pd, "ExcelFile", _without_library)
            with pytest.raises(CourseError, match=r"(?s)needs the library.*formats\]"):
                read(tmp_path / name)


def _without_library(*_, **__):
    raise ImportError("Missing optional dependency 'openpyxl'.")


# -- Parquet and JSON lines -------------------------------------------------------


def test_parquet_values_become_text_and_rows_are_counted(tmp_path):
    frame = pd.DataFrame(
        {
            "text": ["a", "NA", None, "d"],
            "label": [1, 2, 1, None],
            "kind": pd.Categorical(["p", "q", "p", "q"]),
            "share": [0.5, 1.0, 2.0, None],
            "words": [["a"], ["b"], [], ["c"]],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    found = read(tmp_path / "t.parquet")
    assert found["text"] == ["a", "NA", "", "d"]
    assert found["label"] == ["1", "2", "1", ""]
    assert found["kind"] == ["p", "q", "p", "q"]
    assert found["share"] == ["0.5", "1.0", "2.0", ""]
    assert found.others(["text", "label"]) == ["kind", "share"]
    with pytest.raises(CourseError, match="(?s)'words' holds no plain values.*Do: "):
        column(found, given="words")
    frame[:0].to_parquet(tmp_path / "e.parquet")
    with pytest.raises(CourseError, match="has no rows"):
        read(tmp_path / "e.parquet")


def test_json_lines_are_read_as_written(tmp_path):
    content = (
        '{"text": "a\\nb, c", "label": 1.0}\n\n{"label": 10000000000000000000001}\n'
    )
    found = table(tmp_path, content, "t.jsonl")
    assert found["text"] == ["a\nb, c", ""] and found.rows == [1, 3]
    assert found["label"] == ["1.0", "10000000000000000000001"]
    listed = table(tmp_path, '[{"text": "a", "label": null}]', "t.json")
    assert rows(listed) == [("a", "")]
    refused(tmp_path, '{"text": "a"}\n{"text\n[1]\n', "2 row(s)", "line 2", "row 3",
            name="t.jsonl")  # fmt: skip
    refused(tmp_path, '[{"text": "a"}', "no JSON", name="t.json")


# -- from a table to a data set ----------------------------------------------------


def test_near_equal_labels_become_one_class_with_a_warning(tmp_path):
    path = written(tmp_path / "t.csv", "text,label\na,hot\nb,Hot \nc,y\nd,NA\n")
    with pytest.warns(UserWarning) as caught:
        data = datasets.texts_from_csv(path)
    assert data.classes == ("NA", "hot", "y") and data.labels.tolist() == [1, 1, 2, 0]
    said = " ".join(str(one.message) for one in caught)
    assert "'hot' (1), 'Hot ' (1)" in said and "class of its own" in said
    with pytest.raises(CourseError, match="merge"):
        written(path, "text,label\na,a\nb,A\nc,y\n")
        datasets.texts_from_csv(path)
    kept = tables.Reading(labels="as_written")
    with pytest.warns(UserWarning, match="kept apart"):
        data = datasets.texts_from_csv(path, reading=kept)
    assert data.classes == ("A", "a", "y")


def test_given_classes_fix_the_order_and_spelling(tmp_path):
    path = written(tmp_path / "t.csv", "text,label\na,Leak\nb,noise\n")
    data = datasets.texts_from_csv(path, classes=("noise", "leak", "heat"))
    assert data.labels.tolist() == [1, 0] and data.classes[2] == "heat"
    with pytest.raises(CourseError, match="'noise' is not one of"):
        datasets.texts_from_csv(path, classes=("leak", "heat"))


def test_text_and_label_must_be_two_columns(tmp_path):
    path = written(tmp_path / "t.csv", "text,label\na,x\nb,y\n")
    with pytest.raises(CourseError, match="named as text and as label"):
        datasets.texts_from_csv(path, "text", "text")


def test_no_record_is_lost_in_files_mutated_at_random(tmp_path):
    """Whatever one sign is put where: as many rows as records, or an error."""
    r = np.random.default_rng(0)
    whole = lines(",", MANY)
    for _ in range(60):
        at = int(r.integers(11, len(whole)))
        sign = str(r.choice(['"', ",", "\n", "\r", ";", "#", "\t", '""', "\0"]))
        content = whole[:at] + sign + whole[at:]
        try:
            found = table(tmp_path, content)
        except CourseError as error:
            assert re.search(r"row|line", str(error)) and "Do: " in str(error)
            continue
        said = " ".join(found.notes)
        gone = len(MANY) - len(found)
        assert gone <= 0 or "left out" in said or "several lines" in said, content
        kept = sum(len(text) + len(label) for text, label in rows(found))
        there = sum(len(text) + len(label) for text, label in MANY)
        assert kept >= there - 30 * ("left out" in said), content


# -- what is no fault of form, and told -------------------------------------------


def told(tmp_path, lines, header="text,label"):
    path = written(tmp_path / "t.csv", "\n".join([header, *lines]))
    return " ".join(tables.examples(path, "text").notes)


@pytest.mark.parametrize(
    "values", [("train", "test"), ("Training", "val", "TEST"), ("trainset", "testset"),
               ("train", "dev", "")]
)  # fmt: skip
def test_a_column_of_parts_is_not_followed_and_told(values, tmp_path):
    lines = [f"text {i},{'ab'[i % 2]},{values[i % len(values)]}" for i in range(12)]
    said = told(tmp_path, lines, "text,label,where")
    assert f"Column 'where' of t.csv names parts ({values[0]} " in said
    places = ["pump leaks,a,test bench", "fan hums,b,train hall", "hot,a,roof"]
    assert "parts" not in told(tmp_path, places, "text,label,where")


@pytest.mark.parametrize(
    "labels, same", [("1 true 0 false", "'1' (1), 'true' (1)"),
                     ("yes y no N", "'N' (1), 'no' (1)"),
                     ("Y T x z", "'T' (1), 'Y' (1)")]
)  # fmt: skip
def test_truth_in_several_words_is_told(labels, same, tmp_path):
    lines = [f"text {i},{label}" for i, label in enumerate(labels.split())]
    assert same in told(tmp_path, lines)


def test_plain_truths_are_not_told(tmp_path):
    assert "mean the same" not in told(tmp_path, ["a,yes", "b,no", "c,1000"])


@pytest.mark.parametrize("text", ["M\ufffdller", "#NAME?", "#REF!", "\ufffd"])
def test_texts_that_another_program_has_damaged_are_told(text, tmp_path):
    assert ", 1: row 3. They" in told(tmp_path, ["good,a", f"{text},b", "#names,b"])


@pytest.mark.parametrize("name", ["a.png", "b.TIFF", "scan.dcm", "c.heic", "d.jpeg"])
def test_a_picture_in_the_place_of_a_table_is_told(name, tmp_path):
    refused(tmp_path, b"\x89PNG\r\n\x1a\n\0", "is one picture", "folder", name=name)
