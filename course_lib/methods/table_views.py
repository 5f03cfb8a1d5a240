"""A second view of the rows of a table: some values taken from other rows."""

import torch

from course_lib.errors import CourseError


def corrupted(X, share: float = 0.6, generator=None) -> torch.Tensor:
    """A copy of the rows X (N, F) in which ``share`` of each row's values are others.

    round(share F) columns, drawn for each row, get the value that another row, drawn
    from X, has in that column: a likely value alone, and a strange one in company.
    Raises CourseError unless X is a matrix and 0 < share < 1.  Bahri et al. 2022
    (SCARF).
    """
    if X.ndim != 2 or not 0 < share < 1:
        raise CourseError(
            f"corrupted: X of shape {tuple(X.shape)}, share={share}.\nExpected: a "
            "matrix (N, F), and a share between 0 and 1.\nDo: correct them."
        )
    n, columns = X.shape
    order = torch.rand(n, columns, generator=generator).argsort(dim=1)
    chosen = order < round(share * columns)  # (N, F)
    rows = torch.randint(n, (n, columns), generator=generator)
    return torch.where(chosen, X.gather(0, rows), X)
