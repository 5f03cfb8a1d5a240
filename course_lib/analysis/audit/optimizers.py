"""Parameter groups: what is in them, and at which rate each really learns."""

import copy
import warnings
from collections.abc import Iterator

import torch

from course_lib.analysis.audit.findings import FOREIGN, Finding, Unseen, unseen
from course_lib.analysis.audit.setup import Setup, parameter_groups, some_names
from course_lib.models.features import network

SCALES = ("lr_scale", "lr_mult", "lr_multiplier")  # timm's key first
STEPS = 3  # of the scheduler, looked at in advance


def look(setup: Setup) -> Iterator[Finding | Unseen]:
    """Findings about the optimizer, its scheduler, and the precision of learning."""
    if setup.groups is None:
        names = ("stale-parameter", "missing-parameter", "double-parameter")
        yield from unseen("optimizer", *names, "layer-decay", "zero-rate")
    else:
        yield from _group_findings(setup.net, setup.groups)
        yield from _decay_findings(setup)
        yield from _zero_rate_findings(setup)
        if all(_scale(group) is None for group in setup.groups):
            yield Unseen("layer-decay", FOREIGN)
    if setup.run.training:
        yield from _state_findings(setup)
    else:
        yield from unseen("training=True", "half-precision", "nothing-learns")
    yield from _scaler_findings(setup)
    if setup.loop.precision is None:
        yield Unseen("no-scaler", "precision")


# -- members ----------------------------------------------------------------------


def _group_findings(net, groups):
    names = {id(p): name for name, p in net.named_parameters()}
    held: dict[int, int] = {}
    for number, group in enumerate(groups):
        for position, parameter in enumerate(group["params"]):
            held[id(parameter)] = held.get(id(parameter), 0) + 1
            if id(parameter) not in names:
                yield Finding(
                    "stale-parameter",
                    f"group {number}, parameter {position}, "
                    f"shape {tuple(parameter.shape)}",
                    "it is no longer in the model and will train in vain.",
                    "make the optimizer after the head has been replaced.",
                )
    for key, times in held.items():
        if times > 1:
            yield Finding(
                "double-parameter",
                names.get(key, "a parameter outside the model"),
                f"it is listed {times} times and moves that many times a step.",
                "put every parameter into one group (layer_groups.decayed_groups).",
            )
    for name, parameter in net.named_parameters():
        if parameter.requires_grad and id(parameter) not in held:
            yield Finding(
                "missing-parameter",
                name,
                "it has requires_grad=True and is in no group: it never moves.",
                "freeze it, or add it with optimizer.add_param_group.",
            )


# -- rates ------------------------------------------------------------------------


def rates(model, optimizer, scheduler=None) -> list[dict]:
    """The effective rate of every parameter group, a row a group.

    Rows {group, tensors, parameters, learning, lr, lr_scale, next_lr, weight_decay,
    first, last}: how many tensors and numbers it holds and how many of the numbers
    learn; the rate of the next update; the layer decay that the group carries (timm),
    None without one; the highest rate of the updates just after (the same without a
    scheduler); names of the first and the last parameter.  Nothing is stepped: the
    scheduler is copied.  Raises CourseError when ``optimizer`` is none.
    """
    net, groups = network(model), parameter_groups(optimizer)
    names = {id(p): name for name, p in net.named_parameters()}
    later = _coming_rates(groups, optimizer, scheduler)
    rows = []
    for number, (group, coming) in enumerate(zip(groups, later)):
        held = [names.get(id(p), "not in the model") for p in group["params"]]
        rows.append(
            {
                "group": group.get("name", number),
                "tensors": len(held),
                "parameters": sum(p.numel() for p in group["params"]),
                "learning": sum(p.numel() for p in group["params"] if p.requires_grad),
                "lr": _rate(group, optimizer),
                "lr_scale": _scale(group),
                "next_lr": max(coming),
                "weight_decay": group.get("weight_decay"),
                "first": held[0] if held else "",
                "last": held[-1] if held else "",
            }
        )
    return rows


def rate_table(model, optimizer, scheduler=None) -> str:
    """`rates` as text, a line a group; the layer decay is shown where there is one."""
    head = f"{'group':>5} {'learn':>12} {'of':>12} {'lr':>9} {'then':>9} {'decay':>7}"
    lines = [f"{head} {'lr_scale':>8}  parameters"]
    for row in rates(model, optimizer, scheduler):
        scale = "" if row["lr_scale"] is None else f"{row['lr_scale']:.3g}"
        decay = row["weight_decay"]
        decay = "" if decay is None else f"{decay:.3g}"
        lines.append(
            f"{row['group']!s:>5} {row['learning']:>12,} {row['parameters']:>12,} "
            f"{row['lr']:>9.2e} {row['next_lr']:>9.2e} {decay:>7} {scale:>8}  "
            f"{row['first']} ... {row['last']}"
        )
    return "\n".join(lines)


def _scale(group) -> float | None:
    """The layer decay that a group carries for a scheduler that reads it."""
    return next((float(group[key]) for key in SCALES if key in group), None)


def _rate(group, optimizer) -> float:
    """A group's rate; of a bare list of groups it may stand in the first alone."""
    default = getattr(optimizer, "defaults", {}).get("lr", float("nan"))
    return float(group.get("lr", default))


