"""The real world's protocol for texts: opinions of four domains, and MiniLM.

Negative or positive, one domain at a time.  Labels are counted a class and drawn anew
for each seed, and everything that a learner would choose with labels is chosen inside
these: the penalty of a logistic regression by three-fold cross-validation.  Networks
keep their last weights, after a number of updates that is fixed beforehand.  Their
rates were compared on the validation texts of one domain, films, and taken to the
others as they are.  Groups of near-duplicates, and the sentences of one review or
editorial, lie on one side of the split.

Accuracy is balanced, the mean of the two classes' own, on 300 test texts of each class,
the same ones for every seed.
"""

from functools import lru_cache

import numpy as np
import torch
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from torch.nn.functional import cross_entropy, normalize

from course_lib import datasets
from course_lib.analysis import probes
from course_lib.datasets import opinions
from course_lib.lessons.results import SEEDS, experiment, part, updates
from course_lib.methods import self_supervised
from course_lib.models import features, text, zoo
from course_lib.training import hf_trainer, layer_groups

FILES = ("assets/opinions", "near_duplicates.npz")
DOMAINS = tuple(opinions.DOMAINS)
TUNED_ON = "films"  # the domain whose validation texts choose every rate
COUNTS = (8, 32, 100, 400)  # labels a class; films have 1,000 too
TESTED = 300  # test texts of each class
HELD_OUT = 150  # validation texts of each class of films
DESCRIBED = (  # written once, before they were scored
    "A negative opinion: the writer is unhappy with it.",
    "A positive opinion: the writer is happy with it.",
)


def rows(data, n, seed):
    """Places of n texts of each class, drawn by the seed; the first m serve m."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(data.labels == c))[:n] for c in (0, 1)]
    return np.stack(drawn, axis=1).ravel()  # classes take turns


def texts(domain, split):
    """All labelled texts of a domain's split."""
    return datasets.load(f"opinions/{domain}", split)


def labelled(domain, n, seed):
    """n training texts of each class."""
    data = texts(domain, "train")
    return data.subset(rows(data, n, seed))


def tested(domain):
    """The 600 test texts that every accuracy of a domain is counted on."""
    data = texts(domain, "test")
    return data.subset(rows(data, TESTED, 0))


def held_out():
    """300 validation texts of films, to compare rates with."""
    data = texts(TUNED_ON, "validation")
    return data.subset(rows(data, HELD_OUT, 0))


def unlabelled(domain):
    """The texts of the training part, rated clearly or not, without a label."""
    return (*texts(domain, "train").texts, *texts(domain, "unlabelled").texts)


# -- what does not learn ----------------------------------------------------------


@lru_cache(maxsize=8)
def represented(domain, split):
    """Vectors (N, 384) of the frozen encoder, of all training or the tested texts."""
    data = tested(domain) if split == "test" else texts(domain, split)
    return features.extract(zoo.load("minilm"), data.texts)


def regression(X, y, T, t, seed=0):
    """Balanced accuracy of a logistic regression; penalty by cross-validation in X."""
    return probes.linear_probe(X, y, T, t, seed=seed).balanced_accuracy


def frozen(domain, n, seed):
    """Logistic regression on the frozen encoder's vectors of n texts a class."""
    data, test = texts(domain, "train"), tested(domain)
    at = rows(data, n, seed)
    X, T = represented(domain, "train")[at], represented(domain, "test")
    return regression(X, data.labels[at], T, test.labels, seed)


