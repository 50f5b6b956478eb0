"""TensorFlow's own files: a graph of TensorFlow 1, frozen and as a SavedModel, and a network as TensorFlow Lite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.frameworks.entries import Asked, Made
from benchmarks.frameworks.pictures import pictures
from neo.demo.digits import load_digits

SEED = 0
ASKED = 4
IMAGE = 64
# one step of an 8-bit output is 1/256 of its range, and rounding on the way may cost a few
QUANTISED_MAX_REL = 0.05

v1 = tf.compat.v1


def graph(folder: Path, to: str) -> Made:
    """to: "frozen" or "savedmodel"."""
    random = np.random.default_rng(SEED)
    path = folder / ("model.pb" if to == "frozen" else "model")
    with tf.Graph().as_default() as whole, v1.Session(graph=whole) as session:
        image = v1.placeholder(tf.float32, [None, IMAGE, IMAGE, 3], name="image")
        scores = _layers(image, random)
        session.run(v1.global_variables_initializer())
        images = pictures(ASKED, IMAGE, IMAGE).transpose(0, 2, 3, 1)
        asked = tuple(Asked((one[None],), (session.run(scores, {image: one[None]}),)) for one in images)
        if to == "frozen":
            frozen = v1.graph_util.convert_variables_to_constants(session, whole.as_graph_def(), ["scores"])
            path.write_bytes(frozen.SerializeToString())
        else:
            v1.saved_model.simple_save(session, str(path), {"image": image}, {"scores": scores})
    return Made(path, outputs=("scores",) if to == "frozen" else (), asked=asked)


def _layers(image: Any, random: np.random.Generator) -> Any:
    """Separable convolutions with batch norms, ReLU6 and a pooled head, as TensorFlow 1 wrote them."""

    def weights(name: str, *shape: int) -> Any:
        """Under which the size of what flows through stays."""
        fan_in = np.prod(shape[:2]) if name.startswith("depthwise") else np.prod(shape[:-1])
        return v1.get_variable(name, initializer=(random.normal(size=shape) / np.sqrt(fan_in)).astype(np.float32))

    x, channels = image, 3
    for number, (wide, stride) in enumerate(((16, 2), (32, 2), (64, 2))):
        x = tf.nn.depthwise_conv2d(x, weights(f"depthwise{number}", 3, 3, channels, 1), [1, stride, stride, 1], "SAME")
        x = tf.nn.conv2d(x, weights(f"pointwise{number}", 1, 1, channels, wide), 1, "SAME")
        scale, offset, mean, variance = (
            random.uniform(low, high, wide).astype(np.float32)
            for low, high in ((1.0, 2.0), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.0))
        )
        x, *_ = v1.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)
        x, channels = tf.nn.relu6(x), wide
    x = tf.nn.max_pool2d(x, 2, 2, "SAME")
    x = tf.reshape(x, [-1, 4 * 4 * channels])
    return tf.add(tf.matmul(x, weights("dense", 4 * 4 * channels, 10)), weights("bias", 10), name="scores")


def lite(folder: Path, kind: str) -> Made:
    """kind: "float32", "float16", "dynamic range" or "int8"."""
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
