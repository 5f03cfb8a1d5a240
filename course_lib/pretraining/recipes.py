"""The recipes behind the bundled weights: `course pretrain NAME`.

Each recipe renders its own source pictures, trains with several classification heads
at once (one linear layer whose outputs are the heads' logits side by side), and writes
half-precision safetensors with a model card.
"""

import hashlib
import math
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from course_lib import files, paths
from course_lib.datasets.spectrograms import CLASSES as SPECTROGRAM_CLASSES
from course_lib.datasets.wafer_maps import CLASSES as WAFER_MAP_CLASSES
from course_lib.errors import CourseError
from course_lib.pretraining import architectures, patterns
from course_lib.pretraining.patterns import HEADS, SILHOUETTE_NAMES


@dataclass(frozen=True)
class Recipe:
    """What is needed to repeat a pre-training run."""

    description: str
    architecture: str  # a function of course_lib.pretraining.architectures
    source: str  # a renderer of course_lib.pretraining.patterns
    heads: dict
    options: dict = field(default_factory=dict)
    pictures: int = 100_000
    passes: float = 20.0
    batch_size: int = 64
    lr: float = 2e-3
    notes: str = ""  # what the card says beyond the figures
    weight_decay: float = 0.05
    seed: int = 0


def head_slices(heads):
    """Which outputs belong to which head: {head: slice} for {head: class names}."""
    slices, start = {}, 0
    for head, names in heads.items():
        slices[head] = slice(start, start + len(names))
        start += len(names)
    return slices


def multi_head_loss(logits, labels, slices, smoothing=0.1):
    """Mean cross-entropy over the heads; label -100 counts for nothing.

    logits (N, sum of classes), labels {head: (N,)}.
    """
    losses = [
        cross_entropy(logits[:, slices[head]], y, label_smoothing=smoothing)
        for head, y in labels.items()
        if head in slices
    ]
    return torch.stack(losses).mean()


def in_unit_interval(images):
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in 0..1, channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 255


def normalise(x, mean, std):
    """Zero mean and unit deviation for each of the channels of x (N, 3, H, W)."""
    return (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)


def augment(x, gen, zoom=(0.85, 1.25), turn=1.0):
    """Turn, mirror, zoom and recolour each picture of a batch (N, 3, H, W) in [0, 1].

    None of this changes a label: textures and shapes keep their names.  ``turn`` is the
    largest angle as a share of a full turn.
    """
    n = len(x)
    angle = turn * 2 * math.pi * torch.rand(n, generator=gen)
    scale = zoom[0] * (zoom[1] / zoom[0]) ** torch.rand(n, generator=gen)
    mirror = (torch.rand(n, generator=gen) < 0.5) * 2.0 - 1
    c, s = angle.cos() * scale, angle.sin() * scale
    shift = (torch.rand(2, n, generator=gen) - 0.5) * 0.2
    rows = torch.stack([c * mirror, -s, shift[0], s * mirror, c, shift[1]], 1)
    where = affine_grid(rows.view(n, 2, 3), x.shape, align_corners=False)
    x = grid_sample(x, where, padding_mode="reflection", align_corners=False)
    gain = 1 + 0.4 * (torch.rand(n, 1, 1, 1, generator=gen) - 0.5)
    tint = 1 + 0.2 * (torch.rand(n, 3, 1, 1, generator=gen) - 0.5)
    middle = x.mean((1, 2, 3), keepdim=True)
    x = (x - middle) * gain * tint + middle
    x = x + 0.2 * (torch.rand(n, 1, 1, 1, generator=gen) - 0.5)
    negative = torch.rand(n, 1, 1, 1, generator=gen) < 0.2
    x = torch.where(negative, 1 - x, x)
    grey = torch.rand(n, 1, 1, 1, generator=gen) < 0.2
    return torch.where(grey, x.mean(1, keepdim=True), x)


def draw_chunk(source, n, seed):
    """One part of the pool, drawn in a process of its own with one thread."""
    torch.set_num_threads(1)
    part = getattr(patterns, source)(n, seed)
    return part.images.numpy(), {head: y.numpy() for head, y in part.labels.items()}


