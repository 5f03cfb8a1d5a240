"""Pre-training continued on a target's own pictures or texts, without a label.

Pictures by two views of each (Barlow Twins or another of `view_losses`), texts by
masked tokens.
"""

import math
from collections.abc import Callable, Collection, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from course_lib import profiles, training
from course_lib.errors import CourseError
from course_lib.methods.unlabelled import (
    check_vision,
    features_and_logits,
    unlabelled,
)
from course_lib.methods.view_losses import barlow_twins_loss
from course_lib.models.features import network, preprocess_of, to_device
from course_lib.models.text import required
from course_lib.training import photometric, resume
from course_lib.training.freezing import train_mode
from course_lib.training.hf_trainer import Examples, isolated


def default_views() -> Callable:
    """The augmentation of continue_pretraining: mirrored, shifted, other colours."""
    return training.compose(
        training.random_flips(vertical=True),
        training.random_crop(8),
        photometric.random_colour(0.5),
        photometric.random_grey(0.2),
        photometric.random_blur(1.0),
        photometric.random_noise(0.2),
    )


VIEWS = {  # {name: what it changes}, in the order in which they are applied
    "flip": training.random_flips(),
    "turn": training.random_dihedral(),
    "crop": training.random_resized_crop(0.4),
    "colour": photometric.random_colour(0.5),
    "grey": photometric.random_grey(0.2),
    "blur": photometric.random_blur(1.0),
    "noise": photometric.random_noise(0.3),
}


def views(names: Collection[str]) -> Callable:
    """The changes of VIEWS with these names, one after the other: f(x, generator)."""
    return training.compose(*(one for name, one in VIEWS.items() if name in names))


class ViewTraining:
    """The updates of a joint-embedding pre-training: encoder, projector, loss.

    encode: f(x) -> features (N, width), through parameters of ``net``, of which those
    learn that require gradients.  loss: of two views' projections, as in `view_losses`.
    `steps` fixes the schedule: warm-up, then cosine.  AdamW, weight decay 0.01.
    """

    def __init__(self, encode, net, width, loss, *, steps, lr, device="cpu"):
        self.encode, self.net, self.loss = encode, net, loss
        self.steps, self.lr, self.step, self.losses = steps, lr, 0, []
        self.projector = projector(width).to(device)
        groups = [
            group
            for part in (net, self.projector)
            for group in training.param_groups(part, lr, 0.01)
        ]
        self.optimizer = training.make_optimizer(net, groups=groups, lr=lr)

    def value(self, views) -> torch.Tensor:
        """The loss of two views (N, ...) of the same pictures."""
        features = self.encode(torch.cat(tuple(views)))
        return self.loss(*self.projector(features.float()).chunk(2))

    def update(self, views) -> float:
        """One update; the loss before it.  CourseError where that is not finite."""
        loss = self.value(views)
        self.losses.append(float(loss.detach()))
        if not math.isfinite(self.losses[-1]):
            raise CourseError(
                f"continue_pretraining: the loss is {self.losses[-1]} at step "
                f"{self.step}.\nExpected: a finite number.\n"
                "Do: lower lr by a factor of 3 to 10."
            )
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * training.lr_factor(self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1
        return self.losses[-1]

    def state(self) -> tuple[dict, dict]:
        """(named tensors, JSON-ready values) from which `restore` goes on."""
        moments, groups = resume.optimizer_state(self.optimizer)
        parts = {"net": self.net.state_dict(), "optimizer": moments}
        parts["projector"] = self.projector.state_dict()
        tensors = {
            f"{p}.{n}": t for p, named in parts.items() for n, t in named.items()
        }
        return tensors, {"step": self.step, "losses": self.losses, "optimizer": groups}

    def restore(self, tensors: dict, values: dict) -> None:
        """The inverse of `state`, in place, for a training of the same set-up."""
        parts: dict = {"net": {}, "optimizer": {}, "projector": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.net.load_state_dict(parts["net"])
        self.projector.load_state_dict(parts["projector"])
        resume.load_optimizer(self.optimizer, parts["optimizer"], values["optimizer"])
        self.step, self.losses = values["step"], list(values["losses"])


def continue_pretraining(
    backbone,
    images,
    *,
    steps: int,
    lr: float = 1e-3,
    batch_size: int = 64,
    seed: int = 0,
    augment: Callable | None = None,
    loss: Callable = barlow_twins_loss,
) -> list[float]:
    """Self-supervised training, in place, on images without labels: Barlow Twins.

    Two augmented views of each image go through the backbone and a projector
    (F -> 256 -> 128), which is thrown away; the head is not touched, so train or
    replace it afterwards.  augment: f(x, generator), by default default_views();
    features become blind to what it changes, so it must not change the class.
    loss: another of `view_losses`.  AdamW with a weight decay of 0.01.  Returns the
    loss of each step.  Raises CourseError as soon as the loss is not finite.
    Zbontar et al. 2021.
    """
    check_vision(backbone)
    augment = augment or default_views()
    net, device = network(backbone), profiles.device()
    examples = unlabelled(images, preprocess_of(backbone), batch_size)
    generator = torch.Generator().manual_seed(seed)
    batches = examples.endless(batch_size, generator)
    with training.isolated(seed, None):
        net.to(device)
        run = ViewTraining(
            lambda x: features_and_logits(backbone, x)[0],
            net,
            backbone.num_features,
            loss,
            steps=steps,
            lr=lr,
            device=device,
        )
        train_mode(backbone)
        for _ in range(steps):
            x, _ = next(batches)
            run.update(to_device(augment(x, generator), device) for _ in range(2))
    net.eval()
    return run.losses


def projector(width: int) -> nn.Module:
    """Features (N, width) to what the loss reads, (N, 128); thrown away afterwards."""
    return nn.Sequential(
        nn.Linear(width, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.ReLU(),
        nn.Linear(256, 128, bias=False),
    )


HEAD_RATE = 1e-3  # of a new head while it learns alone


class WordHead(nn.Module):
    """What predicts hidden word pieces: hidden states (M, F) to logits (M, V).

    A dense layer, GELU and LayerNorm, the transposed input embedding (V, F), and a bias
    a word piece.  All but the embedding is new and random.  Devlin et al. 2019.
    """

    def __init__(self, width: int, words: int):
        super().__init__()
        self.transform = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width)
        )
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, hidden, embedding):
        return self.transform(hidden) @ embedding.T + self.bias


