"""What the tvm engine does not take, and why: operators, attributes, tensors.

TVM's importer may know an operator that cannot run on a device: compiled code may only call functions of
libtvm_runtime.so, and all shapes are fixed when it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from neo.engines.tvm.importing.onnx_facts import Facts, attribute, read_by
from neo.engines.tvm.ir.resampling import COORDINATES

# TVM's importer looks at the name of an operator only; in these domains the name has the meaning that it expects
DOMAINS = ("", "ai.onnx", "com.microsoft")
SCALES = 2  # position among the inputs of Resize
IMAGE_RANK = 4
_SORTS = "it sorts, and devices have no code of TVM's for that"
_DATA_SHAPE = "the shape of its output depends on the data"
_CONTROL = "it holds graphs of its own"
_NO_CODE = "LLVM has no code for it"
_SEQUENCE = "it works on sequences of tensors"


class Refused(Exception):  # a verdict, not a defect: another engine takes the node
    """reason: words that follow the node's name in a message. node: its name; "" if it is not known."""

    def __init__(self, reason: str, node: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node


Verdict = str | Callable[[onnx.NodeProto, Facts], str | None]


def _roi_align(node: onnx.NodeProto, _facts: Facts) -> str | None:
    return "mode=max is computed otherwise" if attribute(node, "mode") == b"max" else None


def _batch_normalization(node: onnx.NodeProto, _facts: Facts) -> str | None:
    return "training_mode=1 is not compiled" if attribute(node, "training_mode") else None


def _first_output_only(node: onnx.NodeProto, _facts: Facts) -> str | None:
    return "its further outputs are not compiled" if any(node.output[1:]) else None


def _needs_constant(position: int) -> Verdict:
    """For an input that determines the shape of the output."""

    def verdict(node: onnx.NodeProto, facts: Facts) -> str | None:
        given = len(node.input) > position and bool(node.input[position])
        return f"{node.input[position]!r} is computed" if given and facts.array(node.input[position]) is None else None

    return verdict


def _scattered(node: onnx.NodeProto, _facts: Facts) -> str | None:
    """TVM's max and min return the number if one operand is NaN."""
    reduction = (attribute(node, "reduction") or b"none").decode()
    return f"reduction={reduction} loses NaN" if reduction in {"max", "min"} else None


def _space_to_depth(node: onnx.NodeProto, _facts: Facts) -> str | None:
    return "mode=CRD is computed otherwise" if attribute(node, "mode") == b"CRD" else None


def _transposed(node: onnx.NodeProto, _facts: Facts) -> str | None:
    return "output_shape is not compiled" if attribute(node, "output_shape") else None


def _is_inf(node: onnx.NodeProto, _facts: Facts) -> str | None:
    both = attribute(node, "detect_positive") != 0 and attribute(node, "detect_negative") != 0
    return None if both else "one sign of infinity alone is not compiled"


def _mod(node: onnx.NodeProto, facts: Facts) -> str | None:
    """TVM computes a - floor(a / b) * b, which is NaN if a or b is infinite."""
    spec = facts.spec(node.input[0])
    floats = spec is None or "float" in spec.dtype
    return (
        "the sign of the divisor, for floats, is computed otherwise" if floats and not attribute(node, "fmod") else None
    )


def _resize(node: onnx.NodeProto, facts: Facts) -> str | None:
    """TVM derives coordinates from the sizes alone, ONNX from the scales if they are given."""
    if attribute(node, "antialias"):
        return "antialias=1 is not compiled"
    if attribute(node, "coordinate_transformation_mode") == b"half_pixel_symmetric":
        return "half_pixel_symmetric is not compiled"
    before, after = facts.shape(node.input[0]), facts.shape(node.output[0])
    if before is None or after is None:
        return None
    scales = facts.array(node.input[SCALES]) if len(node.input) > SCALES and node.input[SCALES] else None
    if scales is not None and scales.size == len(before):
        exact = [int(size) == size for size in np.multiply(before, scales.astype(np.float64))]
        if not all(exact):
            return "its scales do not give whole sizes"
    nearest = attribute(node, "mode") in (None, b"nearest")
    is_image = len(before) == IMAGE_RANK and before[:2] == after[:2]
    ours = is_image and (attribute(node, "coordinate_transformation_mode") or b"half_pixel").decode() in COORDINATES
    if (
        nearest
        and not ours
        and any(big % small for big, small in zip(map(max, before, after), map(min, before, after), strict=True))
    ):
        return "mode=nearest is compiled for whole ratios of sizes"
    return None


OPERATORS: Mapping[str, Verdict] = {
    "AllClassNMS": _SORTS,
    "BatchNormalization": _batch_normalization,
    "Compress": _DATA_SHAPE,
    "ConcatFromSequence": _SEQUENCE,
    "ConstantOfShape": _needs_constant(0),
    "ConvTranspose": _transposed,
    "Cosh": _NO_CODE,
    "Dropout": _first_output_only,
    "If": _CONTROL,
    "IsInf": _is_inf,
    "LayerNormalization": _first_output_only,
    "Loop": _CONTROL,
    "MaxPool": _first_output_only,
    "Mod": _mod,
    "NonMaxSuppression": _SORTS,
    "NonZero": _DATA_SHAPE,
    "Optional": _SEQUENCE,
    "OptionalGetElement": _SEQUENCE,
    "OptionalHasElement": _SEQUENCE,
    "Resize": _resize,
    "RoiAlign": _roi_align,
    "Scan": _CONTROL,
    "ScatterElements": _scattered,
    "ScatterND": _scattered,
    "SequenceAt": _SEQUENCE,
    "SequenceConstruct": _SEQUENCE,
    "SequenceEmpty": _SEQUENCE,
    "SequenceErase": _SEQUENCE,
    "SequenceInsert": _SEQUENCE,
    "SequenceLength": _SEQUENCE,
    "Sinh": _NO_CODE,
    "SpaceToDepth": _space_to_depth,
    "SplitToSequence": _SEQUENCE,
    "Squeeze": _needs_constant(1),
    "TopK": _SORTS,
    "Unique": _DATA_SHAPE,
    "Unsqueeze": _needs_constant(1),
}


def refused_operators(graph: onnx.GraphProto, facts: Facts, known: frozenset[str]) -> dict[int, str]:
    """Index of a node -> why it is refused. known: operators that have a converter."""
    verdicts = ((index, _verdict(node, facts, known)) for index, node in enumerate(graph.node))
    return {index: reason for index, reason in verdicts if reason is not None}


def refused_tensors(graph: onnx.GraphProto, facts: Facts) -> dict[int, str]:
    """Index of a node -> why it is refused: one of its tensors cannot be passed to compiled code."""
    refused = {}
    for index, node in enumerate(graph.node):
        for name in facts.tensors_of(node):
            spec = facts.spec(name)
            if spec is None:
                refused[index] = f"the shape of {name!r} depends on the data"
    return refused


def _verdict(node: onnx.NodeProto, facts: Facts, known: frozenset[str]) -> str | None:
    if node.domain not in DOMAINS:
        return f"TVM does not know the operators of {node.domain}"
    if not facts.strings.isdisjoint([*read_by(node), *node.output]):
        return "it works on strings"
    verdict = OPERATORS.get(node.op_type)
    if callable(verdict):
        verdict = verdict(node, facts)
    if verdict is None and node.op_type not in known:
        return "TVM does not know the operator"
    return verdict
