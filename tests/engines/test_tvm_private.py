"""What the engine assumes of TVM without a promise. When one of these fails after TVM was upgraded, its message says
which assumption no longer holds; the place to mend is ``neo/engines/tvm/tvm_private.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
import tvm_ffi
from onnx import TensorProto, helper
from tvm import relax, s_tir, te, tirx
from tvm.relax.frontend.onnx import onnx_frontend
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T  # noqa: N812  # its name everywhere in TVM

from neo.engines.tvm import tvm_private
from neo.engines.tvm.tvm_private import OnnxImporter, PadConverter

HOST = {"kind": "llvm", "num-cores": 2}
VECTOR = relax.TensorType((64,), "float32")
# TVM puts what is larger on its heap
LARGE = 4096


def added(one: int = 1, size: int = 64) -> tirx.PrimFunc:
    """X + one"""
    x = te.placeholder((size,), "float32", "x")
    return te.create_prim_func([x, te.compute((size,), lambda i: x[i] + tirx.const(one, "float32"), "y")])


def private(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Of a module: it goes when nothing calls it."""
    return function.without_attr("global_symbol")


def loops(body: Any, *, size: int = 64) -> tirx.PrimFunc:
    """(x, y), float32 (size), with loops that body writes."""
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_attr({"global_symbol": "main"})
        x, y = (T.match_buffer(T.arg(name, T.handle()), (size,), "float32") for name in "xy")
        with T.sblock("root"):
            body(x, y)
    return builder.get()


def built(*functions: tirx.PrimFunc, pipeline: str = "s_tir") -> tvm.runtime.Module:
    named = {str(function.attrs["global_symbol"]): function for function in functions}
    return tvm.tirx.build(tvm.IRModule(named), target=tvm.target.Target(HOST), pipeline=pipeline)


def llvm_of(*functions: tirx.PrimFunc, pipeline: str = "s_tir") -> str:
    return str(built(*functions, pipeline=pipeline).inspect_source("ll"))


def plain(body: tirx.Stmt, *parameters: tirx.Var, name: str = "plain") -> tirx.PrimFunc:
    """A function that is called as C functions are, and returns 0."""
    whole = tirx.SeqStmt([body, tirx.Return(tirx.const(0, "int32"))])
    function = tirx.PrimFunc(list(parameters), whole, tvm.ir.PrimType("int32"))
    return tvm_private.called_plainly(function.with_attr({"global_symbol": name, "s_tir": True}))


def pointer() -> tirx.Var:
    return tirx.Var("x", tvm.ir.PointerType(tvm.ir.PrimType("float32"), "global"))


def storing(to: tirx.Var, value: Any = 1.0) -> tirx.Stmt:
    """The value, float32, where the pointer points to."""
    buffer = tirx.decl_buffer((64,), "float32", "x", data=to)
    store = tirx.BufferStore(buffer, tirx.const(value, "float32") if isinstance(value, float) else value, [0])
    return tirx.SeqStmt([tirx.DeclBuffer(buffer, data=to), store])


def allocating() -> tirx.PrimFunc:
    """A plain function with a buffer that is larger than those that TVM leaves on the stack."""
    scratch, index = tirx.decl_buffer((LARGE,), "float32", "scratch", scope="local"), tirx.Var("index", "int32")
    store = tirx.BufferStore(scratch, tirx.const(1, "float32"), [index])
    fill = tirx.For(index, tirx.const(0), tirx.const(LARGE), tirx.ForKind.SERIAL, store)
    used = tirx.call_extern("int32", "use", tirx.buffer_data(scratch))
    return plain(tirx.SeqStmt([tirx.AllocBuffer(scratch), fill, tirx.Evaluate(used)]))


