"""The small world of lessons 08 and 09 with a rate of the head's own (C48, C49).

In lesson08 and lesson09 head and encoder share one rate.  A new head wants a higher one
than full fine-tuning does, so full fine-tuning may have been held back.  Here each
method has two rates, and five seeds.

**Set before any run.**  500 tickets on MiniLM, 128 updates of 16 tickets of about one
length; 500 wafer pictures on the vision transformer, 160 updates of 32, turned and
shifted.  The head is drawn at random.  AdamW without weight decay, warm-up over 10 %,
linear decay for tickets and cosine for pictures; the last weights are scored.

Rates are a factor of about three apart and compared with seed 0 by validation accuracy,
at equal accuracy by validation loss.  First the head's, from 1.5e-3 to 1.5e-2, with the
method at the rate that lessons 08 and 09 chose; then the method's, one lower and one
higher than that, with the head at its best.  Where the best is the first or the last of
those tried, the next one beyond is tried.  Ranks 4 and 64 take the head's rate of rank
8 and choose their own.  At the chosen rates all five seeds run.

The probe learns with the rate that lessons 08 and 09 chose for it.

- C48 ("within 1-3 %"), LoRA of rank 8 minus full fine-tuning, paired by the seed, 95 %:
  confirmed if both intervals lie above -3 points, refuted if both lie below, else
  qualified.
- C49, rank 4 and rank 8 minus rank 64 on tickets: confirmed if both intervals lie above
  -2 points, refuted if both lie below, else qualified.

Each claim is confirmed or refuted where the small world and the real one agree in it,
else it is qualified.
"""

from course_lib import training
from course_lib.lessons import lesson07, lesson08_opinions, lesson09, protocol, results
from course_lib.lessons.lesson08 import LABELS, put
from course_lib.lessons.results import experiment, updates
from course_lib.models import text, zoo

TICKETS, PICTURES = "tickets", "pictures"
FILES = (*lesson07.FILES, *protocol.FILES)
STEPS = {TICKETS: lesson07.STEPS[LABELS], PICTURES: lesson09.STEPS}
RANKS = {"rank 4": 4, "rank 8": 8, "rank 64": 64}
SEEDS = range(5)
PROBE = {TICKETS: 1.5e-1, PICTURES: 5e-3}  # the head's rate, its body has none
TRIED = {  # (the method's rate, the head's) with seed 0, in the order of the search
    TICKETS: {
        "full": [(5e-4, 1.5e-3), (5e-4, 5e-3), (5e-4, 1.5e-2)]
        + [(1.5e-4, 5e-3), (1.5e-3, 5e-3)],
        "rank 8": [(1.5e-3, 1.5e-3), (1.5e-3, 5e-3), (1.5e-3, 1.5e-2)]
        + [(1.5e-3, 5e-2), (1.5e-3, 1.5e-1)]
        + [(5e-4, 5e-2), (5e-3, 5e-2), (1.5e-4, 5e-2)],
        "rank 4": [(5e-4, 5e-2), (1.5e-3, 5e-2), (5e-3, 5e-2)],
        "rank 64": [(5e-4, 5e-2), (1.5e-3, 5e-2), (5e-3, 5e-2)],
    },
    PICTURES: {
        "full": [(5e-4, 1.5e-3), (5e-4, 5e-3), (5e-4, 1.5e-2)]
        + [(5e-4, 5e-2), (5e-4, 1.5e-1)]
        + [(1.5e-4, 5e-2), (1.5e-3, 5e-2), (5e-3, 5e-2)],
        "rank 8": [(5e-3, 1.5e-3), (5e-3, 5e-3), (5e-3, 1.5e-2), (5e-3, 5e-2)]
        + [(1.5e-3, 1.5e-2), (1.5e-2, 1.5e-2)],
    },
}
CHOSEN = {  # of these by that rule, then with the other seeds
    (TICKETS, "full"): (5e-4, 5e-3),
    (TICKETS, "rank 8"): (5e-4, 5e-2),
    (TICKETS, "rank 4"): (1.5e-3, 5e-2),
    (TICKETS, "rank 64"): (1.5e-3, 5e-2),
    (PICTURES, "full"): (1.5e-3, 5e-2),
    (PICTURES, "rank 8"): (5e-3, 1.5e-2),
}


