"""Picture files of every kind: depth, channels, transparency, damage, formats."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from course_lib import datasets
from course_lib.datasets import image_files, pictures
from course_lib.datasets.messages import INSTALL
from course_lib.datasets.pictures import decode, look
from course_lib.datasets.scaling import Rule, rgb
from course_lib.errors import CourseError
from course_lib.jobs import configuration, own_data


def deep(first=0, high=65535, side=16, channels=3):
    """Unsigned values up to ``high``, not all multiples of 256."""
    rng = np.random.default_rng(first)
    values = rng.integers(0, high, (side, side, channels), endpoint=True)
    values[0, 0] = high
    return values.astype(np.uint16)


def png16(path, values):
    """A PNG of 16 bits a channel, which Pillow cannot write in colour."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    lines = values.astype(">u2").reshape(height, -1)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))
    return path


def as_grey(path, high):
    """The picture by a rule of 0 to ``high``, (H, W, 3)."""
    picture = decode(path)
    return np.asarray(rgb(picture, Rule({picture.kind: (0, high)}))[0])


# -- depth ------------------------------------------------------------------------


def write_png(path, v):
    return png16(path.with_suffix(".png"), v)


def write_tiff(path, v, **options):
    import tifffile

    path = path.with_suffix(".tif")
    tifffile.imwrite(path, v.squeeze(), photometric="rgb", **options)
    return path


def write_big_planar_tiff(path, v):
    return write_tiff(path, np.moveaxis(v, -1, 0), bigtiff=True, planarconfig=2)


def write_zipped_tiff(path, v):
    return write_tiff(path, v, compression="zlib", predictor=True)


def write_float_tiff(path, v):
    return write_tiff(path, v.astype(np.float32))


def write_heic(path, v):
    import pillow_heif

    path = path.with_suffix(".heic")
    size = v.shape[1], v.shape[0]
    made = pillow_heif.from_bytes(mode="RGB;16", size=size, data=v.tobytes())
    made.save(path, quality=-1, chroma=444, matrix_coefficients=0)
    return path


@pytest.mark.parametrize(
    "write, off",
    [(write_png, 0), (write_tiff, 0), (write_big_planar_tiff, 0),
     (write_zipped_tiff, 0), (write_float_tiff, 0), (write_heic, 2)],
)  # fmt: skip
def test_colour_of_sixteen_bits_keeps_its_lower_bits(write, off, tmp_path):
    values = deep(high=65535 if write is write_heic else 401)
    path = write(tmp_path / "x", values)
    high = float(values.max())
    wanted = np.floor(values / high * 255 + 0.5)
    assert np.abs(as_grey(path, high) - wanted).max() <= off
    found = look(path)
    assert found.kind != pictures.EIGHT and not found.facts


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "float32",
                                   "float16", "float64"])  # fmt: skip
def test_grey_of_every_type(dtype, tmp_path):
    import tifffile

    values = np.arange(256).reshape(16, 16) * (1.0 if "float" in dtype else 7)
    if dtype == "uint32":
        values = values * 2**20 + 2**31  # what a signed reader makes negative
    values = values.astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", values)
    found = look(tmp_path / "x.tif")
    assert (found.low, found.high) == (float(values.min()), float(values.max()))
    rule = Rule({found.kind: (found.low, found.high)})
    levels = np.asarray(rgb(decode(tmp_path / "x.tif"), rule)[0])[..., 0]
    assert np.abs(levels.reshape(-1) - np.arange(256)).max() == 0


