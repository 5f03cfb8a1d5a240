"""A classifier that reads several stages of a network, not its last layer alone.

The last layers of a pretrained network are the most special to what it learned from
(Yosinski et al. 2014); for pictures of another kind its middle stages can tell more
(Evci et al. 2022, Head2Toe).  Here the head reads the mean and the standard deviation
over space of each stage, standardised by the training set.  Nothing behind the last
stage that is read runs, or is kept.
"""

import copy

import torch
from torch import nn

from course_lib.errors import CourseError
from course_lib.models import features
from course_lib.models.heads import inside

MOST = 4  # stages between the first third and the last stage
TRIED = 64  # pixels a side of the pictures of a trial, where no size is settled
EPS = 1e-5  # added to a variance; an ONNX exporter takes 1e-8 for nothing


class Standardise(nn.Module):
    """(x - mean) / std by column, with the statistics of training features (N, F)."""

    def __init__(self, X):
        super().__init__()
        X = torch.as_tensor(X).float()
        self.register_buffer("mean", X.mean(dim=0))
        std = X.std(dim=0, correction=0)
        self.register_buffer("std", torch.where(std > 1e-6, std, torch.ones_like(std)))

    def forward(self, x):  # (N, F) -> (N, F)
        return (x - self.mean) / self.std


def mean_and_deviation(output, channels_last: bool = False) -> torch.Tensor:
    """Vectors (N, 2 C): the mean of each channel over space, then its deviation.

    output: maps (N, C, H, W), with ``channels_last`` (N, H, W, C), or tokens (N, T, C).
    Raises CourseError for anything else.
    """
    output = output[0] if isinstance(output, (tuple, list)) else output
    if getattr(output, "ndim", 0) not in (3, 4):
        raise CourseError(
            f"A stage gives {tuple(getattr(output, 'shape', ())) or type(output)}.\n"
            "Expected: maps (N, C, H, W) or tokens (N, T, C).\nDo: name other stages."
        )
    last = channels_last or output.ndim == 3
    space = tuple(range(1, output.ndim - 1)) if last else (2, 3)
    variance, mean = torch.var_mean(output.float(), space, correction=0)
    return torch.cat([mean, (variance + EPS).sqrt()], dim=1)


def standardised_by(X) -> Standardise:
    """Standardise with the statistics of training vectors (N, F).

    A column that hardly varies is divided by a hundredth of the median deviation, so
    that rounding does not become a feature.
    """
    layer = Standardise(X)
    layer.std.clamp_(min=0.01 * float(layer.std.median()))
    return layer


class _Reached(Exception):
    """The last stage that is read has run."""


class StageReader(nn.Module):
    """Pictures (N, 3, H, W) to what several stages of a network say of them, (N, F).

    places: dotted module names, in the order in which they run.
    """

    def __init__(self, net: nn.Module, places):
        super().__init__()
        self.net, self.places = net, tuple(places)
        self.channels_last = features.channels_come_last(net)

    def forward(self, x):
        found, hooks = {}, []
        for name in self.places:

            def keep(_, __, output, name=name):
                found[name] = mean_and_deviation(output, self.channels_last)
                # an exporter's record of calls does not bear an exception: there the
                # rest runs, which is Identity, and nothing of it is kept
                if name == self.places[-1] and not torch.compiler.is_exporting():
                    raise _Reached

            hooks.append(self.net.get_submodule(name).register_forward_hook(keep))
        try:
            self.net(x)
        except _Reached:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        missing = [name for name in self.places if name not in found]
        if missing:
            raise CourseError(
                f"{', '.join(missing)} did not run before {self.places[-1]}.\nExpected:"
                " stages in the order in which they run.\nDo: name other stages."
            )
        return torch.cat([found[name] for name in self.places], dim=1)


