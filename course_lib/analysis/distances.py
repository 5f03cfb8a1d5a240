"""How far apart are two domains?  Distances, and tests of "they are one distribution".

All take features X (N, F) of one domain and Y (M, F) of the other, rows independent.
"""

import numpy as np
import torch
from scipy.spatial.distance import pdist

from course_lib.analysis import arguments
from course_lib.analysis.statistics import permutation_p
from course_lib.errors import CourseError
from course_lib.methods import alignment

LEAST_SHRINKAGE = 1e-4  # keeps the covariance invertible

# -- maximum mean discrepancy -----------------------------------------------------


def _widths(X, Y, bandwidth) -> list[float]:
    """The one width of the kernel: by default the median distance of pooled rows."""
    if bandwidth is None:
        apart = pdist(np.concatenate([X, Y]))
        return [np.median(apart) or apart.mean() or 1.0]  # 0: most, or all, are alike
    if not 0 < bandwidth < np.inf:
        raise CourseError(f"mmd: bandwidth={bandwidth!r}.\nExpected: a length > 0.")
    return [bandwidth]


def mmd(X, Y, bandwidth: float | None = None) -> float:
    """`methods.alignment.mmd` with one width, to report: unbiased, Gaussian kernel.

    X (N, F), Y (M, F).  Equal domains give 0 on average, and a little below 0 half of
    the time.  bandwidth: of the kernel, a distance; the median distance of the pooled
    sample by default.  Needs memory for (N + M)^2 numbers.  Raises CourseError on bad
    features.  Gretton et al. 2012.
    """
    X, Y = arguments.pair(X, Y, "mmd")
    widths = _widths(X, Y, bandwidth)
    return float(alignment.mmd(torch.tensor(X), torch.tensor(Y), widths))


def mmd_test(X, Y, seed: int = 0, permutations: int = 999) -> tuple[float, float]:
    """(MMD^2, p value) of "X and Y come from one distribution", by permutation.

    X (N, F), Y (M, F).  :func:`mmd` with the median width; its p value is the share of
    random divisions of the pooled rows into N and M with an MMD^2 as large, the
    observed one among them.  Exact, if rows are independent.  Raises CourseError on bad
    features.  Gretton et al. 2012.
    """
    arguments.whole_number(permutations, 1, np.inf, "permutations", "mmd_test")
    X, Y = arguments.pair(X, Y, "mmd_test", 2)
    n, m = len(X), len(Y)
    K = alignment.gaussian_kernel(
        torch.tensor(X), torch.tensor(Y), _widths(X, Y, None)
    ).numpy()
    rng = np.random.default_rng(seed)
    in_X = np.tile(np.repeat([1.0, 0.0], [n, m]), (permutations + 1, 1))
    in_X[1:] = rng.permuted(in_X[1:], axis=1)
    towards_X = in_X @ K  # (1 + P, N + M)
    within_X = (towards_X * in_X).sum(axis=1)
    between = towards_X.sum(axis=1) - within_X
    within_Y = K.sum() - within_X - 2 * between
    found = within_X / (n * (n - 1)) + within_Y / (m * (m - 1)) - 2 * between / (n * m)
    return float(found[0]), permutation_p(found)


# -- can a classifier tell the domains apart? -------------------------------------


