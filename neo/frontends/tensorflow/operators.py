"""TensorFlow operators that reach out of the graph: one list for every kind of file that holds them.

A graph is a program: loading a SavedModel runs its initialisers, and comparing answers runs the rest. None of these
operators has a meaning in ONNX, so no flag lets them through.
Source: the operators' registrations in tensorflow/core/ops (io_ops, dataset_ops, summary_ops, script_ops, debug_ops).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from neo.errors import UntrustedModel
from neo.frontends.tensorflow.reach import called_functions, reachable_functions

# without "Experimental" before the name and "V2" or "V3" behind it
_FILES = frozenset(
    [
        *("ReadFile", "WriteFile", "MatchingFiles", "ImmutableConst"),
        *("WholeFileReader", "TextLineReader", "TFRecordReader", "FixedLengthRecordReader", "LMDBReader"),
        *("TextLineDataset", "TFRecordDataset", "FixedLengthRecordDataset", "CSVDataset", "SqlDataset", "LMDBDataset"),
        *("MatchingFilesDataset", "CacheDataset", "SnapshotDataset", "SnapshotDatasetReader", "SaveDataset"),
        *("SnapshotNestedDatasetReader", "LoadDataset", "DatasetToTFRecord", "ListSnapshotChunksDataset"),
        *("DistributedSave", "CreateSummaryFileWriter", "CreateSummaryDbWriter", "WriteSummary", "WriteGraphSummary"),
        *("WriteRawProtoSummary", "DebugIdentity", "DebugNanCount", "DebugNumericSummary"),
    ]
)
# a SavedModel holds these beside its signatures, in parts of its own that save and restore the variables
_SAVING = frozenset(["Save", "SaveSlices", "MergeV2Checkpoints"])
_READING = frozenset(["Restore", "RestoreSlice", "InitializeTableFromTextFile"])
_CODE = frozenset(["PyFunc", "PyFuncStateless", "EagerPyFunc"])
_NETWORK = frozenset(["RpcCall", "RpcClient", "RpcServer", "RpcServerStart", "RegisterDataset", "DataServiceDataset"])
_VERSION = re.compile(r"V\d$")

Located = tuple[str, str]
"""An operator and where it stands."""


def refuse_side_effects(path: Path, operators: Iterable[Located], *, saves: bool = False, reads: bool = False) -> None:
    """saves, reads: whether checkpoints may be written, and checkpoints and vocabularies read.

    Raises UntrustedModel for the first operator that reads or writes files, calls Python or opens connections.
    """
    files = _FILES | (frozenset() if saves else _SAVING) | (frozenset() if reads else _READING)
    does = {
        **dict.fromkeys(files, "reads or writes files"),
        **dict.fromkeys(_CODE, "calls Python code"),
        **dict.fromkeys(_NETWORK, "opens connections"),
    }
    for operator, where in operators:
        reason = does.get(_VERSION.sub("", operator.removeprefix("Experimental")))
        if reason:
            raise UntrustedModel(
                f"{path} has the operator {operator} ({where}), which {reason}: a model must not",
                hint="export the model without it; what comes before or after the network belongs in your program",
                details={"operator": operator},
            )


def reached_operators(graph: Any, nodes: Iterable[Any]) -> Iterator[Located]:
    """Of these nodes of a GraphDef and of the functions that they call."""
    nodes = list(nodes)
    yield from node_operators(nodes)
    yield from function_operators(graph, called_functions(nodes))


def function_operators(graph: Any, names: Iterable[str]) -> Iterator[Located]:
    """Of the functions of these names in a GraphDef's library and of those that they call."""
    for function in reachable_functions({f.signature.name: f for f in graph.library.function}, names):
        yield from node_operators(function.node_def, f"{function.signature.name}/")


def graph_operators(graph: Any) -> Iterator[Located]:
    """Of a GraphDef and of every function in its library, reached or not."""
    yield from node_operators(graph.node)
    for function in graph.library.function:
        yield from node_operators(function.node_def, f"{function.signature.name}/")


def node_operators(nodes: Iterable[Any], prefix: str = "") -> Iterator[Located]:
    """nodes: NodeDefs. A print into a file counts as WriteFile."""
    for node in nodes:
        stream = node.attr["output_stream"].s if "output_stream" in node.attr else b""
        yield ("WriteFile" if stream.startswith(b"file:") else node.op), f"node {prefix + node.name!r}"
