"""Small and large language models: loading in 32, 16 or 4 bits, prompts, answers.

    model, tokenizer = language_models.load("smollm2-135m-instruct", quantised="nf4")
    language_models.continued(model, tokenizer, tokenizer(texts)["input_ids"])

The work is done by transformers and bitsandbytes; where bitsandbytes has no backend, by
`course_lib.models.quantization`.
"""

import os
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from course_lib import assets, profiles
from course_lib.errors import CourseError
from course_lib.models import encoders, quantization
from course_lib.models.hub import unavailable

PUBLIC = ("smollm2-135m-instruct",)  # fetched by `course data fetch`, then offline
TEMPLATE = """\
{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\
{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}\
{% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}"""
PROMPT = "Ticket: {text}\nReport:\n"
FOUR_BITS = ("nf4", "fp4")
# For each length of a row oneDNN compiles products anew, 1 MB each, and keeps 1024 of
# them; an update needs about 40.  Read at the first product, so set while importing.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def folder(name: str) -> Path:
    """The folder of a fetched model, every file checked by its sha256.

    Raises CourseError for an unknown name, and for a file that is missing or damaged.
    """
    if name not in PUBLIC:
        raise CourseError(
            f"There is no language model called {name!r}.\nExpected: "
            f"{', '.join(PUBLIC)}, or hf/NAME for another public one.\n"
            "Do: check the name."
        )
    return assets.folder(name)


@cache
def bitsandbytes_works() -> bool:
    """Can bitsandbytes quantise on this machine's device?"""
    try:
        from bitsandbytes.functional import quantize_4bit

        quantize_4bit(torch.ones(1, 64, device=profiles.device()), quant_type="nf4")
    except Exception:  # whatever a missing native library raises
        return False
    return True


def configuration(name: str):
    """The transformers configuration of a model, named as for `load`, without weights.

    Raises CourseError where there is none.
    """
    encoders.transformers_settings()
    from transformers import AutoConfig

    where, public = _place(name)
    try:
        return AutoConfig.from_pretrained(where, local_files_only=not public)
    except Exception as error:  # the hub and each format raise families of their own
        raise unavailable(name, error) from error


def _place(name: str):
    """(folder or name on the hub, is it public?) of a model that exists."""
    public = name.startswith("hf/")
    where = name.removeprefix("hf/") if public else folder(name)
    encoders.check_folder(name, where)
    return where, public


def load(
    name: str | None = None,
    quantised: str | None = None,
    double: bool = True,
    dtype: torch.dtype = torch.float32,
    pretrained: bool = True,
    device=None,
):
    """A causal language model and its tokenizer: (model, tokenizer), in eval mode.

    name: "smollm2-135m-instruct" (134.5 million parameters) or ``hf/NAME``; without
    one, the profile's.  quantised:
    "nf4" or "fp4" stores the blocks' matrices in 4 bits (embeddings, norms and head
    keep ``dtype``, in which products are computed), ``double`` also quantises their
    constants; nothing of a quantised model learns.  ``pretrained=False`` draws the
    weights from seed 0.  device: None takes the profile's.
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
    options = dict(dtype=dtype, device_map=device or profiles.device())
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
    return model.eval(), tokenizer


def tokenizer(name: str):
    """The tokenizer of a model, named as for `load`; it pads on the left.

    Raises CourseError where there is none.
    """
    encoders.transformers_settings()
    where, public = _place(name)
    try:
        return _tokenizer(where, public)
    except Exception as error:  # the hub and each format raise families of their own
        raise unavailable(name, error) from error


def _tokenizer(where, public: bool):
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(
        where, local_files_only=not public, padding_side="left"
    )
    if found.pad_token is None:
        found.pad_token = found.eos_token
    return found


def _from_files(name: str, options: dict, pretrained: bool):
    """(model, tokenizer) by transformers, whose own errors pass through."""
    encoders.transformers_settings()
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # it would stand in a lesson's output
    where, public = _place(name)
    tokenizer = _tokenizer(where, public)
    if not pretrained:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = AutoConfig.from_pretrained(where)
            made = AutoModelForCausalLM.from_config(config, dtype=options["dtype"])
            return made, tokenizer
    if not public:
        options = options | dict(use_safetensors=True)
    options = options | dict(local_files_only=not public)
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
def rows_loss(model, tokenizer, rows: Sequence[dict], batch_size: int = 50) -> float:
    """Mean cross-entropy in nats over all labels of token lists, see `examples`."""
    from transformers import DataCollatorForSeq2Seq

    collate = DataCollatorForSeq2Seq(tokenizer, padding=True)
    rows = [{key: row[key] for key in ("input_ids", "labels")} for row in rows]
    rows.sort(key=lambda r: len(r["labels"]))
    device, total, count = next(model.parameters()).device, 0.0, 0
    model.eval()
    for start in range(0, len(rows), batch_size):
        batch = collate(rows[start : start + batch_size]).to(device)
        n = (batch["labels"][:, 1:] >= 0).sum().item()
        total += model(**batch).loss.item() * n
        count += n
    return total / count


@torch.no_grad()
def continued(
    model,
    tokenizer,
    starts: Sequence[Sequence[int]],
    length: int = 64,
    batch_size: int = 50,
    end: Sequence[int] | None = None,
) -> list[str]:
    """The text that follows each token list, greedily, at most ``length`` tokens.

    Those of similar length together, padded on the left, with the keys and values of
    what was read kept.  end: tokens that end an answer (None: the model's own).
    """
    model.eval()
    order = sorted(range(len(starts)), key=lambda i: len(starts[i]))
    answers, device = [""] * len(starts), next(model.parameters()).device
    options = {} if end is None else dict(eos_token_id=list(end))
    for first in range(0, len(order), batch_size):
        some = order[first : first + batch_size]
        tokens = tokenizer.pad(
            {"input_ids": [list(starts[i]) for i in some]},
            padding_side="left",
            return_tensors="pt",
        ).to(device)
        out = model.generate(
            **tokens,
            max_new_tokens=length,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
            **options,
        )
        new = out[:, tokens["input_ids"].shape[1] :]
        for i, line in zip(some, tokenizer.batch_decode(new, skip_special_tokens=True)):
            answers[i] = line.strip()
    return answers


@contextmanager
def expanded(model):
    """On a CPU, layers in 4 bits as plain ones while a model is evaluated.

    Each pass would expand them anew, one for every token of an answer.  The numbers are
    the same; they take the room of the precision in which the products are.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if hasattr(getattr(layer, "weight", None), "quant_state")
        and not hasattr(layer, "base_layer")  # peft's, which passes the weight on
        and layer.weight.device.type == "cpu"
    }
    if layers:
        from bitsandbytes.functional import dequantize_4bit
    for name, layer in layers.items():
        plain = torch.nn.Linear(layer.in_features, layer.out_features, device="meta")
        weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        plain.weight = torch.nn.Parameter(weight.to(layer.compute_dtype), False)
        plain.bias = layer.bias
        model.set_submodule(name, plain)
    try:
        yield
    finally:
        for name, layer in layers.items():
            model.set_submodule(name, layer)


