"""keras.applications, and a small network as TensorFlow Lite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.frameworks.entries import Made
from neo.demo.digits import load_digits

SEED = 0
# what batch normalisations learn and count: with Keras' zeros and ones, a converter that confuses them goes unnoticed
_STATISTICS = {"gamma": (0.8, 1.2), "beta": (-0.2, 0.2), "moving_mean": (-0.2, 0.2), "moving_variance": (0.7, 1.4)}
# one step of an 8-bit output is 1/256 of its range, and rounding on the way may cost a few
QUANTISED_MAX_REL = 0.05


def application(folder: Path, name: str, to: str) -> Made:
    """Answers are the last layer's, before softmax, which would make a thousand random classes all alike."""
    keras.utils.set_random_seed(SEED)
    make = getattr(keras.applications, name)
    model = make(weights=None, classifier_activation=None)
    _randomise(model)
    return Made(_save(model, folder, to))


def _randomise(model: Any) -> None:
    random = np.random.default_rng(SEED)
    for weight in model.weights:
        limits = _STATISTICS.get(weight.name)
        if limits:
            weight.assign(random.uniform(*limits, weight.shape))


def _save(model: Any, folder: Path, to: str) -> Path:
    if to == "savedmodel":
        model.export(folder / "model", verbose=False)
        return folder / "model"
    path = folder / f"model.{to}"
    model.save(path)
    return path


def tflite(folder: Path, kind: str) -> Made:
    import tensorflow as tf

    model, images = _trained_on_digits()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":
        converter.representative_dataset = lambda: ([image[None]] for image in images[:200])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path = folder / "model.tflite"
    path.write_bytes(converter.convert())
    return Made(path, max_rel=QUANTISED_MAX_REL if kind in {"dynamic range", "int8"} else 1e-4)


def _trained_on_digits() -> tuple[Any, Any]:
    """A network that has learnt something: random weights make of quantisation noise what they like."""
    training, _ = load_digits()
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = training.images.transpose(0, 2, 3, 1)
    model.fit(images, training.labels, epochs=3, verbose=0)
    return model, images
