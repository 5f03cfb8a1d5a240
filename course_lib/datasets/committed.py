"""Writes the committed data files, the same bytes on every machine, and checks them.

Texts are CSV files.  Pictures are .npz files, zip archives of arrays.  numpy's own
writer puts the time of day into it and compresses with zlib, whose output differs
between versions; here the archive is written with fixed dates and bzip2, whose output
does not.  ``np.load`` reads both.
"""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from course_lib import files, paths
from course_lib.datasets import (
    reports,
    spectrograms,
    tables,
    tickets,
    wafer_maps,
    wafer_micrographs,
)
from course_lib.datasets.images import ImageDataset
from course_lib.datasets.texts import TextDataset, from_examples
from course_lib.errors import CourseError

RENDERERS = {
    "wafer_micrographs": wafer_micrographs,
    "wafer_maps": wafer_maps,
    "spectrograms": spectrograms,
}
TEXTS = {"tickets": tickets, "reports": reports}
EVERY = RENDERERS | TEXTS
MADE_BY = "course data rebuild"
_DATE = (2024, 1, 1, 0, 0, 0)


def file_name(name: str) -> str:
    """Where a data set is kept, relative to data/."""
    return f"{name}.csv" if name in TEXTS else f"{name}.npz"


def npz_bytes(arrays: dict[str, np.ndarray], compress: bool = True) -> bytes:
    """Arrays as the bytes of an .npz archive that depend on nothing but the arrays."""
    method = zipfile.ZIP_BZIP2 if compress else zipfile.ZIP_STORED
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        for key, array in arrays.items():
            member = zipfile.ZipInfo(f"{key}.npy", date_time=_DATE)
            member.compress_type = method
            member.create_system = 3
            member.external_attr = 0o644 << 16
            content = io.BytesIO()
            array = np.ascontiguousarray(array)
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            np.lib.format.write_array(content, array, (1, 0), allow_pickle=False)
            out.writestr(member, content.getvalue(), compresslevel=9)
    return archive.getvalue()


def dataset_arrays(dataset: ImageDataset, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays under which a data set is stored; :func:`dataset_from` reads them."""
    arrays = {
        f"{prefix}images": dataset.images,
        f"{prefix}labels": dataset.labels.astype(np.uint8),
    }
    for key, column in dataset.metadata.items():
        arrays[f"{prefix}meta_{key}"] = column
    return arrays


def dataset_from(path: Path, prefix: str, classes, name, split) -> ImageDataset:
    """Read back what :func:`dataset_arrays` stored; CourseError when it cannot be."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            images = stored[f"{prefix}images"]
            labels = stored[f"{prefix}labels"].astype(np.int64)
            start = f"{prefix}meta_"
            metadata = {
                key[len(start) :]: stored[key]
                for key in stored.files
                if key.startswith(start)
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CourseError(
            f"{path.name} cannot be read ({error}).\nExpected: a data set of this "
            f"course.\nDo: `{MADE_BY}`."
        ) from None
    return ImageDataset(images, labels, tuple(classes), name, split, metadata)


def csv_bytes(splits: list[TextDataset]) -> bytes:
    """Texts of all splits as CSV: split, text, label by name, metadata."""
    columns = list(splits[0].metadata)
    rows = [["split", "text", "label", *columns]]
    for part in splits:
        for i, (text, label) in enumerate(part):
            about = [part.metadata[column][i] for column in columns]
            rows.append([part.split, text, part.classes[label], *about])
    return files.csv_bytes(rows)


def texts_from(path: Path, name: str, split: str) -> TextDataset:
    """Read back one split of what :func:`csv_bytes` wrote."""
    found = tables.examples(path, "text", "text", "label", TEXTS[name].CLASSES)
    whole = from_examples(found)
    part = whole.subset(whole.metadata["split"] == split)
    metadata = {k: v for k, v in part.metadata.items() if k != "split"}
    metadata["mentions"] = metadata["mentions"].astype(np.int64)
    metadata["familiar"] = metadata["familiar"] == "True"
    return replace(part, name=name, split=split, metadata=metadata)


def content(name: str) -> bytes:
    """The bytes of the data file of one set, rendered anew."""
    if name in TEXTS:
        return csv_bytes(
            [TEXTS[name].render(n, split=s) for s, n in TEXTS[name].SIZES.items()]
        )
    renderer = RENDERERS[name]
    arrays = {"classes": np.array(renderer.CLASSES)}
    for split, size in renderer.SIZES.items():
        dataset = renderer.render(size, split=split)
        arrays |= dataset_arrays(dataset, prefix=f"{split}_")
    return npz_bytes(arrays)


def rebuild(names=None, folder: Path | None = None) -> list[Path]:
    """Render data sets anew and write their files; returns the paths written.

    names: which sets (default: all).  folder: where (default: data/, whose manifest is
    then brought up to date).  Every rebuild gives the same bytes.
    """
    names = list(EVERY) if names is None else list(names)
    for name in names:
        if name not in EVERY:
            raise CourseError(
                f"There is no data set {name!r} to rebuild.\n"
                f"Expected: one of {', '.join(EVERY)}."
            )
    target = paths.DATA if folder is None else Path(folder)
    written = []
    for name in names:
        path = target / file_name(name)
        files.atomic_write_bytes(path, content(name))
        written.append(path)
    if target.resolve() == paths.DATA.resolve():
        files.update_manifest([file_name(name) for name in names], MADE_BY)
    return written


def verify() -> list[str]:
    """What is wrong with the files listed in data/manifest.json, one sentence each.

    An empty list means that every file is as the course ships it.
    """
    listed = files.manifest()
    problems = [files.check(key, entry) for key, entry in listed.items()]
    problems += [
        f"data/{file_name(name)} is not listed in data/{files.MANIFEST}."
        for name in EVERY
        if file_name(name) not in listed
    ]
    return [problem for problem in problems if problem]
