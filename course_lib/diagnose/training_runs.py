"""The training runs and probes of a diagnosis, and what is known of the source.

Each function takes the job and gives plain data, ready to be stored.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.analysis import distances, probes
from course_lib.analysis import transferability as scores
from course_lib.diagnose.modality import MOST_SIDE, PICTURES, SOURCE_EXAMPLES
from course_lib.diagnose.settings import Settings
from course_lib.errors import CourseError
from course_lib.models import stage_head, zoo
from course_lib.models.heads import inside
from course_lib.pretraining import recipes
from course_lib.training.picture_size import SizeRule, Work

STEPS, LEAST_STEPS, MOST_STEPS = 300, 40, 1600  # updates; 300 at 100 labels
BATCH, EVALUATIONS = 32, 10
FEW = 8  # of a batch where the curve is looked at: of like length, so little padding
TIMED = 2  # batches by which a run's length is planned
SHARE = 0.96  # of the minutes; the rest is for starting, reading and the report
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # the inverse penalties C of a probe
DIVERGED = dict(accuracy=-1.0, loss=1e9)  # what such a run counts for when choosing


# -- how long ---------------------------------------------------------------------


def plan(job) -> dict:
    """How many updates each training run has, and whether each repeat tries all rates.

    Where the time is too short, the rates are chosen in the first repeat, once for all;
    if that is not enough, the runs have fewer updates.
    """
    n, budget = len(job.parts[0][0]), SHARE * 60 * job.settings.minutes
    full = _full_steps(n)
    steps, once = job.settings.steps, False
    if steps is None:
        steps, least = full, min(full, LEAST_STEPS)
        needed = seconds_by_steps(job)
        once = len(job.settings.rates) > 1 and needed(steps, False) > budget
        while steps > least and needed(steps, once) > budget:
            steps = max(least, int(steps * 0.9))
    return {
        "steps": steps,
        "rates_once": once,
        "full_steps": job.settings.steps or full,
        "seconds": budget,
    }


def _full_steps(n: float) -> int:
    """Updates of a training run on n examples, where nothing cuts them short."""
    return int(np.clip(STEPS * (n / 100) ** 0.5, STEPS, MOST_STEPS))


def size_rule(settings: Settings) -> SizeRule:
    """How the size of pictures follows from the data and the time asked for.

    Larger than MOST_SIDE only where the time suffices for all updates, counted as if
    all pictures were used, also where the settings take fewer of each class.
    """

    def work(train: int, total: int) -> Work:
        total = min(total, PICTURES.most)
        n = 0.6 * total if train == total else 0.8 * train  # own_samples.splits
        steps, repeats = settings.steps or _full_steps(n), settings.repeats[0]
        runs = 2 * len(settings.rates or PICTURES.rates) * repeats
        looked = (EVALUATIONS + 1) * PICTURES.curve + total - n
        features = (repeats + 1) * total
        return Work(runs * looked + features, runs * steps * min(BATCH, n))

    return SizeRule(work, settings.minutes, " or give --size", least=MOST_SIDE)


def seconds_by_steps(job) -> Callable[[int, bool], float]:
    """f(steps, are rates chosen once?) -> seconds of the whole, by a short run's."""
    n = len(job.parts[0][0])
    train, validation, test = job.subsets(0)
    classes = len(job.data.classes)
    net = random_start(job.backbone, 0).to_classes(classes)
    recipe = training.Recipe(batch_size=BATCH, by_length=True)
    rng = np.random.default_rng(job.settings.seed)
    some = train.subset(rng.permutation(n)[: TIMED * BATCH])
    timed = [
        training.fit(net, some, steps=steps, recipe=recipe).seconds
        for steps in (TIMED, TIMED, 2 * TIMED)
    ][1:]  # the first run also pays for what is prepared once in a process
    # The difference of both is one pass over ``some``: batches of all lengths, and
    # nothing of what starting costs.
    one = max(timed[1] - timed[0], 1e-3) / TIMED / min(BATCH, n)  # forward, backward
    curve = (EVALUATIONS + 1) * len(_curve(job, validation))
    looked = (curve + len(validation) + len(test)) / 3  # forward only
    rates, extracted = len(job.settings.rates), (n + len(validation) + len(test))
    fewest = job.settings.repeats[0]
    source = 0 if _source(job) is None else SOURCE_EXAMPLES
    once = one * (len(job.data) / 3 + 4 * source)

    # 1.2: a margin for all that is not a pass through a network.
    def needed(steps, chosen_once):
        runs = 2 * (rates + fewest - 1 if chosen_once else rates * fewest)
        examples = runs * (steps * min(BATCH, n) + looked) + fewest * extracted / 3
        return once + 1.2 * one * examples

    return needed


