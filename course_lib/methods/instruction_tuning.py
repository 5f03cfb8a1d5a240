"""Instruction tuning of a language model: LoRA or QLoRA, and the answers to learn.

    model, tokenizer = language_models.load("smollm2-135m-instruct", quantised="nf4")
    model = instruction_tuning.with_lora(model, r=16)
    instruction_tuning.tune(model, rows, Updates(rate=1e-3, number=120), evaluate)

The work is done by transformers and peft.  `tune` makes packed updates instead of
padded ones, and goes on where it was killed.  Hu et al. 2022; Dettmers et al. 2023.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from course_lib.errors import CourseError
from course_lib.methods import packed_updates
from course_lib.training import resume, schedules

LINEAR = (  # of a block of the Llama architecture
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)


def with_lora(
    model, r: int = 16, alpha: float = 16.0, targets=LINEAR, dropout=0.0, seed: int = 0
):
    """The model with LoRA beside its linear layers, everything else frozen.

    By peft, beside this course's own quantised layers too.  A is drawn from ``seed``.
    targets: ends of names.  Hu et al. 2022.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=r,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=list(targets),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)


def linear_layers(model) -> list[str]:
    """Last names of all linear layers but the output layer, for `with_lora`.

    Those of GPT-2, which are stored transposed, too.  Dettmers et al. 2023 put adapters
    beside all of them.
    """
    output = model.get_output_embeddings()
    kinds = ("Linear4bit", "LinearNF4", "Linear", "Conv1D")
    return sorted(
        {
            name.rpartition(".")[2]
            for name, layer in model.named_modules()
            if type(layer).__name__ in kinds and layer is not output
        }
    )


def padded(model, tokenizer, rows: Sequence[dict]) -> float:
    """Add the gradient of a padded batch's loss; returns the loss in nats."""
    from transformers import DataCollatorForSeq2Seq

    some = [{k: row[k] for k in ("input_ids", "labels")} for row in rows]
    batch = DataCollatorForSeq2Seq(tokenizer, padding=True)(some)
    loss = model(**batch.to(next(model.parameters()).device)).loss
    loss.backward()
    return loss.item()


# -- updates that go on after a kill ----------------------------------------------


@dataclass(frozen=True)
class Updates:
    """How `tune` trains: AdamW at ``rate``, ``number`` updates of ``batch_size`` rows.

    evaluate_every: updates between two evaluations.  seconds: time for all of them;
    after the first few there are fewer if they would take longer.
    """

    rate: float
    number: int
    batch_size: int = 8
    schedule: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    evaluate_every: int = 20
    seconds: float | None = None
    seed: int = 0


@dataclass
class Curve:
    """What happened: the loss of each update, and validation losses at some of them.

    number: updates in all.  best: the one after which the weights were kept.  Losses in
    nats a token of the answers.
    """

    number: int
    train: list[float] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best: int = 0
    shortened: bool = False
    seconds: float = 0.0


TIMED = 4  # updates after which their time is known; the first one is slower


