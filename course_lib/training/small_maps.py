"""Convolutions of maps a few pixels wide, as the matrix products that they are.

Deep in a network maps have 3 x 3 to 7 x 7 pixels and hundreds of channels.  There a
convolution's own machinery costs more than its arithmetic: on a CPU the backward pass
of a 5 x 5 depthwise convolution of 3 x 3 maps takes ten times as long as its sums.  On
h w pixels a depthwise convolution is one (h w, h' w') matrix a channel, and a 1 x 1
convolution one matrix product over all pixels (Chellapilla et al. 2006).
"""

import copy

import torch
from torch import nn
from torch.nn.functional import linear

LARGEST = 7 * 7  # pixels of a map; beyond, a channel's matrix outgrows its kernel


def _channels_first(x: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) laid out channels last, as (C, N, h w) in one piece of memory."""
    n, channels = x.shape[:2]
    return (
        x.permute(0, 2, 3, 1)
        .reshape(-1, channels)
        .t()
        .contiguous()
        .view(channels, n, -1)
    )


def _channels_last(z: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `_channels_first`."""
    channels, n = z.shape[:2]
    rows = z.view(channels, -1).t().contiguous()
    return rows.view(n, height, width, channels).permute(0, 3, 1, 2)


class _PerChannel(torch.autograd.Function):
    """x (N, C, h, w) times one matrix a channel, (C, h w, h' w')."""

    @staticmethod
    def forward(ctx, x, matrices, size):
        pixels = _channels_first(x)
        ctx.save_for_backward(pixels, matrices)
        ctx.size = x.shape[2:]
        return _channels_last(torch.bmm(pixels, matrices), *size)

    @staticmethod
    def backward(ctx, gradient):
        pixels, matrices = ctx.saved_tensors
        gradient, to_x, to_matrices = _channels_first(gradient), None, None
        if ctx.needs_input_grad[0]:
            to_x = torch.bmm(gradient, matrices.transpose(1, 2))
            to_x = _channels_last(to_x, *ctx.size)
        if ctx.needs_input_grad[1]:
            to_matrices = torch.bmm(pixels.transpose(1, 2), gradient)
        return to_x, to_matrices, None


class Depthwise(nn.Module):
    """A depthwise convolution without bias; small maps go through `_PerChannel`.

    It holds the convolution itself, and so its weight.  A weight's place in a channel's
    matrix depends on kernel, stride and padding alone: it is found by convolving one
    pixel at a time with one weight at a time.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv, self.places = conv, {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = tuple(x.shape[2:])
        if size[0] * size[1] > LARGEST:
            return self.conv(x)
        if size not in self.places:
            self.places[size] = self._places(*size)
        places, out = self.places[size]
        matrices = self.conv.weight.flatten(1) @ places  # (C, h w h' w')
        matrices = matrices.view(len(matrices), size[0] * size[1], -1)
        return _PerChannel.apply(x, matrices, out)

    @torch.no_grad()
    def _places(self, height: int, width: int):
        """0 and 1, (kernel, h w h' w'): which weight joins which pixels; (h', w')."""
        single = copy.copy(self.conv)
        single._parameters = dict(self.conv._parameters)
        kernel = self.conv.weight[0].numel()
        single.weight = nn.Parameter(
            torch.eye(kernel).view(kernel, *self.conv.weight.shape[1:])
        )
        single.groups = single.in_channels = 1
        out = single(torch.eye(height * width).view(-1, 1, height, width))
        return out.transpose(0, 1).reshape(kernel, -1), tuple(out.shape[2:])


class Pointwise(nn.Module):
    """A 1 x 1 convolution as a matrix product over all pixels, channels last."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pixels = x.permute(0, 2, 3, 1)
        return linear(pixels, self.conv.weight.flatten(1), self.conv.bias).permute(
            0, 3, 1, 2
        )


def as_matrices(net: nn.Module) -> nn.Module:
    """Put `Depthwise` and `Pointwise` in place of convolutions; returns the network.

    Depthwise convolutions with 3 x 3 kernels stay: torch's own code is as fast.  A
    network that holds the same layers trains the same weights, up to rounding.
    """
    for name, layer in list(net.named_modules()):
        if not isinstance(layer, nn.Conv2d) or not name:
            continue
        plain = layer.stride == (1, 1) and layer.padding in (0, (0, 0), "same", "valid")
        if layer.kernel_size == (1, 1) and layer.groups == 1 and plain:
            net.set_submodule(name, Pointwise(layer))
        single = layer.groups == layer.in_channels == layer.out_channels > 1
        if single and min(layer.kernel_size) > 3 and layer.bias is None:
            net.set_submodule(name, Depthwise(layer))
    return net
