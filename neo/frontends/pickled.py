"""Model files that are pickles, or weights alone: told apart by the names in them, refused unless trusted."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NoReturn

from neo.errors import ModelError, UntrustedModel
from neo.frontends.pickles import MAX_PICKLE_BYTES, classes_beyond_weights, names_in_pickle

SAVE_A_PROGRAM = (
    "save the program where the model's class is at hand: "
    "torch.export.save(torch.export.export(model.eval(), (example,)), 'model.pt2')"
    " or torch.jit.trace(model.eval(), example).save('model.pt')"
)
TRUST = "if the file is your own, add --trust-pickle"

# a pickled integer, 0x1950a86a20f9469cfc6c, that torch.save wrote first before it wrote zip files
_OLD_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_pickle(path: Path, head: bytes) -> bool:
    """Also a compressed one, as joblib writes: these show nothing of a pickle."""
    return (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05") or path.suffix in {".joblib", ".pkl"}


def is_torch_pickle(path: Path, head: bytes) -> bool:
    """Of a pickle outside of a zip file: whether torch.save wrote it."""
    return _OLD_TORCH_MAGIC in head[:32] or path.suffix in {".pt", ".pth"}


def names_in_model(path: Path) -> tuple[str, ...]:
    """The classes and functions that unpickling the file would use; () where they are compressed."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            with archive.open(member) as stream:
                return names_in_pickle(stream.read(MAX_PICKLE_BYTES))
    with path.open("rb") as file:
        data = file.read(MAX_PICKLE_BYTES)
    # a magic number, a version and a description of the machine come before the object itself
    return names_in_pickle(data, streams=4 if _OLD_TORCH_MAGIC in data[:32] else 1)


def refuse_pickle(path: Path, found: str) -> NoReturn:
    """found: "torch-object" or "pickle"."""
    names = names_in_model(path)
    listed = ", ".join(classes_beyond_weights(names)[:3] or names[:3]) or "compressed"
    otherwise = SAVE_A_PROGRAM if found == "torch-object" else "save a scikit-learn model with skops.io.dump"
    raise UntrustedModel(
        f"{path} is a pickled Python object ({listed}): reading it would run code from the file",
        hint=f"{otherwise}; {TRUST}",
    )


def refuse_weights(path: Path) -> NoReturn:
    raise ModelError(
        f"{path} is a state_dict: weights without the program that uses them",
        hint=f"name the function or class that builds the model: --module package.module:function --weights {path}"
        f" --input x=float32[1,3,224,224]; or {SAVE_A_PROGRAM}",
    )
