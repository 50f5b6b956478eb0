"""Chains in real Chainer, where NEO_CHAINER_PYTHON names an interpreter that has it (scripts/chainer-env)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from neo.errors import InputSpecError, MissingDependency, ModelError
from neo.frontends.base import Conversion, Factory
from neo.frontends.chainer import PYTHON_VARIABLE
from tests.frontends.conftest import Convert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
needs_chainer = pytest.mark.skipif(
    PYTHON_VARIABLE not in os.environ, reason=f'no Chainer: export {PYTHON_VARIABLE}="$(scripts/chainer-env)"'
)

IMAGE = "image=float32[1,3,8,8]"
CODE = """
import chainer
import chainer.functions as F
import chainer.links as L


class Net(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.conv = L.Convolution2D(3, 4, 3)
            self.norm = L.BatchNormalization(4)
            self.dense = L.Linear(None, 5)

    def forward(self, image):
        features = F.dropout(F.relu(self.norm(self.conv(image))))
        return F.softmax(self.dense(features))


class Two(Net):
    def forward(self, image):
        scores = super().forward(image)
        return {"scores": scores, "best": F.max(scores, axis=1)}


def broken():
    raise ValueError("out of luck")
"""
SAVE = """
import chainer
import numpy
from chains import Net

numpy.random.seed(0)
net = Net()
net(numpy.random.randn(4, 3, 8, 8).astype("float32"))
chainer.serializers.save_npz("net.npz", net)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chains")
    (folder / "chains.py").write_text(CODE)
    command = [os.environ[PYTHON_VARIABLE], "-W", "ignore", "-c", SAVE]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return folder


def built(through_sandbox: Convert, project: Path, name: str, *inputs: str) -> Conversion:
    weights = project / "net.npz"
    return through_sandbox(weights, *inputs, framework="chainer", factory=Factory(f"chains:{name}", project, weights))


@needs_chainer
@pytest.mark.parametrize(
    ("name", "outputs"), [("Net", ["output=float32[1,5]"]), ("Two", ["scores=float32[1,5]", "best=float32[1]"])]
)
def test_a_chain_answers_as_in_chainer(project: Path, through_sandbox: Convert, name: str, outputs: list[str]) -> None:
    converted = built(through_sandbox, project, name, IMAGE)
    assert [str(spec) for spec in converted.inputs] == [IMAGE]
    assert [str(spec) for spec in converted.outputs] == outputs
    assert converted.reference == "chainer 7.8.1"
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    samples = [sample.outputs[converted.outputs[0].name] for sample in converted.samples]
    assert samples[0].sum() == pytest.approx(1.0, abs=1e-5)
    assert (samples[0] != samples[1]).any()


@needs_chainer
@pytest.mark.parametrize(
    ("name", "inputs", "error", "says"),
    [
        ("Net", (), InputSpecError, "does not say the shape"),
        ("Net", ("image=float32[N,3,8,8]",), InputSpecError, "writes fixed sizes; N has none"),
        ("Net", ("picture=float32[1,3,8,8]",), ModelError, "picture"),
        ("Net", ("image=float32[1,4,8,8]",), ModelError, "Chainer cannot build or export"),
        ("broken", (IMAGE,), ModelError, "ValueError: out of luck"),
        ("nothing", (IMAGE,), ModelError, "nothing"),
    ],
)
def test_what_chainer_refuses_is_told(
    project: Path, through_sandbox: Convert, name: str, inputs: tuple[str, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        built(through_sandbox, project, name, *inputs)
    assert caught.value.hint  # type: ignore[attr-defined]


def test_without_an_interpreter_the_command_that_makes_one_is_named(
    tmp_path: Path, through_sandbox: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "net.npz"
    weights.touch()
    for python, says in ((None, "environment of its own"), (str(tmp_path / "python"), "cannot be started")):
        if python is None:
            monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
        else:
            monkeypatch.setenv(PYTHON_VARIABLE, python)
        with pytest.raises(MissingDependency, match=says) as caught:
            through_sandbox(weights, IMAGE, framework="chainer", factory=Factory("chains:Net", tmp_path, weights))
        assert "scripts/chainer-env" in caught.value.hint
