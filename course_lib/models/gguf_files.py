"""GGUF files of Llama models, for llama.cpp and its relatives.

    gguf_files.write("model", "model.gguf", "q8_0")

The package gguf writes and quantises; here stand the names and the order of numbers
that the architecture "llama" has in such a file.  `compared` reads one back by
transformers.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from course_lib.errors import CourseError
from course_lib.models import encoders

KINDS = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}
MERGED = 32  # numbers of a block of Q8_0, of which rows are a multiple


def write(folder: str | Path, path: str | Path, kind: str = "f16") -> Path:
    """A folder that save_pretrained wrote, as one GGUF file, whole or not at all.

    kind: "f16", or "q8_0": matrices in 8 bits, blocks of 32 with a scale each; norms
    are float32 in both.  Raises CourseError for other architectures than Llama, for
    stretched positions, and for tokenizers that are no byte-level BPE.
    """
    import gguf
    from safetensors.torch import load_file

    folder, path = Path(folder), Path(path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _check(config, kind)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    split = _split(tokenizer)
    state = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    part = path.with_name(f".{path.name}.part")
    writer = gguf.GGUFWriter(part, "llama")
    try:
        _describe(writer, config, kind)
        _vocabulary(writer, config, tokenizer, split, folder)
        _tensors(writer, config, state, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _check(config: dict, kind: str) -> None:
    """CourseError for what cannot be written."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaled = rope.get("rope_type", rope.get("type", "default"))
    for wrong, said in (
        (kind not in KINDS, f"there is no kind {kind!r}, only {', '.join(KINDS)}"),
        (
            config["model_type"] != "llama",
            f"the architecture is {config['model_type']}, and only llama is written",
        ),
        (scaled != "default", f"its positions are stretched ({scaled})"),
        (
            config.get("attention_bias") or config.get("mlp_bias"),
            "its linear layers have biases",
        ),
        (config.get("hidden_act", "silu") != "silu", "its activation is not SiLU"),
    ):
        if wrong:
            raise CourseError(
                f"No GGUF file can be written: {said}.\nExpected: a model of the "
                "architecture llama.\nDo: convert the merged model with llama.cpp's "
                "own script, or leave gguf out."
            )


def _split(tokenizer: dict) -> str:
    """GGUF's name for how the tokenizer cuts words; CourseError for others."""
    before = tokenizer.get("pre_tokenizer") or {}
    parts = before.get("pretokenizers", [before])
    kinds = [part.get("type") for part in parts]
    plain = tokenizer["model"]["type"] == "BPE" and not tokenizer.get("normalizer")
    if plain and kinds[-1:] == ["ByteLevel"] and parts[-1].get("use_regex"):
        if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
            return "smollm"
        if kinds == ["ByteLevel"]:
            merges = tokenizer["model"]["merges"]
            apart = not any("".join(m).replace(" ", "")[-1:].isdigit() for m in merges)
            return "smollm" if apart else "gpt-2"
    raise CourseError(
        "No GGUF file can be written: the tokenizer cuts words in a way that is not "
        f"known here ({tokenizer['model']['type']}, {', '.join(map(str, kinds))}).\n"
        "Expected: byte-level BPE as of GPT-2 or SmolLM2.\nDo: convert the merged "
        "model with llama.cpp's own script, or leave gguf out."
    )


def _describe(writer, config: dict, kind: str) -> None:
    """Sizes and constants of the network."""
    import gguf

    rope = config.get("rope_parameters") or {}
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name(config.get("_name_or_path") or "model")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 1e4)))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType[KINDS[kind]])


def _vocabulary(writer, config, tokenizer, split, folder) -> None:
    """Tokens by number, their kinds, the merges, special tokens and the template."""
    import gguf

    kinds = gguf.TokenType
    tokens = [f"[PAD{i}]" for i in range(config["vocab_size"])]
    types = [kinds.UNUSED] * len(tokens)
    for token, number in tokenizer["model"]["vocab"].items():
        tokens[number], types[number] = token, kinds.NORMAL
    for one in tokenizer["added_tokens"]:
        kind = kinds.CONTROL if one["special"] else kinds.USER_DEFINED
        tokens[one["id"]], types[one["id"]] = one["content"], kind
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    for name in ("bos", "eos", "unk", "pad"):
        number = config.get(f"{name}_token_id")
        if isinstance(number, int):
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(False)
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))


def _tensors(writer, config: dict, state: dict, kind: str) -> None:
    """All weights under their names of llama.cpp."""
    import gguf

    arch = gguf.MODEL_ARCH.LLAMA
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    keys = config.get("num_key_value_heads") or heads
    types = gguf.GGMLQuantizationType
    for name, tensor in state.items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        known = names.get_name(name, try_suffixes=(".weight",))
        if known is None:
            raise CourseError(
                f"No GGUF file can be written: {name} has no name there.\nExpected: "
                "the tensors of a Llama model.\nDo: leave gguf out."
            )
        array = tensor.float().numpy()
        if name.endswith("q_proj.weight"):
            array = _rotated(array, heads)
        elif name.endswith("k_proj.weight"):
            array = _rotated(array, keys)
        if array.ndim == 1:
            writer.add_tensor(known, array)
        elif kind == "q8_0" and array.shape[-1] % MERGED == 0:
            packed = gguf.quants.quantize(array, types.Q8_0)
            writer.add_tensor(known, packed, raw_dtype=types.Q8_0)
        else:
            writer.add_tensor(known, array.astype(np.float16))


def _rotated(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys: pairs that rotate together stand side by side.

    transformers pairs row i of a head with row i + d/2, llama.cpp with row i + 1.
    (heads d, k) to the same shape.
    """
    rows, columns = weight.shape
    pairs = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows, columns)


@torch.no_grad()
def compared(path: str | Path, model, tokenizer, texts: Sequence[str]) -> dict:
    """How a GGUF file, read by transformers in float32, differs from a model.

    Returns {same_tokens, largest: of the differences of logits, of: largest logit,
    same_answers: share of positions with the same most likely token}.
    """
    encoders.transformers_settings()
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    path = Path(path)
    where = dict(gguf_file=path.name, local_files_only=True)
    with encoders.quiet(logging):
        theirs = AutoTokenizer.from_pretrained(path.parent, **where)
        other = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, **where
        ).eval()
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    again = [theirs(text, add_special_tokens=False)["input_ids"] for text in texts]
    largest, most, same, count = 0.0, 0.0, 0, 0
    for row in rows:
        ids = torch.tensor([row])
        a = model(input_ids=ids.to(next(model.parameters()).device)).logits[0]
        a, b = a.float().cpu(), other(input_ids=ids).logits[0].float()
        largest = max(largest, float((a - b).abs().max()))
        most = max(most, float(a.abs().max()))
        same += int((a.argmax(1) == b.argmax(1)).sum())
        count += len(row)
    return {
        "same_tokens": rows == again,
        "largest": largest,
        "of": most,
        "same_answers": same / count,
    }
