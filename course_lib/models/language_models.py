"""Small and large language models: loading in 32, 16 or 4 bits, prompts, answers.

    model, tokenizer = language_models.load("fab-llama", quantised="nf4")
    language_models.write(model, tokenizer, texts)

The work is done by transformers and bitsandbytes; where bitsandbytes has no backend, by
`course_lib.models.quantization`.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from course_lib import assets, files, paths, profiles
from course_lib.errors import CourseError
from course_lib.models import encoders, quantization
from course_lib.models.hub import unavailable

PUBLIC = ("smollm2-135m-instruct",)  # fetched by `course data fetch`, then offline
PROMPT = "Ticket: {text}\nReport:\n"
FOUR_BITS = ("nf4", "fp4")


def bundled() -> list[str]:
    """Names of the language models in data/models: each is a folder of its own."""
    return sorted(path.parent.name for path in paths.MODELS.glob("*/config.json"))


def folder(name: str) -> Path:
    """The folder of a bundled or fetched model, every file checked by its sha256.

    Raises CourseError for an unknown name, and for a file that is missing or damaged.
    """
    if name in PUBLIC:
        return assets.folder(name)
    keys = [key for key in files.manifest() if key.startswith(f"models/{name}/")]
    if not keys:
        raise CourseError(
            f"There is no language model called {name!r}.\nExpected: one of "
            f"{', '.join((*bundled(), *PUBLIC))}, or hf/NAME for a public one.\n"
            "Do: check the name."
        )
    return [files.verified(key) for key in keys][0].parent


@cache
def bitsandbytes_works() -> bool:
    """Can bitsandbytes quantise on this machine's device?"""
    try:
        from bitsandbytes.functional import quantize_4bit

        quantize_4bit(torch.ones(1, 64, device=profiles.device()), quant_type="nf4")
    except Exception:  # whatever a missing native library raises
        return False
    return True


def load(
    name: str | None = None,
    quantised: str | None = None,
    double: bool = True,
    dtype: torch.dtype = torch.float32,
    pretrained: bool = True,
):
    """A causal language model and its tokenizer: (model, tokenizer), in eval mode.

    name: a bundled model, "smollm2-135m-instruct" (real, 134.5 million parameters), or
    ``hf/NAME``; without one, the profile's.  quantised:
    "nf4" or "fp4" stores the blocks' matrices in 4 bits (embeddings, norms and head
    keep ``dtype``, in which products are computed), ``double`` also quantises their
    constants; nothing of a quantised model learns.  ``pretrained=False`` draws the
    weights from seed 0.
    Raises CourseError for an unknown name or format, or a model that cannot be had.
    Dettmers et al. 2023.
    """
    if quantised not in (None, *FOUR_BITS):
        raise CourseError(
            f"load: quantised={quantised!r}, expected None, "
            f"{' or '.join(map(repr, FOUR_BITS))}."
        )
    name = name or profiles.current().language_model
    native = bool(quantised) and pretrained and bitsandbytes_works()
    options = dict(dtype=dtype)
    if native:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantised,
            bnb_4bit_use_double_quant=double,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        model, tokenizer = _from_files(name, options, pretrained)
    except CourseError:
        raise
    except Exception as error:  # the hub and each format raise families of their own
        raise unavailable(name, error) from error
    if native:
        _check_quantised(model, name)
    elif quantised == "nf4":
        quantization.quantize_linear(model, double=double)
    elif quantised:
        raise CourseError("load: without bitsandbytes there is only nf4.")
    never_repack(model)
    model.requires_grad_(not quantised)  # four bits cannot learn: adapters will
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def _from_files(name: str, options: dict, pretrained: bool):
    """(model, tokenizer) by transformers, whose own errors pass through."""
    encoders.transformers_settings()
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would stand in a lesson's output
    public = name.startswith("hf/")
    where = name.removeprefix("hf/") if public else folder(name)
    encoders.check_folder(name, where)
    tokenizer = AutoTokenizer.from_pretrained(
        where, local_files_only=not public, padding_side="left"
    )
    if not pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = AutoConfig.from_pretrained(where)
            return AutoModelForCausalLM.from_config(config, **options), tokenizer
    if not public:
        options = options | dict(use_safetensors=True)
    options = options | dict(local_files_only=not public, device_map=profiles.device())
    return AutoModelForCausalLM.from_pretrained(where, **options), tokenizer


