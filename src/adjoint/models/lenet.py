"""LeNet-5 for small grey images.

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
recognition", Proc. IEEE 86, 1998. It was not the first convolutional net (LeNet-1 is of 1989, the
neocognitron of 1980). The variant here is the one in use today: every map of the third layer sees
all six maps below it (the paper's table I connects 60 of 96 pairs), the last layer is linear (the
paper's are distances to drawn characters), and pooling has no parameters of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from adjoint.base import errors
from adjoint.nn import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, Module, ReLU, Sequential, Tanh
from adjoint.tensors.tensor import Tensor


@dataclass(frozen=True)
class LeNetConfig:
    """Sizes and choices of a ``LeNet``. ``padding`` is that of the first convolution."""

    image_size: int = 32
    padding: int = 0
    channels: int = 1
    classes: int = 10
    activation: str = "relu"
    pooling: str = "max"

    @classmethod
    def mnist(cls) -> Self:
        """Images of 28x28 with a margin of 2: the net sees 32x32."""
        return cls(image_size=28, padding=2)

    @classmethod
    def paper(cls) -> Self:
        """tanh and averages, as in 1998."""
        return cls(activation="tanh", pooling="average")

    @property
    def map_size(self) -> int:
        """The side of the maps that the linear layers see: 5 for 32x32 images."""
        return ((self.image_size + 2 * self.padding - 4) // 2 - 4) // 2


class LeNet(Module):
    """(batch, channels, size, size) -> (batch, classes), scores before any softmax.

    5x5 convolutions to 6 and 16 maps, each followed by an activation and 2x2 pooling, then linear
    layers of 120 and 84 units: 61,706 parameters for 32x32 grey images and 10 classes.
    """

    def __init__(self, config: LeNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or LeNetConfig()
        activations, poolings = (
            {"relu": ReLU, "tanh": Tanh},
            {"max": MaxPool2d, "average": AvgPool2d},
        )
        if config.activation not in activations:
            raise errors.unknown_name("LeNet activation", config.activation, activations)
        if config.pooling not in poolings:
            raise errors.unknown_name("LeNet pooling", config.pooling, poolings)
        if config.map_size < 1:
            raise errors.argument(
                "LeNet",
                f"images of {config.image_size} are too small",
                hint="two poolings and two kernels of 5 need 20 pixels or more",
            )
        activate, pool = activations[config.activation], poolings[config.pooling]
        self.features = Sequential(
            Conv2d(config.channels, 6, 5, padding=config.padding), activate(), pool(2),
            Conv2d(6, 16, 5), activate(), pool(2),
        )  # fmt: skip
        self.classifier = Sequential(
            Flatten(), Linear(16 * config.map_size**2, 120), activate(), Linear(120, 84),
            activate(), Linear(84, config.classes),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.features(images))
