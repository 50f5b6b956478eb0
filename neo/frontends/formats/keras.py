"""Zip files of Keras 3, HDF5 files of those before."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from neo.errors import ModelError
from neo.frontends.contents import Contents


def recognise(contents: Contents) -> str | None:
    """Raises ModelError for weights alone."""
    if contents.is_hdf5:
        if contents.path.name.endswith(".weights.h5"):
            refuse_keras_weights(contents.path)
        return "keras-h5"
    names = contents.inner_names if contents.is_zip else frozenset()
    return "keras" if "config.json" in names and names & {"metadata.json", "model.weights.h5"} else None


def refuse_keras_weights(path: Path) -> NoReturn:
    raise ModelError(
        f"{path} holds Keras weights without the model they belong to",
        hint="save the whole model where its code is at hand: model.load_weights(...); model.save('model.keras')",
    )
