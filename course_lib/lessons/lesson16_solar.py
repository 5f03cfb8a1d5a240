"""Lesson 16 on solar cells: defects without a defect label, and search.

Set before looking, from the paper on PatchCore: the stages of strides 8 and 16 (there
layer2 and layer3 of a ResNet, here stage3 and stage5), neighbourhoods of 3 x 3, one
patch in a hundred remembered.  No defective cell was used for any choice.

An extension: five draws were seen, where the probe with 10 and 25 labels minus patches
had half-widths of 6 and 7 points.  By their spread 17 draws would have brought both to
3, so 24 were set for every way.  With 10 labels the spread turned out larger (3.6): at
that of the 24, 33 bring it to 3 and 40 to 2.7.  So 40 were set, for every way again.
"""

from functools import lru_cache

import numpy as np
import torch

from course_lib import datasets
from course_lib.analysis import probes
from course_lib.datasets import solar_cells
from course_lib.lessons import solar
from course_lib.lessons.results import experiment
from course_lib.lessons.solar import FILES
from course_lib.methods import patch_memory
from course_lib.methods.patch_memory import PatchMemory
from course_lib.methods.product_quantization import ProductQuantizer
from course_lib.models import features, zoo

STAGES = ("stage3", "stage5")
NORMAL = 100  # functional cells that are remembered, drawn by the seed
COUNTS = (5, 10, 25, 50, 100, 200, 400)  # labels a class of the supervised probe
SEEDS = range(40)  # 5 were seen first, then 24
PENALTIES = (1e-3, 1e-2, 1e-1)  # of the probe
UNLABELLED = ("patches", "patches_kind", "patches_random", "pooled", "brightness")


@lru_cache(maxsize=2)
def backbone_of(pretrained):
    """Lite0 with ImageNet's weights or with random ones."""
    return zoo.load(solar.BACKBONE, pretrained=pretrained)


@lru_cache(maxsize=4)
def looked_at(split, pretrained):
    """(patches (N, h, w, F), what the head reads (N, 1280)) of all cells of a split.

    Of random weights only the patches are used.
    """
    backbone, images = backbone_of(pretrained), solar.cells(split).images
    return (
        patch_memory.patches(backbone, images, STAGES),
        features.extract(backbone, images) if pretrained else None,
    )


def normal_rows(n, seed, kind=None):
    """Places of n functional training cells, drawn by the seed."""
    train = solar.cells("train")
    there = train.labels == 0
    if kind:
        there &= train.metadata["kind"] == kind
    return np.random.default_rng(seed).permutation(np.flatnonzero(there))[:n]


def remembered(P, T, rows, seed):
    """Scores of the patches T of the memory of the rows of P."""
    return PatchMemory.of(P[rows], seed=seed).scores(T)


def by_kind(P, T, seed):
    """Scores where mono and poly cells have a memory each."""
    kinds, scores = solar.cells("test").metadata["kind"], np.zeros(len(T))
    for kind in solar_cells.KINDS:
        own = kinds == kind
        scores[own] = remembered(P, T[own], normal_rows(NORMAL, seed, kind), seed)
    return scores


def nearest_cell(seed):
    """Distance of each test cell to the nearest remembered one, by pooled features."""
    (_, X), (_, T) = (looked_at(s, True) for s in ("train", "test"))
    X = torch.tensor(X[normal_rows(NORMAL, seed)])
    return torch.cdist(torch.tensor(T), X).amin(dim=1).numpy()


def supervised(labels, seed):
    """Probability of a defect by logistic regression on frozen features.

    Its penalty is chosen by cross-validation inside the labelled cells.
    """
    (_, X), (_, T) = (looked_at(s, True) for s in ("train", "test"))
    rows = solar.rows("train", labels, seed)
    y, t = solar.cells("train").labels[rows], solar.cells("test").labels
    found = probes.linear_probe(X[rows], y, T, t, C=PENALTIES, seed=seed)
    return found.probabilities[:, 1]


def scores_of(method, labels, seed):
    """How defective each test cell looks, (N,)."""
    if method == "brightness":  # broken parts of a cell stay dark
        return -solar.cells("test").images.mean(axis=(1, 2, 3))
    if method == "supervised":
        return supervised(labels, seed)
    if method == "pooled":
        return nearest_cell(seed)
    pretrained = method != "patches_random"
    (P, _), (T, _) = (looked_at(s, pretrained) for s in ("train", "test"))
    if method == "patches_kind":
        return by_kind(P, T, seed)
    return remembered(P, T, normal_rows(NORMAL, seed), seed)


def aurocs(scores):
    """AUROC of all test cells and of each kind: 1 is perfect, .5 chance."""
    from sklearn.metrics import roc_auc_score

    test = solar.cells("test")
    y, kinds = test.labels, test.metadata["kind"]
    found = {"auroc": roc_auc_score(y, scores)}
    for kind in solar_cells.KINDS:
        own = kinds == kind
        found[f"auroc_{kind}"] = roc_auc_score(y[own], scores[own])
    return found


def defect_cells():
    """Ways without a label of a defect, then the supervised probe by labels."""
    ways = [(method, 0) for method in UNLABELLED]
    ways += [("supervised", n) for n in COUNTS]
    return [
        dict(method=method, labels=n, seed=seed) for method, n in ways for seed in SEEDS
    ]


@experiment(
    "solar_defects",
    grid=defect_cells(),
    sample=[dict(method="patches", labels=0, seed=0)],
    short=[dict(method="brightness", labels=0, seed=0)],
    tolerance={"auroc": 0.01, "auroc_mono": 0.01, "auroc_poly": 0.01},
    data=FILES,
)
def solar_defects(method, labels, seed):
    """How well a way to find defects orders the test cells."""
    return aurocs(scores_of(method, labels, seed))


