"""What travels when one layer was retrained."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from benchmarks.delta import mobilenet_v1, retrain
from neo.engines import ENGINES
from neo.engines.base import BuildRequest
from neo.engines.onnxruntime.build import build
from neo.frontends.onnx_file import interface
from neo.runtime.onnxruntime import MODEL_FILE
from neo.targets import HOST, load_target


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_retrained_last_layer_is_at_most_two_percent_of_the_bundle(tmp_path: Path, engine: str) -> None:
    delta = retrain(engine, tmp_path)
    assert delta.total > 12_000_000
    assert 0 < delta.share <= 0.02, delta.files
    assert not any("golden-inputs" in file or ".so" in file for file in delta.files)


def test_onnx_runtimes_graph_changes_by_its_smallest_weights_only(tmp_path: Path) -> None:
    files: list[dict[str, bytes]] = []
    for seed in range(2):
        folder = tmp_path / str(seed)
        (folder / "engine").mkdir(parents=True)
        model = mobilenet_v1(seed)
        (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "classifier.bias")
        bias.raw_data = bytes(len(bias.raw_data))
        onnx.save(model, folder / "in.onnx")
        inputs, outputs = interface(folder / "in.onnx")
        build(BuildRequest(folder / "in.onnx", load_target(HOST), inputs, outputs, folder / "engine"))
        written = (path for path in (folder / "engine").rglob("*") if path.is_file())
        files.append({path.relative_to(folder / "engine").as_posix(): path.read_bytes() for path in written})
    old, new = files
    assert old.keys() == new.keys()
    assert len(old[MODEL_FILE]) < 50_000
    (changed,) = (name for name in old if old[name] != new[name])
    assert changed.startswith("weights/")
    assert len(new[changed]) <= 64 << 10
