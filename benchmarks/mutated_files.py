"""Damage files at random and see whether anything is lost without a word.

    python benchmarks/mutated_files.py --files 100 [--seed 0]

Pictures, tables, archives of submissions and weight files are made, one of each is
damaged (bytes flipped, cut, doubled, put in, another ending ...), and the reader of the
course is asked for it.  Fails on an error that is no CourseError, on a message that
does not say what to do, and on a picture, row or member that is neither read nor named.
"""

import argparse
import collections
import csv
import io
import random
import re
import sys
import tarfile
import tempfile
import traceback
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from course_lib import paths
from course_lib.course.grading import collect
from course_lib.errors import CourseError
from course_lib.jobs import configuration, own_data
from course_lib.models import zoo

LESSON = "08_lora"
NAMES = ("disc", "stripe", "cross")
OTHER_ENDINGS = (".png", ".tif", ".txt", ".csv", ".zip", ".bak", "")
GARBAGE = (
    b"\0" * 64,
    b'"',
    b"\r",
    b"\n\n",
    b",,,",
    b"\xff\xfe",
    b"\xc3",
    b"PK\x03\x04",
)


class Lost(Exception):
    """Something is neither read nor named."""


# -- damage -----------------------------------------------------------------------


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """(what was done, the bytes) of one to three random changes."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(content) + 1)
        size = min(rng.choice((1, 1, 8, 64, 400)), max(len(content) - at, 0))
        kind = rng.choice(
            ("flip", "cut", "zero", "double", "insert", "remove", "empty")
        )
        if kind == "flip":
            changed = bytes(
                b ^ (1 << rng.randrange(8)) for b in content[at : at + size]
            )
            content = content[:at] + changed + content[at + size :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "zero":
            content = content[:at] + b"\0" * size + content[at + size :]
        elif kind == "double":
            content = content[: at + size] + content[at:]
        elif kind == "insert":
            content = content[:at] + rng.choice(GARBAGE) + content[at:]
        elif kind == "remove":
            content = content[:at] + content[at + size :]
        elif rng.random() < 0.1:
            content = b""
        done.append(kind)
    return "+".join(done), content


def in_place(file: Path, rng: random.Random) -> str:
    """Damage a file, and now and then give it another ending; says what was done."""
    done, content = damaged(file.read_bytes(), rng)
    file.write_bytes(content)
    if rng.random() < 0.1:
        ending = rng.choice(OTHER_ENDINGS)
        file.rename(file.with_suffix(ending))
        done += f"+ending {ending!r}"
    return done


# -- pictures ---------------------------------------------------------------------


def make_pictures(folder: Path, rng: random.Random) -> list[Path]:
    """Eight pictures of three classes, in one of five forms."""
    form = rng.choice(("png", "jpg", "tif", "bmp", "deep.png"))
    draw = np.random.default_rng(rng.randrange(10**6))
    made = []
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        for i in range(8):
            values = draw.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            image = Image.fromarray(values)
            if form == "deep.png":
                grey = draw.integers(0, 65536, (24, 24), dtype=np.uint16)
                image = Image.fromarray(grey)
            made.append(folder / name / f"p{i}.{form.rpartition('.')[2]}")
            image.save(made[-1])
    return made


def try_pictures(folder: Path, rng: random.Random) -> str:
    """Damage one picture; all 24 must be read, or the damaged one be named."""
    file = rng.choice(make_pictures(folder, rng))
    done = in_place(file, rng)
    config = configuration.from_dict({"task": "images"})
    skip = rng.random() < 0.5
    parts = own_data.read(folder, config, 24, skip_unreadable=skip)
    count = sum(len(part) for part in parts)
    said = " ".join(parts.notes)
    if count != 24 and file.stem not in said:
        raise Lost(f"{count} of 24 pictures were read; {file.name} ({done}): {said}")
    return "read" if count == 24 else "left out and named"


# -- tables -----------------------------------------------------------------------


def make_table(folder: Path, rng: random.Random) -> Path:
    """Ninety texts with labels, in one of six forms."""
    rows = [
        (f"unit {i} reports {rng.choice(NAMES)}, shift {i % 3}", NAMES[i % 3])
        for i in range(90)
    ]
    form = rng.choice(
        ("csv", "csv", "csv", "tsv", "semicolon", "xlsx", "parquet", "jsonl")
    )
    path = folder / f"table.{'csv' if form == 'semicolon' else form}"
    folder.mkdir(parents=True)
    if form in ("csv", "tsv", "semicolon"):
        out = io.StringIO()
        sign = {"csv": ",", "tsv": "\t", "semicolon": ";"}[form]
        csv.writer(out, delimiter=sign).writerows([("text", "label"), *rows])
        path.write_text(out.getvalue(), encoding="utf-8", newline="")
        return path
    import pandas

    frame = pandas.DataFrame(rows, columns=["text", "label"])
    if form == "xlsx":
        frame.to_excel(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def try_table(folder: Path, rng: random.Random) -> str:
    """Damage a table; the rows that its lines promise must be read, or it be told."""
    path = make_table(folder, rng)
    done = in_place(path, rng)
    (path,) = folder.iterdir()
    config = configuration.from_dict({"task": "text", "split": [0.6, 0.2, 0.2]})
    parts = own_data.read(path, config)
    count = sum(len(part) for part in parts)
    said = " ".join(parts.notes)
    content = path.read_bytes()
    lines = len([x for x in re.split(rb"\r\n|\r|\n", content) if x.strip()])
    promised = 90 if content[:1] == b"P" else lines - 1  # Excel and Parquet, else text
    if count not in (90, promised, promised + 1) and not re.search(
        r"\d+ (row|text)", said
    ):
        raise Lost(f"{count} rows were read of {promised} lines ({done}): {said}")
    return "read" if count == 90 else "read, another number of rows"


# -- archives of submissions --------------------------------------------------------


def make_archive(folder: Path, rng: random.Random, notebook: bytes) -> Path:
    """A learner's archive with a notebook and two other files."""
    folder.mkdir(parents=True)
    members = {
        "notes.txt": b"my notes\n" * 20,
        f"{LESSON}/{LESSON}.ipynb": notebook,
        f"{LESSON}/figure.png": b"\x89PNG" + bytes(200),
    }
    if rng.random() < 0.5:
        path = folder / "ada.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path
    path = folder / "ada.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def try_archive(folder: Path, rng: random.Random) -> str:
    """Damage an archive beside a good notebook: both are told, the good one is kept."""
    notebook = (paths.ROOT / "exercises" / LESSON / f"{LESSON}.ipynb").read_bytes()
    inbox, to = folder / "inbox", folder / "submitted"
    done = in_place(make_archive(inbox, rng, notebook), rng)
    (inbox / "bob.ipynb").write_bytes(notebook)
    rows = collect.collect(LESSON, inbox, to)
    told = " ".join(f"{row.source} {row.told}" for row in rows)
    for entry in inbox.iterdir():
        if entry.name not in told:
            raise Lost(f"{entry.name} ({done}) is not in the table: {told}")
    kept = to / "bob" / LESSON / f"{LESSON}.ipynb"
    if not kept.exists() or kept.read_bytes() != notebook:
        raise Lost(f"bob's notebook was not collected: {told}")
    for row in rows:
        if row.problem and not re.search(r"[a-z]{3}", row.problem):
            raise Lost(f"no reason: {row}")
    own = to / "ada" / LESSON / f"{LESSON}.ipynb"
    whole = own.exists() and own.read_bytes() == notebook
    if not whole and not any(row.problem for row in rows):
        raise Lost(f"ada's notebook is not whole ({done}), and nobody says so: {told}")
    return "collected" if whole else "told"


