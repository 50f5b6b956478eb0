"""The oldest ONNX Runtime that a bundle asks for: it follows from what is in the graph, and that release runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from neo.engines.onnxruntime.floor import Floor, oldest_release, portable
from neo.runtime import load_engine
from neo.runtime.onnxruntime import MODEL_FILE
from tests.engines.conftest import build_engine_here
from tests.engines.reference import specs
from tests.models import build, classifier

ROOT = Path(__file__).parents[2]
OLDEST_VARIABLE = "NEO_OLDEST_ONNXRUNTIME"
BUILT = "1.99.1"  # a release that no table knows


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)


def one_node(
    op: str,
    inputs: list[str],
    elem_type: int = TensorProto.FLOAT,
    *,
    opset: int = 17,
    domain: str = "",
    **attributes: object,
) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, elem_type, [4, 4]) for name in [*inputs, "y"]]
    node = helper.make_node(op, inputs, ["y"], domain=domain, **attributes)
    imports = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(
        helper.make_graph([node], "g", values[:-1], values[-1:]), opset_imports=imports, ir_version=8
    )


@pytest.mark.parametrize(
    ("model", "floor"),
    [
        (one_node("Relu", ["x"]), Floor("1.20")),
        (one_node("Relu", ["x"], opset=21), Floor("1.20")),
        (one_node("Relu", ["x"], opset=22), Floor("1.21", ("opset 22",))),
        (one_node("Relu", ["x"], opset=23), Floor("1.23", ("opset 23",))),
        (one_node("FusedMatMul", ["a", "b"], domain="com.microsoft"), Floor("1.20")),
        (
            one_node("FusedMatMul", ["a", "b"], TensorProto.DOUBLE, domain="com.microsoft"),
            Floor("1.26", ("com.microsoft.FusedMatMul of double",)),
        ),
        (one_node("Add", ["a", "b"], TensorProto.INT16), Floor("1.21", ("Add of int16",))),
        (one_node("Add", ["a", "b"], TensorProto.INT64), Floor("1.20")),
        (
            one_node("QMoE", ["x"], domain="com.microsoft", block_size=16),
            Floor("1.24", ("com.microsoft.QMoE with block_size",)),
        ),
        (
            one_node("NeverHeardOf", ["x"], domain="com.microsoft"),
            Floor(
                "1.99",
                ("com.microsoft.NeverHeardOf, which is in no table of releases and needs the one it was built with",),
            ),
        ),
        (one_node("Relu", ["x"], opset=99), Floor("1.99", ("opset 99",))),
    ],
)
def test_the_floor_follows_from_operators_types_attributes_and_opset(model: onnx.ModelProto, floor: Floor) -> None:
    assert oldest_release(model, BUILT) == floor


def test_operators_of_another_library_ask_nothing_of_onnxruntime() -> None:
    model = one_node("BertTokenizer", ["x"], domain="ai.onnx.contrib")
    assert oldest_release(model, BUILT).version == "1.99"
    assert oldest_release(model, BUILT, beside=frozenset({"ai.onnx.contrib"})) == Floor("1.20")


def test_a_node_inside_of_a_branch_counts() -> None:
    y = helper.make_tensor_value_info("y", TensorProto.INT16, [4])
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x", "x"], ["y"])], name, [], [y])
        for name, op in (("then_branch", "Add"), ("else_branch", "Mul"))
    }
    inputs = [
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        helper.make_tensor_value_info("x", TensorProto.INT16, [4]),
    ]
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], **branches)], "g", inputs, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    assert oldest_release(model, BUILT) == Floor("1.21", ("Add of int16", "Mul of int16"))


def test_a_type_that_only_an_operator_of_the_runtime_hides_is_one_of_those_that_are_there() -> None:
    """FusedMatMul is not ONNX's: what comes out of it is float, since nothing else is in the graph."""
    nodes = [
        helper.make_node("FusedMatMul", ["x", "x"], ["h"], domain="com.microsoft"),
        helper.make_node("Add", ["h", "h"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in "xy"]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", values[:1], values[1:]), opset_imports=imports, ir_version=8
    )
    assert oldest_release(model, BUILT) == Floor("1.20")


@pytest.mark.parametrize(("opset", "ir_version"), [(9, 4), (17, 8), (21, 10), (23, 11)])
def test_a_model_is_written_in_the_oldest_ir_version_that_its_opset_allows(opset: int, ir_version: int) -> None:
    model = one_node("Relu", ["x"], opset=opset)
    model.ir_version = 13
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 9))
    portable(model)
    assert model.ir_version == ir_version
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]


def test_a_type_that_an_ir_version_brought_keeps_that_version() -> None:
    model = one_node("Identity", ["x"], TensorProto.INT4, opset=17)
    model.ir_version = 13
    portable(model)
    assert model.ir_version == 10


