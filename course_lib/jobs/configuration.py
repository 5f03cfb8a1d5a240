"""The configuration of a training job: one YAML file, every field checked.

`course train --example images` prints a file with all fields, their defaults and what
they mean; `course train --schema` prints the same for editors.  One typed model checks
what a learner wrote: a key that is not known, a value that cannot be and two settings
that contradict each other are told before anything is read or trained.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)
from pydantic.fields import FieldInfo

from course_lib import profiles
from course_lib.errors import CourseError

TASKS: dict[str, dict] = {  # what differs from the defaults below
    "images": {},  # with the full profile, another model: from_dict
    "text": dict(
        model="minilm",
        strategy="full",
        head_rate=1e-3,
        backbone_rate=3e-4,
        dropout=0.1,
        epochs=10,
        batch_size=16,
        augment="none",
        baseline_rates=(5e-4, 2e-3),
    ),
}


# -- what a field may be ----------------------------------------------------------


def _number(value):
    """YAML 1.1, which PyYAML reads, takes 1e-3 for a text."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _listed(value):
    """One name or number where a list may stand."""
    return value if isinstance(value, (list, tuple, dict)) else [value]


def _only(right: Callable[[Any], bool]) -> AfterValidator:
    """What values of the right type must fulfil besides; `Expected` says it."""

    def validated(value):
        if not right(value):
            raise ValueError
        return value

    return AfterValidator(validated)


@dataclass(frozen=True)
class Expected:
    """What values of a type may be, in words, for messages and for editors."""

    words: str


def whole(words: str, **limits):
    """The type of whole numbers within limits.  Strict: not "3", 3.0 or true."""
    return Annotated[int, Field(strict=True, **limits), Expected(words)]


def numbers(words: str, **limits):
    """The type of numbers within limits, which may be written 1e-3."""
    strict = Field(strict=True, allow_inf_nan=False, **limits)
    return Annotated[float, strict, BeforeValidator(_number), Expected(words)]


def several(one, words: str, read=_listed, least: int = 1):
    """The type of lists of something, of which a single one may stand for itself."""
    many = Field(min_length=least)
    taken = one | Annotated[list[one], many]
    alone = BeforeValidator(read, json_schema_input_type=taken)
    return Annotated[tuple[one, ...], many, alone, Expected(words)]


Count = whole("a whole number >= 1", ge=1, le=100_000)
Rate = numbers("a number above 0", gt=0, le=10)
Share = numbers("a share from 0 to 0.9", ge=0, le=0.9)
Text = Annotated[str, Field(strict=True)]
Name = Annotated[Text, Field(pattern=r"\S"), Expected("a name")]
YesNo = Annotated[bool, Field(strict=True), Expected("true or false")]
Names = several(Text, "a list of column names, such as [tool, line]", least=0)
Rates = several(
    Rate,
    "a list of rates above 0, such as [0.001, 0.003]",
    lambda rates: _listed(_number(rates)),
)
Alphas = several(
    numbers("a number from 0 to 1", ge=0, le=1),
    "a list of weights from 0 to 1, such as [0, 0.5, 1]",
    lambda alphas: _listed(_number(alphas)),
)
Factors = several(
    numbers("a number above 0", gt=0, le=100),
    "a list of factors above 0, such as [1, 0.3]",
    lambda factors: _listed(_number(factors)),
)
Plan = Annotated[
    dict[Count, several(Text, "names of parts")],
    Expected("epochs from 1 on and what is opened before them, {2: layer4, 4: all}"),
]
COMBINING = ("robust", "alphas", "soup", "soup_factors")  # weights of several runs
HELD = ("frozen", "last_stage", "head_then_full", "gradual")  # weights, for a while
OLD = {"head": "frozen", "last": "last_stage"}  # names of strategies until 2026
Strategy = Annotated[
    Literal[
        "auto", "frozen", "last_stage", "full", "head_then_full", "gradual", "scratch"
    ],
    BeforeValidator(
        lambda name: OLD.get(name, name) if isinstance(name, str) else name
    ),
]
Reads = Annotated[
    Literal["auto", "last", "stages"]
    | Annotated[tuple[Name, ...], Field(min_length=1)],
    BeforeValidator(
        lambda value: tuple(value) if isinstance(value, list) else value,
        json_schema_input_type=Literal["auto", "last", "stages"] | list[Name],
    ),
    Expected("auto, last, stages, or names of stages such as [stage3, stage4]"),
]
Split = Annotated[
    tuple[numbers("a share", gt=0, lt=1), ...],
    Field(min_length=3, max_length=3),
    _only(lambda shares: abs(sum(shares) - 1) <= 1e-6),
    Expected("three shares above 0 that sum to 1, such as [0.7, 0.15, 0.15]"),
]
Span = Annotated[
    tuple[numbers("a value", gt=-1e12, lt=1e12), ...],
    Field(min_length=2, max_length=2),
    _only(lambda span: span[0] < span[1]),
    Expected("two numbers, the smaller first, such as [0, 4095]"),
]


