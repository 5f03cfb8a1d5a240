"""What a plan is asked for: method, precision, optimizer, sizes; each value checked."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from course_lib.errors import CourseError

METHODS = ("full", "lora", "qlora")
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
OPTIMIZERS = {  # moments of a learned number, bytes of one (0: as the number), paged
    "adamw": (2, 0, False),
    "paged adamw": (2, 4, True),
    "adamw8bit": (2, 1, False),
    "paged adamw8bit": (2, 1, True),
    "sgd": (0, 0, False),
    "sgd momentum": (1, 0, False),
}


@dataclass(frozen=True)
class Options:
    """How a model is trained: all that a plan depends on besides its shapes.

    method: "full", "lora" or "qlora" (nf4, blocks of 64).
    r, targets: rank; "all" linear layers but the head, or ends of their names.
    sequence, batch: tokens of a sequence, sequences of a micro-batch.  dtype: of
    weights and computation.  master: full fine-tuning in 16 bits keeps a float32 copy
    of the weights with Adam's states, 2 + 2 + 4 + 8 = 16 bytes a parameter (mixed
    precision; Rajbhandari et al. 2020, section 3.1); without it 2 + 2 + 4, in float32
    4 + 4 + 8.  prepared: QLoRA after peft's prepare_model_for_kbit_training, which
    casts embeddings, head and norms to float32; the activations follow.
    adapter_dtype: float32 is peft's default.  optimizer: see OPTIMIZERS.  attention:
    "sdpa" keeps no T x T matrix, "eager" keeps one a head, "auto" is what transformers
    takes for this architecture.
    Raises CourseError on impossible values.
    """

    method: str
    r: int = 16
    targets: str | Iterable[str] = "all"
    sequence: int = 512
    batch: int = 1
    checkpointing: bool = True
    dtype: str = "bfloat16"
    optimizer: str = "adamw"
    double_quantisation: bool = True
    prepared: bool = True
    master: bool = True
    adapter_dtype: str = "float32"
    attention: str = "auto"

    def __post_init__(self):
        object.__setattr__(self, "optimizer", _optimizer_name(self.optimizer))
        if not isinstance(self.targets, str):
            object.__setattr__(self, "targets", tuple(self.targets))
        _check(self)


def _optimizer_name(name: str) -> str:
    """paged_adamw_8bit, AdamW-8bit, paged adamw8bit: one spelling."""
    words = re.sub(r"[\s_-]+", " ", str(name).lower()).strip()
    return words.replace("adamw 8bit", "adamw8bit").replace("adamw 32bit", "adamw")


def _check(o: Options) -> None:
    """CourseError for options that no run can have."""
    allowed = {
        "method": METHODS,
        "dtype": DTYPES,
        "adapter_dtype": DTYPES,
        "optimizer": OPTIMIZERS,
        "attention": ("auto", "sdpa", "eager"),
    }
    for key, values in allowed.items():
        if getattr(o, key) not in values:
            raise CourseError(
                f"plan: {key} {getattr(o, key)!r} is unknown.\n"
                f"Expected: one of {', '.join(values)}.\nDo: choose one of these."
            )
    for key, what in (("r", "rank"), ("batch", "batch"), ("sequence", "sequence")):
        value = getattr(o, key)
        if not isinstance(value, int) or value < 1:
            raise CourseError(
                f"plan: a {what} of {value!r} is not possible.\nExpected: a whole "
                f"number of 1 or more.\nDo: choose {key}=1 at the least."
            )
