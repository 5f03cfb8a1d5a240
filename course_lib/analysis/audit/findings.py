"""What the audit says: its checks by name, a finding, and the report of all of them."""

from collections.abc import Iterator
from dataclasses import dataclass

FOREIGN = "-"  # instead of an input: the check does not concern such a model

CHECKS = {
    # optimizer
    "stale-parameter": "the optimizer holds a parameter that is not in the model",
    "missing-parameter": "a parameter learns, but no optimizer group holds it",
    "double-parameter": "a parameter is in the optimizer twice",
    "layer-decay": "the groups carry a layer decay (lr_scale) that no rate follows",
    "zero-rate": "a group of parameters that learn has a rate of zero",
    # statistics and other buffers
    "frozen-batchnorm": "a frozen BatchNorm layer is in train mode and will drift",
    "tiny-batch": "BatchNorm takes its statistics from very few pictures",
    "moving-buffer": "a buffer of a frozen part moves with every forward pass",
    # inputs, head and splits
    "preprocessing": "the inputs are not scaled as the weights expect",
    "unshuffled": "training goes through the classes one after the other",
    "head-size": "the head's outputs and the classes differ in number",
    "pooling": "the features are pooled otherwise than in pre-training",
    "shared-examples": "the same picture or text is in two splits",
    "test-for-choosing": "validation and test data are the same",
    # tokens of a language model and their labels
    "vocabulary": "the tokenizer has more tokens than the embeddings have rows",
    "labels-on-prompt": "the loss counts tokens of the prompt",
    "labels-on-padding": "the loss counts padding",
    "shifted-labels": "the labels are shifted, and the model shifts them again",
    "no-labels": "a sequence has no token that counts in the loss",
    "unlearned-end": "padding is the end of text, and the true end is left out",
    # adapters and what is saved of them
    "few-adapters": "only a few percent of the layers have an adapter",
    "adapter-scale": "alpha / r is far from 1",
    "frozen-adapter": "nothing of the active adapter learns",
    "unsaved-head": "the adapter's saved files will lack the trained head",
    "unsaved-embeddings": "the embeddings were resized, and the adapter lacks them",
    "missing-keys": "the file and the model do not hold the same tensors",
    "idle-adapter": "after training or loading the adapter changes nothing",
    "train-mode": "after training, dropout or BatchNorm is still in train mode",
    "untied-weights": "weights that the configuration ties have come apart",
    "tied-adapter": "an adapter sits on a weight that another layer shares",
    "round-trip": "saved and loaded again, the model gives another output",
    # a step, measured
    "lost-gradient": "a parameter that learns gets no gradient",
    "accumulated-loss": "accumulated gradients are not those of the whole batch",
    "nan-loss": "the loss or a weight is NaN, or a NaN was logged as zero",
    # history and state
    "last-checkpoint": "the weights kept are not those of the lowest validation loss",
    "half-precision": "parameters that learn are stored in 16 bits",
    "no-scaler": "float16 gradients are not scaled and underflow",
    "nothing-learns": "every parameter is frozen",
}


@dataclass(frozen=True)
class Finding:
    """One mistake: which check, where (names), what it means and what to do."""

    check: str
    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"[{self.check}] {self.where}: {self.message} Do: {self.remedy}"


@dataclass(frozen=True)
class Unseen:
    """A check that had nothing to look at: for want of what, or FOREIGN."""

    check: str
    wants: str


def unseen(wants: str, *checks: str) -> Iterator[Unseen]:
    """Several checks that want the same, or that do not concern such a model."""
    return (Unseen(check, wants) for check in checks)


class Findings(list):
    """The findings, in the order of CHECKS.

    ``wanted``: {check: the input that it wants} of the checks that were given nothing
    to look at.  ``foreign``: names of the checks that do not concern such a model, as
    those of adapters where there is none.
    """

    def __init__(self, found=(), wanted=None, foreign=()):
        order = list(CHECKS)
        super().__init__(sorted(found, key=lambda one: order.index(one.check)))
        self.wanted, self.foreign = dict(wanted or {}), tuple(foreign)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the checks that had nothing to look at, for want of input."""
        return tuple(self.wanted)


def report(findings) -> str:
    """The findings as text, one a line, or how many checks found nothing.

    Checks that were given nothing to look at are named with what they want: they are
    no good news.
    """
    if findings:
        return "\n".join(str(finding) for finding in findings)
    wanted = getattr(findings, "wanted", {})
    foreign = getattr(findings, "foreign", ())
    looked = len(CHECKS) - len(wanted) - len(foreign)
    text = f"no mistake found by {looked} checks"
    if foreign:
        text += f"; {len(foreign)} do not concern such a model"
    if wanted:
        inputs: dict[str, list[str]] = {}
        for check, what in wanted.items():
            inputs.setdefault(what, []).append(check)
        told = (f"{', '.join(names)} ({what})" for what, names in inputs.items())
        text += f"; not looked at, for want of input: {'; '.join(told)}"
    return text
