"""Operators of our own in TensorIR. What they become, every kind of processor says for itself."""

from __future__ import annotations

import tvm
import tvm_ffi

# the number of TVM's CallEffectKind.Pure
_PURE = 1


def declare(name: str, arguments: int) -> None:
    """A pure operator, of as many lanes as its arguments. name: "tirx." and what ``tirx.call_intrin`` calls it."""
    tvm_ffi.get_global_func("ir.RegisterOp")(name, "")
    operator = tvm.ir.Op.get(name)
    operator.set_num_inputs(arguments)
    operator.set_attr("TCallEffectKind", _PURE)
    operator.set_attr("TVectorizable", value=True)
    operator.set_attr("TScriptPrinterName", name.removeprefix("tirx."))
