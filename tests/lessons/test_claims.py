"""The ledger: verdicts rest on computed conditions, and agree with the notebooks."""

import collections
import re

import nbformat
import pytest

from course_lib import paths
from course_lib.errors import CourseError
from course_lib.lessons import claims


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A ledger of three pending rows and an empty folder of notebooks."""
    for name in ("DATA", "NOTEBOOKS"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setattr(paths, name, folder)
    rows = [dict.fromkeys(claims.FIELDS, "") | {"id": f"C0{i}"} for i in (1, 2, 3)]
    for row in rows:
        row.update(verdict="pending", claim=f"claim {row['id']}", lesson="00")
    claims.write(rows)
    return tmp_path


def lesson(name, *cells):
    """cells: (source, printed text)."""
    notebook = nbformat.v4.new_notebook()
    for i, (source, text) in enumerate(cells):
        cell = nbformat.v4.new_code_cell(source, id=f"cell-{i}")
        if text:
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        notebook.cells.append(cell)
    nbformat.write(notebook, paths.NOTEBOOKS / f"{name}.ipynb")


CALL = 'claims.record("C02", verdict="qualified", finding=f"{x}", holds=x > 1)'


def printed(finding, id="C02", verdict="Qualified"):
    return f"Claim {id}: claim C02. {verdict}: {finding}\n"


def test_record_prints_one_line(course, capsys):
    claims.record("C02", verdict="qualified", finding="1.5 times", holds=True)
    assert capsys.readouterr().out == ("Claim C02: claim C02. Qualified: 1.5 times\n")
    claims.record("C03", verdict="cited", finding="by its source")


def test_record_fails_when_the_numbers_no_longer_hold(course):
    with pytest.raises(AssertionError, match="C02.*qualified.*claim C02"):
        claims.record("C02", verdict="qualified", finding="x", holds=False)


@pytest.mark.parametrize(
    "id, options, word",
    [
        ("C09", dict(verdict="refuted", finding="x", holds=True), "C09"),
        ("C02", dict(verdict="true", finding="x", holds=True), "verdict"),
        ("C02", dict(verdict="refuted", finding="", holds=True), "finding"),
        ("C02", dict(verdict="refuted", finding="x"), "holds"),
    ],
)
def test_record_refuses_what_rests_on_nothing(course, id, options, word):
    with pytest.raises(CourseError, match=word):
        claims.record(id, **options)


def test_collect_fills_the_ledger_and_record_then_guards_it(course, capsys):
    lesson("00_start", ("x = 2", ""), (CALL, f"text\n{printed(2)}"))
    assert claims.disagreements() == ["C02: pending, but recorded in 00_start.ipynb"]
    assert claims.collect() == ["C02"]
    assert claims.disagreements() == []
    row = claims.claim("C02")
    assert (row["verdict"], row["finding"]) == ("qualified", "2")
    assert (row["notebook"], row["cell"]) == ("00_start.ipynb", "cell-1")
    assert claims.totals() == {"qualified": 1, "pending": 2}
    with pytest.raises(CourseError, match="refuted.*qualified"):
        claims.record("C02", verdict="refuted", finding="2", holds=True)
    lesson("00_start", ("x = 2", ""))  # the cell is gone
    assert claims.disagreements() == ["C02: qualified, but no cell records it"]
    assert claims.collect() == ["C02"] and claims.totals() == {"pending": 3}


@pytest.mark.parametrize(
    "source, said, problem",
    [
        (CALL, printed(2, verdict="Refuted"), "verdict"),
        (CALL, printed(3), "finding"),
        (CALL, "", "verdict"),
        ("y = 1", printed(2), "no cell"),
        (CALL.replace("C02", "C77"), printed(2, "C77"), "not in the ledger"),
    ],
)
def test_every_kind_of_disagreement_is_found(course, source, said, problem):
    lesson("00_start", (CALL, printed(2)))
    claims.collect()
    lesson("00_start", (source, said))
    assert any(problem in line for line in claims.disagreements())


def test_a_claim_is_recorded_once(course):
    lesson("00_start", (CALL, printed(2)), (CALL, printed(2)))
    with pytest.raises(CourseError, match="again"):
        claims.recorded()


def test_a_damaged_ledger_is_named(course):
    (paths.DATA / claims.LEDGER).write_text("id,claim\n")
    with pytest.raises(CourseError, match="columns"):
        claims.ledger()
    (paths.DATA / claims.LEDGER).unlink()
    with pytest.raises(CourseError, match="git checkout"):
        claims.ledger()


# -- the course's own ledger ------------------------------------------------------


def test_the_ledger_is_whole():
    rows = claims.ledger()
    ids = [row["id"] for row in rows]
    assert ids == sorted(set(ids)) and all(re.fullmatch(r"C\d\d", id) for id in ids)
    assert {f"C{i:02}" for i in range(1, 62)} <= set(ids)  # none was taken away
    assert all(row["claim"] and row["source"] and row["test"] for row in rows)


def test_no_claim_is_refuted_that_nobody_else_has_tried():
    rows = claims.ledger()
    assert [
        r["id"] for r in rows if r["verdict"] == "refuted" and not r["second_try"]
    ] == []


def test_the_last_lesson_shows_the_ledger_as_it_is():
    path = next(paths.NOTEBOOKS.glob("13_*.ipynb"))
    (cell,) = (c for c in nbformat.read(path, 4).cells if c.id == "ledger")
    printed = "".join(o.get("text", "") for o in cell.outputs)
    shown = {verdict: int(n) for n, verdict in re.findall(r"(\d+) (\w+)", printed)}
    verdicts = collections.Counter(row["verdict"] for row in claims.ledger())
    if claims.PENDING in verdicts:
        verdicts["open"] = verdicts.pop(claims.PENDING)  # as lessons call it
    assert {name: n for name, n in shown.items() if n} == verdicts


def test_the_ledger_agrees_with_the_lessons():
    assert claims.disagreements() == []


def test_lessons_print_the_claims_of_the_ledger():
    rows = {row["id"]: row for row in claims.ledger()}
    printed = [
        found
        for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        for found in claims.PRINTED.findall(output.get("text", ""))
    ]
    assert len(printed) >= 50
    for id, claim, *_ in printed:
        assert claim == rows[id]["claim"].rstrip(".")
