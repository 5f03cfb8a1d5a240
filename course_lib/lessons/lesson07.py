"""Lesson 07: grids of the small world, tickets with 50 to 500 labels, and figures.

The real world's grids are in `opinions_world`, continued pre-training is in
`lesson07_adapted`.  Every way that trains by gradient gets rates to choose from, chosen
by validation accuracy with the first seed; the lesson reports the test accuracy of that
rate over all seeds.
"""

import numpy as np
from scipy.special import softmax
from sklearn.metrics import log_loss

from course_lib import datasets
from course_lib.analysis import probes, statistics
from course_lib.lessons import results
from course_lib.lessons.opinions_world import DOMAINS
from course_lib.lessons.results import SEEDS, experiment
from course_lib.models import features, text, zoo
from course_lib.show import plots
from course_lib.training import hf_trainer, layer_groups

FILES = ("tickets.csv",)
LABELS = (50, 100, 500)
SHORT = 100  # tickets that a short cell is evaluated on
STEPS = {50: 64, 100: 96, 500: 128, 5_000: 940}  # updates of 16 texts
EVALUATIONS = 4
TRIED = {  # rates with the first seed: AdamW, warm-up over 10 %, linear decay
    ("full", 50): (1.5e-4, 5e-4, 1.5e-3),
    ("full", 100): (1.5e-4, 5e-4, 1.5e-3, 5e-3),
    ("full", 500): (5e-5, 1.5e-4, 5e-4, 1.5e-3),
    ("by layer", 100): (5e-4, 1.5e-3),
    ("by layer", 500): (1.5e-4, 5e-4, 1.5e-3),
    ("scratch", 50): (5e-4,),
    ("scratch", 100): (5e-4,),
    ("scratch", 500): (1.5e-4, 5e-4),
    ("small scratch", 50): (1.5e-4, 5e-4, 2e-3),
    ("small scratch", 100): (1.5e-4, 5e-4, 2e-3),
    ("small scratch", 500): (5e-4, 2e-3, 8e-3),
    ("small scratch", 5_000): (5e-4, 2e-3),
}
CHOSEN = {  # the best of these by validation accuracy run with every seed
    ("full", 50): (5e-4,),
    ("full", 100): (5e-4, 1.5e-3),  # within half a point
    ("full", 500): (5e-4,),
    ("by layer", 500): (5e-4,),
    ("small scratch", 50): (5e-4,),
    ("small scratch", 100): (5e-4,),
    ("small scratch", 500): (2e-3,),
    ("small scratch", 5_000): (2e-3,),
}
ALPHA = 0.8  # of "by layer": rate of a layer over that of the next one
SMALL = dict(  # an encoder that few labels may train better than a large one
    hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512
)


def labelled(n, seed):
    """n labelled tickets, classes balanced; above 500 from the pool."""
    if n <= 500:
        return datasets.load("tickets", "train").take(n, seed=seed)
    return datasets.load("tickets", "pool", n=n, seed=seed)


def scored(answered, fraction=1.0):
    """Accuracy on test, also by whether wording and author occur in train.

    answered: function of a data set: labels (N,), or logits (N, K), whose loss is
    given too.
    """
    numbers = {}
    for prefix, part in (("", "test"), ("val_", "validation")):
        data = results.part(datasets.load("tickets", part), fraction, SHORT)
        answers = answered(data)
        if answers.ndim == 2:
            numbers[f"{prefix}loss"] = log_loss(data.labels, softmax(answers, axis=1))
            answers = answers.argmax(axis=1)
        right = answers == data.labels
        numbers[f"{prefix}accuracy"] = right.mean()
        if part == "test":
            known = np.asarray(data.metadata["familiar"])
            numbers["familiar"] = right[known].mean()
            numbers["unfamiliar"] = right[~known].mean()
    return numbers


def _fresh(seed, small):
    """The encoder's architecture, or a small one, with random weights and a head."""
    import torch
    from transformers import BertConfig, BertModel

    if not small:
        return zoo.load("minilm", 5, seed=seed, pretrained=False)
    backbone = zoo.load("minilm", seed=seed, pretrained=False)
    config = BertConfig(vocab_size=backbone.model.config.vocab_size, **SMALL)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone.model = BertModel(config, add_pooling_layer=False)
    return backbone.to_classes(5, seed)


