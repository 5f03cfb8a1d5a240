"""Batches of texts of like length, and what is evaluated in their order."""

import numpy as np
import torch
from torch import nn

from course_lib import training
from course_lib.training import batches

COUNTS = np.random.default_rng(0).integers(1, 60, 333)
TEXTS = [" ".join(["word"] * n) for n in COUNTS]
LABELS = torch.arange(len(TEXTS)) % 2
SIZE = 8


def tokens(texts):
    """One token a word."""
    lengths = torch.tensor([len(text.split()) for text in texts])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return {"input_ids": mask.long(), "attention_mask": mask.long()}


class Counting(nn.Module):
    """Logits that say how many tokens a text has."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.widths = []

    def forward(self, input_ids, attention_mask):
        self.widths.append(input_ids.shape[1])
        return self.head(attention_mask.sum(dim=1, keepdim=True).float() / 60)


def passed(seed, by_length=True, n=None):
    """The rows of two passes, batch by batch."""
    examples = batches.Examples((TEXTS[:n], LABELS[:n]), tokens, SIZE, "training")
    generator = torch.Generator().manual_seed(seed)
    endless = examples.endless(SIZE, generator, by_length)
    return [endless.rows() for _ in range(2 * examples.steps)]


def padded(found):
    """Tokens that a pass computes, padding included."""
    return sum(len(rows) * COUNTS[rows].max() for rows in found)


def test_a_pass_by_length_holds_every_text_once_and_little_padding():
    found = passed(0)
    half = len(found) // 2
    for one in (found[:half], found[half:]):
        assert sorted(torch.cat(one).tolist()) == list(range(len(TEXTS)))
    assert padded(found) < 1.15 * 2 * COUNTS.sum() < 0.75 * padded(passed(0, False))


def test_batches_by_length_are_drawn_anew_in_each_pass_and_by_the_seed():
    found, other = passed(0), passed(1)
    half = len(found) // 2
    sets = [{tuple(sorted(rows.tolist())) for rows in found[:half]}]
    sets += [{tuple(sorted(rows.tolist())) for rows in found[half:]}]
    assert not sets[0] & sets[1]
    assert all(torch.equal(a, b) for a, b in zip(found, passed(0)))
    assert not torch.equal(found[0], other[0])
    longest = [int(COUNTS[rows].max()) for rows in found[:half]]
    assert longest != sorted(longest)


def test_fewer_texts_than_a_batch_make_one():
    assert [len(rows) for rows in passed(0, n=3)] == [3, 3]


def test_images_take_no_notice_of_by_length():
    pair = torch.zeros(20, 3, 4, 4), torch.arange(20) % 2
    drawn = []
    for by_length in (True, False):
        examples = batches.Examples(pair, None, SIZE, "training")
        generator = torch.Generator().manual_seed(0)
        drawn.append(examples.endless(SIZE, generator, by_length).rows())
    assert torch.equal(*drawn)


def test_a_run_by_length_goes_on_in_the_middle_of_a_pass():
    examples = batches.Examples((TEXTS, LABELS), tokens, SIZE, "training")
    whole, cut = (
        examples.endless(SIZE, torch.Generator().manual_seed(3), True) for _ in "ab"
    )
    for _ in range(5):
        whole.rows(), cut.rows()
    resumed = examples.endless(SIZE, torch.Generator().manual_seed(9), True)
    resumed.restore(cut.state())
    for _ in range(2 * examples.steps):
        assert torch.equal(whole.rows(), resumed.rows())


def test_evaluation_reads_by_length_and_answers_in_the_data_s_order():
    net = Counting().eval()
    found = training.evaluate(net, (TEXTS, LABELS), preprocess=tokens, batch_size=SIZE)
    assert net.widths == sorted(net.widths)
    assert torch.equal(torch.from_numpy(found["labels"]), LABELS)
    alone = torch.tensor(COUNTS)[:, None].float() / 60
    with torch.no_grad():
        expected = net.head(alone).double().softmax(dim=1).numpy()
    assert np.allclose(found["probabilities"], expected, atol=1e-6)