def finishing(change: Callable[[tirx.Stmt], tirx.Stmt]) -> str:
    """The name of a pipeline whose last pass changes bodies."""

    @tvm.tirx.transform.prim_func_pass(opt_level=0)
    def last(function: tirx.PrimFunc, _module: tvm.IRModule, _context: Any) -> tirx.PrimFunc:
        return function.with_body(change(function.body))

    tvm_private.register_pipeline("neo-test", last)
    return "neo-test"


def keep_on_stack(body: tirx.Stmt) -> tirx.Stmt:
    allocations = [part for part in body.seq if isinstance(part, tirx.AllocBuffer)]
    assert len(allocations) == 1, "buffers are lowered before the last pass of a pipeline"
    return tirx.SeqStmt([tvm_private.on_stack(part) if part in allocations else part for part in body.seq])


def test_the_numbers_of_fusion_patterns_are_those_that_tvm_gives() -> None:
    a, b = (te.placeholder((8, 8), "float32", name) for name in "ab")
    k = te.reduce_axis((0, 8), "k")
    product = te.create_prim_func([a, b, te.compute((8, 8), lambda i, j: te.sum(a[i, k] * b[k, j], k), "c")])

    builder = relax.BlockBuilder()
    x, index = relax.Var("x", VECTOR), relax.Var("index", relax.TensorType((8,), "int64"))
    updates = relax.Var("updates", relax.TensorType((8,), "float32"))
    with builder.function("main", [x, index, updates]):
        builder.emit_func_output(relax.op.scatter_elements(x, index, updates))
    scatter = next(
        f for f in relax.transform.LegalizeOps()(builder.get()).functions.values() if type(f) is not relax.Function
    )
    module = relax.transform.AnnotateTIROpPattern()(tvm.IRModule({"product": product, "scatter": scatter}))
    found = {name.name_hint: function.attrs[tvm_private.FUSION_PATTERN] for name, function in module.functions.items()}
    assert found == {"product": tvm_private.TAKES_EPILOGUE, "scatter": tvm_private.OPAQUE}, (
        "OpPatternKind has other numbers than TAKES_EPILOGUE and OPAQUE, or another attribute than FUSION_PATTERN"
    )


@pytest.mark.parametrize(("pattern", "kernels"), [(tvm_private.TAKES_EPILOGUE, 1), (tvm_private.OPAQUE, 2)])
def test_fusion_goes_by_the_pattern_that_a_function_states(pattern: int, kernels: int) -> None:
    builder = relax.BlockBuilder()
    x = relax.Var("x", VECTOR)
    with builder.function("main", [x]):
        with builder.dataflow():
            function = builder.add_func(private(added().with_attr(tvm_private.FUSION_PATTERN, pattern)), "first")
            y = builder.emit(relax.call_tir(function, relax.Tuple([x]), VECTOR))
            out = builder.emit_output(
                relax.call_tir(builder.add_func(private(added(2)), "second"), relax.Tuple([y]), VECTOR)
            )
        builder.emit_func_output(out)
    passes = [relax.transform.AnnotateTIROpPattern(), relax.transform.FuseOps(), relax.transform.FuseTIR()]
    module = tvm.transform.Sequential([*passes, relax.transform.DeadCodeElimination()])(builder.get())
    found = [function for function in module.functions.values() if isinstance(function, tirx.PrimFunc)]
    assert len(found) == kernels, "FuseOps does not read FUSION_PATTERN of functions that state it"


def test_flops_that_a_function_states_are_not_counted() -> None:
    stated = added().with_attr(tvm_private.FLOPS, 12345)
    counted = s_tir.analysis.estimate_tir_flops(tvm.IRModule({"main": stated}))
    assert counted == 12345, "estimate_tir_flops does not read the attribute FLOPS"


def test_parameters_that_share_no_memory_are_told_to_llvm() -> None:
    other = added().with_attr("global_symbol", "main").without_attr("tirx.noalias")
    apart = other.with_attr(tvm_private.NO_ALIAS, True)  # tvm's own parameter
    assert "ptr noalias" in llvm_of(apart), "the code generator does not read the attribute NO_ALIAS"
    assert "ptr noalias" not in llvm_of(other)


