"""What a diagnosis does in one way for pictures and in another for texts.

Everything else in this package is the same for both and asks a :class:`Modality`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from course_lib import training
from course_lib.analysis.word_counts import COUNTED, counted
from course_lib.errors import CourseError
from course_lib.models import features, text, zoo
from course_lib.models.heads import as_vectors
from course_lib.pretraining import patterns, recipes

WHOLE = ""  # the name of the network itself among its modules
SOURCE_EXAMPLES = 256  # and as many again for the floor
SMALLEST_SIDE, ENLARGED = 32, 64  # pixels
MOST_SIDE = 96  # where the time does not suffice for larger ones
MOST_TOKENS = 256  # of a text: what MiniLM was trained on, and attention costs more
LOOKED_AT = 500  # texts whose words are counted


@dataclass(frozen=True)
class Modality:
    """How one kind of inputs is prepared, read and learned without transfer.

    holds: field of the data set.  inputs: what people call them.  kind: of a Backbone.
    backbone: by default, and ``instead`` where its weights have not been fetched.
    rates: learning rates that are tried.  augment: by default.  most: examples that are
    used.  curve: validation examples by which a learning curve is drawn.  baselines:
    {arm: f(train, validation, test) -> {candidate: probabilities of validation and
    test}}, ways to learn without a network.

    Each kind has besides:
    augmentation(name, train): f(x, generator) on preprocessed batches, or None.
    fitted(backbone, data, notes): (backbone, data) made to fit each other; says in
    ``notes`` what was done.
    about(data): what the report says of the inputs themselves; size(about): the same
    in words, behind "read".
    features(backbone, inputs, batch_size): {stage: vectors (N, F)} and, of a network
    with a head, its "logits".
    """

    holds: str
    inputs: str
    kind: str
    backbone: str
    rates: tuple[float, ...]
    augment: str
    most: int
    curve: int
    baselines: dict[str, Callable]
    instead: str | None = None

    def source_heads(self, backbone, width: int) -> dict:
        """{head: class names} of what the backbone learned; {} if it is not known."""
        return {}

    def source(self, backbone):
        """Held-out inputs of the backbone's own task, or None."""
        return None

    def vocabulary(self, backbone, data) -> dict | None:
        """How well the backbone's vocabulary covers the inputs, where it has one."""
        return None


class _Pictures(Modality):
    def augmentation(self, name, train):
        return training.AUGMENTATIONS[name](min(train.images.shape[1:3]))

    def fitted(self, backbone, data, notes):
        height, width = data.images.shape[1:3]
        if min(height, width) >= SMALLEST_SIDE:
            return backbone, data
        from PIL import Image

        scale, lanczos = ENLARGED / min(height, width), Image.Resampling.LANCZOS
        size = round(width * scale), round(height * scale)
        images = [
            np.asarray(Image.fromarray(x).resize(size, lanczos)) for x in data.images
        ]
        notes.append(
            f"Pictures of {height} x {width} pixels were enlarged to {ENLARGED}."
        )
        return backbone, replace(data, images=np.stack(images))

    def about(self, data):
        return {"used_side": list(data.images.shape[1:3])}

    def size(self, about):
        return f"at {' x '.join(map(str, about['used_side']))} pixels"

    def features(self, backbone, inputs, batch_size=128):
        found: dict[str, list] = {}
        for start in range(0, len(inputs), batch_size):
            x = backbone.preprocess(inputs[start : start + batch_size])
            places = [*backbone.stages, WHOLE]
            for place, output in features.activations(backbone, x, places).items():
                name = "logits" if place == WHOLE else place
                if output.ndim == 4 and features.channels_come_last(backbone.model):
                    output = output.permute(0, 3, 1, 2)
                found.setdefault(name, []).append(as_vectors(output).float().cpu())
        return {name: torch.cat(parts).numpy() for name, parts in found.items()}

    def source_heads(self, backbone, width):
        heads = backbone.card.get("heads") or {}
        if "heads" not in backbone.card and backbone.card:
            heads = {"source": [str(k) for k in range(width)]}
        return heads if sum(map(len, heads.values())) == width else {}

    def source(self, backbone):
        short = backbone.name.removeprefix("bundled/")
        if short == backbone.name or short not in recipes.RECIPES:
            return None
        draw = getattr(patterns, recipes.RECIPES[short].source)
        return draw(2 * SOURCE_EXAMPLES, recipes.HELD_OUT_SEED)


