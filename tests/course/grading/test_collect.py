"""Collecting: every file of an inbox is accounted for, and no work is lost."""

import bz2
import copy
import gzip
import io
import json
import os
import socket
import stat
import tarfile
import time
import unicodedata
import zipfile
from pathlib import Path

import pytest
from grading_toy import DOUBLE, TOTAL, release, submitted

from course_lib.course import cli
from course_lib.course.grading import archives, attempts, classroom, collect, identity
from course_lib.errors import CourseError

NAME, OTHER = "90_toy", "91_next"
GOOD, EARLY, EMPTY = submitted(DOUBLE, TOTAL, "Why."), submitted(DOUBLE), submitted()
JUNK = b"\0\5\x16\7" + bytes(40)
DAY = 86_400
START = time.mktime((2026, 11, 1, 10, 0, 0, 0, 0, -1))


def other_exercise():
    notebook = json.loads(json.dumps(release()).replace("double", "triple"))
    notebook = json.loads(json.dumps(notebook).replace("total", "mean"))
    notebook["cells"][0]["source"] = "# 91 Exercises: next"
    return notebook


@pytest.fixture
def inbox(small_course):
    """A course with two exercises, and an empty inbox."""
    for name, notebook in ((NAME, release()), (OTHER, other_exercise())):
        folder = small_course / "exercises" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
        (folder / "quiz.json").write_text("[]")
    (small_course / "solutions" / NAME).mkdir(parents=True)
    made = small_course / "inbox"
    made.mkdir()
    return made


def put(path, content=GOOD, when=START):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when, when))
    return path


