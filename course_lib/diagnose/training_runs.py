"""The training runs and probes of a diagnosis, and what is known of the source.

Each function takes the job and gives plain data, ready to be stored.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.analysis import distances, probes
from course_lib.analysis import transferability as scores
from course_lib.errors import CourseError
from course_lib.models import features, zoo
from course_lib.models.heads import as_vectors, inside
from course_lib.pretraining import patterns, recipes

STEPS, LEAST_STEPS, MOST_STEPS = 300, 40, 1600  # updates; 300 at 100 labels
BATCH, EVALUATIONS = 32, 10
SHARE = 0.96  # of the minutes; the rest is for starting, reading and the report
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # the inverse penalties C of a probe
WHOLE = ""  # the name of the network itself among its modules
SOURCE_PICTURES = 256  # and as many again for the floor
DIVERGED = dict(accuracy=-1.0, loss=1e9)  # what such a run counts for when choosing


# -- how long ---------------------------------------------------------------------


def plan(job) -> dict:
    """How many updates each training run has: fewer where the time is too short."""
    n, budget = len(job.parts[0][0]), SHARE * 60 * job.settings.minutes
    full = int(np.clip(STEPS * (n / 100) ** 0.5, STEPS, MOST_STEPS))
    steps = job.settings.steps
    if steps is None:
        steps, least = full, min(full, LEAST_STEPS)
        needed = seconds_by_steps(job)
        while steps > least and needed(steps) > budget:
            steps = max(least, int(steps * 0.9))
    return {
        "steps": steps,
        "full_steps": job.settings.steps or full,
        "seconds": budget,
    }


def seconds_by_steps(job) -> Callable[[int], float]:
    """Seconds of the whole diagnosis by steps, from those of a short training run."""
    n = len(job.parts[0][0])
    train, validation, test = job.images(0)
    classes = len(job.data.classes)
    net = random_start(job.backbone, 0).to_classes(classes)
    recipe = training.Recipe(batch_size=BATCH)
    timed = [
        training.fit(net, train, steps=steps, recipe=recipe).seconds
        for steps in (2, 10)
    ]
    # The difference of both runs is 8 updates; what starting costs falls out of it.
    picture = max(timed[1] - timed[0], 1e-3) / 8 / min(BATCH, n)  # forward, backward
    looked = ((EVALUATIONS + 1) * len(validation) + len(test)) / 3  # forward only
    runs, extracted = 2 * len(job.settings.rates), (n + len(validation) + len(test))
    once = picture * (len(job.data) / 3 + 4 * SOURCE_PICTURES)

    # 1.2: a margin for all that is not a pass through a network.
    def needed(steps):
        pictures = runs * (steps * min(BATCH, n) + looked) + extracted / 3
        return once + 1.2 * job.settings.repeats[0] * picture * pictures

    return needed


# -- the arms ---------------------------------------------------------------------


def random_start(backbone, seed: int):
    """The same network with random weights from ``seed``, as it was before training.

    By name where the zoo knows it and the shapes agree (then with the zoo's
    preprocessing, too); else a copy whose layers are drawn again: convolutions by He
    et al. 2015, other layers by their own rule, free parameters from N(0, 0.02^2).
    """
    try:
        fresh = zoo.load(backbone.name, seed=seed, pretrained=False)
        if _shapes(fresh) == _shapes(backbone):
            return fresh
    except CourseError:
        pass
    copy = backbone.copy()
    drawn = set()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in copy.model.named_modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
                drawn |= {f"{name}.{p}" for p, _ in module.named_parameters()}
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for name, parameter in copy.model.named_parameters():
            if name not in drawn:
                nn.init.normal_(parameter, std=0.02)
    copy.model.eval()
    return copy


def _shapes(backbone) -> dict:
    """Shapes of all weights but the head's."""
    state = backbone.model.state_dict()
    return {k: v.shape for k, v in state.items() if not inside(k, backbone.heads)}


def _scratch(job, r: int) -> dict:
    return _trained(job, r, random_start(job.backbone, job.seed(r)))


def _tuned(job, r: int) -> dict:
    source = _source(job) if r == 0 else None
    return _trained(job, r, job.backbone, source)


