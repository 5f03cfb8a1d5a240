"""Second tries of what lessons 04, 06, 11 and 12 say about training.

Small convolutional networks (`small_networks.py`) learn the digits 0 to 4 of
scikit-learn and go on to the digits 5 to 9, to turned digits or to wafer maps of 8 x 8
pixels.  What would contradict a verdict was written down before anything was run.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import small_networks as small
import torch
from scipy.stats import spearmanr
from small_networks import Adam, Convolutional, drawn, interval, points, train

SEEDS = 12
STEPS = 150
ZERO_TO_FOUR = list(range(5))


def pretrained(data, seeds, steps=200, seed=1, norms=False):
    """Networks trained on all of data = (pictures, labels), one a seed."""
    x, y = data
    nets = Convolutional(seeds, int(y.max()) + 1, seed, norms)
    shown = x.expand(seeds, *x.shape), y.expand(seeds, *y.shape)
    rates = torch.full((seeds,), 3e-3)
    return train(nets, *shown, steps, Adam(nets.parameters(), rates), batch=32)


@lru_cache(maxsize=2)
def sources(seeds):
    """Networks that know the digits 0 to 4."""
    return pretrained(small.some(small.digits(), ZERO_TO_FOUR), seeds)


def spread(settings, seeds):
    """(rows of seeds (R,), [a column (R,) of each setting]); settings vary slowly."""
    rows = torch.arange(seeds).repeat(len(settings))
    columns = zip(*settings, strict=True)
    return rows, [torch.tensor(c).repeat_interleave(seeds) for c in columns]


def measured(nets, held, tested, shape):
    """Accuracy on validation and on test pictures, in this shape."""
    return tuple(small.accuracy(nets, *part).reshape(shape) for part in (held, tested))


def at(rows, *parts):
    """Each (x, y) at these rows."""
    return [(x[rows], y[rows]) for x, y in parts]


# -- lesson 04 -------------------------------------------------------------------------

ALPHAS = (0.1, 0.2, 0.3, 1 / 2.6, 0.5, 1.0)


def c07() -> str:
    """Rates that shrink by alpha from layer to layer, without BatchNorm.

    Each alpha at the best of four rates by validation over all seeds, all layers
    trained on 10 labels a class.  Contradicts the verdict: an alpha of 0.1 to 0.5
    whose difference to 1/2.6 has an interval wholly beyond 2 points.
    """
    told, settings = [], [*product(ALPHAS, (1e-3, 3e-3, 1e-2, 3e-2))]
    for name, data in small.targets().items():
        fit, held, tested = drawn(data, 10, 100, 400, range(SEEDS))
        start = sources(SEEDS).select(range(SEEDS)).fresh_head(int(fit[1].max()) + 1)
        rows, (alphas, rates) = spread(settings, SEEDS)
        nets = start.select(rows)
        factors = alphas[:, None] ** (4 - torch.arange(5))
        (x, y), *others = at(rows, fit, held, tested)
        train(nets, x, y, STEPS, Adam(nets.parameters(), rates, factors))
        val, test = measured(nets, *others, (len(ALPHAS), 4, SEEDS))
        best = test[range(len(ALPHAS)), val.mean(2).argmax(1)]  # (alphas, seeds)
        differences = [
            f"{alpha:g} {points(one - best[3])}"
            for alpha, one in zip(ALPHAS, best, strict=True)
            if alpha != 1 / 2.6
        ]
        told.append(f"{name} (1/2.6: {best[3].mean():.2f}) {', '.join(differences)}")
    return f"alpha minus 1/2.6, points, {SEEDS} seeds: {'; '.join(told)}"


class Watched:
    """Keeps, for every run, the weights of the lowest validation loss."""

    def __init__(self, nets, x, y, every):
        self.nets, self.x, self.y, self.every = nets, x, y, every
        self.lowest = torch.full((len(y),), torch.inf)
        self.best = nets.select(range(len(y)))
        self.losses = []  # a tensor (R,) for each look

    def __call__(self, step):
        if step % self.every:
            return
        with torch.no_grad():
            losses = run_losses(self.nets, self.x, self.y)
            better = losses < self.lowest
            self.lowest[better] = losses[better]
            now, kept = (nets.parameters() for nets in (self.nets, self.best))
            for (_, t), (_, k) in zip(now, kept, strict=True):
                k[better] = t[better]
        self.losses.append(losses)


def run_losses(nets, x, y):
    """Cross-entropy of every run (R,)."""
    logits = nets.logits(x).log_softmax(2)
    return -logits.gather(2, y.unsqueeze(2)).mean((1, 2))


def c56() -> str:
    """Warm-up and cosine against a constant rate, 24 seeds, an inner optimum of each.

    Each at the best of six rates by validation over all seeds; last weights, and those
    of the lowest validation loss.  Contradicts the verdict: with kept weights an
    interval wholly above +2 points on both targets (then it does beat), or below -2.
    """
    told, seeds, rates_tried = [], 24, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
    settings = [*product((True, False), rates_tried)]
    for name, data in small.targets().items():
        fit, held, tested = drawn(data, 10, 100, 400, range(seeds))
        start = sources(SEEDS).select([*range(SEEDS)] * 2)
        start.fresh_head(int(fit[1].max()) + 1)
        rows, (scheduled, rates) = spread(settings, seeds)
        nets = start.select(rows)
        (x, y), held, tested = at(rows, fit, held, tested)
        watched = Watched(nets, *held, every=15)

        def factor(step, steps, scheduled=scheduled):
            return torch.where(scheduled, small.cosine(step, steps), 1.0)

        optimizer = Adam(nets.parameters(), rates)
        train(nets, x, y, STEPS, optimizer, factor, watch=watched)
        for kept, which in ((nets, "last"), (watched.best, "kept")):
            val, test = measured(kept, held, tested, (2, len(rates_tried), seeds))
            best = val.mean(2).argmax(1)
            found = points(test[0, best[0]] - test[1, best[1]])
            rated = " and ".join(f"{rates_tried[k]:g}" for k in best)
            told.append(f"{name}, {which} weights {found} at {rated}")
    return f"cosine minus constant, points, {seeds} seeds: {'; '.join(told)}"


# -- lesson 06 -------------------------------------------------------------------------


def turned(data, seed=0):
    """Every picture in four quarter turns: (pictures, labels, turns)."""
    x, y = data
    pictures = torch.cat([torch.rot90(x, k, (1, 2)) for k in range(4)])
    return pictures, y.repeat(4), torch.arange(4).repeat_interleave(len(y))


def source_tasks():
    """{name: (pictures, labels, updates)}: nine sources, from none to good."""
    x, y = small.some(small.digits(), ZERO_TO_FOUR)
    generator = torch.Generator().manual_seed(0)
    pictures, labels, turns = turned((x, y))
    noise = torch.randn(x.shape, generator=generator)
    return {
        "none": (x, y, 0),
        "20 updates": (x, y, 20),
        "digits": (x, y, 200),
        "wrong labels": (x, y[torch.randperm(len(y), generator=generator)], 400),
        "whichever way": (pictures, labels, 200),
        "which way": (pictures, turns, 200),
        "inverted": (-x, y, 200),
        "noisy": (x + 1.5 * noise, y, 200),
        "two classes": (x[y < 2], y[y < 2], 200),
    }


def log_evidence(features, labels):
    """LogME by scikit-learn: evidence of a Bayesian ridge regression a class."""
    from sklearn.linear_model import BayesianRidge

    shapes = dict(alpha_1=1e-9, alpha_2=1e-9, lambda_1=1e-9, lambda_2=1e-9)
    found = []
    for c in np.unique(labels):
        model = BayesianRidge(compute_score=True, max_iter=100, **shapes)
        model.fit(features, (labels == c).astype(float))
        found.append(model.scores_[-1] / len(labels))
    return np.mean(found)


def neighbours(features, labels):
    """Leave-one-out accuracy of the nearest neighbour by cosine."""
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-9)
    alike = unit @ unit.T - 2 * np.eye(len(unit))
    return (labels[alike.argmax(1)] == labels).mean()


def judged(start, fit, held, tested, rates=(1e-3, 3e-3, 1e-2)):
    """Scores and fine-tuned accuracy of sources, one a run: ({score: (R,)}, (R,)).

    The rate is the one of three with the higher validation accuracy.
    """
    with torch.no_grad():
        features = start.features(fit[0]).numpy()
    pairs = list(zip(features, fit[1].numpy(), strict=True))
    scores = {
        "LogME": np.array([log_evidence(*pair) for pair in pairs]),
        "kNN": np.array([neighbours(*pair) for pair in pairs]),
    }
    runs = len(features)
    rows, (rates,) = spread([(rate,) for rate in rates], runs)
    nets = start.select(rows)
    (x, y), *others = at(rows, fit, held, tested)
    train(nets, x, y, STEPS, Adam(nets.parameters(), rates))
    val, test = measured(nets, *others, (3, runs))
    return scores, test[val.argmax(0), range(runs)]


def c53() -> str:
    """Scores of nine sources, and of eight alike, against fine-tuning, 6 draws.

    LogME is scikit-learn's evidence, kNN one neighbour.  The alike sources differ in
    their seed only.  Contradicts the verdict: LogME ranks above 0.8 among the alike
    as well (then it does rank), or not above 0 among the nine where they differ.  On
    the first two targets the nine ended 2 points apart, so "which way" was added after
    that, for it has a near source.
    """
    draws, told = 6, []
    kinds = [
        pretrained(task[:2], draws, task[2], seed=3) for task in source_tasks().values()
    ]
    x, _, ways = turned(small.targets()["digits 5-9"])
    for name, data in (small.targets() | {"which way": (x, ways)}).items():
        parts, classes = drawn(data, 10, 100, 400, range(draws)), len(data[1].unique())
        starts = [nets.select(range(draws)).fresh_head(classes) for nets in kinds]
        by_kind = [judged(nets, *parts) for nets in starts]
        groups = {"nine": by_kind}
        if name != "which way":
            rows = torch.arange(draws).repeat_interleave(8)
            start = sources(SEEDS).select([*range(8)] * draws).fresh_head(classes)
            groups["alike"] = by_source(judged(start, *at(rows, *parts)), draws)
        told.append(
            f"{name}: " + ", ".join(f"{k} {ranked(v)}" for k, v in groups.items())
        )
    return f"rank correlation with fine-tuning, {'; '.join(told)}"


def by_source(found, draws):
    """One (scores, accuracy), each (draws,), a source; from runs (draws times 8,)."""
    scores, truth = found
    each = {k: v.reshape(draws, 8).T for k, v in scores.items()}
    truth = truth.reshape(draws, 8).T
    return [({k: v[i] for k, v in each.items()}, truth[i]) for i in range(8)]


def ranked(found):
    """Rank correlations of scores of a draw with the mean accuracy, and its range."""
    truth = np.array([accuracies for _, accuracies in found]).mean(1)
    told = []
    for score in ("LogME", "kNN"):
        table = np.array([scores[score] for scores, _ in found])
        rho = [spearmanr(one, truth).statistic for one in table.T]
        told.append(f"{score} {shown(rho)}")
    return f"({100 * np.ptp(truth):.0f} points apart) {', '.join(told)}"


def shown(values):
    """ "0.51 (0.20 to 0.82)"."""
    mean, low, high = interval(values)
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


# -- lesson 12 -------------------------------------------------------------------------


def c38() -> str:
    """Pulls towards the start and towards zero by SGD, all layers, 16 seeds.

    Rates by validation without a pull on six other seeds; six strengths and none,
    chosen in each seed by 200 validation pictures; 5 labels a class.  Contradicts the
    verdict: start minus zero wholly above +2 points on the near target, or wholly
    below 0 on it.
    """
    told, seeds = [], 16
    strengths = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
    for name, data in small.targets().items():
        rate = pulled(data, range(100, 106), (0.003, 0.01, 0.03, 0.1), (0.0,), True)
        best = rate[0].mean(2).argmax()
        options = data, range(seeds), [(0.003, 0.01, 0.03, 0.1)[best]], strengths
        chosen = {}
        for towards_start in (True, False):
            val, test = pulled(*options, towards_start)  # (1, strengths, seeds)
            chosen[towards_start] = test[0, val[0].argmax(0), range(seeds)], test[0]
        equal = [
            points(a - b)
            for a, b in zip(chosen[True][1], chosen[False][1], strict=True)
        ]
        told.append(
            f"{name} {points(chosen[True][0] - chosen[False][0])}, over no pull "
            f"{points(chosen[True][0] - chosen[True][1][0])}, at equal strength 0.03 "
            f"{equal[4]}, 0.3 {equal[6]}"
        )
    return f"towards the start minus towards zero, points, chosen: {'; '.join(told)}"


def pulled(data, draws, rates, strengths, towards_start):
    """Accuracy on validation and test pictures (rates, strengths, seeds)."""
    parts, seeds = drawn(data, 5, 200, 400, draws), len(draws)
    start = sources(SEEDS).select([k % SEEDS for k in draws])
    start.fresh_head(len(data[1].unique()))
    rows, (rate, strength) = spread([*product(rates, strengths)], seeds)
    nets = start.select(rows)
    goals = [towards_start * t.clone() for _, t in nets.parameters()]
    optimizer = small.Momentum(nets.parameters(), rate, goals, strength)
    (x, y), *others = at(rows, *parts)
    train(nets, x, y, STEPS, optimizer)
    return measured(nets, *others, (len(rates), len(strengths), seeds))


@lru_cache(maxsize=1)
def whichever_way(seeds):
    """Networks that name the digits 0 to 4 whichever way they are turned."""
    x, y, _ = turned(small.some(small.digits(), ZERO_TO_FOUR))
    return pretrained((x, y), seeds)


def turned_targets():
    """Three targets for them: which way, which digit whichever way, wafer maps."""
    x, y, ways = turned(small.targets()["digits 5-9"])
    return {"which way": (x, ways), "which digit": (x, y), "maps": small.maps()}


def learned(start, parts, layers, seeds, rates=(1e-3, 3e-3, 1e-2)):
    """(networks, looks at validation, fit, test) at the best rate by validation.

    layers: the first that learns.  The rate is one for all seeds.
    """
    rows, (rate,) = spread([(r,) for r in rates], seeds)
    nets = start.select(rows)
    fit, held, tested = at(rows, *parts)
    moving = [(k, t) for k, t in nets.parameters() if k >= layers]
    looks = [Watched(nets, *part, every=15) for part in (held, fit)]

    def watch(step):
        for look in looks:
            look(step)

    train(nets, *fit, STEPS, Adam(moving, rate), watch=watch)
    val = small.accuracy(nets, *held).reshape(len(rates), seeds)
    best = int(val.mean(1).argmax())
    rows = slice(best * seeds, (best + 1) * seeds)
    losses = [torch.stack(look.losses)[:, rows].numpy() for look in looks]
    return nets.select(rows), val[best], losses


def goes_with_source(source_answers, labels, answers, seed=0, permutations=300):
    """p value: do wrong answers go with what the source sees, within each true class?

    The statistic counts the commonest wrong answer of every (class, source answer).
    """
    rng = np.random.default_rng(seed)

    def counted(sources_of):
        cells = np.zeros((labels.max() + 1, source_answers.max() + 1, 20))
        np.add.at(cells, (labels, sources_of, answers), 1)
        return cells.max(2).sum()

    null = np.zeros(permutations)
    for k in range(permutations):
        moved = source_answers.copy()
        for c in np.unique(labels):
            rows = np.flatnonzero(labels == c)
            moved[rows] = moved[rng.permutation(rows)]
        null[k] = counted(moved)
    return (1 + (null >= counted(source_answers)).sum()) / (1 + permutations)


def third_sign(nets, source, x, y):
    """p of every run, NaN with fewer than ten wrong answers above 0.9."""
    found = []
    with torch.no_grad():
        chances = nets.logits(x).softmax(2).numpy()
        seen = source.logits(x).argmax(2).numpy()
    for p, s, labels in zip(chances, seen, y.numpy(), strict=True):
        wrong = (p.max(1) > 0.9) & (p.argmax(1) != labels)
        enough = wrong.sum() >= 10
        columns = s[wrong], labels[wrong], p.argmax(1)[wrong]
        found.append(goes_with_source(*columns) if enough else np.nan)
    return np.array(found)


def head_alone(nets, parts, seeds):
    """Test accuracy (seeds,) of a head on frozen features."""
    nets = nets.select(range(seeds)).fresh_head(len(parts[2][1].unique()))
    return small.accuracy(learned(nets, parts, 4, seeds)[0], *parts[2])


def c37() -> str:
    """Three signs on six cases of small networks, 16 seeds, 10 labels a class.

    The source names digits whichever way they are turned.  Targets: which way, which
    digit, wafer maps; the head alone learns, or all layers; each start at its best
    rate.  None of these lost, nor did one of 24 others that were searched, so
    `second_tries_frozen.py` has one that does.  A case loses (wins) when the
    interval of its gain lies below (above) 0.  Sign 2: validation loss rises with the
    updates (rank correlation above 0.5) while training loss falls.  Contradicts the
    verdict: all three ring in 80 % of losing and 10 % of winning seeds (then they do
    show it), or none rings more often where it loses; and a sign that rings in 10 % of
    winning seeds contradicts "silent there".
    """
    seeds, kinds, names = 16, {"loses": [], "wins": []}, []
    source, targets = whichever_way(seeds), turned_targets()
    for target, layers in product(targets, (4, 0)):
        kind, gain, signs = signs_of(source, targets[target], layers, seeds)
        if kind in kinds:
            kinds[kind].append(signs)
        how = "frozen" if layers else "all layers"
        names.append(f"{target} {how} {100 * gain:+.0f}")
    return f"{', '.join(names)} points; " + "; ".join(
        f"where it {kind}: {rung(cases)}" for kind, cases in kinds.items()
    )


def signs_of(source, data, layers, seeds):
    """(loses, wins or undecided; mean gain; the three signs, each (seeds,))."""
    classes = len(data[1].unique())
    parts = drawn(data, 7, 3 * classes, 400, range(seeds))
    start = source.select(range(seeds)).fresh_head(classes)
    bare = Convolutional(seeds, classes, seed=5)
    (ours, val, (held, fit)), (theirs, theirs_val, _) = (
        learned(nets, parts, layers, seeds) for nets in (start, bare)
    )
    tested = parts[2]
    gain = small.accuracy(ours, *tested) - small.accuracy(theirs, *tested)
    mean, low, high = interval(gain)
    rising = [spearmanr(np.arange(len(held)), one).statistic > 0.5 for one in held.T]
    signs = [val < theirs_val, np.array(rising) & (fit[-1] < fit[0])]
    signs.append(third_sign(ours, source, *tested))
    return "loses" if high < 0 else "wins" if low > 0 else "undecided", mean, signs


def rung(cases):
    """How often each sign rang, of how many."""
    if not cases:
        return "no case"
    first, second, p = (np.concatenate(column) for column in zip(*cases, strict=True))
    p = p[~np.isnan(p)]
    return (
        f"1 in {first.sum()} of {len(first)}, 2 in {second.sum()} of {len(second)}, "
        f"3 in {(p < 0.01).sum()} of {len(p)}"
    )


def c39() -> str:
    """A near and a far task between a source and a frozen target, 16 seeds.

    The source names digits whichever way they are turned; the target asks which way,
    the head learns from 10 labels a class.  Near: the same of the digits 0 to 4; far:
    wafer maps; with a warm head.  Contradicts the verdict ("most of the loss stays"):
    the far one recovers half of the loss or more, wholly above 0.  When run, the source
    had lost nothing, so this says only what each adds; `second_tries_frozen.py` has
    a target that loses.
    """
    seeds, source = 16, whichever_way(16)
    parts = drawn(turned_targets()["which way"], 10, 100, 400, range(seeds))
    x, _, ways = turned(small.some(small.digits(), ZERO_TO_FOUR))
    as_it_is = head_alone(source, parts, seeds)
    bare = head_alone(Convolutional(seeds, 5, seed=5), parts, seeds)
    told = [f"random over the source {points(bare - as_it_is)}"]
    for name, between in {"near": (x, ways), "far": small.maps()}.items():
        more = head_alone(by_way_of(source, between, seeds), parts, seeds) - as_it_is
        told.append(f"{name} {points(more)} more")
    return f"points, {', '.join(told)}"


def by_way_of(source, data, seeds):
    """The source after another task, first a new head alone, then all layers."""
    x, y = (t.expand(seeds, *t.shape) for t in data)
    nets = source.select(range(seeds)).fresh_head(len(data[1].unique()))
    head = [(k, t) for k, t in nets.parameters() if k == 4]
    rate = torch.full((seeds,), 3e-3)
    train(nets, x, y, 50, Adam(head, rate), batch=32)
    return train(nets, x, y, 200, Adam(nets.parameters(), rate), batch=32)


TRIES = {
    "C07": c07,
    "C37": c37,
    "C38": c38,
    "C39": c39,
    "C53": c53,
    "C56": c56,
}
