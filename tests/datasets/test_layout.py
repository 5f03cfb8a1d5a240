"""Folders of pictures as people have them: parts, classes, and what is left out."""

import os

import numpy as np
import pytest
from PIL import Image

from course_lib import datasets
from course_lib.datasets import layout
from course_lib.datasets.layout import part_of, scan
from course_lib.errors import CourseError
from course_lib.jobs import configuration, own_data


def fill(folder, classes=("a", "b"), n=4, first=0):
    """Pictures of noise in a sub-folder for each class; no two are equal."""
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        flat(folder / name, n, first + 100 * k)
    return folder


def flat(folder, n=4, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        pixels = np.random.default_rng(first + i).integers(0, 256, (8, 8, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def sizes(found):
    return {
        part: {name: len(files) for name, files in classes.items()}
        for part, classes in found.parts.items()
    }


def left_out(found):
    return " ".join(found.left_out.sentences())


# -- hidden and system files ------------------------------------------------------

HIDDEN = (".ipynb_checkpoints", ".git", "__MACOSX", "@eaDir", "$RECYCLE.BIN",
          ".AppleDouble", "System Volume Information", ".Trash-1000", "#recycle",
          "lost+found")  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_folders_are_never_data_at_any_depth(name, tmp_path):
    root = fill(tmp_path / "set")
    for place in (root, root / "a", root / "b" / "nested" / "deeper"):
        flat(place / name / "inside", 3, 900)
    flat(root / "b" / "nested", 2, 700)
    found = scan(root)
    assert sizes(found) == {"all": {"a": 4, "b": 6}}
    (said,) = found.left_out.sentences()
    assert f"a/{name}" in said and f"b/nested/deeper/{name}" in said and ": 3 (" in said


@pytest.mark.parametrize(
    "name", ["._1.png", "Thumbs.db", "desktop.ini", ".DS_Store", "~$a.png", "b.png~"]
)
def test_hidden_files_are_named_and_left_out(name, tmp_path):
    root = fill(tmp_path / "set")
    (root / "a" / name).write_bytes((root / "a" / "0.png").read_bytes())
    found = scan(root)
    assert sizes(found) == {"all": {"a": 4, "b": 4}} and f"a/{name}" in left_out(found)
    data = datasets.Reader(8)
    assert len(datasets.read_folder(root, data).parts["all"]) == 8
    below = layout.LeftOut()
    assert len(layout.files_below(root, below)) == 8
    assert below.names == found.left_out.names


# -- parts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, part",
    [
        ("train", "train"), ("Training", "train"), ("TRAIN", "train"),
        ("seg_train", "train"), ("train_images", "train"), ("TrainSet", "train"),
        ("train2017", "train"), ("01-training-data", "train"), ("val", "validation"),
        ("Valid", "validation"), ("validation_set", "validation"),
        ("dev", "validation"), ("data-test", "test"), ("testing", "test"),
        ("testset", "test"), ("my.test.images", "test"), ("eval", "held out"),
        ("hold-out", "held out"), ("holdout", "held out"), ("train_val", ""),
        ("trains", ""), ("contest", ""), ("invalid", ""), ("device", ""),
        ("interval", ""), ("predict", ""), ("attestation", ""),
    ],
)  # fmt: skip
def test_names_of_parts(name, part):
    assert part_of(name)[0] == part


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "VALIDATION", "Testing"),
        ("seg_train", "seg_dev", "seg_test"),
        ("train_images", "valid_images", "test_images"),
        ("data-train", "data-val", "data-holdout"),
        ("train", "dev", "eval"),
    ],
)
def test_parts_beside_extra_hidden_and_doubled_folders(names, tmp_path):
    root = tmp_path / "set"
    for i, name in enumerate(names):
        fill(root / name / (name if i != 1 else ""), n=4 - i, first=1000 * i)
    flat(root / "predict", 5, 9000)
    flat(root / ".ipynb_checkpoints", 2, 9500)
    fill(root / "extra", ("a", "z"), 2, 9700)
    flat(root, 1, 9900)
    found = scan(root)
    assert sizes(found) == {
        "train": {"a": 4, "b": 4},
        "validation": {"a": 3, "b": 3},
        "test": {"a": 2, "b": 2},
    }
    said = left_out(found)
    assert "predict (5 pictures)" in said and "extra (4 pictures)" in said
    assert "beside the parts: 1 (0.png)" in said
    assert found.left_out.pictures == 3


