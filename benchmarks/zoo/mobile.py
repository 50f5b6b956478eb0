"""Small convolutional networks: MobileNetV2 (Sandler et al. 2018), MobileNetV3-small (Howard et al. 2019),
EfficientNet-B0 (Tan and Le 2019), SqueezeNet 1.1 (Iandola et al. 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.zoo.layers import ConvNorm, SqueezeExcite, classifier_head


class _Inverted(nn.Module):
    """Widen with a 1x1, convolve every channel by itself, narrow with a 1x1; added to the input where shapes allow."""

    def __init__(
        self,
        channels_in: int,
        widened: int,
        channels: int,
        kernel: int,
        stride: int,
        *,
        activation: type[nn.Module],
        excite: SqueezeExcite | None = None,
    ) -> None:
        super().__init__()
        self.adds = stride == 1 and channels_in == channels
        layers: list[nn.Module] = []
        if widened != channels_in:
            layers.append(ConvNorm(channels_in, widened, 1, activation=activation))
        layers.append(ConvNorm(widened, widened, kernel, stride, groups=widened, activation=activation))
        if excite:
            layers.append(excite)
        self.body = nn.Sequential(*layers, ConvNorm(widened, channels, 1, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v2() -> nn.Module:
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2, activation=nn.ReLU6)]
    channels = 32
    # widening, channels, blocks, stride of the first
    for factor, out, blocks, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(blocks):
            step = stride if not index else 1
            layers.append(_Inverted(channels, factor * channels, out, 3, step, activation=nn.ReLU6))
            channels = out
    return nn.Sequential(*layers, ConvNorm(320, 1280, 1, activation=nn.ReLU6), classifier_head(1280))


def mobilenet_v3_small() -> nn.Module:
    layers: list[nn.Module] = [ConvNorm(3, 16, 3, 2, activation=nn.Hardswish)]
    channels = 16
    # kernel, widened channels, channels, squeeze-and-excite, activation, stride
    for kernel, widened, out, excites, activation, stride in (
        (3, 16, 16, True, nn.ReLU, 2),
        (3, 72, 24, False, nn.ReLU, 2),
        (3, 88, 24, False, nn.ReLU, 1),
        (5, 96, 40, True, nn.Hardswish, 2),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 240, 40, True, nn.Hardswish, 1),
        (5, 120, 48, True, nn.Hardswish, 1),
        (5, 144, 48, True, nn.Hardswish, 1),
        (5, 288, 96, True, nn.Hardswish, 2),
        (5, 576, 96, True, nn.Hardswish, 1),
        (5, 576, 96, True, nn.Hardswish, 1),
    ):
        squeezed = max(8, (widened // 4 + 4) // 8 * 8)
        excite = SqueezeExcite(widened, squeezed, nn.ReLU, nn.Hardsigmoid) if excites else None
        layers.append(_Inverted(channels, widened, out, kernel, stride, activation=activation, excite=excite))
        channels = out
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, 1000)]
    return nn.Sequential(*layers, ConvNorm(96, 576, 1, activation=nn.Hardswish), *head)


def efficientnet_b0() -> nn.Module:
    layers: list[nn.Module] = [ConvNorm(3, 32, 3, 2, activation=nn.SiLU)]
    channels = 32
    # widening, kernel, channels, blocks, stride of the first
    for factor, kernel, out, blocks, stride in (
        (1, 3, 16, 1, 1),
        (6, 3, 24, 2, 2),
        (6, 5, 40, 2, 2),
        (6, 3, 80, 3, 2),
        (6, 5, 112, 3, 1),
        (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    ):
        for index in range(blocks):
            widened, step = factor * channels, stride if not index else 1
            excite = SqueezeExcite(widened, channels // 4, nn.SiLU, nn.Sigmoid)
            layers.append(_Inverted(channels, widened, out, kernel, step, activation=nn.SiLU, excite=excite))
            channels = out
    return nn.Sequential(*layers, ConvNorm(320, 1280, 1, activation=nn.SiLU), classifier_head(1280))


class _Fire(nn.Module):
    def __init__(self, channels_in: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(channels_in, squeezed, 1), nn.ReLU())
        self.narrow = nn.Sequential(nn.Conv2d(squeezed, expanded, 1), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        squeezed = self.squeeze(x)
        return torch.cat([self.narrow(squeezed), self.wide(squeezed)], 1)


def squeezenet() -> nn.Module:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2),
        nn.ReLU(),
        pool(),
        _Fire(64, 16, 64),
        _Fire(128, 16, 64),
        pool(),
        _Fire(128, 32, 128),
        _Fire(256, 32, 128),
        pool(),
        _Fire(256, 48, 192),
        _Fire(384, 48, 192),
        _Fire(384, 64, 256),
        _Fire(512, 64, 256),
        nn.Conv2d(512, 1000, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
