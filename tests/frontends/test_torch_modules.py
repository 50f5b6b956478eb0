"""Models that a factory builds, with weights from a file, and pickled modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neo.errors import InputSpecError, MissingDependency, ModelError, UntrustedModel, UsageError
from neo.frontends.base import Conversion, Factory
from neo.frontends.sources import find_source
from tests.frontends.conftest import Convert

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE = "image=float32[1,3,8,8]"
CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.dense = nn.Linear(8, classes)
        self.again = self.dense

    def forward(self, image: torch.Tensor, scale: float = 1.0) -> dict[str, torch.Tensor]:
        return {"scores": self.again(torch.relu(self.norm(self.conv(image))).mean((2, 3))) * scale}


def make() -> Net:
    return Net()


def wide() -> Net:
    return Net(10)


def trained() -> Net:
    net = Net()
    net.load_state_dict(torch.load("pure.pth"))
    return net


def with_width(width: int) -> Net:
    return Net(width)


def broken() -> Net:
    raise ValueError("out of luck")


def a_number() -> int:
    return 3
"""
SAVE = """
import torch
from nets.small import Net
from safetensors.torch import save_model

torch.manual_seed(0)
net = Net().eval()
net.norm.running_mean.normal_()
save_model(net, "pure.safetensors")
torch.save(net.state_dict(), "pure.pth")
torch.save({"epoch": 3, "state_dict": {f"module._orig_mod.{k}": v for k, v in net.state_dict().items()}}, "wrapped.pth")
torch.save({"net": net.state_dict(), "args": net.conv}, "objects.pth")
torch.save(net, "module.pth")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nets/small.py, and files with the weights of one Net."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "nets").mkdir()
    (folder / "nets" / "small.py").write_text(CODE)
    (folder / "nets" / "hungry.py").write_text("import a_library_that_nobody_has\n")
    (folder / "save.py").write_text(SAVE)
    subprocess.run([sys.executable, "-W", "ignore", "save.py"], cwd=folder, check=True, timeout=120)
    return folder


def built(
    through_sandbox: Convert, project: Path, name: str, weights: str | None = None, *inputs: str, **more: Any
) -> Conversion:
    file = None if weights is None else project / weights
    factory = Factory(name if ":" in name else f"nets.small:{name}", project, file)
    return through_sandbox(file or project, *inputs, framework="pytorch", factory=factory, **more)


@pytest.mark.parametrize(
    ("name", "weights", "notes"),
    [
        ("make", "pure.safetensors", ()),
        ("Net", "pure.pth", ()),
        ("trained", None, ()),
        (
            "make",
            "wrapped.pth",
            (
                "the weights are the entry 'state_dict' of wrapped.pth",
                "the prefix 'module._orig_mod.' was taken off the names of the weights",
            ),
        ),
    ],
)
def test_a_factory_and_its_weights_answer_as_the_module_did(
    through_sandbox: Convert, project: Path, name: str, weights: str | None, notes: tuple[str, ...]
) -> None:
    converted = built(through_sandbox, project, name, weights, IMAGE)
    assert [str(spec) for spec in (*converted.inputs, *converted.outputs)] == [IMAGE, "scores=float32[1,5]"]
    assert converted.notes == notes
    assert converted.parity is not None
    assert converted.parity.max_rel <= 1e-4
    sample = converted.samples[0]
    np.testing.assert_allclose(sample.outputs["scores"], by_hand(project, sample.inputs["image"]), rtol=1e-4, atol=1e-6)


def by_hand(project: Path, image: Any) -> Any:
    """Net's forward, from the tensors in the file."""
    weights = torch.load(project / "pure.pth", weights_only=True)
    features = torch.nn.functional.conv2d(torch.from_numpy(image), weights["conv.weight"], weights["conv.bias"])
    norm = [weights[f"norm.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    features = torch.nn.functional.batch_norm(features, *norm)
    return (features.relu().mean((2, 3)) @ weights["dense.weight"].T + weights["dense.bias"]).numpy()


def test_a_pickled_module_is_read_only_if_trusted(through_sandbox: Convert, project: Path) -> None:
    with pytest.raises(UntrustedModel, match=r"nets\.small\.Net") as caught:
        through_sandbox(project / "module.pth", IMAGE)
    assert "--trust-pickle" in caught.value.hint
    converted = through_sandbox(project / "module.pth", IMAGE, framework="pytorch", trust_pickle=True)
    sample = converted.samples[0]
    np.testing.assert_allclose(sample.outputs["scores"], by_hand(project, sample.inputs["image"]), rtol=1e-4, atol=1e-6)


def test_a_named_dimension_stays_dynamic(through_sandbox: Convert, project: Path) -> None:
    converted = built(through_sandbox, project, "make", "pure.pth", "image=float32[B,3,S,8]", dims={"S": 12})
    assert str(converted.inputs[0]) == "image=float32[B,3,12,8]"
    assert str(converted.outputs[0]) == "scores=float32[B,5]"


def test_weights_of_another_model_are_told_apart_by_name_and_shape(through_sandbox: Convert, project: Path) -> None:
    with pytest.raises(ModelError, match=r"dense\.weight \(\[5, 8\] in the file, \[10, 8\] in the module\)") as caught:
        built(through_sandbox, project, "wide", "pure.pth", IMAGE)
    assert len(caught.value.details["reshaped"]) == 4
    weights = torch.load(project / "pure.pth", weights_only=True)
    weights["fc.weight"] = weights.pop("conv.weight")
    torch.save(weights, project / "renamed.pth")
    with pytest.raises(ModelError, match=r"1 missing: conv\.weight; 1 unexpected: fc\.weight"):
        built(through_sandbox, project, "make", "renamed.pth", IMAGE)


def test_weights_with_objects_beside_them_need_trust(through_sandbox: Convert, project: Path) -> None:
    with pytest.raises(UntrustedModel, match="holds more than weights"):
        built(through_sandbox, project, "make", "objects.pth", IMAGE)
    converted = built(through_sandbox, project, "make", "objects.pth", IMAGE, trust_pickle=True)
    assert converted.notes == ("the weights are the entry 'net' of objects.pth",)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("with_width", UsageError, "needs arguments: missing a required argument: 'width'"),
        ("nothing", UsageError, "has no 'nothing'"),
        ("a_number", UsageError, "gives a int, no torch.nn.Module"),
        ("nets.large:make", UsageError, "no Python module 'nets.large'"),
        ("nets.hungry:make", MissingDependency, "imports a_library_that_nobody_has"),
        ("broken", ModelError, "line 37): ValueError: out of luck"),
    ],
)
def test_a_factory_that_fails_says_where(
    through_sandbox: Convert, project: Path, name: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        built(through_sandbox, project, name, None, IMAGE)
    assert says in str(caught.value)
    assert caught.value.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("inputs", "says", "hint"),
    [
        ((), "missing: image", "--input image=float32[1,3,224,224]"),
        ((IMAGE, "picture=float32[1]"), "forward has no such argument", "image, scale"),
        (("image=float32[1,4,8,8]",), "does not work for the input", "--input"),
    ],
)
def test_inputs_are_forwards_arguments(
    through_sandbox: Convert, project: Path, inputs: tuple[str, ...], says: str, hint: str
) -> None:
    with pytest.raises(InputSpecError) as caught:
        built(through_sandbox, project, "make", "pure.pth", *inputs)
    assert says in caught.value.message
    assert hint in caught.value.hint


