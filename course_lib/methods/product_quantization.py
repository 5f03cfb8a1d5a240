"""Product quantization: vectors in a few bytes each, and still searchable.

A vector is cut into parts; each part is replaced by the number of the nearest of 256
centres, one byte.  Jégou, Douze & Schmid 2011, doi:10.1109/TPAMI.2010.57.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.errors import CourseError

CENTRES = 256  # a part, so that its number is one byte


@dataclass(frozen=True, eq=False)
class ProductQuantizer:
    """centres (parts, K, F / parts): K centres of each part, at most 256."""

    centres: np.ndarray

    @classmethod
    def fitted(cls, X, parts: int, seed: int = 0) -> "ProductQuantizer":
        """k-means on each part of the vectors X (N, F).

        Raises CourseError where F is no multiple of the parts.
        """
        from sklearn.cluster import KMeans

        X = np.asarray(X, dtype=np.float32)
        if X.shape[1] % parts:
            raise CourseError(
                f"product quantization: {X.shape[1]} numbers in {parts} parts.\n"
                "Expected: parts of equal size.\nDo: take a divisor."
            )
        centres = []
        for part in np.split(X, parts, axis=1):
            means = KMeans(
                min(CENTRES, len(X)), n_init=1, max_iter=25, random_state=seed
            )
            centres.append(means.fit(part).cluster_centers_)
        return cls(np.stack(centres).astype(np.float32))

    def encode(self, X) -> np.ndarray:
        """The numbers of the nearest centres: uint8 (N, parts), one byte a part."""
        pieces = np.split(np.asarray(X, dtype=np.float32), len(self.centres), axis=1)
        codes = [squared(x, c).argmin(axis=1) for x, c in zip(pieces, self.centres)]
        return np.stack(codes, axis=1).astype(np.uint8)

    def decode(self, codes) -> np.ndarray:
        """The centres that stand for the vectors: float32 (N, F)."""
        return np.concatenate([c[codes[:, i]] for i, c in enumerate(self.centres)], 1)

    def distances(self, queries, codes) -> np.ndarray:
        """Squared distances (Q, N) of whole queries (Q, F) to stored codes (N, parts).

        A table of the distances to all centres, looked up once for each byte.
        """
        queries = np.asarray(queries, dtype=np.float32)
        pieces = np.split(queries, len(self.centres), axis=1)
        tables = [squared(q, c) for q, c in zip(pieces, self.centres)]  # (Q, K) each
        return sum(table[:, codes[:, i]] for i, table in enumerate(tables))


def squared(A, B) -> np.ndarray:
    """Squared distances (N, M) between the rows of A (N, F) and B (M, F)."""
    lengths = (A * A).sum(1)[:, None] + (B * B).sum(1)
    return np.maximum(lengths - 2 * A @ B.T, 0)
