"""The networks of benchmarks.zoo, as exported programs, as TorchScript traces, and as code and weights."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import torch

from benchmarks.frameworks.entries import Asked, Made
from benchmarks.frameworks.pictures import pictures
from benchmarks.zoo import ZOO, ZooModel
from benchmarks.zoo.export import build_network, sample_inputs
from benchmarks.zoo.layers import calibrate, randomise
from neo.contract.tensors import TensorSpec
from neo.frontends.base import Factory

SEED = 0
ASKED = 4
_CALIBRATION_IMAGES = 3
_ROOT = Path(__file__).parents[3]


def zoo(folder: Path, name: str, to: str) -> Made:
    """to: "pt2", "torchscript", or a kind of weights, "safetensors" or "pth"."""
    model = ZOO[name]
    network = _network(model)
    questions = _questions(model)
    asked = ask(network, questions)
    if to in {"pt2", "torchscript"}:
        return Made(save(network, questions[0], folder, to), asked=asked)
    weights = folder / f"weights.{to}"
    if to == "safetensors":
        from safetensors.torch import save_model

        save_model(network, str(weights))
    else:
        torch.save({"epoch": 1, "state_dict": network.state_dict()}, weights)
    module, function = model.network.split(":")
    factory = Factory(f"benchmarks.zoo.{module}:{function}", _ROOT, weights)
    return Made(weights, _specs(network, questions[0]), asked=asked, factory=factory)


def _network(model: ZooModel) -> torch.nn.Module:
    """With random weights under which its activations neither vanish nor explode, in evaluation mode."""
    torch.manual_seed(SEED)
    network = build_network(model)
    randomise(network, SEED)
    if model.tokens:
        # as random as the words, their places would say as much as they: every sentence would be alike
        with torch.no_grad():
            network.words.weight.mul_(4.0)
    if _takes_pictures(model):
        seen = _pictures(model, _CALIBRATION_IMAGES, SEED + 1)
        # noise too, since it will be asked
        noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(SEED))
        calibrate(network, torch.cat([seen, noise]))
    return network.eval()


def _takes_pictures(model: ZooModel) -> bool:
    return len(model.inputs[0][1]) == 4


def _pictures(model: ZooModel, count: int, seed: int) -> torch.Tensor:
    _name, (_one, _colours, height, width) = model.inputs[0]
    return torch.from_numpy(pictures(count, height, width, seed=seed))


def _questions(model: ZooModel) -> list[tuple[torch.Tensor, ...]]:
    if _takes_pictures(model):
        return [(picture[None],) for picture in _pictures(model, ASKED, SEED)]
    return [tuple(map(torch.from_numpy, sample_inputs(model, number).values())) for number in range(ASKED)]


def ask(network: torch.nn.Module, questions: list[tuple[torch.Tensor, ...]]) -> tuple[Asked, ...]:
    """network: answers with a tensor or a tuple of them."""
    asked = []
    for question in questions:
        with torch.no_grad():
            answer = network(*question)
        answers = answer if isinstance(answer, tuple) else (answer,)
        asked.append(Asked(tuple(tensor.numpy() for tensor in question), tuple(tensor.numpy() for tensor in answers)))
    return tuple(asked)


def _specs(network: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> tuple[TensorSpec, ...]:
    names = inspect.signature(network.forward).parameters
    return tuple(
        TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in zip(names, example, strict=True)
    )


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
