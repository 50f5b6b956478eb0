"""What a Keras file says about its layers, read as JSON before Keras opens it.

Keras builds layers by importing the module and class that the file names: only Keras' own are let through.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neo.errors import ModelError, UnsupportedModel, UntrustedModel
from neo.frontends.contents import ZIP_DAMAGE
from neo.frontends.formats.keras import refuse_keras_weights
from neo.frontends.json_tree import objects

MAX_CONFIG_BYTES = 64 << 20
# modules of Keras itself, old and new; builtins holds dtype names, plain functions and the like
_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")


def read_config(path: Path, file_format: str) -> Any:
    """The model's configuration from a .keras (file_format "keras") or an HDF5 file ("keras-h5").

    Raises ModelError for a damaged file, and for one with weights only.
    """
    text = _from_zip(path, "config.json") if file_format == "keras" else _from_hdf5(path)
    return _parsed(path, text)


def read_metadata(path: Path) -> Any:
    """What a .keras file says about the version that wrote it. Raises ModelError for a damaged file."""
    return _parsed(path, _from_zip(path, "metadata.json"))


def _parsed(path: Path, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} is damaged: its model configuration is not JSON", hint="copy or save it again"
        ) from error


def _from_zip(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(name)
            if member.file_size > MAX_CONFIG_BYTES:
                raise ModelError(f"{path}: {name} has {member.file_size} bytes, more than any real model's")
            return archive.read(member)
    except (KeyError, *ZIP_DAMAGE) as error:
        raise ModelError(f"{path} is damaged: {name} cannot be read", hint="copy or save it again") from error


def _from_hdf5(path: Path) -> bytes:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except OSError as error:
        raise ModelError(
            f"{path} is a truncated or damaged HDF5 file: {error}", hint="copy or download it again"
        ) from error
    if config is None:
        refuse_keras_weights(path)
    return config.encode() if isinstance(config, str) else bytes(config)


def refuse_code(path: Path, config: Any) -> None:
    """Raises UntrustedModel for a Lambda layer, which holds code, and a TFSMLayer, which names a graph to run."""
    for layer in _objects(config):
        if layer.get("class_name") in {"Lambda", "__lambda__", "TFSMLayer"}:
            kind = "TFSMLayer" if layer["class_name"] == "TFSMLayer" else "Lambda"
            raise UntrustedModel(
                f"{path} has a {kind} layer{_name(layer)}: reading it would run code from the file",
                hint="use keras.ops or a layer of Keras in its place, or export the graph: model.export('folder')",
            )


def refuse_custom_layers(path: Path, config: Any) -> None:
    """Raises UnsupportedModel for a class that is not Keras' own: its code is not in the file."""
    for layer in _objects(config):
        module = layer.get("module")
        registered = layer.get("registered_name")
        own = module is None or str(module).split(".")[0] in {m.split(".")[0] for m in _OWN_MODULES}
        if own and not (isinstance(registered, str) and ">" in registered):
            continue
        raise custom_layer(path, str(registered or f"{module}.{layer['class_name']}"), _name(layer))


def custom_layer(path: Path, kind: str, where: str = "") -> UnsupportedModel:
    return UnsupportedModel(
        f"{path} uses the custom class {kind!r}{where}, whose code is not in the file",
        hint="where its code is at hand, save the graph instead: keras.models.load_model(...).export('folder'), and"
        " compile that folder",
        details={"class": kind},
    )


def _name(layer: dict[str, Any]) -> str:
    config = layer.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return f" ({name!r})" if name else ""


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every object of the configuration that names a class."""
    return (value for value in objects(config) if isinstance(value.get("class_name"), str))
