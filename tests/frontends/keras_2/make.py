"""Writes the files beside it: ``python make.py`` in an environment with tf_keras 2.21, which is Keras 2.

They are kept, since tf_keras needs another package of TensorFlow than Keras 3 here.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

FOLDER = Path(__file__).parent
layers = keras.layers
keras.utils.set_random_seed(0)

image = keras.Input((8, 8, 3), name="image")
x = layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
x = layers.BatchNormalization()(x)
x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))
x = layers.LeakyReLU(alpha=0.2)(layers.SeparableConv2D(4, 3)(x))
x = layers.Dropout(0.2)(layers.MaxPooling2D()(layers.ZeroPadding2D(1)(x)))
x = layers.Conv2DTranspose(4, 3, strides=2)(x)
rows = layers.Reshape((-1, 4))(x)
states = [layers.Bidirectional(layers.LSTM(3))(rows), layers.GRU(3)(rows), layers.GlobalAveragePooling2D()(x)]
features = keras.Model(image, layers.Concatenate()(states), name="features")
model = keras.Sequential([keras.Input((8, 8, 3), name="image"), features, layers.Dense(5, name="scores")])
for norm in (layer for layer in features.layers if isinstance(layer, layers.BatchNormalization)):
    norm.set_weights([np.linspace(0.5, 1.5, 4) for _ in norm.get_weights()])
model.save(FOLDER / "layers.h5")

x = keras.Input((4,), name="x")
calls = keras.Model(x, tf.nn.relu6(layers.Dense(2)(x) * 2.0))
calls.save(FOLDER / "calls.h5")
plain = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
plain.save(FOLDER / "plain.keras", save_format="keras")

images = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
np.savez(FOLDER / "layers.npz", image=images, scores=model.predict(images, verbose=0))
