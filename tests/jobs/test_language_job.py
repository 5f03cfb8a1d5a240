"""A language job from conversations to answers, on a model of 0.2 million numbers."""

import json

import pytest
import tiny
import torch

from course_lib.errors import CourseError
from course_lib.jobs import (
    language_configuration,
    language_export,
    language_job,
    language_prediction,
)
from course_lib.jobs.language_data import one_prompt
from course_lib.methods import packed_updates
from course_lib.models import gguf_files, language_models

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A Llama of two layers, stored in 16 bits."""
    return tiny.llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty prompts with one of two answers."""
    path = tmp_path_factory.mktemp("data") / "toy.jsonl"
    rows = [
        {"prompt": f"wafer {i} {'hot' if i % 2 else 'cold'}", "answer": "AB"[i % 2]}
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(folder, **values):
    usual = dict(
        model=f"hf/{folder}", updates=6, batch_size=4, evaluate_every=3, rate=1e-2,
        evaluate_on=4, test_answers=4, new_tokens=4,
    )  # fmt: skip
    return language_configuration.from_dict(usual | values)


def weights(folder):
    """The merged weights, or the adapter's where nothing was merged."""
    from safetensors.torch import load_file

    merged = folder / "model" / "model.safetensors"
    adapter = folder / "adapter" / "adapter_model.safetensors"
    return load_file(merged if merged.exists() else adapter)


@pytest.mark.slow
@pytest.mark.drawn
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_job_leaves_a_model_that_answers(method, model_folder, data, tmp_path):
    gguf = "f16" if method == "lora" else "none"
    config = settings(model_folder, method=method, gguf=gguf)
    result = language_job.run(config, data, tmp_path)
    assert result.after["loss"] < result.before["loss"]
    assert len(result.after["answers"]) == 4 == len(result.after["right"])
    page = (tmp_path / "report.html").read_text()
    assert "exactly (95 % interval" in page and "<img" in page
    assert (tmp_path / "model" / "README.md").read_text().startswith("# hf/")
    assert (tmp_path / "adapter").exists() == (method != "full")
    export = result.export
    if method == "lora":
        assert export["gguf"]["same_tokens"]
        assert export["gguf"]["largest"] < 1e-4 * export["gguf"]["of"]
    near = 0.05 if method == "qlora" else 0.01
    assert abs(export["merged_loss"] - export["trained_loss"]) < near
    asked = [one_prompt("wafer 3 hot"), one_prompt("a longer prompt, wafer 4 cold")]
    together = language_prediction.answers(tmp_path, asked)
    alone = [language_prediction.answers(tmp_path, [one])[0] for one in asked]
    assert together == alone  # padding on the left changes nothing


@pytest.mark.slow
def test_the_adapter_is_pefts_and_merges_once_into_tied_weights(
    model_folder, data, tmp_path
):
    from peft import PeftModel

    result = language_job.run(settings(model_folder), data, tmp_path)
    kept = weights(tmp_path)
    assert "lm_head.weight" not in kept  # tied: stored once
    base, tokenizer = language_models.load(f"hf/{model_folder}")
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    merged, _, _ = language_export.load(tmp_path)
    ids = torch.tensor([tokenizer("wafer 3 hot")["input_ids"]])
    with torch.no_grad():
        a, b = adapted(input_ids=ids).logits, merged(input_ids=ids).logits
    assert (a - b).abs().max() < 2e-2 * a.abs().max()  # stored in 16 bits
    source, _ = language_models.load(f"hf/{model_folder}")
    assert torch.equal(
        source.model.embed_tokens.weight, merged.model.embed_tokens.weight
    )
    assert str(model_folder) not in json.dumps(result.export)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.slow
@pytest.mark.parametrize("method, at", [("qlora", 5), ("full", 2)])
def test_a_killed_job_ends_with_the_same_weights(
    method, at, model_folder, data, tmp_path
):
    config = settings(model_folder, method=method, merged=method == "full")
    whole = language_job.run(config, data, tmp_path / "whole")

    def stop(curve):
        if len(curve.train) == at:
            raise Killed

    with pytest.raises(Killed):
        language_job.run(config, data, tmp_path / "killed", progress=stop)
    again = language_job.run(config, data, tmp_path / "killed")
    assert again.curve["train"] == whole.curve["train"]
    assert again.after["answers"] == whole.after["answers"]
    first, second = (weights(tmp_path / name) for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_another_job_in_the_folder_is_refused(model_folder, data, tmp_path):
    config = settings(model_folder, merged=False, updates=1)
    language_job.run(config, data, tmp_path)
    assert not (tmp_path / "model").exists()
    other = settings(model_folder, merged=False, updates=2)
    with pytest.raises(CourseError, match="holds another job"):
        language_job.run(other, data, tmp_path)


def test_too_little_memory_is_told_before_anything_is_written(
    model_folder, data, tmp_path
):
    config = settings(model_folder, method="full", memory_gb=0.4)
    with pytest.raises(CourseError, match="(?s)does not fit.*method: lora") as raised:
        language_job.run(config, data, tmp_path / "out")
    assert "GB are there" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_little_time_means_fewer_updates(model_folder, data):
    values = dict(updates=10_000, evaluate_every=9999, minutes=0.005, test_answers=0)
    result = language_job.run(settings(model_folder, **values), data)
    assert result.curve["shortened"] and 4 <= result.curve["number"] < 10_000
    assert len(result.curve["train"]) == result.curve["number"]
    assert any("fitted into" in note for note in result.notes)


def test_packing_that_changes_the_loss_is_not_used(model_folder, data, monkeypatch):
    monkeypatch.setattr(packed_updates, "backward", lambda *_, **__: 1.0)
    result = language_job.run(settings(model_folder, updates=2), data)
    assert any("padded batches" in note for note in result.notes)
    assert result.curve["train"][0] != 1.0


def test_an_encoder_is_refused(data, tmp_path):
    from transformers import BertConfig, BertLMHeadModel

    tokenizer = tiny.word_pieces()
    sizes = dict(hidden_size=32, num_hidden_layers=1, intermediate_size=32)
    sizes |= dict(vocab_size=len(tokenizer), num_attention_heads=2)
    config = BertConfig(initializer_range=0.5, **sizes)
    BertLMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CourseError, match="sees the tokens behind"):
        language_job.run(settings(tmp_path), data)


def test_a_diverging_run_is_told(model_folder, data):
    config = settings(model_folder, method="full", rate=10, clip_norm=1e5, updates=40)
    config = config.model_copy(update={"rate": 1e9})
    with pytest.raises(CourseError, match="The loss is nan|The loss is inf"):
        language_job.run(config, data)


def test_quantised_gradients_are_the_same_after_an_evaluation(model_folder):
    config = settings(model_folder, method="qlora")
    model = language_job.loaded(config, torch.device("cpu"), torch.bfloat16)
    row = dict(input_ids=[5, 6, 7, 8, 9], labels=[-100, -100, 7, 8, 9])

    def gradient():
        packed_updates.backward(model.train(), [row])
        found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        return found

    first = gradient()
    with torch.no_grad():
        model.eval()(input_ids=torch.tensor([[5, 6, 7]]))
    assert all(torch.equal(a, b) for a, b in zip(first, gradient(), strict=True))


def test_expanded_layers_answer_the_same_and_are_put_back(model_folder):
    config = settings(model_folder, method="qlora")
    model = language_job.loaded(config, torch.device("cpu"), torch.float32)
    ids, before = torch.tensor([[5, 6, 7, 8]]), dict(model.named_modules())
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
        with language_models.expanded(model):
            kinds = {type(layer).__module__ for layer in model.modules()}
            found = model(input_ids=ids).logits
    assert any("bitsandbytes" in type(m).__module__ for m in before.values())
    assert not any("bitsandbytes" in name for name in kinds)
    assert torch.equal(found, expected)
    assert all(layer is before[name] for name, layer in model.named_modules())


# -- GGUF -------------------------------------------------------------------------


@pytest.mark.slow
def test_eight_bits_read_back_close(model_folder, tmp_path):
    path = gguf_files.write(model_folder, tmp_path / "m.gguf", "q8_0")
    model, tokenizer = language_models.load(f"hf/{model_folder}")
    found = gguf_files.compared(path, model, tokenizer, ["wafer 3 hot 27", "Lot: A17"])
    assert found["same_tokens"] and 0 < found["largest"] < 0.1 * found["of"]


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("model_type", "qwen2", "the architecture is qwen2"),
        ("rope_parameters", {"rope_type": "yarn"}, "stretched"),
        ("attention_bias", True, "biases"),
    ],
)
def test_what_gguf_cannot_hold_is_told(key, value, said, model_folder, tmp_path):
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(CourseError, match=said):
        gguf_files.write(folder, tmp_path / "m.gguf")
    assert not list(tmp_path.glob("*.gguf")) and not list(tmp_path.glob(".*.part"))


# -- the command ------------------------------------------------------------------


@pytest.mark.slow
def test_train_and_predict_on_the_command_line(model_folder, data, tmp_path, capsys):
    import yaml

    from course_lib.course import cli

    file, out = tmp_path / "job.yaml", tmp_path / "out"
    values = settings(model_folder).to_dict() | {"rank": 4}
    values = {k: v for k, v in values.items() if v is not None and k != "epochs"}
    file.write_text(yaml.safe_dump(values))
    command = ["train", "--config", file, "--data", data, "--out", out]
    assert cli.main([*map(str, command)]) == 0
    assert "test prompts exactly" in capsys.readouterr().out
    assert cli.main(["predict", "--model", str(out), "--prompt", "wafer 1 hot"]) == 0
    assert capsys.readouterr().out
    command = ["predict", "--model", out, "--data", data, "--json"]
    assert cli.main([*map(str, command)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 40 and set(rows[0]) == {"example", "prompt", "answer"}
    assert cli.main(["predict", "--model", str(out)]) == 1
    assert "--prompt" in capsys.readouterr().err
