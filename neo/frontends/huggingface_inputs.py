"""What a transformers model takes, read from its forward and its config; and random inputs that it can answer."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neo.contract.tensors import Dim, TensorSpec
from neo.errors import UnsupportedModel
from neo.frontends.base import Arrays

SEQUENCES = frozenset(["sequence", "decoder_sequence"])
_SAMPLE_LENGTH = 16
_PARTS = ("vision_config", "text_config", "encoder", "backbone_config")


def declared_inputs(model: Any, folder: Path) -> tuple[TensorSpec, ...]:
    """The inputs of model.forward that nothing else follows from, with N for the batch, sequence for the tokens, and
    height and width where neither config nor preprocessor_config.json fixes the image.

    Raises UnsupportedModel for a model that takes none of those that we know.
    """
    accepted = inspect.signature(model.forward).parameters
    modalities = model.input_modalities if isinstance(model.input_modalities, tuple) else (model.input_modalities,)
    config, main = model.config, model.main_input_name
    specs: list[TensorSpec] = []
    if main == "input_ids" or ("text" in modalities and "image" in modalities):
        specs += _tokens(config, accepted)
    if "pixel_values" in accepted:
        specs.append(TensorSpec("pixel_values", "float32", _image_shape(config, folder)))
    if main in {"input_features", "input_values"}:
        specs.append(TensorSpec(main, "float32", _audio_shape(config, main)))
    if config.is_encoder_decoder and "decoder_input_ids" in accepted:
        specs.append(TensorSpec("decoder_input_ids", "int64", ("N", "decoder_sequence")))
    if not specs:
        raise UnsupportedModel(
            f"{type(model).__name__} takes {main!r}, which neo has no description of",
            hint="describe all its inputs with --input NAME=DTYPE[DIMS]",
        )
    return tuple(specs)


def _tokens(config: Any, accepted: Mapping[str, Any]) -> list[TensorSpec]:
    names = ["input_ids"]
    if "attention_mask" in accepted:
        names.append("attention_mask")
    if "token_type_ids" in accepted and getattr(config, "type_vocab_size", 0) > 1:
        names.append("token_type_ids")
    return [TensorSpec(name, "int64", ("N", "sequence")) for name in names]


def _image_shape(config: Any, folder: Path) -> tuple[Dim, ...]:
    size = _setting(config, "image_size") or _preprocessed_size(folder)
    if isinstance(size, int):
        size = (size, size)
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 else ("height", "width")
    return "N", _setting(config, "num_channels") or 3, height, width


def _preprocessed_size(folder: Path) -> tuple[int, int] | None:
    """What the image processor that belongs to the model gives it."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None
    settings = json.loads(path.read_text(encoding="utf-8"))
    for name in ("crop_size", "size"):
        size = settings.get(name)
        if isinstance(size, dict) and {"height", "width"} <= size.keys():
            return int(size["height"]), int(size["width"])
    return None


def _audio_shape(config: Any, main: str) -> tuple[Dim, ...]:
    bins = _setting(config, "num_mel_bins")
    if main == "input_values":  # a spectrogram, time first; or the sound itself
        return ("N", _setting(config, "max_length") or "time", bins) if bins else ("N", "time")
    frames = _setting(config, "max_source_positions")
    # Whisper's encoder halves the number of frames before it adds positions
    return "N", bins or "bins", 2 * frames if frames else "time"


def _setting(config: Any, name: str) -> Any:
    for part in (config, *(getattr(config, part, None) for part in _PARTS)):
        found = getattr(part, name, None)
        if found is not None:
            return found
    return None


def drawing(inputs: tuple[TensorSpec, ...], config: Any) -> Callable[[np.random.Generator], Arrays]:
    """Random inputs: tokens of the whole vocabulary, padded sentences, pixels of a normal distribution."""
    limits = {
        "input_ids": _setting(config, "vocab_size"),
        "decoder_input_ids": _setting(config, "vocab_size"),
        "token_type_ids": _setting(config, "type_vocab_size"),
    }

    def draw(rng: np.random.Generator) -> Arrays:
        arrays: Arrays = {}
        for spec in inputs:
            shape = tuple(dim if isinstance(dim, int) else 1 if dim == "N" else _SAMPLE_LENGTH for dim in spec.shape)
            arrays[spec.name] = _random(spec, shape, limits.get(spec.name) or 2, rng).astype(spec.dtype)
        return arrays

    return draw


def _random(spec: TensorSpec, shape: tuple[int, ...], limit: int, rng: np.random.Generator) -> NDArray[Any]:
    if spec.name.endswith("attention_mask"):
        lengths = rng.integers(1, shape[-1], (*shape[:-1], 1), endpoint=True)
        return np.asarray(np.arange(shape[-1]) < lengths)
    if spec.dtype.startswith("float"):
        return np.asarray(rng.standard_normal(shape))
    return rng.integers(0, limit, shape)