def fine_tuned(backbone, data, steps, lr, seed, groups=None, fraction=1.0):
    """The recipe, with the weights of the lowest of four validation losses."""
    every = results.interval(steps, EVALUATIONS, fraction)
    chosen = dict(eval_steps=every, save_steps=every)
    strategy = dict(eval_strategy="steps", save_strategy="steps")
    recipe = hf_trainer.TrainerRecipe(groups=groups, arguments=chosen | strategy)
    validation = results.part(datasets.load("tickets", "validation"), fraction, SHORT)
    steps = results.updates(steps, fraction)
    options = dict(steps=steps, lr=lr, seed=seed, recipe=recipe)
    hf_trainer.fit(backbone, data, validation, **options)
    return scored(lambda part: text.predict(backbone, part.texts), fraction)


def _tfidf(data):
    """The baseline: words and pairs of words; penalty chosen on validation."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    validation = datasets.load("tickets", "validation")
    tried = []
    for pairs in (1, 2):
        for C in (1.0, 10.0, 100.0):
            words = TfidfVectorizer(ngram_range=(1, pairs), sublinear_tf=True)
            model = make_pipeline(words, LogisticRegression(C=C, max_iter=2000))
            model.fit(data.texts, data.labels)
            tried.append((model.score(validation.texts, validation.labels), model))
    best = max(tried, key=lambda pair: pair[0])[1]
    return scored(lambda part: best.predict(part.texts))


def _probed(backbone, data, fraction=1.0):
    """Logistic regression on mean-pooled features; penalty chosen on validation."""
    parts = {
        name: results.part(datasets.load("tickets", name), fraction)
        for name in ("validation", "test")
    }
    X = {name: features.extract(backbone, part.texts) for name, part in parts.items()}
    chosen = (X["validation"], parts["validation"].labels)
    mine = features.extract(backbone, data.texts)
    return scored(
        lambda part: (
            probes.linear_probe(
                mine, data.labels, X[part.split], part.labels, val=chosen
            ).predictions
        ),
        fraction,
    )


def cells():
    """Rates are compared with the first seed, the chosen one runs with all."""
    grid = []
    for seed in SEEDS:
        for labels in STEPS:
            for method in ("tfidf", "frozen"):
                if labels in LABELS or method == "tfidf":
                    grid.append(dict(labels=labels, method=method, lr=0.0, seed=seed))
        for (method, labels), tried in TRIED.items():
            again = CHOSEN.get((method, labels), ())
            rates = tried if seed == SEEDS[0] else again
            one = dict(labels=labels, method=method, seed=seed)
            grid += [one | dict(lr=lr) for lr in rates]
    return grid


@experiment(
    "tickets",
    grid=cells(),
    sample=[
        dict(labels=50, method="tfidf", lr=0.0, seed=0),
        dict(labels=50, method="small scratch", lr=5e-4, seed=0),
    ],
    short=[
        dict(labels=50, method="tfidf", lr=0.0, seed=0),
        dict(labels=50, method="small scratch", lr=5e-4, seed=0, fraction=0.03),
    ],
    tolerance={"accuracy": 0.04},
    data=FILES,
)
def tickets(labels, method, lr, seed, fraction=1.0):
    """One way to classify tickets, with so many labels."""
    data = labelled(labels, seed)
    if method == "tfidf":
        return _tfidf(data)
    if method == "frozen":
        return _probed(zoo.load("minilm"), data, fraction)
    if "scratch" in method:
        backbone = _fresh(seed, small=method == "small scratch")
    else:
        backbone = zoo.load("minilm", 5, seed=seed)
    groups = None
    if method == "by layer":
        groups = layer_groups.decayed_groups(backbone, lr=lr, alpha=ALPHA)
    return fine_tuned(backbone, data, STEPS[labels], lr, seed, groups, fraction)


# -- what the lesson looks at -----------------------------------------------------


def by_difficulty(predictions, test):
    """Accuracy on tickets by other defects named, and by familiarity."""
    right = np.asarray(predictions) == test.labels
    others = np.asarray(test.metadata["mentions"]).astype(int)
    familiar = np.asarray(test.metadata["familiar"])
    parts = {f"{n} others named": float(right[others == n].mean()) for n in range(3)}
    parts["familiar"] = float(right[familiar].mean())
    return parts | {"unfamiliar": float(right[~familiar].mean())}


def small_world(number="accuracy"):
    """{way: (3 seeds, 3 numbers of labels)} on tickets, rates by validation."""
    rows, curves = results.load("tickets"), {}
    for method, name in NAMES.items():
        found = [rows.best(method=method, labels=n).values(number) for n in LABELS]
        curves[name] = np.stack(found, axis=1)
    return curves


def labels_saved(grid, domain, draws=1_000):
    """How many times fewer labels frozen vectors need for what word counts reach.

    Against word counts at their most labels; between the numbers of labels that were
    run, the mean accuracy is a straight line over their logarithm.  Returns the ratio
    and the ends of its 95 % interval, by drawing the seeds anew with replacement.  It
    cannot be more than the most labels over the fewest.
    """
    rows, rng = grid.select(domain=domain), np.random.default_rng(0)
    learned = rows.select(way=["frozen", "word counts"])
    counts, lines = learned.curves("accuracy", "labels", "way")
    seeds = np.arange(len(lines["frozen"]))
    ratios = []
    for drawn in [seeds, *rng.choice(seeds, (draws, len(seeds)))]:
        wanted = lines["word counts"][drawn, -1].mean()
        means = lines["frozen"][drawn].mean(0)
        ratios.append(counts[-1] / np.exp(np.interp(wanted, means, np.log(counts))))
    return ratios[0], *np.quantile(ratios[1:], (0.025, 0.975))


def ahead(curves):
    """{other way: numbers of labels at which `full` leads it beyond doubt}."""
    found = {}
    for name, values in curves.items():
        if name != "full":
            pairs = zip(curves["full"].T, values.T, strict=True)
            leads = [statistics.paired_difference(*pair).low > 0 for pair in pairs]
            found[name] = [n for n, lead in zip(LABELS, leads) if lead]
    return found


DESCRIBED = (  # written once, before they were scored
    "A scratch: a long line scraped into the surface.",
    "A particle: dust or a foreign body lying on the surface.",
    "Residue: a stain or film that was not removed.",
    "A bridge: a short between two lines that touch.",
    "A crack: a fracture or break in the material.",
)
SHOWN = {"full": "fine-tuned"}  # in figures
NAMES = {
    "tfidf": "word counts",
    "frozen": "frozen",
    "small scratch": "from scratch",
    "full": "full",
}


# -- figures ----------------------------------------------------------------------


def show_lengths(lengths, limit):
    """Share of texts that are longer than so many tokens, one line a data set."""
    fig, ax = plots.new(height=3.2)
    at = np.arange(1, max(found.max() for found in lengths.values()) + 1)
    for i, (name, found) in enumerate(lengths.items()):
        longer = [100 * (found > n).mean() for n in at]
        ax.plot(at, longer, label=name, color=plots.COLOURS[i], ls=plots.DASHES[i])
    ax.axvline(limit, color="#333333", linestyle=":")
    ax.annotate(f" cut at {limit}", (limit, 97), fontsize="small", va="top")
    cut = {name: 100 * (found > limit).mean() for name, found in lengths.items()}
    most = max(cut, key=cut.get)
    ax.set(xlabel="word pieces", ylabel="longer texts, per cent")
    ax.set_title(f"A limit of {limit} pieces cuts {cut[most]:.0f} % of the {most}")
    ax.legend()
    plots.show(
        fig,
        alt=f"Share of texts longer than a number of word pieces, for "
        f"{', '.join(lengths)}. At {limit} pieces {cut[most]:.0f} % of {most} are cut.",
    )


def show_domains(grid):
    """Accuracy by labels; returns in how many domains zero-shot beats 8 labels."""
    fig, axes = plots.new(width=8.4, height=3.2, columns=len(DOMAINS))
    leads, better = [], 0
    for ax, domain in zip(axes, DOMAINS, strict=True):
        rows = grid.select(domain=domain)
        learned = rows.select(way=["frozen", "word counts"])
        x, lines = learned.curves("accuracy", "labels", "way")
        leads += [*(lines["frozen"].mean(0) - lines["word counts"].mean(0))]
        plots.line_with_spread(
            x, lines, log_x=True, xlabel="", ylabel="", title=domain, ax=ax
        )
        words = rows.values("accuracy", way="zero-shot")[0]
        better += words > lines["frozen"][:, 0].mean()
        ax.axhline(words, color="#333333", linestyle=":")
        ax.set_ylim(0.47, 0.93)
        ax.get_legend().remove()
        if ax is not axes[0]:
            ax.set_yticklabels([])
    axes[0].set(ylabel="balanced test accuracy")
    axes[0].legend(fontsize="small", loc="lower right")
    fig.supxlabel("labels a class (95 % intervals, 10 seeds; dotted: zero-shot)")
    low, high = (100 * end for end in (min(leads), max(leads)))
    fig.suptitle(
        f"Frozen vectors lead word counts by {low:.0f} to {high:.0f} points. Zero-shot "
        f"beats 8 labels a class in {better} of {len(DOMAINS)} domains"
    )
    plots.show(
        fig,
        alt="Four panels, one a domain: balanced test accuracy against labels a class "
        "for word counts and frozen vectors with 95 % intervals; zero-shot is dotted.",
    )
    return better


def show_difficulty(tables):
    """Accuracy on tickets by difficulty, one row of marks a way to classify.

    Two splits of the same tickets stand side by side, apart.
    """
    fig, ax = plots.new(height=3.2)
    at = [0, 1, 2, 3.6, 4.6]
    for i, (name, parts) in zip(plots.places(tables), tables.items()):
        look = dict(color=plots.COLOURS[i], marker=plots.MARKERS[i], linestyle="")
        ax.plot(at, list(parts.values()), label=SHOWN.get(name, name), **look)
    ax.set_xticks(at, ["0", "1", "2", "known", "new"])
    ax.axvline(2.8, color="#999999", linewidth=0.8)
    ax.set_xlabel("other defects named" + 28 * " " + "wording")
    ax.axhline(0.2, color="#333333", linestyle=":", label="guessing")
    ax.set(ylabel="test accuracy", ylim=(0, 1))
    full, words = tables["full"], tables["word counts"]
    lead = 100 * (full["2 others named"] - words["2 others named"])
    ax.set_title(
        f"Two others named: fine-tuning leads word counts by {lead:.0f} points"
    )
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plots.show(
        fig,
        alt=f"Test accuracy of {', '.join(tables)} by the number of other defects that "
        "a ticket names and by familiarity; guessing is dotted.",
    )


def show_tickets(curves, zero_shot):
    """Accuracy on tickets by labels; guessing dotted, zero-shot dashed."""
    lead = (100 * (curves["full"] - curves["word counts"]).mean(0)).round() + 0.0
    fig = plots.line_with_spread(
        LABELS,
        {SHOWN.get(name, name): values for name, values in curves.items()},
        xlabel="labelled tickets",
        ylabel="test accuracy",
        title=f"Tickets: fine-tuned leads word counts by {lead[0]:.0f} points with "
        f"{LABELS[0]},\n{lead[1]:.0f} with {LABELS[1]}, {lead[2]:.0f} with {LABELS[2]}",
        log_x=True,
    )
    ax = fig.axes[0]
    for y, name, dashes in ((0.2, "guessing", ":"), (zero_shot, "zero-shot", "--")):
        ax.axhline(y, color="#333333", linestyle=dashes, linewidth=0.8)
        at = dict(ha="right", va="bottom", fontsize="small")
        ax.annotate(name, (0.99, y), xycoords=("axes fraction", "data"), **at)
    plots.show(
        fig,
        alt=f"Test accuracy against labelled tickets for {', '.join(curves)}, with "
        "95 % intervals; lines for guessing (dotted) and zero-shot (dashed).",
    )