class StageClassifier(nn.Module):
    """Logits (N, K) from the stages that ``reader`` reads."""

    def __init__(self, reader: StageReader, num_features: int, num_classes: int):
        super().__init__()
        self.reader = reader
        self.standardise = Standardise(torch.zeros(1, num_features))
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, x):
        return self.head(self.standardise(self.reader(x)))


def read_stages(backbone, stages, num_classes: int, seed: int = 0):
    """Let a fresh head read these stages of a picture model, in place; returns it.

    stages: names of ``backbone.stages``, from input to output.  Layers behind the last
    one are taken out.  The head is drawn from ``seed``; `standardise` of the model is
    to be given the training set's statistics.  Raises CourseError for an unknown stage
    and for one without maps or tokens.
    """
    net = backbone.model
    places = [features.resolve(backbone, stage) for stage in stages]
    fixed = getattr(getattr(net, "patch_embed", None), "img_size", None)
    side = getattr(backbone.preprocess, "size", None) or (fixed or (TRIED,))[0]
    noise = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, side, side, generator=noise).to(features.device_of(net))
    reader = StageReader(net, places)
    with torch.no_grad(), features.eval_mode(net):
        expected = reader(x)
        reader = _without_rest(reader, x, expected)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StageClassifier(reader, expected.shape[1], num_classes)
    backbone.model = model.to(x.device).train(net.training)
    names = list(backbone.stages)
    kept = names[: max(names.index(s) if s in names else 0 for s in stages) + 1]
    backbone.stages = {s: f"reader.net.{backbone.stages[s]}" for s in kept}
    backbone.heads, backbone.num_features = ("head",), expected.shape[1]
    return backbone


def _without_rest(reader: StageReader, x, expected) -> StageReader:
    """The same without the layers that do not run; as it was where that is not so."""
    ran, hooks = set(), []
    bare = copy.deepcopy(reader)
    for name, module in bare.net.named_modules():
        hooks += [
            module.register_forward_pre_hook(lambda _, __, n=name: ran.add((n, 0))),
            module.register_forward_hook(lambda _, __, ___, n=name: ran.add((n, 1))),
        ]
    bare(x)
    for hook in hooks:
        hook.remove()
    _prune(bare.net, "", {n for n, _ in ran}, {n for n, ended in ran if ended})
    try:
        same = torch.allclose(bare(x), expected, equal_nan=True)
    except Exception:  # a layer is used in another way than by calling it
        same = False
    return bare if same else reader


def _prune(module: nn.Module, prefix: str, began: set[str], ended: set[str]) -> None:
    """Put Identity in place of what neither runs nor holds a part that runs.

    What has ended stays whole: it may use a layer's weights without calling it.
    """
    for child, part in list(module.named_children()):
        name = f"{prefix}{child}"
        if name in ended:
            continue
        if name in began or any(n.startswith(f"{name}.") for n in began):
            _prune(part, f"{name}.", began, ended)
        else:
            setattr(module, child, nn.Identity())


def candidates(backbone) -> dict[str, tuple[str, ...]]:
    """{what a head may read: stages}, the simplest first; "the last layer" reads none.

    Of n stages the middle ones lie behind the first third and before the last; at most
    MOST of them are read, evenly spread.  A stem and layers without a number do not
    count as stages where there are two others.
    """
    heads = backbone.heads
    below = [
        stage
        for stage, place in backbone.stages.items()
        if not inside(place, heads) and not any(inside(h, [place]) for h in heads)
    ]
    numbered = [stage for stage in below if stage[-1:].isdigit()]
    known = numbered if len(numbered) > 1 else below
    n = len(known)
    middle = [known[k - 1] for k in range(n // 3 + 1, n)]
    if len(middle) > MOST:
        at = [round(i * (len(middle) - 1) / (MOST - 1)) for i in range(MOST)]
        middle = [middle[i] for i in at]
    found = {"the last layer": ()}
    if middle:
        found["the middle stages"] = tuple(middle)
        found["the middle and the last stage"] = (*middle, known[-1])
    return found
