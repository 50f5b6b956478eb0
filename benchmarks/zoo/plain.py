"""VGG-16 (Simonyan and Zisserman 2015), a U-Net (Ronneberger et al. 2015), the digits network of the demo, an LSTM
over a sensor's time series, and an MLP on tabular input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.zoo.layers import ConvNorm


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers, nn.Flatten(), *dense)


class UNet(nn.Module):
    """Segmentation: float32 (1, 3, 256, 256) -> (1, 2, 256, 256). Half of the original's width, and padded, so that
    the output has the input's size.
    """

    def __init__(self, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        widths = [width << level for level in range(depth + 1)]
        pairs = zip([3, *widths[:-1]], widths, strict=True)
        self.down = nn.ModuleList(_double(narrow, wide) for narrow, wide in pairs)
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, wide // 2, 2, 2) for wide in widths[:0:-1])
        self.merge = nn.ModuleList(_double(wide, wide // 2) for wide in widths[:0:-1])
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = []
        for stage in self.down[:-1]:
            skipped.append(stage(x))
            x = self.pool(skipped[-1])
        x = self.down[-1](x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skipped.pop(), up(x)], 1))
        return self.head(x)


def _double(channels_in: int, channels: int) -> nn.Module:
    return nn.Sequential(ConvNorm(channels_in, channels), ConvNorm(channels, channels))


def unet() -> nn.Module:
    return UNet()


def digits() -> nn.Module:
    """As neo.demo.train builds it: float32 (1, 1, 8, 8) -> (1, 10)."""
    return nn.Sequential(
        ConvNorm(1, 32),
        nn.MaxPool2d(2),
        ConvNorm(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 2 * 2, 10),
        nn.Softmax(dim=1),
    )


class SequenceClassifier(nn.Module):
    """Two LSTM layers over time, then a dense layer on the last step: float32 (1, steps, 64) -> (1, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(64, 128, num_layers=2, batch_first=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.recurrent(x)
        return self.head(steps[:, -1])


def lstm() -> nn.Module:
    return SequenceClassifier()


def mlp() -> nn.Module:
    """float32 (1, 64) -> (1, 10)."""
    return nn.Sequential(
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
