"""A job for a language model: from conversations to a model that answers like them.

    config = language_configuration.from_dict({"method": "qlora"})
    result = language_job.run(config, "tickets.jsonl", out="trained")
    result.after["exact"], result.verdict

The job reads conversations, counts their tokens, plans the memory, answers the test
prompts, trains by LoRA, QLoRA or as a whole, and answers them again.  Killed at any
moment and started again, it goes on after the last evaluation and ends with the same
weights.  On the command line it is `course train` with ``task: language``.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from course_lib import files, memory
from course_lib.analysis import statistics
from course_lib.errors import CourseError
from course_lib.jobs import (
    assembly,
    language_configuration,
    language_data,
    language_export,
)
from course_lib.jobs.language_configuration import LanguageConfig
from course_lib.jobs.language_data import LanguageParts
from course_lib.jobs.language_outcome import LanguageResult, concluded
from course_lib.jobs.language_tokens import tokenised
from course_lib.jobs.storage import JobFolder
from course_lib.methods import instruction_tuning, packed_updates
from course_lib.models import language_models
from course_lib.training.hf_trainer import isolated

FORMAT = 1  # of the stored state
WITHOUT_EFFECT = (  # on the weights, or one that the key of the data tells
    "memory_gb", "skip_bad", "prompt_column", "answer_column", "sheet", "encoding",
    "samples", "merged", "gguf", "licence",
)  # fmt: skip
RESERVE = 0.5  # GiB for Python, torch and the rest
GROUP = 1024  # tokens of a packed row: fewer rows, fewer times 4 bits are expanded
AT_ONCE = 8  # conversations of an evaluation's batch
ANSWERED = 100  # prompts that are answered together
SHORT = 256  # tokens of an answer up to which it is compared as a whole
AGREE = 0.02  # relative difference of two ways to compute a loss, in 16 bits


def run(
    config: LanguageConfig | Mapping,
    data: str | Path,
    out: str | Path | None = None,
    *,
    again: bool = False,
    progress: Callable | None = None,
    on_data: Callable[[LanguageParts], None] | None = None,
) -> LanguageResult:
    """Do the whole job; returns a :class:`LanguageResult`.

    config: a LanguageConfig or a dict of its fields.  data: see `language_data.read`.
    out: a folder for report.html, result.json, answers.csv, the adapter, the merged
    model and the state from which an interrupted job goes on; without it nothing is
    written.  again: forget what another job left there.  progress(curve) is called
    after each update, on_data(parts) before the model is loaded.  Raises CourseError on
    a bad configuration, bad data, or too little memory, before anything is written.
    """
    began = time.perf_counter()
    if isinstance(config, Mapping):
        config = language_configuration.from_dict(config)
    device, dtype = _device(config)
    shape = language_models.configuration(config.model)
    parts = language_data.read(data, config)
    tokenizer = language_models.tokenizer(config.model)
    positions = int(getattr(shape, "max_position_embeddings", 0) or 0)
    tokens = tokenised(parts, tokenizer, config, positions)
    plan = planned(config, shape, tokens, device, dtype)
    parts.notes += [*tokens.notes, plan["said"]]
    if on_data is not None:
        on_data(parts)
    folder = JobFolder(out, _key(config, parts), again)
    folder.begin()
    model = loaded(config, device, dtype)
    _check_causal(config, model, tokens.rows["train"][0]["input_ids"])
    backward, said = _way(model, tokenizer, tokens.rows["train"], dtype)
    with isolated(config.seed):
        before = _kept(
            folder, "before", lambda: _tested(model, tokenizer, tokens, config)
        )
        curve = instruction_tuning.tune(
            model,
            tokens.rows["train"],
            _updates(config, len(tokens.rows["train"])),
            lambda: _loss(model, tokenizer, tokens.rows["validation"], config),
            backward=backward,
            state=folder.state("language"),
            progress=progress,
        )
        after = _tested(model, tokenizer, tokens, config)
    result = concluded(config, parts, tokens, curve, before, after)
    result.notes += [said]
    result.plan = plan
    if folder.path is not None:
        language_export.export(result, model, tokenizer, tokens, folder.path)
    result.seconds |= {"this session": round(time.perf_counter() - began, 1)}
    if folder.path is not None:
        result.save(folder.path)
    return result


def _device(config) -> tuple[torch.device, torch.dtype]:
    """Where to compute, and in what the frozen weights and products are."""
    name = assembly.device(config)
    half = config.precision == "bf16" or config.precision == "auto" and name == "cuda"
    return torch.device(name), torch.bfloat16 if half else torch.float32


def _key(config, parts) -> str:
    """sha256 of all that the weights depend on."""
    values = {k: v for k, v in config.to_dict().items() if k not in WITHOUT_EFFECT}
    text = json.dumps([FORMAT, values, parts.key])
    return hashlib.sha256(text.encode()).hexdigest()


# -- memory -----------------------------------------------------------------------


def planned(config, shape, tokens, device, dtype) -> dict:
    """The plan of memory as a dict; CourseError where the job cannot fit.

    A group of packed conversations counts as one sequence, all of its logits included:
    a bound.  The best weights are kept, and written with the moments.  Layers in 4 bits
    are expanded while the model answers on a CPU.
    """
    longest = max(len(r["input_ids"]) for some in tokens.rows.values() for r in some)
    half = dtype == torch.bfloat16
    options = memory.Options(
        config.method,
        r=config.rank,
        sequence=max(longest, GROUP),
        batch=1,
        checkpointing=False,
        dtype="bfloat16" if half and config.method != "full" else "float32",
        prepared=False,
    )
    plan = memory.plan(shape, options)
    stored = 20 * plan.trainable
    free = _free(config, device)
    expanded = 2 * plan.parts["quantised"] * (2 if half else 4)
    answering = sum(plan.parts[part] for part in memory.STORED) + expanded
    needed = max(plan.total, answering) + stored + RESERVE * memory.GIB
    said = (
        f"Memory: about {needed / memory.GB:.1f} GB at most by plan, "
        f"{free / memory.GB:.1f} GB are there."
    )
    if needed > free:
        ways = [
            f"method: {other}"
            for other in ("lora", "qlora")
            if memory.replan(plan, method=other).total < plan.total
            and other != config.method
        ]
        if options.dtype == "float32" and config.method != "full":
            ways.append("precision: bf16")
        if longest > GROUP:
            ways.append(f"max_length below {longest}")
        raise CourseError(
            f"{config.where}: {config.model} by {config.method} does not fit. {said}\n"
            "Expected: room for weights, gradients, optimizer and activations.\nDo: "
            f"{', '.join([*ways, 'a smaller model'])}, or raise memory_gb if you know "
            "better; `course memory` shows the parts."
        )
    return {
        "said": said,
        "total": int(needed),
        "free": int(free),
        "trainable": plan.trainable,
        "parts": plan.parts,
    }


def _free(config, device) -> float:
    """Bytes that the job may take."""
    if config.memory_gb is not None:
        return config.memory_gb * memory.GIB
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available


# -- the model and its updates ----------------------------------------------------


def loaded(config, device, dtype):
    """The model, of which that learns what the method says.

    By `language_models.load`, which keeps layers in 4 bits differentiable after an
    evaluation (`never_repack`).
    """
    quantised = "nf4" if config.method == "qlora" else None
    stored = torch.float32 if config.method == "full" else dtype
    model, _ = language_models.load(
        config.model, quantised, dtype=stored, device=device
    )
    if config.method == "full":
        return model
    model.requires_grad_(False)
    return instruction_tuning.with_lora(
        model,
        config.rank,
        config.alpha,
        instruction_tuning.linear_layers(model),
        seed=config.seed,
    )


@torch.no_grad()
def _check_causal(config, model, ids: list[int]) -> None:
    """CourseError for a network that sees later tokens, such as an encoder."""
    some = torch.tensor([ids[:8], [*ids[:8][:-1], (ids[:8][-1] + 1) % 100]])
    some = some.to(next(model.parameters()).device)
    first, second = model.eval()(input_ids=some).logits[:, :-1].float()
    if (first - second).abs().max() > 1e-3 * first.abs().max():
        raise config.error(
            "model",
            f"is {config.model}, which sees the tokens behind a place",
            "a causal language model, such as smollm2-135m-instruct",
            "name another one, or train a classifier with task: text",
        )


def _updates(config, n: int) -> instruction_tuning.Updates:
    number = config.updates or -(-config.epochs * n // config.batch_size)
    return instruction_tuning.Updates(
        rate=config.peak_rate,
        number=number,
        batch_size=config.batch_size,
        schedule=config.schedule,
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
        evaluate_every=config.evaluate_every or -(-number // 6),
        seconds=config.minutes and 60 * config.minutes,
        seed=config.seed,
    )


def _way(model, tokenizer, rows, dtype):
    """(how gradients are computed, a sentence): packed where that is the same loss."""
    some = sorted(rows, key=lambda row: len(row["input_ids"]))[:2]
    half = dtype == torch.bfloat16
    full = half and not hasattr(model, "peft_config")

    def computed(way):
        def backward(model, rows):
            device = next(model.parameters()).device.type
            with torch.autocast(device, torch.bfloat16, enabled=full):
                return way(model, rows)

        return backward

    padded = computed(
        lambda model, rows: instruction_tuning.padded(model, tokenizer, rows)
    )
    packed = computed(
        lambda model, rows: packed_updates.backward(model, rows, tokens=GROUP)
    )
    expected = padded(model, some)
    try:
        found = packed(model, some)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        found = float("nan")
    model.zero_grad(set_to_none=True)
    if abs(found - expected) <= (AGREE if half else 1e-3) * abs(expected):
        return packed, "Updates: conversations packed in rows, apart from one another."
    return padded, (
        "Updates: padded batches, because packing gives this network another loss."
    )


# -- what the model says ----------------------------------------------------------


def _loss(model, tokenizer, rows, config) -> float:
    """Mean loss of an answer token over the first rows, in nats."""
    some = rows[: config.evaluate_on]
    with language_models.expanded(model):
        return language_models.rows_loss(model, tokenizer, some, AT_ONCE)


def _tested(model, tokenizer, tokens, config) -> dict:
    """{loss, answers, right, exact, low, high} on the test part.

    right: is the answer the expected one, but for spaces at its ends?  None where the
    expected answers are long.
    """
    rows, kept = tokens.rows["test"], tokens.kept["test"]
    some, length = rows[: config.test_answers], tokens.about["new_tokens"]
    starts = [row["input_ids"][: row["start"]] for row in some]
    with language_models.expanded(model):
        found = {"loss": language_models.rows_loss(model, tokenizer, rows, AT_ONCE)}
        found["answers"] = language_models.continued(
            model, tokenizer, starts, length, ANSWERED, tokens.ends
        )
    longest = max((len(r["input_ids"]) - r["start"] for r in some), default=0)
    if not some or longest > SHORT:
        return found | {"right": None, "exact": None}
    right = [a == one.answer.strip() for a, one in zip(found["answers"], kept)]
    low, high = statistics.wilson_interval(sum(right), len(right))
    exact = sum(right) / len(right)
    return found | {"right": right, "exact": exact, "low": low, "high": high}


def _kept(folder, name: str, compute: Callable[[], dict]) -> dict:
    """What an interrupted job computed already, else computed and kept."""
    if folder.path is None:
        return compute()
    path = folder.path / "state" / f"{name}.json"
    stored = files.read_json(path) if path.exists() else {}
    if stored.get("key") != folder.key:
        stored = {"key": folder.key, "found": compute()}
        files.atomic_write_json(path, stored, False)
    return stored["found"]
