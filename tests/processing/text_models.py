"""A small network that takes the numbers of pieces, and its compiling with text in front."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from neo.compiler.pipeline import run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.oci import Descriptor
from neo.store import Store
from neo.store.bundles import unpack_bundle
from neo.targets import HOST
from tests.models import IR_VERSION, OPSET

VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"),
    *("hello", "world", "good", "day", "un", "##s", "##able", "##ly", "do", "eat", "caf", "##e", "uber"),
    *("'", "don", "!", ".", ",", "14", "中", "(", ")", "ü", "##ü"),
    *(prefix + letter for letter in string.ascii_letters + string.digits for prefix in ("", "##")),
)
LENGTH = 8
DOCUMENT = '[text]\ntokenizer = "bert"\nvocabulary = "vocab.txt"\n'
# which of the numbers above the pieces are
NUMBER = {piece: number for number, piece in enumerate(VOCABULARY)}
BLOB = Descriptor("a/b", "sha256:" + "1" * 64, 1)


def network(path: Path, dtype: int = TensorProto.INT64, width: int = 64, pieces: int = len(VOCABULARY)) -> Path:
    """input_ids, attention_mask (1, 8) -> seen (1, 8), the sums of input_ids with the mask; y (1, 4)."""
    rng = np.random.default_rng(0)
    weights = {
        "table": rng.normal(size=(pieces, width)).astype(np.float32),
        "w": rng.normal(size=(width, 4)).astype(np.float32),
        "v": rng.normal(size=(width, width)).astype(np.float32),
        "axes": np.array([1]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"]),
        helper.make_node("MatMul", ["e", "v"], ["h"]),
        helper.make_node("ReduceSum", ["h", "axes"], ["s"], keepdims=0),
        helper.make_node("MatMul", ["s", "w"], ["y"]),
        helper.make_node("Add", ["input_ids", "attention_mask"], ["seen"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, dtype, ["N", "L"]) for name in ("input_ids", "attention_mask")],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4]),
            helper.make_tensor_value_info("seen", dtype, ["N", "L"]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION), path)
    return path


def write_document(folder: Path, text: str = DOCUMENT, vocabulary: tuple[str, ...] = VOCABULARY) -> Path:
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "text.toml").write_text(text, encoding="utf-8")
    return folder / "text.toml"


def compiled(folder: Path, engine: str, target: str = HOST, **options: Any) -> tuple[CompiledBundle, Path]:
    store = Store(folder / "store")
    dims = {"L": LENGTH}
    model, text = network(folder / "net.onnx", **options), folder / "text.toml"
    request = CompileRequest(model, store, None, (target,), engine=engine, dims=dims, preprocess=text)
    (bundle,) = run(request)
    unpack_bundle(store, bundle.bundle, folder / "bundle")
    return bundle, folder / "bundle"


def expected(*pieces: str) -> list[list[int]]:
    """What ``seen`` is."""
    numbers = [NUMBER[piece] + 1 for piece in ("[CLS]", *pieces, "[SEP]")]
    return [numbers + [0] * (LENGTH - len(numbers))]