def tune(
    model,
    rows: Sequence[dict],
    updates: Updates,
    evaluate: Callable[[], float],
    *,
    backward: Callable = packed_updates.backward,
    state: Path | None = None,
    progress: Callable[[Curve], None] | None = None,
) -> Curve:
    """Train in place what learns; the weights with the lowest validation loss stay.

    rows: {"input_ids", "labels"}.  evaluate() gives the validation loss;
    backward(model, rows) adds gradients and gives the loss.  state: a file that is
    written after each evaluation, from which the same call goes on, and ends with the
    same weights.
    Raises CourseError where the loss is no number or nothing that learns gets a
    gradient.
    """
    learning = {n: p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = _optimizer(learning, updates)
    curve, best = Curve(updates.number), {}
    if state is not None and state.exists():
        curve, best = _restored(state, learning, optimizer)
    began = time.perf_counter() - curve.seconds
    step = len(curve.train)
    while True:
        due = step % updates.evaluate_every == 0 or step == curve.number
        if due and step not in curve.at:
            curve.validation.append(evaluate())
            curve.at.append(step)
            if curve.validation[-1] <= min(curve.validation):
                curve.best = step
                best = {n: p.detach().clone() for n, p in learning.items()}
            curve.seconds = time.perf_counter() - began
            _store(state, learning, best, optimizer, curve)
        if progress is not None:
            progress(curve)
        if step == curve.number:
            break
        model.train()
        loss = backward(model, [rows[i] for i in _batch(len(rows), step, updates)])
        _check(loss, learning, step)
        torch.nn.utils.clip_grad_norm_(learning.values(), updates.clip_norm)
        _set_rate(optimizer, updates, step, curve.number)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        curve.train.append(loss)
        step += 1
        if step == 1:
            first = time.perf_counter()
        if step == TIMED and updates.seconds:
            _shorten(curve, updates, time.perf_counter() - began, first - began)
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(best[name])
    model.eval()
    return curve


def _optimizer(learning: dict, updates: Updates):
    """AdamW; weight decay for matrices alone.  Loshchilov & Hutter 2019."""
    groups = [
        dict(params=[p for p in learning.values() if p.ndim > 1]),
        dict(params=[p for p in learning.values() if p.ndim < 2], weight_decay=0.0),
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=updates.rate, weight_decay=updates.weight_decay)


def _set_rate(optimizer, updates: Updates, step: int, number: int) -> None:
    factor = schedules.lr_factor(step, number, updates.schedule, updates.warmup)
    for group in optimizer.param_groups:
        group["lr"] = updates.rate * factor


def _batch(n: int, step: int, updates: Updates) -> list[int]:
    """The rows of an update: one shuffled pass behind the other, cut into batches."""
    found = []
    for place in range(step * updates.batch_size, (step + 1) * updates.batch_size):
        order = np.random.default_rng((updates.seed, place // n)).permutation(n)
        found.append(int(order[place % n]))
    return found


def _check(loss: float, learning: dict, step: int) -> None:
    if not math.isfinite(loss):
        raise CourseError(
            f"The loss is {loss} at update {step + 1}.\nExpected: a number.\n"
            "Do: lower the rate, or compute in float32."
        )
    if step:
        return
    some = [p for p in learning.values() if p.grad is not None and p.grad.any()]
    if not some:
        raise CourseError(
            "No gradient reaches what is to learn.\nExpected: one in some of "
            f"{len(learning)} tensors.\nDo: choose another model or method."
        )


def _shorten(curve: Curve, updates: Updates, spent: float, first: float) -> None:
    """Fewer updates, where all of them would take longer than there is time for."""
    each = (spent - first) / (TIMED - 1)
    most = TIMED + max(0, int((updates.seconds - spent) / each))
    if most < curve.number:
        curve.number, curve.shortened = most, True


def _store(state, learning, best, optimizer, curve) -> None:
    if state is None:
        return
    moments, groups = resume.optimizer_state(optimizer)
    parts = {"model": learning, "best": best, "optimizer": moments}
    tensors = {f"{k}.{n}": t for k, named in parts.items() for n, t in named.items()}
    resume.save(state, tensors, {"curve": asdict(curve), "optimizer": groups})


def _restored(state, learning, optimizer) -> tuple[Curve, dict]:
    """(curve, best weights) of a stored run, whose weights and moments are loaded."""
    tensors, values = resume.load(state)
    parts: dict = {"model": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    if set(parts["model"]) != set(learning):
        raise CourseError(
            f"{state} belongs to another run: what learns has other names.\nExpected: "
            "the run that wrote it.\nDo: name another folder, or use --again."
        )
    with torch.no_grad():
        for name, parameter in learning.items():
            parameter.copy_(parts["model"][name])
    resume.load_optimizer(optimizer, parts["optimizer"], values["optimizer"])
    return Curve(**values["curve"]), parts["best"]
