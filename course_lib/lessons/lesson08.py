"""Grids of lessons 08 and 09: parameter-efficient fine-tuning under one protocol.

Tickets with 500 labels on the text encoder; lesson09 has the same methods on pictures.
Rates are compared with the first seed by validation accuracy,
until the best lies inside those tried; it runs with every seed.  The weights are those
after the last update.
"""

import torch

from course_lib import datasets
from course_lib.lessons import results
from course_lib.lessons.lesson07 import FILES, STEPS, labelled, scored
from course_lib.lessons.results import SEEDS, experiment
from course_lib.methods import lora, peft_family
from course_lib.models import text, zoo
from course_lib.training import hf_trainer

LABELS = 500
ALL = "every linear layer"
TARGETS = {  # what LoRA is put beside
    "query, value": ("query", "value"),
    ALL: peft_family.LINEAR,
}
ALPHA = 16.0  # s = alpha / r, whatever the rank
SHAPES = [  # (r, targets) of LoRA besides (8, ALL); the last trains as much as that
    *((r, ALL) for r in (1, 64)),
    (36, "query, value"),
]
METHODS = {
    "full": peft_family.full,
    "lora": peft_family.lora_everywhere,
    "dora": peft_family.dora,
    "adapters": peft_family.adapters,
    "prefix": peft_family.prefix,
    "prompt": peft_family.prompt,
    "ia3": peft_family.ia3,
    "bitfit": peft_family.bitfit,
    "probe": peft_family.probe,
}
SEEDED = ("lora", "dora", "adapters", "prefix", "prompt")  # they draw random numbers
TRIED_TEXT = {  # with the first seed; dora takes lora's
    "full": (1.5e-4, 5e-4, 1.5e-3),
    "lora": (5e-4, 1.5e-3, 5e-3),
    "adapters": (1.5e-3, 5e-3, 1.5e-2),
    "bitfit": (1.5e-3, 5e-3, 1.5e-2),
    "prefix": (5e-3, 1.5e-2, 5e-2, 1.5e-1, 5e-1),
    "prompt": (1.5e-2, 5e-2, 1.5e-1),
    "ia3": (5e-3, 1.5e-2, 5e-2, 1.5e-1),
    "probe": (5e-3, 1.5e-2, 5e-2, 1.5e-1),
}
CHOSEN_TEXT = {  # of these by validation accuracy; they run with every seed
    "full": 5e-4,
    "lora": 1.5e-3,
    "adapters": 5e-3,
    "bitfit": 5e-3,
    "prefix": 1.5e-1,
    "prompt": 5e-2,
    "ia3": 5e-2,
    "probe": 1.5e-1,
}


def cells(tried, chosen):
    """Each method at its rates with the first seed, at the chosen one with all."""
    grid = []
    for seed in SEEDS:
        for method in METHODS:
            best = chosen.get("lora" if method == "dora" else method)
            rates = tried.get(method, ()) if seed == SEEDS[0] else ()
            rates = dict.fromkeys([*rates, *([best] if best else [])])
            grid += [dict(method=method, lr=lr, seed=seed) for lr in rates]
    return grid


def text_cells():
    """The methods, then LoRA by rank and by what it is put beside, at rank 8's rate."""
    grid = [
        params | dict(r=8, targets=ALL) for params in cells(TRIED_TEXT, CHOSEN_TEXT)
    ]
    lr = CHOSEN_TEXT["lora"]
    for r, targets in SHAPES:
        one = dict(method="lora", lr=lr, r=r, targets=targets)
        grid += [one | dict(seed=seed) for seed in SEEDS]
    return grid


def put(backbone, method, seed, r=8, targets=ALL):
    """The method's parts in the backbone; LoRA by rank and targets."""
    if method != "lora":
        options = dict(seed=seed) if method in SEEDED else {}
        return METHODS[method](backbone, **options)
    names = peft_family.linear_layers(backbone, TARGETS[targets])
    return lora.inject(backbone, names, r, ALPHA, train=(backbone.head,), seed=seed)


