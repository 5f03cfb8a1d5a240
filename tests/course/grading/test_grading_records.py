"""What is written of a class: compared, whole or not at all, one message a fault."""

import csv
import errno
import hashlib
import json
import os
import shutil
import sqlite3
from datetime import UTC, datetime

import pytest
import test_grading_class as a_class
from grading_toy import DOUBLE, TOTAL, needs_sandbox, submitted

from course_lib import files, paths
from course_lib.course import cli
from course_lib.course.grading import gradebook
from course_lib.course.grading.journal import Journal
from course_lib.errors import CourseError

pytest.importorskip("nbgrader", reason="nbgrader (the extra `instructor`) is missing")
pytestmark = pytest.mark.slow

NAME = a_class.NAME


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A course with one exercise, released, and an empty gradebook; made once."""
    root = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COURSE_ROOT", str(root))
        for name in ("data", "notebooks"):
            (root / name).mkdir()
        lesson = a_class.made_toy(root)
        with gradebook.opened(lesson):
            pass
        vars(paths).pop("ROOT", None)
    return root


@pytest.fixture
def toy(template, small_course):
    """A copy of it: the lesson's folder."""
    shutil.copytree(template, small_course, dirs_exist_ok=True)
    return small_course / "solutions" / NAME


def record(double=3.0, total=2.0, answer="Because.", source=DOUBLE, printed=()):
    """The record of a graded submission, without having graded one."""
    notebook = json.loads(submitted(source, TOTAL, answer))
    for cell in notebook["cells"]:
        if cell["id"] in ("double-test", "total-test"):
            points = double if cell["id"] == "double-test" else total
            cell["outputs"] = [
                {"output_type": "stream", "name": "stdout", "text": "said\n"},
                {
                    "output_type": "execute_result",
                    "execution_count": 1,
                    "metadata": {},
                    "data": {"text/plain": repr(points)},
                },
            ]
        if cell["id"] == "imports":
            cell["outputs"] = list(printed)
    digest = hashlib.sha256(json.dumps(notebook).encode()).hexdigest()
    return {"outcome": "graded", "digest": digest, "notebook": notebook}


def entered(lesson, student="ann", db=None, **changes):
    """Write a record in a book that is opened anew; was anything new?"""
    with gradebook.opened(lesson, db) as book:
        return book.write(student, record(**changes))


def scores(lesson):
    with gradebook.opened(lesson) as book:
        return book.scores()


def marked(lesson, cell, points=None, extra=None):
    """Give points by hand, as formgrader does."""
    with gradebook.opened(lesson) as book:
        row = book.book.find_grade(cell, NAME, NAME, "ann")
        if points is not None:
            row.manual_score = points
        if extra is not None:
            row.extra_credit = extra
        row.needs_manual_grade = False
        book.book.db.commit()


def exported(root, db=None):
    path = gradebook.export(root / "grades.csv", db)
    return list(csv.DictReader(path.open(encoding="utf-8")))


# -- what is there is compared with what should be there -------------------------------


def test_a_deleted_gradebook_is_written_again(toy, small_course):
    assert entered(toy) and not entered(toy)
    (small_course / "gradebook.db").unlink()
    assert entered(toy) and scores(toy) == {"ann": 5}
    assert not entered(toy)


def test_a_deleted_or_changed_notebook_is_written_again(toy, small_course):
    entered(toy)
    marked(toy, "open", 1.0)
    path = small_course / "autograded" / "ann" / NAME / f"{NAME}.ipynb"
    whole = path.read_bytes()
    for damage in (
        lambda: shutil.rmtree(small_course / "autograded"),
        path.unlink,
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: path.write_bytes(whole.replace(b"Because", b"Whatever")),
    ):
        damage()
        assert entered(toy) and path.read_bytes() == whole
        assert not entered(toy)
    (row,) = exported(small_course)
    assert (row["score"], row["stale"], row["to_mark"]) == ("6.0", "", "")


def test_what_was_changed_in_the_book_is_written_again(toy):
    entered(toy)

    def alter(what):
        with gradebook.opened(toy) as book:
            what(book.book)
            book.book.db.commit()

    def score(book):
        book.find_grade("double-test", NAME, NAME, "ann").auto_score = 0.5

    for what in (
        score,
        lambda book: book.remove_submission(NAME, "ann"),
        lambda book: book.remove_student("ann"),
    ):
        alter(what)
        assert scores(toy) != {"ann": 5}
        assert entered(toy) and scores(toy) == {"ann": 5}


