"""A whole training job: from a configuration and one's own data to a report.

    config = configuration.load("job.yaml")
    result = pipeline.run(config, "my_images", out="trained")
    result.test_accuracy, result.baseline_accuracy, result.verdict

The job splits the data, checks the set-up (:mod:`course_lib.analysis.audit`), trains
as the configuration says, trains the same network from scratch for comparison, tests
both on pictures or texts that neither has seen, and writes a report, a model folder and
a model card.  Killed at any moment and started again, it goes on after the last whole
epoch and ends with the same weights.  Under `accelerate launch` it uses all processes.
On the command line it is `course train`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.analysis import audit
from course_lib.errors import CourseError
from course_lib.jobs import (
    assembly,
    combined_weights,
    configuration,
    head_choice,
    job_runs,
    own_data,
)
from course_lib.jobs.configuration import COMBINING, Config
from course_lib.jobs.outcome import Result, concluded
from course_lib.jobs.own_data import Parts
from course_lib.jobs.storage import JobFolder, check_apart
from course_lib.models.features import forward
from course_lib.show.console import training_bars
from course_lib.training import distributed

FORMAT = 3  # of the stored state
# Without an effect on the weights, or one that the key of the data tells.
WITHOUT_EFFECT = (
    "onnx", "licence", "audit", "labels", "skip_empty", "sheet", "encoding",
    "image_column", "text_column", "label_column", "minutes",
)  # fmt: skip
AUDITED = 8  # examples of the step in the check before training


# -- the job ----------------------------------------------------------------------


def run(
    config: Config | Mapping | str | Path,
    data,
    out: str | Path | None = None,
    *,
    again: bool = False,
    progress: bool = True,
    skip_unreadable: bool = False,
    on_data: Callable[[Parts], None] | None = None,
) -> Result:
    """Do the whole job; returns a :class:`Result`.

    config: a Config, a dict of its fields, or the path of a YAML file.  data: a folder,
    a table, own_data.Parts, or (train, validation, test) data sets.  out: a folder
    for report.html, result.json, splits.csv, config.yaml, the model and the state from
    which an interrupted job goes on; without it nothing is written.  again: forget what
    another job left in ``out``.  skip_unreadable: go on without pictures that cannot be
    read, and name them.  on_data(parts) is called before anything is trained.
    Raises CourseError on a bad configuration or bad data, before anything is written.
    """
    began = time.perf_counter()
    config = _config(config)
    device, precision = _device(config)
    first = assembly.start(config)
    rule = assembly.size_rule(config, first)
    size = rule or assembly.image_size(config, first)
    parts = _parts(config, data, size, out, skip_unreadable)
    settled, tokens, said = _settled(config, first, parts, rule)
    parts = replace(parts, notes=(*parts.notes, *said))
    if on_data is not None and distributed.current().rank == 0:
        on_data(parts)
    first = assembly.before_choice(settled, parts, first)
    assembly.check_forward(settled, first, getattr(parts.train, parts.train.holds))
    folder = JobFolder(out, _key(settled, parts, first), again)
    made = head_choice.settled(settled, first, parts, device, folder.choice)
    settled, once, choice = made
    tuned = combined_weights.tuned(settled)
    recipe = assembly.recipe(tuned, first, parts)
    findings = audited(tuned, first, recipe, parts)
    folder.begin(choice)
    together = distributed.current()
    notes = [*parts.notes, *_notes(tuned, first, recipe, choice)]
    rates = _rates_note(first, recipe.optimization.param_groups)
    runtime = training.Runtime(device=device, amp=precision)
    with training_bars(progress and together.rank == 0) as bar:
        place = job_runs.Place(runtime, folder, bar)
        found = _trained(settled, first, parts, place, recipe, once)
        transfer, combined, said, baseline = found
    notes += [*([rates] if transfer["history"] else []), *said]
    result = concluded(settled, parts, first, transfer, baseline, findings, notes)
    result.combined = combined
    result.data |= {"columns": parts.columns, "tokens": tokens}
    result.seconds["this session"] = round(time.perf_counter() - began, 1)
    folder.write(result, config)
    together.wait()
    result.folder = folder.path
    return result


def _config(config) -> Config:
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return configuration.from_dict(config)
    return configuration.load(config)


def _device(config) -> tuple[torch.device, str | bool]:
    """Where to compute and how exactly; CourseError where that cannot be had."""
    name = assembly.device(config)
    if config.precision == "fp16" and name != "cuda":
        raise config.error(
            "precision",
            f"is fp16, and the job runs on the {name}",
            "fp16 on a CUDA device; bf16 or float32 on a CPU",
            "set precision: float32, or bf16 to try half precision",
        )
    bf16 = name == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "bf16" and not bf16:
        raise config.error(
            "precision",
            "is bf16, and this GPU does not compute in it",
            "fp16 or float32 on GPUs before Ampere",
            "set precision: fp16",
        )
    if config.precision == "auto":
        return torch.device(name), name == "cuda" and ("bf16" if bf16 else "fp16")
    amp = config.precision if config.precision != "float32" else False
    return torch.device(name), amp


# -- the data ---------------------------------------------------------------------


def _parts(config, data, size, out, skip_unreadable) -> Parts:
    if isinstance(data, Parts):
        return data
    if isinstance(data, (tuple, list)) and len(data) == 3:
        return own_data.from_parts(*data, config=config)
    path = Path(data)
    check_apart(path, out)
    return own_data.read(path, config, size, skip_unreadable)


def _settled(config, backbone, parts, rule) -> tuple[Config, dict | None, list[str]]:
    """(config with strategy and size settled, tokens of the texts, sentences).

    rule: of the picture size, None where that is settled.
    """
    config, said = assembly.strategy(config, parts)
    epochs, patience = assembly.length(config, len(parts.train))
    config = config.model_copy(update={"epochs": epochs, "patience": patience})
    told = [*([said] if said else []), *combined_weights.before(config)]
    if config.task == "text":
        texts = [one for part in parts for one in part.texts]
        length, tokens, said = assembly.fitted_length(config, backbone, texts)
        backbone.preprocess = replace(backbone.preprocess, max_length=length)
        config = config.model_copy(update={"max_length": length})
        return config, tokens, [*told, said]
    if rule is not None:
        size = parts.size
        if not rule.why:  # arrays were given, not files
            height, width = parts.train.images.shape[1:3]
            size = rule(min(height, width), len(parts.train), sum(map(len, parts)))
        backbone.preprocess = replace(backbone.preprocess, size=size)
        config = config.model_copy(update={"image_size": size})
        told = [rule.why, *told]
    return config, None, told


def audited(config, backbone, recipe, parts) -> list[str]:
    """Findings of the check before training; with audit: stop there must be none.

    A few training examples go through one step, which is undone, and the network goes
    to a file and back into one that was built anew.
    """
    fresh = config.model_copy(update={"weights": "random"})
    rows = np.unique(np.linspace(0, len(parts.train) - 1, AUDITED).astype(int))
    some = parts.train.subset(rows)
    inputs = getattr(some, some.holds)
    inputs = list(inputs) if config.task == "text" else inputs
    found = audit.audit(
        backbone,
        recipe.optimization.param_groups,
        parts.train,
        parts.validation,
        parts.test,
        batch=(backbone.preprocess(inputs), torch.as_tensor(some.labels)),
        loop=audit.Loop(
            preprocess=backbone.preprocess,
            tokenizer=getattr(backbone.preprocess, "tokenizer", None),
            batch_size=min(config.batch_size, len(parts.train)),
            loss=lambda net, batch: recipe.objective(forward(net, batch[0]), batch[1]),
        ),
        run=audit.Run(rebuild=lambda: assembly.model(fresh, len(parts.classes))),
    )
    if found and config.audit == "stop":
        raise CourseError(
            f"{config.where}: the check before training found {len(found)} mistake(s):"
            f"\n{audit.report(found)}\nExpected: none.\n"
            "Do: what stands behind each, or set audit: warn to train all the same."
        )
    return [str(one) for one in found]


def _notes(config, backbone, recipe, choice) -> list[str]:
    """What was unusual about the model, and how it is trained, in sentences."""
    notes, together = list(backbone.notes), distributed.current()
    norm = nn.modules.batchnorm._BatchNorm
    trained = any(
        isinstance(layer, norm) and any(p.requires_grad for p in layer.parameters())
        for layer in backbone.model.modules()
    )
    if together.size > 1:
        notes.append(f"{together.size} processes shared every batch.")
        if trained and not config.combines:
            notes.append(
                "BatchNorm layers learned: each process normalised by its own part of "
                "the batch, so the result is not that of one process."
            )
    if config.strategy == "gradual" and config.weights == "pretrained":
        notes.append("Parts were unfrozen one after the other, from the head down.")
    if config.strategy == "head_then_full":
        alone = assembly.head_epochs(config)
        epochs = f"{alone} epoch{'s' * (alone > 1)}"
        notes.append(
            f"The head learned alone for {epochs}, and then all layers did (LP-FT)."
        )
    return [*notes, choice.said] if choice.said else notes


def _rates_note(backbone, groups) -> str:
    """The rates that parameter groups start from, in one sentence."""
    found: dict[float, list] = {}
    for row in audit.rates(backbone, groups):
        if row["learning"]:
            count, names = found.setdefault(row["lr"], [0, []])
            found[row["lr"]] = [count + row["learning"], [*names, row["first"]]]
    said = (
        f"{rate:.3g} for {count:,} numbers ({names[0].rpartition('.')[0]}"
        f"{' and others' * (len(names) > 2)})"
        for rate, (count, names) in sorted(found.items(), reverse=True)
    )
    return f"Learning rates that the schedule starts from: {'; '.join(said)}."


def _key(config, parts, backbone) -> str:
    """sha256 of all that the weights depend on."""
    values = {k: v for k, v in config.to_dict().items() if k not in WITHOUT_EFFECT}
    if not config.combines:  # as before these settings existed
        values = {k: v for k, v in values.items() if k not in COMBINING}
    values["unfreeze"] = {str(k): list(v) for k, v in config.unfreeze.items()}
    start = [backbone.card["continued"]["sha256"]] if backbone.went_on else []
    text = json.dumps([FORMAT, values, parts.key, *start])
    return hashlib.sha256(text.encode()).hexdigest()


def _trained(config, backbone, parts, place, recipe, once):
    """The run, how it was combined of several or None, sentences, the baseline."""
    if config.combines:
        found = combined_weights.trained(config, backbone, parts, place)
    else:
        found = job_runs.single(config, backbone, parts, place, recipe, once)
    baseline, transfer = None, found[0]
    if config.baseline and config.weights == "pretrained":
        ran = len((transfer["history"] or {"step": ()})["step"])
        baseline = job_runs.from_scratch(config, parts, place, ran)
    return *found, baseline
