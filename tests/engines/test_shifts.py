"""Shifts by amounts for which every processor's instructions do something else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.engines.conftest import Run

BITS = 32
# signed numbers are shifted from this set of operators on
OPSET = 28
NUMBERS = (-8, 4, -1, 1, 1 << 20)
AMOUNTS = (-64, -32, -8, -1, 0, 1, 5, 31, 32, 40)


def shifts(direction: str, count: int) -> onnx.ModelProto:
    """Whole numbers and amounts, x float32 (2, count), -> y float32 (1, count), shifted as int32."""
    nodes = [
        helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Split", ["whole"], ["numbers", "amounts"], axis=0, num_outputs=2),
        helper.make_node("BitShift", ["numbers", "amounts"], ["shifted"], direction=direction),
        helper.make_node("Cast", ["shifted"], ["y"], to=TensorProto.FLOAT),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, count]), ("y", [1, count]))
    )
    graph = helper.make_graph(nodes, "shifts", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=13)


def shifted(number: int, amount: int, direction: str) -> int:
    if direction == "RIGHT":
        return number >> (amount if 0 <= amount < BITS else BITS)
    bits = (number << amount) % (1 << BITS) if 0 <= amount < BITS else 0
    return bits - (1 << BITS) * (bits >> (BITS - 1))


@pytest.mark.parametrize("direction", ["LEFT", "RIGHT"])
def test_amounts_outside_of_the_number_leave_what_the_sign_fills_in(run_tvm: Run, direction: str) -> None:
    pairs = [(number, amount) for number in NUMBERS for amount in AMOUNTS]
    answer = run_tvm(shifts(direction, len(pairs)), np.array(pairs, np.float32).T)
    assert answer[0].tolist() == [shifted(number, amount, direction) for number, amount in pairs]