def test_the_note_of_what_was_entered_may_be_lost(toy, small_course):
    entered(toy)
    for content in (None, "", "[]", '{"digest": 1}'):
        (note,) = small_course.glob("grading/*/written-*/ann.json")
        note.unlink()
        if content is not None:
            note.write_text(content)
        assert entered(toy) and not entered(toy)
        assert scores(toy) == {"ann": 5}


# -- points by hand, and a newer version -----------------------------------------------


def waiting(lesson):
    """What formgrader shows as waiting for somebody."""
    with gradebook.opened(lesson) as book:
        found = book.book.find_submission_notebook(NAME, NAME, "ann").grades
        return {one.name for one in found if one.needs_manual_grade}


@pytest.mark.parametrize(
    ("mark", "newer", "stale"),
    [
        (("open", 1.0, None), dict(answer="Other words."), "open"),
        (("open", 1.0, None), dict(answer="Because. And more."), "open"),
        (("open", 1.0, None), dict(source="def double(x): return x + x"), ""),
        (("double-test", 2.5, None), dict(source=f"{DOUBLE}\n# x"), "double-test"),
        (("double-test", 2.5, None), dict(double=0.0), "double-test"),
        (("double-test", 2.5, None), dict(answer="Other words."), ""),
        (("total-test", None, 0.5), dict(total=0.0), "total-test"),
        (("open", None, 0.5), dict(answer="Other words."), "open"),
    ],
)
def test_points_by_hand_for_an_older_version_are_shown(
    toy, small_course, mark, newer, stale
):
    entered(toy)
    cell, points, extra = mark
    marked(toy, cell, points, extra)
    if cell != "open":
        marked(toy, "open", 1.0)
    assert not entered(toy)  # the same version: nothing changes
    (row,) = exported(small_course)
    assert row["stale"] == row["to_mark"] == "" and not waiting(toy)
    assert entered(toy, **newer)
    (row,) = exported(small_course)
    told = set(row["stale"].split())
    assert (stale in told) if stale else (cell not in told), row
    assert waiting(toy) == told | set(row["to_mark"].split())
    if stale:
        marked(toy, stale)  # formgrader's button "Resolve"
        (row,) = exported(small_course)
        assert stale not in row["stale"].split()


def test_what_nobody_has_marked_is_shown(toy, small_course):
    entered(toy)
    (row,) = exported(small_course)
    assert (row["to_mark"], row["stale"], row["score"]) == ("open", "", "5.0")


def test_points_by_hand_are_stale_when_their_version_is_not_known(toy, small_course):
    entered(toy)
    marked(toy, "open", 1.0)
    shutil.rmtree(small_course / "grading")
    entered(toy)
    (row,) = exported(small_course)
    assert row["stale"] == "open"


# -- the same bytes --------------------------------------------------------------------


def printed(*parts):
    return [{"output_type": "stream", "name": n, "text": t} for n, t in parts]


PICTURE = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "AA=="}}


def test_two_runs_give_the_same_bytes(toy, small_course):
    """How streams interleave, where objects lie and the order of keys do not matter."""
    runs = [
        printed(
            ("stdout", "a <f at 0x7f0012345678>\n"), ("stderr", "w\n"), ("stdout", "b")
        ),
        printed(("stderr", "w\n"), ("stdout", "a <f at 0x55aa12345678>\nb")),
        printed(("stdout", "a <f at 0x7f0012345678>\nb"), ("stderr", "w\n")),
    ]
    runs = [[*streams, PICTURE, *streams] for streams in runs]
    path = small_course / "autograded" / "ann" / NAME / f"{NAME}.ipynb"
    seen = set()
    for run in runs:
        made = record(printed=run)
        shuffled = json.loads(json.dumps(made, sort_keys=True))
        for one in (made, shuffled):
            with gradebook.opened(toy) as book:
                book.write("ann", one)
            seen.add(path.read_bytes())
    assert len(seen) == 1
    text = path.read_text("utf-8")
    assert "0x7f" not in text and text.count("at 0x...") == 2 and "AA==" in text


# -- the CSV ---------------------------------------------------------------------------


def refusing(monkeypatch, number):
    """Files cannot be written: what the system says of a full disk, or another."""

    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fail)