def render_pool(source, n, seed, jobs=2, chunk=2048):
    """Render n source pictures: images (n, 64, 64, 3) uint8 and {head: labels (n,)}.

    Each chunk has a seed of its own, so the pool is the same for any number of jobs.
    """
    from joblib import Parallel, delayed

    sizes = [min(chunk, n - start) for start in range(0, n, chunk)]
    seeds = np.random.SeedSequence(seed).generate_state(len(sizes))
    parts = Parallel(n_jobs=jobs)(
        delayed(draw_chunk)(source, size, int(s))
        for size, s in zip(sizes, seeds, strict=True)
    )
    images = torch.cat([torch.from_numpy(images) for images, _ in parts])
    heads = parts[0][1]
    return images, {
        head: torch.cat([torch.from_numpy(labels[head]) for _, labels in parts])
        for head in heads
    }


def pretrain(model, pool, recipe, minutes=None, report=print):
    """Train `model` on a pool of source pictures; returns a list of progress rows.

    One-cycle AdamW; an exponential average of the weights is what is kept.  With
    `minutes`, the schedule is laid over the time instead of over `recipe.passes`.
    Raises CourseError when the loss is no longer finite.
    """
    images, labels = pool
    slices, batch_size = head_slices(recipe.heads), recipe.batch_size
    gen = torch.Generator().manual_seed(recipe.seed)
    optimizer = make_optimizer(model, recipe)
    total = math.ceil(recipe.passes * len(images) / batch_size)
    average = torch.optim.swa_utils.AveragedModel(
        model,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99),
        use_buffers=True,
    )
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    began, history, running, step = time.monotonic(), [], None, 0
    model.train()
    while True:
        spent = time.monotonic() - began
        done = step / total if minutes is None else spent / (60 * minutes)
        if done >= 1:
            break
        rate = one_cycle(recipe.lr, done)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = torch.randint(len(images), (batch_size,), generator=gen)
        x = augment(in_unit_interval(images[rows]), gen, **recipe.options)
        logits = model(normalise(x, mean, std).to(memory_format=torch.channels_last))
        here = {head: y[rows] for head, y in labels.items()}
        loss = multi_head_loss(logits, here, slices)
        if not torch.isfinite(loss):
            raise CourseError(
                f"pre-training diverged at step {step} (learning rate "
                f"{rate:.2g}): expected a finite loss; lower --lr"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 4 == 0:
            average.update_parameters(model)
        value = loss.item()
        running = value if running is None else 0.98 * running + 0.02 * value
        step += 1
        if step % 200 == 0:
            seconds = time.monotonic() - began
            history.append({"step": step, "seconds": round(seconds), "loss": running})
            report(
                f"step {step:,} ({100 * done:.0f} %), loss {running:.3f}, "
                f"{step * batch_size / seconds:.0f} pictures/s"
            )
    model.load_state_dict(average.module.state_dict())
    return history


def make_optimizer(model, recipe, **options):
    """AdamW; vectors (biases, scales and shifts of norms) do not decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True, **options)


def one_cycle(lr, done):
    """The rate at the share `done` of a run: up for a twentieth, then a half cosine."""
    ramp = min(1.0, done / 0.05)
    return lr * ramp * 0.5 * (1 + math.cos(math.pi * max(0.0, done - 0.05) / 0.95))


# --- the bundled weights ------------------------------------------------------

LISTED = tomllib.loads(Path(__file__).with_name("recipes.toml").read_text("utf-8"))
NOTES = LISTED["notes"]
HEADS_OF = {  # by source
    "render": HEADS,
    "silhouettes": {"shape": SILHOUETTE_NAMES},
    "wafer_maps": {"class": WAFER_MAP_CLASSES},
    "spectrograms": {"class": SPECTROGRAM_CLASSES},
}
RECIPES = {
    name: Recipe(heads=HEADS_OF[row["source"]], **row | {"notes": NOTES[row["notes"]]})
    for name, row in LISTED["recipes"].items()
}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
HELD_OUT_SEED = 987_654  # the pictures that the card's metrics are measured on


def head_accuracy(model, pool, heads, batch_size=256):
    """Share of right answers of each head on a pool of source pictures."""
    images, labels = pool
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    model.eval()
    with torch.no_grad():
        logits = torch.cat(
            [
                model(normalise(in_unit_interval(part), mean, std))
                for part in images.split(batch_size)
            ]
        )
    scores = {}
    for head, columns in head_slices(heads).items():
        seen = labels[head] >= 0
        right = logits[:, columns].argmax(1)[seen] == labels[head][seen]
        scores[head] = round(right.float().mean().item(), 4)
    return scores


def commonest_answer(labels, heads):
    """Share of the commonest class of each head: what guessing can reach."""
    counts = {head: labels[head][labels[head] >= 0].bincount() for head in heads}
    return {head: round((n.max() / n.sum()).item(), 4) for head, n in counts.items()}


def stored(state):
    """Weights for the file: matrices in half precision, the rest as they are.

    Statistics and scales of BatchNorm are vectors and stay in single precision.
    """
    return {
        name: (t.half() if t.is_floating_point() and t.ndim > 1 else t).contiguous()
        for name, t in state.items()
    }


def find(name: str, among: Mapping):
    """The entry ``among[name]``.  Raises CourseError where there is none."""
    if name not in among:
        raise CourseError(
            f"There is no recipe called {name!r}.\n"
            f"Expected: one of {', '.join(among)}.\n"
            "Do: `course pretrain` describes them."
        )
    return among[name]


def run(name, minutes=None, out=None, threads=None, report=print):
    """Repeat a recipe: render, train, measure, write weights and card.

    `minutes` lays the schedule over that time instead of the recipe's passes (for a
    trial); `out` is a folder other than data/models, `threads` the CPU threads.
    Returns the path of the weights.  Raises CourseError for an unknown name.
    """
    recipe = find(name, RECIPES)
    if threads:
        torch.set_num_threads(threads)
    report(f"rendering {recipe.pictures:,} source pictures")
    pool = render_pool(recipe.source, recipe.pictures, recipe.seed)
    torch.manual_seed(recipe.seed)
    model = build(recipe)
    began = time.monotonic()
    history = pretrain(model, pool, recipe, minutes, report)
    seconds = time.monotonic() - began
    folder = Path(out) if out else paths.MODELS
    return write(name, model, history, seconds, folder, trial=minutes is not None)


def build(recipe):
    """The recipe's network with fresh weights from torch's global seed."""
    classes = sum(len(names) for names in recipe.heads.values())
    model = getattr(architectures, recipe.architecture)(classes)
    return model.to(memory_format=torch.channels_last)


def card_text(about):
    """The model card in Markdown: the figures of the run and the recipe's notes."""
    recipe = RECIPES[about["name"]]
    accuracy = "\n".join(
        f"| {head} | {len(about['heads'][head])} | {100 * share:.1f} % | "
        f"{100 * about['commonest_answer'][head]:.1f} % |"
        for head, share in about["accuracy_held_out"].items()
    )
    description = about["description"][0].upper() + about["description"][1:]
    values = about | dict(
        description=description, accuracy=accuracy, notes=recipe.notes
    )
    card = Path(__file__).with_name("card_of_pictures.md").read_text("utf-8")
    return card.format_map(values | {"notes": recipe.notes})


