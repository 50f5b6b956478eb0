"""Which framework a model file comes from, told from its first bytes and its table of contents.

Content decides, never the extension; the extension only makes the error clearer. No framework is imported, nothing
is unpickled, and nothing of the file is run.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import NoReturn

from neo.errors import ModelError, UnsupportedModel
from neo.frontends.pickled import (
    SAVE_A_PROGRAM,
    is_pickle,
    names_in_model,
    pickle_format,
    refuse_pickle,
    refuse_weights,
)
from neo.frontends.pickles import classes_beyond_weights
from neo.frontends.signatures import boosted_trees, is_safetensors, is_transformers
from neo.frontends.wire import LENGTH, VARINT, WireFile, read_wire_file

# format -> (key of neo.frontends.FRONTENDS, what to call it)
FORMATS = {
    "pt2": ("pytorch", "a PyTorch exported program"),
    "torchscript": ("pytorch", "a TorchScript program"),
    "torch-object": ("pytorch", "a pickled PyTorch module"),
    "transformers": ("transformers", "a Hugging Face transformers folder"),
    "keras": ("keras", "a Keras model"),
    "keras-h5": ("keras", "a Keras HDF5 model"),
    "savedmodel": ("tensorflow", "a TensorFlow SavedModel"),
    "graphdef": ("tensorflow", "a frozen TensorFlow graph"),
    "tflite": ("tensorflow", "a TensorFlow Lite model"),
    "mxnet": ("mxnet", "an MXNet model"),
    "onnx": ("onnx", "an ONNX model"),
    "skops": ("sklearn", "a scikit-learn model in skops' format"),
    "pickle": ("sklearn", "a pickled scikit-learn model"),
    "xgboost": ("xgboost", "an XGBoost model"),
    "lightgbm": ("lightgbm", "a LightGBM model"),
}
# reading them runs code of their author
PICKLES = frozenset(["torch-object", "pickle"])
READABLE = (
    "readable are: .pt2 (torch.export.save), TorchScript .pt, a transformers folder, .keras, .h5, a SavedModel folder,"
    " a frozen .pb graph, .tflite, MXNet -symbol.json with .params, .onnx, scikit-learn .skops, XGBoost .ubj and .json,"
    " LightGBM .txt"
)

_COPY_AGAIN = "copy or download it again and compare the sizes"
# what zipfile raises; RuntimeError: encrypted; NotImplementedError: compressed in a way that Python cannot read
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
_HEAD_BYTES = 64 << 10
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MXNET_PARAMS_MAGIC = (0x112).to_bytes(8, "little")
_ONNX_FIELDS = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26])
# node, library, version, versions, debug_info of a GraphDef
_GRAPHDEF_FIELDS = frozenset([1, 2, 3, 4, 5])
_EXPECTED = {
    ".pt2": "a zip file written by torch.export.save",
    ".pt": "a TorchScript zip file written by torch.jit.save",
    ".pth": "a TorchScript zip file written by torch.jit.save",
    ".keras": "a zip file written by Keras' model.save",
    ".h5": "an HDF5 file written by Keras' model.save",
    ".hdf5": "an HDF5 file written by Keras' model.save",
    ".onnx": "a protobuf file with an ONNX graph",
    ".pb": "a frozen TensorFlow graph, a protobuf file",
    ".tflite": "a TensorFlow Lite FlatBuffers file",
    ".json": "an MXNet symbol file",
    ".params": "an MXNet parameter file",
}


def recognise(path: Path, *, trust_pickle: bool = False) -> str:
    """The key of ``neo.frontends.FRONTENDS`` that reads this model.

    Raises ModelError for a file that is missing, empty, damaged or no model; UnsupportedModel for a known kind that
    this version does not read; UntrustedModel for one that only unpickling could read, unless trust_pickle.
    """
    found = recognise_format(path)
    if found in PICKLES and not trust_pickle:
        refuse_pickle(path, found)
    return FORMATS[found][0]


def recognise_format(path: Path) -> str:
    """The key of FORMATS; errors as in ``recognise``."""
    if not path.exists() and Path(f"{path}-symbol.json").is_file():
        return "mxnet"
    if path.is_dir():
        return _recognise_folder(path)
    if path.exists() and not path.is_file():
        raise ModelError(f"{path} is a device or a pipe, no model file", hint=READABLE)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise ModelError(f"there is no file or folder {path}", hint=_neighbours(path)) from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", hint="check the file's permissions") from error
    return _recognise_file(path, head)


def require_format(path: Path, *accepted: str, trust_pickle: bool = False) -> str:
    """The format of the file, for a frontend that reads only some.

    Raises ModelError for another one, UntrustedModel for a pickle unless trust_pickle.
    """
    found = recognise_format(path)
    if found not in accepted:
        framework, kind = FORMATS[found]
        wanted = " or ".join(FORMATS[name][1] for name in accepted)
        raise ModelError(
            f"{path} is {kind}; expected {wanted}", hint=f"leave --framework out, or give --framework {framework}"
        )
    if found in PICKLES and not trust_pickle:
        refuse_pickle(path, found)
    return found


def _recognise_file(path: Path, head: bytes) -> str:
    if not head:
        raise ModelError(f"{path} is empty", hint=_COPY_AGAIN)
    if head.startswith(b"PK\x03\x04"):
        return _recognise_zip(path)
    if head.startswith(_HDF5_MAGIC):
        return _recognise_hdf5(path)
    if head.startswith(_MXNET_PARAMS_MAGIC) or _is_mxnet_symbol(head):
        return "mxnet"
    if head[4:8] == b"TFL3":
        return "tflite"
    if is_pickle(path, head):
        return pickle_format(path, head)
    if is_safetensors(head):
        refuse_weights(path)
    return boosted_trees(head) or _recognise_text_or_protobuf(path, head)


def _recognise_text_or_protobuf(path: Path, head: bytes) -> str:
    _refuse_text(path, head)
    return _recognise_protobuf(path, head)


def _recognise_folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return "savedmodel"
    if is_transformers(path):
        return "transformers"
    names = sorted(entry.name for entry in path.iterdir())
    found = f"it holds {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}" if names else "it is empty"
    if "checkpoint" in names or any(name.endswith(".index") for name in names):
        _refuse_checkpoint(path)
    if (path / "MLmodel").is_file() or any(name.endswith("-symbol.json") for name in names):
        found += "; name the model file itself"
    raise ModelError(
        f"the folder {path} is neither a SavedModel nor a transformers folder: {found}",
        hint=f"a SavedModel has saved_model.pb, a transformers folder config.json and model.safetensors; {READABLE}",
    )


def _recognise_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return _recognise_archive(path, archive)
    except ZIP_DAMAGE as error:
        raise ModelError(
            f"{path} is truncated or damaged: it starts as a zip file, but its table of contents, which stands at the"
            f" end, cannot be read ({path.stat().st_size} bytes are there)",
            hint=_COPY_AGAIN,
        ) from error


def _recognise_archive(path: Path, archive: zipfile.ZipFile) -> str:
    members = archive.namelist()
    # PyTorch puts everything in one folder named after the file
    inner = {name.partition("/")[2] for name in members} | set(members)
    if "archive_format" in inner or "serialized_exported_program.json" in inner:
        if "serialized_exported_program.json" in inner or any(name.startswith("models/") for name in inner):
            return "pt2"
        raise UnsupportedModel(
            f"{path} is a PyTorch package of compiled code, without the program it was made from", hint=SAVE_A_PROGRAM
        )
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "data.pkl" in inner:
        if not classes_beyond_weights(names_in_model(path)):
            refuse_weights(path)
        return "torch-object"
    if "schema.json" in inner and b'"__loader__"' in archive.read("schema.json")[:_HEAD_BYTES]:
        return "skops"
    if "config.json" in inner and inner & {"metadata.json", "model.weights.h5"}:
        return "keras"
    if members and all(name.endswith(".npy") for name in members):
        if path.suffix == ".params":
            return "mxnet"
        raise ModelError(f"{path} holds NumPy arrays, no model", hint=READABLE)
    found = ", ".join(members[:4]) or "nothing"
    raise ModelError(
        f"{path} is a zip file, but of no model we know: it holds {found}{_should_be(path)}", hint=READABLE
    )


def _recognise_hdf5(path: Path) -> str:
    if path.name.endswith(".weights.h5"):
        refuse_keras_weights(path)
    return "keras-h5"


def refuse_keras_weights(path: Path) -> NoReturn:
    raise ModelError(
        f"{path} holds Keras weights without the model they belong to",
        hint="save the whole model where its code is at hand: model.load_weights(...); model.save('model.keras')",
    )


def _is_mxnet_symbol(head: bytes) -> bool:
    text = head.lstrip()
    return text.startswith(b"{") and b'"nodes"' in text and b'"op"' in text


def _recognise_protobuf(path: Path, head: bytes) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        wire = read_wire_file(file, size)
    if wire is None or not wire.fields:
        raise _unknown(path, head)
    if wire.numbers <= _ONNX_FIELDS and wire.fields[0] in {(1, VARINT), (8, LENGTH)}:
        return _recognise_onnx(path, head, wire, size)
    if wire.fields[0] == (1, LENGTH) and wire.numbers <= _GRAPHDEF_FIELDS and _is_node(head):
        return _recognise_graphdef(path, wire)
    raise _unknown(path, head)


def _recognise_onnx(path: Path, head: bytes, wire: WireFile, size: int) -> str:
    if wire.has(7, LENGTH):
        if wire.missing_bytes:
            raise ModelError(
                f"{path} is a truncated ONNX model: {size} bytes are there, {wire.missing_bytes} or more are missing",
                hint=_COPY_AGAIN,
            )
        return "onnx"
    if wire.numbers <= {1, 2} and path.suffix == ".pb":
        raise ModelError(f"{path} is one part of a SavedModel", hint=f"give its folder: {path.parent}")
    if path.suffix == ".onnx":
        raise ModelError(f"{path} starts like an ONNX model, but has no graph: it is truncated", hint=_COPY_AGAIN)
    raise _unknown(path, head)


def _is_node(head: bytes) -> bool:
    """Whether the first field is a NodeDef, which begins with its name and its operator."""
    # the field's own tag and its length, whose last byte has no high bit
    content = head[2 + next((n for n, byte in enumerate(head[1:]) if byte < 0x80), 0) :]
    node = read_wire_file(io.BytesIO(content), len(content))
    return node is not None and node.fields[:2] == ((1, LENGTH), (2, LENGTH))


def _recognise_graphdef(path: Path, wire: WireFile) -> str:
    if wire.missing_bytes:
        raise ModelError(
            f"{path} is a truncated TensorFlow graph: {wire.missing_bytes} or more bytes are missing", hint=_COPY_AGAIN
        )
    return "graphdef"


def _refuse_checkpoint(path: Path) -> NoReturn:
    raise ModelError(
        f"{path} is a TensorFlow checkpoint: weights without the graph that uses them",
        hint="restore it in the program that made it and export: model.export('folder') or tf.saved_model.save(...)",
    )


def _refuse_text(path: Path, head: bytes) -> None:
    if head.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path} is a Git LFS pointer, not the model itself", hint="run git lfs pull")
    if path.name == "checkpoint" or path.name.endswith((".ckpt", ".index", ".data-00000-of-00001")):
        _refuse_checkpoint(path)
    if not _looks_like_text(head):
        return
    start = head.lstrip()[:1]
    kind = "an HTML page" if start == b"<" else "a JSON file" if start in b"{[" and _is_json(path) else "a text file"
    raise ModelError(f"{path} is {kind}, no model{_should_be(path)}", hint=READABLE)


def _unknown(path: Path, head: bytes) -> ModelError:
    return ModelError(
        f"{path} is of no kind we know: it starts with the bytes {head[:8].hex(' ')}{_should_be(path)}", hint=READABLE
    )


def _should_be(path: Path) -> str:
    expected = _EXPECTED.get(path.suffix)
    return f"; a {path.suffix} file should be {expected}" if expected else ""


def _looks_like_text(head: bytes) -> bool:
    try:
        text = head[:4096].decode()
    except UnicodeDecodeError as error:
        # the cut at 4096 bytes may fall inside a character
        if error.start < min(len(head), 4096) - 4:
            return False
        text = head[: error.start].decode()
    return all(char.isprintable() or char in "\n\r\t\f" for char in text)


def _is_json(path: Path) -> bool:
    if path.stat().st_size > 1 << 20:
        return False
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    return True


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either"
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    return f"{path.parent} holds {', '.join(names[:6])}{', ...' if len(names) > 6 else ''}" if names else READABLE