class _Texts(Modality):
    def augmentation(self, name, train):
        return None

    def fitted(self, backbone, data, notes):
        lengths = text.token_lengths(backbone, data.texts)
        limit = min(text.token_limit(backbone) or MOST_TOKENS, MOST_TOKENS)
        longest = min(limit, max(8, int(lengths.max())))
        cut, words = text.cut_share(lengths, longest)
        if cut:
            notes.append(
                f"{words} have more than {longest} tokens; the encoder does not read "
                "their ends, counts of words do."
            )
        preprocess = replace(backbone.preprocess, max_length=longest)
        return replace(backbone, preprocess=preprocess), data

    def about(self, data):
        words = [len(one.split()) for one in data.texts]
        return {"words": float(np.median(words)), "most_words": max(words)}

    def size(self, about):
        most = f"{about['most_words']:,} at most"
        return f"with a median of {about['words']:.0f} words, {most}"

    def features(self, backbone, inputs, batch_size=32):
        order = features.by_length(inputs)
        found: dict[str, list] = {}
        for start in range(0, len(order), batch_size):
            some = [inputs[i] for i in order[start : start + batch_size]]
            tokens = backbone.preprocess(some)
            mask = tokens["attention_mask"][..., None].float()  # (N, T, 1)
            outputs = features.activations(backbone, tokens, list(backbone.stages))
            for stage, output in outputs.items():
                pooled = (output.float().cpu() * mask).sum(1) / mask.sum(1)
                found.setdefault(stage, []).append(pooled)
        back = np.argsort(order)
        return {name: torch.cat(parts).numpy()[back] for name, parts in found.items()}

    def vocabulary(self, backbone, data):
        tokenizer = backbone.preprocess.tokenizer
        texts = data.texts[:: max(1, len(data) // LOOKED_AT)]
        ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
        pieces = sum(map(len, ids))
        unknown = sum(one.count(tokenizer.unk_token_id) for one in ids)
        words = sum(len(one.split()) for one in texts)
        return {
            "pieces": pieces / max(words, 1),
            "unknown": unknown / max(pieces, 1),
            "texts": len(texts),
        }


def _counts(train, validation, test) -> dict:
    """{"words", "characters": probabilities of validation and test texts}."""
    pairs = (train.texts, train.labels), (validation.texts, validation.labels)
    return {what: counted(what, *pairs, test.texts)[:2] for what in COUNTED}


PICTURES = _Pictures(
    "images",
    "pictures",
    "vision",
    backbone="imagenet/efficientnet-lite0",
    rates=(1e-3, 3e-3),
    augment="shift",
    most=6000,
    curve=100,
    baselines={},
    instead="bundled/resnet10-patterns",
)
TEXTS = _Texts(
    "texts",
    "texts",
    "text",
    backbone="minilm",
    rates=(1e-4, 5e-4),
    augment="none",
    most=4000,
    curve=32,
    baselines={"counts": _counts},
)
ALL = (PICTURES, TEXTS)


def sized(backbone, size: int | None = None):
    """(backbone, pixels a side): as asked, else the network's own size, at most 96.

    A network that reads no other size than its own keeps it.  The backbone's
    preprocessing is set to that size where it has one.
    """
    rule = backbone.preprocess
    own = getattr(rule, "size", None)
    usual = own or (64 if backbone.name.startswith("bundled/") else MOST_SIDE)
    wanted = size or min(usual, MOST_SIDE)
    if own is None or own == wanted:
        return backbone, wanted
    changed = replace(backbone, preprocess=replace(rule, size=wanted))
    if size is None:
        try:
            blank = np.zeros((1, wanted, wanted, 3), np.uint8)
            PICTURES.features(changed, blank)
        except (AssertionError, RuntimeError, ValueError):
            return backbone, own
    return changed, wanted


def of_data(data) -> Modality:
    """That of a data set.  Raises CourseError for what is none."""
    for one in ALL:
        if getattr(data, "holds", None) == one.holds:
            return one
    raise CourseError(
        f"diagnose: the data are a {type(data).__name__}.\nExpected: an ImageDataset "
        "or a TextDataset.\nDo: datasets.from_folder, from_arrays or texts_from_csv."
    )


def check_backbone(backbone, modality: Modality) -> None:
    """CourseError unless the backbone reads this kind of inputs."""
    kind = getattr(backbone, "kind", "no backbone")
    readable = kind == modality.kind and (kind == "text" or backbone.heads)
    if not readable:
        name = getattr(backbone, "name", type(backbone).__name__)
        others = zoo.names()
        fit = [n for n in others if (n == "minilm") == (modality.kind == "text")]
        raise CourseError(
            f"diagnose: {name} is {kind}, and the data are {modality.inputs}.\n"
            f"Expected: a {modality.kind} backbone, for example {', '.join(fit)}.\n"
            "Do: choose one of these, or leave --backbone out."
        )
