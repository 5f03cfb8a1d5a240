"""Silent failures: what is wrong with a training set-up, before or after it has run.

None of these mistakes raises an error in PyTorch; each costs accuracy, memory or
honesty.  :func:`audit` takes whatever there is, the model, the optimizer, the data, a
batch, the history, and returns findings that name the parameter, layer, token or split.
It changes nothing: what has to run, runs on copies, or weights, buffers, gradients,
modes and random generators are put back.  :func:`rates` and :func:`rate_table` show at
which rate each parameter group really learns.
"""

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
from course_lib.analysis.audit.findings import (
    CHECKS,
    FOREIGN,
    Finding,
    Findings,
    Unseen,
    report,
)
from course_lib.analysis.audit.optimizers import rate_table, rates
from course_lib.analysis.audit.setup import Loop, Run, Setup

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
    batch=None,
    loop: Loop | None = None,
    run: Run | None = None,
) -> Findings:
    """Every mistake that can be seen from what is given; an empty list is good news.

    model: a Backbone, a module, or a peft model.  optimizer: a torch optimizer, or a
    list of parameter groups.  train, val, test: ImageDataset, TextDataset or a torch
    DataLoader; of a training loader one batch is drawn (it must be repeatable), its
    scale and order are looked at, and the batch size is taken.  batch: inputs,
    (inputs, labels) or a mapping with "labels", as your loop gives it to the network;
    with it one step is made and undone.  loop: how you train (:class:`Loop`), run:
    what there is after training (:class:`Run`).

    Findings come in the order of CHECKS; ``unseen`` names the checks that were given
    nothing to look at.  Raises CourseError for inputs that the model cannot take.
    """
    setup = Setup(
        model, optimizer, train, val, test, batch, loop or Loop(), run or Run()
    )
    said = [one for subject in SUBJECTS for one in subject.look(setup)]
    found = [one for one in said if isinstance(one, Finding)]
    lacking = {one.check: one.wants for one in said if isinstance(one, Unseen)}
    for one in found:  # seen after all, by another way
        lacking.pop(one.check, None)
    ordered = {check: lacking[check] for check in CHECKS if check in lacking}
    foreign = [check for check, what in ordered.items() if what == FOREIGN]
    return Findings(
        found, {c: what for c, what in ordered.items() if what != FOREIGN}, foreign
    )
