"""Run with MXNet: ``answer_operators.py FOLDER`` exports every case and writes its inputs and MXNet's outputs.

Case number N becomes FOLDER/N-symbol.json, N-0000.params and N.npz (inputs by name, outputs as output0, output1 ...).
"""

import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

import mxnet as mx  # noqa: E402
from operator_cases import CASES  # noqa: E402


def values(random, shape, kind):
    if kind == "positive":
        return random.uniform(0.1, 2.0, shape).astype("float32")
    if kind == "indices":
        return random.randint(0, 7, shape).astype("float32")
    return random.normal(0.0, 1.0, shape).astype("float32")


def answer(number, case, folder):
    random = np.random.RandomState(number)
    symbol = case.symbol(mx.sym)
    inputs = {name: values(random, shape, case.values) for name, shape in case.shapes.items()}
    shapes, _, state_shapes = symbol.infer_shape(**case.shapes)
    arguments = dict(zip(symbol.list_arguments(), shapes, strict=False))
    weights = {
        name: mx.nd.array(values(random, shape, "positive" if "gamma" in name else "normal"))
        for name, shape in arguments.items()
        if name not in inputs and not name.endswith("_label")
    }
    labels = {name: mx.nd.zeros(shape) for name, shape in arguments.items() if name.endswith("_label")}
    states = {
        name: mx.nd.array(values(random, shape, "positive"))
        for name, shape in zip(symbol.list_auxiliary_states(), state_shapes, strict=False)
    }
    bound = symbol.bind(
        mx.cpu(),
        dict(labels, **weights, **{name: mx.nd.array(array) for name, array in inputs.items()}),
        grad_req="null",
        aux_states=states,
    )
    outputs = bound.forward(is_train=False)
    prefix = f"{folder}/{number}"
    symbol.save(prefix + "-symbol.json")
    stored = {"arg:" + name: array for name, array in weights.items()}
    stored.update({"aux:" + name: array for name, array in states.items()})
    mx.nd.save(prefix + "-0000.params", stored)
    named = {f"output{i}": output.asnumpy() for i, output in enumerate(outputs)}
    np.savez(prefix + ".npz", **dict(named, **inputs))


for position, one in enumerate(CASES.values()):
    answer(position, one, sys.argv[1])