def say(default, *lines: str, **schema) -> Any:
    """A field: its default, what it means, and more for the JSON Schema."""
    return Field(default, description="\n".join(lines), json_schema_extra=schema)


# -- the fields, in the order of the file -----------------------------------------


class Settings(BaseModel):
    """What every kind of job has in common; made by :func:`checked`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shown_by: ClassVar[str] = "course train --example {task}"  # prints an example
    _where: str = PrivateAttr("configuration")

    @property
    def where(self) -> str:
        """The file that it was read from, for messages."""
        return self._where

    def __eq__(self, other) -> bool:
        """The same settings, whatever file they stand in."""
        return type(other) is type(self) and self.model_dump() == other.model_dump()

    def to_dict(self) -> dict:
        """All fields as JSON-ready values, in the order of the file."""
        values = self.model_dump()
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    def to_yaml(self) -> str:
        """The configuration as a file without comments."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def error(self, key: str, problem: str, expected: str, do: str) -> CourseError:
        """What is wrong with one key of this file."""
        return CourseError(_message(self.where, key, problem, expected, do))


class Config(Settings):
    """A whole training job.  Every field is explained in :func:`example`.

    Made by :func:`load` or :func:`from_dict`, which raise CourseError.
    """

    @property
    def combines(self) -> bool:
        """Is the result made of the weights of several runs?"""
        return self.robust != "none" or self.soup is not None

    task: Literal["images", "text"] = say("images", "images or text")
    model: Name = say(
        "imagenet/efficientnet-lite0",
        "source model: imagenet/efficientnet-lite0, -lite1 or -lite2 (fetched once by",
        "`course data fetch`), bundled/NAME, minilm, or a public one, which needs a",
        "network or a cache: torchvision/NAME, timm/NAME, hf/NAME",
    )
    weights: Literal["pretrained", "random"] = say("pretrained", "pretrained or random")
    strategy: Strategy = say(
        "auto",
        "frozen: only the new head learns (of pictures, a linear one is fitted as a",
        "logistic regression: rates, epochs and augment then have no part in it);",
        "last_stage: the last stage too; full: everything; head_then_full: the head",
        "for a quarter of the epochs, then everything; gradual: the head first, then",
        "one part after the other; scratch: everything, from random weights; auto: by",
        "the number of labels, which is said",
    )
    last_blocks: whole("a whole number >= 1", ge=1, le=1000) | None = say(
        None,
        "how many blocks learn, with strategy: last_stage; empty: those of the lowest",
        "resolution (of a transformer, one)",
    )
    head_reads: Reads = say(
        "auto",
        "with strategy: frozen, what the new head reads: last (the last layer), stages",
        "(mean and deviation over space of several), names of stages, or auto: by",
        "cross-validation inside the training part, which is said",
    )
    unfreeze: Plan = say(
        {},
        "with strategy: gradual, {epoch: part}: what is opened before which epoch;",
        "empty: one part more before each epoch, from the head down",
        propertyNames={"pattern": "^[1-9][0-9]*$"},
    )
    head_rate: Rate = say(3e-3, "learning rate of the new head")
    backbone_rate: Rate = say(
        1e-3, "and of the block below it; large text encoders want 2e-5 to 5e-5"
    )
    layer_decay: numbers("a number above 0, at most 1", gt=0, le=1) = say(
        1.0,
        "each block below learns at this times the rate above it; 1: all at one rate",
    )
    warmup: Annotated[Share, Expected("a share of the updates from 0 to 0.9")] = say(
        0.1, "share of the updates in which the rates rise"
    )
    schedule: Literal["cosine", "linear", "constant", "slanted"] = say(
        "cosine", "and how they fall: cosine, linear, constant, slanted"
    )
    weight_decay: numbers("a number from 0 on", ge=0, le=10) = say(
        0.01, "of matrices; norms and biases: 0"
    )
    dropout: Share = say(0.0, "before the head")
    label_smoothing: Share = say(0.0, "0: none")
    class_weights: Literal["none", "balanced"] = say(
        "none", "balanced: each class counts the same in the loss, however rare"
    )
    clip_norm: numbers("a number above 0", gt=0, le=1e6) | None = say(
        None, "longest gradient"
    )
    robust: Literal["none", "wise-ft"] = say(
        "none",
        "wise-ft: the head learns alone, the strategy goes on from there (LP-FT), and",
        "the weights are mixed between both, as validation likes best (Wortsman et al.",
        "2022a); it can pay where the start is good under the shift: in the course it",
        "gained nothing under five shifts and lost 3 points under one of them (C68);",
        "LP-FT alone gained 2 points under two of them, and lost 2 without one (C67)",
    )
    alphas: Alphas = say(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        "with robust: wise-ft, the mixing weights that validation chooses from; 0: the",
        "start, 1: the fine-tuned end",
    )
    soup: whole("a whole number from 2 to 20", ge=2, le=20) | None = say(
        None,
        "so many runs from one head that learned alone, N times the training; their",
        "weights are averaged, one more as long as validation gets no worse (greedy",
        "soup, Wortsman et al. 2022b); in the course it gained a point over the run",
        "that validation chose in one of three places, and lost nowhere (C69)",
    )
    soup_factors: Factors = say(
        (1.0, 0.3, 0.1),
        "with soup, run by run the factor of head_rate and backbone_rate, from the",
        "first again when all were used; runs differ in their seed, too",
    )
    epochs: Count | None = say(
        None,
        "passes over the training part; empty: 20, or as many as give 200 updates",
    )
    patience: Count | None = say(
        5,
        "stop after so many epochs without a lower validation loss; empty: never; if",
        "epochs is empty, so many of each 20 epochs",
    )
    precision: Literal["float32", "bf16", "fp16", "auto"] = say(
        "auto", "float32, bf16, fp16 (CUDA only), or auto: bf16 on a GPU, else float32"
    )
    batch_size: whole("a whole number >= 1", ge=1, le=65_536) = say(
        32, "of all processes together"
    )
    augment: Literal["none", "shift", "flip", "turn"] = say(
        "shift",
        "none, shift, flip (and shift), turn (where up is no direction, and shift)",
    )
    image_size: whole("16 to 1024 pixels", ge=16, le=1024) | None = say(
        None,
        "pixels a side; empty: the model's own; of imagenet/NAME by the pictures' own",
        "size and the time (128, 160 or 224), of bundled/NAME 64",
    )
    minutes: numbers("minutes above 0", gt=0, le=100_000) = say(
        20, "that a job may take on two cores; pictures are made smaller to keep to it"
    )
    max_length: whole("4 to 8192", ge=4, le=8192) | None = say(
        None,
        "tokens of a text, what is longer is cut; empty: as the data need, up to what",
        "the model reads",
    )
    value_range: Span | None = say(
        None,
        "values of pictures with more than 8 bits that become black and white;",
        "empty: found on the training part, the same for all pictures, and told",
    )
    seed: whole("a whole number >= 0", ge=0, le=2**31) = say(
        0, "of split, head, order and dropout"
    )
    split: Split = say((0.7, 0.15, 0.15), "training, validation, test, where not given")
    image_column: Name | None = say(
        None, "of a table; empty: image, or another usual name"
    )
    text_column: Name | None = say(
        None, "of a table; empty: text, or another usual name"
    )
    label_column: Name | None = say(
        None, "of a table; empty: label, or another usual name"
    )
    labels: Literal["auto", "merge", "as_written"] = say(
        "auto",
        "leak, Leak and 'leak ' in a table or as folders: auto and merge make them one",
        "class and say so, as_written three; auto stops at single letters (a, A)",
    )
    skip_empty: YesNo = say(False, "leave out, and count, rows without text or label")
    sheet: Name | None = say(
        None, "of an Excel file; empty: the first with the columns"
    )
    encoding: Name | None = say(
        None, "of a CSV file; empty: UTF-8, else cp1252, which is said"
    )
    groups: Names = say((), "columns whose groups the report compares")
    together: Name | None = say(
        None, "column whose equal values stay in one part: wafer, patient, author"
    )
    baseline: YesNo = say(
        True, "train the same network from scratch, too, for as many updates or more"
    )
    baseline_rates: Rates = say((1e-3, 3e-3), "rates it may choose from, by validation")
    audit: Literal["stop", "warn"] = say(
        "stop", "what to do when the check before training finds a mistake"
    )
    onnx: YesNo = say(True, "export to ONNX, too, and compare")
    licence: Name = say(
        "not stated", "of your data and the trained model, for the model card"
    )
    device: Literal["auto", "cpu", "cuda"] = say("auto", "auto: a GPU if there is one")


