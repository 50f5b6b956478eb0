"""ResNet-18/50 (He et al. 2016) and DenseNet-121 (Huang et al. 2017): networks that add or append to their input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.zoo.layers import ConvNorm, classifier_head


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.body(x) + self.shortcut(x))


def _basic(channels_in: int, width: int, stride: int) -> tuple[nn.Module, int]:
    return nn.Sequential(ConvNorm(channels_in, width, 3, stride), ConvNorm(width, width, 3, activation=None)), width


def _bottleneck(channels_in: int, width: int, stride: int) -> tuple[nn.Module, int]:
    # the stride is at the 3x3 convolution, as in every current implementation (version 1.5 of the network)
    return nn.Sequential(
        ConvNorm(channels_in, width, 1),
        ConvNorm(width, width, 3, stride),
        ConvNorm(width, 4 * width, 1, activation=None),
    ), 4 * width


def _resnet(make: Callable[[int, int, int], tuple[nn.Module, int]], depths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = [ConvNorm(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, depth in enumerate(depths):
        for index in range(depth):
            stride = 2 if stage and not index else 1
            body, wide = make(channels, 64 << stage, stride)
            same = stride == 1 and channels == wide
            shortcut = nn.Identity() if same else ConvNorm(channels, wide, 1, stride, activation=None)
            layers.append(_Residual(body, shortcut))
            channels = wide
    return nn.Sequential(*layers, classifier_head(channels))


def resnet18() -> nn.Module:
    return _resnet(_basic, (2, 2, 2, 2))


def resnet50() -> nn.Module:
    return _resnet(_bottleneck, (3, 4, 6, 3))


class _Dense(nn.Module):
    """Append ``growth`` channels to the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            ConvNorm(channels, 4 * growth, 1),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet121(growth: int = 32) -> nn.Module:
    layers: list[nn.Module] = [ConvNorm(3, 2 * growth, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 2 * growth
    for stage, depth in enumerate((6, 12, 24, 16)):
        if stage:
            halved = nn.Conv2d(channels, channels // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), halved, nn.AvgPool2d(2)]
            channels //= 2
        for _ in range(depth):
            layers.append(_Dense(channels, growth))
            channels += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), classifier_head(channels))
