"""Packed updates: the gradients of a padded batch, without its padding and logits."""

import pytest
import torch

from course_lib.errors import CourseError
from course_lib.methods import instruction_tuning, packed_updates
from course_lib.models import language_models, quantization


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


def with_beginning(some, n=9, seed=5):
    """The same rows behind a beginning of n tokens that all share."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(1, 97, (n,), generator=generator).tolist()
    return [
        dict(input_ids=first + row["input_ids"], labels=[-100] * n + row["labels"])
        for row in some
    ]


@pytest.mark.parametrize("kind", ["full", "lora", "nf4"])
@pytest.mark.parametrize("tokens", [8, 25, 1000])
@pytest.mark.parametrize(
    "lengths, shared", [((9, 5, 14, 5), 9), ((4, 4), 9), ((9, 9, 1), 8)]
)  # the last: the ninth token predicts a label already
def test_a_shared_beginning_runs_once_and_gives_the_same_gradients(
    kind, tokens, lengths, shared
):
    model, some = adapted(kind), with_beginning(rows(lengths))
    expected = model(**padded(some)).loss
    expected.backward()
    wanted, seen = gradients(model), []
    model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].shape[1])
    )
    loss = packed_updates.backward(model, some, tokens)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert (gradients(model) - wanted).norm() / wanted.norm() < 1e-4
    if tokens == 1000:
        every = [9 + n - 1 for n in lengths]  # the last token predicts nothing
        assert seen == [sum(every) - shared * (len(every) - 1)]


def test_a_label_in_what_all_share_is_learned_by_each():
    """Such a token stands behind the common beginning."""
    model, some = adapted("lora"), with_beginning(rows(), n=20)
    for row in some:
        row["labels"][12] = row["input_ids"][12]
    expected = model(**padded(some)).loss
    expected.backward()
    wanted = gradients(model)
    assert packed_updates.backward(model, some) == pytest.approx(expected.item())
    assert (gradients(model) - wanted).norm() / wanted.norm() < 1e-4


def test_a_short_common_beginning_is_left_where_it_is():
    model, some, seen = adapted("lora"), with_beginning(rows(), n=3), []
    model.get_input_embeddings().register_forward_hook(
        lambda _, inputs, __: seen.append(inputs[0].shape[1])
    )
    packed_updates.backward(model, some, tokens=1000)
    assert seen == [sum(len(row["labels"]) - 1 for row in some)]


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


def test_groups_hold_every_sequence_once_in_nearly_equal_parts():
    sequences = [(list(range(n)),) for n in (3, 9, 4, 0, 14, 7, 5)]
    made = packed_updates.groups(sequences, tokens=21)
    sizes = [sorted(len(s) for (s,) in group) for group in made]
    assert sorted(size for group in sizes for size in group) == [3, 4, 5, 7, 9, 14]
    assert [sum(group) for group in sizes] == [22, 20]


def test_beside_four_bit_layers_of_bitsandbytes():
    """The same gradients, and the same stored constants afterwards."""
    from bitsandbytes.nn import Linear4bit

    model = tiny_llama()
    for name, layer in list(model.named_modules()):
        if type(layer) is torch.nn.Linear and name != "lm_head":
            options = dict(bias=False, compress_statistics=True, quant_type="nf4")
            four = Linear4bit(layer.in_features, layer.out_features, **options)
            four.load_state_dict(layer.state_dict())
            model.set_submodule(name, four.to("cpu"))
    language_models.never_repack(model)
    model = instruction_tuning.with_lora(model, r=4).train()
    states = [p.quant_state for p in model.parameters() if hasattr(p, "quant_state")]
    assert states and all(state.nested for state in states)
    constants = [state.absmax for state in states]
    some = rows()
    expected = model(**padded(some)).loss
    expected.backward()
    wanted = gradients(model)
    loss = packed_updates.backward(model, some, tokens=12)
    found = gradients(model)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert (found - wanted).norm() / wanted.norm() < 1e-4
    assert all(s.nested and s.absmax is c for s, c in zip(states, constants))


def test_no_label_at_all_is_refused():
    row = dict(input_ids=[1, 2, 3], labels=[5, -100, -100])  # none for the first token
    with pytest.raises(CourseError, match="no token"):
        packed_updates.backward(tiny_llama(), [row])
