"""What can be typed after `course`: one frozen class a command, one field an option.

typer reads the fields as it reads the parameters of a function; a command's class
docstring is its help.  What a command does stands in the other files of this folder.
Nothing heavy is imported here: help, completion and a wrong option answer at once.
"""

from dataclasses import dataclass
from typing import Annotated

import typer
from typer import Argument, Option

from course_lib import paths
from course_lib.errors import CourseError


def lesson_numbers(incomplete: str) -> list[str]:
    """For completion: the numbers of the lessons that begin so."""
    try:
        found = sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    except CourseError:  # not in a clone of the course
        return []
    return [path.stem[:2] for path in found if path.stem.startswith(incomplete)]


def many(words: list[str] | None) -> list[str] | None:
    """What an option for many words was given: [] for none; None: not asked for."""
    return None if words is None else [word for word in words if word]


Json = Annotated[bool, Option("--json", help="for programs to read")]
Lesson = Annotated[
    str,
    Argument(
        metavar="LESSON", help="its number, such as 08", autocompletion=lesson_numbers
    ),
]
Database = Annotated[
    str | None,
    Option(metavar="URL", help="gradebook (default: gradebook.db in the course)"),
]
Unsafe = Annotated[
    bool,
    Option(
        "--without-sandbox",
        help="run submissions unprotected where bubblewrap is missing: no security",
    ),
]
SkipUnreadable = Annotated[
    bool,
    Option(
        "--skip-unreadable",
        help="go on without pictures that cannot be read, and list them",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Table:
    """How a table is read; `course diagnose` and `course predict` share it."""

    sheet: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="of an Excel file (default: the first with the columns)",
        ),
    ] = None
    encoding: Annotated[
        str | None,
        Option(metavar="NAME", help="of a CSV file (default: UTF-8, else cp1252)"),
    ] = None
    skip_empty: Annotated[
        bool,
        Option("--skip-empty", help="leave out, and count, rows without a value"),
    ] = False


# -- lessons -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say what works on this machine, and why."""

    json: Json = False


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Open JupyterLab on lesson 00."""

    context: typer.Context
    lesson: Annotated[
        str, Option(help="open this one", autocompletion=lesson_numbers)
    ] = "00"

    @property
    def passed_on(self) -> list[str]:
        """What is not the course's own goes to JupyterLab."""
        return self.context.args


