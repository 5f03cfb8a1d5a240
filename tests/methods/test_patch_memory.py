"""PatchCore against a plain computation, one patch at a time."""

import numpy as np
import pytest
import torch
from tiny import generator

from course_lib.errors import CourseError
from course_lib.methods import patch_memory
from course_lib.methods.patch_memory import PatchMemory
from course_lib.models import features, zoo


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


@pytest.fixture(scope="module")
def backbone():
    return zoo.load("bundled/resnet10-patterns")


def pictures(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), np.uint8)


def test_patches_are_means_of_neighbours_on_the_grid_of_the_first_stage(backbone):
    images, stages = pictures(3), ("layer2", "layer3")
    P = patch_memory.patches(backbone, images, stages, batch_size=2)
    maps = features.activations(backbone, backbone.preprocess(images), stages)
    fine, coarse = (maps[stage] for stage in stages)
    assert P.shape == (3, *fine.shape[2:], fine.shape[1] + coarse.shape[1])
    for row, column in ((0, 0), (3, 2), (7, 7)):
        rows, columns = (slice(max(0, k - 1), k + 2) for k in (row, column))
        plain = fine[1, :, rows, columns].mean((1, 2))
        assert torch.allclose(P[1, row, column, : len(plain)], plain, atol=1e-5)
    corner = coarse[1, :, :2, :2].mean((1, 2))  # half a place outside: the corner's own
    assert torch.allclose(P[1, 0, 0, fine.shape[1] :], corner, atol=1e-5)


def test_no_pictures_or_no_stages_are_refused(backbone):
    for images, stages in ((pictures(0), ("layer2",)), (pictures(1), ())):
        with pytest.raises(CourseError, match="at least one of each"):
            patch_memory.patches(backbone, images, stages)


def test_the_coreset_takes_the_farthest_each_time():
    X = drawn(60, 5)
    chosen = patch_memory.coreset(X, 12, seed=3).tolist()
    assert len(set(chosen)) == 12
    for k in range(1, 12):
        reach = torch.cdist(X, X[chosen[:k]]).amin(1)
        assert float(reach[chosen[k]]) == pytest.approx(float(reach.max()), rel=1e-4)
    assert patch_memory.coreset(X, 12, seed=3).tolist() == chosen
    assert sorted(patch_memory.coreset(X[[0, 0, 0]], 3).tolist()) == [0, 1, 2]
    for n in (0, 61):
        with pytest.raises(CourseError, match="between 1 and 60"):
            patch_memory.coreset(X, n)


def plain_score(picture, bank, around):
    """Equations 6 and 7 of the paper, by loops."""
    best = None
    for p in picture.reshape(-1, picture.shape[-1]):
        far = np.linalg.norm(bank - p, axis=1)
        if best is None or far.min() > best[0]:
            best = far.min(), p, bank[far.argmin()]
    score, p, m = best
    beside = bank[np.linalg.norm(bank - m, axis=1).argsort(kind="stable")[:around]]
    total = sum(np.exp(np.linalg.norm(p - b)) for b in beside)
    return (1 - np.exp(score) / total) * score


@pytest.mark.parametrize("size", [4, 40])
def test_scores_equal_a_plain_computation(size):
    bank, P = drawn(size, 6).double(), drawn(7, 3, 4, 6, seed=1).double()
    memory = PatchMemory(bank)
    around = min(patch_memory.AROUND, size)
    plain = [plain_score(picture, bank.numpy(), around) for picture in P.numpy()]
    assert memory.scores(P) == pytest.approx(np.array(plain), rel=1e-8)
    far = memory.distances(P)
    assert far.shape == (7, 3, 4)
    alone = np.linalg.norm(bank.numpy() - P[2, 1, 3].numpy(), axis=1).min()
    assert float(far[2, 1, 3]) == pytest.approx(alone)


def test_what_is_remembered_is_not_strange_and_a_stranger_is():
    normal = drawn(5, 4, 4, 3)
    memory = PatchMemory.of(normal, share=1.0)
    assert len(memory.bank) == 5 * 16
    assert float(memory.distances(normal).max()) < 1e-2
    odd = normal.clone()
    odd[2, 1, 3] += 10
    assert memory.scores(odd).argmax() == 2
    heat = patch_memory.heat_map(memory.distances(odd), (64, 64))
    row, column = divmod(int(heat[2].argmax()), 64)
    assert heat.shape == (5, 64, 64) and (row // 16, column // 16) == (1, 3)
    assert len(PatchMemory.of(normal, share=1e-6).bank) == 1