def _curve(job, validation):
    """The validation examples by which the learning curve is drawn."""
    n = job.modality.curve
    rows = np.unique(np.linspace(0, len(validation) - 1, n).astype(int))
    return validation.subset(rows)


def first_choice(row: dict) -> tuple[dict, list]:
    """Of a repeat's runs the one that validation prefers: (a row of it alone, [rate]).

    The answers of a row and its candidates are lists of one length.
    """
    order = np.lexsort((row["loss"], -np.round(row["accuracy"], 9)))
    i = int(order[0])
    return {key: [values[i]] for key, values in row.items()}, [row["rates"][i]]


# -- the arms ---------------------------------------------------------------------


def random_start(backbone, seed: int):
    """The same network with random weights from ``seed``, as it was before training.

    By name where the zoo knows it and the shapes agree (then with the zoo's
    preprocessing, too, at the size that was chosen here); else a copy whose layers are
    drawn again: convolutions by He et al. 2015, other layers by their own rule, free
    parameters from N(0, 0.02^2).
    """
    try:
        fresh = zoo.load(backbone.name, seed=seed, pretrained=False)
        if _shapes(fresh) == _shapes(backbone):
            for name in ("size", "max_length"):
                own, chosen = (
                    getattr(b.preprocess, name, None) for b in (fresh, backbone)
                )
                if own and chosen:
                    fresh.preprocess = replace(fresh.preprocess, **{name: chosen})
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
    return _trained(job, r, "scratch", random_start(job.backbone, job.seed(r)))


def _full(job, r: int) -> dict:
    source = _source(job) if r == 0 else None
    return _trained(job, r, "full", job.backbone, source)


def _trained(job, r: int, arm: str, start, source=None) -> dict:
    """All layers trained at each rate; what each run answers with its last weights.

    A validation part this small can choose between ways to train.  It cannot choose
    between moments of one run, so that no earlier weights are brought back.
    """
    _, validation, test = job.subsets(r)
    answers, histories, kept = [], [], []
    rates = job.rates.get(arm, job.settings.rates)
    for lr in rates:
        net = start.copy().to_classes(len(test.classes), job.seed(r))
        history = _fitted(job, r, net, lr)
        histories.append(history)
        if history is None:
            answers.append(_diverged(job, r))
            kept.append(None)
            continue
        checked, tested = (
            training.evaluate(net, part, batch_size=BATCH)["probabilities"]
            for part in (validation, test)
        )
        answers.append(_answer(job, validation.labels, checked, tested))
        kept.append(_source_accuracy(net, start, source) if source else None)
    names = [f"learning rate {lr:g}" for lr in rates]
    more = {"histories": histories, "source": kept, "rates": list(rates)}
    return _together(names, answers) | more


def _fitted(job, r: int, net, lr: float) -> dict | None:
    """Train; the history with validation looked at ten times, None if it diverged."""
    train, validation, _ = job.subsets(r)
    curve = _curve(job, validation)
    augment, seen = job.modality.augmentation(job.settings.augment, train), []

    def look_at(*_):
        found = training.evaluate(net, curve, batch_size=FEW)
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
                by_length=True,
                augment=augment,
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
    logits, P = X.pop("logits", None), None
    if heads := _source_heads(job):
        widest = max(heads, key=lambda head: len(heads[head]))
        columns = recipes.head_slices(heads)[widest]
        own = torch.from_numpy(logits[: len(job.parts[r][0]), columns])
        P = own.double().softmax(dim=1).numpy()
    return _probed(job, r, X) | {"scores": _scores(job, r, X, P)}


