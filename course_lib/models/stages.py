"""Stages: named places of a network, from input to output.

Every family of networks calls its parts differently; here each gets a short list of
stages, {stage: dotted module name}, by which the course freezes, probes and taps.
"""

import copy

import torch
from torch import nn

from course_lib.models import heads


def find(model):
    """Stage names to dotted module names, from input to output.

    Residual networks: stem, layer1 ... layer4.  Transformers of timm: stem, block1 ...
    Networks with `features`: a stage ends where the maps are about to get smaller.
    Others: the parts of their `stages`, `blocks` or `layers`, else the direct children.
    """
    if hasattr(model, "layer4"):
        stem = "maxpool" if hasattr(model, "maxpool") else "act1"
        return {"stem": stem} | {f"layer{i}": f"layer{i}" for i in range(1, 5)}
    if hasattr(model, "blocks") and hasattr(model, "patch_embed"):
        blocks = {f"block{i + 1}": f"blocks.{i}" for i in range(len(model.blocks))}
        return {"stem": "patch_embed"} | blocks
    ends = last_of_each_size(getattr(model, "features", None))
    if ends:
        return {
            f"layer{i}" if i else "stem": f"features.{n}" for i, n in enumerate(ends)
        }
    for part in ("stages", "blocks", "layers"):
        inside = getattr(model, part, None)
        if isinstance(inside, nn.Module):
            found = {f"{part}{n}": f"{part}.{n}" for n, _ in inside.named_children()}
            return {"stem": "stem"} | found if hasattr(model, "stem") else found
    return {name: name for name, _ in model.named_children()}


def last_of_each_size(sequence):
    """Names of a Sequential's children behind which the maps get smaller, and the last.

    Computed with shapes alone, on the meta device, for pictures of 224 pixels.  Empty
    for what is no Sequential, or one that does not read pictures.
    """
    if not isinstance(sequence, nn.Sequential):
        return []
    shapes = copy.deepcopy(sequence).to("meta").eval()
    x, sizes = torch.empty(1, 3, 224, 224, device="meta"), {}
    try:
        with torch.no_grad():
            for name, child in shapes.named_children():
                x = child(x)
                sizes[x.shape[2]] = name  # the second: (N, C, H, W) and (N, H, W, C)
    except RuntimeError:  # a stem stands before it
        return []
    return list(sizes.values())


def that_run(model, stages, size):
    """Of timm's many ways to build a network: stages that a forward pass goes through.

    Those found by name where they run and give a tensor, else what timm lists in
    `feature_info`, else the parts below the head.  Computed with shapes alone.
    """
    trial, ran = heads.without_numbers(model).eval(), []
    for name, module in trial.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: ran.append(name) if is_tensor(out) else None
        )
    try:
        with torch.no_grad():
            trial(torch.empty(1, 3, size, size, device="meta"))
    except Exception:  # of a layer that needs numbers: names are all there is
        return stages
    listed = {
        place["module"]: place["module"]
        for place in getattr(model, "feature_info", None) or ()
        if isinstance(place, dict) and "module" in place
    }
    head = heads.find(model)
    children = {
        name: name
        for name, module in direct_parts(model)
        if any(True for _ in module.parameters()) and not heads.inside(name, head)
    }
    for some in (stages, listed, children):
        found = {stage: name for stage, name in some.items() if name in ran}
        found = dict(sorted(found.items(), key=lambda pair: ran.index(pair[1])))
        if len(found) >= 2:
            break
    return found


def direct_parts(model, prefix=""):
    """(name, module) of the children; in place of a list of modules, its own."""
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from direct_parts(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


def is_tensor(output):
    """Is this a tensor, or a tuple or list that begins with one?"""
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return isinstance(first, torch.Tensor)
