"""keras.applications with random weights under which activations keep their size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.frameworks.entries import Asked, Made
from benchmarks.frameworks.pictures import pictures, pixels

SEED = 0
ASKED = 4
# what normalisations and biases learn: with Keras' zeros and ones, a converter that confuses them goes unnoticed
_LEARNT = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "bias": (-0.1, 0.1)}
# of those whose graph begins with the scaling of pixels
_TAKES_PIXELS = ("MobileNetV3", "EfficientNet", "ConvNeXt")
_CALIBRATION_IMAGES = 4


def application(folder: Path, name: str, to: str) -> Made:
    """Answers are the last layer's, before softmax, which would make a thousand random classes all alike."""
    keras.utils.set_random_seed(SEED)
    make = getattr(keras.applications, name)
    # the others know their size
    size = {"input_shape": (224, 224, 3)} if name.startswith("MobileNetV3") else {}
    model = make(weights=None, classifier_activation=None, **size)
    height, width = model.input_shape[1:3]
    randomise(model, _calibration(name, height, width))
    images = _images(name, ASKED, height, width, SEED)
    asked = tuple(Asked((image[None],), (model.predict(image[None], verbose=0),)) for image in images)
    return Made(save(model, folder, to), asked=asked)


def _images(name: str, count: int, height: int, width: int, seed: int) -> Any:
    found = pictures(count, height, width, seed=seed)
    return (pixels(found) if name.startswith(_TAKES_PIXELS) else found).transpose(0, 2, 3, 1)


def _calibration(name: str, height: int, width: int) -> Any:
    """Pictures and noise, since both are asked."""
    noise = np.random.default_rng(SEED).standard_normal((2, height, width, 3)).astype(np.float32)
    return np.concatenate([_images(name, _CALIBRATION_IMAGES, height, width, SEED + 1), noise])


def randomise(model: Any, images: Any) -> None:
    """Batch norms take their mean and variance from images, as training would."""
    random = np.random.default_rng(SEED)
    for weight in model.weights:
        if weight.name in _LEARNT:
            weight.assign(random.uniform(*_LEARNT[weight.name], weight.shape))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [norm.momentum for norm in norms], [drop.rate for drop in drops]
    for norm in norms:
        norm.momentum = 0.0
    for drop in drops:
        drop.rate = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for drop, rate in zip(drops, rates, strict=True):
        drop.rate = rate


def save(model: Any, folder: Path, to: str) -> Path:
    if to == "savedmodel":
        model.export(folder / "model", verbose=False)
        return folder / "model"
    path = folder / f"model.{to}"
    model.save(path)
    return path


def legacy(_folder: Path) -> Made:
    """What Keras 2 wrote: the tests' file, since Keras 2 needs another TensorFlow than Keras 3."""
    return Made(Path(__file__).parents[3] / "tests/frontends/keras_2/layers.h5")