def _random(job, r: int) -> dict:
    """The same on features of random weights."""
    start = random_start(job.backbone, job.seed(r))
    used = job.data.subset(np.concatenate(job.parts[r]))
    X = job.modality.features(start, used.inputs)
    X.pop("logits", None)
    return _probed(job, r, X) | {"scores": _scores(job, r, X, None)}


def _without_network(learn: Callable) -> Callable:
    """The arm of a baseline of the modality."""

    def run(job, r: int) -> dict:
        train, validation, test = job.subsets(r)
        found = learn(train, validation, test)
        answers = [_answer(job, validation.labels, *pair) for pair in found.values()]
        return _together(list(found), answers)

    return run


def _pretrained_features(job) -> dict[str, np.ndarray]:
    if "pretrained" not in job.kept:
        found = job.modality.features(job.backbone, job.data.inputs)
        job.kept["pretrained"] = found
    return job.kept["pretrained"]


def _probed(job, r: int, X: dict[str, np.ndarray]) -> dict:
    """A probe on each reading of the stages, and on each stage, to show the depth.

    X: {stage: vectors (N, F)}.  Only readings are candidates: a validation part that is
    small prefers some single stage by chance where many are about as good.
    """
    readings = {
        reading: np.hstack([X[stage] for stage in stages])
        for reading, stages in _readings(job.backbone, list(X)).items()
    }
    found = {name: _probe(job, r, Z) for name, Z in (X | readings).items()}
    chosen = _together(list(readings), [found[name] for name in readings])
    depth = {stage: found[stage]["predictions"] for stage in X}
    return chosen | {"depth": depth}


def _readings(backbone, stages: list[str]) -> dict[str, list[str]]:
    """{reading: stages}: those that `course train` compares, and all stages."""
    found = {
        name: list(several) or stages[-1:]
        for name, several in stage_head.candidates(backbone).items()
    }
    return found | {"all stages": stages}


def _probe(job, r: int, Z: np.ndarray) -> dict:
    """What a linear probe on vectors (N, F) answers; C by validation."""
    if not np.isfinite(Z).all():
        return _diverged(job, r)
    train, validation, _ = job.parts[r]
    first, held = len(train), len(validation)
    y = job.data.labels[np.concatenate(job.parts[r])]
    checked = slice(first, first + held)
    P = probes.linear_probe(
        Z[:first],
        y[:first],
        Z[first:],
        y[first:],
        val=(Z[checked], y[checked]),
        C=PENALTIES,
    ).probabilities
    return _answer(job, y[checked], P[:held], P[held:])


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


# -- the source -------------------------------------------------------------------


def _source_heads(job) -> dict:
    """{head: class names} of what the backbone learned; {} where it is not known."""
    logits = _pretrained_features(job).get("logits")
    if logits is None:
        return {}
    return job.modality.source_heads(job.backbone, logits.shape[1])


def _source(job):
    """Held-out examples of the backbone's own task, where the course can draw them."""
    if "source" not in job.kept:
        job.kept["source"] = job.modality.source(job.backbone)
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
    """What the source head sees in the examples, and how far they are from its own."""
    X = _pretrained_features(job)
    found: dict = {"heads": {}, "distance": None}
    found["vocabulary"] = job.modality.vocabulary(job.backbone, job.data)
    heads = _source_heads(job)
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
    n = min(SOURCE_EXAMPLES, len(rows))
    target = X[stage][rng.permutation(rows)[:n]]
    own = job.modality.features(job.backbone, source.images.numpy())[stage]
    one, other = own[:n], own[SOURCE_EXAMPLES : SOURCE_EXAMPLES + n]
    scale = one.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    target, one, other = ((Z - one.mean(axis=0)) / scale for Z in (target, one, other))
    found["distance"] = {
        "examples": n,
        "stage": stage,
        "a_distance": distances.proxy_a_distance(target, one),
        "a_floor": distances.proxy_a_distance(other, one),
        "frechet": distances.frechet_distance(target, one),
        "frechet_floor": distances.frechet_distance(other, one),
    }
    return found


ARMS = {"scratch": _scratch, "random": _random, "frozen": _frozen, "full": _full}


def arms(job) -> dict[str, Callable]:
    """{arm: f(job, repeat)}: what every modality has, and the baselines of this one."""
    own = job.modality.baselines
    return ARMS | {name: _without_network(learn) for name, learn in own.items()}