def grey(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def exposures(root, high, n=9):
    """Two classes of grey pictures whose brightest value is ``high``."""
    for k, name in enumerate("ab"):
        for i in range(n):
            values = deep(100 * k + i, high if i == n - 1 else high // 3, channels=1)
            grey(root / name / f"{i}.tif", values[..., 0])
    return root


@pytest.mark.parametrize(
    "high, full", [(900, 1023), (3000, 4095), (1500, 1500), (16000, 16383),
                   (60000, 65535), (200, 255), (110, 110)]
)  # fmt: skip
def test_one_scale_for_all_pictures_of_a_set(high, full, tmp_path):
    found = datasets.read_folder(exposures(tmp_path, high), datasets.Reader(16))
    assert found.reader.rule.ranges == {"16 bits": (0.0, float(full))}
    data = found.parts["all"]
    for row, name in enumerate(data.metadata["example"]):
        values = np.asarray(Image.open(found.files[name]), dtype=float)
        wanted = np.floor(values * 255 / full + 0.5)
        assert np.array_equal(data.images[row][..., 0], wanted)
    (note,) = found.notes()
    assert f"0 to {full} became 0 to 255" in note and "(18)" in note


def test_the_scale_is_found_on_the_training_part_and_what_is_beyond_is_told(tmp_path):
    exposures(tmp_path / "set" / "train", 1500)
    exposures(tmp_path / "set" / "test", 3900)
    config = configuration.from_dict({"split": [0.6, 0.2, 0.2]})
    parts = own_data.read(tmp_path / "set", config, 16)
    assert parts.pictures["ranges"] == {"16 bits": [0.0, 1500.0]}
    notes = " ".join(parts.notes)
    assert "of the training part" in notes and "beyond the range" in notes
    assert "test/a/8.tif" in notes
    whole = own_data.read(exposures(tmp_path / "one", 1500), config, 16)
    trained = [name.split("/", 1)[1] for name in whole.train.metadata["example"]]
    high = max(np.asarray(Image.open(tmp_path / "one" / n)).max() for n in trained)
    span = whole.pictures["ranges"]["16 bits"]
    assert span == [0.0, 1500.0 if high == 1500 else 511.0 if high < 501 else span[1]]
    asked = configuration.from_dict({"value_range": [100, 4000]})
    ranged = own_data.read(tmp_path / "one", asked, 16)
    assert ranged.pictures["ranges"] == {"16 bits": [100.0, 4000.0]}


def test_signed_and_float_pictures_and_bright_specks(tmp_path):
    rng = np.random.default_rng(0)
    for k, name in enumerate("ab"):
        for i in range(3):
            values = rng.normal(0, 0.001 + 0.001 * k, (64, 64)).astype(np.float32)
            if name == "a" and i == 0:
                values[0, :1] = 5
            grey(tmp_path / name / f"{i}.tif", values)
    reader = datasets.Reader(8)
    datasets.read_folder(tmp_path, reader)
    low, high = reader.rule.ranges["floats"]
    assert low < 0 and high == 5
    assert "value_range" in " ".join(reader.notes())
    bad = np.full((8, 8), np.nan, dtype=np.float32)
    grey(tmp_path / "a" / "nan.tif", bad)
    with pytest.raises(CourseError, match="a/nan.tif cannot be read.*no numbers"):
        datasets.read_folder(tmp_path, datasets.Reader(8))


def test_mixed_depths_keep_their_full_scales_and_are_told(tmp_path):
    exposures(tmp_path, 1000)
    for i in range(3):
        grey(tmp_path / "a" / f"e{i}.png", np.full((16, 16), 40 + i, dtype=np.uint8))
    found = datasets.read_folder(tmp_path, datasets.Reader(16))
    assert found.reader.rule.ranges["16 bits"] == (0.0, 1023.0)
    assert found.reader.rule.extended([pictures.Look()]).told == ()
    assert "several depths" in " ".join(found.notes())
    assert "16 bits 18, 8 bits 3" in " ".join(found.notes())


def test_a_stored_rule_is_applied_and_other_depths_are_told(tmp_path):
    rule = Rule.from_dict(Rule({"16 bits": (0.0, 1000.0)}).to_dict())
    values = np.full((16, 16), 500, dtype=np.uint16)
    grey(tmp_path / "x.png", values)
    grey(tmp_path / "y.png", np.full((16, 16), 99, dtype=np.uint8))
    grey(tmp_path / "z.tif", np.full((16, 16), 0.5, dtype=np.float32))
    reader = datasets.Reader(8, rule=rule)
    files = sorted(tmp_path.iterdir())
    reader.look(files, [f.name for f in files])
    reader.fit(files)
    pixels, _ = reader.read(files, [f.name for f in files])
    assert [int(p[0, 0, 0]) for p in pixels] == [128, 99, 128]
    notes = " ".join(reader.notes())
    assert (
        "not trained on this depth" in notes and "8 bits, taken as they are: 1" in notes
    )
    grey(tmp_path / "old.png", np.full((16, 16), 257 * 9, dtype=np.uint16))
    old = image_files.read_image(tmp_path / "old.png", 8, rule=Rule.from_dict(None))
    assert old.max() == 9


# -- channels and transparency ----------------------------------------------------


def four(low, high, side=16, seed=0):
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 200, (side, side, 3))
    fourth = rng.integers(low, high, (side, side, 1), endpoint=True)
    return np.concatenate([colour, fourth], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    "ending, low, high", [("tif", 40, 70), ("png", 1, 254), ("tif", 0, 255),
                          ("png", 0, 3), ("webp", 20, 200)]
)  # fmt: skip
def test_a_fourth_channel_that_is_no_transparency(ending, low, high, tmp_path):
    stored = []
    for name in "ab":
        for i in range(2):
            values = four(low, high, seed=i)
            stored.append(values[..., :3])
            (tmp_path / name).mkdir(exist_ok=True)
            options = {"lossless": True, "exact": True} if ending == "webp" else {}
            Image.fromarray(values).save(tmp_path / name / f"{i}.{ending}", **options)
    found = datasets.read_folder(tmp_path, datasets.Reader(16))
    assert np.array_equal(found.parts["all"].images, np.stack(stored))
    assert "fourth channel that is no transparency" in " ".join(found.notes())
    assert list(found.reader.rule.to_dict()["transparent"].values()) == [False]


def test_transparency_is_laid_over_white_where_it_is_one(tmp_path):
    values = four(0, 1)
    values[..., 3] = np.where(np.arange(16) < 8, 255, 0)  # cut out
    soft = values.copy()
    soft[..., 3] = np.linspace(0, 255, 16).astype(np.uint8)
    for name, one in (("a", values), ("b", soft)):
        (tmp_path / name).mkdir()
        Image.fromarray(one).save(tmp_path / name / "x.png")
    found = datasets.read_folder(tmp_path, datasets.Reader(16))
    cut, _ = found.parts["all"].images
    assert np.array_equal(cut[:, :8], values[:, :8, :3]) and cut[:, 8:].min() == 255
    assert "transparent parts, which were laid over white: 2" in " ".join(found.notes())


def test_deep_alpha_grey_alpha_and_unmarked_channels(tmp_path):
    import tifffile

    values = deep(channels=4)
    values[..., 3] = np.where(np.arange(16) < 8, 65535, 0)
    shown = image_files.read_image(png16(tmp_path / "rgba.png", values), None)
    assert shown[:, 8:].min() == 255 and shown[:, :8].min() < 200
    grey_alpha = np.stack([values[..., 0], values[..., 3]], axis=-1)
    shown = image_files.read_image(png16(tmp_path / "la.png", grey_alpha), None)
    assert shown[:, 8:].min() == 255 and np.ptp(shown, axis=-1).max() == 0
    unmarked = four(0, 255)
    tifffile.imwrite(tmp_path / "x.tif", unmarked, photometric="rgb", extrasamples=[0])
    assert look(tmp_path / "x.tif").facts == {"channels": "4 channels"}
    shown = image_files.read_image(tmp_path / "x.tif", None)
    assert np.array_equal(shown, unmarked[..., :3])


@pytest.mark.parametrize("channels, planar", [(2, 1), (5, 1), (7, 2)])
def test_microscopy_tiff_of_many_channels_and_pages(channels, planar, tmp_path):
    import tifffile

    values = deep(channels=channels).astype(np.uint8)
    stored = values if planar == 1 else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="minisblack",
                     planarconfig=planar)  # fmt: skip
    shown = image_files.read_image(tmp_path / "x.tif", None)
    n = 1 if channels == 2 else 3  # two channels: grey from the first
    assert np.array_equal(shown[..., :n], values[..., :n])
    assert look(tmp_path / "x.tif").facts == {"channels": f"{channels} channels"}
    stack = np.stack([values[..., 0], values[..., 1]]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    found = decode(tmp_path / "stack.tif")
    assert np.array_equal(found.values, stack[0]) and found.facts["frames"] == "2"


def test_animations_long_sides_and_ordinary_jpeg(tmp_path):
    frames = [Image.new("RGB", (9, 9), (40 * i, 0, 0)) for i in range(1, 4)]
    for ending in ("gif", "webp", "tif", "png"):
        path = tmp_path / f"x.{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert look(path).facts == {"frames": "3"}, ending
        assert abs(int(image_files.read_image(path, None)[0, 0, 0]) - 40) < 8
    Image.new("L", (1, 10_000), 90).save(tmp_path / "line.png")
    assert look(tmp_path / "line.png").facts == {"long": "1 x 10000"}
    assert image_files.read_image(tmp_path / "line.png", 8).min() == 90
    frames[0].save(tmp_path / "plain.jpg")
    assert look(tmp_path / "plain.jpg") == pictures.Look(side=9)


# -- HEIC and DICOM ---------------------------------------------------------------


def test_heic_is_read_under_any_name(tmp_path):
    import pillow_heif

    values = np.zeros((32, 48, 3), dtype=np.uint8)
    values[:, :24] = 200
    made = pillow_heif.from_pillow(Image.fromarray(values))
    made.save(tmp_path / "x.HEIC", quality=90)
    (tmp_path / "renamed.jpg").write_bytes((tmp_path / "x.HEIC").read_bytes())
    for name in ("x.HEIC", "renamed.jpg"):
        shown = image_files.read_image(tmp_path / name, None)
        assert shown.shape == values.shape
        assert np.abs(shown.astype(int) - values)[:, :20].max() < 12


def dicom(path, values, **tags):
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.name])
    frames = values.shape[0] if values.ndim == 3 else 1
    data.Rows, data.Columns = values.shape[-2:]
    data.NumberOfFrames = frames
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = 8 * values.dtype.itemsize
    data.BitsStored = data.BitsAllocated
    data.HighBit = data.BitsAllocated - 1
    data.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = values.tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_rescale_window_inverted_and_frames(tmp_path):
    values = np.arange(256, dtype=np.int16).reshape(16, 16) * 8
    plain = look(dicom(tmp_path / "a.dcm", values, RescaleSlope=2,
                       RescaleIntercept=-1024))  # fmt: skip
    assert (plain.kind, plain.low, plain.high) == (
        "DICOM values",
        -1024,
        2 * 2040 - 1024,
    )
    window = dict(WindowCenter=500.5, WindowWidth=201)
    named = dicom(tmp_path / "b.dcm", values, **window)
    assert look(named).window == (400, 600)
    rule = Rule.found([look(named)])
    assert rule.ranges == {"DICOM values": (400, 600)}
    levels = np.asarray(rgb(decode(named), rule)[0])[..., 0]
    assert levels[values <= 400].max() == 0 and levels[values >= 600].min() == 255
    turned = dicom(tmp_path / "c", values, PhotometricInterpretation="MONOCHROME1",
                   **window)  # fmt: skip
    assert np.array_equal(
        np.asarray(rgb(decode(turned), rule)[0])[..., 0], 255 - levels
    )
    stack = np.stack([values, values[::-1]])
    several = decode(dicom(tmp_path / "d.dcm", stack))
    assert several.facts == {"frames": "2"} and np.array_equal(several.values, values)
    eight = decode(dicom(tmp_path / "e.dcm", values.astype(np.uint8)))
    assert eight.kind == pictures.EIGHT
    assert pictures.reader_of(turned) == "pydicom"  # without an ending
    other = dicom(tmp_path / "f.dcm", values, WindowCenter=900.5, WindowWidth=401)
    both = Rule.found([look(named), look(other)])
    assert both.ranges == {"DICOM values": (400, 1100)}
    assert "2 different windows" in both.told[0]