# -- conversations ----------------------------------------------------------------


def with_template(tokenizer) -> bool:
    """Give a tokenizer without a chat template a plain one; was there one already?

    "User: ...", "Assistant: ..." a line, and the end of text behind each answer.
    """
    if tokenizer.chat_template:
        return True
    tokenizer.chat_template = TEMPLATE
    return False


def ends(tokenizer, model=None) -> list[int]:
    """Tokens that end an answer: the template's behind a turn, and the model's own."""
    talk = [dict(role="user", content="a"), dict(role="assistant", content="b")]
    text = tokenizer.apply_chat_template(talk, tokenize=False)
    tail = tokenizer(text[text.rindex("b") + 1 :], add_special_tokens=False)
    special = set(tokenizer.all_special_ids)
    found = [token for token in tail["input_ids"] if token in special][:1]
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = own if isinstance(own, list) else [own]
    found += [token for token in (*own, tokenizer.eos_token_id) if token is not None]
    return list(dict.fromkeys(found))


def conversation(tokenizer, messages: Sequence[tuple[str, str]], end: int) -> dict:
    """Tokens of a conversation; only the assistant's turns are to be learned.

    messages: (role, content) each, in the tokenizer's template; a last answer that is
    empty is left open.  end: the token behind an answer, which is learned with it.
    Returns {input_ids, labels, start: tokens before the last answer}.  Each turn is
    cut into tokens as it is when the model answers, behind what stands before it.
    Raises CourseError for a template that writes an earlier turn in another way later.
    """
    said = [dict(role=role, content=content) for role, content in messages]
    ids, labels, written, start = [], [], "", 0

    def add(text: str, learn: bool) -> None:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        if learn and end not in tokens:
            tokens.append(end)
        known = tokens.index(end) + 1 if learn else 0
        ids.extend(tokens)
        labels.extend(tokens[:known] + [-100] * (len(tokens) - known))

    for i, one in enumerate(said):
        if one["role"] != "assistant":
            continue
        for answer in (False, True):
            if answer and i == len(said) - 1 and not one["content"]:
                break
            text = tokenizer.apply_chat_template(
                said[: i + answer], tokenize=False, add_generation_prompt=not answer
            )
            if not text.startswith(written):
                raise CourseError(
                    "conversation: the chat template writes earlier turns in another "
                    "way when more follow.\nExpected: a template that only adds.\n"
                    "Do: give the model conversations of one answer each."
                )
            add(text[len(written) :], answer)
            start = start if answer else len(ids)
            written = text
    return dict(input_ids=ids, labels=labels, start=start)
