"""Picture files as people have them: which there are, what they hold, their values.

A file is opened by what it holds, not by its name: Pillow for the usual formats, and
through the extra `formats` pillow-heif (HEIC), pydicom (DICOM) and tifffile (TIFF of
many channels, in planes or of floats).  Values keep their own depth until a
:class:`scaling.Rule` scales them, by the same numbers for every picture of a set.
No file is executed, and none is read whose reader would (PostScript).
"""

import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from course_lib.datasets.messages import INSTALL
from course_lib.errors import CourseError

EIGHT, SIXTEEN, WHOLE, FLOATS, DICOM = (
    "8 bits", "16 bits", "whole numbers", "floats", "DICOM values",
)  # fmt: skip
NEVER = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}  # stubs, and what runs programs
HEIF_ENDINGS = (".heic", ".heif", ".hif")
DICOM_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
TIFF_ENDINGS = (".btf", ".lsm", ".stk", ".tf2", ".tf8")
LIBRARIES = {
    **dict.fromkeys(HEIF_ENDINGS, "pillow_heif"),
    **dict.fromkeys(DICOM_ENDINGS, "pydicom"),
    **dict.fromkeys(TIFF_ENDINGS, "tifffile"),
}
# Pictures of kinds that nothing here reads: they are counted among the pictures.
UNREAD = set(
    ".3fr .ai .arw .avi .cr2 .cr3 .czi .dng .eps .exr .hdr .jxl .jxr .lif .mha .mhd "
    ".mov .mp4 .mrxs .nd2 .ndpi .nef .nii .npy .npz .nrrd .oib .orf .pdf .pef .ps .psb "
    ".raf .raw .rw2 .srw .svg .svs .vsi .webm .wmf .xcf".split()
)
LOGGERS = ("tifffile", "pydicom", "PIL")  # what they say, a CourseError says better
LONG = 5  # sides' ratio from which on four fifths lie outside the middle square
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
SAMPLED = 100_000  # values of a picture that its 99.9 % quantile is taken from


class MissingReader(CourseError):
    """A picture that a library of the extra `formats` would read."""

    def __init__(self, path, what: str, library: str):
        self.what, self.library = what, library
        super().__init__(
            f"image file {path} is {what}, which needs {library}.\nExpected: a format "
            "that Pillow reads (PNG, JPEG, TIFF, BMP ...), or the extra `formats`.\n"
            f"Do: {INSTALL} in the course's folder, or convert the file."
        )


class Unreadable(Exception):
    """Why a file cannot be read, in words that follow "cannot be read: "."""


@lru_cache
def has(library: str) -> bool:
    """Is an optional library installed?"""
    return find_spec(library) is not None


# -- which files are pictures -----------------------------------------------------


@lru_cache
def _pillow_endings() -> frozenset[str]:
    known = Image.registered_extensions()
    kinds = set(Image.OPEN) - NEVER
    return frozenset(ending for ending, kind in known.items() if kind in kinds)


def named_as_picture(name: str) -> bool:
    """Does the ending of a name say that it is a picture?"""
    ending = Path(name).suffix.lower()
    return ending in _pillow_endings() or ending in LIBRARIES


def reader_of(path: Path) -> str:
    """Who reads a file of this name: "pillow", a library, "" where nobody does.

    A file without an ending, or with one of digits, as scanners write them, is judged
    by its first bytes.  Raises MissingReader where the library is not installed.
    """
    ending = path.suffix.lower()
    if ending in _pillow_endings():
        return "pillow"
    if ending in LIBRARIES:
        library = LIBRARIES[ending]
        if not has(library):
            raise MissingReader(path, f"of the kind {ending}", library)
        return library
    if ending and not re.fullmatch(r"\.\d*", ending):
        return ""
    return _sniffed(path)


def _sniffed(path: Path) -> str:
    head = _head(path)
    if _is_dicom(head, path):
        if not has("pydicom"):
            raise MissingReader(path, "a DICOM file", "pydicom")
        return "pydicom"
    if _is_heif(head):
        if not has("pillow_heif"):
            raise MissingReader(path, "a HEIC picture", "pillow_heif")
        return "pillow_heif"
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", *TIFF_MAGIC)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return "pillow" if webp or head.startswith(starts) else ""


