"""What several networks of the zoo are made of, and how all of them get their random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# batch-norm statistics are taken from this many random images
CALIBRATION_IMAGES = 2


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, activation: float32 (N, C, H, W) -> (N, channels, H', W').

    kernel: one size, or (height, width); padded so that stride 1 keeps H and W, unless padding says otherwise.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        *,
        groups: int = 1,
        padding: int | tuple[int, int] | None = None,
        activation: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
        margin = (sizes[0] // 2, sizes[1] // 2) if padding is None else padding
        layers = [
            nn.Conv2d(channels_in, channels, sizes, stride, margin, groups=groups, bias=False),
            nn.BatchNorm2d(channels),
        ]
        super().__init__(*layers, *([activation()] if activation else []))


class SqueezeExcite(nn.Module):
    """Scale every channel by what the whole image says of it (Hu et al., "Squeeze-and-Excitation Networks", 2018)."""

    def __init__(self, channels: int, squeezed: int, inner: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            inner(),
            nn.Conv2d(squeezed, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


def classifier_head(channels: int, classes: int = 1000) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def randomise(network: nn.Module, seed: int) -> None:
    """Weights that keep activations at the scale of their input, so that an error anywhere reaches the outputs.

    Convolutions and dense layers: He et al., "Delving Deep into Rectifiers", 2015. Batch norms keep mild random
    scales; call ``calibrate`` to give them statistics.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            gain = "relu" if isinstance(module, nn.Conv2d) else "linear"
            nn.init.kaiming_normal_(module.weight, nonlinearity=gain, generator=generator)
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, std=0.2, generator=generator)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5, generator=generator)


def calibrate(network: nn.Module, images: Tensor) -> None:
    """Batch norms take their mean and variance from images, float32 (N >= 2, C, H, W), as training would."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average, of one batch here
    if norms:
        network.train()
        with torch.no_grad():
            network(images)
    network.eval()
