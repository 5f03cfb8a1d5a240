"""The course's small networks, built from the classes of torchvision and timm.

`NarrowResNet` is torchvision's `ResNet` with fewer channels, so that it trains on a
laptop: same modules, same names (`conv1`, `bn1`, `layer1` ... `layer4`, `avgpool`,
`fc`), same forward pass.
"""

from torch import nn

from course_lib.pretraining import light_imports

resnet = light_imports.torchvision().models.resnet


class NarrowResNet(resnet.ResNet):
    """torchvision's ResNet of `widths` channels a stage (He et al. 2016).

    Input (N, 3, H, W), output (N, num_classes).  The stem reduces the picture four
    times, stages 2 to 4 twice each: 64 pixels end as 2 x 2 of `widths[-1]` channels.
    """

    def __init__(
        self, widths=(32, 64, 128, 256), blocks=(1, 1, 1, 1), num_classes=1000
    ):
        super().__init__(resnet.BasicBlock, list(blocks), num_classes=num_classes)
        self.inplanes = widths[0]
        self.conv1 = nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        for stage, (width, depth) in enumerate(
            zip(widths, blocks, strict=True), start=1
        ):
            layer = self._make_layer(
                resnet.BasicBlock, width, depth, stride=min(stage, 2)
            )
            setattr(self, f"layer{stage}", layer)
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


def narrow_resnet(num_classes=1000, widths=(32, 64, 128, 256), blocks=(1, 1, 1, 1)):
    """The course's residual network, freshly initialised from torch's global seed."""
    return NarrowResNet(widths, blocks, num_classes)


def small_vit(num_classes=1000):
    """A timm Vision Transformer for 64-pixel pictures (Dosovitskiy et al. 2021).

    8-pixel patches, 128 channels, 4 blocks, 4 heads, mean-pooled: input
    (N, 3, 64, 64) or any size a multiple of 8, output (N, num_classes).
    """
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=64,
        patch_size=8,
        embed_dim=128,
        depth=4,
        num_heads=4,
        num_classes=num_classes,
        global_pool="avg",
        dynamic_img_size=True,
    )
