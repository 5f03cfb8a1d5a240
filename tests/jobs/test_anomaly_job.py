"""`task: anomaly`: a planted defect is found, and bad input is told."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from course_lib.course import cli
from course_lib.errors import CourseError
from course_lib.jobs import (
    anomaly_configuration,
    anomaly_job,
    anomaly_model,
    storage,
)

pytestmark = pytest.mark.slow

MODEL = "bundled/resnet10-patterns"
SETTINGS = {"task": "anomaly", "model": MODEL, "image_size": 64, "false_alarms": 0.1}


def write(folder, n, seed, odd=False):
    """n pictures of stripes; the odd ones have a bright square at (40, 8)."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i in range(n):
        pixels = rng.integers(0, 90, (64, 64, 3))
        pixels[:, :: int(rng.integers(5, 9))] += 60
        if odd:
            pixels[40:54, 8:22] = 250
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The folder of a finished job, and where its pictures are."""
    where = tmp_path_factory.mktemp("anomaly")
    good = write(where / "good", 60, 0)
    bad = write(where / "bad", 6, 1, odd=True)
    (where / "job.yaml").write_text(yaml.safe_dump(SETTINGS))
    typed = ["train", "--config", str(where / "job.yaml"), "--data", str(good)]
    typed += ["--defective", str(bad), "--out", str(where / "out")]
    assert cli.main(typed) == 0
    return where


def test_planted_defects_are_found_and_shown_where_they_are(job):
    found = json.loads((job / "out/result.json").read_text())
    assert found["sizes"] == {"memory": 36, "threshold": 12, "test": 12, "defective": 6}
    assert found["auroc"]["mean"] == 1 and found["found"]["alarms"] == 1
    assert found["test"]["low"] <= found["test"]["alarms"] <= 0.5
    held = sorted(s for part, _, s, _ in found["rows"] if part == "threshold")
    assert found["threshold"] == held[-2]  # one of 12 is at most a tenth
    page = (job / "out/report.html").read_text()
    assert "AUROC 1.000" in page and page.count("<img alt=") == 2
    model = anomaly_model.load(job / "out")
    image = np.array(Image.open(job / "bad/00.png"))[None]
    scores, heat = model.scores_and_heat(image)
    assert heat.shape == (1, 64, 64) and scores[0] > model.threshold
    assert heat[0, 40:54, 8:22].mean() > 1.2 * heat.mean()
    card = (job / "out/model/README.md").read_text()
    assert "AUROC 1.000" in card and MODEL in card and "{" not in card


def test_predict_answers_as_the_report_does(job, capsys):
    typed = ["predict", "--model", str(job / "out"), "--data", str(job / "bad")]
    assert cli.main(typed) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    kept = list(csv.DictReader((job / "out/scores.csv").open()))
    expected = {r["picture"]: r["score"] for r in kept if r["part"] == "defective"}
    assert {r["example"]: r["score"] for r in rows} == expected
    assert {r["alarm"] for r in rows} == {"True"}
    assert cli.main([*typed[:-1], str(job / "bad/03.png"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["example"] == "03.png" and f"{row['score']:.4f}" == expected["03.png"]
    assert cli.main([*typed[:-1], str(job / "nowhere")]) == 1
    assert "do not exist" in capsys.readouterr().err


def test_a_job_is_replaced_only_when_asked_to(job, capsys):
    typed = ["train", "--task", "anomaly", "--data", str(job / "good")]
    assert cli.main([*typed, "--out", str(job / "out")]) == 1
    assert "another job" in capsys.readouterr().err


def test_what_an_interrupted_job_of_another_kind_left_is_not_replaced(job, tmp_path):
    storage.JobFolder(tmp_path, "of a job on other data", False).begin()
    with pytest.raises(CourseError, match="another job"):
        anomaly_job.run(SETTINGS, job / "good", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_the_same_twice_and_nothing_is_written_without_a_folder(job):
    one, other = (anomaly_job.run(SETTINGS, job / "good")[0] for _ in range(2))
    assert one.rows == other.rows and one.threshold == other.threshold
    assert one.found is None and one.auroc is None and one.folder is None


def test_near_duplicates_stay_in_one_part(job, tmp_path):
    folder = tmp_path / "twice"
    shutil.copytree(job / "good", folder)
    for file in list(folder.iterdir()):
        pixels = np.asarray(Image.open(file)).astype(int) + 3
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / f"copy{file.name}"
        )
    result, _ = anomaly_job.run(SETTINGS, folder)
    where = {name: part for part, name, *_ in result.rows}
    for name, part in where.items():
        if not name.startswith("copy"):
            assert where[f"copy{name}"] == part


@pytest.mark.parametrize(
    "change, said",
    [
        ({"false_alarms": 0.01}, "are left to set the threshold.*at least 100"),
        ({"stages": ["layer9"]}, "no module 'layer9'"),
        ({"defective": "nowhere"}, "is no folder"),
        ({"share": 2}, "above 0, at most 1"),
        ({"rate": 1e-3}, "no key 'rate'"),
    ],
)
def test_bad_settings_are_told(job, change, said):
    with pytest.raises(CourseError, match=f"(?s){said}"):
        anomaly_job.run(SETTINGS | change, job / "good")


def test_bad_folders_are_told(job, tmp_path):
    with pytest.raises(CourseError, match="(?s)bad, good.*may hold others"):
        anomaly_job.run(SETTINGS, job)
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(CourseError, match=r"x\.png"):
        anomaly_job.run(SETTINGS, tmp_path)


def test_a_damaged_memory_is_told(job, tmp_path):
    shutil.copytree(job / "out/model", tmp_path / "m")
    content = (tmp_path / "m" / anomaly_model.WEIGHTS).read_bytes()
    (tmp_path / "m" / anomaly_model.WEIGHTS).write_bytes(content[:-9])
    with pytest.raises(CourseError, match="damaged"):
        anomaly_model.load(tmp_path / "m")
    (tmp_path / "m" / anomaly_model.WEIGHTS).unlink()
    with pytest.raises(CourseError, match="no memory"):
        anomaly_model.load(tmp_path / "m")


def test_options_that_do_not_fit_are_told(job, capsys):
    good = str(job / "good")
    config = str(job / "job.yaml")
    for typed, said in (
        (["--task", "images"], "--task images does not fit"),
        (["--defective", good], "--defective does not fit"),
        (["--config", config, "--task", "text"], "says task: anomaly"),
    ):
        assert cli.main(["train", "--data", good, *typed]) == 1
        assert said in capsys.readouterr().err


def test_the_example_is_the_default(capsys):
    assert cli.main(["train", "--example", "anomaly"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert anomaly_configuration.from_dict(values) == anomaly_configuration.from_dict(
        {}
    )
