"""The configuration of a `task: language` job: a causal language model learns answers.

`course train --example language` prints a file with all fields, their defaults and what
they mean.  `from_dict` checks what somebody wrote, as `configuration` does for pictures
and texts.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from course_lib.jobs import configuration
from course_lib.jobs.configuration import (
    Count,
    Name,
    Rate,
    Settings,
    Share,
    Split,
    YesNo,
    numbers,
    say,
    whole,
)

MODEL_FILE = "language.json"  # beside a merged model; the last file of it


Number = numbers("a number above 0", gt=0, le=100_000)
Whole = whole("a whole number >= 0", ge=0, le=2**31)
RATES = {"lora": 1e-3, "qlora": 1e-3, "full": 1e-4}


class LanguageConfig(Settings):
    """A job for a language model.  Every field is explained in :func:`example`.

    Made by :func:`from_dict`, which raises CourseError.
    """

    task: Literal["language"] = say("language", "language; see also images and text")
    model: Name = say(
        "smollm2-135m-instruct",
        "a causal language model: smollm2-135m-instruct, a bundled one, or hf/FOLDER",
        "with a folder that save_pretrained wrote; hf/NAME needs a network",
    )
    method: Literal["lora", "qlora", "full"] = say(
        "lora",
        "lora: adapters beside frozen layers (Hu et al. 2022); qlora: the same beside",
        "layers in 4 bits (NF4, double quantisation; Dettmers et al. 2023); full: all",
    )
    rank: Count = say(16, "of the adapters")
    alpha: Number = say(16.0, "what adapters add is multiplied by alpha / rank")
    rate: Rate | None = say(
        None, "learning rate; empty: 1e-3 for lora and qlora, 1e-4 for full"
    )
    warmup: Share = say(0.1, "share of the updates in which the rate rises")
    schedule: Literal["cosine", "linear", "constant"] = say(
        "cosine", "and how it falls: cosine, linear, constant"
    )
    weight_decay: numbers("a number from 0 to 10", ge=0, le=10) = say(
        0.0, "of the matrices that learn"
    )
    clip_norm: Number = say(1.0, "longest gradient")
    updates: Count | None = say(None, "how many; empty: as epochs says")
    epochs: Count = say(3, "passes over the training part, where updates is empty")
    minutes: Number | None = say(
        None,
        "time for the updates; if they would take longer, there are fewer of them, and",
        "the rate falls sooner.  Empty: no limit",
    )
    batch_size: Count = say(8, "conversations of an update")
    evaluate_every: Count | None = say(
        None, "updates between evaluations; empty: a sixth of all"
    )
    evaluate_on: Count = say(
        200, "at most so many validation conversations for the loss"
    )
    precision: Literal["float32", "bf16", "auto"] = say(
        "auto",
        "of the frozen weights and the products; auto: bf16 on a GPU, else float32",
    )
    memory_gb: Number | None = say(
        None, "GiB that the job may take; empty: what the machine has free"
    )
    max_length: whole("16 to 131072", ge=16, le=131_072) | None = say(
        None, "tokens of a conversation; empty: as the data need, up to 2048"
    )
    too_long: Literal["stop", "leave_out", "cut"] = say(
        "stop",
        "longer conversations: stop and name them, leave them out, or cut their end,",
        "so that the model does not learn where these answers end",
    )
    skip_bad: YesNo = say(False, "leave out, and list, lines that cannot be used")
    split: Split = say(
        (0.8, 0.1, 0.1), "training, validation, test, where there are no such files"
    )
    prompt_column: Name | None = say(
        None, "key or column of the prompt; empty: prompt, or another usual name"
    )
    answer_column: Name | None = say(
        None, "key or column of the answer; empty: answer, or another usual name"
    )
    sheet: Name | None = say(
        None, "of an Excel file; empty: the first with the columns"
    )
    encoding: Name | None = say(
        None, "of the file; empty: UTF-8, else cp1252, which is said"
    )
    seed: Whole = say(0, "of split, adapters and order")
    test_answers: Whole = say(
        200, "at most so many test prompts are answered, before and after"
    )
    new_tokens: Count | None = say(
        None, "longest answer that is written; empty: as the training answers need"
    )
    samples: Whole = say(6, "answers shown in the report, before and after")
    merged: YesNo = say(
        True, "write the model with the adapters merged into it, for course predict"
    )
    gguf: Literal["none", "f16", "q8_0"] = say(
        "none", "a GGUF file too, for llama.cpp and its relatives: none, f16, q8_0"
    )
    licence: Name = say(
        "not stated", "of your data and the trained model, for the model card"
    )
    device: Literal["auto", "cpu", "cuda"] = say("auto", "auto: a GPU if there is one")

    @property
    def peak_rate(self) -> float:
        """The rate after the warm-up."""
        return self.rate if self.rate is not None else RATES[self.method]


ORDER = {
    "What is trained": "task",
    "How": "rate",
    "For how long, with what": "updates",
    "Your data": "max_length",
    "What comes with it": "test_answers",
}


def from_dict(values: Mapping | None, where: str = "configuration") -> LanguageConfig:
    """A checked configuration from {key: value}; what is left out has its default.

    Raises CourseError for unknown keys, wrong values and contradictions.
    """
    config = configuration.checked(LanguageConfig, values or {}, {}, where)
    for found in _contradictions(config):
        raise config.error(*found)
    return config


def _contradictions(config) -> Iterator[tuple[str, str, str, str]]:
    """(key, problem, expected, do) of settings that cannot stand together."""
    chosen = config.model_fields_set
    for key in ("rank", "alpha"):
        if key in chosen and config.method == "full":
            yield (
                key,
                "is given, and method is full, which has no adapters",
                f"{key} with method lora or qlora",
                f"remove {key}, or set method: lora",
            )
    if {"updates", "epochs"} <= chosen and config.updates:
        yield (
            "epochs",
            "is given, and updates too",
            "one of the two",
            "remove one of them",
        )
    if config.gguf != "none" and not config.merged:
        yield (
            "gguf",
            f"is {config.gguf}, and merged is false",
            "merged: true, for a GGUF file holds the merged model",
            "set merged: true, or gguf: none",
        )
    if config.method == "full" and not config.merged:
        yield (
            "merged",
            "is false, and method is full, which leaves no adapter",
            "merged: true",
            "remove it",
        )


def example() -> str:
    """A commented YAML file with every field at its default."""
    return configuration.commented(from_dict({}), ORDER)