@experiment(
    "peft_text",
    grid=text_cells(),
    sample=[dict(method="probe", lr=5e-3, seed=0, r=8, targets=ALL)],
    short=[
        dict(method="probe", lr=5e-3, seed=0, r=8, targets=ALL, fraction=0.02),
        dict(
            method="lora",
            lr=1.5e-3,
            seed=0,
            r=36,
            targets="query, value",
            fraction=0.02,
        ),
    ],
    tolerance={"accuracy": 0.03},
    data=FILES,
)
def peft_text(method, lr, seed, r, targets, fraction=1.0):
    """One method on 500 tickets: accuracies, and parameters that learn."""
    backbone = put(zoo.load("minilm", 5, seed=seed), method, seed, r, targets)
    learning = sum(v.numel() for v in peft_family.trained_state(backbone).values())
    data, steps = labelled(LABELS, seed), results.updates(STEPS[LABELS], fraction)
    hf_trainer.fit(backbone, data, steps=steps, lr=lr, seed=seed)
    numbers = scored(lambda part: text.predict(backbone, part.texts), fraction)
    return numbers | {"trainable": learning}


KEPT = (0, 1, 8, 64)  # ranks to which a full update is cut


@torch.no_grad()
def truncated(start, end, names, rank):
    """start + the best approximation of rank ``rank`` to end - start, by name.

    Eckart & Young 1936: the first singular directions.
    """
    cut = {}
    for name in names:
        U, S, Vh = torch.linalg.svd(end[name] - start[name], full_matrices=False)
        cut[name] = start[name] + (U[:, :rank] * S[:rank]) @ Vh[:rank]
    return cut


@experiment(
    "full_updates",
    grid=[dict(steps=STEPS[LABELS], seed=seed) for seed in SEEDS],
    sample=[dict(steps=STEPS[LABELS], seed=0)],
    short=[dict(steps=STEPS[LABELS], seed=0, fraction=0.02)],
    tolerance={f"energy_{r}": 0.02 for r in (1, 8, 64)}
    | {"relative_size": 0.002, "cut_8": 0.03},
    data=FILES,
)
def full_updates(steps, seed, fraction=1.0):
    """The update of full fine-tuning: its spectrum, and accuracy when it is cut.

    ``energy_r``: share of the squared singular values up to r, mean over the matrices.
    ``cut_r``: test accuracy with every matrix's update cut to rank r, all else as
    fine-tuned.  A short cell looks at the six matrices of the first layer.
    """
    backbone = zoo.load("minilm", 5, seed=seed)
    names = [f"{n}.weight" for n in peft_family.linear_layers(backbone)]
    names = names if fraction == 1 else names[:6]
    start = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    data = labelled(LABELS, seed)
    steps = results.updates(steps, fraction)
    hf_trainer.fit(backbone, data, steps=steps, lr=CHOSEN_TEXT["full"], seed=seed)
    end = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    energy = torch.stack(
        [torch.linalg.svdvals(end[n] - start[n]).square() for n in names]
    )
    energy = (energy.cumsum(1) / energy.sum(1, keepdim=True)).mean(0)
    numbers = {f"energy_{r}": float(energy[r - 1]) for r in (1, 8, 64)}
    largest = max((end[n] - start[n]).norm() / start[n].norm() for n in names)
    numbers["relative_size"] = float(largest)
    test = results.part(datasets.load("tickets", "test"), fraction)
    for rank in (*KEPT, None) if fraction == 1 else (8,):
        cut = {} if rank is None else truncated(start, end, names, rank)
        backbone.model.load_state_dict(end | cut)
        right = text.predict(backbone, test.texts).argmax(1) == test.labels
        numbers["accuracy" if rank is None else f"cut_{rank}"] = right.mean()
    return numbers
