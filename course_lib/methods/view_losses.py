"""Losses of two views: what joint-embedding pre-training asks of a network.

A and B (N, D) are what a projector makes of two views of the same N pictures (or rows
of a table).  Each loss wants the two views alike, and each has its own way to keep all
pictures from being alike, which is the collapse that the first wish alone leads to.
"""

import torch
from torch.nn.functional import cross_entropy, normalize, relu

from course_lib.errors import CourseError
from course_lib.methods.unlabelled import checked_pair


def barlow_twins_loss(A, B, trade_off: float = 0.005) -> torch.Tensor:
    """``sum_i (1 - C_ii)^2 + trade_off sum_i sum_j!=i C_ij^2``, C the correlations.

    C (D, D) correlates the columns of A (N, D) and B (N, D), two views of the same N
    images: each feature should survive the change of view, and say something of its
    own.  Raises CourseError on shapes that do not fit.  Zbontar et al. 2021.
    """
    _check_rows(A, B, "barlow_twins_loss")
    A, B = ((M - M.mean(dim=0)) / (M.std(dim=0, correction=0) + 1e-6) for M in (A, B))
    C = A.T @ B / len(A)  # (D, D)
    on_diagonal = ((1 - C.diagonal()) ** 2).sum()
    off_diagonal = (C**2).sum() - (C.diagonal() ** 2).sum()
    return on_diagonal + trade_off * off_diagonal


def nt_xent_loss(A, B, temperature: float = 0.2) -> torch.Tensor:
    """NT-Xent of SimCLR: each of the 2 N rows must find its other view among all.

    ``-log(exp(cos(z_i, z_j) / t) / sum_k!=i exp(cos(z_i, z_k) / t))``, j the other view
    of i, k all other rows of both views; the mean over the 2 N rows.  The other
    pictures are the negatives.  Raises CourseError on shapes that do not fit.
    Chen et al. 2020.
    """
    _check_rows(A, B, "nt_xent_loss")
    Z = normalize(torch.cat([A, B]))  # (2 N, D), rows of length 1
    logits = (Z @ Z.T / temperature).fill_diagonal_(-torch.inf)  # (2 N, 2 N)
    other = torch.arange(2 * len(A), device=Z.device).roll(len(A))
    return cross_entropy(logits, other)


def vicreg_loss(A, B, invariance=25.0, variance=25.0, covariance=1.0) -> torch.Tensor:
    """``invariance s(A, B) + variance (v(A) + v(B)) + covariance (c(A) + c(B))``.

    s: mean squared difference of the views.  v: mean over the D columns of
    ``max(0, 1 - sqrt(Var + 1e-4))``, which keeps each one from becoming constant.
    c: squared covariances off the diagonal over D, which keeps two from saying the
    same.  Raises CourseError on shapes that do not fit.  Bardes et al. 2022.
    """
    _check_rows(A, B, "vicreg_loss")
    loss = invariance * ((A - B) ** 2).mean()
    for M in (A, B):
        M = M - M.mean(dim=0)
        C = M.T @ M / (len(M) - 1)  # (D, D)
        off_diagonal = (C**2).sum() - (C.diagonal() ** 2).sum()
        loss = loss + variance * relu(1 - (C.diagonal() + 1e-4).sqrt()).mean()
        loss = loss + covariance * off_diagonal / C.shape[0]
    return loss


def _check_rows(A, B, who: str) -> None:
    """CourseError unless A and B have the same shape (N, D), two rows or more."""
    checked_pair(A, B, who)
    if len(A) != len(B):
        raise CourseError(
            f"{who}: {len(A)} and {len(B)} rows, expected two views of the same images."
        )


LOSSES = {  # {name: loss of A and B}
    "simclr": nt_xent_loss,
    "barlow_twins": barlow_twins_loss,
    "vicreg": vicreg_loss,
}
