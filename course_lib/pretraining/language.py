"""The recipe of the bundled language model: `course pretrain fab-llama`.

A Llama architecture of 3.8 million parameters (grouped queries, gated expansion, head
not tied to the embeddings) and a byte-pair tokenizer, both trained on generated text
(course_lib.pretraining.prose).  The files are laid out as transformers lays out a
model's folder.
"""

import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from course_lib import files, paths
from course_lib.errors import CourseError
from course_lib.pretraining import prose, recipes

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
HELD_OUT = 10_000_000  # index of the first document that is not trained on
HELD_OUT_TEXTS = 2000


@dataclass(frozen=True)
class LanguageRecipe:
    """What is needed to repeat the pre-training of a language model.

    ``phases``: documents and batch size of each; each has a schedule of its own.  The
    later ones have few tokens an update and so many updates, which copying needs.
    """

    description: str
    phases: tuple[tuple[int, int], ...] = (
        (110_000, 32),
        (70_000, 8),
        (75_000, 8),
    )
    vocabulary: int = 2048
    sequence: int = 128
    lr: float = 2e-3
    weight_decay: float = 0.1
    hidden_size: int = 256
    intermediate_size: int = 640
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    seed: int = 0


RECIPES = {
    "fab-llama": LanguageRecipe(
        "a small language model of the Llama architecture on generated text"
    ),
}


def tokenizer(texts, vocabulary: int):
    """A byte-level BPE tokenizer (Sennrich et al. 2016) that splits digits, trained.

    Starts each text with <bos>.  Returns a transformers PreTrainedTokenizerFast.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, made.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",  # prompts of one batch end together
    )


def packed(made, texts, length: int) -> torch.Tensor:
    """Documents end to end, each closed by <eos>, cut into rows (N, length)."""
    ids = made(list(texts))["input_ids"]
    flat = np.concatenate([np.array([*row, made.eos_token_id]) for row in ids])
    rows = len(flat) // length
    return torch.from_numpy(flat[: rows * length].reshape(rows, length).astype("int64"))


def build(recipe: LanguageRecipe):
    """The recipe's network with fresh weights from its seed."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config)


@torch.no_grad()
def text_losses(model, made, texts, batch_size: int = 64) -> np.ndarray:
    """Cross-entropy of each text, its <eos> included, in nats a token: (N,)."""
    model.eval()
    texts, losses = list(texts), []
    for start in range(0, len(texts), batch_size):
        some = [text + EOS for text in texts[start : start + batch_size]]
        ids = made(some, padding=True, padding_side="right", return_tensors="pt")
        mask = ids["attention_mask"]
        logits = model(input_ids=ids["input_ids"], attention_mask=mask).logits
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), ids["input_ids"][:, 1:], reduction="none"
        )
        seen = mask[:, 1:]
        losses.append((each * seen).sum(1) / seen.sum(1))
    return torch.cat(losses).double().numpy()


def held_out_loss(model, made, documents: int | None = None) -> float:
    """Mean of `text_losses` over (by default 2,000) documents not trained on."""
    count = documents or HELD_OUT_TEXTS
    texts = [prose.document(i) for i in range(HELD_OUT, HELD_OUT + count)]
    return float(text_losses(model, made, texts).mean())


def train(model, rows, recipe, batch_size, minutes=None, report=print) -> list:
    """One pass over ``rows`` (N, T), or ``minutes`` long; returns [step, loss] pairs.

    AdamW, warm-up and cosine, gradients clipped to norm 1, matrix products in
    bfloat16.  Raises CourseError when the loss is no longer finite.
    """
    optimizer = recipes.make_optimizer(model, recipe, betas=(0.9, 0.95))
    gen = torch.Generator().manual_seed(recipe.seed)
    batches = torch.randperm(len(rows), generator=gen).split(batch_size)
    began, history, running = time.monotonic(), [], None
    model.train()
    for step, batch in enumerate(batches):
        spent = time.monotonic() - began
        done = step / len(batches) if minutes is None else spent / (60 * minutes)
        if done >= 1:
            break
        ramp = min(1.0, done / 0.03)
        rate = recipe.lr * ramp * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = max(rate, recipe.lr * 1e-3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=rows[batch], labels=rows[batch]).loss
        if not torch.isfinite(loss):
            raise CourseError(
                f"pre-training diverged at step {step}: the loss is {loss.item()}.\n"
                "Expected: a finite loss.\nDo: lower the recipe's rate."
            )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
        running = value if running is None else 0.98 * running + 0.02 * value
        if (step + 1) % 50 == 0:
            history.append([step + 1, round(running, 4)])
            speed = (step + 1) * rows[batch].numel() / (time.monotonic() - began)
            report(
                f"step {step + 1:,} of {len(batches):,} ({done:.0%}), "
                f"loss {running:.3f}, {speed:,.0f} tokens/s"
            )
    return history


def run(name, minutes=None, out=None, threads=None, report=print) -> Path:
    """Repeat a recipe: tokenizer, pre-training, card; returns the model's folder.

    `minutes`, `out` and `threads` as in `course_lib.pretraining.recipes.run`.  Raises
    CourseError for an unknown name.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    recipe = recipes.find(name, RECIPES)
    if threads:
        torch.set_num_threads(threads)
    counts = [documents for documents, _ in recipe.phases]
    report(f"writing {sum(counts):,} documents")
    texts = [prose.document(i) for i in range(sum(counts))]
    made = tokenizer(texts[:20_000], recipe.vocabulary)
    model, history, tokens = build(recipe), [], 0
    began = time.monotonic()
    for documents, batch_size in recipe.phases:
        some, texts = texts[:documents], texts[documents:]
        rows = packed(made, some, recipe.sequence)
        share = None if minutes is None else minutes * documents / sum(counts)
        history.append(train(model, rows, recipe, batch_size, share, report))
        tokens += rows.numel()
    about = {
        "name": name,
        "description": recipe.description,
        "parameters": model.num_parameters(),
        "tokens": tokens,
        "documents": sum(counts),
        "command": f"course pretrain {name}",
        "trial": minutes is not None,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "threads": torch.get_num_threads(),
        "history": history,
        "licence": "MIT",
    }
    return write(model, made, about, Path(out) if out else paths.MODELS)


def card_text(about: dict) -> str:
    """The model card in Markdown."""
    description = about["description"][0].upper() + about["description"][1:]
    values = about | dict(description=description, notes=recipes.NOTES["language"])
    card = Path(__file__).with_name("card_of_texts.md").read_text("utf-8")
    return card.format_map(values)


def write(model, made, about: dict, folder: Path) -> Path:
    """The model's folder: weights in half precision, tokenizer, card."""
    from transformers import AutoModelForCausalLM

    target = folder / about["name"]
    with tempfile.TemporaryDirectory() as scratch:
        model.half().save_pretrained(scratch)
        made.save_pretrained(scratch)
        again = AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.float32)
        about |= {
            "held_out_loss": round(held_out_loss(again, made), 4),
            "sha256": files.sha256(Path(scratch) / "model.safetensors"),
        }
        for path in sorted(Path(scratch).iterdir()):
            files.atomic_write_bytes(target / path.name, path.read_bytes())
    files.atomic_write_json(target / "card.json", about, sort_keys=False)
    files.atomic_write_bytes(target / "README.md", card_text(about).encode())
    if folder.resolve() == paths.MODELS.resolve():
        written = [p for p in sorted(target.iterdir()) if p.suffix != ".md"]
        files.update_manifest(written, made_by=about["command"])
    return target
