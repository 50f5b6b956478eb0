"""Relax operators -> fused TensorIR functions: the order of the passes."""

from __future__ import annotations

from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.contract.device import Target
from neo.engines.tvm.cpu.lowering import Lowering
from neo.engines.tvm.cpu.lowering.arithmetic import FLOATS, Pairs
from neo.engines.tvm.cpu.lowering.attention_fusion import fuse_attention
from neo.engines.tvm.cpu.lowering.halves import store_halves
from neo.engines.tvm.cpu.lowering.rows import Rows
from neo.engines.tvm.cpu.units.bfloat16 import Unit
from neo.engines.tvm.ir.constants import fold_constants
from neo.engines.tvm.layout import choose_layouts
from neo.engines.tvm.rewrites.simplify import simplify
from neo.engines.tvm.rewrites.taps import drop_taps
from neo.engines.tvm.rewrites.weights import lift_weights


def lower_graph(
    module: tvm.IRModule, target: Target, llvm: tvm.target.Target, unit: Unit | None = None
) -> tuple[tvm.IRModule, list[NDArray[Any]]]:
    """-> (module of fused TensorIR functions, the weights that ``main`` takes after its inputs).

    unit: multiplies bfloat16; None: the model is computed in float32.
    """
    lowering = Lowering(target, unit)
    with llvm:
        module = relax.transform.DecomposeOpsForInference()(module)
        module = drop_taps(fold_constants(module))
        module = simplify(choose_layouts(module, copies_images=unit is not None))
        module = fuse_attention(module, Rows(target, FLOATS if unit is None else Pairs(unit=unit)))
        if unit is not None:
            module = store_halves(module, lowering.reads_halves)
        module = tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(lowering.legalizations()),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)
        module, arrays = lift_weights(module)
        module = tvm.transform.Sequential(
            [
                relax.transform.Normalize(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.DeadCodeElimination(),
            ]
        )(module)
    return module, arrays
