"""The configuration of a training job: one YAML file, every field checked.

`course train --example images` prints a file with all fields, their defaults and what
they mean; the same table checks what a learner wrote.  A key that is not known, a value
that cannot be and two settings that contradict each other are told before anything is
read or trained.  Lesson 13.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from course_lib import files
from course_lib.errors import CourseError

__all__ = ["Config", "example", "from_dict", "load"]

STRATEGIES = ("head", "last", "full", "gradual")
SCHEDULES = ("cosine", "linear", "constant", "slanted")
PRECISIONS = ("float32", "bf16", "fp16", "auto")
AUGMENTATIONS = ("none", "shift", "flip", "turn")
LABELS = ("auto", "merge", "as_written")  # the rules of datasets.labels
TASKS = {  # what differs from the defaults below
    "images": {},
    "text": dict(
        model="minilm",
        head_rate=1e-3,
        backbone_rate=3e-4,
        dropout=0.1,
        epochs=10,
        batch_size=16,
        augment="none",
        baseline_rates=(5e-4, 2e-3),
    ),
}


# -- what a field may be: (test, in words) ----------------------------------------


def _one_of(*names: str):
    return lambda v: v in names, f"one of {', '.join(names)}"


def _number(low: float, high: float, words: str):
    return (lambda v: isinstance(v, float) and low <= v <= high), words


def _above_zero(high: float, words: str):
    return (lambda v: isinstance(v, float) and 0 < v <= high), words


def _whole(low: int, high: int, words: str):
    return (lambda v: type(v) is int and low <= v <= high), words


def _yes_or_no():
    return (lambda v: isinstance(v, bool)), "true or false"


def _text():
    return (lambda v: isinstance(v, str) and bool(v.strip())), "a name"


def _names():
    test = lambda v: isinstance(v, tuple) and all(isinstance(x, str) for x in v)  # noqa: E731
    return test, "a list of column names, such as [tool, line]"


def _rates():
    def test(v):
        return (
            isinstance(v, tuple)
            and len(v) > 0
            and all(isinstance(x, float) and 0 < x <= 10 for x in v)
        )

    return test, "a list of rates above 0, such as [0.001, 0.003]"


def _fractions():
    def test(v):
        return (
            isinstance(v, tuple)
            and len(v) == 3
            and all(isinstance(x, float) and 0 < x < 1 for x in v)
            and abs(sum(v) - 1) < 1e-6
        )

    return test, "three shares above 0 that sum to 1, such as [0.7, 0.15, 0.15]"


def _span():
    def test(v):
        numbers = isinstance(v, tuple) and all(isinstance(x, float) for x in v)
        return numbers and len(v) == 2 and -1e12 < v[0] < v[1] < 1e12

    return test, "two numbers, the smaller first, such as [0, 4095]"


def _plan():
    def test(v):
        return isinstance(v, dict) and all(
            type(epoch) is int
            and epoch >= 1
            and names
            and all(isinstance(name, str) for name in names)
            for epoch, names in v.items()
        )

    return test, "epochs from 1 on and what is opened before them, {2: layer4, 4: all}"


def _maybe(rule):
    test, words = rule
    return (lambda v: v is None or test(v)), f"{words}, or nothing"


def _say(default, rule: tuple[Callable, str], *lines: str):
    """A field: its default, what it may be, and what it means."""
    about = {"test": rule[0], "expected": rule[1], "says": lines}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(default=default, metadata=about)


# -- the fields, in the order of the file -----------------------------------------


@dataclass(frozen=True)
class Config:
    """A whole training job.  Every field is explained in :func:`example`.

    Made by :func:`load` or :func:`from_dict`, which raise CourseError; `where` is the
    file, for messages.  Lesson 13.
    """

    task: str = _say("images", _one_of(*TASKS), "images or text")
    model: str = _say(
        "bundled/resnet10-patterns",
        _text(),
        "source model: bundled/NAME, minilm, or a public one: torchvision/NAME,",
        "timm/NAME, hf/NAME (these need a network or a cache)",
    )
    weights: str = _say(
        "pretrained", _one_of("pretrained", "random"), "pretrained or random"
    )
    strategy: str = _say(
        "full",
        _one_of(*STRATEGIES),
        "head: only the new head learns; last: the last blocks too; full: everything;",
        "gradual: the head first, then one part after the other",
    )
    last_blocks: int = _say(
        1, _whole(1, 1000, "a whole number >= 1"), "how many, with strategy: last"
    )
    unfreeze: dict = _say(
        {},
        _plan(),
        "with strategy: gradual, {epoch: part}: what is opened before which epoch;",
        "empty: one part more before each epoch, from the head down",
    )
    head_rate: float = _say(
        3e-3, _above_zero(10, "a number above 0"), "learning rate of the new head"
    )
    backbone_rate: float = _say(
        1e-3,
        _above_zero(10, "a number above 0"),
        "and of the block below it; large text encoders want 2e-5 to 5e-5",
    )
    layer_decay: float = _say(
        1.0,
        _above_zero(1, "a number above 0, at most 1"),
        "each block below learns at this times the rate above it; 1: all at one rate",
    )
    warmup: float = _say(
        0.1,
        _number(0, 0.9, "a share of the updates from 0 to 0.9"),
        "share of the updates in which the rates rise",
    )
    schedule: str = _say(
        "cosine", _one_of(*SCHEDULES), "and how they fall: " + ", ".join(SCHEDULES)
    )
    weight_decay: float = _say(
        0.01, _number(0, 10, "a number from 0 on"), "of matrices; norms and biases: 0"
    )
    dropout: float = _say(
        0.0, _number(0, 0.9, "a share from 0 to 0.9"), "before the head"
    )
    label_smoothing: float = _say(
        0.0, _number(0, 0.9, "a share from 0 to 0.9"), "0: none"
    )
    class_weights: str = _say(
        "none",
        _one_of("none", "balanced"),
        "balanced: each class counts the same in the loss, however rare",
    )
    clip_norm: float | None = _say(
        None, _maybe(_above_zero(1e6, "a number above 0")), "longest gradient"
    )
    epochs: int = _say(
        20, _whole(1, 100_000, "a whole number >= 1"), "passes over the training part"
    )
    patience: int | None = _say(
        5,
        _maybe(_whole(1, 100_000, "a whole number >= 1")),
        "stop after so many epochs without a lower validation loss; empty: never",
    )
    precision: str = _say(
        "auto",
        _one_of(*PRECISIONS),
        "float32, bf16, fp16 (CUDA only), or auto: bf16 on a GPU, else float32",
    )
    batch_size: int = _say(
        32, _whole(1, 65_536, "a whole number >= 1"), "of all processes together"
    )
    augment: str = _say(
        "shift",
        _one_of(*AUGMENTATIONS),
        "none, shift, flip (and shift), turn (where up is no direction, and shift)",
    )
    image_size: int | None = _say(
        None,
        _maybe(_whole(16, 1024, "16 to 1024 pixels")),
        "pixels a side; empty: the model's own, or 64",
    )
    max_length: int | None = _say(
        None,
        _maybe(_whole(4, 8192, "4 to 8192")),
        "tokens of a text, what is longer is cut; empty: as the data need, up to what",
        "the model reads",
    )
    value_range: tuple | None = _say(
        None,
        _maybe(_span()),
        "values of pictures with more than 8 bits that become black and white;",
        "empty: found on the training part, the same for all pictures, and told",
    )
    seed: int = _say(
        0, _whole(0, 2**31, "a whole number >= 0"), "of split, head, order and dropout"
    )
    split: tuple = _say(
        (0.7, 0.15, 0.15), _fractions(), "training, validation, test, where not given"
    )
    image_column: str | None = _say(
        None, _maybe(_text()), "of a table; empty: image, or another usual name"
    )
    text_column: str | None = _say(
        None, _maybe(_text()), "of a table; empty: text, or another usual name"
    )
    label_column: str | None = _say(
        None, _maybe(_text()), "of a table; empty: label, or another usual name"
    )
    labels: str = _say(
        "auto",
        _one_of(*LABELS),
        "leak, Leak and 'leak ' in a table or as folders: auto and merge make them one",
        "class and say so, as_written three; auto stops at single letters (a, A)",
    )
    skip_empty: bool = _say(
        False, _yes_or_no(), "leave out, and count, rows without text or label"
    )
    sheet: str | None = _say(
        None, _maybe(_text()), "of an Excel file; empty: the first with the columns"
    )
    encoding: str | None = _say(
        None, _maybe(_text()), "of a CSV file; empty: UTF-8, else cp1252, which is said"
    )
    groups: tuple = _say((), _names(), "columns whose groups the report compares")
    together: str | None = _say(
        None,
        _maybe(_text()),
        "column whose equal values stay in one part: wafer, patient, author",
    )
    baseline: bool = _say(
        True, _yes_or_no(), "train the same network from scratch, too, as long"
    )
    baseline_rates: tuple = _say(
        (1e-3, 3e-3), _rates(), "rates it may choose from, by validation"
    )
    audit: str = _say(
        "stop",
        _one_of("stop", "warn"),
        "what to do when the check before training finds a mistake",
    )
    onnx: bool = _say(True, _yes_or_no(), "export to ONNX, too, and compare")
    licence: str = _say(
        "not stated", _text(), "of your data and the trained model, for the model card"
    )
    device: str = _say(
        "auto", _one_of("auto", "cpu", "cuda"), "auto: a GPU if there is one"
    )
    where: str = field(default="configuration", compare=False, repr=False)

    def to_dict(self) -> dict:
        """All fields as JSON-ready values, in the order of the file."""
        return {
            one.name: list(value) if isinstance(value, tuple) else value
            for one in FIELDS
            for value in [getattr(self, one.name)]
        }

    def to_yaml(self) -> str:
        """The configuration as a file without comments."""
        import yaml

        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def error(self, key: str, problem: str, expected: str, do: str) -> CourseError:
        """What is wrong with one key of this file."""
        return CourseError(_message(self.where, key, problem, expected, do))


FIELDS = tuple(one for one in fields(Config) if one.metadata)


# -- reading ----------------------------------------------------------------------


def load(path: str | Path) -> Config:
    """Read and check a YAML file.  Raises CourseError naming file, key and remedy."""
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CourseError(
            f"There is no configuration {path}.\nExpected: a YAML file.\nDo: `course "
            "train --example images > job.yaml` writes one to begin with."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(
            f"The configuration {path} cannot be read ({error}).\nExpected: a YAML "
            "file, text in UTF-8.\nDo: name the file, or save it as UTF-8."
        ) from None
    try:
        values = yaml.load(text, _loader())  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise CourseError(
            f"{path}{place}: {problem}.\nExpected: lines `key: value`.\nDo: compare "
            "with `course train --example images`."
        ) from None
    return from_dict(values, str(path))


def _loader():
    """PyYAML's SafeLoader, which would keep the last of two equal keys unsaid."""
    import yaml

    class Strict(yaml.SafeLoader):
        pass

    def mapping(loader, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = loader.construct_object(key, deep=True)
            if isinstance(name, (str, int)) and name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands there twice", key.start_mark
                )
            if isinstance(name, (str, int)):
                seen.add(name)
        return yaml.SafeLoader.construct_mapping(loader, node, deep=True)

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    return Strict