def test_weights_that_are_inputs_too_stay_what_callers_cannot_replace() -> None:
    model = one_node("Add", ["x", "w"], opset=8)
    model.graph.initializer.append(numpy_helper.from_array(random(4, 4), "w"))
    model.ir_version = 3
    portable(model)
    assert model.ir_version == 3


def attention() -> onnx.ModelProto:
    weights = {"q": random(32, 32), "k": random(32, 32), "v": random(32, 32), "g": random(32) + 1, "z": random(32)}
    nodes = [
        *(helper.make_node("MatMul", ["x", name], [f"x{name}"]) for name in "qkv"),
        helper.make_node("Transpose", ["xk"], ["xkt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["xq", "xkt"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "xv"], ["mixed"]),
        helper.make_node("Add", ["mixed", "x"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "g", "z"], ["normal"]),
        # Gelu, which is fused into an operator of ONNX Runtime's own
        helper.make_node("Div", ["normal", "root"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "one"], ["shifted"]),
        helper.make_node("Mul", ["normal", "shifted"], ["doubled"]),
        helper.make_node("Mul", ["doubled", "half"], ["y"]),
    ]
    weights |= {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(0.5)}
    return build(nodes, {"x": (1, 9, 32)}, {"y": (1, 9, 32)}, weights)


def residual() -> onnx.ModelProto:
    weights = {"w1": random(24, 12, 3, 3), "w2": random(24, 1, 5, 5), "w3": random(24, 12, 1, 1), "b": random(24)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b"], ["c1"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[2, 2, 2, 2], group=24),
        helper.make_node("Conv", ["x", "w3"], ["c3"], strides=[2, 2]),
        helper.make_node("Add", ["c2", "c3"], ["s"]),
        helper.make_node("HardSwish", ["s"], ["h"]),
        helper.make_node("GlobalAveragePool", ["h"], ["y"]),
    ]
    return build(nodes, {"x": (1, 12, 17, 19)}, {"y": (1, 24, 1, 1)}, weights)


def quantised() -> onnx.ModelProto:
    weights = {"scale": np.float32(0.02), "zero": np.uint8(128), "w": random(32, 16), "ws": np.float32(0.01)}
    weights |= {"wq": np.clip(random(32, 16) * 100, -127, 127).astype(np.int8), "wz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["h"]),
        helper.make_node("QuantizeLinear", ["h", "scale", "zero"], ["hq"]),
        helper.make_node("DequantizeLinear", ["hq", "scale", "zero"], ["y"]),
    ]
    return build(nodes, {"x": (3, 32)}, {"y": (3, 16)}, weights)


def recurrent() -> onnx.ModelProto:
    weights = {"w": random(1, 64, 8), "r": random(1, 64, 16), "b": random(1, 128)}
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=16)
    return build([node], {"x": (7, 1, 8)}, {"y": (7, 1, 1, 16)}, weights)


# what ONNX Runtime makes of them ahead, so that the test is of its own operators too
FUSED = {"attention": {"Gelu", "FusedMatMul"}, "residual": {"FusedConv"}}
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from neo.runtime import load_engine
engine = load_engine(Path(sys.argv[1]), 2)
with np.load(sys.argv[2]) as arrays:
    outputs = engine.run([arrays[spec.name] for spec in engine.inputs])
np.savez(sys.argv[3], **{spec.name: array for spec, array in zip(engine.outputs, outputs)})
print(onnxruntime.__version__)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    OLDEST_VARIABLE not in os.environ,
    reason=f'no old ONNX Runtime: export {OLDEST_VARIABLE}="$(scripts/oldest-onnxruntime)"',
)
@pytest.mark.parametrize("name", ["classifier", "attention", "residual", "quantised", "recurrent"])
def test_the_oldest_release_runs_what_this_one_has_optimised(name: str, tmp_path: Path) -> None:
    makers = {"attention": attention, "residual": residual, "quantised": quantised, "recurrent": recurrent}
    model = makers[name]() if name in makers else onnx.load(classifier(tmp_path / "classifier.onnx"))
    built = build_engine_here("onnxruntime", model, tmp_path)
    assert built.version == ">=1.20"
    folder = tmp_path / "engine"
    fused = {node.op_type for node in onnx.load(folder / MODEL_FILE).graph.node if node.domain == "com.microsoft"}
    assert fused >= FUSED.get(name, set())
    rng = np.random.default_rng(0)
    arrays = {spec.name: rng.normal(size=spec.shape).astype(spec.dtype) for spec in specs(model.graph.input)}
    np.savez(tmp_path / "in.npz", **arrays)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ[OLDEST_VARIABLE], str(ROOT)])}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, folder, tmp_path / "in.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1.20.0"]
    engine = load_engine(folder, 2)
    with np.load(tmp_path / "out.npz") as there:
        for spec, here in zip(engine.outputs, engine.run(list(arrays.values())), strict=True):
            np.testing.assert_allclose(there[spec.name], here, rtol=1e-3, atol=1e-4)