FAULTS = {
    errno.ENOSPC: "disk is full",
    errno.EDQUOT: "quota",
    errno.EROFS: "read-only",
    errno.EACCES: "no right",
    errno.EIO: "fault",
    errno.EMFILE: "open files",
}


@pytest.mark.parametrize("number", FAULTS)
def test_an_export_is_whole_or_not_at_all(
    toy, small_course, monkeypatch, capsys, number
):
    entered(toy)
    target = small_course / "grades.csv"
    target.write_text("old\n")
    with monkeypatch.context() as patched:
        refusing(patched, number)
        assert cli.main(["export", "--to", str(target)]) == 1
    said = capsys.readouterr().err
    assert FAULTS[number] in said and "Expected:" in said and "Do:" in said
    assert "Traceback" not in said and target.read_text() == "old\n"
    assert [p.name for p in small_course.glob(".grades*")] == []
    assert cli.main(["export", "--to", str(target)]) == 0
    assert "ann" in target.read_text()


def test_the_time_of_a_hand_in_reaches_the_book_and_the_export(toy, small_course):
    page = small_course / "submitted" / "ann" / NAME / f"{NAME}.ipynb"
    page.parent.mkdir(parents=True)
    page.write_text("{}", encoding="utf-8")
    when = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)
    os.utime(page, (when.timestamp(), when.timestamp()))
    entered(toy)
    with gradebook.opened(toy) as book:
        book.book.update_or_create_assignment(NAME, duedate=datetime(2026, 11, 3, 9))
        found = book.book.find_submission(NAME, "ann")
        assert found.timestamp == when.replace(tzinfo=None)
        assert found.total_seconds_late == 1800
    target = small_course / "grades.csv"
    assert cli.main(["export", "--to", str(target)]) == 0
    assert "2026-11-03 09:30:00" in target.read_text()


def test_names_with_commas_and_quotes_keep_their_columns(toy, small_course):
    entered(toy)
    with gradebook.opened(toy) as book:
        book.book.update_or_create_student(
            "ann", last_name='O"Hara, Jr.', first_name="Ann\nMarie"
        )
        book.book.update_or_create_student("bob")  # handed in nothing
    rows = {row["student_id"]: row for row in exported(small_course)}
    ann, bob = rows["ann"], rows["bob"]
    assert (ann["last_name"], ann["first_name"]) == ('O"Hara, Jr.', "Ann\nMarie")
    assert (ann["score"], ann["max_score"], bob["score"]) == ("5.0", "6.0", "0.0")


# -- faults of the gradebook -----------------------------------------------------------


def locked(path):
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    return f"sqlite:///{path}?timeout=0.1", "locked", holder.close


def read_only(path):
    address = f"sqlite:///file:{path}?mode=ro&uri=true"
    return address, "cannot be written", lambda: None


def junk(path):
    path.write_bytes(b"no database " * 1000)
    return f"sqlite:///{path}", "no gradebook", lambda: None


def damaged(path):
    content = bytearray(path.read_bytes())
    content[100:9000] = bytes(8900)
    path.write_bytes(content)
    return f"sqlite:///{path}", "damaged", lambda: None


def nowhere(path):
    return f"sqlite:///{path.parent}/no/gradebook.db", "cannot be opened", lambda: None


def silent(path):
    address = "postgresql+psycopg2://a@127.0.0.1:1/b"
    return address, "does not answer", lambda: None


def nonsense(path):
    return "gradebook.db", "its address is none", lambda: None


@pytest.mark.parametrize(
    "fault", [locked, read_only, junk, damaged, nowhere, silent, nonsense]
)
def test_each_fault_of_the_gradebook_has_its_message(toy, small_course, capsys, fault):
    entered(toy)
    address, wrong, end = fault(small_course / "gradebook.db")
    try:
        with pytest.raises(CourseError) as raised:
            entered(toy, db=address, double=1.0)
        said = str(raised.value)
        assert wrong in said and "Expected:" in said and "Do:" in said, said
        code = 0 if fault is read_only else 1  # to read is enough for that
        to = str(small_course / "grades.csv")
        assert cli.main(["export", "--to", to, "--db", address]) == code
        assert "Traceback" not in capsys.readouterr().err
    finally:
        end()