def _coming_rates(groups, optimizer, scheduler) -> list[list[float]]:
    """For each group its rate now and after each of the next steps of the scheduler.

    The scheduler is copied with a stand-in for its optimizer, so nothing moves.  One
    that waits for a validation loss changes nothing in the next steps.
    """
    now = [[_rate(group, optimizer)] for group in groups]
    while hasattr(scheduler, "scheduler"):  # accelerate wraps both
        scheduler = scheduler.scheduler
    inner = getattr(scheduler, "optimizer", None)
    waits = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    if inner is None or waits or len(inner.param_groups) != len(groups):
        return now
    fields = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    stand_in = torch.optim.SGD([{"params": [torch.zeros(1)]} for _ in groups], lr=0.0)
    for group, values in zip(stand_in.param_groups, fields):
        group.update(values)
    twin = copy.deepcopy(scheduler, {id(inner): stand_in})
    by_epoch = hasattr(twin, "step_update")  # timm's: step takes the epoch
    with warnings.catch_warnings():  # torch misses an update before each step
        warnings.simplefilter("ignore")
        for step in range(1, STEPS + 1):
            try:
                if by_epoch:
                    twin.step_update(step)
                twin.step(*[step] * by_epoch)
            except ValueError:  # a schedule of fixed length is at its end
                break
            for rates_of, group in zip(now, stand_in.param_groups):
                rates_of.append(float(group["lr"]))
    return now


def _decay_findings(setup):
    """Do the rates stand to each other as the layer decay says they should?"""
    scaled = [i for i, g in enumerate(setup.groups) if _scale(g) is not None]
    scales = {_scale(setup.groups[i]) for i in scaled}
    if len(scales) < 2:
        return
    later = _coming_rates(setup.groups, setup.optimizer, setup.loop.scheduler)
    # the last state counts: a scheduler overwrites what was set by hand
    state = next((s for s in range(len(later[0]) - 1, -1, -1) if later[0][s]), 0)
    bases = [later[i][state] / _scale(setup.groups[i]) for i in scaled]
    if max(bases) <= 1.01 * min(bases):
        return
    lowest, highest = (pick(later[i][state] for i in scaled) for pick in (min, max))
    by = "no scheduler was given"
    if setup.loop.scheduler is not None:
        by = f"{type(setup.loop.scheduler).__name__} does not read it"
    yield Finding(
        "layer-decay",
        f"{len(scaled)} groups with lr_scale from {min(scales):.3g} to "
        f"{max(scales):.3g}",
        f"their rates go from {lowest:.3g} to {highest:.3g}: {by}, nor does the "
        "optimizer.",
        "a scheduler of timm, or groups with their own lr (layer_groups."
        "decayed_groups); audit.rate_table shows what is in effect.",
    )


def _zero_rate_findings(setup):
    later = _coming_rates(setup.groups, setup.optimizer, setup.loop.scheduler)
    names = {id(p): name for name, p in setup.net.named_parameters()}
    for number, (group, coming) in enumerate(zip(setup.groups, later)):
        warming = setup.loop.scheduler is None and group.get("initial_lr")
        learning = [p for p in group["params"] if p.requires_grad]
        if max(coming) == 0 and learning and not warming:
            held = [names.get(id(p), "not in the model") for p in learning]
            yield Finding(
                "zero-rate",
                f"group {number}: {some_names(held)}",
                f"its rate is 0, now and after {len(coming) - 1} more steps.",
                "set its lr, or freeze the parameters to save their memory.",
            )


# -- precision --------------------------------------------------------------------


def _state_findings(setup):
    parameters = list(setup.net.named_parameters())
    halves = (torch.float16, torch.bfloat16)
    low = [n for n, p in parameters if p.requires_grad and p.dtype in halves]
    masters = getattr(setup.optimizer, "defaults", {}).get("master_weights")
    if low and not masters:
        kind = dict(parameters)[low[0]].dtype
        bits, digits = ("float16", 3) if kind == torch.float16 else ("bfloat16", 2)
        large = ", large gradients overflow" if bits == "float16" else ""
        yield Finding(
            "half-precision",
            some_names(low),
            f"stored in {bits}, about {digits} digits: small updates are rounded away"
            f"{large}.",
            "keep the weights in float32 and compute under torch.autocast.",
        )
    if parameters and not any(p.requires_grad for _, p in parameters):
        yield Finding(
            "nothing-learns",
            f"all {len(parameters)} parameters",
            "nothing has requires_grad=True.",
            "freezing.unfreeze(the head), or freeze less.",
        )


def _scaler_findings(setup):
    fp16 = str(setup.loop.precision).removeprefix("torch.") in (
        "fp16",
        "float16",
        "half",
    )
    on = setup.loop.scaler is not None
    on = on and getattr(setup.loop.scaler, "is_enabled", lambda: True)()
    if setup.loop.precision is None or not fp16 or on:
        return
    yield Finding(
        "no-scaler",
        "autocast in float16",
        "gradients below 6e-8 become zero, and nothing scales the loss"
        + (" (the scaler is disabled)." if setup.loop.scaler is not None else "."),
        "torch.amp.GradScaler, or bfloat16, whose range is that of float32.",
    )
