"""Weights from a file into a module: .safetensors, or what torch.save wrote."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from neo.errors import ModelError, UntrustedModel
from neo.frontends.failures import first_line
from neo.frontends.formats.pytorch import is_safetensors
from neo.frontends.pickled import TRUST

Weights = dict[str, torch.Tensor]

# keys of the weights in checkpoints of training programs, which also contain the optimiser, the epoch and the like
_ENTRIES = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "ema")
_SHOWN = 4


def load_weights(module: torch.nn.Module, path: Path, *, trust_pickle: bool) -> tuple[str, ...]:
    """Fills module, and returns what was decided on the way: the entry of a checkpoint, a prefix taken off the names.

    Raises ModelError for a damaged file and for weights of another model, naming those that are missing, unexpected
    or of another shape; UntrustedModel for pickled objects unless trust_pickle.
    """
    weights, notes = _unwrap(_read(path, trust_pickle=trust_pickle), path)
    weights, more = _without_prefixes(weights, set(module.state_dict()))
    _fill(module, weights, path)
    return (*notes, *more)


def _read(path: Path, *, trust_pickle: bool) -> Any:
    with path.open("rb") as file:
        safe = is_safetensors(file.read(16))
    return _read_safetensors(path) if safe else _read_torch(path, trust_pickle=trust_pickle)


def _read_safetensors(path: Path) -> Weights:
    import safetensors.torch

    try:
        return dict(safetensors.torch.load_file(path))
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is damaged: {first_line(error)}", hint="copy or download it again") from error


def _read_torch(path: Path, *, trust_pickle: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower():
            raise _no_weights(path, error) from error
        raise UntrustedModel(
            f"{path} holds more than weights: reading it would run code from the file",
            hint=f"save model.state_dict() alone, or write safetensors; {TRUST}",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise _no_weights(path, error) from error


def _no_weights(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} holds no weights that PyTorch can read: {first_line(error)}",
        hint="--weights takes .safetensors, or what torch.save(model.state_dict(), path) wrote",
    )


def _unwrap(found: Any, path: Path) -> tuple[Weights, tuple[str, ...]]:
    if isinstance(found, torch.nn.Module):
        return dict(found.state_dict()), (f"{path.name} holds a whole module; only its weights are used",)
    if isinstance(found, Mapping):
        tensors = _tensors(found)
        if tensors:
            return tensors, ()
        for entry in _ENTRIES:
            inner = found.get(entry)
            inner = inner.state_dict() if isinstance(inner, torch.nn.Module) else inner
            if isinstance(inner, Mapping) and _tensors(inner):
                return _tensors(inner), (f"the weights are the entry {entry!r} of {path.name}",)
    what = f"the entries {', '.join(map(str, list(found)[:8]))}" if isinstance(found, Mapping) else type(found).__name__
    raise ModelError(
        f"{path} holds no state_dict: found {what}",
        hint="save the weights alone: torch.save(model.state_dict(), path)",
    )


def _tensors(mapping: Mapping[Any, Any]) -> Weights:
    return {str(name): value for name, value in mapping.items() if isinstance(value, torch.Tensor)}


def _without_prefixes(weights: Weights, wanted: set[str]) -> tuple[Weights, tuple[str, ...]]:
    """Wrappers (DataParallel, torch.compile, Lightning) put a word before all names: it goes if more names fit then."""
    best, prefix = weights, ""
    notes: tuple[str, ...] = ()
    while shared := _first_word(weights):
        weights = {name[len(shared) :]: tensor for name, tensor in weights.items()}
        prefix += shared
        if len(weights.keys() & wanted) > len(best.keys() & wanted):
            best, notes = weights, (f"the prefix {prefix!r} was taken off the names of the weights",)
    return best, notes


def _first_word(weights: Weights) -> str:
    """With its dot; "" if the names do not all start with one."""
    words = {name.partition(".")[0] for name in weights}
    word = f"{words.pop()}." if len(words) == 1 else ""
    return word if all(name.startswith(word) and len(name) > len(word) for name in weights) else ""


def _fill(module: torch.nn.Module, weights: Weights, path: Path) -> None:
    own = module.state_dict()
    reshaped = [
        f"{name} ({list(weights[name].shape)} in the file, {list(own[name].shape)} in the module)"
        for name in weights.keys() & own.keys()
        if not torch.nn.parameter.is_lazy(own[name]) and weights[name].shape != own[name].shape
    ]
    if reshaped:
        missing, unexpected = own.keys() - weights.keys(), weights.keys() - own.keys()
    else:
        keys = module.load_state_dict(weights, strict=False)
        missing, unexpected = set(keys.missing_keys) - _tied(own, weights), set(keys.unexpected_keys)
    if not (missing or unexpected or reshaped):
        return
    kinds = (("missing", sorted(missing)), ("unexpected", sorted(unexpected)), ("of another shape", sorted(reshaped)))
    raise ModelError(
        f"the weights in {path} are not those of {type(module).__name__}, which has {len(own)}: "
        + "; ".join(f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds if names),
        hint="build the module as it was when the weights were saved (number of classes, width, version of the code)",
        details={"missing": sorted(missing), "unexpected": sorted(unexpected), "reshaped": sorted(reshaped)},
    )


def _tied(own: Weights, weights: Weights) -> set[str]:
    """Names that share the memory of one that was loaded: safetensors stores shared weights once."""
    held = {name: tensor.data_ptr() for name, tensor in own.items() if not torch.nn.parameter.is_lazy(tensor)}
    loaded = {held[name] for name in weights.keys() & held.keys()} - {0}
    return {name for name, place in held.items() if place in loaded}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
