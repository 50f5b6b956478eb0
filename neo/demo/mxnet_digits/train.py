"""Trains the digits model that lies beside this file. Run it with an interpreter that has MXNet 1.9.1::

    .venv/bin/python neo/demo/mxnet_digits/train.py export digits.npz
    .venv-mxnet/bin/python neo/demo/mxnet_digits/train.py train digits.npz

MXNet cannot live beside a current scikit-learn, so one interpreter writes the images that ship with scikit-learn
and the other one (``scripts/mxnet-oracle`` makes it) trains on them. Written beside this file:

- digits-symbol.json, digits-0000.params: the model. Input ``data``, float32 (N, 1, 8, 8), values 0 to 1; output
  ``softmax_output``, float32 (N, 10), probabilities.
- holdout-outputs.npz: ``outputs``, float32 (360, 10), what MXNet answers to the held-out images, in the order of
  the permutation, each as a batch of its own (batch size 1).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
TEST_IMAGES = 360
EPOCHS = 60
BATCH = 64
SEED = 7
LEAST_ACCURACY = 0.98


def export(path: str) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, np.newaxis]
    order = np.random.RandomState(0).permutation(len(images))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    np.savez(
        path,
        train_images=images[train],
        train_labels=digits.target[train],
        test_images=images[test],
        test_labels=digits.target[test],
    )


def train(path: str) -> None:
    import mxnet as mx  # type: ignore[import-not-found]

    with np.load(path) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    mx.random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 - MXNet's initialisers and shuffling draw from it
    module = _fit(mx, data)
    module.save_checkpoint(str(FOLDER / "digits"), 0)
    outputs = _answer_one_by_one(mx, module, data["test_images"])
    np.savez(FOLDER / "holdout-outputs.npz", outputs=outputs)
    accuracy = float((outputs.argmax(axis=1) == data["test_labels"]).mean())
    if accuracy < LEAST_ACCURACY:
        raise SystemExit(f"the model is right on {accuracy:.4f} of the held-out images, {LEAST_ACCURACY} are wanted")
    sys.stdout.write(f"right on {accuracy:.4f} of the held-out images\n")


def _network(mx: Any) -> Any:
    """Two convolutions, each with batch normalisation, ReLU and pooling; two dense layers: 13,850 parameters."""
    x = mx.sym.Variable("data")
    for number, filters in enumerate((16, 32), start=1):
        x = mx.sym.Convolution(x, kernel=(3, 3), pad=(1, 1), num_filter=filters, no_bias=True, name=f"conv{number}")
        x = mx.sym.BatchNorm(x, fix_gamma=False, name=f"norm{number}")
        x = mx.sym.Activation(x, act_type="relu", name=f"relu{number}")
        x = mx.sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max", name=f"pool{number}")
    x = mx.sym.FullyConnected(mx.sym.Flatten(x, name="flat"), num_hidden=64, name="dense1")
    x = mx.sym.Activation(x, act_type="relu", name="relu3")
    x = mx.sym.FullyConnected(mx.sym.Dropout(x, p=0.3, name="drop"), num_hidden=10, name="dense2")
    return mx.sym.SoftmaxOutput(x, name="softmax")


def _fit(mx: Any, data: dict[str, Any]) -> Any:
    batches = mx.io.NDArrayIter(
        data["train_images"], data["train_labels"], BATCH, shuffle=True, last_batch_handle="discard"
    )
    module = mx.mod.Module(_network(mx))
    module.fit(
        batches,
        optimizer="adam",
        optimizer_params={
            "learning_rate": 2e-3,
            "lr_scheduler": mx.lr_scheduler.CosineScheduler(EPOCHS * (len(data["train_images"]) // BATCH), 2e-3),
        },
        initializer=mx.init.Xavier(magnitude=2.0),
        num_epoch=EPOCHS,
    )
    return module


def _answer_one_by_one(mx: Any, module: Any, images: Any) -> Any:
    answering = mx.mod.Module(module.symbol)
    answering.bind([("data", (1, *images.shape[1:]))], for_training=False)
    answering.set_params(*module.get_params())
    return answering.predict(mx.io.NDArrayIter(images, batch_size=1)).asnumpy()


if __name__ == "__main__":
    {"export": export, "train": train}[sys.argv[1]](sys.argv[2])
