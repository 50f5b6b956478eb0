"""Train the demo's network, in a process of its own: `python -m neo.demo.train FRAMEWORK DIR`.

Writes the model in the framework's own format and source-outputs.npy, float32 (360, 10): what the framework itself
answers for the held-out images.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.demo.digits import Digits, load_digits

OUTPUTS_FILE = "source-outputs.npy"
MODEL_FILES = {"pytorch": "digits.pt2", "keras": "digits.keras", "mxnet": "digits-symbol.json"}
GOLDEN_FILE = "golden.npz"
MXNET_OUTPUT = "softmax_output"
EPOCHS = 12
BATCH = 64
MXNET_MODEL = Path(__file__).parent / "mxnet_digits"


def train_pytorch(training: Digits, held_out: Digits, folder: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 2 * 2, 10),
        nn.Softmax(dim=1),
    )
    images, labels = torch.from_numpy(training.images), torch.from_numpy(training.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.nll_loss(torch.log(model(images[batch]) + 1e-9), labels[batch]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        outputs = torch.cat([model(image[None]) for image in torch.from_numpy(held_out.images)])
    np.save(folder / OUTPUTS_FILE, outputs.numpy())
    torch.export.save(torch.export.export(model, (torch.zeros(1, 1, 8, 8),)), folder / MODEL_FILES["pytorch"])


def train_keras(training: Digits, held_out: Digits, folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((8, 8, 1), name="image"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="sparse_categorical_crossentropy")
    model.fit(_channels_last(training), training.labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    np.save(folder / OUTPUTS_FILE, model.predict(_channels_last(held_out), batch_size=1, verbose=0))
    model.save(folder / MODEL_FILES["keras"])


def copy_mxnet(_training: Digits, held_out: Digits, folder: Path) -> None:
    """Trained with real MXNet by mxnet_digits/train.py, which cannot live beside today's numpy."""
    for name in ("digits-symbol.json", "digits-0000.params"):
        shutil.copyfile(MXNET_MODEL / name, folder / name)
    with np.load(MXNET_MODEL / "holdout-outputs.npz") as archive:
        outputs = archive["outputs"]
    np.save(folder / OUTPUTS_FILE, outputs)
    # MXNet is not here to answer; what it said about the first held-out image is
    np.savez(folder / GOLDEN_FILE, data=held_out.images[:1], **{MXNET_OUTPUT: outputs[:1]})


def _channels_last(digits: Digits) -> NDArray[Any]:
    images: NDArray[Any] = digits.images.transpose(0, 2, 3, 1)
    return images


TRAINERS = {"pytorch": train_pytorch, "keras": train_keras, "mxnet": copy_mxnet}


def main(framework: str, folder: str) -> None:
    TRAINERS[framework](*load_digits(), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