@pytest.mark.parametrize(
    "library, ending",
    [("pillow_heif", ".heic"), ("pydicom", ".dcm"), ("tifffile", ".lsm")],
)
def test_without_the_extra_the_kind_is_named(library, ending, tmp_path, monkeypatch):
    real = pictures.has
    monkeypatch.setattr(pictures, "has", lambda name: name != library and real(name))
    for name in "ab":
        for i in range(3):
            grey(
                tmp_path / name / f"{i}.png", deep(i, 255, channels=3).astype(np.uint8)
            )
        (tmp_path / name / f"x{ending}").write_bytes(b"something")
    found = datasets.read_folder(tmp_path, datasets.Reader(8))
    said = " ".join(found.notes())
    assert f"{ending}, which needs {library}" in said and INSTALL in said
    assert f": 2 (a/x{ending}, b/x{ending})" in said and found.left_out.pictures == 2


# -- files that cannot be read ----------------------------------------------------

DAMAGE = {
    "empty.png": (b"", "empty"),
    "zeros.jpg": (b"\0" * 5000, "zeros only"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "page.jpg": (b"<!DOCTYPE html><html></html>", "web page"),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "XML"),
    "words.bmp": (b"not a picture", "no picture of a kind"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
    "cut.tif": (b"II*\0\x08\0\0\0", "damaged"),
    "scan.dcm": (b"\0" * 128 + b"DICM", "DICOM"),
}


def test_mutated_files_end_in_a_picture_or_in_a_reason(tmp_path):
    import tifffile

    values = deep(1, 255).astype(np.uint8)
    for ending in ("png", "jpg", "gif", "bmp", "webp", "tif", "jp2", "ppm"):
        Image.fromarray(values).save(tmp_path / f"whole.{ending}")
    png16(tmp_path / "deep.png", deep(2))
    tifffile.imwrite(tmp_path / "many.tif", deep(3, channels=6), photometric=1)
    dicom(tmp_path / "scan.dcm", deep(4)[..., 0])
    rng, told = np.random.default_rng(0), 0
    for file in sorted(tmp_path.iterdir()):
        whole = np.frombuffer(file.read_bytes(), dtype=np.uint8)
        for i in range(12):
            content = whole.copy()
            if i % 2:
                content = content[: rng.integers(len(content))]
            else:
                places = rng.integers(len(content), size=1 + i)
                content[places] = rng.integers(0, 256, len(places))
            changed = tmp_path / f"changed{file.suffix}"
            changed.write_bytes(content.tobytes())
            try:
                assert image_files.read_image(changed, 8).shape == (8, 8, 3)
            except CourseError as error:
                told += "cannot be read: " in str(error)
    assert told > 60


def two_classes(root, n=3):
    for k, name in enumerate("ab"):
        for i in range(n):
            values = deep(10 * k + i, 255, channels=3).astype(np.uint8)
            grey(root / name / f"{i}.png", values)
    return root


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_its_reason(name, tmp_path):
    content, reason = DAMAGE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CourseError, match=f"{name} cannot be read: .*{reason}"):
        image_files.read_image(tmp_path / name)


