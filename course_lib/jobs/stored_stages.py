"""The layers that a job never trains run once, and training reads their output.

Which layers stay frozen is seen on the network itself: all that is registered before
the first layer that learns, or will be opened.  What they give for every picture, and
for a few altered copies of it, is stored (:mod:`course_lib.training.frozen_stages`).
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.training import Recipe
from course_lib.training.frozen_stages import FrozenStages

COPIES = 4  # of a training picture: as it is, and three times altered
TRIED = 3  # places to cut the network at, from the top down
PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Identity)  # never the place: they change


@dataclass(frozen=True)
class Stored:
    """What a run trains instead of the whole network, and on what.

    upper: the layers behind ``place``, which share their weights with the backbone.
    train, validation: (outputs of ``place``, labels); train holds ``copies`` of each
    picture.  pictures: how many there are to train on.
    """

    upper: nn.Module
    train: tuple
    validation: tuple
    place: str
    copies: int
    pictures: int

    def recipe(self, recipe: Recipe, batch_size: int) -> tuple[Recipe, int]:
        """(the recipe for the stored output, updates of an epoch).

        An epoch has as many updates as on the pictures themselves, and each draws from
        all copies: copies and pictures take turns as with an augmentation.
        """
        alone = self.pictures > 1 and self.pictures % batch_size == 1
        updates = -(-self.pictures // batch_size) - alone
        return replace(recipe, augment=None, eval_every=updates), updates

    def said(self, augment: str) -> str:
        """What was done, and what augmentation then means."""
        told = f"Layers up to {self.place} stay frozen: they ran once on each picture"
        if self.copies == 1:
            return f"{told}, and their output was stored."
        return (
            f"{told} and on {self.copies - 1} altered copies of it, and their output "
            f"was stored. `augment: {augment}` so means {self.copies} fixed views of a "
            "training picture, not a new one in each epoch."
        )


def stored(backbone, parts, opened, augment, seed: int) -> Stored | None:
    """The frozen output of training and validation pictures; None where there is none.

    opened: names of the parameters that learn now or later.  augment: f(x, generator)
    or None.  The network is as before.  None also where its paths do not meet in one
    place below the layers that learn, and where there is no room for the output: then
    the network runs as a whole.
    """
    net = backbone.model
    learning = {name: p.requires_grad for name, p in net.named_parameters()}
    try:
        frozen = _cut(backbone, opened, parts.train.images)
    finally:
        for name, p in net.named_parameters():
            p.requires_grad_(learning[name])
    if frozen is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    views = [lambda x: x]
    if augment is not None:
        views += [lambda x: augment(x, generator)] * (COPIES - 1)
    try:
        train, validation = frozen.run(parts.train, views), frozen.run(parts.validation)
    except CourseError:  # no room for it, or numbers beyond half precision
        return None
    place, n = frozen.place, len(parts.train)
    return Stored(frozen.upper, train, validation, place, len(views), n)


def _cut(backbone, opened, images) -> FrozenStages | None:
    """The network cut as high as it can be."""
    for place in _places(backbone.model, set(opened)):
        try:
            return FrozenStages(backbone, place, images)
        except CourseError:  # paths that do not meet there
            continue
    return None


def _places(net: nn.Module, opened: set[str]) -> list[str]:
    """Modules below all that learns, the last and largest first."""
    modules, leaves = dict(net.named_modules()), []
    for name, module in modules.items():
        if _learns(module, name, opened, recurse=False):
            break
        if not any(True for _ in module.children()) and not isinstance(module, PASSIVE):
            leaves.append(name)
    found = []
    for leaf in reversed(leaves):
        parts = leaf.split(".")
        above = [".".join(parts[: i + 1]) for i in range(len(parts))]
        whole = (n for n in above if not _learns(modules[n], n, opened))
        found.append(next(whole))
    return list(dict.fromkeys(found))[:TRIED]


def _learns(module: nn.Module, name: str, opened: set[str], recurse=True) -> bool:
    own = module.named_parameters(prefix=name, recurse=recurse)
    return any(parameter in opened for parameter, _ in own)
