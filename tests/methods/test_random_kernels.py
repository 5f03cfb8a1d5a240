"""ROCKET: the distribution of its kernels, and their two numbers by a plain loop."""

import numpy as np
import pytest

from course_lib.errors import CourseError
from course_lib.methods import random_kernels


def plain(x, kernel):
    """(share above 0, maximum) of one series (C, T) and one kernel."""
    x = np.pad(x, ((0, 0), (kernel.padding, kernel.padding)))
    size = kernel.weights.shape[1]
    span, out = kernel.dilation * (size - 1), []
    for start in range(x.shape[1] - span):
        seen = x[:, start : start + span + 1 : kernel.dilation]
        out.append((seen * kernel.weights).sum() + kernel.bias)
    return np.mean(np.array(out) > 0), max(out)


@pytest.mark.parametrize("channels, length", [(1, 60), (5, 29)])
def test_numbers_equal_a_plain_loop(channels, length):
    X = np.random.default_rng(1).standard_normal((3, channels, length))
    kernels = random_kernels.draw(40, channels, length, seed=2)
    found = random_kernels.transform(X, kernels)
    assert found.shape == (3, 80)
    for i, x in enumerate(X):
        for k, kernel in enumerate(kernels):
            expected = plain(x, kernel)
            assert found[i, [k, 40 + k]] == pytest.approx(expected, abs=1e-4)


def test_kernels_follow_the_distribution_of_the_paper():
    kernels = random_kernels.draw(3000, 4, 200, seed=0)
    sizes = np.array([kernel.weights.shape[1] for kernel in kernels])
    assert np.bincount(sizes)[[7, 9, 11]] / 3000 == pytest.approx(1 / 3, abs=0.04)
    bias = np.array([kernel.bias for kernel in kernels])
    assert abs(bias).max() <= 1 and bias.std() == pytest.approx(3**-0.5, abs=0.03)
    reach = [k.dilation * (k.weights.shape[1] - 1) for k in kernels]
    assert 190 < max(reach) <= 199 and min(k.dilation for k in kernels) == 1
    u = np.log2([k.dilation + 0.5 for k in kernels if k.weights.shape[1] == 9])
    assert np.median(u) == pytest.approx(np.log2(199 / 8) / 2, abs=0.4)
    padded = [kernel.padding > 0 for kernel in kernels]
    assert np.mean(padded) == pytest.approx(0.5, abs=0.04)
    for kernel in kernels[:200]:
        assert abs(kernel.weights.sum(1)).max() < 1e-4
        assert 1 <= (kernel.weights != 0).any(1).sum() <= 4
        assert kernel.padding in (
            0,
            kernel.dilation * (kernel.weights.shape[1] - 1) // 2,
        )
    read = np.bincount([(k.weights != 0).any(1).sum() for k in kernels])
    assert (read[1:] > 0).all()


def test_seeds_and_short_series():
    one, same, other = (random_kernels.draw(5, 1, 30, seed) for seed in (1, 1, 2))
    assert all((a.weights == b.weights).all() for a, b in zip(one, same, strict=True))
    assert one[0].bias != other[0].bias
    with pytest.raises(CourseError, match="at least 11"):
        random_kernels.draw(5, 1, 10)
