"""Which framework a model file comes from, told from its first bytes and its table of contents.

Content decides, never the extension; the extension only makes the error clearer. No framework is imported, nothing
is unpickled, and nothing of the file is run.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from neo.errors import ModelError
from neo.frontends import FRONTENDS, Frontend
from neo.frontends.contents import COPY_AGAIN, ZIP_DAMAGE, Contents, damaged_zip
from neo.frontends.pickled import refuse_pickle

_CHECKPOINT_ENDINGS = (".ckpt", ".index", ".data-00000-of-00001")


def recognise(path: Path, *, trust_pickle: bool = False) -> str:
    """The key of ``neo.frontends.FRONTENDS`` that reads this model.

    Raises ModelError for a file that is missing, empty, damaged or no model; UnsupportedModel for a known kind that
    this version does not read; UntrustedModel for one that only unpickling could read, unless trust_pickle.
    """
    found = recognise_format(path)
    framework = framework_of(found)
    if found in FRONTENDS[framework].pickles and not trust_pickle:
        refuse_pickle(path, found)
    return framework


def recognise_format(path: Path) -> str:
    """One of the formats of a frontend; errors as in ``recognise``."""
    if not path.exists():
        for row in FRONTENDS.values():
            if row.common_ending and Path(f"{path}{row.common_ending}").is_file():
                return next(iter(row.formats))
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ModelError(f"{path} is a device or a pipe, no model file", hint=readable())
    try:
        contents = Contents(path)
    except FileNotFoundError as error:
        raise ModelError(f"there is no file or folder {path}", hint=_neighbours(path)) from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", hint="check the file's permissions") from error
    if not contents.is_folder and not contents.head:
        raise ModelError(f"{path} is empty", hint=COPY_AGAIN)
    found = _ask_all(contents)
    if found is None:
        raise _unknown_folder(contents) if contents.is_folder else _unknown_file(contents)
    return found


def framework_of(file_format: str) -> str:
    """The key of ``neo.frontends.FRONTENDS`` whose format it is."""
    return next(name for name, row in FRONTENDS.items() if file_format in row.formats)


def require_format(path: Path, *accepted: str, trust_pickle: bool = False) -> str:
    """The format of the file, for a frontend that reads only some.

    Raises ModelError for another one, UntrustedModel for a pickle unless trust_pickle.
    """
    found = recognise_format(path)
    framework = framework_of(found)
    if found not in accepted:
        wanted = " or ".join(FRONTENDS[framework_of(name)].formats[name] for name in accepted)
        raise ModelError(
            f"{path} is {FRONTENDS[framework].formats[found]}; expected {wanted}",
            hint=f"leave --framework out, or give --framework {framework}",
        )
    if found in FRONTENDS[framework].pickles and not trust_pickle:
        refuse_pickle(path, found)
    return found


def readable() -> str:
    """All that can be read, as a hint."""
    return f"readable are: {', '.join(kind for row in FRONTENDS.values() for kind in row.readable)}"


def _ask_all(contents: Contents) -> str | None:
    try:
        answers = (_ask(row, contents) for row in FRONTENDS.values() if row.recognise)
        return next((found for found in answers if found is not None), None)
    except ZIP_DAMAGE as error:
        if not contents.is_zip:
            raise
        raise damaged_zip(contents.path) from error


def _ask(row: Frontend, contents: Contents) -> str | None:
    module, _, function = row.recognise.partition(":")
    return cast("str | None", getattr(importlib.import_module(module), function)(contents))


def _unknown_folder(contents: Contents) -> ModelError:
    path, names = contents.path, contents.names
    found = f"it holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it is empty"
    if "checkpoint" in names or any(name.endswith(".index") for name in names):
        return _checkpoint(path)
    if (path / "MLmodel").is_file() or any(name.endswith("-symbol.json") for name in names):
        found += "; name the model file itself"
    return ModelError(
        f"the folder {path} is neither a SavedModel nor a transformers folder: {found}",
        hint=f"a SavedModel has saved_model.pb, a transformers folder config.json and model.safetensors; {readable()}",
    )


def _unknown_file(contents: Contents) -> ModelError:
    path, head = contents.path, contents.head
    if contents.is_zip:
        if contents.names and all(name.endswith(".npy") for name in contents.names):
            return ModelError(f"{path} holds NumPy arrays, no model", hint=readable())
        found = ", ".join(contents.names[:4]) or "nothing"
        return ModelError(
            f"{path} is a zip file, but of no model we know: it holds {found}{_should_be(path)}", hint=readable()
        )
    if head.startswith(b"version https://git-lfs"):
        return ModelError(f"{path} is a Git LFS pointer, not the model itself", hint="run git lfs pull")
    if path.name == "checkpoint" or path.name.endswith(_CHECKPOINT_ENDINGS):
        return _checkpoint(path)
    if contents.is_text:
        html = head.lstrip()[:1] == b"<"
        kind = "an HTML page" if html else "a JSON file" if contents.is_json else "a text file"
        return ModelError(f"{path} is {kind}, no model{_should_be(path)}", hint=readable())
    return ModelError(
        f"{path} is of no kind we know: it starts with the bytes {head[:8].hex(' ')}{_should_be(path)}",
        hint=readable(),
    )


def _checkpoint(path: Path) -> ModelError:
    return ModelError(
        f"{path} is a TensorFlow checkpoint: weights without the graph that uses them",
        hint="restore it in the program that made it and export: model.export('folder') or tf.saved_model.save(...)",
    )


def _should_be(path: Path) -> str:
    expected = next((row.endings[path.suffix] for row in FRONTENDS.values() if path.suffix in row.endings), None)
    return f"; a {path.suffix} file should be {expected}" if expected else ""


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    return f"{path.parent} holds {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else readable()
