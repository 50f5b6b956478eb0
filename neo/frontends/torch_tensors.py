"""PyTorch's names, tensors and nested outputs in the terms of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils import _pytree as pytree

from neo.contract.tensors import NUMBERS, Dim, TensorSpec
from neo.errors import UnsupportedModel


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def tensor_spec(name: str, dtype: torch.dtype, shape: Sequence[Dim]) -> TensorSpec:
    """Raises UnsupportedModel for a dtype that the contract lacks, such as bfloat16 or complex64."""
    if dtype_name(dtype) not in NUMBERS:
        raise UnsupportedModel(
            f"input {name!r} has the dtype {dtype_name(dtype)}",
            hint=f"an input can be: {', '.join(sorted(NUMBERS))}; convert inside the model's forward",
        )
    return TensorSpec(name, dtype_name(dtype), tuple(shape))


def output_names(outputs: Any, taken: Iterable[str]) -> list[str]:
    """One name for each leaf of what forward returns: a lone tensor is "output", the i-th of a tuple "output_i",
    those of a dict have their keys, and what is nested has both, as in "boxes_0". No name in ``taken``, the inputs,
    is used again.
    """
    names = [_name(path) for path, _leaf in pytree.tree_flatten_with_path(outputs)[0]]
    if len(set(names)) < len(names):
        names = [f"output_{number}" for number in range(len(names))]
    inputs = set(taken)
    return [f"output_{name}" if name in inputs else name for name in names]


def _name(path: tuple[Any, ...]) -> str:
    if not path:
        return "output"
    parts = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
    return "_".join(parts if not parts[0].isdigit() else ["output", *parts])


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """A copy: torch warns about arrays that it may not write to."""
    return torch.from_numpy(np.array(array))


def to_array(tensor: torch.Tensor) -> NDArray[Any]:
    return np.asarray(tensor.detach().cpu().resolve_conj().resolve_neg().numpy())
