"""The recipe of the language model, in miniature."""

import dataclasses

import pytest
import torch

from course_lib import files
from course_lib.course import cli
from course_lib.errors import CourseError
from course_lib.pretraining import language, prose

TINY = dataclasses.replace(
    language.RECIPES["fab-llama"],
    phases=((300, 16), (100, 8)),
    vocabulary=500,
    sequence=32,
    hidden_size=32,
    intermediate_size=64,
    layers=1,
    heads=2,
    key_value_heads=1,
)
TEXTS = [prose.document(i) for i in range(400)]


def test_the_tokenizer_is_deterministic_splits_digits_and_loses_nothing():
    one, two = (language.tokenizer(TEXTS, 500) for _ in range(2))
    assert one.get_vocab() == two.get_vocab() and len(one) == 500
    for text in (*TEXTS[:50], "Lot A4711:\n40 µm, «neu»"):
        ids = one(text)["input_ids"]
        assert ids[0] == one.bos_token_id
        assert one.decode(ids, skip_special_tokens=True) == text
    assert one.convert_ids_to_tokens(one("4711")["input_ids"][1:]) == list("4711")


def test_packed_rows_are_the_documents_end_to_end():
    made = language.tokenizer(TEXTS, 500)
    rows = language.packed(made, TEXTS[:20], 32)
    assert rows.shape[1] == 32 and rows.dtype == torch.int64
    flat = [
        t for text in TEXTS[:20] for t in (*made(text)["input_ids"], made.eos_token_id)
    ]
    assert rows.flatten().tolist() == flat[: rows.numel()]
    assert len(flat) - rows.numel() < 32


def test_the_loss_of_a_text_does_not_depend_on_its_company():
    made, model = language.tokenizer(TEXTS, 500), language.build(TINY)
    together = language.text_losses(model, made, TEXTS[:6])
    for i, text in enumerate(TEXTS[:6]):
        assert language.text_losses(model, made, [text])[0] == pytest.approx(
            together[i], rel=1e-4
        )
    text = TEXTS[0]
    ids = torch.tensor([[*made(text)["input_ids"], made.eos_token_id]])
    with torch.no_grad():
        assert together[0] == pytest.approx(
            model(input_ids=ids, labels=ids).loss.item(), rel=1e-4
        )


@pytest.mark.slow
def test_a_recipe_writes_a_folder_that_transformers_loads(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setitem(language.RECIPES, "fab-llama", TINY)
    monkeypatch.setattr(language, "HELD_OUT_TEXTS", 50)
    said = []
    folder = language.run("fab-llama", out=tmp_path, report=said.append)
    assert folder == tmp_path / "fab-llama" and said
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    made = AutoTokenizer.from_pretrained(folder)
    card = files.read_json(folder / "card.json")
    assert model.num_parameters() == card["parameters"]
    assert card["sha256"] == files.sha256(folder / "model.safetensors")
    assert language.held_out_loss(model, made, 50) == pytest.approx(
        card["held_out_loss"], abs=1e-3
    )
    untrained = language.held_out_loss(language.build(TINY), made, 50)
    assert card["held_out_loss"] < untrained - 0.5
    assert "nats a token" in (folder / "README.md").read_text("utf-8")
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_unknown_recipes(capsys):
    with pytest.raises(CourseError, match="no recipe called 'gpt'"):
        language.run("gpt")
    assert cli.main(["pretrain", "gpt"]) == 1
    assert "fab-llama" in capsys.readouterr().err
