"""Chains, for an interpreter that has Chainer (scripts/chainer-env): ``chains.py NAME WEIGHTS IN OUT``.

It fills the chain with random weights and with the statistics of the arrays in IN (.npy, one question per row), writes
the weights, and what the chain answers to them one by one. Alone in its folder: the modules beside it would hide those
that Chainer's exporter wants.
"""

from __future__ import annotations

import sys
from typing import Any

import chainer  # type: ignore[import-not-found]
import chainer.functions as F  # type: ignore[import-not-found]  # noqa: N812  # as everybody calls it
import chainer.links as L  # type: ignore[import-not-found]  # noqa: N812
import numpy as np


class Perceptron(chainer.Chain):  # type: ignore[misc]  # Chainer has no types
    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.inner = L.Linear(64, 48)
            self.norm = L.BatchNormalization(48)
            self.outer = L.Linear(48, 10)

    def forward(self, row: Any) -> Any:
        return F.softmax(self.outer(F.dropout(F.tanh(self.norm(self.inner(row))))))


class AlexNet(chainer.Chain):  # type: ignore[misc]
    """Krizhevsky et al., 2012, as Chainer's ImageNet example has it, narrower."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(3, 24, 11, stride=4)
            self.conv2 = L.Convolution2D(24, 64, 5, pad=2)
            self.conv3 = L.Convolution2D(64, 96, 3, pad=1)
            self.conv4 = L.Convolution2D(96, 96, 3, pad=1, groups=2)
            self.fc5 = L.Linear(None, 256)
            self.fc6 = L.Linear(256, 100)

    def forward(self, image: Any) -> Any:
        x = F.max_pooling_2d(F.local_response_normalization(F.relu(self.conv1(image))), 3, stride=2)
        x = F.max_pooling_2d(F.local_response_normalization(F.relu(self.conv2(x))), 3, stride=2)
        x = F.max_pooling_2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 3, stride=2)
        return self.fc6(F.dropout(F.relu(self.fc5(x))))


class Residual(chainer.Chain):  # type: ignore[misc]
    """Two convolutions beside a shortcut (He et al., 2016)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(channels_in, channels, 3, stride, 1, nobias=True)
            self.norm1 = L.BatchNormalization(channels)
            self.conv2 = L.Convolution2D(channels, channels, 3, 1, 1, nobias=True)
            self.norm2 = L.BatchNormalization(channels)
            self.shortcut = L.Convolution2D(channels_in, channels, 1, stride, nobias=True)

    def forward(self, x: Any) -> Any:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet(chainer.Chain):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.stem = L.Convolution2D(3, 16, 3, 2, 1)
            self.blocks = chainer.ChainList(Residual(16, 32, 2), Residual(32, 64, 2), Residual(64, 64, 1))
            self.head = L.Linear(64, 100)

    def forward(self, image: Any) -> Any:
        x = F.relu(self.stem(image))
        for block in self.blocks:
            x = block(x)
        return self.head(F.mean(x, axis=(2, 3)))


class UNet(chainer.Chain):  # type: ignore[misc]
    """Ronneberger et al., 2015, in two storeys."""

    def __init__(self) -> None:
        super().__init__()
        with self.init_scope():
            self.down1 = L.Convolution2D(3, 16, 3, 1, 1)
            self.down2 = L.Convolution2D(16, 32, 4, 2, 1)
            self.middle = L.DilatedConvolution2D(32, 32, 3, 1, 2, 2)
            self.norm = L.BatchNormalization(32)
            self.up = L.Deconvolution2D(32, 16, 4, 2, 1)
            self.out = L.Convolution2D(32, 4, 1)

    def forward(self, image: Any) -> Any:
        high = F.leaky_relu(self.down1(image))
        low = F.elu(self.norm(self.middle(F.leaky_relu(self.down2(high)))))
        return F.sigmoid(self.out(F.concat((F.relu(self.up(low)), high))))


def main(name: str, weights: str, asked: str, answered: str) -> None:
    np.random.seed(0)  # noqa: NPY002  # what Chainer's initialisers draw from
    chain, questions = globals()[name](), np.load(asked)
    norms = [link for link in chain.links() if isinstance(link, L.BatchNormalization)]
    for norm in norms:
        norm.decay = 0.0
        norm.gamma.array[...] = np.random.uniform(0.8, 1.2, norm.gamma.shape)  # noqa: NPY002
        norm.beta.array[...] = np.random.uniform(-0.2, 0.2, norm.beta.shape)  # noqa: NPY002
    with chainer.using_config("train", True), chainer.no_backprop_mode():
        chain(questions)
    chainer.serializers.save_npz(weights, chain)
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        np.save(answered, np.stack([chain(question[None]).array for question in questions]))


if __name__ == "__main__":
    main(*sys.argv[1:])
