"""Tables through `course train`, `predict` and `diagnose`: labels, columns, lengths."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from PIL import Image
from test_train_export import predicted

from course_lib import datasets, training
from course_lib.course import cli
from course_lib.datasets import labels
from course_lib.diagnose import diagnosis, modality
from course_lib.errors import CourseError
from course_lib.jobs import assembly, configuration, exported, own_data, pipeline
from course_lib.models import text, zoo
from course_lib.models.encoders import minilm_folder, text_encoder


def encoder(folder, kind="Bert", **values):
    """A text encoder of two layers, as a folder that the zoo can read."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm_folder())
    shape = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2,
                 num_attention_heads=2, intermediate_size=16)  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**shape | values)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}Model")(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("encoders")
    return {n: encoder(root / str(n), max_position_embeddings=n) for n in (40, 512)}


@pytest.fixture(autouse=True)
def tiny_models(monkeypatch, folders, undrawn):
    load = zoo.load

    def chosen(name=None, num_classes=None, seed=0, pretrained=True):
        if name in ("tiny/40", "tiny/512"):
            where = str(folders[int(name[5:])])
            return text_encoder(where, name, pretrained, {}, True)
        if name == "tiny/resnet":
            return tiny.resnet(seed=seed)
        return load(name, num_classes, seed, pretrained)

    monkeypatch.setattr(zoo, "load", chosen)
    monkeypatch.setenv("CI", "1")


def config(**values):
    return configuration.from_dict(
        dict(task="text", model="tiny/512", epochs=1, batch_size=8, baseline=False,
             onnx=False, strategy="frozen") | values
    )  # fmt: skip


def table(path, data, head=("text", "label")):
    with open(path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *data])
    return path


def some(n=24, spelling=lambda label, i: label, words=2):
    kinds = ("leak", "noise", "heat")
    return [
        (f"{'long ' * words}{kinds[i % 3]} number {i}", spelling(kinds[i % 3], i))
        for i in range(n)
    ]


def train(tmp_path, capsys, data, **values):
    """(exit code, what was printed) of `course train`."""
    job = tmp_path / "job.yaml"
    job.write_text(config(**values).to_yaml(), encoding="utf-8")
    line = ["train", "--config", job, "--data", data, "--out", tmp_path / "out"]
    code = cli.main([*map(str, line)])
    said = capsys.readouterr()
    return code, said.out if code == 0 else said.err


# -- labels -----------------------------------------------------------------------