def test_wrapping_folders_are_looked_through_and_told(tmp_path):
    for part in ("train", "test"):
        fill(tmp_path / "set" / "dataset" / part, first=len(part))
    (tmp_path / "set" / "readme.txt").write_text("hello")
    found = scan(tmp_path / "set")
    assert set(found.parts) == {"train", "test"}
    assert "found in dataset" in " ".join(found.notes) and "readme" in left_out(found)
    fill(tmp_path / "other" / "download" / "flowers")
    assert scan(tmp_path / "other").classes == ["a", "b"]
    fill(tmp_path / "alone" / "train")
    alone = scan(tmp_path / "alone")
    assert set(alone.parts) == {"all"} and "found in train" in alone.notes[0]


def test_parts_inside_of_classes(tmp_path):
    for name in ("a", "b"):
        flat(tmp_path / name / "train", 4, len(name))
        flat(tmp_path / name / "test", 2, 50 + len(name))
    assert sizes(scan(tmp_path)) == {
        "train": {"a": 4, "b": 4},
        "test": {"a": 2, "b": 2},
    }
    flat(tmp_path / "b", 1, 99)
    joined = scan(tmp_path)
    assert sizes(joined) == {"all": {"a": 6, "b": 7}}
    assert "inside of classes (a/test, a/train" in " ".join(joined.notes)


@pytest.mark.parametrize(
    "classes",
    [("car", "train", "bus"), ("valid", "invalid"), ("pass", "test"),
     ("train_station", "test_strip", "dev_board")],
)  # fmt: skip
def test_classes_with_the_names_of_parts(classes, tmp_path):
    assert scan(fill(tmp_path, classes)).classes == sorted(classes)


def flat_test(root):
    fill(root / "train"), flat(root / "test")
    return "test holds 4 pictures and no sub-folders.*course predict"


def flat_eval(root):
    fill(root / "train"), flat(root / "eval")
    return "eval holds 4 pictures and no sub-folders"


def flat_prefixed_test(root):
    fill(root / "seg_train" / "seg_train"), flat(root / "seg_test" / "seg_test")
    return "seg_test holds 4 pictures and no sub-folders"


def labels_in_text_files(root):
    for name in ("train", "valid", "test"):
        flat(root / name / "images")
        (root / name / "labels").mkdir()
        (root / name / "labels" / "0.txt").write_text("0 1 2 3 4")
    return r"has the parts test \(4 pictures\)"


def only_a_folder_of_images(root):
    flat(root / "images", 5)
    return "holds 5 pictures and has no sub-folders of classes"


def unlabelled_parts(root):
    for name in ("train", "val", "test"):
        flat(root / name)
    return r"has the parts test \(4 pictures\), train"


def prefixed_unlabelled(root):
    flat(root / "trainA"), flat(root / "testA"), flat(root / "other")
    return "has the parts testA"


def flat_folder(root):
    flat(root, 6)
    return "holds 6 pictures and has no sub-folders of classes"


def classes_in_names(root):
    flat(root, 0)
    for name in ("cat", "dog"):
        for i in range(3):
            Image.new("RGB", (8, 8)).save(root / f"{name}.{i}.png")
    return r"the names begin with cat \(3\), dog \(3\)"


def flat_with_table(root):
    flat(root, 6)
    (root / "labels.csv").write_text("image,label\n")
    return "the table labels.csv with --data"


def two_trains(root):
    fill(root / "train_1"), fill(root / "train_2"), fill(root / "test")
    return "2 folders for the train part: train_1, train_2"


