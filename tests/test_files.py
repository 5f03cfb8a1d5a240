"""Paths, atomic writes, the manifest, profiles."""

import os

import pytest

from course_lib import files, paths, profiles
from course_lib.errors import CourseError


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder elsewhere, with one listed file."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    files.atomic_write_bytes(tmp_path / "data" / "sets" / "a.npz", b"as shipped")
    files.update_manifest(["sets/a.npz"], made_by="course data rebuild a")
    return tmp_path / "data"


def test_sha256_is_the_published_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae22")


def test_the_manifest_lists_what_was_written(data):
    entry = files.manifest()["sets/a.npz"]
    assert entry["bytes"] == 10
    assert entry["made_by"] == "course data rebuild a"
    assert files.verified("sets/a.npz").read_bytes() == b"as shipped"
    assert files.verified("data/sets/a.npz") == files.verified(data / "sets/a.npz")


def test_updating_keeps_other_entries_and_is_repeatable(data):
    files.atomic_write_bytes(data / "b.json", b"{}")
    files.update_manifest([data / "b.json"], made_by="by hand")
    first = (data / files.MANIFEST).read_bytes()
    files.update_manifest(["b.json"], made_by="by hand")
    assert set(files.manifest()) == {"sets/a.npz", "b.json"}
    assert (data / files.MANIFEST).read_bytes() == first


@pytest.mark.parametrize("content", [b"as shippe", b"As shipped", b""])
def test_a_damaged_file_is_named_with_its_repair(data, content):
    files.verified("sets/a.npz")
    (data / "sets/a.npz").write_bytes(content)
    os.utime(data / "sets/a.npz", (1, 1))
    with pytest.raises(CourseError) as caught:
        files.verified("sets/a.npz")
    said = str(caught.value)
    assert "data/sets/a.npz is damaged" in said
    assert "git checkout -- data/sets/a.npz" in said
    assert "course data rebuild a" in said


def test_a_missing_file_is_named(data):
    (data / "sets/a.npz").unlink()
    with pytest.raises(CourseError, match=r"data/sets/a\.npz is missing"):
        files.verified("sets/a.npz")


def test_a_repaired_file_is_accepted_again(data):
    (data / "sets/a.npz").write_bytes(b"xx shipped")
    with pytest.raises(CourseError):
        files.verified("sets/a.npz")
    files.atomic_write_bytes(data / "sets/a.npz", b"as shipped")
    assert files.verified("sets/a.npz")


def test_unlisted_files_and_other_folders_are_refused(data, tmp_path):
    with pytest.raises(CourseError, match="not listed"):
        files.verified("sets/other.npz")
    with pytest.raises(CourseError, match="does not lie in"):
        files.verified(tmp_path / "elsewhere")


@pytest.mark.parametrize("content", [None, "{half"])
def test_a_lost_or_broken_manifest_is_an_error_with_advice(data, content):
    (data / files.MANIFEST).unlink()
    if content is not None:
        (data / files.MANIFEST).write_text(content)
    with pytest.raises(CourseError, match=r"git checkout -- data/manifest\.json"):
        files.manifest()


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = files.atomic_write_bytes(tmp_path / "a", b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError):
        files.atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_json_is_written_the_same_way_each_time(tmp_path):
    path = files.atomic_write_json(tmp_path / "x.json", {"b": [1.5], "a": "α"})
    assert path.read_text("utf-8") == '{\n "a": "α",\n "b": [\n  1.5\n ]\n}\n'


# -- paths ------------------------------------------------------------------------


def test_the_repository_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    root = paths.find_root()
    assert (root / "data").is_dir() and (root / "course_lib").is_dir()


def test_course_root_wins_and_a_wrong_one_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path))
    assert paths.find_root() == tmp_path.resolve()
    monkeypatch.setenv("COURSE_ROOT", str(tmp_path / "data"))
    with pytest.raises(CourseError, match="holds no data/ folder"):
        paths.find_root()


def test_a_package_without_data_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_ROOT", raising=False)
    monkeypatch.setattr(paths, "__file__", str(tmp_path / "lib/course_lib/paths.py"))
    with pytest.raises(CourseError, match="set COURSE_ROOT"):
        paths.find_root(tmp_path)
    (tmp_path / "clone/data").mkdir(parents=True)
    (tmp_path / "clone/course_lib").mkdir()
    (tmp_path / "clone/notebooks").mkdir()
    found = paths.find_root(tmp_path / "clone/notebooks")
    assert found == (tmp_path / "clone").resolve()


def test_the_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    assert paths.cache_folder() == tmp_path
    monkeypatch.delenv("COURSE_CACHE")
    assert paths.cache_folder().name == "transfer-learning-course"


# -- profiles ---------------------------------------------------------------------


def test_offline_is_the_default_profile(monkeypatch):
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    assert profiles.current() is profiles.OFFLINE
    assert profiles.device().type == "cpu"
    monkeypatch.setenv("COURSE_PROFILE", "full")
    assert profiles.current() is profiles.FULL


def test_an_unknown_profile_is_an_error(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "fulll")
    with pytest.raises(CourseError, match="one of offline, full"):
        profiles.current()


@pytest.mark.parametrize("profile, offline", [("offline", "1"), ("full", "None")])
def test_only_the_offline_profile_keeps_hubs_from_the_network(
    profile, offline, monkeypatch
):
    import subprocess
    import sys

    monkeypatch.setenv("COURSE_PROFILE", profile)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    code = "import course_lib, os; print(os.environ.get('HF_HUB_OFFLINE'))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.strip() == offline
