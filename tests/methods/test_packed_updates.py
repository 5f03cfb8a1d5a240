"""Packed updates: the gradients of a padded batch, without its padding and logits."""

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.methods import instruction_tuning, packed_updates
from course_lib.models import quantization


def tiny_llama(seed=0):
    """A Llama of two layers with grouped heads, 97 words."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).train()


def rows(lengths=(9, 5, 14, 5), answer=3, seed=0):
    """Token lists whose last ``answer`` tokens are to be learned."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for n in lengths:
        ids = torch.randint(1, 97, (n,), generator=generator).tolist()
        made.append(dict(input_ids=ids, labels=[-100] * (n - answer) + ids[-answer:]))
    return made


def padded(some):
    """The batch as a collator makes it: padding on the left."""
    longest = max(len(row["labels"]) for row in some)
    fill = [longest - len(row["labels"]) for row in some]
    columns = {
        "input_ids": [[0] * n + row["input_ids"] for n, row in zip(fill, some)],
        "labels": [[-100] * n + row["labels"] for n, row in zip(fill, some)],
        "attention_mask": [[0] * n + [1] * (longest - n) for n in fill],
    }
    return {name: torch.tensor(values) for name, values in columns.items()}


def gradients(model):
    """All gradients in one vector; they are cleared."""
    learning = [p for p in model.parameters() if p.requires_grad]
    found = torch.cat([p.grad.flatten() for p in learning])
    model.zero_grad(set_to_none=True)
    return found


def adapted(kind):
    """A tiny model that learns: whole, by LoRA, by LoRA beside four-bit layers."""
    model = tiny_llama()
    if kind == "nf4":
        quantization.quantize_linear(model)
    if kind != "full":
        model = instruction_tuning.with_lora(model, r=4)
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.add_(0.05 * torch.randn(p.shape))
    return model.train()


@pytest.mark.parametrize("kind", ["full", "lora", "nf4"])
@pytest.mark.parametrize("tokens", [8, 1000])
def test_loss_and_gradients_are_those_of_the_padded_batch(kind, tokens):
    model, some = adapted(kind), rows()
    expected = model(**padded(some)).loss
    expected.backward()
    wanted = gradients(model)
    loss = packed_updates.backward(model, some, tokens)
    found = gradients(model)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert (found - wanted).norm() / wanted.norm() < 1e-4
    assert wanted.norm() > 0.01


def test_the_model_goes_on_as_before():
    model, some = adapted("lora"), rows()
    before = model(**padded(some)).logits
    packed_updates.backward(model, some)
    assert torch.equal(model(**padded(some)).logits, before)


def test_the_output_matrix_sees_the_labelled_tokens_alone():
    model, some, seen = adapted("lora"), rows(), []
    model.get_output_embeddings().register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].shape[1])
    )
    packed_updates.backward(model, some, tokens=1000)
    assert seen == [3 * len(some)]


def test_groups_hold_every_sequence_once_and_keep_the_bound():
    sequences = [(list(range(n)),) for n in (3, 9, 4, 30, 7, 2)]
    made = packed_updates.groups(sequences, tokens=10)
    sizes = [sorted(len(s) for (s,) in group) for group in made]
    assert sorted(size for group in sizes for size in group) == [2, 3, 4, 7, 9, 30]
    assert all(sum(group) <= 10 or group == [30] for group in sizes)
    assert len(made) == 4


def test_no_label_at_all_is_refused():
    row = dict(input_ids=[1, 2, 3], labels=[5, -100, -100])  # none for the first token
    with pytest.raises(CourseError, match="no token"):
        packed_updates.backward(tiny_llama(), [row])