def cells():
    """The search with seed 0, then every method at its rates with the others."""
    grid = []
    for task, methods in TRIED.items():
        for method, pairs in methods.items():
            grid += [_cell(task, method, *pair, SEEDS[0]) for pair in pairs]
            if (task, method) in CHOSEN:
                pair = CHOSEN[task, method]
                grid += [_cell(task, method, *pair, seed) for seed in SEEDS[1:]]
        grid += [_cell(task, "probe", 0.0, PROBE[task], seed) for seed in SEEDS]
    return grid


def _cell(task, method, lr, head, seed):
    return dict(task=task, method=method, lr=lr, head=head, seed=seed)


def prepared(task, method, seed):
    """The task's backbone with the method's parts in it."""
    name = "minilm" if task == TICKETS else lesson09.VIT
    backbone = zoo.load(name, 5, seed=seed)
    if method in RANKS:
        return put(backbone, "lora", seed, r=RANKS[method])
    return put(backbone, method, seed)


def trained(backbone, task, steps, seed, moves, batch_size, amp=False):
    """The training that the grids of both worlds share; moves: parameter groups."""
    words = task == TICKETS
    recipe = training.Recipe(
        batch_size=batch_size,
        by_length=words,
        augment=None if words else protocol.AUGMENT,
        optimization=training.Optimization(
            param_groups=moves, schedule="linear" if words else "cosine"
        ),
        runtime=training.Runtime(amp=amp),
    )
    data = (lesson07 if words else protocol).labelled(LABELS, seed)
    training.fit(backbone, data, steps=steps, seed=seed, recipe=recipe)
    return backbone


def scored(backbone, task, fraction=1.0):
    """Accuracy and loss on test and validation examples of a task."""
    if task == PICTURES:
        return protocol.scored(backbone, fraction)
    return lesson07.scored(lambda part: text.predict(backbone, part.texts), fraction)


@experiment(
    "head_rates",
    grid=cells(),
    sample=[_cell(PICTURES, "full", 5e-4, 5e-3, 0)],
    short=[
        _cell(TICKETS, "rank 8", 1.5e-3, 5e-3, 0) | dict(fraction=0.02),
        _cell(PICTURES, "full", 5e-4, 5e-3, 0) | dict(fraction=0.02),
    ],
    tolerance={"accuracy": 0.04},
    models=(lesson09.VIT,),
    data=FILES,
)
def head_rates(task, method, lr, head, seed, fraction=1.0):
    """One method on 500 tickets or pictures, the head with a rate of its own."""
    backbone = prepared(task, method, seed)
    steps = updates(STEPS[task], fraction)
    moves = lesson08_opinions.groups(backbone, lr, head=head)
    trained(backbone, task, steps, seed, moves, 16 if task == TICKETS else 32)
    return scored(backbone, task, fraction)


# -- what the lessons read ------------------------------------------------------------

NEAR = {"C48": 0.03, "C49": 0.02}  # of accuracy, by the rules above


def preferred(task, method):
    """(the method's rate, the head's) that seed 0 prefers by validation."""
    found = results.load("head_rates").select(task=task, method=method, seed=SEEDS[0])
    row = best_by_validation(found)
    return row["lr"], row["head"]


def best_by_validation(rows):
    """The row of the highest validation accuracy, among equals of the lowest loss."""
    return max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))


def chosen(task, method):
    """The rows of a method at its own rates, one a seed."""
    lr, head = preferred(task, method)
    rows = results.load("head_rates").select(task=task, method=method)
    return rows.select(lr=lr, head=head)


def judged(differences, margin):
    """What the rules say of intervals: all above -margin, all below, or neither."""
    if all(found.low > -margin for found in differences):
        return "confirmed"
    lost = all(found.high < -margin for found in differences)
    return "refuted" if lost else "qualified"


def from_ranks():
    """{rank: accuracy on tickets minus that of rank 64}, paired by the seed."""
    largest = chosen(TICKETS, "rank 64")
    return {rank: chosen(TICKETS, f"rank {rank}").minus(largest) for rank in (4, 8)}


def from_full():
    """{task: accuracy of LoRA of rank 8 minus that of full fine-tuning}."""
    return {
        task: chosen(task, "rank 8").minus(chosen(task, "full"))
        for task in (TICKETS, PICTURES)
    }
