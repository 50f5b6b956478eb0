"""A model's kernels in their order, as one function of machine code.

``steps(table, first, last)`` calls the kernels of that range. table: the addresses of the inputs, the weights, the
outputs and the memory between them, in this order. Where everything lies is known when the model is compiled, so
nothing is allocated when it runs, and a call of a kernel is a call: TVM's virtual machine makes a tensor for every
result of every run, and each kernel asks its arguments for their types and shapes.

Who wants to know how long a kernel takes calls for one step at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from numpy.typing import NDArray
from tvm import relax, tirx
from tvm.ir import PointerType, PrimType
from tvm.relax import backend, transform

from neo.engines.tvm.cpu.codegen.host_passes import AS_IT_IS
from neo.engines.tvm.cpu.codegen.memory import Block, place_blocks
from neo.engines.tvm.ir.expressions import bytes_in, bytes_of, name_of
from neo.errors import EngineError
from neo.runtime.engine_folder import ALIGNMENT_BYTES
from neo.runtime.tvm import STEPS

MAIN = "main"
# so that none is taken for a function of the C library
PREFIX = "kernel_"
ADDRESS, STATUS = "int64", "int32"
# name of a step that calls no kernel
COPY = "copy"
# memory of its own, or a place in the table
Place = Block | int


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a kernel, or a copy of so many bytes. places: of the kernel's parameters; what is copied, and where."""

    kernel: str | None
    places: tuple[Place, ...]
    copied: int = 0

    @property
    def blocks(self) -> list[Block]:
        return [place for place in self.places if isinstance(place, Block)]


