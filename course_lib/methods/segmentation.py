"""Dense prediction: one 1 x 1 convolution on each level of a feature pyramid.

The levels are timm's ``forward_intermediates``: the last map of each resolution.  Long,
Shelhamer & Darrell 2015 add such scores of several levels, arXiv:1411.4038.
"""

import copy

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from course_lib.models import features

BATCH = 8
EVALUATIONS = 6


def pyramid(backbone, x) -> list[torch.Tensor]:
    """Maps of each resolution, finest first: (N, C_l, H / 2^l, W / 2^l) each.

    x: what ``backbone.preprocess`` gives.  Gradients flow.
    """
    net = features.network(backbone)
    return net.forward_intermediates(x, intermediates_only=True)


class PyramidHead(nn.Module):
    """Logits (N, K, H, W) from the maps of a pyramid.

    Each level has its own 1 x 1 convolution; its scores are enlarged and added.  That
    equals one convolution of all enlarged maps together, for both steps are linear.
    """

    def __init__(self, widths, outputs: int = 1, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.scores = nn.ModuleList(
                nn.Conv2d(width, outputs, 1) for width in widths
            )

    def forward(self, maps, size: tuple[int, int]):
        finest = maps[0].shape[-2:]
        added = sum(
            interpolate(score(m), finest, mode="bilinear")
            for score, m in zip(self.scores, maps)
        )
        return interpolate(added, size, mode="bilinear")


class Scaled(nn.Module):
    """Maps whose channels have mean 0 and deviation 1 over the training pictures."""

    def __init__(self, maps):
        super().__init__()
        self.middle = [m.mean((0, 2, 3), keepdim=True) for m in maps]
        self.spread = [m.std((0, 2, 3), keepdim=True).clamp(min=1e-6) for m in maps]

    def forward(self, maps):
        return [(m - a) / b for m, a, b in zip(maps, self.middle, self.spread)]


def iou(logits: torch.Tensor, masks: torch.Tensor) -> float:
    """Intersection over union of the pixels above 0 and the masks, all pictures.

    0 where neither has a pixel.
    """
    found, wanted = logits > 0, masks > 0.5
    return int((found & wanted).sum()) / max(1, int((found | wanted).sum()))


def fit(logits_of, module, masks, validate, *, steps, lr, seed=0):
    """AdamW on binary cross-entropy; the weights of the best validation IoU are kept.

    logits_of(rows): logits (n, 1, H, W) of rows of the training pictures; module: what
    learns; masks: (N, 1, H, W); validate(): IoU.  Returns the best IoU.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    every, best = max(1, steps // EVALUATIONS), (-1.0, None)
    for step in range(1, steps + 1):
        module.train()
        rows = torch.randperm(len(masks), generator=generator)[:BATCH]
        loss = binary_cross_entropy_with_logits(logits_of(rows), masks[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        if step % every == 0 or step == steps:
            module.eval()
            with torch.no_grad():
                reached = validate()
            if reached > best[0]:
                best = reached, copy.deepcopy(module.state_dict())
    module.load_state_dict(best[1])
    module.eval()
    return best[0]