FIELDS = Config.model_fields  # {name: its type, default and words}


def schema(kind: type[Settings] = Config) -> dict:
    """The JSON Schema of a configuration, for editors and other programs.

    It knows every key, its type and its limits.  Not in it, and told by
    :func:`from_dict` alone: shares that do not sum to 1, a range that does not rise,
    and two settings that contradict each other.
    """
    found = kind.model_json_schema()
    for name, one in found["properties"].items():
        one["description"] = one["description"].replace("\n", " ")
        one["errorMessage"] = _expected(kind.model_fields[name])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A job of {kind.shown_by.partition(' --')[0]}",
        "type": "object",
        "additionalProperties": False,
        "properties": found["properties"],
    }


# -- reading ----------------------------------------------------------------------


def load(path: str | Path) -> Config:
    """Read and check a YAML file.  Raises CourseError naming file, key and remedy."""
    return from_dict(read(path), str(path))


def read(path: str | Path, example: str = "course train --example images") -> dict:
    """The keys and values of a YAML file.  Raises CourseError for any other file.

    example: the command that prints one to begin with.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CourseError(
            f"There is no configuration {path}.\nExpected: a YAML file.\nDo: "
            f"`{example} > job.yaml` writes one to begin with."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(
            f"The configuration {path} cannot be read ({error}).\nExpected: a YAML "
            "file, text in UTF-8.\nDo: name the file, or save it as UTF-8."
        ) from None
    try:
        values = yaml.load(text, _Strict)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise CourseError(
            f"{path}{place}: {problem}.\nExpected: lines `key: value`.\nDo: compare "
            f"with `{example}`."
        ) from None
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return values
    raise CourseError(
        f"{path} holds a {type(values).__name__}.\nExpected: lines `key: value`.\n"
        f"Do: compare with `{example}`."
    )


class _Strict(yaml.SafeLoader):
    """PyYAML's SafeLoader, which would keep the last of two equal keys unsaid."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if isinstance(name, (str, int)) and name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {name!r} stands there twice", key.start_mark
                )
            if isinstance(name, (str, int)):
                seen.add(name)
        return super().construct_mapping(node, deep)