@dataclass(frozen=True, slots=True)
class Sequence:
    """What the function ``main`` does. inputs: how many it has, with the weights. constants: further weights. results:
    where its outputs are. types: theirs.
    """

    inputs: int
    constants: list[NDArray[Any]]
    steps: list[Step]
    results: tuple[Place, ...]
    types: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The addresses that ``steps`` is called with. slots: of results that are outputs. workspace: the slot, the last
    one, of the memory that the others have a place in.
    """

    slots: dict[Block, int]
    workspace: int

    def find(self, place: Place) -> tuple[int, int]:
        """-> (slot, bytes from there)"""
        if isinstance(place, int):
            return place, 0
        return (self.slots[place], 0) if place in self.slots else (self.workspace, place.offset)


@dataclass(frozen=True, slots=True)
class Compiled:
    """code: with the function ``steps``. constants: weights behind those of the module. kernels: what the steps call,
    in their order. workspace: bytes. outputs: dtypes and shapes.
    """

    code: tvm.runtime.Module
    constants: list[NDArray[Any]]
    kernels: tuple[str, ...]
    workspace: int
    outputs: tuple[tuple[str, tuple[int, ...]], ...]


def compile_sequence(module: tvm.IRModule, llvm: tvm.target.Target, pipeline: str) -> Compiled:
    """module: scheduled. pipeline: the name of what compiles its kernels. Raises EngineError for a ``main`` that does
    other things than calling kernels.
    """
    with llvm:
        module = _PASSES(module)
    main = module[MAIN]
    sequence = _Reader(list(main.params)).read(main.body)
    table, workspace = _place(sequence)
    kernels = {variable.name_hint: f for variable, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    called = {
        step.kernel: tvm.ir.GlobalVar(f"{PREFIX}{step.kernel}") for step in sequence.steps if step.kernel is not None
    }
    functions = {variable: _on_addresses(kernels[name], variable.name_hint) for name, variable in called.items()}
    functions[tvm.ir.GlobalVar(STEPS)] = _call_all(sequence.steps, called, table)
    with llvm:  # lowering of operators asks for it
        code = tvm.tirx.build(tvm.IRModule(functions), target=llvm, pipeline=pipeline)
    steps = tuple(step.kernel or COPY for step in sequence.steps)
    outputs = tuple((str(ty.dtype), tuple(int(size) for size in ty.shape)) for ty in sequence.types)
    return Compiled(code, sequence.constants, steps, workspace, outputs)


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
        self._places: dict[relax.Var, Any] = {variable: index for index, variable in enumerate(parameters)}
        self._constants: list[NDArray[Any]] = []
        self._steps: list[Step] = []

    def read(self, body: relax.SeqExpr) -> Sequence:
        for block in body.blocks:
            for binding in block.bindings:
                self._places[binding.var] = self._place(binding.value)
        results, types = self._place(body.body), body.body.ty
        if not isinstance(results, tuple):
            return Sequence(self._inputs, self._constants, self._steps, (results,), (types,))
        return Sequence(self._inputs, self._constants, self._steps, results, tuple(types.fields))

    def _place(self, value: Any) -> Any:
        """A Place, or a tuple of them."""
        if isinstance(value, relax.Tuple):
            return tuple(self._place(part) for part in value)
        if isinstance(value, relax.TupleGetItem):
            return self._place(value.tuple_value)[value.index]
        if isinstance(value, tvm.ir.GenericConst):
            self._constants.append(value.value.numpy())
            return self._inputs + len(self._constants) - 1
        return self._call(value) if isinstance(value, relax.Call) else self._places[value]

    def _call(self, value: relax.Call) -> Any:
        if name_of(value) == "builtin.alloc_tensor":
            return Block(bytes_of(value), len(self._steps), len(self._steps))
        if name_of(value) == "reshape":
            return self._place(value.args[0])
        if not isinstance(value.op, tvm.ir.GlobalVar):
            what = name_of(value) or getattr(value.op, "global_symbol", value.op)
            raise EngineError(f"tvm cannot compile what calls {what}", hint="use --engine onnxruntime")
        step = Step(value.op.name_hint, tuple(map(self._place, value.args)))
        for block in step.blocks:
            block.last = len(self._steps)
        self._steps.append(step)
        return ()


def _place(sequence: Sequence) -> tuple[Table, int]:
    """-> (where everything is, bytes between the inputs and the outputs)

    A result that is an output is where the output has to be. An output that is an input, a weight or a result which is
    another output already is copied.
    """
    slots: dict[Block, int] = {}
    first = sequence.inputs + len(sequence.constants)
    for slot, (result, of_it) in enumerate(zip(sequence.results, sequence.types, strict=True), first):
        if isinstance(result, Block) and result not in slots:
            slots[result] = slot
        else:
            sequence.steps.append(Step(None, (result, slot), bytes_in(of_it)))
    between = dict.fromkeys(block for step in sequence.steps for block in step.blocks if block not in slots)
    return Table(slots, first + len(sequence.results)), place_blocks(list(between))


def _call_all(steps: list[Step], kernels: dict[str, Any], table: Table) -> tirx.PrimFunc:
    addresses = tirx.decl_buffer((table.workspace + 1,), ADDRESS, "table")
    first, last = tirx.Var("first", ADDRESS), tirx.Var("last", ADDRESS)

    def pointer(place: Place) -> Any:
        slot, offset = table.find(place)
        return tirx.reinterpret("handle", addresses[slot] + tirx.const(offset, ADDRESS))

    def call(step: Step) -> tirx.Stmt:
        pointers = [pointer(place) for place in step.places]
        if step.kernel is None:
            source, to = pointers
            return tirx.Evaluate(tirx.call_extern("handle", "memcpy", to, source, tirx.const(step.copied, ADDRESS)))
        status = tirx.Var("status", STATUS)
        failed = [tvm.ir.StringImm(f"{step.kernel} failed")]
        return tirx.SeqStmt(
            [
                tirx.Bind(status, tvm.ir.Call(kernels[step.kernel], pointers, ret_ty=PrimType(STATUS))),
                # in the order that TVM 0.27 takes them, not in the order in which it names them
                tirx.AssertStmt(status == 0, tvm.ir.StringImm("RuntimeError"), failed),
            ]
        )

    body = [
        tirx.IfThenElse(tirx.all(first <= index, tirx.const(index, ADDRESS) < last), call(step), None)
        for index, step in enumerate(steps)
    ]
    function = tirx.PrimFunc([addresses, first, last], tirx.SeqStmt([*body, tirx.Evaluate(0)]))
    return function.with_attr({"global_symbol": STEPS, "s_tir": True})


def _on_addresses(kernel: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """The kernel as a function of pointers, for callers in the same library. -> what such functions do in TVM: 0 if all
    went well.
    """
    pointers = [tirx.Var(p.name, PointerType(PrimType(str(p.dtype)), "global")) for p in kernel.params]
    # some may begin anywhere in their memory; here all begin at its start
    offsets = [p.elem_offset for p in kernel.params if isinstance(p.elem_offset, tirx.Var)]
    starts = [tirx.Bind(offset, tirx.const(0, str(offset.ty.dtype))) for offset in offsets]
    buffers = [tirx.DeclBuffer(p, data=pointer) for p, pointer in zip(kernel.params, pointers, strict=True)]
    body = tirx.SeqStmt([*starts, *buffers, kernel.body])
    for pointer in pointers:
        body = tirx.AttrStmt(pointer, "storage_alignment", tirx.const(ALIGNMENT_BYTES), body)
    function = tirx.PrimFunc(pointers, body, PrimType(STATUS), kernel.attrs)
    # visible outside, or LLVM makes one function of all that are called once, over which it may sit for minutes
    return function.with_attr({"global_symbol": symbol, "calling_conv": AS_IT_IS})
