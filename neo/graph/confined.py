"""The rewrites in a confined process: they read a model from outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from neo.contract.fields import as_string
from neo.errors import EngineError
from neo.graph import rewrite
from neo.graph.options import RewriteOptions
from neo.isolation import isolated
from neo.isolation.call import Work

REQUEST_FILE = "rewrite.json"


def rewrite_confined(model: Path, scratch: Path, options: RewriteOptions | None = None) -> Path:
    """As ``rewrite``; scratch: an empty folder. Raises EngineError, ModelError, ResourceLimitExceeded, DiskFull."""
    options = options or RewriteOptions()
    content = {
        "model": str(model.resolve()),
        "permutations": {name: list(axes) for name, axes in options.permutations.items()},
        "steps": None if options.steps is None else str(options.steps.resolve()),
    }
    # in ASCII: a path may have bytes that are no UTF-8
    (scratch / REQUEST_FILE).write_text(json.dumps(content), encoding="ascii")
    work = Work("neo.graph.confined:answer", f"rewriting the graph of {model.name}", EngineError)
    return Path(as_string(isolated(work, scratch).get("model"), "answer.model"))


def answer(scratch: Path) -> dict[str, Any]:
    """In the confined process."""
    obj = json.loads((scratch / REQUEST_FILE).read_bytes())
    permutations = {name: tuple(axes) for name, axes in obj["permutations"].items()}
    options = RewriteOptions(permutations, None if obj["steps"] is None else Path(obj["steps"]))
    folder = scratch / "passes"
    folder.mkdir()
    return {"model": str(rewrite(Path(obj["model"]), folder, options))}