def no_train(root):
    fill(root / "val"), fill(root / "test")
    return "none for train"


def one_part_and_classes(root):
    fill(root / "train", ("steam", "diesel")), flat(root / "car"), flat(root / "bus")
    return "none for test.*give them other names"


def missing_class(root):
    fill(root / "train", ("a", "b", "c")), fill(root / "test")
    return "test has no pictures of c.*a, b, c"


def further_classes(root):
    fill(root / "train"), fill(root / "test", ("a", "b", "y", "z"))
    return "in test, y, z are no classes of the training part"


def only_other_endings(root):
    fill(root)
    (root / "c").mkdir()
    (root / "c" / "1.cr2").write_bytes(b"raw")
    return r"(?s)c holds no picture.*\.cr2 1"


@pytest.mark.parametrize(
    "make",
    [flat_test, flat_eval, flat_prefixed_test, labels_in_text_files,
     only_a_folder_of_images, unlabelled_parts, prefixed_unlabelled, flat_folder,
     classes_in_names, flat_with_table, two_trains, no_train, one_part_and_classes,
     missing_class, further_classes, only_other_endings],
)  # fmt: skip
def test_layouts_that_cannot_be_read_say_what_to_do(make, tmp_path):
    message = make(tmp_path / "set")
    with pytest.raises(CourseError, match=f"(?s){message.removeprefix('(?s)')}") as why:
        scan(tmp_path / "set")
    assert "Expected" in str(why.value)
    assert "Do: " in str(why.value) or "Add images" in str(why.value)


# -- nothing left out without a name ----------------------------------------------


def test_what_is_left_out_is_counted_and_named(tmp_path):
    root = fill(tmp_path / "set")
    flat(root, 2, 800)
    for i in range(20):
        (root / "a" / f"shot{i:02d}.cr2").write_bytes(b"raw")
    (root / "b" / "notes.txt").write_text("hello")
    (root / "b" / "README").write_text("hello")
    fill(root, ("_old",), 3, 850)
    os.symlink(root / "nowhere.png", root / "a" / "gone.png")
    os.symlink(root, root / "a" / "round")
    os.mkfifo(root / "b" / "pipe.png")
    found = scan(root)
    assert sizes(found) == {"all": {"a": 4, "b": 4}}
    said = left_out(found)
    for words in (
        "pictures beside the class folders: 2 (0.png, 1.png)",
        "ending .cr2, which no reader takes: 20 (a/shot00.cr2", "and 8 more",
        "ending .txt", "no ending, which no reader takes: 1 (b/README)",
        "_old (3 pictures)", "a/gone.png", "a/round", "b/pipe.png",
    ):  # fmt: skip
        assert words in said
    assert found.left_out.pictures == 2 + 20 + 1


def test_links_to_folders_elsewhere_are_followed(tmp_path):
    fill(tmp_path / "pool")
    (tmp_path / "set").mkdir()
    for name in "ab":
        os.symlink(tmp_path / "pool" / name, tmp_path / "set" / name)
    assert sizes(scan(tmp_path / "set")) == {"all": {"a": 4, "b": 4}}


def test_folders_that_link_to_each_other_end(tmp_path):
    names = [f"c{i}" for i in range(9)]
    fill(tmp_path, names, 1)
    for one in names:
        for other in names:
            os.symlink(tmp_path / other, tmp_path / one / f"to_{other}")
    assert len(scan(tmp_path).classes) == 9


def test_near_equal_folder_names_are_one_class_over_all_parts(tmp_path):
    fill(tmp_path / "train", ("leak", "crack"), 4)
    fill(tmp_path / "test", ("Leak ", "crack"), 2, 500)
    found = scan(tmp_path)
    assert sizes(found) == {
        "train": {"crack": 4, "leak": 4}, "test": {"crack": 2, "leak": 2},
    }  # fmt: skip
    assert any("Leak " in note for note in found.notes)


