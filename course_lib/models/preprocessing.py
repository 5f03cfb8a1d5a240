"""From stored pixels to what a network expects: the other half of every weight file.

A pretrained network has learned one scale, one channel order and one resolution.
Feeding it anything else raises no error and costs accuracy, which is why the zoo
hands out each backbone together with its :class:`Preprocess`.
"""

from dataclasses import dataclass

import numpy as np

from course_lib.errors import CourseError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHANNELS = ("RGB", "BGR")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocess:
    """uint8 images to normalised float32 tensors: resize, scale to 0..1, normalise.

    size: pixels a side (shorter side resized, then centre crop), None keeps the size.
    mean, std: one number a channel, for values in 0..1.  channels: order that the
    network expects, "RGB" or "BGR".  Raises CourseError on a bad setting.
    """

    size: int | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    channels: str = "RGB"
    interpolation: str = "bilinear"

    def __post_init__(self):
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise CourseError(
                f"Preprocess: mean {self.mean} and std {self.std} do not fit. Expected "
                "three numbers each (R, G, B in 0..1) and every std above 0."
            )
        if self.channels not in CHANNELS or self.interpolation not in INTERPOLATIONS:
            raise CourseError(
                f"Preprocess: channels={self.channels!r}, interpolation="
                f"{self.interpolation!r}. Expected one of {CHANNELS} and one of "
                f"{INTERPOLATIONS}."
            )
        if self.size is not None and self.size < 1:
            raise CourseError(f"Preprocess: size={self.size} must be at least 1 pixel.")

    def __call__(self, images):
        """uint8 (N, H, W, 3) or (H, W, 3), array or tensor, to float32 (N, 3, H, W).

        Raises CourseError on other shapes and types: floats would be scaled twice.
        """
        import torch

        x = _as_batch(images)  # (N, H, W, 3)
        x = x.permute(0, 3, 1, 2).to(torch.float32) / 255  # (N, 3, H, W)
        if self.size is not None:
            x = _resize_and_crop(x, self.size, self.interpolation)
        mean, std = self._scales(x)
        x = (x - mean) / std
        return x.flip(1) if self.channels == "BGR" else x

    def to_images(self, x) -> np.ndarray:
        """The inverse, for figures: float (N, 3, H, W) to uint8 (N, H, W, 3)."""
        x = x.detach().float().cpu()
        if self.channels == "BGR":
            x = x.flip(1)
        mean, std = self._scales(x)
        x = ((x * std + mean).clamp(0, 1) * 255).round()
        return x.permute(0, 2, 3, 1).to(dtype=_torch().uint8).numpy()

    def _scales(self, x):
        torch = _torch()
        mean = torch.tensor(self.mean, device=x.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=x.device).view(1, 3, 1, 1)
        return mean, std


def _torch():
    import torch

    return torch


def _as_batch(images):
    torch = _torch()
    if not isinstance(images, torch.Tensor):
        images = np.asarray(images)
        if images.dtype == np.uint8:
            # numpy views with negative strides cannot become tensors
            images = torch.from_numpy(np.ascontiguousarray(images))
    if images.dtype != torch.uint8:
        raise CourseError(
            f"Preprocess: the images are {images.dtype}, expected uint8 (0..255). "
            "Floats would be scaled twice; course_lib.datasets.from_arrays converts "
            "them."
        )
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[-1] != 3:
        raise CourseError(
            f"Preprocess: images of shape {tuple(images.shape)}, expected (N, H, W, 3) "
            "or (H, W, 3), channels last. course_lib.datasets.from_arrays turns grey "
            "images into RGB."
        )
    return images


def _resize_and_crop(x, size: int, interpolation: str):
    """Shorter side to ``size`` with an antialiasing filter, then the centre square."""
    height, width = x.shape[-2:]
    if (height, width) == (size, size):
        return x
    scale = size / min(height, width)
    new = [max(size, round(height * scale)), max(size, round(width * scale))]
    smooth = {} if interpolation == "nearest" else {"antialias": True}
    x = _torch().nn.functional.interpolate(x, size=new, mode=interpolation, **smooth)
    top, left = (new[0] - size) // 2, (new[1] - size) // 2
    return x[..., top : top + size, left : left + size]
