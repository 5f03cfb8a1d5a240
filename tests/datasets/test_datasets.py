"""The data sets: reproducible, disjoint, balanced, and clear about what is wrong."""

import shutil

import numpy as np
import pytest
from PIL import Image

from course_lib import datasets, paths
from course_lib.datasets import catalogue, committed, image_files, real, wafer_maps
from course_lib.errors import CourseError

RENDERED = tuple(committed.RENDERERS)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def every():
    return {
        (name, split): datasets.load(name, split)
        for name in RENDERED
        for split in SPLITS
    }


# -- the committed files ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize("split", SPLITS)
def test_rendering_again_gives_the_committed_bytes(every, name, split):
    stored = every[name, split]
    for first in (0, len(stored) - 3):  # any part can be rendered alone
        again = committed.RENDERERS[name].render(3, split=split, first=first)
        part = slice(first, first + 3)
        np.testing.assert_array_equal(again.images, stored.images[part])
        np.testing.assert_array_equal(again.labels, stored.labels[part])
        for key, column in again.metadata.items():
            np.testing.assert_array_equal(column, stored.metadata[key][part])


@pytest.mark.parametrize("name", RENDERED)
def test_sizes_and_balance(every, name):
    for split in SPLITS:
        dataset = every[name, split]
        renderer = committed.RENDERERS[name]
        assert len(dataset) == renderer.SIZES[split]
        assert dataset.images.shape[1:] == (64, 64, 3)
        counts = list(dataset.counts().values())
        assert max(counts) - min(counts) <= 1
        assert dataset.classes == renderer.CLASSES


@pytest.mark.parametrize("name", RENDERED)
def test_no_image_occurs_twice(every, name):
    sets = [every[name, split] for split in SPLITS]
    sets.append(committed.RENDERERS[name].render(20))  # a pool
    hashes = [image.tobytes() for dataset in sets for image in dataset.images]
    assert len(set(hashes)) == len(hashes)


def test_verify_finds_nothing_wrong():
    assert committed.verify() == []


def test_committed_data_is_small():
    total = sum((paths.DATA / committed.file_name(n)).stat().st_size for n in RENDERED)
    assert total <= 20e6


def test_archive_depends_on_its_arrays_alone():
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yz"])}
    content = committed.npz_bytes(arrays)
    assert content == committed.npz_bytes({key: a.copy() for key, a in arrays.items()})
    fortran = {"a": np.asfortranarray(arrays["a"]), "b": arrays["b"]}
    assert content == committed.npz_bytes(fortran)


def test_rebuild_names_what_can_be_rebuilt(tmp_path):
    with pytest.raises(CourseError, match="wafer_maps"):
        committed.rebuild(["nothing"], tmp_path)


def _copied_data(tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("manifest.json", "wafer_maps.npz"):
        shutil.copy(paths.DATA / name, data / name)
    monkeypatch.setattr(paths, "DATA", data, raising=False)
    return data


def test_damaged_file_is_named_with_its_repair(tmp_path, monkeypatch):
    data = _copied_data(tmp_path, monkeypatch)
    path = data / "wafer_maps.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CourseError, match="wafer_maps.npz") as caught:
        datasets.load("wafer_maps")
    assert "rebuild" in str(caught.value)
    assert any("wafer_maps.npz" in problem for problem in committed.verify())


def test_missing_file_is_named_with_its_repair(tmp_path, monkeypatch):
    (_copied_data(tmp_path, monkeypatch) / "wafer_maps.npz").unlink()
    with pytest.raises(CourseError, match="wafer_maps.npz is missing"):
        datasets.load("wafer_maps")


def test_load_explains_wrong_names():
    with pytest.raises(CourseError, match="wafer_micrographs"):
        datasets.load("wafers")
    with pytest.raises(CourseError, match="validation"):
        datasets.load("wafer_maps", "val")
    with pytest.raises(CourseError, match="901 images wanted"):
        datasets.load("wafer_maps", "train", n=901)


def test_loaded_arrays_are_the_callers_own():
    datasets.load("wafer_maps").images[:] = 0
    assert datasets.load("wafer_maps").images.any()


# -- single sets ----------------------------------------------------------------------


def test_pool_is_cached_nested_and_apart_by_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "CACHE", tmp_path, raising=False)
    monkeypatch.setattr(catalogue, "POOL_BLOCK", 9)
    small = datasets.load("wafer_maps", "pool", n=10, seed=1)
    large = datasets.load("wafer_maps", "pool", n=20, seed=1)
    np.testing.assert_array_equal(small.images, large.images[:10])
    assert len(list(tmp_path.rglob("*.npz"))) == 3
    np.testing.assert_array_equal(
        datasets.load("wafer_maps", "pool", n=20, seed=1).metadata["grid"],
        large.metadata["grid"],
    )
    other = datasets.load("wafer_maps", "pool", n=10, seed=2)
    assert (other.images != small.images).any()
    next(tmp_path.rglob("*.npz")).write_bytes(b"damaged")
    again = datasets.load("wafer_maps", "pool", n=20, seed=1)
    np.testing.assert_array_equal(again.images, large.images)