def _trained(job, r: int, start, source=None) -> dict:
    """All layers trained at each rate; what each run answers with its last weights.

    A validation part this small can choose between ways to train.  It cannot choose
    between moments of one run, so that no earlier weights are brought back.
    """
    _, validation, test = job.images(r)
    answers, histories, kept = [], [], []
    for lr in job.settings.rates:
        net = start.copy().to_classes(len(test.classes), job.seed(r))
        history = _fitted(job, r, net, lr)
        histories.append(history)
        if history is None:
            answers.append(_diverged(job, r))
            kept.append(None)
            continue
        checked, tested = (
            training.evaluate(net, part)["probabilities"] for part in (validation, test)
        )
        answers.append(_answer(job, validation.labels, checked, tested))
        kept.append(_source_accuracy(net, start, source) if source else None)
    names = [f"learning rate {lr:g}" for lr in job.settings.rates]
    return _together(names, answers) | {"histories": histories, "source": kept}


def _fitted(job, r: int, net, lr: float) -> dict | None:
    """Train; the history with validation looked at ten times, None if it diverged."""
    train, validation, _ = job.images(r)
    augment, seen = training.AUGMENTATIONS[job.settings.augment], []

    def look_at(*_):
        found = training.evaluate(net, validation)
        seen.append((found["loss"], found["accuracy"]))

    try:
        history = training.fit(
            net,
            train,
            steps=job.steps,
            lr=lr,
            seed=job.seed(r),
            recipe=training.Recipe(
                batch_size=BATCH,
                augment=augment(min(train.images.shape[1:3])),
                eval_every=max(1, job.steps // EVALUATIONS),
                on_epoch=lambda epoch, *_: look_at() if epoch else None,
            ),
        )
        look_at()
    except CourseError as error:
        if not str(error).startswith("The loss is"):
            raise
        return None
    history.val_loss, history.val_accuracy = map(list, zip(*seen))
    return history.to_dict() | {"seconds": 0.0}


def _answer(job, labels, validated, tested) -> dict:
    """Accuracy and loss on validation; predictions and confidence on test."""
    own = np.maximum(validated[np.arange(len(labels)), labels], 1e-12)
    return {
        "accuracy": job.score(validated.argmax(axis=1), labels),
        "loss": float(-np.log(own).mean()),
        "predictions": tested.argmax(axis=1).tolist(),
        "confidence": np.round(tested.max(axis=1), 4).tolist(),
    }


def _diverged(job, r: int) -> dict:
    """The answers of a run or of features that hold no finite numbers."""
    tested, chance = len(job.parts[r][2]), 1 / len(job.data.classes)
    return DIVERGED | dict(predictions=[0] * tested, confidence=[chance] * tested)


def _together(names, answers) -> dict:
    columns = {key: [one[key] for one in answers] for key in answers[0]}
    return {"candidates": names} | columns


def _frozen(job, r: int) -> dict:
    """Probes on the pretrained features, and the transferability scores."""
    rows = np.concatenate(job.parts[r])
    everything = _pretrained_features(job)
    X = {stage: Z[rows] for stage, Z in everything.items()}
    logits = X.pop("logits")[: len(job.parts[r][0])]
    heads = _source_heads(job.backbone, everything["logits"].shape[1])
    P = None
    if heads:
        widest = max(heads, key=lambda head: len(heads[head]))
        P = _softmax(logits[:, recipes.head_slices(heads)[widest]])
    return _probed(job, r, X) | {"scores": _scores(job, r, X, P)}


def _random(job, r: int) -> dict:
    """The same on features of random weights."""
    start = random_start(job.backbone, job.seed(r))
    rows = np.concatenate(job.parts[r])
    X = stage_features(start, job.data.images[rows])
    X.pop("logits")
    return _probed(job, r, X) | {"scores": _scores(job, r, X, None)}


def _pretrained_features(job) -> dict[str, np.ndarray]:
    if "pretrained" not in job.kept:
        job.kept["pretrained"] = stage_features(job.backbone, job.data.images)
    return job.kept["pretrained"]


def stage_features(backbone, images, batch_size: int = 128) -> dict[str, np.ndarray]:
    """Every stage averaged over space, and the network's "logits", in one pass."""
    found: dict[str, list] = {}
    for start in range(0, len(images), batch_size):
        x = backbone.preprocess(images[start : start + batch_size])
        places = [*backbone.stages, WHOLE]
        for place, output in features.activations(backbone, x, places).items():
            name = "logits" if place == WHOLE else place
            if output.ndim == 4 and features.channels_come_last(backbone.model):
                output = output.permute(0, 3, 1, 2)
            found.setdefault(name, []).append(as_vectors(output).float().cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def _probed(job, r: int, X: dict[str, np.ndarray]) -> dict:
    """A probe on each stage and on all side by side; C by validation."""
    sizes = [len(rows) for rows in job.parts[r][:2]]
    first, second = sizes[0], sum(sizes)
    y = job.data.labels[np.concatenate(job.parts[r])]
    X = X | {"all stages": np.hstack(list(X.values()))}
    answers = []
    for Z in X.values():
        if not np.isfinite(Z).all():
            answers.append(_diverged(job, r))
            continue
        probe = probes.linear_probe(
            Z[:first],
            y[:first],
            Z[first:],
            y[first:],
            val=(Z[first:second], y[first:second]),
            C=PENALTIES,
        )
        held = second - first
        P = probe.probabilities
        answers.append(_answer(job, y[first:second], P[:held], P[held:]))
    return _together(list(X), answers)


def _scores(job, r: int, X, P) -> dict:
    """Transferability scores on the training pictures; None where there is none."""
    rows = len(job.parts[r][0])
    y, Z = job.data.labels[job.parts[r][0]], list(X.values())[-1][:rows]
    usable = np.isfinite(Z).all() and Z.std(axis=0).max() > 0
    found = dict.fromkeys(("LogME", "H-score", "kNN", "LEEP"))
    if usable:
        found["LogME"] = scores.logme(Z, y)
        found["H-score"] = scores.h_score(Z, y)
        found["kNN"] = scores.knn_accuracy(Z, y, k=min(5, rows - 1))
    if P is not None and np.isfinite(P).all():
        found["LEEP"] = scores.leep(P, y)
    return found


def _softmax(logits) -> np.ndarray:
    return torch.from_numpy(logits).double().softmax(dim=1).numpy()


# -- the source -------------------------------------------------------------------


def _source_heads(backbone, width: int) -> dict[str, Sequence[str]]:
    """{head: class names} of what the backbone learned; {} where it is not known."""
    heads = backbone.card.get("heads") or {}
    if "heads" not in backbone.card and backbone.card:
        heads = {"source": [str(k) for k in range(width)]}
    return heads if sum(map(len, heads.values())) == width else {}


def _source(job):
    """Held-out pictures of the backbone's own task, where the course can draw them."""
    short = job.backbone.name.removeprefix("bundled/")
    if short == job.backbone.name or short not in recipes.RECIPES:
        return None
    if "source" not in job.kept:
        draw = getattr(patterns, recipes.RECIPES[short].source)
        job.kept["source"] = draw(2 * SOURCE_PICTURES, recipes.HELD_OUT_SEED)
    return job.kept["source"]


def _source_accuracy(net, start, source) -> dict:
    """Accuracy of the source heads before, and behind the trained layers."""
    heads = start.card.get("heads") or {}
    if not heads:
        return {}
    after = net.copy()
    after.model.cpu()
    for name in after.heads:
        after.model.set_submodule(name, start.model.get_submodule(name))
    pool = (source.images, source.labels)
    return {
        when: recipes.head_accuracy(backbone.model, pool, heads)
        for when, backbone in (("before", start), ("after", after))
    }


def look(job) -> dict:
    """What the source head sees in the pictures, and how far they are from its own."""
    X = _pretrained_features(job)
    found: dict = {"heads": {}, "distance": None}
    heads = _source_heads(job.backbone, X["logits"].shape[1])
    for head, columns in recipes.head_slices(heads).items():
        predicted = X["logits"][:, columns].argmax(axis=1)
        names = [str(name) for name in heads[head]]
        found["heads"][head] = {"names": names, "predicted": predicted.tolist()}
    source = _source(job)
    stage = list(job.backbone.stages)[-1]
    if source is None or not np.isfinite(X[stage]).all():
        return found
    rng = np.random.default_rng(job.settings.seed)
    rows = np.setdiff1d(np.arange(len(job.data)), job.parts[0][2])
    n = min(SOURCE_PICTURES, len(rows))
    target = X[stage][rng.permutation(rows)[:n]]
    own = stage_features(job.backbone, source.images.numpy())[stage]
    one, other = own[:n], own[SOURCE_PICTURES : SOURCE_PICTURES + n]
    scale = one.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    target, one, other = ((Z - one.mean(axis=0)) / scale for Z in (target, one, other))
    found["distance"] = {
        "pictures": n,
        "stage": stage,
        "a_distance": distances.proxy_a_distance(target, one),
        "a_floor": distances.proxy_a_distance(other, one),
        "frechet": distances.frechet_distance(target, one),
        "frechet_floor": distances.frechet_distance(other, one),
    }
    return found


ARMS = {"scratch": _scratch, "random": _random, "frozen": _frozen, "tuned": _tuned}
