"""InceptionV3 (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2016), without the
auxiliary classifier, which does not run at inference.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.zoo.layers import ConvNorm, classifier_head

# one convolution: channels, kernel
Convolution = tuple[int, int | tuple[int, int]]


class _Branches(nn.Module):
    """Every branch on the same input, concatenated over channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _chain(channels: int, steps: Sequence[Convolution], *, reduces: bool = False) -> nn.Sequential:
    """reduces: the last convolution has stride 2 and no padding."""
    layers = []
    for index, (out, kernel) in enumerate(steps):
        if reduces and index == len(steps) - 1:
            layers.append(ConvNorm(channels, out, kernel, 2, padding=0))
        else:
            layers.append(ConvNorm(channels, out, kernel))
        channels = out
    return nn.Sequential(*layers)


def _pooled(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvNorm(channels, out, 1))


def _grid35(channels: int, pooled: int) -> nn.Module:
    return _Branches(
        _chain(channels, [(64, 1)]),
        _chain(channels, [(48, 1), (64, 5)]),
        _chain(channels, [(64, 1), (96, 3), (96, 3)]),
        _pooled(channels, pooled),
    )


def _grid17(width: int) -> nn.Module:
    row, column = (1, 7), (7, 1)
    return _Branches(
        _chain(768, [(192, 1)]),
        _chain(768, [(width, 1), (width, row), (192, column)]),
        _chain(768, [(width, 1), (width, column), (width, row), (width, column), (192, row)]),
        _pooled(768, 192),
    )


def _grid8(channels: int) -> nn.Module:
    def fork() -> nn.Module:
        return _Branches(ConvNorm(384, 384, (1, 3)), ConvNorm(384, 384, (3, 1)))

    return _Branches(
        _chain(channels, [(320, 1)]),
        nn.Sequential(_chain(channels, [(384, 1)]), fork()),
        nn.Sequential(_chain(channels, [(448, 1), (384, 3)]), fork()),
        _pooled(channels, 192),
    )


def inception_v3() -> nn.Module:
    stem = [
        ConvNorm(3, 32, 3, 2, padding=0),
        ConvNorm(32, 32, 3, padding=0),
        ConvNorm(32, 64, 3),
        nn.MaxPool2d(3, 2),
        ConvNorm(64, 80, 1),
        ConvNorm(80, 192, 3, padding=0),
        nn.MaxPool2d(3, 2),
    ]
    to_grid17 = _Branches(
        _chain(288, [(384, 3)], reduces=True),
        _chain(288, [(64, 1), (96, 3), (96, 3)], reduces=True),
        nn.MaxPool2d(3, 2),
    )
    to_grid8 = _Branches(
        _chain(768, [(192, 1), (320, 3)], reduces=True),
        _chain(768, [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3)], reduces=True),
        nn.MaxPool2d(3, 2),
    )
    grid35 = [_grid35(192, 32), _grid35(256, 64), _grid35(288, 64)]
    grid17 = [_grid17(128), _grid17(160), _grid17(160), _grid17(192)]
    grid8 = [_grid8(1280), _grid8(2048)]
    return nn.Sequential(*stem, *grid35, to_grid17, *grid17, to_grid8, *grid8, classifier_head(2048))
