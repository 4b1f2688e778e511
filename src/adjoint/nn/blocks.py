"""Layers made of layers: residual, bottleneck, inception, and one network for several inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjoint.base import errors
from adjoint.base.arguments import as_choice
from adjoint.base.shape import as_size
from adjoint.nn.activation import ReLU
from adjoint.nn.batchnorm import BatchNorm2d
from adjoint.nn.checks import as_callable, as_module
from adjoint.nn.containers import ModuleList, Sequential
from adjoint.nn.conv import Conv2d
from adjoint.nn.linear import Identity, Linear
from adjoint.nn.module import Module
from adjoint.nn.pool import MaxPool2d
from adjoint.tensors import functional as F
from adjoint.tensors.handle import Handle
from adjoint.tensors.movement import cat
from adjoint.tensors.tensor import Tensor


class Residual(Module):
    """shortcut(x) + branch(x), then ``activation``: the branch learns the difference.

    Without ``shortcut`` x itself; its shape must be that of the branch's result. Source: He et al.,
    CVPR 2016.
    """

    def __init__(
        self, branch: Module, shortcut: Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.branch = as_module("Residual", "branch", branch)
        self.shortcut = (
            Identity() if shortcut is None else as_module("Residual", "shortcut", shortcut)
        )
        self.activation = as_callable("Residual", "activation", activation)

    def forward(self, input: Tensor) -> Tensor:
        short, learned = self.shortcut(input), self.branch(input)
        if short.shape != learned.shape:
            raise errors.shape(
                "Residual", "the branch changes the shape", short, learned,
                hint="give a shortcut that does the same: Residual(branch, nn.Conv2d(...))",
            )  # fmt: skip
        out = short + learned
        return out if self.activation is None else self.activation(out)


class LinearBottleneck(Sequential):
    """A linear layer down to ``width`` and one up again, with nothing between: a map of rank at
    most ``width``. Parameters are ``down`` (no bias) and ``up``."""

    def __init__(
        self, in_features: int, width: int, out_features: int, bias: bool = True,
        device: object = "cpu", dtype: object = None,
    ) -> None:  # fmt: skip
        down = Linear(in_features, width, bias=False, device=device, dtype=dtype)
        up = Linear(width, out_features, bias=bias, device=device, dtype=dtype)
        super().__init__({"down": down, "up": up})


class Bottleneck(Module):
    """The block of ResNet-50: 1x1 down to ``planes``, 3x3, 1x1 up to 4 ``planes``, each with batch
    normalisation, around a shortcut. Names and arguments are torchvision's.

    (N, inplanes, H, W) -> (N, 4 planes, H / stride, W / stride). ``downsample``: the shortcut,
    where the shape changes. Source: He et al., CVPR 2016; the stride is in the 3x3.
    """

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: Module | None = None,
        groups: int = 1, base_width: int = 64, dilation: int = 1,
        norm_layer: Callable[[int], Module] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        norm = BatchNorm2d if norm_layer is None else norm_layer
        width = int(as_size("Bottleneck", planes) * (base_width / 64.0)) * groups
        out = planes * self.expansion
        self.conv1 = Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = Conv2d(
            width, width, 3, stride, dilation, dilation=dilation, groups=groups, bias=False
        )
        self.bn2 = norm(width)
        self.conv3 = Conv2d(width, out, 1, bias=False)
        self.bn3 = norm(out)
        self.relu = ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(input)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        short = input if self.downsample is None else self.downsample(input)
        if short.shape != out.shape:
            raise errors.shape(
                "Bottleneck", "the shortcut has another shape", short, out,
                hint="downsample=nn.Sequential(nn.Conv2d(..., 1, stride), nn.BatchNorm2d(...))",
            )  # fmt: skip
        return F.relu(short + out)


class ConvNormReLU(Module):
    """A convolution without bias (``conv``), batch normalisation (``bn``) and relu."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1,
        padding: Any = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = BatchNorm2d(out_channels, eps=0.001)

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(input)))


class Inception(Module):
    """Four branches side by side, channels joined: 1x1; 1x1 then 3x3; 1x1 then 3x3; 3x3 maximum
    then 1x1. Names and arguments are torchvision's, whose third branch has a 3x3 where the paper
    has 5x5; ``kernel5=5`` gives the paper's. Source: Szegedy et al., CVPR 2015."""

    def __init__(
        self, in_channels: int, ch1x1: int, ch3x3red: int, ch3x3: int, ch5x5red: int, ch5x5: int,
        pool_proj: int, kernel5: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.branch1 = ConvNormReLU(in_channels, ch1x1, kernel_size=1)
        self.branch2 = Sequential(
            ConvNormReLU(in_channels, ch3x3red, kernel_size=1),
            ConvNormReLU(ch3x3red, ch3x3, kernel_size=3, padding=1),
        )
        self.branch3 = Sequential(
            ConvNormReLU(in_channels, ch5x5red, kernel_size=1),
            ConvNormReLU(ch5x5red, ch5x5, kernel_size=kernel5, padding=kernel5 // 2),
        )
        self.branch4 = Sequential(
            MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
            ConvNormReLU(in_channels, pool_proj, kernel_size=1),
        )

    def forward(self, input: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return cat([b(input) for b in branches], 1)


class Parallel(Module):
    """Every module on the same input, results joined along ``dim`` (``join="cat"``) or added up
    (``join="sum"``)."""

    def __init__(self, *modules: Module, dim: int = 1, join: str = "cat") -> None:
        super().__init__()
        if not modules:
            raise errors.argument("Parallel", "needs modules", hint="Parallel(a, b)")
        self.branches = ModuleList(modules)
        self.dim = dim
        self.join = as_choice("Parallel join", join, ["cat", "sum"])

    def forward(self, *args: Any) -> Tensor:
        made = [branch(*args) for branch in self.branches]
        if self.join == "cat":
            return cat(made, self.dim)
        total: Tensor = made[0]
        for other in made[1:]:
            total = total + other
        return total

    def extra_repr(self) -> str:
        return f"dim={self.dim}, join={self.join!r}"


class Siamese(Module):
    """``head(net(x1), net(x2), ...)``: one network, so one set of parameters, for every input.

    ``head``: a module or a function of the features; without it they are returned as a tuple. The
    gradient of the network is the sum over its uses. Source: Bromley et al., NeurIPS 1993.
    """

    def __init__(self, net: Module, head: Callable[..., Any] | None = None) -> None:
        super().__init__()
        self.net = as_module("Siamese", "net", net)
        self.head = as_callable("Siamese", "head", head)

    def forward(self, *inputs: Tensor) -> Any:
        if not inputs or not all(isinstance(i, Handle) for i in inputs):
            raise errors.argument(
                "Siamese", "takes one tensor for each branch", hint="siamese(x1, x2)"
            )
        features = tuple(self.net(i) for i in inputs)
        return features if self.head is None else self.head(*features)