def continue_on_texts(
    backbone,
    texts: Sequence[str],
    *,
    steps: int = 200,
    lr: float = 1e-4,
    batch_size: int = 32,
    seed: int = 0,
    warm_head: int | None = None,
    like_length: bool = False,
) -> list[float]:
    """Continue masked-language-model pre-training on unlabelled texts, in place.

    15 % of the tokens are hidden (80 % as [MASK], 10 % another token, 10 % as they
    are) and predicted from the rest by a :class:`WordHead`.  A sentence encoder has
    lost that head, so it is new and random.  For the first ``warm_head`` updates,
    half of them unless told, it learns alone, at the rate 1e-3, on the frozen encoder;
    then both learn at ``lr``.  With ``warm_head=0`` the gradients of a random head
    reach the encoder from the first update on.  like_length: texts of like length share
    a batch, which saves padding.
    Returns the losses (nats a hidden token).  Raises CourseError where ``warm_head`` is
    not in 0 ... steps.  Gururangan et al. 2020 (DAPT, TAPT), Devlin et al. 2019; a
    head first, then both: Kumar et al. 2022.
    """
    model, tokenizer = required(backbone)
    encoder = model.encoder if backbone.head else model
    alone = steps // 2 if warm_head is None else warm_head
    if not 0 <= alone <= steps:
        raise CourseError(
            f"continue_on_texts: warm_head={warm_head} of {steps} updates.\nExpected: "
            f"0 to {steps}.\nDo: leave it out: half of them train the head alone."
        )
    with isolated(seed):
        batches = masked_batches(tokenizer, texts, batch_size, seed, like_length)
        embedding = encoder.get_input_embeddings().weight  # (V, F)
        head = WordHead(*reversed(embedding.shape)).to(embedding.device)
        losses = _predicted(encoder, head, batches, alone, HEAD_RATE, frozen=True)
        losses += _predicted(encoder, head, batches, steps - alone, lr, frozen=False)
    encoder.eval()
    return losses


def _predicted(encoder, head, batches, steps, lr, frozen) -> list[float]:
    """Losses of so many updates of the head, and of the encoder unless ``frozen``."""
    from transformers import get_linear_schedule_with_warmup

    learned = [p for p in encoder.parameters() if p.requires_grad and not frozen]
    learning = [*learned, *head.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=lr, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    encoder.train(not frozen)
    embedding = encoder.get_input_embeddings().weight
    embedding = embedding.detach() if frozen else embedding
    losses: list[float] = []
    for _ in range(steps):
        batch = to_device(next(batches), head.bias.device)
        labels = batch.pop("labels")  # (N, T), -100 where nothing is hidden
        with torch.set_grad_enabled(not frozen):
            hidden = encoder(**batch).last_hidden_state  # (N, T, F)
        chosen = labels >= 0
        loss = cross_entropy(head(hidden[chosen], embedding), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def masked_batches(tokenizer, texts, batch_size, seed, like_length=False):
    """Batches for ever, as dicts of tensors (N, T), 15 % of the tokens hidden."""
    from transformers import DataCollatorForLanguageModeling

    examples = Examples(tokenizer, texts)
    collate = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=0.15, seed=seed
    )
    lengths = [len(row["input_ids"]) for row in examples.rows]
    for rows in endless_rows(lengths, batch_size, seed, like_length):
        yield dict(collate([dict(examples[i]) for i in rows]))


def endless_rows(lengths: Sequence[int], batch_size, seed, like_length=False):
    """Rows of texts for batches, for ever; every pass in an order of its own.

    lengths: of the N texts.  The end of one pass and the start of the next share a
    batch.  like_length: of eight batches at a time, each gets texts of like length.
    """
    generator = torch.Generator().manual_seed(seed)
    queue: list[int] = []
    batches = 8 if like_length else 1
    while True:
        while len(queue) < batch_size * batches:
            queue += torch.randperm(len(lengths), generator=generator).tolist()
        rows = queue[: batch_size * batches]
        queue = queue[batch_size * batches :]
        order = [0]
        if like_length:
            rows.sort(key=lambda row: lengths[row])
            order = torch.randperm(batches, generator=generator).tolist()
        for k in order:
            yield rows[k * batch_size : (k + 1) * batch_size]