@dataclass(frozen=True, kw_only=True)
class Run:
    """Execute lessons from top to bottom."""

    lessons: Annotated[
        list[str] | None,
        Argument(
            metavar="LESSON",
            help="their numbers, such as 01 (default: all)",
            autocompletion=lesson_numbers,
        ),
    ] = None
    to: Annotated[str, Option(metavar="FOLDER", help="for the HTML pages")] = "executed"
    timeout: Annotated[int, Option(metavar="SECONDS", help="for one cell")] = 600
    write: Annotated[
        bool, Option("--write", help="store the outputs in the notebooks")
    ] = False
    recompute: Annotated[
        list[str] | None,
        Option(
            metavar="[NAME]...",
            help="compute result files again (default: all of them; may take hours); "
            "lessons are run only if named before this option",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Show the ledger of claims and verdicts."""

    lesson: Annotated[
        str | None,
        Option(metavar="NN", help="only this lesson's", autocompletion=lesson_numbers),
    ] = None
    verdict: Annotated[
        str | None, Option(help="only these: confirmed, refuted, ...")
    ] = None
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class Web:
    """Build the web edition from the stored lessons."""

    to: Annotated[str, Option(metavar="FOLDER", help="for the pages")] = "site"
    lessons: Annotated[
        list[str] | None,
        Option(
            metavar="[LESSON]...",
            help="only these (default: all)",
            autocompletion=lesson_numbers,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Links:
    """Links that open lessons on Colab and others."""

    repository: Annotated[
        str | None, Option(metavar="URL", help="(default: that of pyproject.toml)")
    ] = None
    hub: Annotated[
        str, Option(metavar="URL", help="of your JupyterHub", show_default=False)
    ] = ""
    install_cell: Annotated[
        bool, Option("--install-cell", help="print the cell for Colab instead")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Check:
    """Run the visible tests of your exercises."""

    lessons: Annotated[
        list[str] | None,
        Argument(
            metavar="LESSON",
            help="their numbers, such as 08 (default: only show)",
            autocompletion=lesson_numbers,
        ),
    ] = None
    json: Json = False


# -- weights and data --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DataList:
    """Show public weights and data, with licences."""

    json: Json = False


@dataclass(frozen=True, kw_only=True)
class DataFetch:
    """Bring public weights and data, once."""

    names: Annotated[
        list[str] | None, Argument(metavar="NAME", help="(default: all)")
    ] = None
    quiet: Annotated[bool, Option("--quiet", help="silent if all is here")] = False


@dataclass(frozen=True, kw_only=True)
class DataVerify:
    """Compare each file's sha256."""


@dataclass(frozen=True, kw_only=True)
class DataRebuild:
    """Make data sets again, byte for byte."""

    names: Annotated[
        list[str] | None, Argument(metavar="NAME", help="(default: all)")
    ] = None


# -- models ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """Train a bundled backbone yourself."""

    name: Annotated[str | None, Argument(metavar="NAME", help="(none: list them)")] = (
        None
    )
    minutes: Annotated[
        float | None, Option(metavar="MINUTES", help="stop after this long")
    ] = None
    out: Annotated[str | None, Option(metavar="FILE", help="where the weights go")] = (
        None
    )
    threads: Annotated[int | None, Option(metavar="N", help="CPU threads to use")] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Plan the memory of a fine-tuning run."""

    model: Annotated[
        str | None,
        Argument(metavar="MODEL", help="name or config.json (none: list them)"),
    ] = None
    method: Annotated[
        str,
        Option(
            metavar="NAME",
            help="full, lora or qlora",
            autocompletion=lambda: ["full", "lora", "qlora"],
        ),
    ] = "qlora"
    rank: Annotated[int, Option(metavar="R", help="of the adapters")] = 16
    targets: Annotated[str, Option(metavar="NAMES", help="all, or q_proj,v_proj")] = (
        "all"
    )
    sequence: Annotated[int, Option(metavar="TOKENS", help="of one example")] = 512
    batch: Annotated[int, Option(metavar="N", help="sequences at once")] = 1
    checkpointing: Annotated[bool, Option(help="of activations")] = True
    dtype: Annotated[
        str, Option(metavar="NAME", help="bfloat16, float16 or float32")
    ] = "bfloat16"
    master: Annotated[bool, Option(help="full: float32 master weights")] = True
    optimizer: Annotated[
        str, Option(metavar="NAME", help='adamw, adamw8bit, "paged adamw8bit" ...')
    ] = "adamw"
    double: Annotated[bool, Option(help="qlora: double quantisation")] = True
    prepared: Annotated[bool, Option(help="qlora: peft casts the rest to float32")] = (
        True
    )
    attention: Annotated[str, Option(metavar="NAME", help="sdpa, eager or auto")] = (
        "auto"
    )
    gb: Annotated[
        float | None,
        Option(metavar="GIB", help="size of the card, 24 means 24 GiB: does it fit?"),
    ] = None
    largest: Annotated[
        str | None,
        Option(metavar="WHAT", help="largest batch or sequence that fits"),
    ] = None
    compare: Annotated[bool, Option("--compare", help="full, lora and qlora")] = False
    picture: Annotated[
        str | None, Option(metavar="FILE.png", help="draw the parts")
    ] = None
    json: Json = False


# -- one's own data ----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Diagnose(Table):
    """Does transferring help on my images?"""

    data: Annotated[
        str,
        Option(
            metavar="PATH",
            help="a folder with a sub-folder of images for each class, or a table",
        ),
    ]
    backbone: Annotated[
        str | None, Option(metavar="NAME", help="(default: the profile's)")
    ] = None
    labels_per_class: Annotated[
        int | None,
        Option(metavar="N", help="to train on (default: all not held out)"),
    ] = None
    minutes: Annotated[float, Option(metavar="MINUTES", help="about this long")] = 5.0
    image_column: Annotated[
        str | None,
        Option(metavar="NAME", help="of the table (default: image or a usual name)"),
    ] = None
    label_column: Annotated[
        str | None,
        Option(metavar="NAME", help="of the table (default: label or a usual name)"),
    ] = None
    labels: Annotated[
        str, Option(metavar="RULE", help="leak, Leak: auto, merge or as_written")
    ] = "auto"
    group_columns: Annotated[
        str,
        Option(
            metavar="A,B", help="columns whose groups are compared", show_default=False
        ),
    ] = ""
    size: Annotated[
        int | None,
        Option(metavar="N", help="pixels a side (default: the backbone's own, or 64)"),
    ] = None
    skip_unreadable: SkipUnreadable = False
    value_range: Annotated[
        tuple[float, float] | None,
        Option(
            metavar="LOW HIGH",
            help="of pictures with more than 8 bits (default: found, and told)",
        ),
    ] = None
    augment: Annotated[
        str,
        Option(
            metavar="NAME",
            help="none, shift, flip, or turn where up is no direction",
            autocompletion=lambda: ["none", "shift", "flip", "turn"],
        ),
    ] = "shift"
    matters: Annotated[
        float,
        Option(metavar="POINTS", help="smallest gain that would change your decision"),
    ] = 2.0
    out: Annotated[str, Option(metavar="FOLDER", help="for report.html")] = "diagnosis"
    json: Json = False
    seed: Annotated[int, Option(metavar="N", help="of splits and starts")] = 0
    again: Annotated[
        bool, Option("--again", help="forget what was computed before")
    ] = False


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train on my own images or texts, and report."""

    config: Annotated[
        str | None, Option(metavar="FILE", help="YAML; --example prints one")
    ] = None
    data: Annotated[
        str | None,
        Option(
            metavar="PATH",
            help="a folder with a sub-folder of images for each class, or with train, "
            "val and test sub-folders of these; or a table: CSV, TSV, Excel, Parquet "
            "or JSON lines",
        ),
    ] = None
    out: Annotated[str, Option(metavar="FOLDER", help="for results")] = "trained"
    example: Annotated[
        str | None,
        Option(
            metavar="TASK",
            help="images or text: print a configuration and stop",
            autocompletion=lambda: ["images", "text"],
        ),
    ] = None
    schema: Annotated[
        bool, Option("--schema", help="print the JSON Schema of a configuration")
    ] = False
    again: Annotated[bool, Option("--again", help="replace another job in FOLDER")] = (
        False
    )
    skip_unreadable: SkipUnreadable = False
    json: Annotated[bool, Option("--json", help="print result.json")] = False


@dataclass(frozen=True, kw_only=True)
class Predict(Table):
    """Answers of a model that course train made, as CSV."""

    model: Annotated[str, Option(metavar="FOLDER", help="trained, or its model")]
    data: Annotated[
        str,
        Option(
            metavar="PATH",
            help="an image, a folder of images, a table, or a .txt file with a text a "
            "line",
        ),
    ]
    column: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="of the table (default: as in training, else a usual name)",
        ),
    ] = None
    to: Annotated[str | None, Option(metavar="FILE", help="(default: print)")] = None
    skip_unreadable: SkipUnreadable = False
    json: Annotated[
        bool, Option("--json", help="JSON instead of CSV, with the same names")
    ] = False