def test_a_function_that_says_so_is_called_as_in_c() -> None:
    x = pointer()
    function = plain(storing(x), x)
    assert tvm_private.is_called_plainly(function)
    assert not tvm_private.is_called_plainly(added())
    source = llvm_of(function)
    assert "i32 @plain(ptr" in source, "calling_conv 1 is no more a C function with the parameters of the PrimFunc"
    assert "__tvm_ffi_plain" not in source, "MakePackedAPI packs the arguments of functions with calling_conv 1"


def test_a_function_of_the_module_is_called_directly() -> None:
    x = pointer()
    inner, name = plain(storing(x, 7.0), x, name="inner"), tvm.ir.GlobalVar("inner")

    outer = loops(lambda y, _z: T.evaluate(y[0]))
    call = tvm_private.direct_call(name, [tirx.buffer_data(outer.params[0])], "int32")
    module = tvm.IRModule({name: inner, tvm.ir.GlobalVar("main"): outer.with_body(tirx.Evaluate(call))})
    y = np.zeros(64, np.float32)
    run = tvm.tirx.build(module, target=tvm.target.Target(HOST), pipeline="s_tir")["main"]
    run(tvm_ffi.from_dlpack(y), tvm_ffi.from_dlpack(y.copy()))
    assert y[0] == 7, "a Call of a GlobalVar does not call the function of the module"


def test_a_failed_check_raises_with_its_message() -> None:
    def checked(x: Any, _y: Any) -> None:
        T.evaluate(x[0])

    function = loops(checked)
    failing = tvm_private.check(tirx.reinterpret("int32", function.params[0][0]) == 0, "it is not zero")
    function = function.with_body(tirx.SeqStmt([failing, function.body]))
    run = built(function)["main"]
    zeros, ones = (tvm_ffi.from_dlpack(np.full(64, value, np.float32)) for value in (0, 1))
    run(zeros, zeros)
    with pytest.raises(RuntimeError, match="it is not zero"):
        run(ones, zeros)


def test_a_large_buffer_is_on_the_stack_if_it_says_so() -> None:
    heap = llvm_of(allocating(), pipeline=finishing(tvm_private.on_cpu))
    stack = llvm_of(allocating(), pipeline=finishing(lambda body: tvm_private.on_cpu(keep_on_stack(body))))
    assert "TVMBackendAllocWorkspace" in heap
    assert "TVMBackendAllocWorkspace" not in stack, "LowerTVMBuiltin does not leave buffers with _KEEP_ON_STACK to LLVM"


def test_a_plain_function_that_allocates_has_to_hear_where() -> None:
    with pytest.raises(tvm.error.InternalError, match="device"):
        llvm_of(allocating(), pipeline=finishing(lambda body: body))


def test_llvm_source_is_linked_to_the_module() -> None:
    source = "define linkonce_odr i32 @neo_seven() alwaysinline {\n  ret i32 7\n}"
    x = pointer()
    seven = tirx.Cast("float32", tirx.call_extern("int32", "neo_seven"))
    pipeline = finishing(lambda body: tvm_private.with_llvm_source(source, body))
    llvm = llvm_of(plain(storing(x, seven), x), pipeline=pipeline)
    assert "7.000000e+00" in llvm, "the source behind _IMPORT_LLVM is not linked and inlined"


def test_the_alignment_of_a_pointer_reaches_llvm() -> None:
    x = pointer()
    aligned, other = (llvm_of(plain(body, x)) for body in (tvm_private.aligned(x, 256, storing(x)), storing(x)))
    assert "align 256" in aligned, "the code generator does not read _ALIGNMENT"
    assert "align 256" not in other