def test_a_full_disk_under_the_gradebook_loses_nothing(toy, small_course):
    """SQLite's own limit of pages says what a full disk says."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    entered(toy)
    before = (small_course / "gradebook.db").stat().st_size // 4096

    def limit(connection, _):
        connection.execute(f"PRAGMA max_page_count={before}")

    event.listen(Engine, "connect", limit)
    try:
        with pytest.raises(CourseError, match="the disk is full(.|\n)*free some space"):
            for n in range(300):
                entered(toy, f"student{n}")
    finally:
        event.remove(Engine, "connect", limit)
    assert scores(toy)["ann"] == 5
    for n in range(3):
        entered(toy, f"student{n}")
    assert scores(toy)["student2"] == scores(toy)["ann"] == 5


def test_a_full_disk_under_the_records_leaves_them_whole(
    toy, small_course, monkeypatch
):
    entered(toy)
    entered(toy, answer="Another.")
    kept = {p: p.read_bytes() for p in small_course.rglob("*.json")}
    with monkeypatch.context() as patched:
        refusing(patched, errno.ENOSPC)
        with pytest.raises(CourseError, match="disk is full"):
            entered(toy, answer="A third.")
    assert {p: p.read_bytes() for p in small_course.rglob("*.json")} == kept
    assert not list(small_course.rglob("*.part"))
    assert entered(toy, answer="A third.") and not entered(toy, answer="A third.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_fault_of_the_disk_ends_grading_with_its_message(
    toy, small_course, monkeypatch, capsys, number
):
    a_class.submit(small_course, {"ann": a_class.WORK["ann"]})
    monkeypatch.setattr(a_class.sandbox, "require", lambda: None)
    refusing(monkeypatch, number)
    assert cli.main(["grade", "90"]) == 1
    said = capsys.readouterr().err
    assert FAULTS[number] in said and "Do:" in said and "Traceback" not in said
    assert not list(small_course.rglob("*.part"))


# -- the class as a whole --------------------------------------------------------------


@needs_sandbox
def test_locked_and_deleted_the_scores_are_the_same(toy, small_course, capsys):
    def graded(*options):
        """`course grade 90`: its exit code, and what it said."""
        code = cli.main(["grade", "90", *options])
        told = capsys.readouterr()
        return code, told.out + told.err

    work = {name: a_class.WORK[name] for name in ("ann", "eve", "fay")}
    points = {name: one[1] for name, one in work.items()}
    a_class.submit(small_course, work)
    holder = sqlite3.connect(small_course / "gradebook.db")
    holder.execute("BEGIN EXCLUSIVE")
    address = f"sqlite:///{small_course}/gradebook.db?timeout=0.1"
    code, said = graded("-j", "2", "--db", address)
    holder.close()
    assert code == 1 and "holds it locked" in said and "Do: close" in said
    code, said = graded("-j", "2")
    assert code == 0 and "as before" in said
    assert scores(toy) == points
    found = small_course.glob(f"autograded/*/{NAME}/*.ipynb")
    autograded = {path: path.read_bytes() for path in found}
    (small_course / "gradebook.db").unlink()
    shutil.rmtree(small_course / "autograded")
    code, said = graded()
    assert code == 0 and said.count("as before") == len(work)
    assert scores(toy) == points
    for path, content in autograded.items():
        assert path.read_bytes() == content


@needs_sandbox
def test_one_student_is_graded_again(toy, small_course, capsys):
    work = {name: a_class.WORK[name] for name in ("ann", "eve")}
    a_class.submit(small_course, work)
    assert cli.main(["grade", "90", "--student", "ann"]) == 0
    assert list(scores(toy)) == ["ann"]
    assert cli.main(["grade", "90", "--student", "ann"]) == 0
    assert "as before" in capsys.readouterr().out
    assert cli.main(["grade", "90", "--student", "ann", "--again"]) == 0
    said = capsys.readouterr().out
    assert "as before" not in said and "1 submissions" in said and "eve" not in said
    assert cli.main(["grade", "90", "--student", "ann", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    kept = json.loads(Journal(toy.name).path("ann").read_text("utf-8"))
    del kept["notebook"]
    assert record == kept and record["points"] == scores(toy)["ann"]
    assert cli.main(["grade", "90", "--student", "nobody"]) == 1
    said = capsys.readouterr().err
    assert "by 'nobody'" in said and "one of ann, eve" in said and "Do:" in said
