"""Models that code builds: "package.module:name", imported from the user's folder and called without arguments.

This runs the user's own code, in the confined process.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neo.errors import MissingDependency, ModelError, UsageError
from neo.frontends.base import Factory
from neo.frontends.failures import first_line


def call_factory(factory: Factory) -> Any:
    """What the function or class gives; an object that is no function or class is itself what it gives.

    Raises UsageError if there is no such module or name, or if it needs arguments; MissingDependency for a library
    that the module imports; ModelError with the line for whatever else goes wrong in it.
    """
    with in_folder(factory.folder):
        found = _named(factory, _import(factory))
        if not (inspect.isroutine(found) or inspect.isclass(found)):
            return found
        _check_signature(factory, found)
        try:
            return found()
        except Exception as error:  # it is the user's own code, which may raise anything
            raise _failed(factory, f"{factory.name}() failed", error) from error


@contextlib.contextmanager
def in_folder(folder: Path) -> Iterator[None]:
    """The folder is where modules are looked for first, and what relative paths start from."""
    before = Path.cwd()
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))


def _import(factory: Factory) -> Any:
    module = factory.reference.partition(":")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UsageError(
                f"no Python module {module!r} in {factory.folder} or on PYTHONPATH",
                hint="run neo in the folder that holds it, or set PYTHONPATH to that folder",
            ) from error
        raise MissingDependency(
            f"{module} imports {error.name}, which is not installed beside neo",
            hint=f"install it with the pip of {sys.executable}",
        ) from error
    except Exception as error:  # likewise: a module runs its author's code when it is imported
        raise _failed(factory, f"importing {module} failed", error) from error


def _named(factory: Factory, module: Any) -> Any:
    found = module
    for part in factory.name.split("."):
        if not hasattr(found, part):
            callables = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
            raise UsageError(
                f"{module.__name__} has no {factory.name!r}",
                hint=f"it has: {', '.join(callables[:8]) or 'no functions or classes'}",
            )
        found = getattr(found, part)
    return found


def _check_signature(factory: Factory, found: Any) -> None:
    try:
        inspect.signature(found).bind()
    except ValueError:  # some classes written in C do not tell
        return
    except TypeError as error:
        raise UsageError(
            f"{factory.reference} needs arguments: {first_line(error)}",
            hint="write a function without arguments that calls it, and give that one to --module",
        ) from error


def _failed(factory: Factory, what: str, error: Exception) -> ModelError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(factory.folder)]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return ModelError(f"{what}{where}: {type(error).__name__}: {first_line(error)[:300]}", hint="--debug shows where")