NUMBER = {"heat": "0", "leak": "1", "noise": "2"}
SPELLINGS = {
    "case": lambda label, i: label.upper() if i % 4 == 0 else label,
    "blanks": lambda label, i: f" {label}\u00a0" if i % 4 == 0 else label,
    "numbers": lambda label, i: NUMBER[label] + ".0" * (i % 4 == 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPELLINGS)
def test_classes_of_several_spellings_are_one_and_said_everywhere(
    tmp_path, capsys, kind
):
    path = table(tmp_path / "t.csv", some(spelling=SPELLINGS[kind]))
    code, said = train(tmp_path, capsys, path)
    assert code == 0, said
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    expected = list(NUMBER.values() if kind == "numbers" else NUMBER)
    assert result["data"]["classes"] == expected
    (note,) = (one for one in result["notes"] if "merged" in one)
    assert note.count("(6)") == note.count("(2)") == 3 and note in said
    page = (tmp_path / "out" / "report.html").read_text()
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "in several ways and merged" in page and note in card


def test_the_rule_for_labels_is_a_key_of_the_configuration(tmp_path, capsys):
    known = configuration.schema()["properties"]["labels"]["enum"]
    assert tuple(known) == labels.RULES
    data = [(f"text {i}", "aAb"[i % 3]) for i in range(30)]
    path = table(tmp_path / "t.csv", data)
    code, said = train(tmp_path, capsys, path)
    assert code == 1 and "`labels: merge` in" in said and "job.yaml" in said
    for rule, classes in (("merge", ("a", "b")), ("as_written", ("A", "a", "b"))):
        parts = own_data.read(path, config(labels=rule))
        assert parts.classes == classes and any("'A' (10)" in n for n in parts.notes)


def test_folders_follow_the_same_rule(tmp_path, capsys, monkeypatch):
    for k, name in enumerate(("a", "\uff21", "Leak x", "leak  x")):
        (tmp_path / "p" / name).mkdir(parents=True)
        for i in range(4):
            image = Image.new("RGB", (16, 16), (50 * k, 20 * i, 9))
            image.save(tmp_path / "p" / name / f"{k}{i}.png")
    job = tmp_path / "job.yaml"
    job.write_text("task: images\n")
    line = ["--data", str(tmp_path / "p"), "--out", str(tmp_path / "out")]
    assert cli.main(["train", "--config", str(job), *line]) == 1
    said = capsys.readouterr().err
    assert "'a' (4)" in said and "`labels: merge` in" in said
    monkeypatch.setattr(modality, "check_backbone", lambda *_: None)
    assert cli.main(["diagnose", "--backbone", "tiny/resnet", *line]) == 1
    assert "--labels merge" in capsys.readouterr().err
    with pytest.raises(CourseError, match="labels='merge'"):
        datasets.from_folder(tmp_path / "p")
    with pytest.warns(UserWarning, match="'Leak x' .4., 'leak  x' .4."):
        data = datasets.from_folder(tmp_path / "p", 16, labels="merge")
    assert [len(data), len(data.classes)] == [16, 2]
    kept = configuration.from_dict({"labels": "as_written"})
    parts = own_data.read(tmp_path / "p", kept, 16)
    assert len(parts.classes) == 4 and any("kept apart" in n for n in parts.notes)


@pytest.mark.parametrize(
    "data, words",
    [
        ([("a", "x"), ("b", "x")], "only the label 'x'"),
        ([(f"t {i}", f"class {i % 9}") for i in range(20)], "(7 of 9 classes)"),
        ([(f"t {i}", str(i / 7)) for i in range(30)], "free text are no classes"),
        ([("a", "x"), ("", "y"), ("b", "")], "2 of 3 rows"),
    ],
)
def test_labels_that_cannot_be_trained_on_are_all_named(tmp_path, capsys, data, words):
    code, said = train(tmp_path, capsys, table(tmp_path / "t.csv", data))
    assert code == 1 and words in said and "\nDo: " in said and "Traceback" not in said


@pytest.mark.slow
def test_empty_rows_are_left_out_when_the_configuration_says_so(tmp_path, capsys):
    path = table(tmp_path / "t.csv", [*some(), ("", "leak"), ("a", " ")])
    code, said = train(tmp_path, capsys, path)
    assert code == 1 and "`skip_empty: true` in" in said and "row 26" in said
    code, said = train(tmp_path, capsys, path, skip_empty=True)
    assert code == 0 and "Rows left out, 2: row 26: 'text' is empty" in said
    assert "24 texts of 3 classes" in said


# -- columns ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_model_remembers_its_columns(tmp_path, capsys):
    head = ("id", "Complaint", "kind")
    data = [(str(i), *row) for i, row in enumerate(some())]
    path = table(tmp_path / "t.csv", data, head)
    few = table(tmp_path / "few.csv", [(i, "pump", "x") for i in "ab"], head)
    code, said = train(tmp_path, capsys, few)
    assert code == 1 and "no column 'text'" in said and "image" not in said
    assert "`text_column: NAME` in" in said and "job.yaml" in said
    named = dict(text_column="complaint ", label_column="kind")
    code, said = train(tmp_path, capsys, path, **named)
    assert code == 0
    stored = json.loads((tmp_path / "out" / "model" / "model.json").read_text())
    assert stored["columns"] == {"text": "Complaint", "label": "kind"}

    answers = predicted(capsys, "--model", tmp_path / "out", "--data", path)
    assert len(answers) == 24 and answers[0]["example"] == "row 2"
    line = ["predict", "--model", str(tmp_path / "out"), "--data"]
    other = table(tmp_path / "o.csv", [("a", "b")], ("message", "from"))
    assert cli.main([*line, str(other)]) == 0
    assert "The texts are column 'message'" in capsys.readouterr().err
    strange = table(tmp_path / "s.csv", [("a", "b")], ("one", "two"))
    assert cli.main([*line, str(strange)]) == 1
    said = capsys.readouterr().err
    assert "no column 'Complaint'" in said and "--column NAME" in said
    assert cli.main([*line, str(strange), "--column", "two"]) == 0


@pytest.mark.slow
def test_predict_reads_what_train_reads_and_says_what_it_left_out(tmp_path, capsys):
    result = pipeline.run(config(), table(tmp_path / "t.csv", some()), tmp_path / "out")
    assert result.data["columns"] == {"text": "text", "label": "label"}
    line = ["predict", "--model", str(tmp_path / "out"), "--data"]
    frame = pd.DataFrame({"text": ["a", "", "c"], "id": ["1", "2", "3"]})
    frame.to_parquet(tmp_path / "n.parquet")
    frame.to_excel(tmp_path / "n.xlsx", index=False, sheet_name="new")
    frame.to_csv(tmp_path / "n.csv", index=False, sep=";", encoding="utf-16")
    frame.to_json(tmp_path / "n.jsonl", orient="records", lines=True)
    for name in ("n.parquet", "n.xlsx", "n.csv", "n.jsonl"):
        assert cli.main([*line, str(tmp_path / name)]) == 1
        assert "--skip-empty" in capsys.readouterr().err
        assert cli.main([*line, str(tmp_path / name), "--skip-empty"]) == 3
        said = capsys.readouterr()
        assert len(said.out.splitlines()) == 3 and "Rows left out, 1" in said.err
    assert cli.main([*line, str(tmp_path / "n.xlsx"), "--sheet", "old"]) == 1
    assert "--sheet NAME" in capsys.readouterr().err
    (tmp_path / "n.txt").write_bytes(
        "Größe\u2028x\r\n\r\nb\n".encode("cp1252", "ignore")
    )
    assert cli.main([*line, str(tmp_path / "n.txt")]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 3 and "cp1252" in said.err
    assert "Empty lines passed over: 1" in said.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: p.write_text('text,label\n"a,x\nb,y\n'), "row 2"),
        (lambda p: p.write_text("text,label\na, b,x\nc,y\n"), "row 2: 3 fields"),
        (lambda p: p.write_text("a,x\nb,y\nc,x\n"), "header line missing"),
        (lambda p: p.write_bytes(b"text,label\na\0,x\nb,y\n"), "NUL"),
        (lambda p: p.write_text("text,text,label\na,b,x\nc,d,y\n"), "2 columns"),
    ],
)
def test_a_doubtful_table_is_refused_before_anything_is_trained(
    tmp_path, capsys, monkeypatch, make, words
):
    def refuse(*_, **__):
        raise AssertionError("trained on bad data")

    monkeypatch.setattr(training, "fit", refuse)
    make(tmp_path / "t.csv")
    code, said = train(tmp_path, capsys, tmp_path / "t.csv")
    assert code == 1 and words in said and "\nDo: " in said
    assert not (tmp_path / "out" / "result.json").exists()


