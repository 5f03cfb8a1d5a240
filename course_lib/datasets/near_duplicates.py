"""Nearly equal examples, put into groups so that a split keeps each on one side.

A network that was trained on a picture knows its near copy: tested on it, accuracy is
inflated and nothing says so.  Groups are the connected parts of "similar enough", so
that two examples of different groups are never similar.  (Barz & Denzler 2020,
arXiv:1902.00423, found such copies across the splits of CIFAR.)
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from course_lib import files
from course_lib.errors import CourseError

FILE = "near_duplicates.npz"  # in data/: the groups of the public data sets
MADE_BY = "python -m course_lib.datasets.stored_groups"
BLOCK = 1000  # rows compared at a time


def digests(data, exact: bool = False) -> np.ndarray:
    """A fingerprint of each example (N,): equal pictures or texts have equal ones.

    Texts are compared without regard to white space and case, unless ``exact``.
    """
    if data.holds == "images":
        content = (image.tobytes() for image in data.images)
    elif exact:
        content = (text.encode() for text in data.texts)
    else:
        content = (" ".join(text.lower().split()).encode() for text in data.texts)
    return np.array([hashlib.blake2b(c, digest_size=16).hexdigest() for c in content])


def picture_groups(images, correlation: float = 0.97, side: int = 64) -> np.ndarray:
    """Group numbers (N,) of pictures whose pixels correlate above ``correlation``.

    images: uint8 (N, H, W, 3) or (N, H, W).  They are compared as grey pictures of
    ``side`` pixels, each shifted to mean 0 and scaled to length 1, so that brightness
    and contrast make no difference.
    """
    box, rows = Image.Resampling.BOX, []
    for image in images:
        small = Image.fromarray(image).convert("L").resize((side, side), box)
        row = np.asarray(small, dtype=np.float64).ravel()
        row -= row.mean()
        rows.append(row / max(float(np.linalg.norm(row)), 1e-12))
    # of such rows the product is the correlation
    return _connected(np.array(rows), correlation)


def text_groups(texts: Sequence[str], similarity: float = 0.8) -> np.ndarray:
    """Group numbers (N,) of texts whose character 4-grams are alike.

    Letters and digits alone are compared, in lower case, by the cosine of their TF-IDF
    vectors.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    plain = [" ".join(re.findall(r"\w+", text.lower())) or "-" for text in texts]
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(4, 4), sublinear_tf=True)
    return _connected(grams.fit_transform(plain), similarity)


def merged(a, b) -> np.ndarray:
    """The finest grouping in which equal a, and equal b, are together: (N,)."""
    # a graph with a node for each group of a and of b; every example joins two of them
    a, b = (np.unique(x, return_inverse=True)[1] for x in (a, b))
    n = int(a.max()) + 1
    joined = _components(a, n + b, n + int(b.max()) + 1)[a]
    return np.unique(joined, return_inverse=True)[1]


def _connected(rows, above: float) -> np.ndarray:
    """Connected components of "the product of two rows exceeds ``above``"."""
    from scipy.sparse import issparse

    # N x N products would not fit into memory; the pairs above the bound are few
    ends: list = []
    for first in range(0, rows.shape[0], BLOCK):
        products = rows[first : first + BLOCK] @ rows[first:].T  # each pair once
        products = products.toarray() if issparse(products) else products
        i, j = np.nonzero(products > above)
        ends.append((i + first, j + first))
    i, j = (np.concatenate(part) for part in zip(*ends))
    return _components(i, j, rows.shape[0])


def _components(i, j, n: int) -> np.ndarray:
    """The connected part (n,) of each node of a graph with the edges (i, j)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(i)), (i, j)), shape=(n, n))
    return connected_components(links, directed=False)[1]


def stored_groups(name: str, n: int) -> np.ndarray:
    """Group numbers (n,) of one data set.  Raises CourseError for another length."""
    with np.load(files.verified(FILE), allow_pickle=False) as stored:
        found = stored[name].astype(np.int64)
    if len(found) != n:
        raise CourseError(
            f"data/{FILE} holds {len(found)} groups of {name}, and the set has {n} "
            f"examples.\nExpected: one for each.\nDo: `{MADE_BY}`."
        )
    return found
