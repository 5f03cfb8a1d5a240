"""`course diagnose` on folders and CSV files as people have them, good and bad."""

import csv
import json

import numpy as np
import pytest
import tiny
from PIL import Image

from course_lib.course import cli
from course_lib.diagnose import diagnosis
from course_lib.diagnose import training_runs as runs
from course_lib.errors import CourseError
from course_lib.models import zoo

MODES = ("L", "RGB", "RGBA", "CMYK", "P", "1", "I;16")
SUFFIX = {"CMYK": "tif", "I;16": "tif"}


@pytest.fixture(autouse=True)
def tiny_and_short(monkeypatch, undrawn):
    """The real command with a tiny backbone, the shortest runs and no bar."""
    load = zoo.load

    def chosen(name=None, *args, **options):
        if name in (None, "tiny/resnet", "imagenet/efficientnet-lite0"):
            return tiny.resnet()
        return load(name, *args, **options)

    monkeypatch.setattr(zoo, "load", chosen)
    monkeypatch.setattr(runs, "random_start", lambda b, seed: tiny.resnet(seed=seed))
    monkeypatch.setattr(runs, "LEAST_STEPS", 4)
    monkeypatch.setenv("CI", "1")


def picture(rng, dark, side=(40, 36)):
    low, high = (0, 150) if dark else (100, 256)
    return rng.integers(low, high, (*side, 3)).astype(np.uint8)


