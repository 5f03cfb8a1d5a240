"""The layers that a job never trains run once, and training reads their output.

Which layers stay frozen is seen on the network itself: all that is registered before
the first layer that learns, or will be opened.  What they give for every picture, and
for a few altered copies of it, is stored (:mod:`course_lib.training.frozen_stages`).
"""

from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import features
from course_lib.models.heads import as_vectors
from course_lib.models.stage_head import mean_and_deviation, standardised_by
from course_lib.training import Recipe
from course_lib.training.frozen_stages import FrozenStages

COPIES = 4  # of a training picture: as it is, and three times altered
TRIED = 3  # places to cut the network at, from the top down
PASSIVE = (nn.Dropout, nn.Dropout2d, nn.Identity)  # never the place: they change


@dataclass(frozen=True)
class Stored:
    """What a run trains instead of the whole network, and on what.

    upper: the layers behind ``place``, which share their weights with the backbone.
    head: name of the classifier in it.
    train, validation: (outputs of ``place``, labels); train holds ``copies`` of each
    picture.  pictures: how many there are to train on.  stages: {stage: (vectors of
    training, of validation)}, mean and deviation over space, in the same order.
    """

    upper: nn.Module
    train: tuple
    validation: tuple
    place: str
    copies: int
    pictures: int
    head: str
    stages: dict[str, tuple] = field(default_factory=dict)

    def read(self, stages, rows=slice(None), part: int = 0) -> torch.Tensor:
        """What a head that reads these stages gets, (rows, F)."""
        return torch.cat([self.stages[stage][part][rows] for stage in stages], dim=1)

    def head_inputs(self, rows, batch_size: int = 64) -> torch.Tensor:
        """What the classifier at the end of the network gets, (rows, F)."""
        net, seen = self.upper, []
        hook = net.get_submodule(self.head).register_forward_pre_hook(
            lambda _, inputs: seen.append(as_vectors(inputs[0]).float().cpu())
        )
        outputs, device = self.train[0], features.device_of(net)
        try:
            with torch.no_grad(), features.eval_mode(net):
                for start in range(0, len(rows), batch_size):
                    some = outputs[rows[start : start + batch_size]]
                    net(some.to(device))
        finally:
            hook.remove()
        return torch.cat(seen)

    def for_stages(self, model: nn.Module, stages) -> "Stored":
        """The same for a StageClassifier that reads these stages.

        It gets the mean and the deviation of the training pictures.
        """
        X = [self.read(stages, part=part) for part in (0, 1)]
        model.standardise = standardised_by(X[0])
        return replace(
            self,
            upper=nn.Sequential(model.standardise, model.head),
            train=(X[0], self.train[1]),
            validation=(X[1], self.validation[1]),
            place=stages[-1],
            head="1",
            stages={},
        )

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


class _Watched:
    """Mean and deviation over space of some stages, of every batch that passes."""

    def __init__(self, backbone, stages):
        self.places = {stage: features.resolve(backbone, stage) for stage in stages}
        self.channels_last = features.channels_come_last(backbone.model)
        self.seen = {stage: [] for stage in stages}

    @contextmanager
    def __call__(self, net: nn.Module):
        hooks = []
        for stage, place in self.places.items():

            def keep(_, __, output, stage=stage):
                try:
                    found = mean_and_deviation(output, self.channels_last).cpu()
                except CourseError:  # neither maps nor tokens
                    return
                self.seen[stage].append(found)

            hooks.append(net.get_submodule(place).register_forward_hook(keep))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def vectors(self, views: int, rows: int) -> dict[str, torch.Tensor]:
        """{stage: (views rows, F)}: all in the first view, then all in the next."""
        found = {}
        for stage, batches in self.seen.items():
            by_view = [batch for v in range(views) for batch in batches[v::views]]
            if sum(map(len, by_view)) == views * rows:  # it runs once in a pass
                found[stage] = torch.cat(by_view)
        return found


def stored(backbone, parts, opened, augment, seed: int, stages=()) -> Stored | None:
    """The frozen output of training and validation pictures; None where there is none.

    opened: names of the parameters that learn now or later.  augment: f(x, generator)
    or None.  stages: of which mean and deviation are kept, too; those that have none
    are left out.  The network is as before.  None also where its paths do not meet in
    one place below the layers that learn, and where there is no room for the output:
    then the network runs as a whole.
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
    watched = [_Watched(backbone, stages) for _ in range(2)]
    try:
        train = frozen.run(parts.train, views, watched=watched[0])
        validation = frozen.run(parts.validation, watched=watched[1])
    except CourseError:  # no room for it, or numbers beyond half precision
        return None
    place, n = frozen.place, len(parts.train)
    fit = watched[0].vectors(len(views), n)
    val = watched[1].vectors(1, len(parts.validation))
    both = {stage: (fit[stage], val[stage]) for stage in fit if stage in val}
    head = f"net.{backbone.heads[0]}"
    return Stored(frozen.upper, train, validation, place, len(views), n, head, both)


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
