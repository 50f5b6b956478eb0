"""HDF5 files of Keras 2 made readable for Keras 3, which takes most of them as they are.

Source: the constructors of the layers in Keras 2.15 and 3.15.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from neo.errors import UnsupportedModel
from neo.frontends.json_tree import objects

# arguments that Keras 3 no longer has, with the value that is its only behaviour now
_GROUPS = {"groups": 1}
_TIME_MAJOR = {"time_major": False}
_DROPPED: dict[str, dict[str, Any]] = {
    "DepthwiseConv1D": _GROUPS,
    "DepthwiseConv2D": _GROUPS,
    "SeparableConv1D": _GROUPS,
    "SeparableConv2D": _GROUPS,
    "Conv1DTranspose": _GROUPS,
    "Conv2DTranspose": _GROUPS,
    "Conv3DTranspose": _GROUPS,
    "LSTM": _TIME_MAJOR,
    "GRU": _TIME_MAJOR,
    "SimpleRNN": _TIME_MAJOR,
}
# arguments that Keras 2 wrote although these layers ignore them
_MEANINGLESS = {
    "SeparableConv1D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv2D": ("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "LSTM": ("implementation",),
    "GRU": ("implementation",),
}
# arguments that may be a list of one element, which means something else to Keras 3 than the element
_LONE = {
    "BatchNormalization": ("axis",),
    "Functional": ("input_layers", "output_layers"),
    "Model": ("input_layers", "output_layers"),
}
# calls of TensorFlow functions between layers, which Keras 2 wrote down by their names
_TENSORFLOW_CALLS = frozenset(["TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "ClassMethod", "InstanceMethod"])
_WITH_KERAS_2 = (
    "where Keras 2 is at hand (pip install tf_keras), save the graph: tf_keras.models.load_model('model').export"
    "('folder'), and compile that folder"
)


def refuse_tensorflow_calls(path: Path, config: Any) -> None:
    """Raises UnsupportedModel for a model of Keras 2 that calls TensorFlow between its layers."""
    for layer in objects(config):
        if layer.get("class_name") in _TENSORFLOW_CALLS:
            name = layer["config"].get("name") if isinstance(layer.get("config"), dict) else None
            raise UnsupportedModel(
                f"{path} calls a TensorFlow function between its layers ({name or layer['class_name']!r}), which only"
                " Keras 2 can read",
                hint=_WITH_KERAS_2,
                details={"class": layer["class_name"]},
            )


def refuse_zip_of_keras_2(path: Path, metadata: Any) -> None:
    """Raises UnsupportedModel: Keras 3 finds neither the classes nor the weights in a .keras file of Keras 2."""
    version = str(metadata.get("keras_version", "")) if isinstance(metadata, dict) else ""
    if version.startswith("2."):
        raise UnsupportedModel(
            f"{path} was written by Keras {version}, whose .keras files Keras 3 cannot read",
            hint="save it with Keras 2 as .h5, which can be read; or " + _WITH_KERAS_2,
        )


def upgraded(path: Path, config: Any, folder: Path) -> Path:
    """The file at path, or where it needs one, a copy in folder with a configuration that Keras 3 reads."""
    if not _upgrade(config):
        return path
    import h5py

    copy = folder / "upgraded.h5"
    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = json.dumps(config)
    return copy


def _upgrade(config: Any) -> bool:
    before = json.dumps(config)
    for layer in objects(config):
        kind, arguments = layer.get("class_name"), layer.get("config")
        if not isinstance(kind, str) or not isinstance(arguments, dict):
            continue
        plain = {name for name, value in _DROPPED.get(kind, {}).items() if arguments.get(name) == value}
        for name in {*plain, *_MEANINGLESS.get(kind, ())} & arguments.keys():
            del arguments[name]
        for name in arguments.keys() & _LONE.get(kind, ()):
            arguments[name] = _alone(arguments[name])
    return json.dumps(config) != before


def _alone(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
