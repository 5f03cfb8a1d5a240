"""Text encoders: classifier, features, predictions."""

import numpy as np
import pytest
import tiny
import torch

from course_lib import datasets
from course_lib.errors import CourseError
from course_lib.models import features, text, zoo
from course_lib.training import layer_groups


@pytest.fixture(scope="module")
def tickets():
    return [datasets.load("tickets", s, n=20) for s in ("train", "validation")]


@pytest.mark.slow
def test_a_text_backbone_gets_a_head_and_keeps_its_features(tickets):
    bare, headed = tiny.encoder(None), tiny.encoder(5)
    texts = tickets[0].texts[:4]
    z = [features.extract(b, texts) for b in (bare, headed)]
    assert z[0].shape == (4, 32) and np.allclose(z[0], z[1], atol=1e-6)
    tokens = headed.preprocess(list(texts))
    with torch.no_grad():
        out = headed.model.eval()(**tokens, labels=torch.tensor([0, 1, 2, 3]))
        alone = headed.model(**headed.preprocess([texts[0]]))
    assert out.logits.shape == (4, 5) and out.loss > 0
    # padding changes nothing
    assert torch.allclose(out.logits[:1], alone.logits, atol=1e-5)
    groups = layer_groups.layer_groups(headed)
    assert list(groups)[-1] == "head" and len(groups) == 4
    assert features.extract(headed, texts, module="layer1").shape == (4, 32)


@pytest.mark.slow
def test_predictions_come_in_the_order_of_the_texts(tickets):
    backbone, texts = tiny.encoder(), list(tickets[0].texts)
    logits = text.predict(backbone, texts, batch_size=3)
    back = text.predict(backbone, texts[::-1], batch_size=7)
    assert np.allclose(logits, back[::-1], atol=1e-5)
    for wrong in ([*texts, None], [3]):
        with pytest.raises(CourseError, match="not every text is a string"):
            text.predict(backbone, wrong)


def test_texts_of_one_length_share_a_batch(tickets):
    backbone, texts = tiny.encoder(None), list(tickets[0].texts)
    padded, tokenise = [], backbone.preprocess

    def counted(some):
        tokens = tokenise(some)
        padded.append(tokens["attention_mask"].numel())
        return tokens

    Z = features.extract(backbone, texts, batch_size=4, preprocess=counted)
    as_they_come = [tokenise(texts[i : i + 4]) for i in range(0, len(texts), 4)]
    assert sum(padded) < sum(t["attention_mask"].numel() for t in as_they_come)
    alone = np.concatenate([features.extract(backbone, [one]) for one in texts])
    assert np.allclose(Z, alone, atol=1e-5)
    assert len({len(one) for one in texts}) > 5


def test_errors_say_what_to_do():
    with pytest.raises(CourseError, match="text backbone"):
        text.predict(zoo.load(num_classes=5), ["a"])
    with pytest.raises(CourseError, match="no texts"):
        text.predict(tiny.encoder(), [])
