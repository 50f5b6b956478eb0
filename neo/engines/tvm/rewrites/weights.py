"""Take the weights out of the code: constants of ``main`` become parameters, and files.

A retrained model then shares its code blob with the old one, and a device memory-maps the weights instead of loading
them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from neo.engines.weight_files import WeightFiles, place_weights
from neo.runtime.engine_folder import WeightEntry


@relax.expr_functor.mutator
class _ConstantLifter(relax.PyExprMutator):  # type: ignore[misc]  # tvm has no types
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.variables: list[relax.Var] = []
        self.arrays: list[NDArray[Any]] = []
        self._seen: dict[tuple[str, tuple[int, ...], bytes], relax.Var] = {}

    def visit_generic_const_(self, constant: tvm.ir.GenericConst) -> relax.Expr:
        array = constant.value.numpy()
        if array.ndim == 0:  # scalars stay in the code, where they are folded into kernels
            return constant
        key = (str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self._seen:
            self._seen[key] = relax.Var(f"weight_{len(self.variables)}", constant.ty)
            self.variables.append(self._seen[key])
            self.arrays.append(array)
        return self._seen[key]


def lift_weights(module: tvm.IRModule) -> tuple[tvm.IRModule, list[NDArray[Any]]]:
    """-> (module whose ``main`` takes the weights after its inputs, the weights in that order without duplicates)."""
    lifter = _ConstantLifter(module)
    main = module["main"]
    body = lifter.visit_expr(main.body)
    params = [*main.params, *lifter.variables]
    lifted = relax.Function(params, body, main.ret_ty, is_pure=main.is_pure, attrs=main.attrs)
    functions = dict(module.functions)
    functions[module.get_global_var("main")] = lifted.with_attr("num_input", len(main.params))
    return tvm.IRModule(functions), lifter.arrays


def write_weights(arrays: list[NDArray[Any]], folder: Path) -> tuple[WeightEntry, ...]:
    """Little-endian files under folder/weights; every tensor at a multiple of 64 bytes."""
    positions = place_weights([array.nbytes for array in arrays])
    files = WeightFiles(folder)
    entries = []
    for array, position in zip(arrays, positions, strict=True):
        files.write(position, np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
        entries.append(WeightEntry(position.file, position.offset, str(array.dtype), array.shape))
    return tuple(entries)
