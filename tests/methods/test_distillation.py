"""The loss of distillation against its definition."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from course_lib.errors import CourseError
from course_lib.methods.distillation import distillation_loss


def drawn():
    generator = torch.Generator().manual_seed(0)
    z, t = torch.randn(2, 5, 3, generator=generator)
    return z.requires_grad_(), t, torch.tensor([0, 2, 1, 1, 0])


def test_it_is_kullback_leibler_up_to_the_teachers_entropy():
    z, t, y = drawn()
    P = (t / 2).softmax(1)
    entropy = -(P * P.log()).sum(1).mean()
    parted = kl_div((z / 2).log_softmax(1), P, reduction="batchmean") + entropy
    torch.testing.assert_close(distillation_loss(z, t), 4 * parted)
    both = distillation_loss(z, t, y, share=0.7)
    torch.testing.assert_close(both, 2.8 * parted + 0.3 * cross_entropy(z, y))


def test_the_gradient_keeps_its_size_as_the_temperature_grows():
    z, t, _ = drawn()
    found = [
        torch.autograd.grad(distillation_loss(z, t, temperature=T), z)[0].norm()
        for T in (50.0, 100.0)
    ]
    assert float(found[1] / found[0]) == pytest.approx(1, abs=0.05)


def test_a_certain_teacher_is_the_label():
    z, _, y = drawn()
    sure = 60 * torch.nn.functional.one_hot(y, 3).float()
    found = distillation_loss(z, sure, temperature=1.0)
    torch.testing.assert_close(found, cross_entropy(z, y))


def test_shapes_and_labels_are_asked_for():
    z, t, _ = drawn()
    with pytest.raises(CourseError, match="labels"):
        distillation_loss(z, t, share=0.5)
    with pytest.raises(CourseError, match="shape"):
        distillation_loss(z, t[:3])
