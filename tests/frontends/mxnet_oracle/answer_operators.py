"""Run with MXNet: ``answer_operators.py FOLDER`` exports cases and writes their inputs and MXNet's outputs.

With MXNET_MKLDNN_ENABLED=0 all cases that want MXNet's own kernels, otherwise those that want oneDNN's.

Case number N becomes FOLDER/N-symbol.json, N-0000.params and N.npz (inputs by name, outputs as output0, output1 ...).
"""

import os
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")

import mxnet as mx  # noqa: E402
from all_cases import CASES  # noqa: E402
from case_table import VALUES  # noqa: E402


def answer(number, case, folder):
    random = np.random.RandomState(number)
    symbol = case.symbol(mx.sym)
    kinds = {name: case.values if isinstance(case.values, str) else case.values[name] for name in case.shapes}
    inputs = {name: VALUES[kinds[name]](random, shape) for name, shape in case.shapes.items()}
    shapes, _, state_shapes = symbol.infer_shape(**case.shapes)
    arguments = dict(zip(symbol.list_arguments(), shapes, strict=False))
    weights = {
        name: mx.nd.array(VALUES["positive" if "gamma" in name else "normal"](random, shape))
        for name, shape in arguments.items()
        if name not in inputs and not name.endswith("_label")
    }
    labels = {name: mx.nd.zeros(shape) for name, shape in arguments.items() if name.endswith("_label")}
    states = {
        name: mx.nd.array(VALUES["positive"](random, shape))
        for name, shape in zip(symbol.list_auxiliary_states(), state_shapes, strict=False)
    }
    bound = symbol.bind(
        mx.cpu(),
        dict(labels, **weights, **{name: mx.nd.array(array, dtype=array.dtype) for name, array in inputs.items()}),
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


OWN_KERNELS = os.environ.get("MXNET_MKLDNN_ENABLED") == "0"
refused = []
for position, (title, one) in enumerate(CASES.items()):
    if one.onednn == OWN_KERNELS:
        continue
    with mx.util.np_shape(one.numpy):
        try:
            answer(position, one, sys.argv[1])
        except (mx.MXNetError, TypeError, AttributeError, ValueError) as error:
            refused.append(f"{title}: {error}"[:400])
if refused:
    sys.exit("\n".join(refused))