def test_diagnose_settles_labels_and_names_its_own_options(
    tmp_path, capsys, monkeypatch
):
    seen = {}

    def looked_at(backbone, samples, settings, **_):
        seen["images"] = samples.examples
        raise CourseError("enough.\nExpected: no more.\nDo: nothing.")

    monkeypatch.setattr(diagnosis, "diagnose", looked_at)
    monkeypatch.setattr(modality, "check_backbone", lambda *_: None)
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    names = ["dark", "Dark ", "light", "light"]
    data = [(f"{i}.png", names[i]) for i in range(4)]
    path = table(tmp_path / "t.csv", data, ("Image", "class"))
    line = ["diagnose", "--backbone", "tiny/resnet", "--size", "16", "--data"]
    assert cli.main([*line, str(path)]) == 1
    assert "'dark' (1), 'Dark ' (1)" in capsys.readouterr().out
    assert seen["images"].classes == ("dark", "light")
    assert cli.main([*line, str(path), "--label-column", "kind"]) == 1
    assert "--label-column NAME" in capsys.readouterr().err
    table(path, [("0.png", "a"), ("1.png", "A")], ("image", "label"))
    assert cli.main([*line, str(path)]) == 1
    assert "--labels merge" in capsys.readouterr().err
    assert cli.main([*line, str(path), "--labels", "as_written"]) == 1
    assert seen["images"].classes == ("A", "a")


# -- how long texts are -----------------------------------------------------------


