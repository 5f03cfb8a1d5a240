"""The doctor: finds what is there, says what to do, and never breaks."""

import json
import socket

import pytest

from course_lib import profiles
from course_lib.course import cli, doctor, library_checks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report():
    return doctor.examine()


@pytest.mark.slow
def test_the_report_is_plain_data(report):
    assert json.loads(json.dumps(report)) == report
    assert set(report["checks"]) == set(doctor.CHECKS)
    assert set(report["profiles"]) == {"offline", "full"}


def test_this_installation_is_in_order(report):
    failed = {
        name: check["found"]
        for name, check in report["checks"].items()
        if check["status"] == doctor.FAILED
    }
    assert failed == {}
    assert report["profiles"]["offline"]["can"]


def test_whatever_is_not_in_order_comes_with_advice(report):
    for check in report["checks"].values():
        if check["status"] in (doctor.WARNING, doctor.FAILED):
            assert check["advice"]


def test_a_check_that_breaks_is_a_finding(monkeypatch):
    def broken():
        raise RuntimeError("the ruler\nis bent")

    monkeypatch.setitem(doctor.CHECKS, "disk", broken)
    report = doctor.examine()
    assert report["checks"]["disk"]["status"] == doctor.FAILED
    assert "RuntimeError: the ruler is bent" in report["checks"]["disk"]["found"]
    assert not report["profiles"]["offline"]["can"]
    assert "disk" in report["profiles"]["offline"]["why"]


@pytest.mark.parametrize("name", ["COURSE_ROOT", "COURSE_PROFILE"])
def test_a_wrong_setting_is_reported(name, monkeypatch):
    monkeypatch.setenv(name, "nonsense")
    assert name in json.dumps(doctor.examine())


def test_missing_and_other_versions_are_told_apart(monkeypatch):
    real = doctor.installed_version
    monkeypatch.setattr(
        doctor, "installed_version", lambda name: None if name == "peft" else real(name)
    )
    assert doctor.check_packages()["status"] == doctor.FAILED
    assert "peft" in doctor.check_packages()["found"]
    monkeypatch.setattr(
        doctor, "installed_version", lambda name: "0" if name == "peft" else real(name)
    )
    assert doctor.check_packages()["status"] == doctor.WARNING
    assert "peft 0 (expected" in doctor.check_packages()["found"]


def test_json_is_json(capsys):
    cli.main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["course"]


def test_the_table_can_be_read_without_colours(report, capsys):
    doctor.show(report)
    shown = capsys.readouterr().out
    assert "profile offline" in shown and "Python" in shown
    assert max(map(len, shown.splitlines())) <= 100


# -- the full profile, from its libraries' caches, without a network ----------------


@pytest.fixture
def empty_caches(tmp_path, monkeypatch):
    """No model in any cache, and no network."""
    import huggingface_hub.constants
    import torch

    def refuse(*_):
        raise AssertionError("the doctor used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def put(cache, model):
    """Place a model's file where its library would look for it."""
    source, _, name = model.partition("/")
    if source == "torchvision":
        from torchvision.models import get_model_weights

        file = get_model_weights(name).DEFAULT.url.rpartition("/")[2]
        path = cache / "checkpoints" / file
    else:
        repository = (name if source == "hf" else f"timm/{name}").replace("/", "--")
        path = cache / f"models--{repository}" / "snapshots" / "1" / "model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")


def test_models_are_looked_up_in_the_caches(empty_caches, monkeypatch):
    sound = {"disk": doctor.finding(doctor.OK, "")}
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: type("Memory", (), {"total": 64e9})
    )
    names = [
        profiles.FULL.vision_backbone,
        profiles.FULL.vision_other_source,
        profiles.FULL.vit,
        profiles.FULL.text_encoder,
        profiles.FULL.language_model,
        profiles.CLIP,
    ]
    answer = doctor.can_full(sound)
    assert not answer["can"] and "network" in answer["advice"]
    assert answer["why"].startswith("6 of its models")
    found = library_checks.check_public_models()
    assert all(name in found["found"] for name in names)
    assert found["status"] == doctor.NOTE and "0 of 6" in found["found"]
    assert "torchvision/resnet50 (98 MB)" in found["found"]
    assert "2579 MB" in found["advice"]  # 98 + 102 + 346 + 440 + 988 + 605
    for name in names:
        put(empty_caches, name)
    assert doctor.can_full(sound)["can"]
    assert library_checks.check_public_models()["status"] == doctor.OK


def test_a_switched_model_is_looked_up_instead(empty_caches, monkeypatch):
    monkeypatch.setenv("COURSE_VISION_BACKBONE", "torchvision/squeezenet1_1")
    assert "squeezenet1_1 (5 MB)" in library_checks.check_public_models()["found"]
    own = empty_caches / "own.pth"
    own.write_bytes(b"weights")
    monkeypatch.setenv("COURSE_VISION_BACKBONE", f"torchvision/squeezenet1_1@{own}")
    assert (
        "1 of 6 in the libraries' caches: torchvision/squeezenet1_1@"
        in (library_checks.check_public_models()["found"])
    )


def test_too_little_memory_rules_the_full_profile_out(monkeypatch):
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: type("Memory", (), {"total": 4e9})
    )
    answer = doctor.can_full({})
    assert not answer["can"] and "8 GB are needed" in answer["why"]