def from_dict(values: Mapping | None, where: str = "configuration") -> Config:
    """A checked Config from {key: value}; what is left out has its default.

    Raises CourseError for unknown keys, wrong values and contradictions.
    """
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise CourseError(
            f"{where} holds a {type(values).__name__}.\nExpected: lines `key: value`.\n"
            "Do: compare with `course train --example images`."
        )
    known = [one.name for one in FIELDS]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            expected = f"{near[0]!r}?" if near else f"one of {', '.join(known)}"
            raise CourseError(
                f"{where}: there is no key {key!r}.\nExpected: {expected}\nDo: correct "
                "the key or remove it; `course train --example images` shows all."
            )
    task = values.get("task", "images")
    given = {}
    for one in FIELDS:
        if one.name not in values:
            continue
        value = _tidy(values[one.name], one)
        if not _holds(one.metadata["test"], value):
            raise CourseError(
                _message(
                    where,
                    one.name,
                    f"is {values[one.name]!r}",
                    one.metadata["expected"],
                    _hint(values[one.name], one),
                )
            )
        given[one.name] = value
    if task == "images" and "model" not in given:
        from course_lib import profiles

        given["model"] = profiles.current().vision_backbone
    config = Config(**{**TASKS[task], **given}, where=where)
    _check_contradictions(config, given)
    return config