def test_wafer_map_picture_shows_its_grid(every):
    maps = every["wafer_maps", "train"].take(18)
    for k in range(len(maps)):
        grid = wafer_maps.grid(maps, k)
        assert set(np.unique(grid)) <= {0, 1, 2}
        np.testing.assert_array_equal(wafer_maps.picture(grid), maps.images[k])


def test_photographs_and_digits():
    for photograph in real.photographs().values():
        assert photograph.shape == (427, 640, 3) and photograph.dtype == np.uint8
    parts = [datasets.load("digits", split) for split in SPLITS]
    assert [len(part) for part in parts] == [600, 500, 697]
    assert set(parts[0].counts().values()) == {60}


# -- ImageDataset ---------------------------------------------------------------------


def _coloured(counts=(30, 30, 30), size=8):
    labels = np.repeat(np.arange(len(counts)), counts)
    pictures = np.zeros((len(labels), size, size, 3), dtype=np.uint8)
    pictures[:, 0, 0, 0] = np.arange(len(labels))
    column = {"number": np.arange(len(labels))}
    return datasets.from_arrays(
        pictures, labels, tuple("abcdef"[: len(counts)]), metadata=column
    )


def test_dataset_works_with_torch_dataloader():
    from torch.utils.data import DataLoader

    pictures, labels = next(iter(DataLoader(_coloured(), batch_size=4)))
    assert tuple(pictures.shape) == (4, 8, 8, 3) and labels.tolist() == [0] * 4


def test_take_is_stratified_and_nested():
    dataset = _coloured()
    assert set(dataset.take(15, seed=3).counts().values()) == {5}
    assert set(dataset.take(n_per_class=4).counts().values()) == {4}
    small = set(dataset.take(9, seed=3).metadata["number"].tolist())
    assert small < set(dataset.take(30, seed=3).metadata["number"].tolist())
    assert small != set(dataset.take(9, seed=4).metadata["number"].tolist())
    with pytest.raises(CourseError, match="class 'a'"):
        dataset.take(n_per_class=31)


def test_take_keeps_the_proportions_of_unbalanced_classes():
    counts = _coloured((80, 15, 5)).take(20).counts()
    assert counts == {"a": 16, "b": 3, "c": 1}


def test_subset_by_mask_and_by_index():
    dataset = _coloured()
    mask = dataset.labels == 2
    assert dataset.subset(mask).counts() == {"a": 0, "b": 0, "c": 30}
    assert dataset.subset([-1]).metadata["number"].tolist() == [89]
    with pytest.raises(CourseError, match="has 90 images"):
        dataset.subset([90])
    with pytest.raises(CourseError, match="mask"):
        dataset.subset(mask[:5])


