"""Constants are folded before anything is compiled."""

from __future__ import annotations

import numpy as np
from tvm import relax

from neo.engines.tvm.ir.constants import fold_constants


def test_what_is_known_becomes_a_constant_and_the_rest_stays() -> None:
    weights = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    x = relax.Var("x", relax.TensorType((4, 3, 2), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            turned = builder.emit(relax.op.permute_dims(relax.const(weights), [2, 1, 0]))
            root = builder.emit(relax.op.sqrt(turned))
            flat = builder.emit(relax.op.reshape(root, (4, 3, 2)))
            halved = builder.emit(relax.op.divide(flat, relax.const(np.float32(2))))
            result = builder.emit_output(relax.op.add(x, halved))
        builder.emit_func_output(result)
    (block,) = fold_constants(builder.get())["main"].body.blocks
    (binding,) = [b for b in block.bindings if isinstance(b.value, relax.Call)]
    assert binding.value.op.name == "relax.add"
    np.testing.assert_allclose(binding.value.args[1].value.numpy(), np.sqrt(weights.transpose(2, 1, 0)) / 2)
