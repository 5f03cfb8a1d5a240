"""Silent failures: what is wrong with a training set-up, before or after it has run.

None of these mistakes raises an error in PyTorch; each costs accuracy, memory or
honesty.  :func:`audit` takes whatever there is, the model, the optimizer, the data, a
batch, the history, and returns findings that name the parameter, layer, token or split.
It changes nothing: what has to run, runs on copies, or weights, buffers, gradients,
modes and random generators are put back.  :func:`rates` and :func:`rate_table` show at
which rate each parameter group really learns.  Taught in lesson 05.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from course_lib.analysis.audit import (
    adapters,
    buffers,
    history,
    inputs,
    optimizers,
    pooling,
    saving,
    steps,
    token_labels,
    tying,
)
from course_lib.analysis.audit.findings import CHECKS, Finding, Findings, report
from course_lib.analysis.audit.optimizers import rate_table, rates
from course_lib.analysis.audit.setup import FOREIGN, Setup

__all__ = [
    "CHECKS", "Finding", "Findings", "audit", "rate_table", "rates", "report"
]  # fmt: skip

SUBJECTS = (
    optimizers, buffers, inputs, pooling, token_labels, adapters, tying, saving, steps,
    history,
)  # fmt: skip


def audit(
    model,
    optimizer=None,
    train=None,
    val=None,
    test=None,
    *,
    preprocess=None,
    batch_size: int | None = None,
    history=None,
    kept: int | None = None,
    training: bool = True,
    smallest_batch: int = 8,
    scheduler=None,
    precision=None,
    scaler=None,
    batch=None,
    loss: Callable | None = None,
    accumulate: Callable | None = None,
    tokenizer=None,
    prompts: Sequence | None = None,
    saved=None,
    rebuild: Callable | bool | None = None,
    pooling: str | None = None,
) -> Findings:
    """Every mistake that can be seen from what is given; an empty list is good news.

    model: a Backbone, a module, or a peft model.  optimizer: a torch optimizer, or a
    list of parameter groups.  train, val, test: ImageDataset, TextDataset or a torch
    DataLoader; of a training loader one batch is drawn (it must be repeatable), its
    scale and order are looked at, and the batch size is taken.  Further, by name:

    preprocess: what turns the pictures into inputs in *your* loop, compared with the
    Backbone's own.  batch_size: of training; smallest_batch: below which BatchNorm is
    noise.  training: False after training or for a model that was loaded to be used.
    history: a training.History, anything with ``val_loss``, a list of losses, or the
    ``log_history`` of transformers; kept: index of the evaluation whose weights are
    used.  scheduler: of torch, transformers or timm.  precision: of autocast ("fp16",
    "bf16", a dtype); scaler: a GradScaler.  pooling: how your loop makes one vector of
    the encoder's output ("mean", "cls", "last", "max").

    batch: inputs, (inputs, labels) or a mapping with "labels", as your loop gives it to
    the network.  With it one step is made and undone; ``loss`` (f(network, batch) ->
    scalar) replaces the model's own loss or cross-entropy.  accumulate: f(network,
    micro-batches), your accumulation of gradients without the update.  tokenizer, and
    prompts (texts, or their numbers of tokens, one a row): of the batch.  saved: the
    file or folder that the weights or the adapter came from or went to.  rebuild:
    f() -> the base network as the program that serves it will build it, or True for
    its own class; the model is then saved to a temporary folder, loaded and compared.

    Findings come in the order of CHECKS; ``unseen`` names the checks that were given
    nothing to look at.  Raises CourseError for inputs that the model cannot take.
    Lesson 05.
    """
    setup = Setup(**locals())
    found = [one for subject in SUBJECTS for one in subject.look(setup)]
    lacking: dict[str, str] = {}
    for subject in SUBJECTS:
        lacking |= subject.wants(setup)
    for one in found:  # seen after all, by another way
        lacking.pop(one.check, None)
    ordered = {check: lacking[check] for check in CHECKS if check in lacking}
    foreign = [check for check, what in ordered.items() if what == FOREIGN]
    return Findings(
        found, {c: what for c, what in ordered.items() if what != FOREIGN}, foreign
    )