def test_every_thread_runs_a_region_and_waits_at_a_barrier() -> None:
    def region(x: Any, y: Any) -> None:
        with T.attr(0, tvm_private.PARALLEL_REGION, 1), T.attr(0, tvm_private.BARRIER, 1), T.parallel(0, 64) as i:
            T.buffer_store(y, x[i], [i])

    source = llvm_of(loops(region))
    assert "TVMBackendParallelLaunch" in source, "PARALLEL_REGION is no region that the threads run"
    assert "TVMBackendParallelBarrier" in source, "BARRIER is no barrier at the end of a part of a region"


def test_an_operator_of_ours_is_as_pure_as_exp_and_is_lowered() -> None:
    name = "tirx.neo_test_twice"
    tvm_private.register_operator(name, 1, lambda call: call.args[0] * tirx.const(2, "float32"))
    effect = tvm.ir.Op.get(name).get_attr("TCallEffectKind")
    assert effect == tvm.ir.Op.get("tirx.exp").get_attr("TCallEffectKind"), "_PURE is not CallEffectKind::kPure"

    def doubled(x: Any, y: Any) -> None:
        with T.vectorized(0, 64) as i:
            T.buffer_store(y, tirx.call_intrin("float32", name, x[i]), [i])

    x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    built(loops(doubled))["main"](tvm_ffi.from_dlpack(x), tvm_ffi.from_dlpack(y))
    assert np.array_equal(y, 2 * x)


def body_of(value: Any) -> Any:
    x = te.placeholder((64, 8), "float32", "x")
    schedule = s_tir.Schedule(te.create_prim_func([x, te.compute((64, 8), lambda i, j: value(x, i, j), "y")]))
    return schedule.get(schedule.get_sblock("y"))


def test_conditions_are_found_in_a_printed_block() -> None:
    zero = tirx.const(0, "float32")
    inside = body_of(lambda x, i, j: tirx.if_then_else(i < 32, x[i, j], zero))
    turns = body_of(lambda x, i, j: tirx.if_then_else((j + 1) % 4 == 0, x[i, j], zero))
    neither = body_of(lambda x, i, j: x[i, j] + zero)
    words = "TVM prints blocks otherwise"
    assert [tvm_private.has_condition(block.body) for block in (inside, turns, neither)] == [True, True, False], words
    column = turns.iter_vars[-1].var.name
    found = [tvm_private.modulus_of_condition(block.body, column) for block in (inside, turns, neither)]
    assert found == [None, 4, None], words


def test_an_index_from_a_table_is_told_from_others() -> None:
    x, table = te.placeholder((64, 8), "float32", "x"), te.placeholder((16,), "int32", "table")
    taken = te.compute((16, 8), lambda i, j: x[table[i], j], "y")
    schedule = s_tir.Schedule(te.create_prim_func([x, table, taken]))
    reads = {str(read.source.name): read for read in schedule.get(schedule.get_sblock("y")).reads}
    found = [tvm_private.is_looked_up(bounds.min) for bounds in reads["x"].region]
    assert found == [True, False], "TVM prints indices that are read from a tensor otherwise"


def relu_module() -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", VECTOR)
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.nn.relu(x))
        builder.emit_func_output(out)
    return builder.get()


def test_tvm_lowers_what_is_left_to_it_as_its_pass_does() -> None:
    ours = relax.transform.LegalizeOps({"relax.nn.relu": tvm_private.tvm_lowers})(relu_module())
    tvm.ir.assert_structural_equal(ours, relax.transform.LegalizeOps()(relu_module()))


def test_results_are_allocated_by_the_operator_that_planning_looks_for() -> None:
    module = relax.transform.LegalizeOps()(relu_module())
    module = relax.transform.CallTIRRewrite()(relax.transform.ToNonDataflow()(module))
    operators = [
        getattr(getattr(binding.value, "op", None), "name", "")
        for block in module["main"].body.blocks
        for binding in block.bindings
    ]
    assert f"relax.{tvm_private.ALLOCATE}" in operators, "CallTIRRewrite allocates by another operator than ALLOCATE"