def test_tokens_are_counted_and_the_limit_is_the_encoders_own(tmp_path):
    backbone = zoo.load("tiny/40", 2)
    assert text.token_limit(backbone) == 40
    assert text.token_limit(zoo.load("tiny/512")) == 512
    lengths = text.token_lengths(backbone, ["one two", "word " * 90])
    assert lengths.tolist() == [4, 92]
    where = encoder(tmp_path / "r", "Roberta", max_position_embeddings=34,
                    pad_token_id=1)  # fmt: skip
    roberta = text_encoder(str(where), "r", False, {}, True)
    assert text.token_limit(roberta) == 32  # positions begin behind padding's
    cut, words = text.cut_share(np.array([3, 9, 10]), 9)
    assert cut == 1 and words == "1 of 3 texts (33.3 %)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, words, given, chosen, cut, said",
    [
        ("tiny/512", 10, None, 128, 0, "no text is cut"),
        ("tiny/512", 200, None, 208, 0, "no text is cut"),
        ("tiny/512", 600, None, 512, 3, "the most that tiny/512 reads"),
        ("tiny/40", 10, None, 40, 0, "no text is cut"),
        ("tiny/40", 50, None, 40, 3, "3 of 3 texts (100.0 %)"),
        ("tiny/512", 200, 64, 64, 3, "as the configuration says: 3 of 3"),
        ("tiny/512", 200, 300, 300, 0, "as the configuration says: no text"),
    ],
)
def test_the_limit_follows_the_data(model, words, given, chosen, cut, said):
    asked = config(model=model, max_length=given)
    backbone = zoo.load(model, 2)
    found = assembly.fitted_length(asked, backbone, ["word " * words] * 3)
    assert found[0] == chosen == found[1]["max_length"]
    assert found[1]["cut"] == cut and found[1]["longest"] == words + 2
    assert said in found[2] and f"max_length is {chosen}" in found[2]


def test_more_than_the_model_reads_is_refused():
    with pytest.raises(CourseError, match="(?s)is 64, and tiny/40 reads at most 40"):
        asked = config(model="tiny/40", max_length=64)
        assembly.fitted_length(asked, zoo.load("tiny/40", 2), ["a"])


def test_a_model_without_a_limit_stops_where_memory_does(monkeypatch):
    monkeypatch.setattr(text, "token_limit", lambda _: None)
    backbone = zoo.load("tiny/512", 2)
    chosen, _, said = assembly.fitted_length(config(), backbone, ["word " * 700])
    assert chosen == assembly.MOST_TOKENS and "grows with its square" in said
    assert "set max_length up to 702" in said


@pytest.mark.slow
def test_what_is_cut_is_said_by_train_card_and_predict(tmp_path, capsys):
    path = table(tmp_path / "t.csv", some(words=45))
    code, said = train(tmp_path, capsys, path, model="tiny/40", baseline=True,
                       strategy="full", baseline_rates=[0.001])  # fmt: skip
    assert code == 0 and "24 of 24 texts (100.0 %)" in said
    out = tmp_path / "out"
    assert "24 of 24 texts" in (out / "report.html").read_text()
    assert "24 of 24 texts" in (out / "model" / "README.md").read_text()
    result = json.loads((out / "result.json").read_text())
    tokens = result["data"]["tokens"]
    assert (tokens["cut"], tokens["limit"], tokens["max_length"]) == (24, 40, 40)
    new = table(tmp_path / "n.csv", [("short", "x"), ("word " * 50, "y")])
    assert cli.main(["predict", "--model", str(out), "--data", str(new)]) == 0
    assert "1 of 2 texts (50.0 %) are longer than the 40" in capsys.readouterr().err
    assert exported.load(out).backbone.preprocess.max_length == 40


@pytest.mark.slow
def test_a_finding_at_the_end_of_a_long_text_is_read(tmp_path):
    """What lies behind token 128 decides, so cutting there leaves chance."""
    data = [("word " * 150 + f"no. {i} " + ("hot", "loud")[i % 2], "ab"[i % 2])
            for i in range(60)]  # fmt: skip
    parts = own_data.read(table(tmp_path / "t.csv", data), config(labels="merge"))
    found = pipeline.run(config(), parts, progress=False)
    assert found.data["tokens"]["max_length"] == 160
    rows = found.backbone.preprocess(list(parts.test.texts))["input_ids"]
    assert rows.shape[1] == found.data["tokens"]["longest"]
    short = pipeline.run(config(max_length=128), parts, progress=False)
    assert (
        short.backbone.preprocess(list(parts.test.texts))["input_ids"].shape[1] == 128
    )
    assert "60 of 60 texts" in " ".join(short.notes)


def test_the_data_of_the_course_are_read_without_a_word(recwarn):
    assert len(datasets.load("tickets", "train")) == 500
    assert len(datasets.load("reports", "train")) == 1000
    assert not [one for one in recwarn if one.category is UserWarning]
