"""Networks on vectors and images, written once for Adjoint and PyTorch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from bench.kits import Kit


def mlp(kit: Kit, widths: tuple[int, ...]) -> Any:
    nn, layers = kit.nn, []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def lenet(kit: Kit, size: int) -> Any:
    nn = kit.nn
    inner = (size // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * inner * inner, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def conv_norm(
    kit: Kit, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1,
    active: bool = True,
) -> Any:  # fmt: skip
    """Convolution without a bias, batch norm, ReLU."""
    nn = kit.nn
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU()] if active else []))


def resnet(kit: Kit, widths: tuple[int, ...], blocks: int) -> Any:
    """He et al., CVPR 2016, with the stem for 32x32 images: ResNet-18 is (64, ..., 512), 2."""
    nn = kit.nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.first = conv_norm(kit, inputs, outputs, 3, stride)
            self.second = conv_norm(kit, outputs, outputs, active=False)
            self.short = None
            if stride > 1 or inputs != outputs:
                self.short = conv_norm(kit, inputs, outputs, 1, stride, active=False)

        def forward(self, x: Any) -> Any:
            short = x if self.short is None else self.short(x)
            return kit.F.relu(self.second(self.first(x)) + short)

    parts = [conv_norm(kit, 3, widths[0])]
    for stage, (inputs, outputs) in enumerate(pairwise((widths[0], *widths))):
        parts.append(Block(inputs, outputs, 1 if stage == 0 else 2))
        parts += [Block(outputs, outputs, 1) for _ in range(blocks - 1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)]
    return nn.Sequential(*parts, *head)


def plain(kit: Kit, widths: tuple[int, ...]) -> Any:
    """Pairs of 3x3 convolutions with batch norm, then pooling, as in VGG."""
    nn, parts = kit.nn, []
    for inputs, outputs in pairwise((3, *widths)):
        parts += [conv_norm(kit, inputs, outputs), conv_norm(kit, outputs, outputs)]
        parts.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)]
    return nn.Sequential(*parts, *head)


def separable(kit: Kit, widths: tuple[int, ...]) -> Any:
    """Depthwise 3x3 and pointwise 1x1 convolutions, as in MobileNet."""
    nn, parts = kit.nn, [conv_norm(kit, 3, widths[0])]
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        parts.append(conv_norm(kit, inputs, inputs, 3, 1 + i % 2, groups=inputs))
        parts.append(conv_norm(kit, inputs, outputs, 1))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10)]
    return nn.Sequential(*parts, *head)


def autoencoder(kit: Kit, widths: tuple[int, ...]) -> Any:
    """Strided convolutions down, transposed convolutions up again."""
    nn, parts = kit.nn, []
    for inputs, outputs in pairwise((3, *widths)):
        parts += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.ReLU()]
    for inputs, outputs in pairwise((*widths[::-1], 3)):
        parts += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def unet(kit: Kit, widths: tuple[int, ...], classes: int) -> Any:
    """Ronneberger et al., MICCAI 2015, small: scores for each pixel."""
    nn = kit.nn

    def double(inputs: int, outputs: int) -> Any:
        return nn.Sequential(conv_norm(kit, inputs, outputs), conv_norm(kit, outputs, outputs))

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList([double(i, o) for i, o in pairwise((1, *widths))])
            steps = list(pairwise(widths[::-1]))
            self.up = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in steps])
            self.join = nn.ModuleList([double(2 * o, o) for _, o in steps])
            self.pool, self.head = nn.MaxPool2d(2), nn.Conv2d(widths[0], classes, 1)

        def forward(self, x: Any) -> Any:
            kept = []
            for i, block in enumerate(self.down):
                x = block(x if i == 0 else self.pool(x))
                kept.append(x)
            for up, join, across in zip(self.up, self.join, kept[-2::-1], strict=True):
                x = join(kit.lib.cat([across, up(x)], 1))
            return self.head(x)

    return UNet()
