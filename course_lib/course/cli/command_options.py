"""What can be typed after `course`: one frozen class a command, one field an option.

typer reads the fields as it reads the parameters of a function, and makes the object; a
command's class docstring is its help.  What a command does stands in the other files of
this folder.  Nothing heavy is imported here: help, completion and a wrong option answer
at once.
"""

from dataclasses import dataclass

import typer

from course_lib import paths
from course_lib.errors import CourseError


def option(default, metavar: str, help: str, *names: str, complete=None):
    """An option with a value; `...` as its default: it must be given."""
    return typer.Option(
        default,
        *names,
        metavar=metavar,
        help=help,
        autocompletion=complete,
        show_default=default != "",
    )


def flag(name: str, help: str):
    """An option without a value, off where it is not given."""
    return typer.Option(False, name, help=help)


def lesson_numbers(incomplete: str) -> list[str]:
    """For completion: the numbers of the lessons that begin so."""
    try:
        found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    except CourseError:  # not in a clone of the course
        return []
    return [path.stem[:2] for path in found if path.stem.startswith(incomplete)]


def lesson_argument(default, help: str):
    """The number of a lesson, or several where the field is a list."""
    return typer.Argument(
        default, metavar="LESSON", help=help, autocompletion=lesson_numbers
    )


def many(words: list[str] | None) -> list[str] | None:
    """What an option for many words was given: [] for none; None: not asked for."""
    return None if words is None else [word for word in words if word]


