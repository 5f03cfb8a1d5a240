"""Layer groups: which parameters move together, in the order from input to output.

Discriminative learning rates (Howard & Ruder 2018) and gradual unfreezing need the
parameters of a network cut into groups: the stem, one group a block, the head.  The cut
is derived from the network itself: timm models say it (`group_matcher`); elsewhere the
shallowest family of numbered siblings (`layer1` ... `layer4`, `features.0` ...,
`encoder.layer.0` ...) are the blocks.
"""

import re

from torch import nn

from course_lib.errors import CourseError
from course_lib.models.features import network
from course_lib.models.heads import find, inside
from course_lib.training.optimization import exempt_from_decay

HEAD, STEM = "head", "stem"


def layer_groups(model, blocks: str = "blocks") -> dict[str, list[str]]:
    """{group: parameter names}, from `stem` over the blocks to `head`.

    model: a Backbone, a torchvision or timm model, a Hugging Face encoder, any module
    with numbered blocks.  Every parameter is in exactly one group.  A norm, pooler or
    other part behind the last block belongs to that block unless it is new with the
    head; embeddings belong to the stem wherever they are registered.  ``blocks`` is
    "blocks", or "stages" for a timm model's coarser cut.  A network without a head (a
    bare encoder) has no group `head`.  Raises CourseError when no blocks are found.
    """
    if blocks not in ("blocks", "stages"):
        raise CourseError(f"blocks={blocks!r}, expected 'blocks' or 'stages'.")
    net = network(model)
    if hasattr(net, "group_matcher"):
        groups = _timm_groups(net, _head_of(model), coarse=blocks == "stages")
    else:
        groups = _numbered_groups(net, _head_of(model))
    return {name: members for name, members in groups.items() if members}


def _head_of(model) -> list[str] | None:
    """Prefixes of the head's parameters, or None if they are to be guessed."""
    return None if isinstance(model, nn.Module) else list(model.heads)


def _timm_groups(net, head, coarse: bool) -> dict[str, list[str]]:
    from timm.models import group_parameters

    head = find(net) if head is None else head
    numbered = group_parameters(net, net.group_matcher(coarse=coarse))
    order = {name: i for i, (name, _) in enumerate(net.named_parameters())}
    bodies = [
        sorted((n for n in numbered[i] if not inside(n, head)), key=order.get)
        for i in sorted(numbered)
    ]
    tail = []
    if len(bodies) > 2 and any(inside(n, head) for n in numbered[max(numbered)]):
        tail = bodies.pop()  # what shares the head's group: the norm before it
    groups: dict[str, list[str]] = {}
    for i, members in enumerate(bodies):
        name = STEM if i == 0 else _common(members, i)
        if name in (*groups, HEAD):  # a body may have a part that is called head
            name = f"{name}, group {i}"
        groups |= {name: members} if members else {}
    groups[list(groups)[-1]] += tail
    return groups | {HEAD: [n for n in order if inside(n, head)]}


def _common(names: list[str], number: int) -> str:
    """The module path that most names of a group share, or a number.

    Most, not all: the norm behind the last block belongs to that block's group.
    """
    first, path = names[0].split("."), []
    for depth, part in enumerate(first[:-1]):
        sharing = sum(n.split(".")[: depth + 1] == first[: depth + 1] for n in names)
        if 2 * sharing > len(names):
            path.append(part)
    return ".".join(path) or f"group {number}"


def _family(net) -> list[str]:
    """Paths of the blocks: the shallowest family of numbered siblings."""
    best: list[str] = []
    depth = None
    for path, module in net.named_modules():
        here = path.count(".") + bool(path)
        if depth is not None and here >= depth:
            continue
        families: dict[str, list[str]] = {}
        for name, child in module.named_children():
            match = re.fullmatch(r"(.*?)(\d+)", name)
            plain = not isinstance(child, (nn.Conv2d, nn.modules.batchnorm._BatchNorm))
            if match and plain and any(True for _ in child.parameters()):
                full = f"{path}.{name}" if path else name
                families.setdefault(match[1], []).append(full)
        members = max(families.values(), key=len, default=[])
        if len(members) >= 2:
            best, depth = members, here
    return best


