"""The models that latency is measured on: public architectures with random weights, batch 1, made here, not fetched.

Speed does not depend on what the weights are, only on that they are not all alike; parity is measured against the
same file, so random weights serve there too.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from neo.errors import MissingDependency, ModelError, UsageError

MODEL_FILE = "model.onnx"
TIMEOUT_S = 600
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class ZooModel:
    """network: "module:function" below benchmarks.zoo. inputs: shape by name. tokens: the input is a sentence of
    word numbers and its mask (int64), not float32.
    """

    network: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    tokens: bool = False

    @property
    def source(self) -> str:
        return self.network.partition(":")[0]


def _image(size: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return (("image", (1, 3, size, size)),)


_SENTENCE = (("input_ids", (1, 128)), ("attention_mask", (1, 128)))

ZOO = {
    "resnet18": ZooModel("residual:resnet18", _image(224)),
    "resnet50": ZooModel("residual:resnet50", _image(224)),
    "mobilenet_v2": ZooModel("mobile:mobilenet_v2", _image(224)),
    "mobilenet_v3_small": ZooModel("mobile:mobilenet_v3_small", _image(224)),
    "efficientnet_b0": ZooModel("mobile:efficientnet_b0", _image(224)),
    "squeezenet": ZooModel("mobile:squeezenet", _image(224)),
    "densenet121": ZooModel("residual:densenet121", _image(224)),
    "inception_v3": ZooModel("inception:inception_v3", _image(299)),
    "vgg16": ZooModel("plain:vgg16", _image(224)),
    "unet": ZooModel("plain:unet", _image(256)),
    "bert_base": ZooModel("transformers:bert_base", _SENTENCE, tokens=True),
    "distilbert": ZooModel("transformers:distilbert", _SENTENCE, tokens=True),
    "vit_base": ZooModel("transformers:vit_base", _image(224)),
    "lstm": ZooModel("plain:lstm", (("series", (1, 50, 64)),)),
    "mlp": ZooModel("plain:mlp", (("row", (1, 64)),)),
    "digits": ZooModel("plain:digits", (("image", (1, 1, 8, 8)),)),
}


def model_folder(name: str, cache: Path) -> Path:
    """model.onnx and golden samples of a zoo model, made now unless the cache has them as this source would make them.

    cache: an absolute path. Raises UsageError for an unknown name, MissingDependency without torch, ModelError if the
    export fails.
    """
    if name not in ZOO:
        raise UsageError(f"no model {name!r} in the zoo", hint=f"the zoo has {', '.join(ZOO)}")
    folder = cache / f"{name}-{_source_digest(ZOO[name].source)}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=cache) as scratch:
            partial = Path(scratch) / name
            partial.mkdir()
            _export(name, partial)
            partial.rename(folder)
    return folder


def _export(name: str, folder: Path) -> None:
    """In a process of its own: torch is large, and must not be there when tvm-ffi is imported."""
    if not all(map(importlib.util.find_spec, ("torch", "onnxscript"))):
        raise MissingDependency("the zoo is made with PyTorch", hint="pip install 'neo-edge[bench]'")
    command = [sys.executable, "-m", "benchmarks.zoo.export", name, str(folder)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False, timeout=TIMEOUT_S)
    if done.returncode:
        raise ModelError(f"{name} cannot be exported: {done.stderr.decode(errors='replace').strip()[-500:]}")


def _source_digest(module: str) -> str:
    here = Path(__file__).parent
    files = [here / "__init__.py", here / "layers.py", here / "export.py", here / f"{module}.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