def zipped(path, members, when=START, compression=zipfile.ZIP_DEFLATED):
    """A zip of {name: bytes, or (bytes, time)}."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            content, at = content if isinstance(content, tuple) else (content, when)
            info = zipfile.ZipInfo(name, time.localtime(at)[:6])
            info.compress_type = compression
            archive.writestr(info, content)
    if path is None:
        return out.getvalue()
    return put(path, out.getvalue(), when + 60)


def tarred(path, members, mode="w:gz", when=START):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if name not in ("link.ipynb", "pipe"):
                info.size, info.mtime = len(content), when
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content, "/etc/passwd"
                archive.addfile(info)
    return put(path, out.getvalue(), when + 60)


def collected(inbox, **options):
    """{learner: bytes that are graded} after collecting, and the rows."""
    rows = collect.collect(NAME, inbox, **options)
    found = classroom.submissions(NAME)
    return {s.student: s.content for s in found if not s.problem}, rows


def files_of(folder):
    return sorted(p for p in Path(folder).rglob("*") if p.is_file())


def state(root):
    files = files_of(root / "submitted")
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


# -- fifteen and more awkward inboxes --------------------------------------------------

MOODLE = "First Last_12345_assignsubmission_file_"
INBOXES = {
    "plain": ({"s1.ipynb": GOOD, f"s2_{NAME}.ipynb": GOOD}, {"s1", "s2"}, 0),
    "capitals": (
        {"s1.IPYNB": GOOD, "s2.ZIP": {f"{NAME}.ipynb": GOOD}, "s3.Ipynb": GOOD},
        {"s1", "s2", "s3"},
        0,
    ),
    "more endings": (
        {"s1.ipynb.txt": GOOD, "s2.ipynb.json": GOOD, "s3.json": GOOD, "s4": GOOD},
        {"s1", "s2", "s3", "s4"},
        0,
    ),
    "made by Finder": (
        {
            "s1.zip": {f"{NAME}.ipynb": GOOD, f"__MACOSX/._{NAME}.ipynb": JUNK},
            "s2.zip": {f"x/{NAME}.ipynb": GOOD, "x/.DS_Store": JUNK, "x/._a": JUNK},
            ".DS_Store": JUNK,
            "Thumbs.db": JUNK,
        },
        {"s1", "s2"},
        0,
    ),
    "whole folders": (
        {
            f"s1/{NAME}.ipynb": GOOD,
            "s1/quiz.json": b"[]",
            f"s2/{NAME}/{NAME}.ipynb": GOOD,
            f"s2/{NAME}/quiz.json": b"[]",
            f"s2/{NAME}/.ipynb_checkpoints/{NAME}-checkpoint.ipynb": EARLY,
        },
        {"s1", "s2"},
        1,  # the quiz at a place where the course has none
    ),
    "the whole course": (
        {
            "s1.zip": {
                f"course/exercises/{OTHER}/{OTHER}.ipynb": None,
                f"course/exercises/{NAME}/{NAME}.ipynb": GOOD,
                f"course/exercises/{NAME}/quiz.json": b"[]",
                "course/.git/config": b"x",
                "course/.venv/lib/a.ipynb": GOOD,
            }
        },
        {"s1"},
        0,
    ),
    "archives in archives": (
        {"s1.zip": {"a/work.zip": {f"b/{NAME}.ipynb": GOOD}}},
        {"s1"},
        0,
    ),
    "an archive called a notebook": (
        {"s1.ipynb": {f"{NAME}.ipynb": GOOD}},
        {"s1"},
        0,
    ),
    "Canvas": (
        {
            "silvaana_4711_90001_90_toy.ipynb": EARLY,
            "silvaana_4711_90002_90_toy-1.ipynb": GOOD,
            "bob_LATE_4712_90003_my work.zip": {"x/work.ipynb": GOOD},
        },
        {"silvaana", "bob"},
        0,
    ),
    "Moodle": (
        {f"{MOODLE}/{NAME}.ipynb": GOOD, "bo_777_assignsubmission_file_/w.ipynb": GOOD},
        {identity.folder_of("First Last"), "bo"},
        0,
    ),
    "Blackboard": (
        {
            f"{NAME}_ab12_attempt_2026-11-01-10-00-00_x.ipynb": EARLY,
            f"{NAME}_ab12_attempt_2026-11-02-09-00-00_x.ipynb": GOOD,
            f"{NAME}_ab12_attempt_2026-11-02-09-00-00.txt": b"Name: ...",
        },
        {"ab12"},
        0,
    ),
    "Brightspace and Sakai": (
        {
            f"345-67 - Al - Nov 1, 2026 1030 AM/{NAME}.ipynb": GOOD,
            f"Silva, Ana(asilva)/Submission attachment(s)/{NAME}.ipynb": GOOD,
        },
        {"Al", "asilva"},
        0,
    ),
    "browsers and Colab": (
        {
            "s1 (2).ipynb": GOOD,
            "s1.ipynb": EARLY,
            "s2 - Copy.ipynb": GOOD,
            "s3-Copy1.ipynb": GOOD,
            f"s4/Copy of {NAME}.ipynb": GOOD,
            f"Copy of {NAME}_s5.ipynb": GOOD,
        },
        {"s1", "s2", "s3", "s4", "s5"},
        0,
    ),
    "nbgitpuller": (  # it moves the work aside and pulls the exercise anew
        {
            f"s1/{NAME}.ipynb": (EMPTY, START + DAY),
            f"s1/{NAME}_20261101100000.ipynb": GOOD,
        },
        {"s1"},
        0,
    ),
    "nbgrader": (
        {
            f"s1+{NAME}+2026-11-02 10:00:00.000000 UTC+x/{NAME}.ipynb": GOOD,
            f"s1+{NAME}+2026-11-01 10:00:00.000000 UTC/{NAME}.ipynb": EARLY,
            f"s2/{NAME}/{NAME}.ipynb": GOOD,
            f"s3_{NAME}.ipynb": GOOD,
        },
        {"s1", "s2", "s3"},
        0,
    ),
    "names by Windows and old Macs": (
        {
            "s1.zip": {f"{NAME}\\{NAME}.ipynb": GOOD},
            "s2 (copy).ipynb": GOOD,
            "s3 copy 2.ipynb": GOOD,
            "s4 - Kopie.ipynb": GOOD,
            "s5.ipynb.zip": {f"{NAME} 2.ipynb": GOOD},
        },
        {"s1", "s2", "s3", "s4", "s5"},
        0,
    ),
    "tar": ({"s1.tar.gz": "tar", "s2.tgz": "tar"}, {"s1", "s2"}, 1),
    "one file packed": (
        {"s1.ipynb.gz": gzip.compress(GOOD), "s2.ipynb.bz2": bz2.compress(GOOD)},
        {"s1", "s2"},
        0,
    ),
    "names of people": (
        {
            "José.ipynb": GOOD,
            "Anna Lena.ipynb": GOOD,
            "李雷.ipynb": GOOD,
            "Ø.zip": GOOD,
        },
        {identity.folder_of(n) for n in ("José", "Anna Lena", "李雷", "Ø")},
        0,
    ),
    "several notebooks": (
        {
            "s1.zip": {
                f"{NAME}.ipynb": GOOD,
                f"{OTHER}.ipynb": json.dumps(other_exercise()).encode(),
                "notes.ipynb": b'{"cells": [], "nbformat": 4}',
            }
        },
        {"s1"},
        1,
    ),
    "other formats": (
        {
            "s1.ipynb": GOOD,
            "s2.rar": b"Rar!\x1a\7" + JUNK,
            "s3.7z": b"7z\xbc\xaf" + JUNK,
        },
        {"s1"},
        1,
    ),
}


def fill(inbox, content):
    for name, what in content.items():
        if isinstance(what, dict):
            zipped(inbox / name, {k: filled(k, v) for k, v in what.items()})
        elif what == "tar":
            tarred(inbox / name, {f"x/{NAME}.ipynb": GOOD, "x/a.png": b"1"})
        else:
            put(inbox / name, *(what if isinstance(what, tuple) else (what,)))


def filled(name, content):
    if isinstance(content, dict):
        return zipped(None, content)
    if content is None:
        return json.dumps(other_exercise()).encode()
    return content


@pytest.mark.parametrize("name", INBOXES)
def test_every_learners_work_is_found_in_an_awkward_inbox(name, inbox, small_course):
    """The right work counts, each file has its row, and again changes nothing."""
    content, learners, code = INBOXES[name]
    fill(inbox, content)
    found, rows = collected(inbox)
    assert found == dict.fromkeys(learners, GOOD)
    assert any(one.problem for one in rows) == bool(code)
    sources = " ".join(one.source for one in rows)
    for path in inbox.rglob("*"):
        if path.is_file():
            assert unicodedata.normalize("NFC", path.name) in sources
    before = state(small_course)
    again = collect.collect(NAME, inbox)
    assert state(small_course) == before
    assert [r.problem for r in again] == [r.problem for r in rows]
    results = {r.result for r in again if not r.problem and not r.is_ignored}
    assert results <= {"as before"} or any("name" in r for r in results)


# -- who is who ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, learner",
    [
        ("bob_2_90_toy.ipynb", "bob_2"),
        ("de_la_cruz_4712_90003_x-2.zip", "de_la_cruz"),
        ("90-toy-ann", "ann"),
        ("Ann - 90 Toy (1).ipynb", "Ann"),
        ("ann_ex90.ipynb", "ann"),
        ("12345678.ipynb", "12345678"),
        ("ann.smith@uni.edu.ipynb", "ann.smith@uni.edu"),
        ("90_toy.ipynb", ""),
        ("90_toy - Copy (2).ipynb", ""),
        ("Kopie von 90_toy.ipynb", ""),
        ("submissions.zip", ""),
        ("final_v2.ipynb", ""),
        ("hardcopy.ipynb", "hardcopy"),
        ("s1 (Ann's conflicted copy 2026-11-02).ipynb", "s1"),
        ("s1 (conflicted copy 2026-11-02 101500).ipynb", "s1"),
        ("90_toy (Ann Conflict).ipynb", ""),
        ("s1.sync-conflict-20261102-101500-ABCDEF7.ipynb", "s1"),
        ("conflict.ipynb", "conflict"),
        ("_" * 250, ""),
        ("0" * 255, "0" * 255),
        ("-0_" * 80, ""),
    ],
)
def test_names_say_who(name, learner):
    assert identity.parse(name, NAME).learner == learner


def test_two_people_never_share_a_folder(inbox):
    nfd = unicodedata.normalize("NFD", "José")
    for who in (
        "Ana",
        "ana",
        "José",
        "Jose",
        "A na",
        "Li_111_22222_w",
        "Li_333_44444_w",
    ):
        put(inbox / f"{who}.ipynb", submitted(DOUBLE, open=who))
    put(inbox / f"{nfd} (1).ipynb", submitted(DOUBLE, TOTAL, "same person"))
    found, rows = collected(inbox)
    assert len(found) == 7 and {"Ana", "ana", "Jose", "Li-111", "Li-333"} <= set(found)
    assert b"same person" in found[identity.folder_of("José")]
    told = [r.result for r in rows if r.student in ("Ana", "ana", "Jose")]
    assert all("kept apart from" in one for one in told)


def test_a_mapped_name_cannot_be_taken_by_another(inbox):
    taken = identity.folder_of("Ana María")
    put(inbox / "Ana María.ipynb")
    put(inbox / f"{taken}.ipynb", EARLY)
    found, _ = collected(inbox)
    assert found[taken] == GOOD and sorted(found.values()) == sorted([GOOD, EARLY])


def test_two_of_one_name_are_told_apart_in_a_later_inbox(inbox):
    put(inbox / "li_111_22222_w.ipynb")
    collected(inbox)
    (inbox / "li_111_22222_w.ipynb").unlink()
    put(inbox / "li_333_44444_w.ipynb", EARLY)
    found, rows = collected(inbox)
    assert found == {"li": GOOD, "li-333": EARLY}
    assert "kept apart from li" in rows[0].result


def test_a_roster_settles_what_no_rule_can(inbox, tmp_path):
    put(inbox / f"{NAME} (1).ipynb")
    put(inbox / "Work of 77.zip", zipped(None, {"a.ipynb": GOOD}))
    put(inbox / "li_333_44444_w.ipynb")
    put(inbox / "Ana.ipynb", EARLY), put(inbox / "ana.ipynb", GOOD, START + 9)
    roster = tmp_path / "roster.csv"
    roster.write_text(
        f"﻿Name;Pattern;Learner\n{NAME} (1).ipynb;;ann\n;*of 77*;bob\n333;;cem\n"
        "Ana;;dan\nana;;dan\nnobody;;eve\n",
        encoding="utf-8",
    )
    found, rows = collected(inbox, roster=roster)
    assert found == dict.fromkeys(("ann", "bob", "cem", "dan"), GOOD)
    assert [(r.student, r.problem) for r in rows if r.problem] == [
        ("eve", "nothing in the inbox has this name")
    ]


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "cannot be read"),
        ("file\nx\n", "has the columns"),
        ("who,what\nx,y\n", "name the columns"),
        ("name,learner\nx,../up\n", "is no learner's name"),
        ("name,learner\n,ann\n", "no name"),
        ("name,learner\ns1,ann\ns1.ipynb,bob\n", "several learners"),
        ("pattern,learner\ns*,ann\n*1*,bob\n", "several learners"),
    ],
)
def test_a_roster_that_cannot_be_used_says_why(text, said, inbox, tmp_path):
    put(inbox / "s1.ipynb")
    (tmp_path / "roster.csv").write_text(text)
    with pytest.raises(CourseError, match=said) as raised:
        collect.collect(NAME, inbox, roster=tmp_path / "roster.csv")
    assert "Do:" in str(raised.value) and not classroom.submissions(NAME)


# -- attempts --------------------------------------------------------------------------


def test_the_newest_attempt_counts_and_the_others_are_kept(inbox, small_course):
    put(inbox / "s1.ipynb", EARLY, START)
    zipped(inbox / "s1.zip", {f"{NAME}.ipynb": (GOOD, START - DAY)}, START + DAY)
    put(inbox / "s1" / f"{NAME}.ipynb", submitted(TOTAL, TOTAL), START + 2 * DAY)
    found, rows = collected(inbox)
    assert found["s1"] == submitted(TOTAL, TOTAL)
    kept = files_of(small_course / "submitted" / "s1" / NAME / "attempts")
    assert sorted(p.read_bytes() for p in kept[:2]) == sorted([EARLY, GOOD])
    assert sum("kept as attempts/" in r.result for r in rows) == 2


@pytest.mark.parametrize("later", [-1, 1])
def test_a_later_inbox_obeys_the_same_rule(later, inbox, small_course):
    put(inbox / "s1.ipynb", EARLY, START)
    collected(inbox)
    second = small_course / "inbox2"
    put(second / f"s1_{NAME}.ipynb", GOOD, START + later * DAY)
    found, rows = collected(second)
    assert found["s1"] == (GOOD if later > 0 else EARLY)
    (kept,) = (small_course / "submitted").glob("s1/*/attempts/*.ipynb")
    assert kept.read_bytes() == (EARLY if later > 0 else GOOD)
    assert kept.name in rows[0].result and not rows[0].problem


def test_what_already_lies_there_is_kept(inbox, small_course):
    own = put(small_course / "submitted" / "s1" / NAME / f"{NAME}.ipynb", EARLY)
    put(inbox / "s1.ipynb", GOOD, START + DAY)
    found, _ = collected(inbox)
    assert found["s1"] == GOOD
    own.write_bytes(submitted("# corrected by the instructor\n" + DOUBLE))
    put(inbox / "s1 (1).ipynb", submitted(DOUBLE, TOTAL), START + 2 * DAY)
    collected(inbox)
    texts = [p.read_bytes() for p in (small_course / "submitted").rglob("*.ipynb")]
    assert len(texts) == 4 and EARLY in texts
    assert any(b"corrected by the instructor" in text for text in texts)


def test_an_empty_or_damaged_attempt_replaces_no_answers(inbox, small_course):
    put(inbox / "s1.ipynb", GOOD, START)
    put(inbox / "s1 (1).ipynb", EMPTY, START + DAY)
    put(inbox / "s1 (2).ipynb", b'{"cells": [', START + 2 * DAY)
    put(inbox / "s1 (3).ipynb", b"", START + 3 * DAY)
    found, rows = collected(inbox)
    assert found == {"s1": GOOD}
    assert [bool(r.problem) for r in rows] == [False, True, True, False]
    assert "no valid JSON" in " ".join(r.problem for r in rows)


def test_numbers_of_a_platform_count_before_times(inbox):
    put(inbox / "s1_4711_90002_w-1.ipynb", GOOD, START)
    put(inbox / "s1_4711_90001_w.ipynb", EARLY, START + DAY)  # unpacked later
    put(inbox / "90_toy_s2_attempt_2026-11-02-10-00-00_w.ipynb", GOOD, START)
    put(inbox / "90_toy_s2_attempt_2026-11-01-10-00-00_w.ipynb", EARLY, START + DAY)
    assert collected(inbox)[0] == {"s1": GOOD, "s2": GOOD}


def test_a_killed_collection_goes_on(inbox, small_course, monkeypatch):
    """Killed before the log was written: nothing is lost, nothing counted twice."""
    put(inbox / "s1.ipynb", EARLY, START)
    collected(inbox)
    put(inbox / "s1 (1).ipynb", GOOD, START + DAY)
    with monkeypatch.context() as patched:
        patched.setattr(attempts, "write_log", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            collect.collect(NAME, inbox)
    found, _ = collected(inbox)
    assert found == {"s1": GOOD}
    assert len(list((small_course / "submitted").rglob("*.ipynb"))) == 2


# -- one learner an archive ------------------------------------------------------------

CLASS = {f"{s}/{NAME}/{NAME}.ipynb": GOOD for s in ("s1", "s2", "s3")}


def test_a_class_in_one_archive_is_collected_when_asked(inbox, capsys):
    zipped(inbox / "submissions.zip", CLASS)
    found, rows = collected(inbox)
    assert found == {} and len(rows) == 3 and all(r.problem for r in rows)
    assert "--class-archive submissions.zip" in rows[0].problem
    assert cli.main(["collect", "90", "--from", str(inbox)]) == 1
    assert "of 3 learners" in " ".join(capsys.readouterr().out.split()).replace(
        "│ ", ""
    )
    for option in (["--class-archive"], ["--class-archive", "submissions.zip"]):
        assert cli.main(["collect", "90", "--from", str(inbox), *option]) == 0
    assert {s.student for s in classroom.submissions(NAME)} == {"s1", "s2", "s3"}


@pytest.mark.parametrize(
    "members",
    [
        {f"spring/{s}.ipynb": GOOD for s in ("s1", "s2", "s3")},
        {f"x/y/{s}_47{s[1]}1_90001_w.ipynb": GOOD for s in ("s1", "s2", "s3")},
        {
            f"{s}_{s[1]}23_assignsubmission_file_/w.ipynb": GOOD
            for s in ("s1", "s2", "s3")
        },
        {f"{s}.zip": {f"{NAME}.ipynb": GOOD} for s in ("s1", "s2", "s3")},
        {**CLASS, "s1/__MACOSX/._x.ipynb": JUNK, "s2/.DS_Store": JUNK},
    ],
)
def test_class_archives_of_several_forms(members, inbox):
    fill(inbox, {"Download.zip": members})
    found, rows = collected(inbox, class_archives=["Download.zip"])
    assert found == dict.fromkeys(("s1", "s2", "s3"), GOOD)
    assert not any(r.problem for r in rows)


def test_an_archive_never_replaces_the_work_of_others(inbox):
    for victim in ("s2", "s3"):
        put(inbox / f"{victim}.ipynb")
    late = (EARLY, START + DAY)
    members = {f"{s}/{NAME}.ipynb": late for s in ("s1", "s2", "s3")}
    zipped(inbox / "s1.zip", members, START + 2 * DAY)
    zipped(inbox / "s4.zip", {f"s2/{NAME}.ipynb": late}, START + 2 * DAY)
    zipped(inbox / f"{NAME}.zip", {f"s3/{NAME}.ipynb": late}, START + 2 * DAY)
    found, rows = collected(inbox)
    assert found == {"s1": EARLY, "s2": GOOD, "s3": GOOD, "s4": EARLY}
    left = [r for r in rows if r.problem]
    assert len(left) == 3 and sum("one learner's" in r.problem for r in left) == 2
    assert sum("no learner's name" in r.problem for r in left) == 1


def test_a_folder_of_several_learners_is_told(inbox):
    for who in ("s1", "s2"):
        put(inbox / "submissions" / who / f"{NAME}.ipynb")
    found, rows = collected(inbox)
    assert found == {} and all(r.problem for r in rows)
    assert f"--from {inbox}/submissions" in rows[0].problem


# -- archives that harm ----------------------------------------------------------------


def test_copies_of_synchronised_folders_are_attempts(inbox):
    """The newest counts, though the program that made it put a name into its own."""
    put(inbox / "s1" / f"{NAME}.ipynb", EARLY)
    name = f"{NAME} (Ann's conflicted copy 2026-11-02).ipynb"
    put(inbox / "s1" / name, GOOD, START + DAY)
    put(inbox / "s2" / f"{NAME}.ipynb", EARLY)
    name = f"{NAME}.sync-conflict-20261102-101500-ABCDEF7.ipynb"
    put(inbox / "s2" / name, GOOD, START + DAY)
    found, rows = collected(inbox)
    assert found == {"s1": GOOD, "s2": GOOD} and not any(r.problem for r in rows)


def test_one_hand_in_of_very_many_notebooks_is_bounded(inbox, monkeypatch):
    """Each of them is told, in few lines; others' work is not concerned."""
    monkeypatch.setattr(collect, "MAX_NOTEBOOKS", 5)
    members = {f"{'x/' * i}{NAME}.ipynb": GOOD + b" " * i for i in range(40)}
    zipped(inbox / "s1.zip", members)
    put(inbox / "s2.ipynb")
    found, rows = collected(inbox)
    assert set(found) == {"s1", "s2"} and len(rows) == 41
    assert sum("Looked into: 5" in r.problem for r in rows) == 35
    assert len(collect.grouped(rows)) < 10
    assert len(list((inbox.parent / "submitted/s1").rglob("*.ipynb"))) <= 5


