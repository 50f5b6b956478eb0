"""The networks of benchmarks.zoo, as exported programs and as TorchScript traces."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from benchmarks.frameworks.entries import Made
from benchmarks.zoo import ZOO
from benchmarks.zoo.export import ready_network, sample_inputs


def zoo(folder: Path, name: str, to: str) -> Made:
    network = ready_network(ZOO[name])
    example = tuple(torch.from_numpy(array) for array in sample_inputs(ZOO[name], 0).values())
    return Made(save(network, example, folder, to))


def save(network: torch.nn.Module, example: tuple[torch.Tensor, ...], folder: Path, to: str) -> Path:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters tell of their own plans
        if to == "pt2":
            path = folder / "model.pt2"
            torch.export.save(torch.export.export(network, example), path)
        else:
            path = folder / "model.pt"
            torch.jit.save(torch.jit.trace(network, example, check_trace=False), path)
    return path