def test_a_cut_weights_file_is_a_modelerror(through_sandbox: Convert, project: Path) -> None:
    for name in ("pure.pth", "pure.safetensors"):
        cut = project / f"cut-{name}"
        cut.write_bytes((project / name).read_bytes()[:-40])
        with pytest.raises(ModelError, match=r"is damaged|holds no weights"):
            built(through_sandbox, project, "make", cut.name, IMAGE)


@pytest.mark.parametrize(
    ("model", "module", "weights", "says"),
    [
        (None, None, None, "no model is named"),
        (None, None, "w.pth", "--weights without --module"),
        ("m.pt2", "nets:make", None, "builds the model; what is m.pt2?"),
        (None, "nets/small.py", None, "names no function in a module"),
        (None, "nets:make", "nowhere.pth", "there is no file nowhere.pth"),
    ],
)
def test_a_model_is_named_in_one_way(model: str | None, module: str | None, weights: str | None, says: str) -> None:
    with pytest.raises((UsageError, ModelError)) as caught:
        find_source(
            Path(model) if model else None, module, Path(weights) if weights else None, None, trust_pickle=False
        )
    assert says in str(caught.value)


def test_the_command_line_takes_a_module(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NEO_KEY", str(tmp_path / "operator.key"))
    flags = f"compile --module nets.small:make --weights wrapped.pth --input {IMAGE} --engine onnxruntime --json"
    command = [sys.executable, "-m", "neo.cli", *flags.split()]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    (bundle,) = json.loads(done.stdout)["bundles"]
    assert bundle["reference"] == "make:1-host"
    assert "the weights are the entry 'state_dict' of wrapped.pth" in bundle["notes"]