def _head(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(4096)
    except OSError:
        return b""


def _is_dicom(head: bytes, path: Path) -> bool:
    bare = path.suffix.lower() in DICOM_ENDINGS and head[:4] not in TIFF_MAGIC
    return head[128:132] == b"DICM" or bare


def _is_heif(head: bytes) -> bool:
    if head[4:8] != b"ftyp":
        return False
    brands = head[8 : max(16, int.from_bytes(head[:4], "big"))]
    return head[8:12] in HEIF_BRANDS and b"avif" not in brands and b"avis" not in brands


# -- one file ---------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """What a file holds, upright, in its own depth.

    values: a Pillow image of 8 bits in any mode, or an array (H, W) or (H, W, 3).
    kind: of the numbers, a key of ``Rule.ranges``.  fourth: a channel that may be
    transparency, in the depth of values, (H, W) or None.  container: "TIFF" or "other".
    window: lowest and highest value that a DICOM file asks to show.  facts: what a
    learner is told, {sort: detail}.
    """

    values: object
    kind: str = EIGHT
    fourth: np.ndarray | None = None
    container: str = "other"
    inverted: bool = False
    window: tuple[float, float] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Look:
    """What :func:`look` finds in one file without keeping its values.

    low, high, most: smallest and largest value, and the one that 99.9 % lie below.
    inner: smallest and largest value without these two; None where there is no other.
    fourth: (fully opaque, fully clear, all) pixels of a channel in doubt, or None.
    side: pixels of the shorter side.
    """

    kind: str = EIGHT
    low: float = 0.0
    high: float = 255.0
    most: float = 255.0
    inner: tuple[float, float] | None = None
    window: tuple[float, float] | None = None
    container: str = "other"
    fourth: tuple[int, int, int] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    side: int = 0


def look(path: Path) -> Look:
    """A first look at a file; pixels are decoded only where a rule depends on them.

    Raises MissingReader, and Unreadable with the reason.
    """
    with _named_errors():
        head = _checked_head(path)
        if not (_is_dicom(head, path) or _is_heif(head)):
            with _pillow(path, head) as opened:
                # 8 bits need no rule: the header is enough, no pixel is decoded
                if opened is not None and _is_plain(opened):
                    facts = _facts(opened) | _clear_parts(opened)
                    return Look(facts=facts, side=min(opened.size))
    picture = decode(path)
    fourth = None
    if picture.fourth is not None:
        full = full_scale(picture.fourth.dtype)
        fourth = (
            int((picture.fourth >= full).sum()),
            int((picture.fourth <= 0).sum()),
            picture.fourth.size,
        )
    about = dict(container=picture.container, fourth=fourth, facts=picture.facts)
    shape = getattr(picture.values, "size", None)  # of a Pillow image (width, height)
    about["side"] = min(shape if isinstance(shape, tuple) else picture.values.shape[:2])
    if picture.kind == EIGHT:
        return Look(**about)
    values = picture.values.reshape(-1)
    # a quantile sorts: every k-th value is enough for it, not for the extremes
    some = values[:: max(1, len(values) // SAMPLED)]
    low, high = values.min(), values.max()
    between = values[(values > low) & (values < high)]
    return Look(
        kind=picture.kind,
        low=float(low),
        high=float(high),
        most=float(np.quantile(some, 0.999)),
        inner=(float(between.min()), float(between.max())) if len(between) else None,
        window=picture.window,
        **about,
    )


def decode(path: Path, size: int | None = None) -> Picture:
    """The picture of a file.  size: pixels that suffice, for a faster read of JPEG.

    Raises MissingReader, and Unreadable with the reason.
    """
    with _named_errors():
        head = _checked_head(path)
        if _is_dicom(head, path):
            return _from_dicom(path)
        if _is_heif(head):
            return _from_heif(path)
        with _pillow(path, head) as opened:
            if opened is not None and not _is_cut(opened):
                if size is not None:
                    # JPEG is decoded at 1/2 to 1/8 of its size; four times what is
                    # wanted leaves Lanczos' filter as good as all of it
                    opened.draft("RGB", (4 * size, 4 * size))
                return _from_pillow(opened)
            facts = _facts(opened) if opened is not None else {}
            halves = opened is not None and _has_halves(opened)
            # Pillow would cut these to 8 bits.  TIFF goes to tifffile, evenly packed
            # 16 bits are read in halves, of the rest the upper 8 bits are kept and told
            colours = ("RGB", "RGBA", "RGBX", "LA")
            if opened is not None and not halves and not (
                opened.format == "TIFF" and opened.mode in colours
            ):  # fmt: skip
                facts["cut"] = str(opened.format)
                return replace(_from_pillow(opened), facts=facts)
        if halves:
            return _from_halves(path, head, facts)
        return _from_tiff(path, facts)


@contextmanager
def _named_errors() -> Iterator[None]:
    """Whatever a reader raises becomes Unreadable with a reason in plain words."""
    # what a reader logs or warns of goes to the terminal of a learner otherwise
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (Unreadable, CourseError, FileNotFoundError):
        raise
    except Exception as error:
        raise Unreadable(_reason(error)) from None
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _reason(error) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is damaged, or no picture of a kind that is read"
    if isinstance(error, Image.DecompressionBombError):
        return _too_large()
    if isinstance(error, PermissionError):
        return "you have no right to read it"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    text = str(error).strip()
    return text.splitlines()[0][:200].rstrip(".") if text else type(error).__name__


def most_pixels() -> int | None:
    """Pixels of the largest picture that is read: Pillow's limit, None without one."""
    most = Image.MAX_IMAGE_PIXELS
    return None if most is None else 2 * most


def _too_large(shape=()) -> str:
    has_pixels = f"it has {' x '.join(map(str, shape))} pixels, more" if shape else (
        "it has more pixels"
    )  # fmt: skip
    return (
        f"{has_pixels} than the {most_pixels():,} that are read, for it might be made "
        "to fill the memory; make it smaller or cut it into tiles first"
    )


def _check_size(*shape: int) -> None:
    if min(shape) < 1:
        raise Unreadable("it has no pixels")
    if most_pixels() is not None and np.prod(shape, dtype=float) > most_pixels():
        raise Unreadable(_too_large(shape))


def _checked_head(path: Path) -> bytes:
    """The first bytes; Unreadable for what is known to be no picture."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    if not head:
        raise Unreadable("it is empty (0 bytes)")
    if not head.strip(b"\0"):
        raise Unreadable("it holds zeros only, as after an interrupted copy")
    if head.startswith(b"version https://git-lfs"):
        raise Unreadable("it is a pointer of Git LFS; fetch it with `git lfs pull`")
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise Unreadable("it is a web page, as after a failed download")
    if start.startswith((b"<?xml", b"<svg")):
        raise Unreadable("it is a drawing or text in XML")
    return head


# -- Pillow -----------------------------------------------------------------------


@contextmanager
def _pillow(path: Path, head: bytes) -> Iterator[Image.Image | None]:
    """A file as Pillow opens it; None for a TIFF that Pillow does not know."""
    Image.init()
    try:
        opened = Image.open(path, formats=sorted(set(Image.OPEN) - NEVER))
    except UnidentifiedImageError:
        if head[:4] not in TIFF_MAGIC:
            raise
        opened = None
    if opened is None:
        yield None
        return
    with opened:
        if min(opened.size) < 1:
            raise Unreadable("it has no pixels")
        yield opened


def _is_deep(mode: str) -> bool:
    return mode.startswith("I") or mode == "F"


def _certain_alpha(opened) -> bool:
    """Transparency by the definition of the file, with nothing to judge."""
    return "transparency" in opened.info or opened.mode in ("PA", "La", "RGBa")


def _clear_parts(opened) -> dict[str, str]:
    """{"alpha": ""} where a colour that means "clear" is used, as in a palette."""
    if not _certain_alpha(opened):
        return {}
    least, _ = opened.convert("RGBA").getchannel("A").getextrema()
    return {"alpha": ""} if least < 255 else {}


def _is_plain(opened) -> bool:
    """8 bits without a fourth channel in doubt."""
    if _is_deep(opened.mode) or _is_cut(opened):
        return False
    return not has_alpha_band(opened) or _certain_alpha(opened)


def has_alpha_band(image) -> bool:
    """Has a Pillow image a band of transparency?"""
    return "A" in image.getbands() and image.mode != "LAB"  # whose A is a colour


def _is_cut(opened) -> bool:
    """Would Pillow cut more than 8 bits of a colour channel without a word?"""
    if _is_deep(opened.mode):
        return False
    if opened.format == "JPEG2000":
        return _bits_of_jpeg2000(opened) > 8
    if opened.format == "AVIF":
        return _bits_of_avif(opened) > 8
    if opened.format == "TIFF":  # Pillow reads planes of 16 bits as if they had 8
        return max(np.atleast_1d(opened.tag_v2.get(258, 1))) > 8  # BitsPerSample
    # elsewhere the raw mode of a tile says how many bits are unpacked
    for tile in opened.tile:
        arguments = tile[3]
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        if arguments and isinstance(arguments[0], str) and ";16" in arguments[0]:
            return True
        if opened.format == "PPM" and len(arguments) > 1:
            return isinstance(arguments[1], int) and arguments[1] > 255
        if opened.format == "SGI" and "SGI16" in str(tile[0]):
            return True
    return False


def _bits_of_jpeg2000(opened) -> int:
    head = _head(Path(opened.filename))
    box = head.find(b"ihdr")  # height, width, channels, then bits - 1 and a sign
    if box >= 0 and head[box + 14] != 255:
        return (head[box + 14] & 0x7F) + 1
    size = head.find(b"\xff\x51")  # the marker SIZ; its first Ssiz
    return (head[size + 40] & 0x7F) + 1 if 0 <= size < len(head) - 40 else 8


def _bits_of_avif(opened) -> int:
    head = _head(Path(opened.filename))
    box = head.find(b"av1C")  # its third byte holds high_bitdepth and twelve_bit
    if not 0 <= box < len(head) - 6:
        return 8
    return 8 + 2 * bool(head[box + 6] & 0x40) + 2 * bool(head[box + 6] & 0x20)


def _facts(opened) -> dict[str, str]:
    """What is told of a file: frames, further channels, proportions."""
    facts = {}
    if opened.format != "MPO" and getattr(opened, "n_frames", 1) > 1:
        facts["frames"] = str(opened.n_frames)
    if opened.format == "TIFF":
        samples = opened.tag_v2.get(277, 1)  # SamplesPerPixel
        used = len(opened.getbands())
        if samples > used and opened.mode != "P":
            facts["channels"] = f"{samples} channels"
    return facts | _proportions(*opened.size)


def _proportions(width: int, height: int) -> dict[str, str]:
    if max(width, height) > LONG * min(width, height):
        return {"long": f"{width} x {height}"}
    return {}


def _from_pillow(opened) -> Picture:
    facts = _facts(opened)
    container = "TIFF" if opened.format == "TIFF" else "other"
    certain = _certain_alpha(opened)
    is_ppm, tag = opened.format == "PPM", getattr(opened, "tag_v2", {})
    image = ImageOps.exif_transpose(opened)
    if not _is_deep(image.mode):
        fourth = None
        if has_alpha_band(image) and not certain:
            fourth = np.asarray(image.getchannel("A"))
        elif certain:
            image = image.convert("RGBA")
        image.load()
        return Picture(image.copy(), EIGHT, fourth, container, facts=facts)
    values = np.asarray(image)
    unsigned = 1 in np.atleast_1d(tag.get(339, 1))  # SampleFormat
    if is_ppm and image.mode == "I":  # Pillow has scaled these to 16 bits
        values = values.astype(np.uint16)
    elif container == "TIFF" and image.mode == "I" and unsigned:
        values = values.view(np.uint32)  # what Pillow reads as signed
    elif opened.format == "PNG" and image.mode == "I":
        values = values.astype(np.uint16)
    inverted = container == "TIFF" and tag.get(262) == 0  # Photometric: white is zero
    return _deep(values, container=container, facts=facts, inverted=inverted)


def _has_halves(opened) -> bool:
    """Can the upper and the lower bytes of 16-bit colours be read one after the other?

    So it is where Pillow unpacks pixels of 16 bits a channel, all channels together.
    """
    modes = {_raw_mode(tile) for tile in opened.tile}
    return len(modes) == 1 and modes <= {
        f"{stem};16{order}" for stem in ("RGB", "RGBA", "LA") for order in "BLN"
    }


def _raw_mode(tile) -> str:
    arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    return str(arguments[0]) if arguments else ""


def _from_halves(path: Path, head: bytes, facts) -> Picture:
    """16-bit colours, of which Pillow keeps the upper bytes: read twice.

    The second time the order of the bytes is named the other way round, and the lower
    byte is kept.
    """
    bytes_read = []
    for lower in (False, True):
        with _pillow(path, head) as opened:
            raw = _raw_mode(opened.tile[0])
            container = "TIFF" if opened.format == "TIFF" else "other"
            if raw == "LA;16B":  # four bytes a pixel: grey and alpha, upper and lower
                opened.tile = [tile._replace(args="RGBA") for tile in opened.tile]
            elif lower:
                opened.tile = [_swapped(tile) for tile in opened.tile]
            opened.load()
            bytes_read.append(np.asarray(ImageOps.exif_transpose(opened)))
    upper, lower = (half.astype(np.uint16) for half in bytes_read)
    if raw == "LA;16B":
        values = upper[..., 0::2] * 256 + upper[..., 1::2]
    else:
        values = upper * 256 + lower
    fourth = values[..., -1] if values.shape[2] in (2, 4) else None
    colour = values[..., 0] if values.shape[2] == 2 else values[..., :3]
    return _deep(colour, fourth, container, facts=facts)


def _swapped(tile):
    """A tile of Pillow with the other order of bytes."""
    stem, order = _raw_mode(tile).rsplit(";16", 1)
    native = "L" if sys.byteorder == "little" else "B"
    order = {"B": "L", "L": "B"}[native if order == "N" else order]
    raw = f"{stem};16{order}"
    if isinstance(tile.args, tuple):
        return tile._replace(args=(raw, *tile.args[1:]))
    return tile._replace(args=raw)


def _turned(plane, turn: int):
    """A plane (H, W) upright by an EXIF orientation, 2 to 8."""
    return {
        2: np.flip(plane, 1),
        3: np.flip(plane, (0, 1)),
        4: np.flip(plane, 0),
        5: plane.T,
        6: np.rot90(plane, -1),
        7: np.rot90(plane, 2).T,
        8: np.rot90(plane, 1),
    }[turn]


def full_scale(dtype) -> float:
    """The largest value of a whole-number type; 1 for floats."""
    return float(np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else 1.0


def _deep(
    values: np.ndarray, fourth=None, container="other", kind=None, facts=(), **more
) -> Picture:
    """A Picture of an array; arrays of 8 bits become Pillow images."""
    values = np.asarray(values)
    values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype == bool:
        values = values.astype(np.uint8) * 255
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise Unreadable("it holds values that are no numbers (NaN or infinite)")
    if values.dtype.kind not in "iuf":
        raise Unreadable(f"it holds values of the type {values.dtype}")
    if kind is None:
        kinds = {"uint8": EIGHT, "uint16": SIXTEEN}
        other = FLOATS if values.dtype.kind == "f" else WHOLE
        kind = kinds.get(values.dtype.name, other)
    if kind == EIGHT:
        values = Image.fromarray(np.ascontiguousarray(values))
        if fourth is not None:
            values = values.convert("RGB")
            values.putalpha(Image.fromarray(np.ascontiguousarray(fourth)))
    return Picture(values, kind, fourth, container, facts=dict(facts), **more)


# -- libraries of the extra -------------------------------------------------------


def _from_heif(path: Path) -> Picture:
    if not has("pillow_heif"):
        raise MissingReader(path, "a HEIC picture", "pillow-heif")
    import pillow_heif

    image = pillow_heif.open_heif(path, convert_hdr_to_8bit=False)  # turned upright
    _check_size(image.size[1], image.size[0])
    values = np.asarray(image)
    fourth = None
    if image.mode.split(";")[0] in ("RGBA", "LA", "RGBa", "La"):
        values, fourth = values[..., :-1], values[..., -1]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    facts = _proportions(*image.size)
    if len(image) > 1:
        facts["frames"] = str(len(image))
    return _deep(values, fourth, facts=facts)


def _from_tiff(path: Path, facts) -> Picture:
    """TIFF that Pillow does not know, or would cut to 8 bits."""
    if not has("tifffile"):
        raise MissingReader(path, "a TIFF of many channels or bits", "tifffile")
    import tifffile

    with tifffile.TiffFile(path) as opened:
        if not len(opened.pages):
            raise Unreadable("it is damaged: no page is found in it")
        page = opened.pages[0]
        axes, pages = page.axes, len(opened.pages)
        _check_size(*page.shape)
        try:
            values = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise Unreadable(
                f"its compression {page.compression.name} needs the package "
                "imagecodecs; install it, or save the file without compression"
            ) from None
        extra, photometric = page.extrasamples, page.photometric.name
        turn = page.tags.get(274).value if 274 in page.tags else 1  # Orientation
    facts = dict(facts)
    if pages > 1:
        facts["frames"] = str(pages)
    if axes not in ("YX", "YXS", "SYX"):
        while len(axes) > 2 and axes[-3:] not in ("YXS", "SYX"):
            values, axes = values[0], axes[1:]  # the first plane of a volume
        facts["frames"] = facts.get("frames", "several")
    if axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    if photometric in ("SEPARATED", "YCBCR", "CIELAB", "PALETTE"):
        raise Unreadable(
            f"its colours ({photometric}, {values.dtype}) have no reader; save as RGB"
        )
    if turn in range(2, 9):
        planes = values[..., None] if values.ndim == 2 else values
        planes = [_turned(planes[..., c], turn) for c in range(planes.shape[2])]
        values = np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]
    values, fourth, channels = _channels(values, extra)
    facts |= channels | _proportions(values.shape[1], values.shape[0])
    inverted = photometric == "MINISWHITE"
    return _deep(values, fourth, "TIFF", facts=facts, inverted=inverted)


def _channels(values: np.ndarray, extra=()):
    """(grey (H, W) or RGB (H, W, 3), channel that may be transparency, facts)."""
    if values.ndim == 2 or values.shape[2] == 1:
        return values.reshape(values.shape[:2]), None, {}
    channels = values.shape[2]
    marked = any(int(kind) in (1, 2) for kind in extra or ())  # as alpha, of two kinds
    if channels == 2 and marked:
        return values[..., 0], values[..., 1], {}
    if channels == 2:
        return values[..., 0], None, {"channels": "2 channels"}
    if channels == 4 and marked:
        return values[..., :3], values[..., 3], {}
    facts = {} if channels == 3 else {"channels": f"{channels} channels"}
    return values[..., :3], None, facts


def _from_dicom(path: Path) -> Picture:
    if not has("pydicom"):
        raise MissingReader(path, "a DICOM file", "pydicom")
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    data = pydicom.dcmread(path, force=_head(path)[128:132] != b"DICM")
    if not any(name in data for name in ("PixelData", "FloatPixelData",
                                         "DoubleFloatPixelData")):  # fmt: skip
        raise Unreadable("it is a DICOM file without a picture")
    _check_size(int(data.Rows), int(data.Columns))
    values = pixel_array(data, index=0)
    facts = _proportions(int(data.Columns), int(data.Rows))
    if int(data.get("NumberOfFrames") or 1) > 1:
        facts["frames"] = str(data.NumberOfFrames)
    shown = data.PhotometricInterpretation
    if shown == "PALETTE COLOR":
        values = apply_color_lut(values, data)
        return _deep(values[..., :3], facts=facts)
    if values.ndim == 3:
        return _deep(values[..., :3], facts=facts)
    inverted, window = shown == "MONOCHROME1", _window(data)
    rescaled = "RescaleSlope" in data or "ModalityLUTSequence" in data
    if values.dtype == np.uint8 and data.get("BitsStored") == 8 and not (
        rescaled or window
    ):  # fmt: skip
        return _deep(values, facts=facts, inverted=inverted)
    values = np.asarray(apply_modality_lut(values, data), dtype=np.float64)
    return _deep(values, kind=DICOM, facts=facts, inverted=inverted, window=window)


def _window(data) -> tuple[float, float] | None:
    """Lowest and highest value of the first window, in rescaled values (PS3.3)."""
    centre, width = data.get("WindowCenter"), data.get("WindowWidth")
    if centre in (None, "") or width in (None, ""):
        return None
    centre, width = (float(np.atleast_1d(v)[0]) for v in (centre, width))
    low = centre - 0.5 - (width - 1) / 2
    return (low, low + width - 1) if width > 1 else None
