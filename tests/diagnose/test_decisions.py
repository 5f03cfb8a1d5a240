"""The decision framework: where it leads, what it says, how it is drawn."""

import numpy as np
import pytest

from course_lib import paths
from course_lib.diagnose import decisions
from course_lib.diagnose.decisions import Situation, decide
from course_lib.errors import CourseError
from course_lib.lessons import lesson12_gains
from course_lib.show import plots


@pytest.mark.parametrize(
    "strategy, situation",
    [
        ("zero-shot, and collect labels", Situation("images", 6, 5)),
        ("measure first", Situation("images", 500, 5)),
        ("probe on frozen features", Situation("images", 100, 5, probe_wins=True)),
        ("fine-tune all layers", Situation("images", 500, 5, probe_wins=True)),
        ("fine-tune all layers", Situation("texts", 300, 5, probe_wins=False)),
        (
            "fine-tune or baseline, by validation",
            Situation("images", 100, 5, probe_wins=False),
        ),
        (
            "LoRA or adapters",
            Situation("texts", 500, 5, probe_wins=False, keep_base=True),
        ),
        (
            "the baseline without transfer",
            Situation("texts", 500, 5, probe_wins=False, can_train=False),
        ),
        (
            "probe on frozen features",
            Situation("images", 5000, 5, probe_wins=True, can_train=False),
        ),
        ("LoRA in 16 bits", Situation("writing", 500, gpu_gb=24)),
        ("QLoRA", Situation("writing", 500, gpu_gb=12)),
        ("a smaller model", Situation("writing", 500, gpu_gb=4)),
    ],
)
def test_each_advice_is_reached(strategy, situation):
    assert decide(situation).strategy == strategy


def test_every_leaf_is_among_those_reached_above():
    mark = next(
        m for m in test_each_advice_is_reached.pytestmark if m.name == "parametrize"
    )
    assert {leaf.strategy for leaf in decisions.leaves()} == {
        s for s, _ in mark.args[1]
    }


def test_a_decision_gives_its_path_and_its_duties():
    free = decide(Situation("images", 500, 5, probe_wins=True))
    held = decide(Situation("images", 500, 5, probe_wins=True, regulated=True))
    assert free.strategy == held.strategy and free.path == held.path
    assert set(free.duties) < set(held.duties) == set(decisions.DUTIES)
    for question, answer in free.path:
        assert f"{question} {'yes' if answer else 'no'}" in str(free)
    assert free.advice.why in str(free)


def test_the_reasons_name_lessons_that_there_are():
    numbers = {int(p.name[:2]) for p in paths.NOTEBOOKS.glob("*.ipynb")}
    for leaf in decisions.leaves():
        assert leaf.lessons and set(leaf.lessons) <= numbers


def test_the_figures_of_the_reasons_are_those_of_the_grids():
    rows = lesson12_gains.all_gains()

    def mean(**which):
        return 100 * np.mean([row["gain"] for row in rows.select(**which)])

    worst = min(
        mean(source=s, target=t, labels=n, strategy="last stage")
        for s, t in lesson12_gains.PAIRS
        if s != "random"
        for n in lesson12_gains.LABELS
    )
    assert f"by up to {-worst:.0f} points" in decisions.BASELINE.why
    patterns, far = lesson12_gains.SOURCES[-1], ("wafer_maps", "spectrograms", "digits")
    few = [mean(source=patterns, target=t, labels=25, strategy="full") for t in far]
    assert [gain > 0 for gain in few] == [False, True, True]
    assert mean(source=patterns, target=far[0], labels=100, strategy="full") > 0
    assert 20 < decisions.FEW < 100


def test_more_labels_never_lead_back_to_fewer():
    """Along the number of labels each advice forms one stretch."""
    for near in (True, False):
        seen = [
            decide(Situation("images", n, 5, probe_wins=near)).strategy
            for n in range(0, 600, 5)
        ]
        changes = sum(a != b for a, b in zip(seen, seen[1:]))
        assert changes == len(set(seen)) - 1


@pytest.mark.parametrize(
    "wrong",
    [
        dict(modality="sound"),
        dict(labels=-1),
        dict(labels=2.5),
        dict(classes=1),
        dict(gpu_gb=0),
        dict(sequence=0),
    ],
)
def test_an_impossible_situation_is_refused(wrong):
    with pytest.raises(CourseError, match="Expected"):
        Situation(**dict(modality="images", labels=10) | wrong)


@pytest.mark.slow
def test_the_picture_holds_every_question_and_advice_and_the_path():
    decision = decide(Situation("images", 500, 5, probe_wins=True))
    fig = decisions.draw(decision)
    (axes,) = fig.axes
    said = [" ".join(t.get_text().split()) for t in axes.texts]
    for leaf in decisions.leaves():
        assert leaf.strategy in said
    strong = {
        " ".join(t.get_text().split())
        for t in axes.texts
        if t.get_bbox_patch() is not None and t.get_bbox_patch().get_linewidth() == 2
    }
    assert strong == {question for question, _ in decision.path} | {decision.strategy}
    plain = decisions.draw()
    assert not np.array_equal(plots.png_bytes(fig), plots.png_bytes(plain))


@pytest.mark.slow
def test_boxes_of_the_picture_do_not_overlap():
    fig = decisions.draw(decide(Situation("images", 500, 5, probe_wins=True)))
    plots.png_bytes(fig)
    boxes = [
        t.get_bbox_patch().get_window_extent()
        for t in fig.axes[0].texts
        if t.get_bbox_patch().get_edgecolor()[3] > 0
    ]
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert not one.overlaps(other)
        assert fig.bbox.x0 <= one.x0 and one.x1 <= fig.bbox.x1