def _check_quantised(model, name) -> None:
    """CourseError where bitsandbytes was asked for four bits and stored none.

    transformers replaces layers that are exactly torch's linear layer; of a family with
    a subclass of its own (Falcon) nothing is stored in 4 bits, and nothing says so.
    """
    if not any(type(layer).__name__ == "Linear4bit" for layer in model.modules()):
        raise CourseError(
            f"Of {name} no layer was stored in 4 bits.\nExpected: a model whose linear "
            "layers are torch's own, so that bitsandbytes can replace them.\nDo: load "
            "it with quantised=None, or take another family (Llama, Qwen, SmolLM2)."
        )


def never_repack(model) -> None:
    """Keep bitsandbytes' layers differentiable on CPUs with bfloat16 instructions.

    bitsandbytes 0.50 repacks a layer's codes when it is first used in eval mode, and
    from then on no gradient passes through it: a warning, and adapters that learn from
    the part of their gradient that the residual stream carries, or from none.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def chat(tokenizer, turns: Sequence[str], system: str | None = None) -> list[int]:
    """Tokens of a conversation in the tokenizer's template, open for the next answer.

    turns: what user and assistant said, one after the other, the user first and last.
    system: the instruction in front (None: the template's own).  Raises CourseError
    where the tokenizer has no template, or the turns end with the assistant's.
    """
    if not tokenizer.chat_template:
        raise CourseError(
            "chat: the tokenizer has no chat template.\nExpected: one of a model that "
            "was tuned to answer.\nDo: give the model a plain prompt instead."
        )
    if len(turns) % 2 != 1:
        raise CourseError(
            f"chat: {len(turns)} turns.\nExpected: an odd number, the user first and "
            "last.\nDo: leave the answer that is to be written out."
        )
    roles = ["user", "assistant"] * (len(turns) // 2 + 1)
    said = [dict(role=role, content=turn) for role, turn in zip(roles, turns)]
    if system is not None:
        said.insert(0, dict(role="system", content=system))
    return list(
        tokenizer.apply_chat_template(
            said, add_generation_prompt=True, return_dict=True
        )["input_ids"]
    )


def prompts(texts: Sequence[str]) -> list[str]:
    """What the model is given to continue, one a text."""
    return [PROMPT.format(text=text) for text in texts]


def examples(tokenizer, texts: Sequence[str], answers: Sequence[str]) -> list[dict]:
    """Token lists of prompt and answer; only the answer and its end are to be learned.

    Labels are -100 over the prompt, which cross-entropy leaves out.
    """
    rows = []
    for prompt, answer in zip(prompts(texts), answers, strict=True):
        start = tokenizer(prompt)["input_ids"]
        end = tokenizer(answer, add_special_tokens=False)["input_ids"]
        end = [*end, tokenizer.eos_token_id]
        rows.append(
            dict(
                input_ids=start + end,
                attention_mask=[1] * len(start + end),
                labels=[-100] * len(start) + end,
            )
        )
    if not rows:
        raise CourseError("No texts, expected at least one.")
    return rows


@torch.no_grad()
def answer_loss(model, tokenizer, texts, answers, batch_size: int = 50) -> float:
    """Mean cross-entropy in nats a token of the answers, given their texts."""
    from transformers import DataCollatorForSeq2Seq

    collate = DataCollatorForSeq2Seq(tokenizer, padding=True)
    rows = sorted(examples(tokenizer, texts, answers), key=lambda r: len(r["labels"]))
    device, total, count = next(model.parameters()).device, 0.0, 0
    model.eval()
    for start in range(0, len(rows), batch_size):
        batch = collate(rows[start : start + batch_size]).to(device)
        n = (batch["labels"][:, 1:] >= 0).sum().item()
        total += model(**batch).loss.item() * n
        count += n
    return total / count


@torch.no_grad()
def write(
    model, tokenizer, texts: Sequence[str], length: int = 64, batch_size: int = 50
) -> list[str]:
    """What the model answers, greedily, in at most ``length`` tokens each."""
    model.eval()
    starts = prompts(texts)
    order = sorted(range(len(starts)), key=lambda i: len(starts[i]))
    answers = [""] * len(starts)
    device = next(model.parameters()).device
    for first in range(0, len(order), batch_size):
        some = order[first : first + batch_size]
        tokens = tokenizer(
            [starts[i] for i in some],
            padding=True,
            return_tensors="pt",
            return_token_type_ids=False,
        ).to(device)
        out = model.generate(
            **tokens,
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
        new = out[:, tokens["input_ids"].shape[1] :]
        for i, line in zip(some, tokenizer.batch_decode(new, skip_special_tokens=True)):
            answers[i] = line.strip()
    return answers
