"""What a Backbone is: a pretrained network and what belongs to it.

`zoo.load` gives one by name; `vision` makes one of any image classifier.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import heads, stages
from course_lib.models.text import TextClassifier, mean_pooled


@dataclass
class Backbone:
    """A pretrained network and what belongs to it.

    `heads` are the dotted names of the modules that make up the classifier: mostly one,
    two in a distilled transformer, none in a bare text encoder; one name may be given
    as a string.  `stages` maps stage names to dotted module names from input to output,
    `num_features` is the width of what the classifier reads.  `preprocess` turns uint8
    images (N, H, W, 3), or for `kind` "text" a list of N strings, into the model's
    input.  `notes` says in sentences what was unusual about loading it.
    """

    model: nn.Module
    preprocess: Callable
    name: str
    kind: str
    heads: tuple[str, ...]
    stages: dict[str, str]
    num_features: int
    card: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self):
        if isinstance(self.heads, str):
            self.head = self.heads

    @property
    def head(self) -> str:
        """Dotted name of the classifier, "" where there is none.

        Raises CourseError for a classifier of several modules: see `heads`.
        """
        if len(self.heads) > 1:
            raise CourseError(
                f"The classifier of {self.name} is {len(self.heads)} modules "
                f"({', '.join(self.heads)}).\nExpected: one, to be called `head`.\n"
                "Do: go through backbone.heads."
            )
        return self.heads[0] if self.heads else ""

    @head.setter
    def head(self, name: str):
        self.heads = (name,) if name else ()

    @property
    def went_on(self) -> bool:
        """Are these weights from the folder of a job that went on without labels?"""
        return "continued" in self.card

    def features(self, x):
        """What the classifier reads, one vector an example: (N, num_features).

        Gradients flow; call under `torch.no_grad()` and after `model.eval()` to
        extract features.
        """
        if self.kind == "text":
            return mean_pooled(self.model.encoder if self.heads else self.model, x)
        return heads.features(self.model, self.heads, x)

    def to_classes(self, num_classes, seed=0):
        """Replace the classifier, in place, by a fresh one; returns the backbone.

        It is linear, or of the kind that the architecture has, and drawn from `seed`
        without touching torch's global generator.
        """
        if num_classes < 2:
            raise CourseError(
                f"A head of {num_classes} class(es) was asked for; a classifier needs "
                "two or more. Check the data set's classes."
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if not self.heads:  # a bare text encoder: mean pooling and a linear head
                self.model, self.head = TextClassifier(self.model, num_classes), "head"
                self.stages = {k: f"encoder.{name}" for k, name in self.stages.items()}
                return self
            self.heads = heads.replace(
                self.model, self.heads, self.num_features, num_classes
            )
        return self

    def copy(self):
        """An independent copy: training it leaves this one unchanged."""
        return copy.deepcopy(self)


def vision(model, preprocess, name, about, notes=()):
    """A Backbone from an image classifier: its head and stages are looked up."""
    found = heads.find(model)
    places, size = stages.find(model), heads.width(model, found)
    return Backbone(
        model, preprocess, name, "vision", found, places, size, about, list(notes)
    )