@pytest.mark.parametrize(
    "pictures, labels, message",
    [
        (np.zeros((2, 4, 4, 3)) + 7.0, [0, 1], "expected 0..1"),
        (np.zeros((2, 3, 8, 8), np.uint8), [0, 1], "channels last"),
        (np.zeros((2, 8, 8, 3), np.int32), [0, 1], "expected uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), [0, 1, 1], "one label for each image"),
        (np.zeros((2, 8, 8, 3), np.uint8), [[0, 1], [1, 0]], "one-hot"),
        (np.zeros((2, 8, 8, 3), np.uint8), [0, -1], "labels run from -1"),
    ],
)
def test_from_arrays_explains_what_does_not_fit(pictures, labels, message):
    with pytest.raises(CourseError, match=message):
        datasets.from_arrays(pictures, labels)


def test_from_arrays_accepts_floats_grey_and_names():
    dataset = datasets.from_arrays(np.full((2, 4, 4), 0.5), ["ok", "bad"])
    assert dataset.images.shape == (2, 4, 4, 3) and dataset.images[0, 0, 0, 0] == 128
    assert dataset.classes == ("bad", "ok") and dataset.labels.tolist() == [1, 0]


# -- folders and CSV files ------------------------------------------------------------


def _mid_grey_files(folder):
    """The same mid-grey picture (128) in many modes and formats."""
    folder.mkdir(parents=True, exist_ok=True)
    grey = np.full((40, 60), 128, dtype=np.uint8)
    rgb = Image.fromarray(np.repeat(grey[..., None], 3, -1))
    rgb.save(folder / "rgb.png")
    rgb.save(folder / "photo.JPG", quality=95)
    rgb.save(folder / "picture.bmp")
    rgb.convert("P").save(folder / "palette.gif")
    rgb.convert("RGBA").save(folder / "alpha.png")
    rgb.convert("CMYK").save(folder / "cmyk.tif")
    rgb.convert("LA").save(folder / "grey_alpha.png")
    Image.fromarray(grey).save(folder / "grey.webp", lossless=True)
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "16bit.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "16bit.tif")
    Image.fromarray(grey.astype(np.int32) * 257).save(folder / "32bit.tif")
    Image.fromarray((grey / 255).astype(np.float32)).save(folder / "float.tif")
    return folder


def _two_classes(root):
    for label, level in (("good", 200), ("bad", 60)):
        (root / label).mkdir(parents=True)
        for k in range(3):
            picture = np.full((10, 12, 3), level + k, dtype=np.uint8)
            Image.fromarray(picture).save(root / label / f"{k}.png")
    return root


def test_from_folder_reads_every_mode_alike(tmp_path):
    _mid_grey_files(tmp_path / "modes")
    _mid_grey_files(tmp_path / "more" / "nested")
    (tmp_path / "modes" / "notes.txt").write_text("no image")
    (tmp_path / "modes" / ".hidden.png").write_text("no image")
    (tmp_path / ".git").mkdir()
    dataset = datasets.from_folder(tmp_path, size=16)
    assert dataset.counts() == {"modes": 12, "more": 12}
    off = np.abs(dataset.images.astype(int) - 128).max(axis=(1, 2, 3))
    assert off.max() <= 3, dict(zip(dataset.metadata["file"], off))


def test_transparent_pixels_become_white(tmp_path):
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert image_files.read_image(tmp_path / "clear.png", 8).min() == 255


def test_the_longer_side_is_cut_centrally(tmp_path):
    picture = np.zeros((20, 60, 3), dtype=np.uint8)
    picture[:, 20:40] = 255  # the central square is white
    Image.fromarray(picture).save(tmp_path / "wide.png")
    assert image_files.read_image(tmp_path / "wide.png", 30).mean() > 0.95 * 255


def test_exif_orientation_is_applied(tmp_path):
    picture = Image.fromarray(np.zeros((10, 20, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert image_files.read_image(tmp_path / "turned.jpg", None).shape == (20, 10, 3)


def test_from_folder_names_the_unreadable_file(tmp_path):
    _two_classes(tmp_path)
    broken = tmp_path / "bad" / "broken.png"
    broken.write_bytes((tmp_path / "bad" / "0.png").read_bytes()[:40])
    with pytest.raises(CourseError, match="broken.png"):
        datasets.from_folder(tmp_path)
    broken.write_text("no image at all")
    with pytest.raises(CourseError, match="broken.png"):
        datasets.from_folder(tmp_path)
    broken.write_bytes(b"")
    with pytest.raises(CourseError, match="broken.png"):
        datasets.from_folder(tmp_path)


def test_from_folder_explains_wrong_layouts(tmp_path):
    with pytest.raises(CourseError, match="does not exist"):
        datasets.from_folder(tmp_path / "nowhere")
    with pytest.raises(CourseError, match="no sub-folders"):
        datasets.from_folder(tmp_path)
    (tmp_path / "only").mkdir()
    with pytest.raises(CourseError, match="only one class, 'only'"):
        datasets.from_folder(tmp_path)
    (tmp_path / "void").mkdir()
    with pytest.raises(CourseError, match="holds no picture"):
        datasets.from_folder(tmp_path)
    _two_classes(tmp_path / "set" / "train")
    (tmp_path / "set" / "val").mkdir()
    with pytest.raises(CourseError, match="look like splits"):
        datasets.from_folder(tmp_path / "set")


def test_from_folder_guards_memory(tmp_path):
    _two_classes(tmp_path)
    with pytest.raises(CourseError, match="a smaller size, or raise max_bytes"):
        datasets.from_folder(tmp_path, size=64, max_bytes=10_000)


def test_class_order_can_be_fixed(tmp_path):
    _two_classes(tmp_path)
    dataset = datasets.from_folder(tmp_path, 8, classes=("good", "bad"))
    assert dataset.classes == ("good", "bad") and dataset.images[0, 0, 0, 0] >= 200
    with pytest.raises(CourseError, match="no sub-folder 'worse'"):
        datasets.from_folder(tmp_path, 8, classes=("good", "worse"))


def test_from_csv(tmp_path):
    _two_classes(tmp_path / "files")
    table = tmp_path / "table.csv"
    table.write_text("image,label,lot\ngood/0.png,ok,A1\nbad/0.png,nok,A2\n")
    dataset = datasets.from_csv(table, root=tmp_path / "files", size=8)
    assert dataset.classes == ("nok", "ok") and dataset.labels.tolist() == [1, 0]
    assert dataset.metadata["lot"].tolist() == ["A1", "A2"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("image,class\na.png,x\n", "no column 'label'"),
        ("image,label\n", "no rows"),
        ("image,label\na.png,x\nb.png,\n", "row 3: 'label' is empty"),
        ("image,label\na.png,x\nb.png,x\n", "only the label 'x'"),
        (
            "image,label\nnowhere.png,x\nb.png,y\n",
            "row 2: .*nowhere.png does not exist",
        ),
    ],
)
def test_from_csv_names_the_row_at_fault(tmp_path, text, message):
    table = tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(CourseError, match=message):
        datasets.from_csv(table)