def _message(where, key, problem, expected, do) -> str:
    return f"{where}: {key} {problem}.\nExpected: {expected}.\nDo: {do}."


def _holds(test, value) -> bool:
    try:
        return bool(test(value))
    except TypeError:
        return False


def _tidy(value, one):
    """Whole numbers where a fraction may stand, 1e-3, lists and single names."""
    if one.name == "unfreeze" and isinstance(value, Mapping):
        return {
            epoch: (names,) if isinstance(names, str) else tuple(names or ())
            for epoch, names in value.items()
            if isinstance(names, (str, list, tuple))
        } | {e: () for e, n in value.items() if not isinstance(n, (str, list, tuple))}
    if isinstance(value, (list, tuple)):
        return tuple(_number_of(item) for item in value)
    if one.name == "groups" and isinstance(value, str):
        return (value,)
    kind = str(one.type)
    if "float" in kind or one.name == "baseline_rates":
        value = _number_of(value)
    return (value,) if one.name == "baseline_rates" else value


def _number_of(value):
    if type(value) is int:
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)  # YAML 1.1 reads 1e-3 as a text
    return value


def _hint(value, one) -> str:
    if isinstance(value, str) and one.metadata["expected"].startswith("one of"):
        names = one.metadata["expected"].removeprefix("one of ").split(", ")
        near = difflib.get_close_matches(value, names, 1)
        if near:
            return f"write {one.name}: {near[0]}"
    if isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", value):
        return "write the number without quotes"
    return f"correct it, or remove the line; the default is {_shown(one)}"


