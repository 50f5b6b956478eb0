"""Exported programs and TorchScript, which are zip files; pickled modules and weights, in zip files or bare."""

from __future__ import annotations

from neo.errors import UnsupportedModel
from neo.frontends.contents import Contents
from neo.frontends.pickled import SAVE_A_PROGRAM, is_torch_pickle, names_in_model, refuse_weights
from neo.frontends.pickles import classes_beyond_weights

_MAX_SAFETENSORS_HEADER = 100_000_000


def recognise(contents: Contents) -> str | None:
    """Raises UnsupportedModel for compiled code, ModelError for weights alone."""
    if contents.is_zip:
        return _recognise_zip(contents)
    if contents.is_pickle:
        return _pickled(contents) if is_torch_pickle(contents.path, contents.head) else None
    if is_safetensors(contents.head):
        refuse_weights(contents.path)
    return None


def _recognise_zip(contents: Contents) -> str | None:
    names = contents.inner_names
    if "archive_format" in names or "serialized_exported_program.json" in names:
        if "serialized_exported_program.json" in names or any(name.startswith("models/") for name in names):
            return "pt2"
        raise UnsupportedModel(
            f"{contents.path} is a PyTorch package of compiled code, without the program it was made from",
            hint=SAVE_A_PROGRAM,
        )
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "torchscript"
    return _pickled(contents) if "data.pkl" in names else None


def _pickled(contents: Contents) -> str:
    if not classes_beyond_weights(names_in_model(contents.path)):
        refuse_weights(contents.path)
    return "torch-object"


def is_safetensors(head: bytes) -> bool:
    """The length of a JSON header in 8 bytes, then the header.

    https://github.com/huggingface/safetensors#format
    """
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER
