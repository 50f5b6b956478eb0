"""TensorFlow operators that tf2onnx does not know: written with those that ONNX has.

Importing this module registers them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tf2onnx.handler import tf_op
from tf2onnx.utils import make_name, map_onnx_to_numpy_type


@tf_op("Erfc")
class Erfc:
    """1 - erf(x), which keeps float32's absolute precision: what exact GELU is made of."""

    @classmethod
    def version_9(cls, ctx: Any, node: Any, **_more: Any) -> None:
        dtype = ctx.get_dtype(node.output[0])
        shape = ctx.get_shape(node.output[0])
        one = ctx.make_const(make_name("one"), np.array(1, map_onnx_to_numpy_type(dtype)))
        erf = ctx.make_node("Erf", [node.input[0]], dtypes=[dtype], shapes=[shape])
        ctx.remove_node(node.name)
        ctx.make_node(
            "Sub", [one.output[0], erf.output[0]], outputs=node.output, name=node.name, dtypes=[dtype], shapes=[shape]
        )