def from_dict(values: Mapping | None, where: str = "configuration") -> Config:
    """A checked Config from {key: value}; what is left out has its default.

    Raises CourseError for unknown keys, wrong values and contradictions.
    """
    values = values or {}
    task = values.get("task", "images")
    usual, profile = {}, profiles.current()
    if isinstance(task, str) and task != "images":
        usual = TASKS.get(task, {})
    elif profile.network:
        usual = {"model": profile.vision_backbone}
    if values.get("strategy") == "scratch":
        usual = usual | {"weights": "random"}
    config = checked(Config, values, usual, where)
    for found in _contradictions(config):
        raise config.error(*found)
    return config


def checked(kind: type[Settings], values: Mapping, usual: Mapping, where: str):
    """A job's settings of that kind; ``usual`` stands where a value is left out.

    Raises CourseError for unknown keys and wrong values.
    """
    fields, task = kind.model_fields, values.get("task", "images")
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            expected = f"{near[0]!r}?" if near else f"one of {', '.join(fields)}"
            shown = kind.shown_by.format(task=task)
            if key in COMBINING:
                expected = f"{key} with task: images or text, not with task: {task}."
            raise CourseError(
                f"{where}: there is no key {key!r}.\nExpected: {expected}\nDo: correct "
                f"the key or remove it; `{shown}` shows all."
            )
    try:
        config = kind(**usual | dict(values))
    except ValidationError as error:
        key = error.errors()[0]["loc"][0]
        value, one = values[key], fields[key]
        hint = _hint(value, key, one)
        said = _message(where, key, f"is {value!r}", _expected(one), hint)
        raise CourseError(said) from None
    config._where = where
    return config