def write(name, model, history, seconds, folder, trial=False):
    """Write weights and the card's figures, then check that the file loads."""
    recipe = RECIPES[name]
    content = save(stored(model.state_dict()), metadata={"format": "pt"})
    held_out = render_pool(recipe.source, 2048, HELD_OUT_SEED)
    single = head_accuracy(model, held_out, recipe.heads)
    model.load_state_dict(
        {
            k: v.to(torch.float32 if v.is_floating_point() else v.dtype)
            for k, v in load(content).items()
        }
    )
    half = head_accuracy(model, held_out, recipe.heads)
    about = {
        "name": name,
        "description": recipe.description,
        "architecture": recipe.architecture,
        "parameters": sum(p.numel() for p in model.parameters()),
        "heads": {head: list(names) for head, names in recipe.heads.items()},
        "mean": list(MEAN),
        "std": list(STD),
        "image_size": 64,
        "source": f"course_lib.pretraining.patterns.{recipe.source}",
        "command": f"course pretrain {name}",
        "trial": trial,
        "pictures": recipe.pictures,
        "passes": recipe.passes,
        "minutes": round(seconds / 60, 1),
        "accuracy_held_out": half,
        "accuracy_held_out_single_precision": single,
        "commonest_answer": commonest_answer(held_out[1], recipe.heads),
        "history": [[row["step"], round(row["loss"], 4)] for row in history],
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "MIT",
    }
    target = files.atomic_write_bytes(folder / f"{name}.safetensors", content)
    # the order of the heads is the order of the outputs: do not sort
    files.atomic_write_json(folder / f"{name}.json", about, sort_keys=False)
    files.atomic_write_bytes(folder / f"{name}.md", card_text(about).encode())
    if folder.resolve() == paths.MODELS.resolve():
        files.update_manifest(
            [f"models/{name}.safetensors", f"models/{name}.json"],
            made_by=f"course pretrain {name}",
        )
    return target
