"""What this engine assumes about TVM 0.27 beyond its public interface: private names, enum values that have no name in
Python, orders of arguments, attribute strings that passes look for.

No other file of the engine relies on such a thing. ``tests/engines/test_tvm_private.py`` has a test for each
assumption, which says in words what a new version of TVM has broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.ir import PrimType
from tvm.relax.frontend.onnx import onnx_frontend

# --- attributes of functions ------------------------------------------------------------------------------------------

# the function's loops are final: TVM's passes and our schedules leave them alone
IS_SCHEDULED = "tirx.is_scheduled"
# no two parameters share memory
NO_ALIAS = "tirx.noalias"
# the number that ``tvm.s_tir.analysis.estimate_tir_flops`` returns instead of counting
FLOPS = "estimated_flops"
# what may be fused to the function: one of the values below
FUSION_PATTERN = "op_pattern"
# values of TVM's OpPatternKind. kOutEWiseFusable: elementwise operators that read the result; kOpaque: nothing
TAKES_EPILOGUE, OPAQUE = 4, 8
# calling convention, tvm::CallingConv. 1 is kCPackedFunc: MakePackedAPI skips functions that have it already, so the
# code generator gives them the C signature of their parameters
_CALLING_CONVENTION, _PLAIN_C = "calling_conv", 1

# --- attributes and annotations of statements -------------------------------------------------------------------------

# a region that every thread of the pool executes, and a statement in it that ends with a barrier
PARALLEL_REGION, BARRIER = "pragma_parallel_launch_point", "pragma_parallel_barrier_when_finish"
# LowerTVMBuiltin keeps buffers with this annotation on the stack, whatever their size
_KEEP_ON_STACK = "disable_lower_builtin"
# LLVM IR that is linked to the module
_IMPORT_LLVM = "pragma_import_llvm"
# alignment of a pointer in bytes
_ALIGNMENT = "storage_alignment"
# the device that a function allocates on, which MakePackedAPI would take from tensor arguments; 1 is DLPack's kDLCPU
_DEVICE = {"device_type": 1, "device_id": 0}

# tvm::tirx::CallEffectKind::kPure
_PURE = 1


def is_scheduled(function: tirx.PrimFunc) -> bool:
    return IS_SCHEDULED in (function.attrs or {})


def called_plainly(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with a plain C calling convention instead of TVM's packed arguments."""
    return function.with_attr(_CALLING_CONVENTION, _PLAIN_C)


def is_called_plainly(function: tirx.PrimFunc) -> bool:
    return int((function.attrs or {}).get(_CALLING_CONVENTION, 0)) == _PLAIN_C


def on_stack(allocation: tirx.AllocBuffer) -> tirx.AllocBuffer:
    """The allocation on the stack, whatever its size, instead of TVM's heap."""
    return tirx.AllocBuffer(allocation.buffer, {**allocation.annotations, _KEEP_ON_STACK: tirx.IntImm("bool", 1)})


def on_cpu(body: tirx.Stmt) -> tirx.Stmt:
    """The body of a function with the plain calling convention that allocates memory."""
    for name, value in _DEVICE.items():
        body = tirx.AttrStmt(tvm.ir.StringImm("default"), name, tirx.const(value), body)
    return body


def with_llvm_source(source: str, body: tirx.Stmt) -> tirx.Stmt:
    return tirx.AttrStmt(tirx.const(0), _IMPORT_LLVM, tvm.ir.StringImm(source), body)


def aligned(pointer: tirx.Var, alignment_bytes: int, body: tirx.Stmt) -> tirx.Stmt:
    return tirx.AttrStmt(pointer, _ALIGNMENT, tirx.const(alignment_bytes), body)


def check(condition: Any, message: str) -> tirx.Stmt:
    """A statement that raises RuntimeError with the message unless the condition holds. TVM 0.27 takes (condition,
    kind, parts), though its parameters are named in another order.
    """
    return tirx.AssertStmt(condition, tvm.ir.StringImm("RuntimeError"), [tvm.ir.StringImm(message)])


def direct_call(function: Any, arguments: Sequence[Any], dtype: str) -> Any:
    """A direct call of another function of the module; ``tirx.call_*`` support only intrinsics and external symbols."""
    return tvm.ir.Call(function, arguments, ret_ty=PrimType(dtype))


# --- operators of TensorIR --------------------------------------------------------------------------------------------


def declare_operator(name: str, arguments: int) -> None:
    """Register a pure, vectorisable TensorIR operator. name: as ``tirx.call_intrin`` takes it, "tirx." included. Each
    kind of processor defines its lowering with ``lower_operator``.
    """
    tvm_ffi.get_global_func("ir.RegisterOp")(name, "")
    operator = tvm.ir.Op.get(name)
    operator.set_num_inputs(arguments)
    operator.set_attr("TCallEffectKind", _PURE)
    operator.set_attr("TScriptPrinterName", name.removeprefix("tirx."))
    allow_vectors(name)


def allow_vectors(name: str) -> None:
    """Vectorise loops with the operator. TVM makes scalar loops of those with an unmarked one."""
    tvm.ir.Op.get(name).set_attr("TVectorizable", value=True)


