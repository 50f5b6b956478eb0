"""Writes tiny models with random weights: ``python make_models.py torch|keras|tensorflow FOLDER``.

A program of its own, so that the frameworks' warnings and threads stay out of the test process. Annotations are
evaluated at once here: torch.jit.script looks for their names at module level otherwise.
"""

import pickle
import sys
from pathlib import Path


def make_torch(folder: Path) -> None:  # noqa: C901  # it is a list of small classes
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.dense = nn.Linear(8, 5)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features = nn.functional.max_pool2d(torch.relu(self.norm(self.conv(image))), 2)
            return torch.softmax(self.dense(features.mean((2, 3))), 1)

    class Tokens(nn.Module):
        """bool and int64 inputs, an unused constant, and a dict with a tuple in it."""

        def forward(self, tokens: torch.Tensor, mask: torch.Tensor, scale: int = 3):
            counts = (nn.functional.one_hot(tokens, 16).float() * mask[..., None]).sum(1) * scale
            return {"linear": counts, "tokens": (counts.argmax(1), None, scale)}

    class Noise(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x)

    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    class Forever(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            while bool(x.sum() > -1e30):
                x = x + 1
            return x

    @torch.library.custom_op("mylib::sine", mutates_args=())
    def sine(x: torch.Tensor) -> torch.Tensor:
        return x.sin()

    @sine.register_fake
    def _(x: torch.Tensor) -> torch.Tensor:
        return torch.empty_like(x)

    class Custom(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return sine(x)

    class Knows:
        """Unpickling one leaves a file behind."""

        def __reduce__(self):
            return (Path.touch, (folder / "pwned",))

    model = Classifier().eval()
    image = torch.randn(1, 3, 8, 8)
    two, batch = torch.randn(2, 3, 8, 8), torch.export.Dim("batch", min=1, max=16)

    def save(name: str, module: nn.Module, *example: torch.Tensor, **dims: object) -> None:
        torch.export.save(torch.export.export(module, example, **dims), folder / f"{name}.pt2")

    save("classifier", model, image)
    save("dynamic", model, two, dynamic_shapes={"image": {0: batch}})
    save("tokens", Tokens(), torch.zeros(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.bool))
    save("noise", Noise(), torch.ones(3))
    save("bessel", Bessel(), torch.ones(3))
    save("custom", Custom(), torch.ones(3))
    torch.jit.save(torch.jit.trace(model, image), folder / "traced.pt")
    torch.jit.save(torch.jit.script(model), folder / "scripted.pt")
    torch.jit.save(torch.jit.script(Forever()), folder / "forever.pt")
    torch.save(model.state_dict(), folder / "state_dict.pt")
    torch.save(model.state_dict(), folder / "old_state_dict.pt", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": model.state_dict()}, folder / "checkpoint.pt")
    torch.save(nn.Linear(2, 2), folder / "module.pt")
    torch.save({"weights": Knows()}, folder / "knows.pt")
    (folder / "knows.pkl").write_bytes(pickle.dumps(Knows()))


def make_keras(folder: Path) -> None:
    import keras
    import numpy as np
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    layers = keras.layers
    classifier = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax", name="probabilities"),
        ]
    )
    classifier.save(folder / "classifier.keras")
    classifier.save(folder / "classifier.h5")
    classifier.save_weights(folder / "classifier.weights.h5")
    classifier.export(folder / "classifier", verbose=False)

    left, right = keras.Input((4,), name="left"), keras.Input((None, 6), name="right")
    pooled = layers.Concatenate()([left, layers.GlobalAveragePooling1D()(right)])
    outputs = {"z": layers.Dense(2)(pooled), "a": [layers.Dense(3)(pooled), left]}
    keras.Model({"right": right, "left": left}, outputs).save(folder / "two_inputs.keras")

    convnext = keras.Sequential(
        [
            keras.Input((8, 8, 6)),
            layers.Conv2D(6, 3, padding="same", groups=3),
            layers.LayerNormalization(),
            layers.Conv2D(12, 1, activation="gelu"),
        ]
    )
    convnext.save(folder / "convnext.keras")

    application = keras.applications.MobileNetV3Small(input_shape=(64, 64, 3), weights=None, classes=10)
    for layer in application.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    # statistics of random images: with the initial ones the answers hardly depend on the input
    application(np.random.default_rng(0).standard_normal((4, 64, 64, 3), np.float32) * 64 + 128, training=True)
    application.save(folder / "mobilenet_v3.keras")

    class Doubling(layers.Layer):
        def call(self, x):
            return x * 2

    def save(name: str, *parts: keras.layers.Layer) -> None:
        model = keras.Sequential([keras.Input((4,), name="x"), *parts])
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")

    save("custom", Doubling(name="doubling"))
    save("lambda", layers.Lambda(lambda x: x * 2, name="twice", output_shape=(4,)))

    class Signatures(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def double(self, x):
            return {"y": x * 2}

        @tf.function(input_signature=[tf.TensorSpec([2, 3], tf.float32, name="x")])
        def bessel(self, x):
            return {"y": tf.math.bessel_i0(x)}

    module = Signatures()
    tf.saved_model.save(module, folder / "without_signature")
    tf.saved_model.save(module, folder / "one_signature", signatures={"double": module.double})
    tf.saved_model.save(module, folder / "two_signatures", signatures={"a": module.double, "b": module.bessel})
    tf.saved_model.save(module, folder / "bessel", signatures={"serving_default": module.bessel})
    tf.train.Checkpoint(weights=tf.Variable(np.ones(3))).save(folder / "checkpoint" / "weights")


if __name__ == "__main__":
    if sys.argv[1] == "tensorflow":
        from make_tensorflow import make_tensorflow

        make_tensorflow(Path(sys.argv[2]))
    else:
        {"torch": make_torch, "keras": make_keras}[sys.argv[1]](Path(sys.argv[2]))
