"""The configuration of a training job: what it accepts, and what it says otherwise."""

import ast
import json
import re
import types

import jsonschema
import nbformat
import pytest
import tiny
import yaml

from course_lib import paths
from course_lib.course import cli
from course_lib.errors import CourseError
from course_lib.jobs import (
    anomaly_configuration,
    assembly,
    configuration,
    language_configuration,
    pretrain_configuration,
)
from course_lib.training import AUGMENTATIONS, schedules


def written(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("task", ["images", "text"])
def test_the_example_is_the_default_and_names_every_field_of_its_task(task, tmp_path):
    text = configuration.example(task)
    config = configuration.load(written(tmp_path, text))
    assert config == configuration.from_dict({"task": task})
    missing = set(configuration.FIELDS) - set(yaml.safe_load(text))
    other = "text" if task == "images" else "images"
    assert missing == set(configuration.ONLY[other])
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(comments) >= len(yaml.safe_load(text))


def test_every_field_of_the_curriculum_is_there():
    assert set(configuration.FIELDS) >= {
        "model", "weights", "strategy", "unfreeze", "head_rate", "backbone_rate",
        "layer_decay", "warmup", "schedule", "weight_decay", "dropout", "epochs",
        "patience", "precision", "batch_size",
    }  # fmt: skip


def test_a_configuration_survives_its_own_file(tmp_path):
    config = configuration.from_dict(
        {"strategy": "gradual", "unfreeze": {2: "layer4", 3: ["layer3", "layer2"]},
         "epochs": 5, "groups": "tool", "patience": None, "clip_norm": 1}
    )  # fmt: skip
    assert config.unfreeze == {2: ("layer4",), 3: ("layer3", "layer2")}
    assert config.groups == ("tool",) and config.clip_norm == 1.0
    again = configuration.load(written(tmp_path, config.to_yaml()))
    assert again == config
    json.dumps(config.to_dict())


def test_strategies_have_the_names_of_the_lessons_and_old_ones_are_understood():
    config = configuration.from_dict({"strategy": "last", "last_blocks": 2})
    assert (config.strategy, config.last_blocks) == ("last_stage", 2)
    assert configuration.from_dict({"strategy": "head"}).strategy == "frozen"
    scratch = configuration.from_dict({"strategy": "scratch"})
    assert scratch.weights == "random"


def test_lite0_is_the_default_for_pictures(monkeypatch):
    assert configuration.from_dict({}).model == "imagenet/efficientnet-lite0"
    monkeypatch.setenv("COURSE_PROFILE", "full")
    assert configuration.from_dict({}).model == "torchvision/resnet50"


def test_numbers_as_people_write_them():
    config = configuration.from_dict(
        {"head_rate": "1e-3", "weight_decay": 0, "baseline_rates": ["3e-4", 1]}
    )
    assert config.head_rate == 1e-3 and config.weight_decay == 0.0
    assert config.baseline_rates == (3e-4, 1.0)
    assert configuration.from_dict({}) == configuration.from_dict(None)


BAD = {
    "epoch: 3": ("no key 'epoch'", "'epochs'?"),
    "head_rat: 0.1": ("no key 'head_rat'", "'head_rate'?"),
    "qqq: 1": ("no key 'qqq'", "one of task, model"),
    "epochs: many": ("epochs is 'many'", "a whole number >= 1"),
    "epochs: 2.5": ("epochs is 2.5", "a whole number"),
    "epochs: true": ("epochs is True", "a whole number"),
    "epochs: 0": ("epochs is 0", ">= 1"),
    "head_rate: -1": ("head_rate is -1", "above 0"),
    "head_rate: fast": ("head_rate is 'fast'", "above 0"),
    "head_rate: .nan": ("head_rate is nan", "above 0"),
    "dropout: 1.5": ("dropout is 1.5", "0 to 0.9"),
    "strategy: graduall": ("strategy is 'graduall'", "write strategy: gradual"),
    "baseline: maybe": ("baseline is 'maybe'", "true or false"),
    "split: [0.7, 0.2]": ("split is [0.7, 0.2]", "three shares"),
    "split: [0.7, 0.2, 0.2]": ("split is", "sum to 1"),
    "split: 3": ("split is 3", "three shares"),
    "baseline_rates: []": ("baseline_rates is []", "a list of rates"),
    "unfreeze: {2: layer4}": ("unfreeze is given", "strategy: gradual"),
    "strategy: head_then_full\nepochs: 1": ("epochs is 1", "2 or more"),
    "strategy: head_then_full\npatience: 1": ("patience is 1", "2 or more"),
    "strategy: head_then_full\nweights: random": ("weights is random", "full"),
    "strategy: head_then_full\nunfreeze: {2: layer4}": (
        "unfreeze is given",
        "strategy: gradual",
    ),
    "strategy: gradual\nunfreeze: {30: layer4}": ("before epoch 30", "1 to 19"),
    "strategy: gradual\nunfreeze: {0: layer4}": ("unfreeze is", "from 1 on"),
    "strategy: gradual\nunfreeze: [layer4]": ("unfreeze is", "{2: layer4"),
    "strategy: gradual\nunfreeze: {2: }": ("unfreeze is", "{2: layer4"),
    "strategy: frozen\nbackbone_rate: 0.01": (
        "backbone_rate is given",
        "last_stage, full",
    ),
    "strategy: frozen\nlayer_decay: 0.5": ("layer_decay is given", "another strategy"),
    "last_blocks: 2": ("last_blocks is given", "strategy: last_stage"),
    "weights: random\nstrategy: frozen": ("weights is random", "strategy: full"),
    "strategy: scratch\nweights: pretrained": ("weights is pretrained", "random"),
    "task: text\naugment: flip": ("augment is flip", "none"),
    "robust: wise_ft": ("robust is 'wise_ft'", "write robust: wise-ft"),
    "robust: true": ("robust is True", "one of none, wise-ft"),
    "robust: wise-ft\nstrategy: frozen": ("strategy is frozen", "last_stage, full"),
    "robust: wise-ft\nstrategy: scratch": ("weights are random", "pretrained"),
    "robust: wise-ft\nhead_reads: stages": ("head_reads too", "reads the last layer"),
    "robust: wise-ft\nalphas: [0, 1.5]": ("alphas is [0, 1.5]", "weights from 0 to 1"),
    "alphas: [0.5]": ("alphas is given", "robust: wise-ft"),
    "soup: 1": ("soup is 1", "from 2 to 20"),
    "soup: all": ("soup is 'all'", "from 2 to 20"),
    "soup: 3\nstrategy: frozen": ("soup is given", "nothing to mix"),
    "soup: 3\nweights: random\nstrategy: full": (
        "soup is given",
        "no pretrained start",
    ),
    "soup: 3\nsoup_factors: [0]": ("soup_factors is [0]", "factors above 0"),
    "soup_factors: [1, 2]": ("soup_factors is given", "set soup: 3"),
    "task: sound": ("task is 'sound'", "images, text"),
    "batch_size: 1": ("batch_size is 1", "2 or more"),
    "image_size: 4": ("image_size is 4", "16 to 1024"),
    "seed: -1": ("seed is -1", ">= 0"),
    "model: 3": ("model is 3", "a name"),
    "epochs: 3\nepochs: 4": ("stands there twice", "line 2"),
    "epochs: [1": ("line", "key: value"),
    "- epochs": ("holds a list", "key: value"),
    "just words": ("holds a str", "key: value"),
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_wrong_is_told_with_file_expectation_and_remedy(text, tmp_path, capsys):
    path = written(tmp_path, text)
    line = ["train", "--config", str(path), "--data", str(tmp_path / "no")]
    assert cli.main([*line, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"course train: {path}") and "Traceback" not in said
    assert "\nExpected: " in said and "\nDo: " in said
    for words in BAD[text]:
        assert words in said
    assert not (tmp_path / "out").exists()


# -- the schema for editors -------------------------------------------------------


def known_to_the_schema(values):
    """Does the JSON Schema accept these values?  Keys become texts, as in an editor."""
    editor = jsonschema.Draft202012Validator(configuration.schema())
    return editor.is_valid(json.loads(json.dumps(values)))


def configurations(text):
    """The pieces of code in a page that are configurations, whole or in part."""
    pieces = re.findall(r"`([^`\n]+)`", text)
    pieces += re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    return [piece for piece in pieces if is_configuration(piece)]


def is_configuration(text):
    """Are these lines `key: value` with the keys of a job?"""
    if not re.match("[a-z#]", text):  # a piece of an f-string
        return False
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(values, dict) and bool(set(values) & set(configuration.FIELDS))


def examples():
    """{where: text} of every configuration in README, docs and notebooks."""
    found = {f"--example {t}": configuration.example(t) for t in ("images", "text")}
    for page in (paths.ROOT / "README.md", *paths.ROOT.glob("docs/*.md")):
        for i, text in enumerate(configurations(page.read_text("utf-8"))):
            found[f"{page.name} {i}"] = text
    for path in paths.ROOT.glob("notebooks/*.ipynb"):
        for i, cell in enumerate(nbformat.read(path, 4).cells):
            texts = configurations(cell.source)
            if cell.cell_type == "code":
                strings = (
                    node.value
                    for node in ast.walk(ast.parse(cell.source))
                    if isinstance(node, ast.Constant) and isinstance(node.value, str)
                )
                texts = [text for text in strings if is_configuration(text)]
            found |= {f"{path.name} {i} {k}": text for k, text in enumerate(texts)}
    return found


OTHERS = {
    "language": (
        language_configuration.LanguageConfig,
        language_configuration.from_dict,
    ),
    "anomaly": (anomaly_configuration.AnomalyConfig, anomaly_configuration.from_dict),
    "pretrain": (
        pretrain_configuration.PretrainConfig,
        pretrain_configuration.from_dict,
    ),
}


@pytest.mark.slow
def test_every_example_configuration_fits_schema_and_reader():
    jsonschema.Draft202012Validator.check_schema(configuration.schema())
    shown = examples()
    for page in ("tables.md", "pictures.md", "13_capstone"):
        assert any(where.startswith(page) for where in shown), page
    for where, text in shown.items():
        values = yaml.safe_load(text)
        if values.get("task") in OTHERS:
            kind, read = OTHERS[values["task"]]
            jsonschema.validate(values, configuration.schema(kind))
            read(values, where)
            continue
        assert known_to_the_schema(values), where
        configuration.from_dict(values, where)


WRONG = [
    "epoch: 3", "head_rat: 0.1", "epochs: many", "epochs: 2.5", "epochs: true",
    "epochs: 0", "head_rate: -1", "head_rate: fast", "head_rate: true",
    "dropout: 1.5", "strategy: graduall", "baseline: maybe", "split: [0.7, 0.2]",
    "split: 3", "split: [1, 0, 0]", "baseline_rates: []", "baseline_rates: [11]",
    "strategy: gradual\nunfreeze: {0: layer4}", "strategy: gradual\nunfreeze: [stem]",
    "strategy: gradual\nunfreeze: {2: []}", "task: sound", "image_size: 4",
    "seed: -1", "model: 3", "model: ' '", "groups: [1]", "value_range: [1, 2, 3]",
    "robust: wise", "soup: 1", "soup: 2.5", "alphas: [2]", "alphas: []",
    "soup_factors: [0]", "value_range: x", "clip_norm: 0", "patience: 0", "onnx: 'yes'",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("text", WRONG)
def test_schema_and_reader_refuse_the_same(text):
    values = yaml.safe_load(text)
    assert not known_to_the_schema(values)
    with pytest.raises(CourseError):
        configuration.from_dict(values)


def test_what_a_reader_takes_beside_a_list_the_schema_takes_too():
    for text in (
        "groups: tool",
        "baseline_rates: 0.01",
        "clip_norm: ",
        "strategy: gradual\nunfreeze: {2: layer4, 3: [layer3, stem]}",
        "value_range: [0, 4095]",
        "weight_decay: 0",
        "robust: wise-ft\nalphas: 0.5",
        "soup: 3\nsoup_factors: [1, 0.1]",
    ):
        values = yaml.safe_load(text)
        assert known_to_the_schema(values), text
        configuration.from_dict(values)


def test_the_augmentations_are_those_that_there_are():
    known = configuration.schema()["properties"]["augment"]["enum"]
    assert tuple(known) == tuple(AUGMENTATIONS)


def test_the_schedules_are_those_that_there_are():
    known = configuration.schema()["properties"]["schedule"]["enum"]
    assert known == [*schedules.DECAYS, "slanted"]


def test_a_schedule_by_name_reaches_the_recipe():
    network, data = tiny.resnet(), tiny.images()
    parts = types.SimpleNamespace(train=data)
    for name in ("linear", "slanted"):
        values = {"schedule": name, "warmup": 0.25, "image_size": 32}
        config = configuration.from_dict(values)
        optimization = assembly.common(config, network, parts).optimization
        factors = [
            schedules.lr_factor(s, 8, optimization.schedule, optimization.warmup)
            for s in range(8)
        ]
        slanted = schedules.slanted_triangular()
        expected = [slanted(s, 8) for s in range(8)]
        if name == "linear":
            expected = [0.5, 1, 1, *(1 - k / 6 for k in range(1, 6))]
        assert factors == pytest.approx(expected)


def test_the_schema_is_printed_with_words_for_every_field(capsys):
    assert cli.main(["train", "--schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(json.dumps(configuration.schema()))
    for name, one in printed["properties"].items():
        assert one["description"], name
        assert "enum" in one or one["errorMessage"], name


def test_a_file_that_is_missing_or_no_text(tmp_path, capsys):
    line = ["train", "--data", str(tmp_path)]
    assert cli.main([*line, "--config", str(tmp_path / "no.yaml")]) == 1
    assert "There is no configuration" in capsys.readouterr().err
    binary = tmp_path / "job.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    assert cli.main([*line, "--config", str(binary)]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert cli.main([*line, "--config", str(tmp_path)]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert cli.main(["train", "--config", str(binary)]) == 1
    assert "--data is missing" in capsys.readouterr().err


def test_an_example_is_printed(capsys):
    assert cli.main(["train", "--example", "text"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"] == "minilm"
    assert cli.main(["train", "--example", "sound"]) == 1
    assert "images or text" in capsys.readouterr().err


def test_the_command_says_how_to_go_on_and_how_to_use_several_gpus(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--help"])
    assert stop.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "accelerate launch" in said and "Interrupted at any moment" in said


def test_no_error_is_raised_for_patience_beyond_the_epochs():
    assert configuration.from_dict({"epochs": 2, "patience": 9}).patience == 9


@pytest.mark.parametrize("task", OTHERS)
def test_weights_are_combined_in_jobs_that_classify_alone(task):
    _, read = OTHERS[task]
    with pytest.raises(CourseError, match=f"(?s)images or text, not with task: {task}"):
        read({"task": task, "soup": 3})


def test_an_unknown_task_of_an_example():
    with pytest.raises(CourseError, match="no example"):
        configuration.example("sound")
