"""The audit finds each planted mistake by name, and nothing on correct set-ups."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from audits import audited
from torch import nn

from course_lib import datasets, training
from course_lib.analysis import audit
from course_lib.errors import CourseError
from course_lib.models import zoo
from course_lib.models.preprocessing import Preprocess
from course_lib.training import freezing, layer_groups, schedules


@pytest.fixture(scope="module")
def parts():
    splits = ("train", "validation", "test")
    return [datasets.load("wafer_micrographs", s, n=40) for s in splits]


def backbone():
    return zoo.load(num_classes=5)


def adamw(net):
    return torch.optim.AdamW(p for p in net.parameters() if p.requires_grad)


# -- planted ----------------------------------------------------------------------


def stale(parts):
    one = backbone()
    optimizer = adamw(one.model)
    one.to_classes(5, seed=1)
    return dict(model=one, optimizer=optimizer), "group 0"


def missing(parts):
    one = freezing.freeze_backbone(backbone())
    optimizer = adamw(one.model)
    one.model.layer4.requires_grad_(True)
    return dict(model=one, optimizer=optimizer), "layer4.0.conv1.weight"


def double(parts):
    one = backbone()
    groups = [
        {"params": list(one.model.parameters()), "lr": 1e-3},
        {"params": [one.model.fc.weight], "lr": 1e-2},
    ]
    return dict(model=one, optimizer=groups), "fc.weight"


def drifting(parts):
    one = freezing.freeze_backbone(backbone())
    one.model.train()
    return dict(model=one, optimizer=adamw(one.model)), "bn1"


def tiny_batch(parts):
    return dict(model=backbone(), batch_size=2), "bn1"


def wrong_scale(parts):
    return dict(model=backbone(), train=parts[0], preprocess=Preprocess()), "means"


def reversed_channels(parts):
    own = backbone().preprocess
    wrong = replace(own, channels="BGR")
    return dict(model=backbone(), train=parts[0], preprocess=wrong), "BGR"


def wrong_size(parts):
    wrong = replace(backbone().preprocess, size=32)
    return dict(model=backbone(), train=parts[0], preprocess=wrong), "(3, 32, 32)"


def loader_of(x, labels, **options):
    data = torch.utils.data.TensorDataset(x, torch.as_tensor(labels))
    options["generator"] = torch.Generator().manual_seed(0)
    return torch.utils.data.DataLoader(data, batch_size=16, **options)


def unscaled_loader(parts):
    x = torch.from_numpy(parts[0].images).permute(0, 3, 1, 2).float()
    loader = loader_of(x, parts[0].labels, shuffle=True)
    return dict(model=backbone(), train=loader), "0 to 255"


def unnormalised_loader(parts):
    x = torch.from_numpy(parts[0].images).permute(0, 3, 1, 2) / 255
    loader = loader_of(x, parts[0].labels, shuffle=True)
    return dict(model=backbone(), train=loader), "not normalised"


def class_after_class(parts):
    order = np.argsort(parts[0].labels, kind="stable")
    loader = torch.utils.data.DataLoader(parts[0].subset(order), batch_size=16)
    return dict(model=backbone(), train=loader), "training loader"


def leaked_texts(parts):
    train, val = (datasets.load("tickets", s, n=20) for s in ("train", "validation"))
    spaced = datasets.TextDataset(
        (train.texts[3] + " ", *val.texts[1:]), val.labels, val.classes
    )
    return dict(model=backbone(), train=train, val=spaced), "train and validation"


def small_loader(parts):
    loader = torch.utils.data.DataLoader(parts[0], batch_size=2, shuffle=True)
    return dict(model=backbone(), train=loader), "bn1"


def old_head(parts):
    return dict(model=zoo.load(), train=parts[0]), "fc"


def leak(parts):
    train, val, test = parts
    leaked = datasets.from_arrays(
        np.concatenate([val.images, train.images[5:6]]),
        np.concatenate([val.labels, train.labels[5:6]]),
        classes=train.classes,
    )
    return dict(model=backbone(), train=train, val=leaked), "train and validation"


def same_test(parts):
    return dict(model=backbone(), val=parts[1], test=parts[1]), "validation and test"


def unsaved_head(parts):
    from peft import LoraConfig, get_peft_model

    net = get_peft_model(tiny_text_classifier(), LoraConfig(target_modules=["query"]))
    for name, parameter in net.named_parameters():
        if "classifier" in name:
            parameter.requires_grad_(True)
    return dict(model=net, optimizer=adamw(net)), "classifier"


def last_checkpoint(parts):
    history = training.History(val_loss=[0.9, 0.5, 0.8])
    return dict(model=backbone(), history=history, kept=2), "evaluation 2"


def half(parts):
    one = backbone()
    one.model.half()
    return dict(model=one), "conv1.weight"


def all_frozen(parts):
    one = backbone()
    one.model.requires_grad_(False).eval()
    return dict(model=one), "parameters"


PLANTED = {
    stale: "stale-parameter",
    missing: "missing-parameter",
    double: "double-parameter",
    drifting: "frozen-batchnorm",
    tiny_batch: "tiny-batch",
    wrong_scale: "preprocessing",
    reversed_channels: "preprocessing",
    wrong_size: "preprocessing",
    unscaled_loader: "preprocessing",
    unnormalised_loader: "preprocessing",
    class_after_class: "unshuffled",
    small_loader: "tiny-batch",
    old_head: "head-size",
    leak: "shared-examples",
    leaked_texts: "shared-examples",
    same_test: "test-for-choosing",
    unsaved_head: "unsaved-head",
    last_checkpoint: "last-checkpoint",
    half: "half-precision",
    all_frozen: "nothing-learns",
}


def tiny_text_classifier():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    small = dict(hidden_size=16, num_attention_heads=2, intermediate_size=32)
    return BertForSequenceClassification(
        BertConfig(vocab_size=50, num_hidden_layers=2, num_labels=3, **small)
    )


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda f: f.__name__)
def test_a_planted_mistake_is_found_and_named(plant, parts):
    setup, where = plant(parts)
    findings = audited(**setup)
    assert PLANTED[plant] in {finding.check for finding in findings}
    named = [f for f in findings if f.check == PLANTED[plant] and where in f.where]
    assert named, f"{where!r} is in none of: {audit.report(findings)}"
    unexpected = {f.check for f in findings} - {PLANTED[plant]}
    if plant is stale:  # the new head is then in no group: two sides of one mistake
        unexpected -= {"missing-parameter"}
    assert not unexpected


# -- correct ----------------------------------------------------------------------


def everything(parts):
    one = backbone()
    one.model.train()
    train, val, test = parts
    return dict(
        model=one,
        optimizer=adamw(one.model),
        train=train,
        val=val,
        test=test,
        preprocess=one.preprocess,
        batch_size=32,
    )


def extraction(parts):
    one = freezing.freeze_backbone(backbone())
    freezing.train_mode(one)
    return dict(model=one, optimizer=adamw(one.model), train=parts[0], batch_size=4)


def held_batchnorm(parts):
    one = freezing.freeze_until(backbone(), "layer3")
    freezing.freeze_batchnorm(one)
    one.model.train()
    return dict(model=one, optimizer=adamw(one.model), batch_size=16)


def two_groups(parts):
    one = backbone()
    return dict(model=one, optimizer=training.make_optimizer(one))


def discriminative(parts):
    one = backbone()
    return dict(model=one, optimizer=layer_groups.decayed_groups(one, lr=1e-3))


def gradual(parts):
    one = backbone()
    first, plan = schedules.gradual_unfreezing(one, lr=1e-3)
    optimizer = torch.optim.AdamW(first)
    plan[1](one, optimizer)
    freezing.train_mode(one)
    return dict(model=one, optimizer=optimizer)


def from_scratch(parts):
    one = zoo.load(num_classes=5, pretrained=False)
    return dict(model=one, optimizer=adamw(one.model), train=parts[0])


def other_source(parts):
    one = zoo.load("bundled/resnet10-silhouettes", num_classes=5)
    return dict(model=one, train=parts[0], preprocess=one.preprocess)


def trained(parts):
    train, val, test = parts
    one = backbone()
    history = training.fit(
        one, train, val, steps=4, recipe=training.Recipe(eval_every=1)
    )
    return dict(
        model=one, train=train, val=val, test=test, history=history, training=False
    )


def lora_with_head(parts):
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(target_modules=["query"], modules_to_save=["classifier"])
    net = get_peft_model(tiny_text_classifier(), config)
    return dict(model=net, optimizer=adamw(net))


def plain_module(parts):
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    return dict(model=net, optimizer=adamw(net), batch_size=1)


def mixed_precision(parts):
    one = backbone()
    with torch.autocast("cpu", torch.bfloat16):
        one.model(one.preprocess(parts[0].images[:4]))
    return dict(model=one, optimizer=adamw(one.model), train=parts[0])


def normalised_loader(parts):
    one = backbone()
    loader = loader_of(one.preprocess(parts[0].images), parts[0].labels, shuffle=True)
    return dict(model=one, optimizer=adamw(one.model), train=loader)


def raw_loader(parts):
    """uint8 pictures, preprocessed inside the loop; balanced, hence unsorted order."""
    train, val, _ = parts
    subset = torch.utils.data.Subset(train, range(20))
    loaders = (torch.utils.data.DataLoader(d, batch_size=16) for d in (subset, val))
    one = backbone()
    return dict(zip(("train", "val"), loaders)) | dict(model=one)


def texts(parts):
    one = zoo.load("minilm", num_classes=5, pretrained=False)
    train, val = (datasets.load("tickets", s) for s in ("train", "validation"))
    return dict(model=one, optimizer=adamw(one.model), train=train, val=val)


def copied_preprocessing(parts):
    one = backbone()
    same = copy.deepcopy(one.preprocess)
    return dict(model=one, train=parts[0], preprocess=same, batch_size=8)


CORRECT = (
    everything,
    extraction,
    held_batchnorm,
    two_groups,
    discriminative,
    gradual,
    from_scratch,
    other_source,
    trained,
    lora_with_head,
    plain_module,
    mixed_precision,
    normalised_loader,
    raw_loader,
    texts,
    copied_preprocessing,
)


@pytest.mark.slow
@pytest.mark.parametrize("build", CORRECT, ids=lambda f: f.__name__)
def test_no_false_alarm(build, parts):
    findings = audited(**build(parts))
    assert not findings, audit.report(findings)
    assert "no mistake" in audit.report(findings)


def test_the_audit_changes_nothing(parts):
    one = freezing.freeze_backbone(backbone())
    one.model.train()
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    modes = [m.training for m in one.model.modules()]
    audited(one, adamw(one.model), *parts, preprocess=Preprocess())
    assert modes == [m.training for m in one.model.modules()]
    assert all(torch.equal(v, before[k]) for k, v in one.model.state_dict().items())


def test_a_strange_optimizer_is_refused():
    with pytest.raises(CourseError, match="optimizer"):
        audited(backbone(), optimizer=3)


def test_the_report_names_the_checks_that_had_nothing_to_look_at(parts):
    train, val, test = parts
    one = backbone()
    bare = audited(one)
    assert "not looked at" in audit.report(bare) and "unshuffled" in bare.unseen
    loader = torch.utils.data.DataLoader(train, batch_size=16, shuffle=True)
    history = training.History(val_loss=[0.9, 0.5], best_epoch=1)
    whole = audited(one, adamw(one.model), loader, val, test, history=history)
    assert "unsaved-head" in whole.foreign and "unshuffled" not in whole.unseen
    assert whole.wanted["lost-gradient"] == "batch"
    seen = len(audit.CHECKS) - len(whole.unseen) - len(whole.foreign)
    assert f"by {seen} checks" in audit.report(whole)
    batch = one.preprocess(train.images[:8]), train.labels[:8]
    more = audited(one, adamw(one.model), loader, val, test, batch=batch)
    assert "lost-gradient" not in more.unseen and "moving-buffer" not in more.unseen
