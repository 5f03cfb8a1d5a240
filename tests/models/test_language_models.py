"""Language models: loading in 32 and 4 bits, tuning what is trainable, writing."""

import pytest
import tiny
import torch
from torch import nn

from course_lib import datasets, profiles
from course_lib.errors import CourseError
from course_lib.methods import instruction_tuning
from course_lib.models import language_models, quantization

DATA = datasets.load("reports", "validation").take(40, seed=0)
REPORTS = list(DATA.metadata["report"])


@pytest.fixture(scope="module")
def name(tmp_path_factory):
    return f"hf/{tiny.llama(tmp_path_factory.mktemp('llama'), tied=False)}"


@pytest.fixture
def four_bits(name):
    return language_models.load(name, quantised="nf4")


def written(model, tokenizer, texts, length):
    """What the model answers to each text."""
    starts = tokenizer(language_models.prompts(texts))["input_ids"]
    return language_models.continued(model, tokenizer, starts, length)


def linear4bit(model):
    return [n for n, m in model.named_modules() if type(m).__name__ == "Linear4bit"]


def test_only_the_blocks_are_quantised(four_bits):
    model, _ = four_bits
    assert len(linear4bit(model)) == 7 * model.config.num_hidden_layers
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight.dtype == torch.float32


def test_without_bitsandbytes_the_course_quantises_itself(name, four_bits, monkeypatch):
    monkeypatch.setattr(language_models, "bitsandbytes_works", lambda: False)
    model, tokenizer = language_models.load(name, quantised="nf4")
    assert not linear4bit(model)
    tokens = tokenizer(DATA.texts[:4], padding=True, return_tensors="pt")
    tokens.pop("token_type_ids", None)
    with torch.no_grad():
        ours, theirs = model(**tokens).logits, four_bits[0](**tokens).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    tuned = instruction_tuning.with_lora(model, r=4)
    adapters = [key for key, _ in tuned.named_parameters() if ".lora_A." in key]
    assert len(adapters) == 7 * 2
    rows = language_models.examples(tokenizer, DATA.texts[:12], REPORTS[:12])
    updates = instruction_tuning.Updates(rate=1e-2, number=8, batch_size=4)
    before = language_models.rows_loss(tuned, tokenizer, rows)
    instruction_tuning.tune(tuned, rows, updates, lambda: 0.0)
    assert language_models.rows_loss(tuned, tokenizer, rows) < before - 0.1
    assert any(isinstance(m, quantization.LinearNF4) for m in tuned.modules())
    with pytest.raises(CourseError, match="only nf4"):
        language_models.load(name, quantised="fp4")


def test_only_the_answer_counts():
    tokenizer = tiny.word_pieces()
    row = language_models.examples(tokenizer, DATA.texts[:1], REPORTS[:1])[0]
    learned = [t for t in row["labels"] if t != -100]
    assert tokenizer.decode(learned[:-1]) == REPORTS[0]
    assert learned[-1] == tokenizer.eos_token_id
    assert row["input_ids"][0] == tokenizer.bos_token_id
    assert len(row["input_ids"]) == len(row["labels"]) == len(row["attention_mask"])
    with pytest.raises(CourseError, match="at least one"):
        language_models.examples(tokenizer, [], [])


def test_the_loss_of_answers_is_the_mean_over_their_tokens(name):
    model, tokenizer = language_models.load(name)
    rows = language_models.examples(tokenizer, DATA.texts[:6], REPORTS[:6])
    total = count = 0
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        labels = torch.tensor([row["labels"]])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1]
        losses = nn.functional.cross_entropy(
            logits, labels[0, 1:], ignore_index=-100, reduction="sum"
        )
        total, count = total + losses.item(), count + (labels >= 0).sum().item()
    ours = language_models.rows_loss(model, tokenizer, rows, batch_size=4)
    assert ours == pytest.approx(total / count, rel=1e-4)


def test_a_text_is_answered_alone_as_in_company(name):
    model, tokenizer = language_models.load(name)
    together = written(model, tokenizer, DATA.texts[:5], 12)
    alone = [written(model, tokenizer, [text], 12)[0] for text in DATA.texts[:5]]
    assert together == alone


def test_a_family_that_is_silently_not_quantised_is_refused(tmp_path):
    from transformers import FalconConfig, FalconForCausalLM

    small = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=4)
    FalconForCausalLM(FalconConfig(vocab_size=500, **small)).save_pretrained(tmp_path)
    tiny.word_pieces().save_pretrained(tmp_path)
    name = f"hf/{tmp_path}"
    assert language_models.load(name)[0].num_parameters() > 0
    if language_models.bitsandbytes_works():
        with pytest.raises(CourseError, match="no layer was stored in 4 bits"):
            language_models.load(name, quantised="nf4")


def test_bad_input(name):
    with pytest.raises(CourseError, match="no language model called 'gpt-9'"):
        language_models.load("gpt-9")
    with pytest.raises(CourseError, match="quantised='int3'"):
        language_models.load(name, quantised="int3")


@pytest.mark.filterwarnings("error:.*autograd kernel was not registered")
def test_writing_does_not_stop_the_gradient(name, four_bits):
    """bitsandbytes 0.50 repacks layers in eval mode and then has no backward pass."""
    x = torch.randn(2, 6, 64, generator=torch.Generator().manual_seed(0))

    def gradient(model):
        given = x.clone().requires_grad_()
        model.train()
        model(inputs_embeds=given).logits.square().mean().backward()
        return given.grad

    used, tokenizer = four_bits
    written(used, tokenizer, DATA.texts[:2], 4)
    fresh, _ = language_models.load(name, quantised="nf4")
    expected = gradient(fresh)
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient(used), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered")
def test_what_repacking_does_to_the_adapters(name, monkeypatch):
    """What lesson 10 says of it: at the first update most have no gradient."""
    from bitsandbytes.functional import has_avx512bf16

    if profiles.device().type != "cpu" or not has_avx512bf16():
        pytest.skip("bitsandbytes repacks on CPUs with bfloat16 instructions")

    def gradients():
        """{layer: gradient of its B} at the first update, after writing."""
        model, tokenizer = language_models.load(name, quantised="nf4")
        model = instruction_tuning.with_lora(model, r=4)
        written(model, tokenizer, DATA.texts[:2], 4)
        row = language_models.examples(tokenizer, DATA.texts[:1], REPORTS[:1])[0]
        model.train()
        model(**{k: torch.tensor([v]) for k, v in row.items()}).loss.backward()
        return {n: p.grad for n, p in model.named_parameters() if "lora_B" in n}

    right = gradients()
    monkeypatch.setattr(language_models, "never_repack", lambda model: None)
    wrong = gradients()
    zero = [key for key in right if not wrong[key].any()]
    assert all(gradient.any() for gradient in right.values()) and len(right) == 14
    assert len(zero) == 10
    assert not [key for key in zero if "o_proj" in key or "down_proj" in key]