# -- grading -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Release:
    """Make exercises from their solutions."""

    lessons: Annotated[
        list[str] | None,
        Argument(
            metavar="LESSON", help="(default: all)", autocompletion=lesson_numbers
        ),
    ] = None
    to: Annotated[
        str | None, Option(metavar="FOLDER", help="the course for learners")
    ] = None
    without_sandbox: Unsafe = False


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Collect submissions of an exercise."""

    lesson: Lesson
    source: Annotated[
        str | None,
        Option("--from", metavar="FOLDER", help="(default: nbgrader's exchange)"),
    ] = None
    roster: Annotated[
        str | None,
        Option(metavar="FILE.csv", help="columns name or pattern, and learner"),
    ] = None
    class_archive: Annotated[
        list[str] | None,
        Option(
            metavar="[NAME]...",
            help="archives that hold the work of many learners (no name: all of "
            "FOLDER)",
        ),
    ] = None
    list_to: Annotated[
        str | None,
        Option("--list", metavar="FILE.csv", help="write what became of every file"),
    ] = None
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class Grade:
    """Grade collected work in the sandbox."""

    lesson: Lesson
    student: Annotated[
        list[str] | None, Option(metavar="NAME", help="only this one; repeatable")
    ] = None
    again: Annotated[
        bool, Option("--again", help="also what has its record already")
    ] = False
    parallel: Annotated[int, Option("-j", metavar="N", help="in parallel")] = 1
    dask: Annotated[str | None, Option(metavar="ADDRESS", help="on a Dask cluster")] = (
        None
    )
    db: Database = None
    without_sandbox: Unsafe = False
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Write pages with scores and hints."""

    lesson: Lesson
    db: Database = None


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write all scores as CSV."""

    to: Annotated[str, Option(metavar="FILE.csv", help="for the scores")] = "grades.csv"
    db: Database = None


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Check the whole course, for CI."""

    quick: Annotated[bool, Option("--quick", help="without executing the lessons")] = (
        False
    )
    without_sandbox: Unsafe = False