# -- search ------------------------------------------------------------------------

NUMBERS = 128  # of a whitened or a learned vector
EMBEDDINGS = ("pixels", "lite0", "whitened", "learned")
RATE = 3e-2  # of `metric`: of 1e-3, 3e-3 ... 1e-1 the best on validation cells
PAIRS = 600  # training cells, each with a disturbed copy
BYTES = (4, 8, 16, 32)  # of a code; each is one part of the vector


def disturbed(images, seed):
    """The same cells as another camera may see them: uint8 (N, H, W, 3).

    Mirrored or upside down by a coin each, turned by up to 10 degrees, cut to 80 to
    100 per cent of the side, lighter or darker by up to 30 per cent, with noise.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as TF

    rng, out = np.random.default_rng(seed), np.empty_like(images)
    side, smooth = images.shape[1], InterpolationMode.BILINEAR
    for i, image in enumerate(images):
        x = torch.from_numpy(image[..., :1].astype(np.float32)).permute(2, 0, 1)
        x = TF.hflip(x) if rng.integers(2) else x
        x = TF.vflip(x) if rng.integers(2) else x
        x = TF.rotate(x, float(rng.uniform(-10, 10)), smooth)
        cut = int(side * rng.uniform(0.8, 1))
        top, left = rng.integers(0, side - cut + 1, 2)
        x = TF.resized_crop(x, int(top), int(left), cut, cut, [side, side], smooth)
        x = x * rng.uniform(0.7, 1.3) + 5 * rng.standard_normal((side, side))
        out[i] = x.clamp(0, 255).round()[0, :, :, None].byte().numpy()
    return out


@lru_cache(maxsize=8)
def embedded(embedding, split, seed=None):
    """Vectors of the cells of a split, also the doubtful; seed: of the disturbance.

    Of the training cells these are PAIRS, drawn once.
    """
    images = datasets.solar_cells.load(split, labels="levels").images
    if split == "train":
        images = images[np.random.default_rng(0).permutation(len(images))[:PAIRS]]
    images = images if seed is None else disturbed(images, seed)
    if embedding == "pixels":  # 32 x 32, each picture to mean 0
        X = images[:, 1::3, 1::3, 0].reshape(len(images), -1).astype(np.float32)
        return X - X.mean(axis=1, keepdims=True)
    return features.extract(backbone_of(True), images)


def unit(X):
    """Rows of length 1: their dot products are cosines."""
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def whitening(X, numbers=NUMBERS):
    """A function that turns features into ``numbers`` uncorrelated ones of variance 1.

    Fitted on the rows of X (N, F); no labels.  Jégou & Chum 2012.
    """
    from sklearn.decomposition import PCA

    return PCA(numbers, whiten=True, random_state=0).fit(X).transform


def metric(A, B, lr=RATE, steps=200, temperature=0.1, batch=128, seed=0):
    """A linear map learned from pairs: A[i] and B[i] (N, F) are the same cell.

    InfoNCE (van den Oord et al. 2018): the cosine of a pair shall be the highest among
    those of a batch.  It starts as the whitening of A; lr: in units of the size of its
    weights.  Returns a function.
    """
    from sklearn.decomposition import PCA

    pca = PCA(NUMBERS, whiten=True, random_state=0).fit(A)
    W = torch.tensor(pca.components_.T / np.sqrt(pca.explained_variance_)).float()
    middle = torch.tensor(pca.mean_).float()
    W = (W / W.square().mean().sqrt()).requires_grad_()  # cosines do not see the scale
    A, B = (torch.tensor(X) - middle for X in (A, B))
    optimizer = torch.optim.Adam([W], lr=lr)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randperm(len(A), generator=generator)[:batch]
        a, b = (torch.nn.functional.normalize(X[rows] @ W) for X in (A, B))
        logits = a @ b.T / temperature  # (batch, batch)
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(rows)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned, middle = W.detach().numpy(), middle.numpy()
    return lambda X: (X - middle) @ learned


@lru_cache(maxsize=2)
def mapping(embedding):
    """What is done to the features before they are compared; fitted on train cells."""
    if embedding == "whitened":
        return whitening(embedded("lite0", "train"))
    if embedding == "learned":
        return metric(embedded("lite0", "train"), embedded("lite0", "train", 1000))
    return lambda X: X


def sought(embedding, seed, split="test"):
    """(queries, gallery): unit vectors of disturbed and of original cells."""
    base = "pixels" if embedding == "pixels" else "lite0"
    queries, gallery = embedded(base, split, seed), embedded(base, split)
    return tuple(unit(mapping(embedding)(X)) for X in (queries, gallery))


def test_groups():
    """Groups of near-duplicates of the test cells: any of these is a find."""
    return datasets.solar_cells.load("test", labels="levels").metadata["group"]


def hits(similar, groups, k):
    """Which queries (N,) have a cell of their own group among the k most similar.

    similar (N, N): row i is the query made of cell i.
    """
    near = np.argsort(-similar, axis=1, kind="stable")[:, :k]
    return (groups[near] == groups[:, None]).any(axis=1)


def search(seed=0):
    """{kind of vector or bytes of a code: {k: hits (N,)}} for one disturbance."""
    groups, similar = test_groups(), {}
    for embedding in EMBEDDINGS:
        queries, gallery = sought(embedding, seed)
        similar[embedding] = queries @ gallery.T
    known = unit(mapping("learned")(embedded("lite0", "train")))
    for size in BYTES:  # of the vectors of the last one
        quantizer = ProductQuantizer.fitted(known, size, seed)
        similar[size] = -quantizer.distances(queries, quantizer.encode(gallery))
    return {
        name: {k: hits(one, groups, k) for k in (1, 10)}
        for name, one in similar.items()
    }