def proxy_a_distance(X, Y, folds: int = 5, seed: int = 0) -> float:
    """2 (1 - 2 error) of a classifier that tells the domains apart: 0 alike, 2 apart.

    X (N, F), Y (M, F).  The error is the balanced one (the mean of the two domains'
    own error rates, so that N and M may differ), by cross-validation, of a logistic
    regression on standardised features with inverse penalty C = 1 / F; clipped to
    0..2.  Linear: a difference that leaves the means alone is not seen.  Raises
    CourseError on bad features or fewer than ``folds`` rows.
    Ben-David et al. 2007.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    arguments.whole_number(folds, 2, np.inf, "folds", "proxy_a_distance")
    X, Y = arguments.pair(X, Y, "proxy_a_distance", folds)
    Z, domain = np.concatenate([X, Y]), np.repeat([0, 1], [len(X), len(Y)])
    wrong = np.zeros(len(Z), dtype=bool)
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(Z, domain)
    for train, held_out in splits:
        model = make_pipeline(
            StandardScaler(),
            LogisticRegression(
                C=1 / Z.shape[1], class_weight="balanced", max_iter=1000
            ),
        ).fit(Z[train], domain[train])
        wrong[held_out] = model.predict(Z[held_out]) != domain[held_out]
    error = (wrong[domain == 0].mean() + wrong[domain == 1].mean()) / 2
    return float(np.clip(2 * (1 - 2 * error), 0, 2))


def classifier_test(
    X, Y, folds: int = 5, seed: int = 0, permutations: int = 999
) -> tuple[float, float]:
    """(accuracy, p value) of "X and Y come from one distribution", by a classifier.

    X (N, F), Y (M, F), N and M as they come.  The classifier is a Fisher discriminant
    (nearest mean after whitening) on the standardised features and their squares, so
    that it sees a change of mean or of spread.  The accuracy is balanced and
    cross-validated: 0.5 is chance.  Right answers of cross-validation are not
    independent, since the training parts overlap, so no binomial p value would hold;
    instead the domains are permuted within each fold and the whole cross-validation
    is repeated.  That is exact, and cheap because one whitening, which ignores the
    domains, serves all permutations.  Raises CourseError on bad features or fewer
    than ``folds`` rows.  Lopez-Paz & Oquab 2017.
    """
    arguments.whole_number(folds, 2, np.inf, "folds", "classifier_test")
    arguments.whole_number(permutations, 1, np.inf, "permutations", "classifier_test")
    X, Y = arguments.pair(X, Y, "classifier_test", folds)
    Z = with_squares(np.concatenate([X, Y]))
    return discriminant_test(Z, len(X), folds, seed, permutations)


def standardised(Z) -> np.ndarray:
    """Columns of mean 0 and deviation 1; constant columns become 0."""
    scale = np.abs(Z).max(axis=0)
    Z = Z - Z.mean(axis=0)
    deviation = Z.std(axis=0)
    return np.where(deviation > 1e-12 * scale, Z / np.maximum(deviation, 1e-300), 0.0)


def with_squares(Z) -> np.ndarray:
    """Standardised features and their standardised squares, (n, 2F)."""
    Z = standardised(Z)
    return np.concatenate([Z, standardised(np.clip(Z, -3, 3) ** 2)], axis=1)


def _whitened(Z) -> np.ndarray:
    """Z (n, d) times the inverse root of its covariance, shrunk as Ledoit & Wolf do."""
    from scipy.linalg import solve_triangular

    Z = Z - Z.mean(axis=0)
    n, d = Z.shape
    covariance = Z.T @ Z / n
    mean = np.trace(covariance) / d
    if not mean > 0:
        return Z
    target = mean * np.eye(d)
    noise = (((Z**2).sum(axis=1) ** 2).mean() - (covariance**2).sum()) / n
    spread = ((covariance - target) ** 2).sum()
    share = min(noise / spread, 1.0) if spread > 0 else 1.0
    share = max(share, LEAST_SHRINKAGE)
    factor = np.linalg.cholesky((1 - share) * covariance + share * target)
    return solve_triangular(factor, Z.T, lower=True).T


def discriminant_test(Z, n: int, folds: int, seed: int, permutations: int):
    """Accuracy and p value of the discriminant on Z (N + M, d), X's n rows first."""
    Z, m = _whitened(Z), len(Z) - n
    rng = np.random.default_rng(seed)
    fold_of = [rng.permutation(np.arange(size) % folds) for size in (n, m)]
    fold_of = np.concatenate(fold_of)
    in_X = np.repeat([1.0, 0.0], [n, m])
    parts = []
    for fold in range(folds):
        rows = np.flatnonzero(fold_of == fold)
        splits = rng.permuted(np.tile(in_X[rows], (permutations, 1)), axis=1)
        splits = np.concatenate([in_X[None, rows], splits]).T  # (rows, 1 + P)
        parts.append((Z[rows], splits, Z[rows].T @ splits))
    sum_X = sum(part[2] for part in parts)  # (d, 1 + P)
    sum_Z = Z.sum(axis=0)[:, None]
    right_X = right_Y = 0
    for held_out, splits, own_X in parts:
        own_Z = held_out.sum(axis=0)[:, None]
        n_own = splits[:, 0].sum()
        m_own = len(splits) - n_own
        mean_X = (sum_X - own_X) / (n - n_own)
        mean_Y = (sum_Z - sum_X - own_Z + own_X) / (m - m_own)
        # after whitening the nearer mean is the answer of Fisher's discriminant
        middle = ((mean_X**2).sum(axis=0) - (mean_Y**2).sum(axis=0)) / 2
        says_X = held_out @ (mean_X - mean_Y) > middle
        right_X = right_X + (says_X * splits).sum(axis=0)
        right_Y = right_Y + (~says_X * (1 - splits)).sum(axis=0)
    # column 0 is the split that was observed, the others are permutations of it
    accuracy = (right_X / n + right_Y / m) / 2
    return float(accuracy[0]), permutation_p(accuracy)


# -- Frechet distance -------------------------------------------------------------


def frechet_distance(X, Y) -> float:
    """Squared Frechet distance between Gaussians fitted to X (N, F) and Y (M, F).

    ``||m_X - m_Y||^2 + trace(C_X + C_Y - 2 (C_X C_Y)^(1/2))``.  The last trace is the
    sum of the singular values of A B', where A and B are the centred rows over
    sqrt(N - 1) and sqrt(M - 1); no matrix root is taken, so that nothing has to be
    shrunk or clipped when N < F.  Like every plug-in estimate it is too large for
    small N: compare only at equal N, with two halves of one domain as the floor.
    Raises CourseError on bad features.
    Dowson & Landau 1982; Heusel et al. 2017.
    """
    X, Y = arguments.pair(X, Y, "frechet_distance")
    A, B = ((Z - Z.mean(axis=0)) / np.sqrt(len(Z) - 1) for Z in (X, Y))
    means = ((X.mean(axis=0) - Y.mean(axis=0)) ** 2).sum()
    R_A, R_B = (np.linalg.qr(Z, mode="r") for Z in (A, B))  # same A'A, at most F rows
    shared = np.linalg.svd(R_A @ R_B.T, compute_uv=False).sum()
    return float(max(means + (A**2).sum() + (B**2).sum() - 2 * shared, 0.0))
