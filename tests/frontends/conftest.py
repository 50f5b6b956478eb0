"""Model makers for the frontends' tests, and one call that takes a file through the sandbox."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from neo.contract.tensors import TensorSpec
from neo.frontends.base import Conversion, ConversionRequest
from neo.frontends.recognise import recognise
from neo.frontends.sandbox import convert
from neo.isolation import Limits

Convert = Callable[..., Conversion]
MAKER = Path(__file__).with_name("make_models.py")


def make_models(framework: str, module: str, folder: Path) -> Path:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    environment = os.environ | {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(MAKER), framework, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="session")
def torch_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models("torch", "torch", tmp_path_factory.mktemp("torch-models"))


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models("keras", "tensorflow", tmp_path_factory.mktemp("keras-models"))


@pytest.fixture(scope="session")
def tensorflow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_models("tensorflow", "tensorflow", tmp_path_factory.mktemp("tensorflow-models"))


@pytest.fixture
def through_sandbox(tmp_path: Path) -> Convert:
    """convert(path, *inputs, limits=..., **request): recognised, converted, with inputs as --input has them."""

    def call(
        source: Path, *inputs: str, limits: Limits | None = None, framework: str | None = None, **more: Any
    ) -> Conversion:
        specs: Sequence[TensorSpec] = [TensorSpec.parse(text) for text in inputs]
        request = ConversionRequest(
            source,
            framework or recognise(source),
            Path(tempfile.mkdtemp(prefix="scratch-", dir=tmp_path)),
            inputs=tuple(specs),
            **more,
        )
        return convert(request, limits)

    return call
