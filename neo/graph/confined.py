"""The rewrites in a confined process: they read a model from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neo.contract.fields import as_string, dump_object, parse_object
from neo.errors import EngineError
from neo.graph import rewrite
from neo.isolation import isolated
from neo.isolation.call import Work

REQUEST_FILE = "rewrite.json"


def rewrite_confined(model: Path, scratch: Path) -> Path:
    """As ``rewrite``; scratch: an empty folder. Raises EngineError, ResourceLimitExceeded, DiskFull."""
    (scratch / REQUEST_FILE).write_bytes(dump_object({"model": str(model.resolve())}))
    work = Work("neo.graph.confined:answer", f"rewriting the graph of {model.name}", EngineError)
    return Path(as_string(isolated(work, scratch).get("model"), "answer.model"))


def transpose_confined(model: Path, scratch: Path, changed: Mapping[str, Sequence[int]]) -> Path:
    """As ``neo.graph.layout.transpose_edges``; scratch: an empty folder. Errors as in ``rewrite_confined``."""
    content = {"model": str(model.resolve()), "changed": {name: list(axes) for name, axes in changed.items()}}
    (scratch / REQUEST_FILE).write_bytes(dump_object(content))
    work = Work("neo.graph.confined:answer_transposed", f"changing the layout of {model.name}", EngineError)
    return Path(as_string(isolated(work, scratch).get("model"), "answer.model"))


def answer_transposed(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    from neo.graph.layout import transpose_edges

    obj = parse_object((scratch / REQUEST_FILE).read_bytes(), what="layout request")
    changed = {name: tuple(axes) for name, axes in obj["changed"].items()}
    return {"model": str(transpose_edges(Path(obj["model"]), scratch, changed))}


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    obj = parse_object((scratch / REQUEST_FILE).read_bytes(), what="rewrite request")
    return {"model": str(rewrite(Path(obj["model"]), scratch))}