def _numbered_groups(net, head) -> dict[str, list[str]]:
    blocks = _family(net)
    if not blocks:
        raise CourseError(
            f"No blocks were found in {type(net).__name__}.\nExpected: at least two "
            "numbered siblings (layer1, layer2; blocks.0, blocks.1) with parameters.\n"
            "Do: write the groups by hand, a dict {name: parameter names}."
        )
    if head is None:
        children = [name for name, _ in net.named_children()]
        last = max(children.index(b.split(".")[0]) for b in blocks)
        head = [
            name
            for name in children[last + 1 :]
            if any(p.ndim > 1 for p in net.get_submodule(name).parameters())
        ]
    early = _embeddings(net)
    groups: dict[str, list[str]] = {STEM: [], **{b: [] for b in blocks}, HEAD: []}
    current = STEM
    for name, _ in net.named_parameters():
        if inside(name, head):
            groups[HEAD].append(name)
            continue
        current = next((b for b in blocks if inside(name, [b])), current)
        own = inside(name, [current]) or not inside(name, early)
        groups[current if own else STEM].append(name)
    if not groups[STEM]:  # the stem is the first of the numbered modules
        groups[STEM] = groups.pop(blocks[0])
    return groups


def _embeddings(net) -> set[str]:
    """Paths of embeddings, and of norms that follow one with no blocks in between."""
    early = set()
    for path, module in net.named_modules():
        behind = False  # an embedding of the same parent
        for name, child in module.named_children():
            if isinstance(child, nn.Embedding):
                behind = True
            elif isinstance(child, (nn.ModuleList, nn.Sequential)):
                behind = False
            elif not isinstance(child, nn.LayerNorm):
                continue
            if behind:
                early.add(f"{path}.{name}" if path else name)
    return early


def layer_rates(
    groups, lr: float, alpha: float, head_factor: float = 1.0
) -> dict[str, float]:
    """Learning rate of each group: eta_l = lr * alpha ** (L - l).

    l counts the groups below the head from 0 (stem) to L (last block), so that the last
    block gets ``lr`` and each group below it ``alpha`` times the one above; the head
    gets ``lr * head_factor``.  alpha = 1 is one flat rate; Howard & Ruder (2018) use
    1/2.6.  Raises CourseError unless lr > 0 and 0 < alpha <= 1.
    """
    if not (lr > 0 and 0 < alpha <= 1 and head_factor > 0):
        raise CourseError(
            f"layer_rates: lr={lr}, alpha={alpha}, head_factor={head_factor}. Expected "
            "lr > 0, 0 < alpha <= 1 and head_factor > 0."
        )
    body = [name for name in groups if name != HEAD]
    rates = {name: lr * alpha ** (len(body) - 1 - i) for i, name in enumerate(body)}
    return rates | ({HEAD: lr * head_factor} if HEAD in groups else {})


def decayed_groups(
    model,
    lr: float,
    alpha: float = 1 / 2.6,
    weight_decay: float = 0.01,
    head_factor: float = 1.0,
    groups: dict[str, list[str]] | None = None,
) -> list[dict]:
    """Optimizer groups with a rate a layer group: for `Optimization(param_groups=)`.

    Each layer group gives up to two: matrices with ``weight_decay``; norms, biases and
    what the model exempts (`no_weight_decay`) without.  Frozen parameters are left out.
    Keys: name, params, lr, weight_decay.  Raises CourseError when ``groups`` is not an
    exact partition of the parameters.  Howard & Ruder 2018.
    """
    net = network(model)
    groups = layer_groups(model) if groups is None else groups
    parameters = dict(net.named_parameters())
    _check_partition(groups, parameters)
    exempt = exempt_from_decay(net)
    result = []
    for name, rate in layer_rates(groups, lr, alpha, head_factor).items():
        decay, plain = [], []
        for member in groups[name]:
            parameter = parameters[member]
            if parameter.requires_grad:
                (plain if member in exempt else decay).append(parameter)
        for params, wd in ((decay, weight_decay), (plain, 0.0)):
            if params:
                result.append(dict(name=name, params=params, lr=rate, weight_decay=wd))
    return result


def _check_partition(groups, parameters) -> None:
    listed = [name for members in groups.values() for name in members]
    double = sorted({name for name in listed if listed.count(name) > 1})
    missing = sorted(set(parameters) - set(listed))
    unknown = sorted(set(listed) - set(parameters))
    for what, names in (
        ("are in two groups", double),
        ("are in no group", missing),
        ("are not parameters of the model", unknown),
    ):
        if names:
            raise CourseError(
                f"Layer groups: {len(names)} names {what}, the first is {names[0]}.\n"
                "Expected: every parameter in exactly one group.\n"
                "Do: start from layer_groups(model)."
            )
