"""Product quantization against brute force."""

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.methods.product_quantization import ProductQuantizer


def vectors(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 12)).astype(np.float32)


def test_codes_are_the_nearest_centres_and_distances_those_to_the_decoded():
    X, queries = vectors(500), vectors(7, seed=1)
    quantizer = ProductQuantizer.fitted(X, 3)
    assert quantizer.centres.shape == (3, 256, 4)
    codes = quantizer.encode(X)
    assert codes.shape == (500, 3) and codes.dtype == np.uint8
    for i in (0, 17, 499):
        for part in range(3):
            piece = X[i, 4 * part : 4 * part + 4]
            far = np.linalg.norm(quantizer.centres[part] - piece, axis=1)
            assert far[codes[i, part]] == pytest.approx(far.min(), abs=1e-5)
    decoded = quantizer.decode(codes)
    plain = ((queries[:, None] - decoded) ** 2).sum(2)
    assert quantizer.distances(queries, codes) == pytest.approx(plain, abs=1e-3)


def test_more_bytes_lose_less():
    X = vectors(600)
    lost = []
    for parts in (1, 3, 12):
        quantizer = ProductQuantizer.fitted(X, parts)
        lost.append(np.mean((quantizer.decode(quantizer.encode(X)) - X) ** 2))
    assert lost == sorted(lost, reverse=True) and lost[2] < 0.05 * lost[0]


def test_few_vectors_are_their_own_centres_and_odd_parts_are_refused():
    X = vectors(20)
    quantizer = ProductQuantizer.fitted(X, 2)
    assert quantizer.decode(quantizer.encode(X)) == pytest.approx(X, abs=1e-5)
    with pytest.raises(CourseError, match="equal size"):
        ProductQuantizer.fitted(X, 5)
