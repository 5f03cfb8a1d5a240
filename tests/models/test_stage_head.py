"""A head that reads several stages: what it reads, what is left out, what is chosen."""

import numpy as np
import pytest
import tiny
import torch

from course_lib.errors import CourseError
from course_lib.models import features, stage_head


@pytest.mark.parametrize(
    "make, stages", [(tiny.resnet, ("layer2", "layer3")), (tiny.vit, ("block1",))]
)
def test_it_reads_mean_and_deviation_of_the_stages_and_runs_nothing_behind(
    make, stages
):
    backbone, x = make(), torch.randn(3, 3, 32, 32)
    found = features.activations(backbone, x, stages)
    expected = torch.cat(
        [
            part
            for out in found.values()
            for part in (
                out.flatten(2).mean(2) if out.ndim == 4 else out.mean(1),
                (
                    out.flatten(2).var(2, correction=0)
                    if out.ndim == 4
                    else out.var(1, correction=0)
                )
                .add(stage_head.EPS)
                .sqrt(),
            )
        ],
        dim=1,
    )
    before = sum(p.numel() for p in backbone.model.parameters())
    stage_head.read_stages(backbone, stages, 5)
    assert backbone.num_features == expected.shape[1]
    assert torch.allclose(backbone.features(x), expected, atol=1e-3)
    assert backbone.model(x).shape == (3, 5) and list(backbone.stages)[-1] == stages[-1]
    assert sum(p.numel() for p in backbone.model.parameters()) < before
    assert not any(
        name.startswith(("reader.net.layer4", "reader.net.blocks.1", "reader.net.fc"))
        for name in backbone.model.state_dict()
    )
    copied = backbone.copy()
    copied.to_classes(2)
    assert copied.model(x).shape == (3, 2) and backbone.model(x).shape == (3, 5)
    assert features.extract(backbone, tiny.images(4)).shape == (4, expected.shape[1])


def test_an_unknown_stage_and_one_without_maps_are_errors():
    with pytest.raises(CourseError, match="no module 'layer9'"):
        stage_head.read_stages(tiny.resnet(), ("layer9",), 3)
    with pytest.raises(CourseError, match="Expected: maps"):
        stage_head.mean_and_deviation(torch.zeros(2, 5))


def test_the_middle_stages_lie_behind_the_first_third_and_before_the_last():
    backbone = tiny.resnet()
    taken = list(stage_head.candidates(backbone).values())
    middle = ("layer2", "layer3")
    assert taken == [(), middle, (*middle, "layer4")]
    backbone.stages = {f"block{i}": f"blocks.{i}" for i in range(1, 13)}
    middle = list(stage_head.candidates(backbone).values())[1]
    assert middle == ("block5", "block7", "block9", "block11")
    backbone.stages = {"fc": "fc"}  # the head itself
    assert list(stage_head.candidates(backbone).values()) == [()]


def test_a_column_that_hardly_varies_is_not_blown_up():
    X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    X[:, 0] *= 1e-5
    layer = stage_head.standardised_by(X)
    assert layer.std[0] > 1e-3
    assert torch.allclose(layer(torch.as_tensor(X))[:, 1:].std(0), torch.ones(3), 0.05)