def counted(domain, n, seed):
    """Words and pairs of words, weighted (TF-IDF), and logistic regression."""
    train, test = labelled(domain, n, seed), tested(domain)
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(words, LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    penalties = dict(logisticregression__C=[1.0, 10.0, 100.0])
    search = GridSearchCV(model, penalties, cv=folds).fit(train.texts, train.labels)
    return balanced_accuracy_score(test.labels, search.predict(test.texts))


def zero_shot(domain):
    """The nearer of two sentences that describe the classes, by cosine."""
    T = represented(domain, "test")
    D = features.extract(zoo.load("minilm"), DESCRIBED)
    T, D = (M / np.linalg.norm(M, axis=1, keepdims=True) for M in (T, D))
    return balanced_accuracy_score(tested(domain).labels, (T @ D.T).argmax(1))


def frozen_cells():
    """Ten seeds of each way at each number of labels; zero-shot has neither."""
    grid = []
    for domain in DOMAINS:
        grid.append(dict(domain=domain, way="zero-shot", labels=0, seed=0))
        more = (1000,) if domain == "films" else ()
        for way in ("word counts", "frozen"):
            for n in COUNTS + more:
                one = dict(domain=domain, way=way, labels=n)
                grid += [one | dict(seed=seed) for seed in range(10)]
    return grid


@experiment(
    "opinions_frozen",
    grid=frozen_cells(),
    sample=[dict(domain="products", way="word counts", labels=100, seed=0)],
    live={"07": ("accuracy",)},
    tolerance={"accuracy": 0.02},
    data=FILES,
)
def opinions_frozen(domain, way, labels, seed):
    """Balanced accuracy of a way that leaves the encoder as it is, or needs none."""
    if way == "zero-shot":
        return {"accuracy": zero_shot(domain)}
    found = counted if way == "word counts" else frozen
    return {"accuracy": found(domain, labels, seed)}


# -- the encoder learns from texts without labels ---------------------------------

STEPS = 200  # updates of 16 texts; of a warm head the first 100 are the head's alone
ADAPT_TRIED = (1e-4, 4e-4)
ADAPT_RATES = {"warm head": 1e-4, "random head": 1e-4, "SimCSE": 3e-5}
SIZES = (8, 32, 100)  # labels a class


def trained(encoder, loss_of, batches, steps, lr):
    """Updates of an encoder: AdamW, warm-up over a tenth, then linear decay."""
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.AdamW(encoder.parameters(), lr=lr, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    encoder.train()
    losses = []
    for _ in range(steps):
        loss = loss_of(next(batches))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    encoder.eval()
    return losses


def simcse(backbone, some_texts, steps, lr, seed, batch_size=16, temperature=0.05):
    """Each text twice, with two draws of dropout: the two vectors find each other.

    Unsupervised SimCSE, Gao et al. 2021.  Half the updates of masked words, since each
    runs its texts twice.  Trains in place; returns the losses.
    """
    model = backbone.model
    lengths = text.token_lengths(backbone, some_texts)
    order = self_supervised.endless_rows(lengths, batch_size, seed, like_length=True)

    def loss_of(at):
        tokens = backbone.preprocess([some_texts[i] for i in at])
        A, B = (normalize(text.mean_pooled(model, tokens), dim=1) for _ in "AB")
        return cross_entropy(A @ B.T / temperature, torch.arange(len(at)))

    with hf_trainer.isolated(seed):
        return trained(model, loss_of, order, steps, lr)


def adapt(backbone, domain, way, lr, seed, steps):
    """Continue the encoder's training on a domain's texts; returns the losses."""
    some_texts = unlabelled(domain)
    if way == "SimCSE":
        return simcse(backbone, some_texts, max(1, steps // 2), lr, seed)
    return self_supervised.continue_on_texts(
        backbone,
        some_texts,
        steps=steps,
        lr=lr,
        batch_size=16,
        seed=seed,
        warm_head=0 if way == "random head" else None,
        like_length=True,
    )


def few_label_accuracies(backbone, domain, seed, fraction=1.0):
    """Balanced accuracy of frozen vectors with 8, 32 and 100 labels a class.

    The 100 of the seed are cut into parts of 8 and of 32, and the mean over the parts
    counts.  On films the first seed is also scored on validation texts, with 100.
    """
    sizes = SIZES if fraction == 1 else SIZES[:1]
    train, test = labelled(domain, max(sizes), seed), part(tested(domain), fraction)
    X, T = (features.extract(backbone, data.texts) for data in (train, test))
    found = {}
    for n in sizes:
        parts = np.arange(len(X) // (2 * n) * 2 * n).reshape(-1, 2 * n)
        scores = [
            regression(X[at], train.labels[at], T, test.labels, seed) for at in parts
        ]
        found[f"accuracy_{n}"] = float(np.mean(scores))
        found["accuracy"] = found[f"accuracy_{n}"]  # with the most labels
    if domain == TUNED_ON and seed == 0 and fraction == 1:
        held = held_out()
        V = features.extract(backbone, held.texts)
        found["val_accuracy"] = regression(X, train.labels, V, held.labels, seed)
    return found


def adapted_cells():
    """Before and after, five seeds a domain; films with every way and two rates."""
    grid = []

    def add(domain, way, seed, lr=None):
        lr = lr or ADAPT_RATES.get(way, 0.0)
        steps = STEPS if lr else 0
        grid.append(dict(domain=domain, way=way, steps=steps, lr=lr, seed=seed))

    for seed in range(5):
        for way in ("before", "warm head", "random head"):
            add(TUNED_ON, way, seed)
    for seed in range(5):
        add("tweets", "before", seed)
        add("tweets", "warm head", seed)
    for seed in range(5):
        for domain in ("products", "editorials"):
            add(domain, "before", seed)
            add(domain, "warm head", seed)
    for way in ("warm head", "random head"):
        for lr in ADAPT_TRIED:
            add(TUNED_ON, way, 0, lr)
    for seed in range(5):
        add(TUNED_ON, "SimCSE", seed)
    return [cell for i, cell in enumerate(grid) if cell not in grid[:i]]


@experiment(
    "opinions_adapted",
    grid=adapted_cells(),
    sample=[dict(domain="tweets", way="before", steps=0, lr=0.0, seed=0)],
    short=[
        dict(domain="tweets", way="warm head", steps=STEPS, seed=0, fraction=0.05)
        | dict(lr=ADAPT_RATES["warm head"])
    ],
    tolerance={"accuracy": 0.03, "accuracy_8": 0.03},
    data=FILES,
)
def opinions_adapted(domain, way, steps, lr, seed, fraction=1.0):
    """Frozen vectors before and after training on a domain's texts without labels."""
    backbone, found = zoo.load("minilm"), {}
    if way != "before":
        losses = adapt(backbone, domain, way, lr, seed, updates(steps, fraction))
        found["loss"] = float(np.mean(losses[-10:]))
    return found | few_label_accuracies(backbone, domain, seed, fraction)


# -- the encoder learns from labels -----------------------------------------------

MANY = {"products": 616, "films": 1500}  # labels a class: all of products, 3,000
UPDATES = {8: 30, 100: 50, 616: 154, 1500: 376}  # of 16 texts: 30, 4, 2 and 2 passes
SCRATCH = 1500  # updates of 16 texts of a small encoder with random weights
ALPHA = 0.8  # of "by layer": rate of a layer over that of the next one
TRIED = {  # on films, three seeds: pairs with 8 labels a class, full with 100
    "contrastive": (1e-5, 3e-5, 1e-4),
    "full": (1e-4, 3e-4, 1e-3),
}
# the best mean on 300 validation texts of films
RATES = {"contrastive": 3e-5, "full": 3e-4, "by layer": 3e-4, "scratch": 1e-3}


def contrastive_loss(vectors, labels):
    """Mean over all pairs of (cosine - 1 if of one class, else - 0) squared.

    vectors (N, F), labels (N,): N (N - 1) / 2 pairs out of N texts.  The loss of SetFit
    (Tunstall et al. 2022).
    """
    U = normalize(vectors, dim=1)
    same = (labels[:, None] == labels[None, :]).float()  # (N, N)
    i, j = torch.triu_indices(len(U), len(U), offset=1)
    return ((U @ U.T - same)[i, j] ** 2).mean()


def balanced_rows(labels, seed, each=8):
    """Rows of ``each`` texts of both classes for batches, for ever."""
    generator = torch.Generator().manual_seed(seed)
    places = [np.flatnonzero(np.asarray(labels) == c) for c in (0, 1)]
    while True:
        mixed = [at[torch.randperm(len(at), generator=generator)] for at in places]
        for start in range(0, len(places[0]) - each + 1, each):
            yield np.concatenate([at[start : start + each] for at in mixed]).tolist()


def contrast(backbone, train, steps, lr, seed):
    """Few-label tuning by pairs, in place: 8 texts of each class an update."""
    model, labels = backbone.model, torch.as_tensor(train.labels)

    def loss_of(at):
        tokens = backbone.preprocess([train.texts[i] for i in at])
        return contrastive_loss(text.mean_pooled(model, tokens), labels[at])

    with hf_trainer.isolated(seed):
        batches = balanced_rows(train.labels, seed)
        return trained(model, loss_of, batches, steps, lr)


def small_encoder(seed):
    """MiniLM's architecture with 2 layers of 128 channels, random weights, a head."""
    from transformers import BertConfig, BertModel

    backbone = zoo.load("minilm", seed=seed, pretrained=False)
    config = BertConfig(
        vocab_size=backbone.model.config.vocab_size,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=512,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone.model = BertModel(config, add_pooling_layer=False)
    return backbone.to_classes(2, seed)


def tuned(way, train, steps, lr, seed):
    """A classifier that has learned from labelled texts, all of its weights."""
    if way == "scratch":
        backbone = small_encoder(seed)
    else:
        backbone = zoo.load("minilm", 2, seed=seed)
    groups = None
    if way == "by layer":
        groups = layer_groups.decayed_groups(backbone, lr=lr, alpha=ALPHA)
    alike = dict(train_sampling_strategy="group_by_length")  # less padding
    recipe = hf_trainer.TrainerRecipe(groups=groups, arguments=alike)
    hf_trainer.fit(backbone, train, steps=steps, lr=lr, seed=seed, recipe=recipe)
    return backbone


def strategy_cells():
    """Rates on films, then five seeds of the chosen ones."""
    grid = []

    def add(domain, way, labels, seed, lr=None):
        lr = lr or RATES[way]
        grid.append(dict(domain=domain, way=way, labels=labels, lr=lr, seed=seed))

    for way, rates in TRIED.items():
        for lr in rates:
            for seed in SEEDS:
                add(TUNED_ON, way, 8 if way == "contrastive" else 100, seed, lr)
    for seed in range(5):
        add("products", "contrastive", 8, seed)
        add("products", "full", MANY["products"], seed)
    for seed in range(5):
        for domain in DOMAINS:
            add(domain, "contrastive", 8, seed)
    for seed in range(5):
        add("products", "full", 100, seed)
    for seed in range(5):
        add(TUNED_ON, "scratch", MANY["films"], seed)
    return [cell for i, cell in enumerate(grid) if cell not in grid[:i]]


@experiment(
    "opinions_strategies",
    grid=strategy_cells(),
    sample=[dict(domain="films", way="contrastive", labels=8, lr=1e-4, seed=0)],
    short=[
        dict(domain="products", way=way, labels=n, seed=0, lr=RATES[way], fraction=0.1)
        for way, n in (("contrastive", 8), ("full", 100))
    ],
    tolerance={"accuracy": 0.04, "loss": 0.05},
    data=FILES,
)
def opinions_strategies(domain, way, labels, lr, seed, fraction=1.0):
    """Balanced accuracy of an encoder that learned from so many labels a class."""
    train = labelled(domain, labels, seed)
    parts = {"": tested(domain)}
    if domain == TUNED_ON and labels <= 100:
        parts["val_"] = held_out()
    parts = {prefix: part(data, fraction) for prefix, data in parts.items()}
    steps = updates(SCRATCH if way == "scratch" else UPDATES[labels], fraction)
    if way == "contrastive":
        backbone = zoo.load("minilm")
        losses = contrast(backbone, train, steps, lr, seed)
        X = features.extract(backbone, train.texts)
        found = {"loss": float(np.mean(losses[-5:]))}
        for prefix, data in parts.items():
            T = features.extract(backbone, data.texts)
            scored = regression(X, train.labels, T, data.labels, seed)
            found[f"{prefix}accuracy"] = scored
        return found
    backbone = tuned(way, train, steps, lr, seed)
    found = {}
    for prefix, data in parts.items():
        logits = text.predict(backbone, data.texts)
        scored = balanced_accuracy_score(data.labels, logits.argmax(1))
        found[f"{prefix}accuracy"] = scored
        if not prefix:
            found["loss"] = log_loss(data.labels, softmax(logits, axis=1))
    return found