JSON = flag("--json", "for programs to read")
LESSON = lesson_argument(..., "its number, such as 08")
DATABASE = option(None, "URL", "gradebook (default: gradebook.db in the course)")
UNSAFE = flag(
    "--without-sandbox",
    "run submissions unprotected where bubblewrap is missing: no security",
)
OUTPUTS = flag("--outputs", "show the stored results; else a cell is empty until run")
SKIP_UNREADABLE = flag(
    "--skip-unreadable", "go on without pictures that cannot be read, and list them"
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a table is read; `course diagnose` and `course predict` share it."""

    sheet: str | None = option(
        None, "NAME", "of an Excel file (default: the first with the columns)"
    )
    encoding: str | None = option(
        None, "NAME", "of a CSV file (default: UTF-8, else cp1252)"
    )
    skip_empty: bool = flag(
        "--skip-empty", "leave out, and count, rows without a value"
    )


# -- lessons -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what works on this machine, and why."""

    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Open JupyterLab on lesson 00, in your own copy."""

    context: typer.Context
    lesson: str = option("00", "LESSON", "open this one", complete=lesson_numbers)
    outputs: bool = OUTPUTS
    author: bool = flag("--author", "open the course's own notebooks, to change them")

    @property
    def passed_on(self) -> list[str]:
        """What is not the course's own goes to JupyterLab."""
        return self.context.args


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Make your own copy of the lessons, or bring it up to date."""

    outputs: bool = OUTPUTS


@dataclass(frozen=True, kw_only=True)
class Run:
    """Execute lessons from top to bottom."""

    lessons: list[str] | None = lesson_argument(
        None, "their numbers, such as 01 (default: all)"
    )
    to: str = option("executed", "FOLDER", "for the HTML pages")
    timeout: int = option(600, "SECONDS", "for one cell")
    write: bool = flag("--write", "store the outputs in the notebooks")
    recompute: list[str] | None = option(
        None,
        "[NAME]...",
        "compute result files again (default: all of them; may take hours); "
        "lessons are run only if named before this option",
    )
    short: bool = flag(
        "--short", "of these, only the cells of few updates that make test compares"
    )


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Show the ledger of claims and verdicts, or one claim with all that is known."""

    id: str | None = typer.Argument(None, metavar="CLAIM", help="such as C57")
    lesson: str | None = option(
        None, "NN", "only this lesson's", complete=lesson_numbers
    )
    verdict: str | None = option(None, "VERDICT", "only these: confirmed, refuted, ...")
    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class Web:
    """Build the web edition from the stored lessons."""

    to: str = option("site", "FOLDER", "for the pages")
    lessons: list[str] | None = option(
        None, "[LESSON]...", "only these (default: all)", complete=lesson_numbers
    )


@dataclass(frozen=True, kw_only=True)
class Links:
    """Links that open lessons on Colab and others."""

    repository: str | None = option(None, "URL", "(default: that of pyproject.toml)")
    hub: str = option("", "URL", "of your JupyterHub")
    install_cell: bool = flag("--install-cell", "print the cell for Colab instead")


@dataclass(frozen=True, kw_only=True)
class Check:
    """Run the visible tests of your exercises."""

    lessons: list[str] | None = lesson_argument(
        None, "their numbers, such as 08 (default: only show)"
    )
    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class Score:
    """Ask your answers for hidden inputs, as grading does."""

    lessons: list[str] = lesson_argument(..., "its number, such as 03; or several")
    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Show solutions, after an attempt that passes or three that failed."""

    lesson: str = LESSON
    question: str | None = typer.Argument(
        None, metavar="QUESTION", help="its name (default: all of the exercise)"
    )


# -- weights and data --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DataList:
    """Show public weights and data, with licences."""

    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class DataFetch:
    """Bring public weights and data, once."""

    names: list[str] | None = typer.Argument(
        None, metavar="NAME", help="(default: all)"
    )
    quiet: bool = flag("--quiet", "silent if all is here")


@dataclass(frozen=True, kw_only=True)
class DataVerify:
    """Compare each file's sha256."""


@dataclass(frozen=True, kw_only=True)
class DataRebuild:
    """Make data sets again, byte for byte."""

    names: list[str] | None = typer.Argument(
        None, metavar="NAME", help="(default: all)"
    )


# -- models ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train a bundled backbone yourself, or go on with one on unlabelled pictures."""

    name: str | None = typer.Argument(
        None, metavar="NAME", help="of a recipe (none, and no --on: list them)"
    )
    on: str | None = option(
        None,
        "FOLDER",
        "instead of a recipe: go on training on the pictures of this folder, without "
        "labels, as a start for `course train --backbone`",
    )
    backbone: str | None = option(
        None, "NAME", "with --on: what goes on (default: imagenet/efficientnet-lite0)"
    )
    config: str | None = option(
        None, "FILE", "with --on: YAML, for settings of your own; --example prints one"
    )
    minutes: float | None = option(
        None, "MINUTES", "stop after this long (default with --on: 20)"
    )
    epochs: int | None = option(
        None, "N", "with --on: passes over the pictures (default: 10, or by minutes)"
    )
    out: str | None = option(
        None, "FOLDER", "for the results (default with --on: pretrained)"
    )
    threads: int | None = option(None, "N", "CPU threads to use")
    again: bool = flag("--again", "with --on: replace another job in FOLDER")
    skip_unreadable: bool = SKIP_UNREADABLE
    example: bool = flag("--example", "print a configuration for --on and stop")
    schema: bool = flag("--schema", "print its JSON Schema and stop")
    json: bool = flag("--json", "with --on: print result.json")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Plan the memory of a fine-tuning run."""

    model: str | None = typer.Argument(
        None,
        metavar="MODEL",
        help="name, also of the Hub, or config.json (none: list them)",
    )
    method: str = option(
        "qlora",
        "NAME",
        "full, lora or qlora",
        complete=lambda: ["full", "lora", "qlora"],
    )
    rank: int = option(16, "R", "of the adapters")
    targets: str = option("all", "NAMES", "all, or q_proj,v_proj")
    sequence: int = option(512, "TOKENS", "of one example")
    batch: int = option(1, "N", "sequences at once")
    checkpointing: bool = typer.Option(True, help="of activations")
    dtype: str = option("bfloat16", "NAME", "bfloat16, float16 or float32")
    master: bool = typer.Option(True, help="full: float32 master weights")
    optimizer: str = option("adamw", "NAME", 'adamw, adamw8bit, "paged adamw8bit" ...')
    double: bool = typer.Option(True, help="qlora: double quantisation")
    prepared: bool = typer.Option(True, help="qlora: peft casts the rest to float32")
    attention: str = option("auto", "NAME", "sdpa, eager or auto")
    gb: float | None = option(
        None, "GIB", "size of the card, 24 means 24 GiB: does it fit?"
    )
    largest: str | None = option(None, "WHAT", "largest batch or sequence that fits")
    compare: bool = flag("--compare", "full, lora and qlora")
    picture: str | None = option(None, "FILE.png", "draw the parts")
    json: bool = JSON


# -- one's own data ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Diagnose(Table):
    """Does transferring help on my images or texts?"""

    data: str = option(
        ...,
        "PATH",
        "a folder with a sub-folder of images, or of text files, for each class, or a "
        "table",
    )
    backbone: str | None = option(
        None,
        "NAME",
        "(default: imagenet/efficientnet-lite0 for images, minilm for texts)",
    )
    labels_per_class: int | None = option(
        None, "N", "to train on (default: all not held out)"
    )
    minutes: float = option(5.0, "MINUTES", "about this long")
    image_column: str | None = option(
        None, "NAME", "of the table (default: image or a usual name)"
    )
    text_column: str | None = option(
        None, "NAME", "of the table (default: text or a usual name)"
    )
    label_column: str | None = option(
        None, "NAME", "of the table (default: label or a usual name)"
    )
    labels: str = option("auto", "RULE", "leak, Leak: auto, merge or as_written")
    group_columns: str = option("", "A,B", "columns whose groups are compared")
    size: int | None = option(
        None, "N", "pixels a side (default: by data, backbone and minutes)"
    )
    skip_unreadable: bool = SKIP_UNREADABLE
    value_range: tuple[float, float] | None = option(
        None, "LOW HIGH", "of pictures with more than 8 bits (default: found, and told)"
    )
    augment: str | None = option(
        None,
        "NAME",
        "of images: none, shift (default), flip, or turn where up is no direction",
        complete=lambda: ["none", "shift", "flip", "turn"],
    )
    matters: float = option(
        2.0, "POINTS", "smallest gain that would change your decision"
    )
    out: str = option("diagnosis", "FOLDER", "for report.html")
    json: bool = JSON
    seed: int = option(0, "N", "of splits and starts")
    again: bool = flag("--again", "forget what was computed before")


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train on my own images, texts or answers, and report."""

    config: str | None = option(
        None, "FILE", "YAML, for settings of your own; --example prints one"
    )
    data: str | None = option(
        None,
        "PATH",
        "a folder with a sub-folder of images for each class, or with train, "
        "val and test sub-folders of these; or a table: CSV, TSV, Excel, Parquet or "
        "JSON lines",
    )
    out: str = option("trained", "FOLDER", "for results")
    backbone: str | None = option(
        None,
        "NAME",
        "the source model, as `model` in a configuration; also a folder that `course "
        "pretrain --on` left",
    )
    task: str | None = option(
        None,
        "TASK",
        "anomaly: DATA is a folder of normal pictures",
        complete=lambda: ["anomaly"],
    )
    defective: str | None = option(
        None, "FOLDER", "with --task anomaly: defective pictures, to measure with"
    )
    example: str | None = option(
        None,
        "TASK",
        "images, text, language or anomaly: print a configuration and stop",
        complete=lambda: ["images", "text", "language", "anomaly"],
    )
    schema: bool = flag(
        "--schema",
        "print the JSON Schema of a configuration; with --example, of that task",
    )
    again: bool = flag("--again", "replace another job in FOLDER")
    skip_unreadable: bool = SKIP_UNREADABLE
    json: bool = flag("--json", "print result.json")


@dataclass(frozen=True, kw_only=True)
class Predict(Table):
    """Answers of a model that course train made, as CSV."""

    model: str = option(..., "FOLDER", "trained, or its model")
    data: str | None = option(
        None,
        "PATH",
        "an image, a folder of images, a table, JSON lines with prompts, or a .txt "
        "file with a text a line",
    )
    prompt: str | None = option(None, "TEXT", "for a language model, instead of --data")
    column: str | None = option(
        None, "NAME", "of the table (default: as in training, else a usual name)"
    )
    to: str | None = option(None, "FILE", "(default: print)")
    skip_unreadable: bool = SKIP_UNREADABLE
    json: bool = flag("--json", "JSON instead of CSV, with the same names")


# -- grading -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Release:
    """Make exercises from their solutions."""

    lessons: list[str] | None = lesson_argument(None, "(default: all)")
    to: str | None = option(None, "FOLDER", "the course for learners")
    with_checks: bool = flag(
        "--with-checks", "with --to: learners may ask for their `course score`"
    )
    with_solutions: bool = flag(
        "--with-solutions", "with --to: `course solution` shows them after attempts"
    )
    solutions: str | None = option(
        None, "FOLDER", "instead: pages of the executed solutions, for instructors"
    )
    without_sandbox: bool = UNSAFE


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Collect submissions of an exercise."""

    lesson: str = LESSON
    source: str | None = option(
        None, "FOLDER", "(default: nbgrader's exchange)", "--from"
    )
    roster: str | None = option(
        None, "FILE.csv", "columns name or pattern, and learner"
    )
    class_archive: list[str] | None = option(
        None,
        "[NAME]...",
        "archives that hold the work of many learners (no name: all of FOLDER)",
    )
    list_to: str | None = option(
        None, "FILE.csv", "write what became of every file", "--list"
    )
    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class Grade:
    """Grade collected work in the sandbox."""

    lesson: str = LESSON
    student: list[str] | None = option(None, "NAME", "only this one; repeatable")
    again: bool = flag("--again", "also what has its record already")
    parallel: int = option(1, "N", "in parallel", "-j")
    dask: str | None = option(None, "ADDRESS", "on a Dask cluster")
    db: str | None = DATABASE
    without_sandbox: bool = UNSAFE
    json: bool = JSON


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Write pages with scores and hints."""

    lesson: str = LESSON
    db: str | None = DATABASE


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write all scores as CSV."""

    to: str = option("grades.csv", "FILE.csv", "for the scores")
    db: str | None = DATABASE


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Check the whole course, for CI."""

    quick: bool = flag("--quick", "without executing the lessons")
    without_sandbox: bool = UNSAFE