@pytest.mark.parametrize("name", ["s1.zip", "s1.tar.gz", "s1.tgz", "s1.bz2"])
@pytest.mark.parametrize("content", [b"<html>Please log in", b"MZ" * 99, bytes(99)])
def test_what_is_called_an_archive_and_is_none_has_a_record(name, content, inbox):
    put(inbox / name, content)
    _, rows = collected(inbox)
    (one,) = classroom.submissions(NAME)
    assert one.student == "s1" and "ask for another" in one.problem
    assert [r.student for r in rows] == ["s1"] and rows[0].problem


def test_limits_of_archives_are_kept(inbox, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    monkeypatch.setattr(archives, "MAX_UNPACKED", 3_000_000)
    monkeypatch.setattr(archives, "FREE", 100_000)
    noise = os.urandom(1_500_000)
    zipped(inbox / "ratio.zip", {"a.ipynb": bytes(2_000_000)})
    zipped(inbox / "many.zip", {f"{n}": b"" for n in range(60)})
    zipped(inbox / "size.zip", {f"{n}.ipynb": noise for n in range(3)}, compression=0)
    inner = zipped(None, {f"{n}.ipynb": noise for n in range(2)}, compression=0)
    zipped(inbox / "nested.zip", {"a.zip": inner}, compression=0)
    tarred(inbox / "tar.tar.gz", {"a.ipynb": bytes(2_000_000)})
    deep = zipped(None, {f"{NAME}.ipynb": GOOD})
    for _ in range(5):
        deep = zipped(None, {"a.zip": deep})
    put(inbox / "deep.zip", deep)
    put(inbox / "fine.ipynb")
    found, rows = collected(inbox)
    assert found == {"fine": GOOD}
    told = {r.student: r.problem for r in rows if r.problem}
    assert "200 times" in told["ratio"] and "50 members" in told["many"]
    assert "3 MB" in told["size"] and "3 MB" in told["nested"]
    assert "200 times" in told["tar"] and "archives in archives" in told["deep"]


def test_the_whole_inbox_has_a_limit(inbox, monkeypatch):
    monkeypatch.setattr(archives, "MAX_INBOX", int(2.5 * len(GOOD)))
    for n in range(4):
        zipped(inbox / f"s{n}.zip", {f"{NAME}.ipynb": GOOD})
    found, rows = collected(inbox)
    assert set(found) == {"s0", "s1"}
    assert all("the inbox" in r.problem for r in rows if r.student in ("s2", "s3"))


def test_a_damaged_member_is_its_own_row(inbox):
    path = zipped(inbox / "s1.zip", {"bad.ipynb": GOOD, f"{NAME}.ipynb": GOOD})
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    put(path, bytes(content))
    put(inbox / "s2.zip", b"PK\x03\x04" + bytes(100))
    put(inbox / "s3.tar", b"x" * 257 + b"ustar" + b"x" * 3000)
    put(inbox / "s4.ipynb.gz", gzip.compress(GOOD)[:-30])
    found, rows = collected(inbox)
    assert found == {"s1": GOOD}
    told = {r.source: r.problem for r in rows}
    assert "damaged" in told["s1.zip/bad.ipynb"] and not told[f"s1.zip/{NAME}.ipynb"]
    assert all("damaged" in told[x] for x in ("s2.zip", "s3.tar", "s4.ipynb.gz"))


def test_locked_archives_and_unusual_packing_are_told(inbox):
    content = bytearray(zipped(None, {f"{NAME}.ipynb": GOOD}))
    for at in (6, content.rfind(b"PK\x01\x02") + 8):
        content[at] |= 1  # the bit that says: locked
    put(inbox / "s1.zip", bytes(content))
    zipped(inbox / "s2.zip", {f"{NAME}.ipynb": GOOD}, compression=zipfile.ZIP_LZMA)
    found, rows = collected(inbox)
    assert found == {}
    assert "password" in rows[0].problem and "method" in rows[1].problem


def test_only_regular_files_are_opened(inbox):
    os.mkfifo(inbox / "pipe.ipynb")
    os.mkfifo(inbox / "deep.zip")
    (inbox / "link.ipynb").symlink_to("/etc/passwd")
    (inbox / "up").symlink_to("/etc")
    with socket.socket(socket.AF_UNIX) as listening:
        here = os.getcwd()
        os.chdir(inbox)
        listening.bind("socket.ipynb")
        os.chdir(here)
        (inbox / "s1").mkdir()
        os.mkfifo(inbox / "s1" / "a.ipynb")
        (inbox / "s1" / "all").symlink_to("/")
        put(inbox / "s1" / f"{NAME}.ipynb")
        tarred(
            inbox / "s2.tar",
            {"link.ipynb": tarfile.SYMTYPE, "pipe": tarfile.FIFOTYPE},
            "w",
        )
        linked = zipfile.ZipInfo("a.ipynb")
        linked.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(inbox / "s3.zip", "w") as archive:
            archive.writestr(linked, "/etc/passwd")
        found, rows = collected(inbox)
    assert found == {"s1": GOOD}
    told = {r.source: r.problem for r in rows}
    wanted = [
        "pipe.ipynb",
        "deep.zip",
        "link.ipynb",
        "up",
        "socket.ipynb",
        "s1/a.ipynb",
    ]
    wanted += ["s1/all", "s2.tar/link.ipynb", "s2.tar/pipe", "s3.zip/a.ipynb"]
    assert [name for name in wanted if "no regular file" not in told[name]] == []


def test_names_are_shown_without_control_characters(inbox, capsys):
    odd = "s1\x1b]8;;evil\x07\u202eok\x9b2J"
    put(inbox / f"{odd}.ipynb")
    zipped(inbox / "s2.zip", {f"\x1b[2J/{NAME}.ipynb": GOOD, "\x1b[31mred.txt": b"1"})
    assert cli.main(["collect", "90", "--from", str(inbox)]) == 1
    said = capsys.readouterr().out
    assert not [c for c in said if not c.isprintable() and c != "\n"]
    assert "x1b" in said
    assert all(s.content == GOOD for s in classroom.submissions(NAME))


def test_undecodable_names_are_mapped(inbox):
    path = os.path.join(os.fsencode(inbox), b"caf\xe9.ipynb")
    with open(path, "wb") as stream:
        stream.write(GOOD)
    found, rows = collected(inbox)
    assert list(found.values()) == [GOOD] and rows[0].source.isprintable()


# -- what is told ----------------------------------------------------------------------


def test_a_learner_of_whom_nothing_can_be_read_has_a_record(inbox):
    put(inbox / "s1.zip", b"PK\x03\x04" + bytes(100))
    zipped(inbox / "s2.zip", {"notes.pdf": b"%PDF", "a.py": b"x = 1"})
    put(inbox / "s3" / ".ipynb_checkpoints" / f"{NAME}-checkpoint.ipynb")
    put(inbox / "s4.ipynb", b"%PDF-1.4")
    _, rows = collected(inbox)
    told = {s.student: s.problem for s in classroom.submissions(NAME)}
    assert "damaged" in told["s1"] and "no notebook" in told["s2"]
    assert "no notebook" in told["s3"] and set(told) == {"s1", "s2", "s3", "s4"}
    assert "a PDF page" in next(r.problem for r in rows if r.student == "s4")


@pytest.mark.parametrize(
    "name, said",
    [
        ("s1.html", "a page made from a notebook"),
        ("s1.py", "a script"),
        ("s1.docx", "a document"),
        ("s1.rar", "RAR"),
        ("s1.tar.xz", "xz"),
        ("s1.csv", "no notebook"),
        (
            "First_9_assignsubmission_onlinetext_/onlinetext.html",
            "typed on the platform",
        ),
        (f"{NAME}.ipynb", "no learner's name"),
        (f"s1_{OTHER}.ipynb", OTHER),
    ],
)
def test_what_is_left_out_says_why(name, said, inbox):
    is_other = OTHER in name
    put(inbox / name, json.dumps(other_exercise()).encode() if is_other else b"{}")
    found, rows = collected(inbox)
    assert found == {} and any(said in r.problem for r in rows)


def test_another_exercise_is_not_taken_by_its_name(inbox):
    """Not by a wrong name, and not for want of the right one."""
    put(inbox / f"s1_{NAME}.ipynb", json.dumps(other_exercise()).encode())
    renamed = json.loads(GOOD)
    renamed["cells"][0]["source"] = "# 91 Exercises: next"
    put(inbox / "s2" / f"{OTHER}.ipynb", json.dumps(renamed).encode())
    put(inbox / "s3" / f"{OTHER}.ipynb", GOOD)  # this one, under a wrong name
    stripped = copy.deepcopy(json.loads(GOOD))
    for cell in stripped["cells"]:
        cell["metadata"] = {}
        cell.pop("id")
    put(inbox / "s4" / "work.ipynb", json.dumps(stripped).encode())
    put(inbox / "s4" / "notes.ipynb", b'{"cells": []}')
    found, _ = collected(inbox)
    assert set(found) == {"s3", "s4"} and found["s3"] == GOOD


def test_the_notebook_of_the_lesson_is_not_its_exercise(inbox, small_course):
    """Not even when it was run last, and defines what the exercise asks for."""
    cells = [{"cell_type": "markdown", "id": "idea", "source": "# 90 Toy"}]
    cells += [
        {"cell_type": "code", "id": f"part-{i}", "source": source}
        for i, source in enumerate((DOUBLE, TOTAL, "double(2)"))
    ]
    lesson = {"cells": cells, "metadata": {}, "nbformat": 4}
    put(small_course / "notebooks" / f"{NAME}.ipynb", json.dumps(lesson).encode())
    ran = json.dumps(lesson | {"metadata": {"run": 1}}).encode()
    put(inbox / "s1" / "notebooks" / f"{NAME}.ipynb", ran, START + DAY)
    put(inbox / "s1" / "exercises" / NAME / f"{NAME}.ipynb")
    put(inbox / "s1" / "exercises" / NAME / ".released.ipynb", EMPTY)
    put(inbox / "s2.ipynb", ran)
    found, rows = collected(inbox)
    assert found == {"s1": GOOD}
    left = [r for r in rows if r.problem]
    assert len(left) == 2 and all("a lesson's notebook" in r.problem for r in left)


def test_a_copy_of_the_course_is_known_file_by_file(inbox, small_course):
    for name in ("course_lib/__init__.py", "Makefile", "data/a.npz"):
        put(small_course / name, b"x")
        put(inbox / "s1" / "my course" / name, b"x")
    put(inbox / "s1" / "my course" / "exercises" / NAME / f"{NAME}.ipynb")
    put(inbox / "s1" / "my course" / "essay.txt", b"words")
    found, rows = collected(inbox)
    assert found == {"s1": GOOD}
    assert [r.source.rpartition("/")[2] for r in rows if r.problem] == ["essay.txt"]


def test_the_list_holds_every_file_and_the_table_stays_short(inbox, tmp_path, capsys):
    members = {f"pictures/{n}.png": b"1" for n in range(30)}
    zipped(inbox / "s1.zip", {**members, f"{NAME}.ipynb": GOOD, "=cmd()": b"1"})
    to = tmp_path / "all.csv"
    assert cli.main(["collect", "90", "--from", str(inbox), "--list", str(to)]) == 1
    said = capsys.readouterr().out
    assert "30 files" in said and len(said.splitlines()) < 20
    assert len(to.read_text().splitlines()) == 33
    assert cli.main(["collect", "90", "--from", str(inbox), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 32 and set(rows[0]) == {"learner", "file", "result"}
    assert sorted(row["file"].partition("/")[2] for row in rows) == sorted(
        [*members, f"{NAME}.ipynb", "=cmd()"]
    )


def test_damaged_records_and_places_that_are_taken_are_told(inbox, small_course):
    put(inbox / "s1.ipynb"), put(inbox / "s2.ipynb"), put(inbox / "s3.ipynb")
    root = small_course / "submitted"
    put(root / "s1", b"a file in the place of a folder")
    put(root / "s2" / NAME / "attempts" / "attempts.json", b'[1, {"sha256": 2}, {}]')
    (root / "s3").mkdir()
    (root / "s3" / NAME).symlink_to(inbox)
    found, rows = collected(inbox)
    assert found == {"s2": GOOD}
    assert [bool(r.problem) for r in rows] == [True, False, True]
    for damaged in (b"{", b"[]", b'{"s1": 1}', b'{"s1": {"name": 1, "users": {}}}'):
        put(root / "learners.json", damaged)
        with pytest.raises(CourseError, match="is damaged"):
            collect.collect(NAME, inbox)


def test_a_full_or_locked_disk_is_told_and_nothing_is_lost(inbox, monkeypatch):
    put(inbox / "s1.ipynb"), zipped(inbox / "s2.zip", {f"{NAME}.ipynb": GOOD})

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(attempts, "atomic_write_bytes", full)
        with pytest.raises(CourseError, match="No space left"):
            collect.collect(NAME, inbox)
    with monkeypatch.context() as patched:
        patched.setattr(archives, "open", full, raising=False)
        with pytest.raises(CourseError, match="No space left"):
            collect.collect(NAME, inbox)
    assert collected(inbox)[0] == {"s1": GOOD, "s2": GOOD}


def test_a_missing_folder_and_wrong_options_say_what_to_do(inbox, capsys):
    (inbox.parent / "submitted").mkdir()
    for options, said in (
        (["--from", str(inbox / "no")], "is no folder"),
        (["--from", str(inbox), "--class-archive", "x.zip"], "is not in"),
        (["--from", str(inbox.parent / "submitted")], "where collected work lies"),
        (["--roster", "x.csv"], "--from as well"),
        (["--from", str(inbox), "--roster", "x.csv"], "No such file"),
    ):
        assert cli.main(["collect", "90", *options]) == 1
        told = capsys.readouterr().err
        assert said in told and "Expected:" in told and "Do:" in told
