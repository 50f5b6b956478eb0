"""A network of the zoo -> model.onnx, and golden samples: inputs with the unoptimised answers of ONNX Runtime.

``python -m benchmarks.zoo.export NAME FOLDER``
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.reference import Arrays, reference_outputs
from benchmarks.zoo import MODEL_FILE, ZOO, ZooModel
from benchmarks.zoo.layers import CALIBRATION_IMAGES, calibrate, randomise
from neo.onnx_tools.files import load, save
from neo.runtime.golden import write_golden

SEED = 0
SAMPLES = 2
OPSET = 18
OUTPUT = "output"
VOCABULARY = 30522


def build_network(model: ZooModel) -> torch.nn.Module:
    module, function = model.network.split(":")
    network: torch.nn.Module = getattr(importlib.import_module(f"benchmarks.zoo.{module}"), function)()
    return network


def ready_network(model: ZooModel) -> torch.nn.Module:
    """With random weights under which its activations neither vanish nor explode, in evaluation mode."""
    torch.manual_seed(SEED)
    network = build_network(model)
    randomise(network, SEED)
    if not model.tokens:
        ((_, shape),) = model.inputs
        calibrate(network, torch.randn(CALIBRATION_IMAGES, *shape[1:], generator=torch.Generator().manual_seed(SEED)))
    return network.eval()


def write_model(model: ZooModel, folder: Path) -> None:
    network = ready_network(model)
    samples = [sample_inputs(model, number) for number in range(SAMPLES)]
    _export(network, samples[0], folder / MODEL_FILE)
    write_golden(folder, [(inputs, reference_outputs(folder / MODEL_FILE, inputs)) for inputs in samples])


def sample_inputs(model: ZooModel, number: int) -> Arrays:
    rng = np.random.default_rng([SEED, number])
    if not model.tokens:
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in model.inputs}
    (ids, shape), (mask, _) = model.inputs
    # the second sentence is shorter, so that a mask that is ignored shows in parity
    length = shape[1] - 28 * number
    return {
        ids: rng.integers(0, VOCABULARY, shape),
        mask: (np.arange(shape[1]) < length).astype(np.int64)[None],
    }


def _export(network: torch.nn.Module, inputs: Arrays, path: Path) -> None:
    arguments = tuple(torch.from_numpy(array) for array in inputs.values())
    # the exporter tells of itself through warnings and logs
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            arguments,
            path,
            dynamo=True,
            verbose=False,
            external_data=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[OUTPUT],
        )
    model = load(path)
    # where in this machine's files every node comes from: of no use to others, and half of a small file
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    save(model, path)


if __name__ == "__main__":
    write_model(ZOO[sys.argv[1]], Path(sys.argv[2]))
