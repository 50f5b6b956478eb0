"""neo-edge: a trained model goes in, a device you cannot touch answers with it."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# ONNX Runtime's wheels report to their maker and leave an identifier on the disk, from the moment of the import on;
# this is the switch that prevents both, and only before that moment. Whoever sets it to 0 keeps it that way.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from neo import runtime
    from neo.compiler.api import compile  # noqa: A004  the name users know from the command line

__version__ = "0.1.0"
__all__ = ["__version__", "compile", "runtime"]


def __getattr__(name: str) -> Any:  # `import neo` stays cheap: what is asked for is loaded then
    if name == "compile":
        from neo.compiler.api import compile  # noqa: A004

        return compile
    if name == "runtime":
        return importlib.import_module("neo.runtime")
    raise AttributeError(f"module 'neo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