def test_all_damaged_files_are_listed_or_skipped(tmp_path):
    root = two_classes(tmp_path / "set")
    for i in range(15):
        whole = (root / "a" / "0.png").read_bytes()
        (root / "b" / f"cut{i:02d}.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "empty.jpg").write_bytes(b"")
    with pytest.raises(CourseError) as why:
        datasets.read_folder(root, datasets.Reader(8, option="--skip-unreadable"))
    said = str(why.value)
    assert "16 of 22 pictures cannot be read" in said and "--skip-unreadable" in said
    assert "a/empty.jpg cannot be read" in said and "and 4 more" in said
    assert said.count("cannot be read:") == 1 + 12
    found = datasets.read_folder(root, datasets.Reader(8, skip_unreadable=True))
    assert found.parts["all"].counts() == {"a": 3, "b": 3}
    notes = " ".join(found.notes())
    assert "15 (set/b/cut00.png" in notes and "1 (set/a/empty.jpg)" in notes
    assert found.left_out.pictures == 16
    with pytest.warns(UserWarning, match="unreadable"):
        data = datasets.from_folder(root, 8, skip_unreadable=True)
    assert len(data) == 6
    for file in (root / "b").glob("?.png"):
        file.unlink()
    with pytest.raises(CourseError, match="none of the pictures of b"):
        datasets.read_folder(root, datasets.Reader(8, skip_unreadable=True))


def test_a_table_lists_all_rows_whose_pictures_are_missing(tmp_path):
    two_classes(tmp_path)
    lines = ["image,label"] + [f"{c}/{i}.png,{c}" for c in "ab" for i in range(5)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(
        CourseError, match="(?s)4 of 10 pictures do not exist.*row 5: a/3"
    ):
        datasets.from_csv(tmp_path / "t.csv", size=8)
    with pytest.warns(UserWarning, match="does not exist: 4 "):
        data = datasets.from_csv(tmp_path / "t.csv", size=8, skip_unreadable=True)
    assert data.counts() == {"a": 3, "b": 3}


def test_pictures_beyond_the_limit_say_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    values = deep(side=12)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "x.png")
    png16(tmp_path / "deep.png", values)
    write_tiff(tmp_path / "float", values.astype(np.float32))
    dicom(tmp_path / "x.dcm", values[..., 0])
    for name in ("x.png", "deep.png", "float.tif", "x.dcm"):
        with pytest.raises(CourseError, match="than the 100 that are read.*into tiles"):
            image_files.read_image(tmp_path / name)


def test_a_table_scales_as_a_folder_does(tmp_path):
    root = exposures(tmp_path / "set", 900)
    with pytest.warns(UserWarning, match="0 to 1023 became 0 to 255"):
        datasets.from_folder(root, 16)
    lines = [f"{c}/{i}.tif,{c}" for c in "ab" for i in range(9)]
    (root / "t.csv").write_text("\n".join(["image,label", *lines]))
    config = configuration.from_dict({"split": [0.6, 0.2, 0.2]})
    parts = own_data.read(root / "t.csv", config, 16)
    trained = [root / name for name in parts.train.metadata["example"]]
    high = max(np.asarray(Image.open(file)).max() for file in trained)
    ((low, full),) = parts.pictures["ranges"].values()
    assert low == 0 and high <= full < 2 * high
    shown = np.asarray(Image.open(trained[0]), dtype=float)
    wanted = np.floor(shown * 255 / full + 0.5).clip(0, 255)
    assert np.array_equal(parts.train.images[0][..., 0], wanted)
    other = datasets.from_folder(root, 16, rule=Rule({"16 bits": (0.0, 2000.0)}))
    assert other.images.max() < 120
    floats = Rule({"floats": (0.0, 1.0)})
    with pytest.raises(CourseError, match="its rule is for 8 bits and floats"):
        image_files.read_image(root / "a" / "0.tif", 16, rule=floats)


def tiff_floats(folder, mark, names=("a", "b"), n=5):
    """Floats from 0 to 0.9 with a strip of one value that stands for "missing"."""
    import tifffile

    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            values = np.random.default_rng(10 * k + i).random((16, 16)) * 0.9
            values[:, :3] = mark
            tifffile.imwrite(folder / name / f"{i}.tif", values.astype(np.float32))
    return folder


@pytest.mark.parametrize("mark", [-9999, -3.4e38, 32767, 65535])
def test_a_value_that_marks_missing_pixels_is_told(mark, tmp_path):
    root = tiff_floats(tmp_path / "set", mark)
    with pytest.raises(CourseError) as why:  # all pictures became equal
        own_data.read(root, configuration.Config(), 16)
    said = f"The value {np.float32(mark):g} stands far from all others"
    assert said in str(why.value)
    assert "--value-range" in str(why.value)
    ranged = configuration.Config(value_range=(0.0, 0.9))
    parts = own_data.read(root, ranged, 16)
    assert not any("stands far" in note for note in parts.notes)


@pytest.mark.parametrize("mark", [0.0, 0.9, -0.2])
def test_a_frequent_value_near_the_others_is_no_mark(mark, tmp_path):
    made = tiff_floats(tmp_path / "set", mark)
    parts = own_data.read(made, configuration.Config(), 16)
    assert not any("stands far" in note for note in parts.notes)


def test_colours_of_lab_have_no_fourth_channel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert("LAB").save(tmp_path / "lab.tif")
    assert look(tmp_path / "lab.tif").fourth is None
    assert (
        np.abs(
            np.asarray(rgb(decode(tmp_path / "lab.tif"), Rule())[0]).astype(int)
            - pixels
        ).mean()
        < 8
    )  # 8 bits of LAB are coarse


def named_pictures(folder, names):
    (folder / "images").mkdir()
    for i, name in enumerate(names):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / name)


