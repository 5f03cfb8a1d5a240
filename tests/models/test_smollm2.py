"""The real language model: 134.5 million parameters, in 32, 16 and 4 bits."""

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.models import language_models

NAME = "smollm2-135m-instruct"
TEXTS = {  # written for this test, three kinds of prose
    "description": """\
The old harbour lies between two low hills, and from the road above it one can see
the whole of the bay. Along the water stands a row of narrow houses, most of them
painted white or pale yellow, with green shutters that are closed in the hot hours
of the day. In front of them fishing boats are tied to iron rings, and nets hang
over the wall to dry. On market days farmers from the villages put up their stalls
under the plane trees and sell cheese, olives, honey and bread. In the evening, when
the wind turns, the smell of salt and of wood smoke fills the streets, and people
bring their chairs outside.
""",
    "narrative": """\
Anna had not slept well. At five she got up, made herself a cup of tea and sat down
at the kitchen table with the letter. She had read it so often that she knew it by
heart, and still she unfolded it once more. Her brother wrote that he would come on
Saturday, that he had sold the house, and that there was something he had to tell
her. He did not say what it was. She looked at the clock on the wall. In six hours
his train would arrive. She washed the cup, put on her coat and went out into the
rain, because waiting at the station was better than waiting here, where every chair
reminded her of their mother.
""",
    "technical": """\
Each wafer passes through a chain of steps: a film is deposited, a photosensitive
layer is spun on, a pattern is exposed and developed, and what is not covered is
etched away. Between the steps the surface is measured. When the thickness of the
film drifts by more than two per cent, the controller changes the deposition time of
the next lot. Particles larger than half the line width cause open or short
circuits, so the air of the clean room is filtered and its pressure kept above that
of the corridor.
""",
}


@pytest.fixture(scope="module")
def models():
    """{name: model} in three formats, and the tokenizer."""
    made = {
        "float32": language_models.load(NAME),
        "bfloat16": language_models.load(NAME, dtype=torch.bfloat16),
        "nf4": language_models.load(NAME, quantised="nf4"),
    }
    return {key: model for key, (model, _) in made.items()}, made["float32"][1]


def loss(model, tokenizer, text) -> float:
    ids = tokenizer(" ".join(text.split()), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids, labels=ids).loss.float().item()


@pytest.mark.slow
def test_it_is_the_model_that_the_list_names(models):
    model = models[0]["float32"]
    assert model.num_parameters() == 134_515_008
    assert model.lm_head.weight is model.model.embed_tokens.weight  # tied
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in models[0]["bfloat16"].parameters()} == {torch.bfloat16}
    config = model.config
    assert (config.num_hidden_layers, config.hidden_size) == (30, 576)
    assert (config.num_attention_heads, config.num_key_value_heads) == (9, 3)
    assert config.vocab_size == len(models[1]) == 49_152


@pytest.mark.slow
def test_it_answers_in_its_chat_template(models):
    model, tokenizer = models[0]["float32"], models[1]
    asked = [dict(role="user", content="What is the capital of France?")]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True)["input_ids"]
    shown = tokenizer.decode(ids)
    assert shown.endswith("<|im_start|>assistant\n")
    out = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(out[0, len(ids) :])


@pytest.mark.slow
def test_what_four_bits_cost_it(models):
    """bfloat16 costs next to nothing, NF4 a good tenth of a nat and more."""
    formats, tokenizer = models
    for text in TEXTS.values():
        found = {name: loss(model, tokenizer, text) for name, model in formats.items()}
        assert 2.0 < found["float32"] < 4.5
        assert found["bfloat16"] == pytest.approx(found["float32"], abs=0.03)
        assert 0.05 < found["nf4"] - found["float32"] < 0.6


def test_a_model_that_was_not_fetched_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_ASSETS", str(tmp_path))
    with pytest.raises(CourseError, match=f"course data fetch {NAME}"):
        language_models.load(NAME)
