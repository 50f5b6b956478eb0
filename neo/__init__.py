"""neo-edge: a trained model goes in, a device you cannot touch answers with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neo.pipeline import compile_model as compile  # noqa: A004  the name users know from the command line

__version__ = "0.1.0"
__all__ = ["__version__", "compile"]


def __getattr__(name: str) -> Any:  # `import neo` stays cheap: the compiler is loaded when it is asked for
    if name == "compile":
        from neo.pipeline import compile_model

        return compile_model
    raise AttributeError(f"module 'neo' has no attribute {name!r}")