@pytest.mark.parametrize("column", ["file_name", "Filename", "path", "image_path"])
def test_usual_names_of_columns_and_backslashes_are_read(column, tmp_path):
    named_pictures(tmp_path, [f"{i}.png" for i in range(4)])
    rows = [f"images\\{i}.png,{'ab'[i % 2]}" for i in range(4)]
    (tmp_path / "t.csv").write_text("\n".join([f"{column},label", *rows]))
    found = datasets.read_table(tmp_path / "t.csv", datasets.Reader(8))
    assert len(found.parts["all"]) == 4


@pytest.mark.parametrize("written", ["0.png", "0", "images/0", "other/0.png"])
def test_a_table_that_names_pictures_elsewhere_says_where_they_are(written, tmp_path):
    named_pictures(tmp_path, ["0.png", "1.png"])
    rows = [f"{written},a", f"{written.replace('0', '1')},b"]
    (tmp_path / "t.csv").write_text("\n".join(["image,label", *rows]))
    with pytest.raises(CourseError) as why:
        datasets.read_table(tmp_path / "t.csv", datasets.Reader(8))
    assert "a relative one starts at" in str(why.value)
    assert "may be images/0.png" in str(why.value)


@pytest.mark.parametrize("kind, start", [(np.uint16, 29000), (np.uint32, 2**31),
                                         (np.float32, 290)])  # fmt: skip
