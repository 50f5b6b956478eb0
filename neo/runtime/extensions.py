"""ONNX Runtime's extensions: operators that split text, in a library that a model needs or does not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from neo.errors import EngineError

if TYPE_CHECKING:
    import onnxruntime

# also what a bundle's requirements and a device's capabilities call it
DISTRIBUTION = "onnxruntime-extensions"
_PACKAGE = "onnxruntime_extensions"


def extensions_library() -> Path | None:
    """None if it is not installed. The package itself is not imported: where there is ONNX, it would import that."""
    found = importlib.util.find_spec(_PACKAGE)
    folders = [] if found is None else (found.submodule_search_locations or [])
    return next((path for folder in folders for path in sorted(Path(folder).glob("_extensions_pydll*.so"))), None)


def register_extensions(options: onnxruntime.SessionOptions) -> None:
    """For a session whose model needs them. Raises EngineError."""
    library = extensions_library()
    if library is None:
        raise EngineError(
            f"the model splits text with {DISTRIBUTION}, which is not installed here",
            hint="install it with: pip install 'neo-edge[text]'",
        )
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:  # onnxruntime's exceptions share no base class of their own
        raise EngineError(f"onnxruntime cannot load {library}: {error}") from error
