"""`course memory` and `course pretrain`."""

from pathlib import Path

from course_lib import files, memory
from course_lib.course.cli import command_options
from course_lib.errors import CourseError
from course_lib.pretraining import recipes
from course_lib.show import memory_bars, plots
from course_lib.show.console import print_json, print_table


def pretrain(typed: command_options.Pretrain) -> int:
    """Train by a recipe, or list the recipes."""
    if typed.name is None:
        print_table(
            "Recipes: course pretrain NAME",
            ("name", "what it trains"),
            [(name, made.description) for name, made in recipes.RECIPES.items()],
        )
        return 0
    recipes.run(typed.name, minutes=typed.minutes, out=typed.out, threads=typed.threads)
    return 0


def plan_memory(typed: command_options.Memory) -> int:
    """Bytes by part; 0 also when the plan does not fit."""
    if typed.model is None:
        print_table(
            "Models: course memory MODEL",
            ("name", "layers", "width", "vocabulary", "positions"),
            [(name, m[3], m[1], m[6], m[7]) for name, m in memory.MODELS.items()],
        )
        others = ", ".join(memory.installed())
        print(f"Or {others}, or the path of a config.json of transformers.")
        print(f"Names of the Hub that are understood: {', '.join(memory.HUB)}.")
        return 0
    if typed.largest and typed.gb is None:
        raise CourseError(
            "--largest needs the size of the card.\nExpected: --gb as well.\n"
            "Do: add --gb 24, for example."
        )
    model = memory.describe(typed.model)
    methods = memory.METHODS if typed.compare else (typed.method,)
    plans = {method: memory.plan(model, _asked(typed, method)) for method in methods}
    reports = {m: memory.report(p, typed.gb, typed.largest) for m, p in plans.items()}
    if typed.picture:
        figure = memory_bars.picture(plans.values(), typed.gb)
        files.atomic_write_bytes(Path(typed.picture), plots.png_bytes(figure))
    if typed.json:
        print_json(reports if typed.compare else reports[methods[0]])
        return 0
    title = f"{next(iter(plans.values()))}" if len(plans) == 1 else f"{model.name}, GB"
    heads = methods if typed.compare else ("GB",)
    print_table(title, ("part", *heads), _parts(plans.values()))
    for method, report in reports.items():
        for line in memory.sentences(report):
            print(f"{method}: {line}" if typed.compare else line)
    return 0


def _asked(typed: command_options.Memory, method: str) -> memory.Options:
    """What a plan for a method is asked for."""
    names = tuple(filter(None, typed.targets.split(",")))
    return memory.Options(
        method,
        r=typed.rank,
        targets="all" if typed.targets == "all" else names,
        sequence=typed.sequence,
        batch=typed.batch,
        checkpointing=typed.checkpointing,
        dtype=typed.dtype,
        optimizer=typed.optimizer,
        double_quantisation=typed.double,
        prepared=typed.prepared,
        master=typed.master,
        attention=typed.attention,
    )


def _parts(plans) -> list[tuple[str, ...]]:
    """(part, GB of each plan): the parts that any plan has, and the total."""
    rows = [
        (label, *(f"{plan.parts[part] / memory.GB:.2f}" for plan in plans))
        for part, label in memory.PARTS.items()
        if any(plan.parts[part] for plan in plans)
    ]
    return [*rows, ("total", *(f"{p.total / memory.GB:.2f}" for p in plans))]