def lower_operator(name: str, lower: Callable[[Any], Any]) -> None:
    """lower: call of the operator -> expression that is compiled instead."""
    tirx.register_intrin_lowering(name, target="llvm", f=lower)


def register_operator(name: str, arguments: int, lower: Callable[[Any], Any]) -> None:
    """Declare an operator that only one kind of processor has, with its lowering."""
    declare_operator(name, arguments)
    lower_operator(name, lower)


# --- TensorIR as text: TVM 0.27 has no visitor for it in Python -------------------------------------------------------

_MODULO_CONDITION = r"if_then_else\(\(?{variable}(?: \+ (?:T\.int64\()?\d+\)?\)?)? % (?:T\.int64\()?(\d+)"


def has_condition(body: Any) -> bool:
    """Does the statement contain an if_then_else expression?"""
    return "if_then_else(" in str(body.script())


def modulus_of_condition(body: Any, variable: str) -> int | None:
    """The modulus of the first condition on ``variable % n`` or ``(variable + constant) % n``; None: there is none."""
    found = re.search(_MODULO_CONDITION.format(variable=variable), str(body.script()))
    return int(found.group(1)) if found else None


def is_looked_up(index: Any) -> bool:
    """Is the index read from a tensor? Only such reads are printed with brackets."""
    return "[" in str(index)


# --- Relax ------------------------------------------------------------------------------------------------------------


def tvm_lowers(builder: Any, call: relax.Call) -> Any:
    """The default lowering of an operator in ``relax.transform.LegalizeOps``."""
    return call.op.get_attr("FLegalize")(builder, call)


# the operator, without "relax.", with which ``relax.transform.CallTIRRewrite`` allocates the result of a kernel
ALLOCATE = "builtin.alloc_tensor"


# --- compiling --------------------------------------------------------------------------------------------------------


def register_pipeline(name: str, last: tvm.transform.Pass) -> None:
    """TVM's passes for scheduled functions. ``last`` runs on host functions just before TVM's builtins become calls."""

    def pipeline() -> tuple[Any, Any, Any]:
        passes, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
        return passes, lambda: tvm.transform.Sequential([last, finalize_host()]), finalize_device

    tirx.compilation_pipeline.register_tir_pipeline(name, pipeline)


def llvm_processors(llvm: tvm.target.Target) -> frozenset[str]:
    return frozenset(str(name) for name in tvm.target.codegen.llvm_get_cpu_archlist(llvm))


# --- the ONNX importer ------------------------------------------------------------------------------------------------


def importable_operators() -> frozenset[str]:
    """ONNX operators that TVM's importer handles, with a converter or without."""
    return frozenset((*onnx_frontend._get_convert_map(), "Constant"))  # noqa: SLF001  # no public list


class OnnxImporter(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]  # tvm has no types
    """TVM's importer, to be subclassed for further converters."""

    def __init__(self, shapes: Mapping[str, Sequence[Any]]) -> None:
        super().__init__(dict(shapes), "float32", sanitize=False)

    def convert(self, operator: str, inputs: Sequence[Any], attributes: dict[str, Any], opset: int) -> Any:
        """Convert one node as TVM does; to be overridden."""
        return super()._convert_operator(operator, inputs, attributes, opset)

    def convert_by(
        self, converter: Any, inputs: Sequence[Any], attributes: dict[str, Any], opset: int, *given: Any
    ) -> Any:
        """Convert one node by a converter of ours. given: appended to the two ``params`` that TVM's own get."""
        convert = converter.get_converter(opset)
        return self.bb.normalize(convert(self.bb, inputs, attributes, [self._nodes, self._params, *given]))

    def _convert_operator(self, op_name: str, inputs: Sequence[Any], attrs: dict[str, Any], opset: int) -> Any:
        return self.convert(op_name, inputs, attrs, opset)

    def _check_for_unsupported_ops(self, graph: Any) -> None:
        """Not needed: ``importing/refusal.py`` has checked every node before."""


def name_of_node(attributes: Mapping[str, Any]) -> str:
    """attributes: as the importer hands them to ``convert``."""
    return str(attributes["tvm_custom"]["name"])


class PadConverter(onnx_frontend.Pad):  # type: ignore[misc]
    """TVM's converter of Pad, with the part that all opset versions share to be overridden."""

    @classmethod
    def lower(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any, allowed_modes: Any) -> Any:
        """To be overridden. allowed_modes: those of the opset version."""
        return super()._lower_pad(bb, inputs, attr, params, allowed_modes)

    @classmethod
    def padding(cls, inputs: Sequence[Any], params: Any) -> tuple[list[int], list[int], float]:
        """-> (padding before, padding after, for each axis; value). Raises ValueError if they are not constant."""
        before, after, value = cls._parse_pads_and_axes(inputs, params)
        return before, after, value

    @classmethod
    def _lower_pad(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any, allowed_modes: Any) -> Any:
        return cls.lower(bb, inputs, attr, params[:2], allowed_modes)