def _check_contradictions(config: Config, given: Mapping) -> None:
    frozen = config.strategy == "head"
    usual = Config(**TASKS[config.task])
    given = {k: v for k, v in given.items() if v != getattr(usual, k)}
    if "unfreeze" in given and given["unfreeze"] and config.strategy != "gradual":
        raise config.error(
            "unfreeze",
            f"is given, and strategy is {config.strategy}",
            "an unfreezing plan only with strategy: gradual",
            "set strategy: gradual, or remove unfreeze",
        )
    late = [epoch for epoch in config.unfreeze if epoch >= config.epochs]
    if late:
        raise config.error(
            "unfreeze",
            f"opens something before epoch {late[0]}, and there are {config.epochs} "
            "(counted from 0)",
            f"epochs from 1 to {config.epochs - 1}",
            "open it earlier, or train for more epochs",
        )
    for key in ("backbone_rate", "layer_decay"):
        if frozen and key in given:
            raise config.error(
                key,
                "is given, and with strategy: head the backbone does not learn",
                f"{key} with strategy last, full or gradual",
                f"remove {key}, or choose another strategy",
            )
    if "last_blocks" in given and config.strategy != "last":
        raise config.error(
            "last_blocks",
            f"is given, and strategy is {config.strategy}",
            "last_blocks only with strategy: last",
            "set strategy: last, or remove last_blocks",
        )
    if config.weights == "random" and config.strategy != "full":
        raise config.error(
            "weights",
            f"is random, and strategy {config.strategy} freezes them",
            "strategy: full with random weights, so that they learn",
            "set strategy: full, or weights: pretrained",
        )
    if config.task == "text" and config.augment != "none":
        raise config.error(
            "augment",
            f"is {config.augment}, and the task is text",
            "augment: none; pictures can be shifted, texts cannot",
            "remove augment, or set task: images",
        )
    if config.batch_size == 1 and config.task == "images":
        raise config.error(
            "batch_size",
            "is 1: BatchNorm layers cannot normalise by one picture",
            "2 or more, better 8 or more",
            "raise batch_size",
        )


# -- an example to begin with -----------------------------------------------------

ORDER = {
    "What is trained": "task",
    "How": "strategy",
    "For how long, on what": "epochs",
    "Your data": "split",
    "What comes with it": "baseline",
}
ONLY = {"images": ("augment", "image_size", "image_column"),
        "text": ("max_length", "text_column")}  # fmt: skip


def example(task: str = "images") -> str:
    """A commented YAML file with every field at its default.

    Raises CourseError for another task than "images" or "text".
    """
    if task not in TASKS:
        raise CourseError(
            f"There is no example {task!r}.\nExpected: {' or '.join(TASKS)}.\n"
            "Do: course train --example images > job.yaml"
        )
    config = from_dict({"task": task})
    others = {name for kind, names in ONLY.items() if kind != task for name in names}
    titles = {first: title for title, first in ORDER.items()}
    lines = [f"# A training job for {task}.  Every line may be left out.", ""]
    for one in FIELDS:
        if one.name in titles:
            lines += [f"# -- {titles[one.name]}", ""]
        if one.name in others:
            continue
        lines += [f"# {line}" for line in one.metadata["says"]]
        lines += [f"{one.name}: {_yaml(getattr(config, one.name))}", ""]
    return "\n".join(lines)


def write_example(path: str | Path, task: str = "images") -> Path:
    """The same as a file."""
    return files.atomic_write_bytes(Path(path), example(task).encode())


def _shown(one) -> str:
    default = one.default_factory() if one.name == "unfreeze" else one.default
    return _yaml(default) or "nothing"


def _yaml(value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in value.items()) + "}"
    return str(value)