def write(path, pixels, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    image.save(path)
    return path


def folder_of(root, counts, modes=("RGB",), sides=((40, 36),)):
    rng = np.random.default_rng(0)
    for k, (name, count) in enumerate(counts.items()):
        for i in range(count):
            mode = modes[i % len(modes)]
            pixels = picture(rng, k == 0, sides[i % len(sides)])
            write(root / name / f"{i:03d}.{SUFFIX.get(mode, 'png')}", pixels, mode)
    return root


@pytest.fixture
def steel(tmp_path):
    return folder_of(tmp_path / "steel", {"dark": 14, "light": 14})


def csv_of(folder, rows, fields=("image", "label", "tool")):
    path = folder / "table.csv"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(fields)
        writer.writerows(rows)
    return path


def diagnose(tmp_path, data, *options):
    line = ["diagnose", "--data", data, "--out", tmp_path / "out", "--minutes", "0.001"]
    return cli.main([str(word) for word in (*line, "--size", 32, *options)])


@pytest.mark.drawn
@pytest.mark.slow
def test_a_folder_gets_a_verdict_a_page_and_numbers(tmp_path, steel, capsys):
    hidden = steel / "dark" / ".ipynb_checkpoints"
    write(hidden / "0.png", np.zeros((40, 36, 3), np.uint8))
    assert diagnose(tmp_path, steel, "--labels-per-class", "4") == 0
    said = capsys.readouterr().out
    assert "points" in said and "Warning signs" in said and "report.html" in said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "dark" in page and "data:image/png;base64," in page
    stored = json.loads((tmp_path / "out" / "diagnosis.json").read_text())
    assert stored["data"]["counts"] == {"dark": 14, "light": 14}
    assert stored["data"]["used_side"] == [32, 32]
    assert any(".ipynb_checkpoints" in note for note in stored["notes"])
    assert all(said.count(note) == 1 for note in stored["notes"])  # each is told once

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out/state").rglob("*.json")}
    assert diagnose(tmp_path, steel, "--labels-per-class", "4") == 0
    assert capsys.readouterr().out == said
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time
    assert diagnose(tmp_path, steel, "--labels-per-class", "4", "--again") == 0
    assert all(path.stat().st_mtime_ns > time for path, time in before.items())


@pytest.mark.slow
def test_json_is_all_that_is_printed(tmp_path, steel, capsys):
    assert diagnose(tmp_path, steel, "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["code"] in (-1, 0, 1) and numbers["options"]["seed"] == 0


@pytest.mark.slow
def test_a_table_with_groups(tmp_path, steel, capsys):
    files = sorted(steel.rglob("*.png"))
    rows = [(p.relative_to(steel), p.parent.name, f"T{i % 2}") for i, p in
            enumerate(files)]  # fmt: skip
    path = csv_of(steel, rows)
    assert diagnose(tmp_path, path, "--group-columns", "tool", "--json") == 0
    numbers = json.loads(capsys.readouterr().out)
    groups = {r["group"] for r in numbers["subgroups"] if r["column"] == "tool"}
    assert groups == {"T0", "T1"}
    assert diagnose(tmp_path, path, "--group-columns", "chamber") == 1
    assert "no column 'chamber'" in capsys.readouterr().err


@pytest.mark.slow
def test_every_kind_of_picture_and_mixed_sizes_are_read(tmp_path, capsys):
    sides = ((40, 36), (64, 64), (33, 90))
    data = folder_of(tmp_path / "mixed", {"a": 21, "b": 21}, MODES, sides)
    assert diagnose(tmp_path, data, "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"]["given"] == 42


def test_the_size_of_pictures_follows_the_minutes(tmp_path, steel, capsys, monkeypatch):
    """A network that reads any size; a diagnosis is stopped where it would begin."""
    backbone, seen = tiny.resnet(), []
    backbone.card = {"input_size": (3, 224, 224)}
    monkeypatch.setattr(zoo, "load", lambda name: backbone)

    def begun(backbone, samples, settings, **_):
        seen.append((samples.examples.images.shape[1:3], " ".join(samples.notes)))
        raise CourseError("enough")

    monkeypatch.setattr(diagnosis, "diagnose", begun)
    for options in ((), ("--minutes", "600"), ("--size", "64")):
        line = ["diagnose", "--data", str(steel), "--out", str(tmp_path / "out")]
        assert cli.main([*line, *options]) == 1
    assert [shape for shape, _ in seen] == [(96, 96), (128, 128), (64, 64)]
    default, longer, typed = (note for _, note in seen)
    assert "`minutes` is 5: raise it or give --size" in default
    assert "128 is what the network reads" in longer
    assert "pixels a side" not in typed


# -- input that cannot be used ------------------------------------------------------


def missing_folder(root):
    return root / "nowhere", "nowhere"


def missing_table(root):
    return root / "nowhere.csv", "nowhere.csv does not exist"


def empty_folder(root):
    (root / "empty").mkdir()
    return root / "empty", "empty has no sub-folders"


def one_class(root):
    return folder_of(root / "one", {"only": 9}), "only one class, 'only'"


def class_without_pictures(root):
    data = folder_of(root / "some", {"a": 9, "b": 9})
    (data / "c").mkdir()
    return data, "holds no picture"


def class_with_two(root):
    return folder_of(root / "two", {"a": 9, "few": 2}), "class 'few' of 'two' has 2"


def damaged_among_many(root):
    data = folder_of(root / "many", {"a": 500, "b": 500}, sides=((8, 8),))
    whole = (data / "b" / "321.png").read_bytes()
    (data / "b" / "321.png").write_bytes(whole[: len(whole) // 2])
    return data, "321.png cannot be read"


def text_as_picture(root):
    data = folder_of(root / "words", {"a": 9, "b": 9})
    (data / "a" / "note.png").write_text("not a picture")
    return data, "note.png cannot be read"


def table_without_column(root):
    data = folder_of(root / "x", {"a": 9, "b": 9})
    return csv_of(data, [(7, "a", 1), (8, "b", 2)], ("scan", "label", "n")), "no column"


def table_with_missing_file(root):
    data = folder_of(root / "x", {"a": 9, "b": 9})
    rows = [("a/000.png", "a", 1), ("b/000.png", "b", 1), ("b/gone.png", "b", 1)]
    return csv_of(data, rows), "gone.png does not exist"


def table_with_empty_label(root):
    data = folder_of(root / "x", {"a": 9, "b": 9})
    rows = [("a/000.png", "a", 1), ("b/000.png", "", 1)]
    return csv_of(data, rows), "row 3: 'label' is empty"


def table_of_bytes(root):
    path = root / "table.csv"
    path.write_bytes(b"\xff\xfe\x00image,label")
    return path, "cannot be read"


def all_the_same(root):
    data = root / "same"
    for name in ("a", "b"):
        for i in range(12):
            pixels = np.full((20, 20, 3), 40 * (name == "a"), np.uint8)
            write(data / name / f"{i}.png", pixels)
    return data, "1 different"


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        missing_folder,
        missing_table,
        empty_folder,
        one_class,
        class_without_pictures,
        class_with_two,
        damaged_among_many,
        text_as_picture,
        table_without_column,
        table_with_missing_file,
        table_with_empty_label,
        table_of_bytes,
        all_the_same,
    ],
)
def test_bad_input_is_named_before_any_training(make, tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("trained on bad input")

    monkeypatch.setattr(runs, "plan", refuse)
    data, message = make(tmp_path)
    assert diagnose(tmp_path, data) == 1
    said = capsys.readouterr().err
    assert said.startswith("course diagnose:") and message in said
    assert "Traceback" not in said and not (tmp_path / "out").exists()


def test_what_was_read_is_told_before_any_training(
    tmp_path, steel, capsys, monkeypatch
):
    read = {}

    def stop(job):
        read["job"] = job
        raise CourseError("training began")

    monkeypatch.setattr(runs, "plan", stop)
    root = tmp_path / "set"
    root.mkdir()
    steel.rename(root / "seg_train")
    folder_of(root / "seg_test", {"dark": 3, "light": 4}, sides=((20, 20),))
    folder_of(root / "seg_pred", {"x": 2})
    write(root / "seg_train" / "dark" / ".git" / "x.png", np.zeros((9, 9, 3), np.uint8))
    (root / "seg_train" / "dark" / "cut.png").write_bytes(b"\x89PNG")
    assert diagnose(tmp_path, root) == 1
    assert "1 of 36 pictures cannot be read" in capsys.readouterr().err
    assert diagnose(tmp_path, root, "--skip-unreadable") == 1
    said = capsys.readouterr()
    assert "training began" in said.err
    assert "seg_pred (2 pictures)" in said.out and "dark/.git" in said.out
    assert "seg_train/dark/cut.png" in said.out
    job = read["job"]
    assert job.data.classes == ("dark", "light") and job.about["test"] == 7
    assert any("seg_pred" in note for note in job.notes)
    assert diagnose(tmp_path, root, "--value-range", "9", "2") == 1
    assert "--value-range 9 2 is no range" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, message",
    [
        (("--backbone", "bundled/no-such"), "no model called 'bundled/no-such'"),
        (("--backbone", "minilm"), "minilm is text, and the data are pictures"),
        (("--labels-per-class", "40"), "40 labels of each class"),
        (("--minutes", "-1"), "minutes=-1.0"),
        (("--augment", "wild"), "none, shift, flip, turn"),
        (("--seed", "-1"), "seed=-1"),
        (("--size", "2"), "--size 2"),
    ],
)
def test_bad_options_are_explained(options, message, tmp_path, steel, capsys):
    assert diagnose(tmp_path, steel, *options) == 1
    assert message in capsys.readouterr().err


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["diagnose", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--labels-per-class" in said and "--group-columns" in said


@pytest.mark.slow
def test_an_interrupt_is_no_traceback_and_the_work_is_kept(
    tmp_path, steel, capsys, monkeypatch
):
    frozen = runs.ARMS["frozen"]

    def interrupted(job, r):
        if r == 1:
            raise KeyboardInterrupt
        return frozen(job, r)

    monkeypatch.setitem(runs.ARMS, "frozen", interrupted)
    assert diagnose(tmp_path, steel) == 130
    stored = list((tmp_path / "out" / "state").rglob("repeat-*.json"))
    assert len(stored) == 6
    monkeypatch.setitem(runs.ARMS, "frozen", frozen)
    assert diagnose(tmp_path, steel) == 0
    assert "points" in capsys.readouterr().out
