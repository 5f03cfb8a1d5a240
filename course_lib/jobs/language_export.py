"""What is left of a language job: adapter, merged model, GGUF file, model card.

    language_export.export(result, model, tokenizer, tokens, folder)  # course train
    model, tokenizer, about = language_export.load(folder)            # course predict

An update in 4 bits is mostly lost, because it is smaller than the step between two
levels; so the adapters are merged into the unrounded weights.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from course_lib import files
from course_lib.errors import CourseError
from course_lib.jobs import language_report
from course_lib.jobs.language_configuration import MODEL_FILE
from course_lib.models import gguf_files, language_models

FORMAT = 1
COMPARED = 16  # test conversations on which two models are compared
TEXTS = 4  # of them for the GGUF file


def export(result, model, tokenizer, tokens, folder: Path) -> None:
    """Write adapter/, model/, model.gguf; ``result.export`` says how they compare."""
    said: list[str] = []
    config = result.config
    result.export = {"said": said}
    if config["method"] != "full":
        _whole(folder / "adapter", lambda part: _save_adapter(model, part, config))
        said.append(
            "adapter: for peft, adapter_model.safetensors, "
            f"{_megabytes(folder / 'adapter')}."
        )
    if not config["merged"]:
        return
    rows = tokens.rows["test"][:COMPARED]
    trained = language_models.rows_loss(model, tokenizer, rows, TEXTS)
    merged = _merged(model, config, folder / "adapter")
    about = _about(result, tokens)
    dtype = _stored_dtype(merged, language_models.configuration(config["model"]))
    where = folder / "model"

    def save(part: Path) -> None:
        merged.to(dtype).save_pretrained(part)
        tokenizer.save_pretrained(part)

    _whole(where, save)
    reread, _ = language_models.load(f"hf/{where}")
    again = language_models.rows_loss(reread, tokenizer, rows, TEXTS)
    result.export |= {"trained_loss": trained, "merged_loss": again}
    said.append(
        f"model: all weights in {str(dtype).removeprefix('torch.')}, for transformers, "
        f"model.safetensors, {_megabytes(where)}. Read back, its loss on {len(rows)} "
        f"test conversations is {again:.3f} nats, that of the trained model "
        f"{trained:.3f}."
    )
    if config["method"] == "qlora":
        said.append(
            "The adapters were merged into the unrounded weights, not into those of 4 "
            "bits: there an update smaller than a step would be lost. So the merged "
            "model is not the trained one to the last digit."
        )
    if config["gguf"] != "none":
        result.export["gguf"] = _gguf(reread, tokenizer, tokens, folder, config["gguf"])
        said.append(_gguf_sentence(result.export["gguf"], config["gguf"]))
    files.atomic_write_json(where / MODEL_FILE, about, False)
    card = language_report.card(result).encode()
    files.atomic_write_bytes(where / "README.md", card)


def _whole(folder: Path, save: Callable[[Path], None]) -> None:
    """A folder that is there as a whole or not at all; the old one is replaced."""
    part, old = (folder.with_name(f".{folder.name}.{word}") for word in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    save(part)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _megabytes(folder: Path) -> str:
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return f"{size / 1e6:.0f} MB"


def _save_adapter(model, folder: Path, config: dict) -> None:
    """peft's files, with the model's name instead of a path on this machine."""
    for one in model.peft_config.values():
        one.base_model_name_or_path = config["model"]
    # embeddings never learn here; to find that out peft would ask the hub
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty form


def _merged(model, config: dict, adapter: Path):
    """The model with its adapters merged into unrounded float32 weights, once."""
    if config["method"] == "full":
        return model
    from peft import PeftModel

    base, _ = language_models.load(config["model"])
    tied = base.config.tie_word_embeddings
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    output, embeddings = merged.get_output_embeddings(), merged.get_input_embeddings()
    if tied and output.weight is not embeddings.weight:
        raise CourseError(
            "Output layer and embeddings came apart in the merge.\nExpected: one "
            "matrix, as in the source model.\nDo: set merged: false and report this."
        )
    return merged


def _stored_dtype(model, source) -> torch.dtype:
    """16 bits where the source model was stored so and nothing overflows, else 32."""
    wanted = getattr(source, "dtype", None)
    if wanted not in (torch.float16, torch.bfloat16):
        return torch.float32
    largest = max(float(p.detach().abs().max()) for p in model.parameters())
    return wanted if largest < torch.finfo(wanted).max else torch.float32


def _about(result, tokens) -> dict:
    """What `course predict` needs besides transformers' own files."""
    return {
        "format": FORMAT,
        "kind": "language",
        "source": result.config["model"],
        "method": result.config["method"],
        "ends": tokens.ends,
        "max_length": tokens.about["max_length"],
        "new_tokens": tokens.about["new_tokens"],
    }


def _gguf(model, tokenizer, tokens, folder: Path, kind: str) -> dict:
    """Write the GGUF file and read it back; {failed: reason} where it cannot be."""
    try:
        path = gguf_files.write(folder / "model", folder / "model.gguf", kind)
        some = tokens.kept["test"][:TEXTS]
        texts = [f"{one.asked}\n{one.answer}" for one in some]
        found = gguf_files.compared(path, model, tokenizer, texts)
        return found | {"bytes": path.stat().st_size}
    except CourseError as error:
        return {"failed": str(error).splitlines()[0]}


def _gguf_sentence(found: dict, kind: str) -> str:
    if "failed" in found:
        return f"{found['failed']} The folder model is complete without it."
    tokens = "the same" if found["same_tokens"] else "OTHER"
    return (
        f"model.gguf, {kind}, {found['bytes'] / 1e6:.0f} MB. Read back by transformers "
        f"it cuts texts into {tokens} tokens; logits differ by at most "
        f"{found['largest']:.2g} (the largest is {found['of']:.1f}), and the most "
        f"likely token is the same at {found['same_answers']:.1%} of the places."
    )


# -- in ---------------------------------------------------------------------------


def load(folder: str | Path):
    """(model, tokenizer, about) of the merged model that a job left in a folder.

    Raises CourseError where it is missing or unfinished.
    """
    folder = Path(folder)
    if (folder / "model").is_dir():  # the folder of the whole job
        folder = folder / "model"
    if not (folder / MODEL_FILE).exists():
        raise CourseError(
            f"{folder} holds no language model of course train.\nExpected: a folder "
            f"with config.json, model.safetensors and {MODEL_FILE}.\nDo: name the "
            "folder that course train wrote (with merged: true), or train again."
        )
    about = files.read_json(folder / MODEL_FILE)
    model, tokenizer = language_models.load(f"hf/{folder}")
    return model, tokenizer, about
