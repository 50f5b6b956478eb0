"""A module's ``main`` as a list of kernel calls in planned memory.

Where everything lies is known when the model is compiled, so nothing is allocated when it runs. A call names its
operands by a slot of a table of addresses, (inputs, weights, constants, outputs, workspace), or by an offset in the
workspace.
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
# of a call without a kernel, in the engine folder's list of steps
COPY = "copy"
# where a value lies: in memory of its own, or in a slot of the table
Location = Allocation | int


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a kernel, or a copy."""

    #: name of the function; None for a copy
    kernel: str | None
    #: of the kernel's parameters; of a copy, its source and its destination
    operands: tuple[Location, ...]
    #: bytes of a copy
    copied: int = 0

    @property
    def allocations(self) -> list[Allocation]:
        return [operand for operand in self.operands if isinstance(operand, Allocation)]


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What ``main`` does, and where."""

    #: in the order they run
    calls: tuple[Call, ...]
    #: tensors that the code needs behind the module's weights
    constants: list[NDArray[Any]]
    #: (dtype, shape) of each
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    #: slots of results that are outputs
    output_slots: dict[Allocation, int]
    #: the last slot of the table
    workspace_slot: int
    workspace_bytes: int

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names for people, one for each call."""
        return tuple(call.kernel or COPY for call in self.calls)

    def address(self, location: Location) -> tuple[int, int]:
        """-> (slot of the table, bytes from there)"""
        if isinstance(location, int):
            return location, 0
        if location in self.output_slots:
            return self.output_slots[location], 0
        return self.workspace_slot, location.offset


def plan_calls(module: tvm.IRModule, target: tvm.target.Target) -> tuple[tvm.IRModule, CallPlan]:
    """module: scheduled. -> (the module with the kernels that are called, the calls).

    Raises EngineError if ``main`` does other things than calling kernels.
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
            slots[result] = slot  # computed where the output has to be
        else:  # an input, a weight, or a result that is another output already
            calls.append(Call(None, (result, slot), bytes_in(of_it)))
    between = dict.fromkeys(one for call in calls for one in call.allocations if one not in slots)
    outputs = tuple((str(ty.dtype), tuple(int(size) for size in ty.shape)) for ty in types)
    workspace_bytes = assign_offsets(list(between))
    return module, CallPlan(tuple(calls), constants, outputs, slots, first + len(results), workspace_bytes)


_PASSES = tvm.transform.Sequential(
    [
        # what the lowering leaves to TVM
        backend.DispatchSortScan(),
        transform.LegalizeOps(),
        transform.RewriteDataflowReshape(),
        transform.ToNonDataflow(),
        transform.RemovePurityChecking(),
        transform.CallTIRRewrite(),
    ]
)


class _Reader:
    """Follows every value of ``main`` to the memory that it is in."""

    def __init__(self, parameters: list[relax.Var]) -> None:
        self._inputs = len(parameters)
        self._locations: dict[relax.Var, Any] = {variable: index for index, variable in enumerate(parameters)}
        self.constants: list[NDArray[Any]] = []
        self.calls: list[Call] = []

    def read(self, body: relax.SeqExpr) -> tuple[tuple[Location, ...], tuple[Any, ...]]:
        """-> (where the results are, their types)"""
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
