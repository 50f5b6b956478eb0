"""``neo.compile``: the request's fields as arguments, for a program or a notebook."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from neo.compiler.pipeline import CompiledBundle, run
from neo.compiler.request import CompileRequest
from neo.isolation.scratch import scratch_folder
from neo.store import Store


def compile_model(  # what `neo.compile` is: the request's fields as arguments, for a notebook
    model: object = None,
    example_inputs: object = None,
    *,
    target: str | tuple[str, ...] = "host",
    store: str | Path | None = None,
    key: str | Path | None = None,
    **options: Any,
) -> tuple[CompiledBundle, ...]:
    """Compile a model file, or a ``torch.nn.Module`` with example inputs, and sign it; or code that builds the model,
    by module="package.module:function" and weights=path.

    options: the other fields of CompileRequest by name. Raises NeoError.
    """
    from neo.settings import key_path, store_path
    from neo.trust.keys import operator_signer

    common = {
        "store": Store(Path(store) if store is not None else store_path()),
        "signer": operator_signer(None if key is None else Path(key), key_path()),
        "targets": (target,) if isinstance(target, str) else tuple(target),
        **options,
    }
    if model is None or isinstance(model, str | os.PathLike):
        return run(CompileRequest(model=None if model is None else Path(model), **common))
    from neo.frontends.torch_module import export_program

    with scratch_folder("neo-export-") as folder:
        program = folder / f"{type(model).__name__.lower()}.pt2"
        export_program(model, example_inputs, program)
        return run(CompileRequest(model=program, **common))