def test_a_narrow_range_far_from_zero_is_told(kind, start, tmp_path):
    import tifffile

    for k, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for i in range(5):
            values = np.random.default_rng(10 * k + i).integers(0, 17, (16, 16))
            values = (values.astype(np.float64) + start).astype(kind)
            tifffile.imwrite(tmp_path / name / f"{i}.tif", values)
    reader = datasets.Reader(16)
    notes = " ".join(datasets.read_folder(tmp_path, reader).notes())
    assert f"No value lies below {start}," in notes
    assert f"value_range: [{start}, {start + 16}]" in notes
    ranged = datasets.Reader(16, value_range=(start, start + 16))
    assert "No value" not in " ".join(datasets.read_folder(tmp_path, ranged).notes())


@pytest.mark.parametrize("mode, clear", [("P", 0), ("RGB", (9, 9, 9)), ("L", 9)])
def test_a_colour_that_means_clear_is_laid_over_white_and_told(mode, clear, tmp_path):
    for k, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        picture = Image.new(mode, (8, 8), clear)
        picture.putpixel((k, k), 200 if mode != "RGB" else (200, 0, 0))
        picture.save(tmp_path / name / "1.png", transparency=clear)
        picture.save(tmp_path / name / "opaque.png")
    notes = datasets.read_folder(tmp_path, datasets.Reader(8)).notes()
    (said,) = [note for note in notes if "laid over white: 2 (" in note]
    assert "a/1.png" in said and "opaque" not in said