# -- weight files -----------------------------------------------------------------


def make_weights(folder: Path, rng: random.Random) -> Path:
    """A state dict of squeezenet1_1, as torch or safetensors store it."""
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_1

    folder.mkdir(parents=True)
    state = squeezenet1_1().state_dict()
    if rng.random() < 0.3:
        save_file(state, folder / "w.safetensors")
        return folder / "w.safetensors"
    wrapped = rng.choice((state, {"state_dict": state, "epoch": 3}))
    torch.save(wrapped, folder / "w.pth")
    return folder / "w.pth"


def try_weights(folder: Path, rng: random.Random) -> str:
    """Damage a weight file; it is loaded whole, or refused with what to do."""
    in_place(make_weights(folder, rng), rng)
    (path,) = folder.iterdir()
    backbone = zoo.load(f"torchvision/squeezenet1_1@{path}")
    if not all(torch.isfinite(p).all() for p in backbone.model.parameters()):
        return "loaded; a number is not finite"  # safetensors has no checksum
    return "loaded"


# -- all of it ----------------------------------------------------------------------

KINDS = {
    "picture": try_pictures,
    "table": try_table,
    "archive": try_archive,
    "weights": try_weights,
}


def attempt(kind: str, seed: int, where: Path) -> tuple[str, str]:
    """(outcome, what was said) of one damaged file."""
    folder = where / f"{kind}-{seed}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return KINDS[kind](folder, random.Random(f"{kind} {seed}")), ""
    except CourseError as error:
        message = str(error)
        if "Do:" not in message or "Expected" not in message:
            return "FAULT: no advice", message
        return "refused with what to do", message
    except Lost as error:
        return "FAULT: lost", str(error)
    except Exception:
        return "FAULT: traceback", traceback.format_exc()


def main() -> int:
    """Damage files of all kinds in turn; 1 when one of them shows a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="every message")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    counts, faults = collections.Counter(), 0
    with tempfile.TemporaryDirectory() as where:
        for i in range(arguments.files):
            kind = list(KINDS)[i % len(KINDS)]
            seed = arguments.seed * 100_000 + i
            outcome, said = attempt(kind, seed, Path(where))
            counts[kind, outcome] += 1
            if outcome.startswith("FAULT") or arguments.show:
                faults += outcome.startswith("FAULT")
                print(f"{kind} {seed}: {outcome}\n{said}\n")
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:8s} {outcome:32s} {count:4d}")
    print(f"{arguments.files} files, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