def test_names_that_no_terminal_or_page_could_show(tmp_path):
    root = fill(tmp_path / "set")
    picture = (root / "a" / "0.png").read_bytes()
    for name in (b"\xe9t\xe9.png", b"red\x1b[31m.png", b"two\nlines.png"):
        with open(os.path.join(os.fsencode(root / "a"), name), "wb") as stream:
            stream.write(picture)
    (root / "b" / "esc\x1b.txt").write_text("hello")
    found = datasets.read_folder(root, datasets.Reader(8))
    names = [*found.parts["all"].metadata["example"], *found.notes()]
    assert len(found.parts["all"]) == 11
    assert all("\x1b" not in name and "\n" not in name for name in names)
    assert "set/a/\\udce9t\\udce9.png" in " ".join(names).encode().decode()


def test_a_job_tells_classes_files_and_copies(tmp_path):
    root = tmp_path / "set"
    fill(root / "train", n=8), fill(root / "test", n=3, first=500)
    copy = (root / "test" / "a" / "0.png").read_bytes()
    (root / "train" / "a" / "seen.png").write_bytes(copy)
    flat(root / "unlabelled", 3, 900)
    parts = own_data.read(root, configuration.from_dict({}), 16)
    assert list(parts.classes) == ["a", "b"]
    assert sum(map(len, parts)) == 22
    notes = " ".join(parts.notes)
    assert "unlabelled (3 pictures)" in notes and "(train/a/seen.png)" in notes
    assert parts.pictures == {"ranges": {}, "transparent": {}}


# -- parts in other languages, and series of the same classes -----------------------


@pytest.mark.parametrize(
    "train, test",
    [("Trainingsdaten", "Testdaten"), ("entrenamiento", "prueba"), ("训练集", "测试集"),
     ("entraînement", "test"), ("entrai\u0302nement", "Test")],
)  # fmt: skip
def test_parts_are_known_in_other_languages(train, test, tmp_path):
    fill(tmp_path / "set" / train)
    fill(tmp_path / "set" / test, first=500)
    assert set(scan(tmp_path / "set").parts) == {"train", "test"}


@pytest.mark.parametrize(
    "names", [("fold0", "fold1", "fold2"), ("images", "masks"), ("siteA", "siteB"),
              ("2022", "2023")]
)  # fmt: skip
def test_a_series_of_the_same_classes_is_no_set_of_classes(names, tmp_path):
    for i, name in enumerate(names):
        fill(tmp_path / "set" / name, first=500 * i)
    with pytest.raises(CourseError, match=f"(?s){names[0]}.* each hold .*a, b.*Do: "):
        scan(tmp_path / "set")


def test_sub_folders_inside_of_classes_are_told(tmp_path):
    for name in ("cat", "dog"):  # perhaps views of an animal, perhaps not
        fill(tmp_path / "views" / name, ("front", "side"))
    (said,) = scan(tmp_path / "views").notes
    assert "cat, dog each hold the sub-folders front, side" in said
    flat(fill(tmp_path / "set") / "a" / "thumbnails", 3, 700)
    found = scan(tmp_path / "set")
    assert sizes(found) == {"all": {"a": 7, "b": 4}}
    assert "a/thumbnails (3 pictures)" in found.notes[0]
    fill(tmp_path / "plain")
    assert scan(tmp_path / "plain").notes == []


def test_the_table_beside_a_folder_of_pictures_is_named(tmp_path):
    flat(tmp_path / "set" / "images")
    (tmp_path / "set" / "labels.csv").write_text("image,label\n")
    with pytest.raises(CourseError, match="the table labels.csv with --data"):
        scan(tmp_path / "set")


def test_several_splits_of_the_same_classes_are_no_classes(tmp_path):
    for i, name in enumerate(("split_1", "split_2")):
        fill(tmp_path / name / "train", first=1000 * i)
        fill(tmp_path / name / "test", first=1000 * i + 500)
    with pytest.raises(CourseError, match="split_1, split_2 each hold parts .*a, b"):
        scan(tmp_path)
    assert set(scan(tmp_path / "split_1").parts) == {"train", "test"}
