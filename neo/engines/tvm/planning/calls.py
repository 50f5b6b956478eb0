"""A module's ``main`` as a list of kernel calls in planned memory.

All memory is planned when the model is compiled, so nothing is allocated when it runs. An operand of a call is either a
slot in a table of addresses (inputs, weights, constants, outputs, workspace) or an offset in the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.relax import backend, transform

from neo.engines.tvm.ir.expressions import bytes_in, bytes_of, name_of
from neo.engines.tvm.planning.memory import Allocation, assign_offsets
from neo.engines.tvm.tvm_private import ALLOCATE
from neo.errors import EngineError

MAIN = "main"
# name of a copy, which has no kernel, in the engine folder's list of steps
COPY = "copy"
# where a value is: in planned memory of the workspace, or behind a slot of the table
Location = Allocation | int


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a kernel, or a copy."""

    #: name of the function; None for a copy
    kernel: str | None
    #: arguments of the kernel; source and destination of a copy
    operands: tuple[Location, ...]
    #: bytes of a copy
    copied: int = 0

    @property
    def allocations(self) -> list[Allocation]:
        return [operand for operand in self.operands if isinstance(operand, Allocation)]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """The calls of ``main`` and the memory of their operands."""

    #: in execution order
    calls: tuple[Call, ...]
    #: further weights, which come after those of the module
    constants: list[NDArray[Any]]
    #: (dtype, shape) of each
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    #: result that is computed directly in an output -> the output's slot
    output_slots: dict[Allocation, int]
    #: the last slot of the table
    workspace_slot: int
    workspace_bytes: int

    @property
    def kernels(self) -> tuple[str, ...]:
        """One name for each call, for people to read."""
        return tuple(call.kernel or COPY for call in self.calls)

    def address(self, location: Location) -> tuple[int, int]:
        """-> (slot of the table, offset in bytes)"""
        if isinstance(location, int):
            return location, 0
        if location in self.output_slots:
            return self.output_slots[location], 0
        return self.workspace_slot, location.offset


def plan_calls(module: tvm.IRModule, target: tvm.target.Target) -> tuple[tvm.IRModule, CallPlan]:
    """module: scheduled. -> (module with the kernels, their calls).

    Raises EngineError if ``main`` does anything but call kernels.
    """
    with target:
        module = _PASSES(module)
    main = module[MAIN]
    reader = _Reader(list(main.params))
    results, types = reader.read(main.body)
    calls, constants = reader.calls, reader.constants
    first = len(main.params) + len(constants)
    slots: dict[Allocation, int] = {}
    for slot, (result, of_it) in enumerate(zip(results, types, strict=True), first):
        if isinstance(result, Allocation) and result not in slots:
            slots[result] = slot  # computed directly in the output's memory
        else:  # an input, a weight, or a result that is another output too
            calls.append(Call(None, (result, slot), bytes_in(of_it)))
    between = dict.fromkeys(one for call in calls for one in call.allocations if one not in slots)
    outputs = tuple((str(ty.dtype), tuple(int(size) for size in ty.shape)) for ty in types)
    workspace_bytes = assign_offsets(list(between))
    return module, CallPlan(tuple(calls), constants, outputs, slots, first + len(results), workspace_bytes)


_PASSES = tvm.transform.Sequential(
    [
        # for operators that no lowering of ours took
        backend.DispatchSortScan(),
        transform.LegalizeOps(),
        transform.RewriteDataflowReshape(),
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
    ]
)


class _Reader:
    """Resolves every value of ``main`` to its location."""

    def __init__(self, parameters: list[relax.Var]) -> None:
        self._inputs = len(parameters)
        self._locations: dict[relax.Var, Any] = {variable: index for index, variable in enumerate(parameters)}
        self.constants: list[NDArray[Any]] = []
        self.calls: list[Call] = []

    def read(self, body: relax.SeqExpr) -> tuple[tuple[Location, ...], tuple[Any, ...]]:
        """-> (locations of the results, their types)"""
        for block in body.blocks:
            for binding in block.bindings:
                self._locations[binding.var] = self._locate(binding.value)
        results, types = self._locate(body.body), body.body.ty
        return (results, tuple(types.fields)) if isinstance(results, tuple) else ((results,), (types,))

    def _locate(self, value: Any) -> Any:
        """A Location, or a tuple of them."""
        if isinstance(value, relax.Tuple):
            return tuple(self._locate(part) for part in value)
        if isinstance(value, relax.TupleGetItem):
            return self._locate(value.tuple_value)[value.index]
        if isinstance(value, tvm.ir.GenericConst):
            self.constants.append(value.value.numpy())
            return self._inputs + len(self.constants) - 1
        return self._call(value) if isinstance(value, relax.Call) else self._locations[value]

    def _call(self, value: relax.Call) -> Any:
        if name_of(value) == ALLOCATE:
            return Allocation(bytes_of(value), len(self.calls), len(self.calls))
        if name_of(value) == "reshape":
            return self._locate(value.args[0])
        if not isinstance(value.op, tvm.ir.GlobalVar):
            what = name_of(value) or getattr(value.op, "global_symbol", value.op)
            raise EngineError(f"tvm cannot compile what calls {what}", hint="use --engine onnxruntime")
        call = Call(value.op.name_hint, tuple(map(self._locate, value.args)))
        for allocation in call.allocations:
            allocation.last = len(self.calls)
        self.calls.append(call)
        return ()