@pytest.mark.parametrize(
    ("triple", "processor"),
    [("x86_64-linux-gnu", "sapphirerapids"), ("aarch64-linux-gnu", "cortex-a72")],
)
def test_llvm_tells_which_processors_it_knows(triple: str, processor: str) -> None:
    known = tvm_private.llvm_processors(tvm.target.Target({"kind": "llvm", "mtriple": triple}))
    assert processor in known
    assert "no-such-processor" not in known


def onnx_model(node: onnx.NodeProto, shape: Sequence[int], initializers: Sequence[onnx.TensorProto] = ()) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_graph([node], "g", [x], [y], initializers)


class Recording(OnnxImporter):
    def __init__(self) -> None:
        super().__init__({"x": [4]})
        self.seen: list[tuple[str, str]] = []

    def convert(self, operator: str, inputs: Sequence[Any], attributes: dict[str, Any], opset: int) -> Any:
        self.seen.append((operator, tvm_private.name_of_node(attributes)))
        if operator == "NeoTwice":
            return self.convert_by(Twice, inputs, attributes, opset, "given")
        return super().convert(operator, inputs, attributes, opset)


class Twice(onnx_frontend.OnnxOpConverter):
    """A converter of an operator that TVM does not know."""

    given: tuple[Any, ...] = ()

    @classmethod
    def _impl_v1(cls, _bb: Any, _inputs: Sequence[Any], _attr: Any, _params: Any) -> Any:
        raise AssertionError("get_converter does not choose the newest version that is old enough")

    @classmethod
    def _impl_v7(cls, _bb: Any, inputs: Sequence[Any], _attr: Any, params: Any) -> Any:
        cls.given = tuple(params[2:])
        return relax.op.add(inputs[0], inputs[0])


@pytest.mark.parametrize("operator", ["Relu", "NeoTwice"])
def test_every_node_passes_through_one_method_with_its_name(operator: str) -> None:
    importer = Recording()
    module = importer.from_onnx(onnx_model(helper.make_node(operator, ["x"], ["y"], name="seven"), [4]), 13)
    assert importer.seen == [(operator, "seven")], "the importer converts nodes elsewhere, or does not name them"
    assert isinstance(module["main"], relax.Function)
    assert operator == "Relu" or Twice.given == ("given",)


def test_the_operators_that_can_be_imported_are_listed() -> None:
    found = tvm_private.importable_operators()
    assert {"Conv", "Gemm", "Relu", "Constant"} <= found, "_get_convert_map is no more a table by operator"
    assert "NeoTwice" not in found


@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_every_version_of_pad_is_lowered_in_one_place(opset: int, mode: str) -> None:
    seen: list[tuple[list[int], list[int], float]] = []

    class Pad(PadConverter):
        @classmethod
        def lower(cls, bb: Any, inputs: Sequence[Any], attr: Any, params: Any, allowed_modes: Any) -> Any:
            assert mode in allowed_modes
            seen.append(cls.padding(inputs, params))
            return super().lower(bb, inputs, attr, params, allowed_modes)

    class Importer(OnnxImporter):
        def convert(self, _operator: str, inputs: Sequence[Any], attributes: dict[str, Any], opset: int) -> Any:
            return self.convert_by(Pad, inputs, attributes, opset, "a third")

    pads = onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "pads")
    value = onnx.numpy_helper.from_array(np.array(3, np.float32), "value")
    node = helper.make_node("Pad", ["x", "pads", "value"], ["y"], mode=mode)
    module = Importer({"x": [4]}).from_onnx(onnx_model(node, [4], [pads, value]), opset)
    assert seen == [([1], [2], 3.0)], "_lower_pad or _parse_pads_and_axes of TVM's Pad changed"
    assert [int(dim) for dim in module["main"].ret_ty.shape] == [7]