def _message(where, key, problem, expected, do) -> str:
    return f"{where}: {key} {problem}.\nExpected: {expected}.\nDo: {do}."


def _expected(one: FieldInfo) -> str:
    """What a field may be, in words."""
    if get_origin(one.annotation) is Literal:
        return f"one of {', '.join(get_args(one.annotation))}"
    about, optional = one.metadata, type(None) in get_args(one.annotation)
    if optional:  # the words stand at the X of X | None
        about = get_args(one.annotation)[0].__metadata__
    *_, said = (part for part in about if isinstance(part, Expected))
    return said.words + ", or nothing" * optional


def _hint(value, key: str, one: FieldInfo) -> str:
    """What to do about a wrong value."""
    if isinstance(value, str) and get_origin(one.annotation) is Literal:
        near = difflib.get_close_matches(value, get_args(one.annotation), 1)
        if near:
            return f"write {key}: {near[0]}"
    if isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", value):
        return "write the number without quotes"
    default = _yaml(one.default) or "nothing"
    return f"correct it, or remove the line; the default is {default}"


def _misplaced(config: Config, chosen: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """The same of settings that belong to another strategy."""
    strategy = config.strategy
    if "last_blocks" in chosen and strategy != "last_stage":
        yield (
            "last_blocks",
            f"is given, and strategy is {strategy}",
            "last_blocks only with strategy: last_stage",
            "set strategy: last_stage, or remove last_blocks",
        )
    if "head_reads" in chosen and strategy not in ("auto", "frozen"):
        yield (
            "head_reads",
            f"is given, and strategy is {strategy}",
            "head_reads with strategy frozen or auto, for pictures",
            "set strategy: frozen, or remove head_reads",
        )
    if config.weights == "random" and strategy in HELD:
        yield (
            "weights",
            f"is random, and strategy {strategy} freezes them",
            "strategy: full with random weights, so that they learn",
            "set strategy: full, or weights: pretrained",
        )
    if strategy == "head_then_full" and 1 in (config.epochs, config.patience):
        key = "epochs" if config.epochs == 1 else "patience"
        yield (
            key,
            f"is 1, and strategy {strategy} trains the head first",
            f"{key} of 2 or more: the head needs one before the rest is opened",
            f"raise {key}, or set strategy: full",
        )
    if config.weights == "pretrained" and strategy == "scratch":
        yield (
            "weights",
            "is pretrained, and strategy: scratch begins with random ones",
            "weights: random, or nothing, with strategy: scratch",
            "remove weights, or set strategy: full",
        )


def _uncombinable(
    config: Config, chosen: set[str]
) -> Iterator[tuple[str, str, str, str]]:
    """The same of settings that combine the weights of several runs."""
    strategy = config.strategy
    if "alphas" in chosen and config.robust == "none":
        yield (
            "alphas",
            "is given, and robust is none",
            "alphas only with robust: wise-ft",
            "set robust: wise-ft, or remove alphas",
        )
    if "soup_factors" in chosen and config.soup is None:
        yield (
            "soup_factors",
            "is given, and soup is not",
            "soup_factors only with soup",
            "set soup: 3, for example, or remove soup_factors",
        )
    if not config.combines:
        return
    key = "soup" if config.robust == "none" else "robust"
    if config.weights == "random":
        yield (
            key,
            "is given, and the weights are random: the runs have no pretrained start",
            f"{key} with weights: pretrained and another strategy than scratch",
            f"remove {key}, or set weights: pretrained",
        )
    if strategy == "frozen" or "head_reads" in chosen:
        why = "strategy is frozen" if strategy == "frozen" else "head_reads too"
        yield (
            key,
            f"is given, and {why}: below the head there is nothing to mix, for only "
            "the head learns",
            f"{key} with strategy auto, last_stage, full, head_then_full or gradual, "
            "whose head reads the last layer",
            f"remove {key}, or {why.split()[0]}",
        )


def _contradictions(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """(key, problem, expected, do) of settings that cannot stand together.

    A setting that has its usual value was not chosen, and contradicts nothing.
    """
    usual = Config(**TASKS[config.task])
    chosen = {key for key in FIELDS if getattr(config, key) != getattr(usual, key)}
    strategy = config.strategy
    yield from _misplaced(config, chosen)
    yield from _uncombinable(config, chosen)
    if config.unfreeze and strategy != "gradual":
        yield (
            "unfreeze",
            f"is given, and strategy is {strategy}",
            "an unfreezing plan only with strategy: gradual",
            "set strategy: gradual, or remove unfreeze",
        )
    epochs = config.epochs or 20
    for epoch in config.unfreeze:
        if epoch >= epochs:
            yield (
                "unfreeze",
                f"opens something before epoch {epoch}, and there are {epochs} "
                "(counted from 0)",
                f"epochs from 1 to {epochs - 1}",
                "open it earlier, or train for more epochs",
            )
    for key in ("backbone_rate", "layer_decay"):
        if strategy == "frozen" and key in chosen:
            yield (
                key,
                "is given, and with strategy: frozen the backbone does not learn",
                f"{key} with strategy last_stage, full, head_then_full or gradual",
                f"remove {key}, or choose another strategy",
            )
    if config.task == "text" and config.augment != "none":
        yield (
            "augment",
            f"is {config.augment}, and the task is text",
            "augment: none; pictures can be shifted, texts cannot",
            "remove augment, or set task: images",
        )
    if config.batch_size == 1 and config.task == "images":
        yield (
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
ONLY = {"images": ("head_reads", "augment", "image_size", "minutes", "image_column"),
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
    return commented(config, ORDER, others)


def commented(config: Settings, order: Mapping[str, str], hidden=()) -> str:
    """A configuration as a file that explains each field.

    order: {title of a section: its first field}.  hidden: fields that are left out.
    """
    titles = {first: title for title, first in order.items()}
    first = f"# A training job for {config.task}.  Every line may be left out"
    lines = [first + (" but task." if config.task != "images" else "."), ""]
    for name, one in type(config).model_fields.items():
        if name in titles:
            lines += [f"# -- {titles[name]}", ""]
        if name in hidden:
            continue
        lines += [f"# {line}" for line in one.description.splitlines()]
        lines += [f"{name}: {_yaml(getattr(config, name))}", ""]
    return "\n".join(lines)


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
