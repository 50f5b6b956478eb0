"""compile: from an ONNX file to a signed bundle that predicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from neo.compiler import pipeline
from neo.compiler.draft import stage
from neo.compiler.pipeline import default_name, run
from neo.compiler.request import CompileRequest
from neo.compiler.result import CompiledBundle
from neo.contract.manifest import REPORT_PATH
from neo.contract.parity import Tolerance
from neo.contract.variants import machine_kind
from neo.errors import DiskFull, EngineError, NeoError, ParityError, StoreError, TargetError, UsageError
from neo.isolation import Confinement
from neo.runtime import load
from neo.runtime.golden import self_test
from neo.runtime.host import read_host
from neo.store import Store
from neo.store.bundles import bundle_entries, find_bundle, signatures_of, unpack_bundle
from neo.store.releases import find_release
from neo.trust import generate_key, load_public_keys, load_signer, verify_statement
from neo.trust.keys import public_path
from neo.trust.statement import SIGNATURE_TYPE
from tests.models import build, classifier


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return classifier(tmp_path / "My Model.onnx")


def unpacked(store: Store, compiled: CompiledBundle, folder: Path) -> Path:
    unpack_bundle(store, compiled.bundle, folder)
    return folder


@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "tvm"])
def test_a_compiled_model_answers_as_its_source_did(tmp_path: Path, store: Store, model: Path, engine: str) -> None:
    key = tmp_path / "key"
    generate_key(key)
    (compiled,) = run(CompileRequest(model, store, load_signer(key), engine=engine))
    predictor = load(unpacked(store, compiled, tmp_path / "bundle"))
    assert self_test(predictor, tmp_path / "bundle").max_rel < 1e-4
    (envelope,) = signatures_of(store, compiled.bundle.descriptor.digest, SIGNATURE_TYPE)
    statement = verify_statement(store.read(envelope), load_public_keys([public_path(key)]))
    assert statement.digest == compiled.bundle.descriptor.digest
    assert statement.reference == "my-model:1-host"


def test_a_layout_changes_the_interface_and_the_golden_samples_with_it(
    tmp_path: Path, store: Store, model: Path
) -> None:
    (before,) = run(CompileRequest(model, store, None, engine="onnxruntime"))
    (after,) = run(CompileRequest(model, store, None, engine="onnxruntime", layouts={"": "NHWC"}))
    (channels_first,), (channels_last,) = before.bundle.manifest.inputs, after.bundle.manifest.inputs
    batch, channels, height, width = channels_first.shape
    assert (channels_last.name, channels_last.shape) == (channels_first.name, (batch, height, width, channels))
    predictor = load(unpacked(store, after, tmp_path / "bundle"))
    assert self_test(predictor, tmp_path / "bundle").max_rel < 1e-4


def test_a_release_says_by_what_to_choose_its_variants(store: Store, model: Path) -> None:
    run(CompileRequest(model, store, None, engine="onnxruntime", targets=("host", "raspberry-pi-4")))
    variants = {variant.reference: variant.traits for variant in find_release(store, "my-model").variants}
    here, board = variants["my-model:1-host"], variants["my-model:1-raspberry-pi-4"]
    host = read_host()
    assert here.measured_on == machine_kind(host.arch, host.cores, host.features)
    assert here.latency_ms is not None
    assert not here.is_board
    assert (board.processor, board.latency_ms, board.is_board) == ("cortex-a72", None, True)


def test_auto_keeps_the_engine_that_measured_faster_and_reports_both(store: Store, model: Path) -> None:
    (compiled,) = run(CompileRequest(model, store, None))
    row = compiled.to_json()
    assert set(row["latency_ms"]) == {"onnxruntime", "tvm"}
    assert row["latency_ms"][row["engine"]] == min(row["latency_ms"].values())
    assert all(megabytes > 1 for megabytes in row["peak_rss_mb"].values())
    assert {"convert", "rewrite", "build_onnxruntime", "build_tvm", "measure"} <= set(row["seconds"])
    report = next(layer for layer in compiled.bundle.image.layers if layer.title == "report.json")
    assert json.loads(store.read(report))["chosen"] == row["engine"]


def test_versions_count_up_for_each_target(store: Store, model: Path) -> None:
    request = CompileRequest(model, store, None, engine="onnxruntime", targets=("host", "x86-64-v2"), cache=False)
    references = [compiled.bundle.manifest.reference for _ in range(2) for compiled in run(request)]
    assert references == [f"my-model:{n}-{target}" for n in (1, 2) for target in ("host", "x86-64-v2")]


def test_another_target_of_the_same_model_makes_a_version_that_has_both(store: Store, model: Path) -> None:
    request = CompileRequest(model, store, None, engine="onnxruntime")
    (first,) = run(request)
    both = run(replace(request, targets=("host", "x86-64-v2")))
    assert [compiled.reference for compiled in both] == ["my-model:2-host", "my-model:2-x86-64-v2"]
    assert [compiled.cached for compiled in both] == [True, False]
    assert first.reference == "my-model:1-host"
    assert {v.reference for v in find_release(store, "my-model").variants} == {one.reference for one in both}
    classifier(model, 7)  # trained again: the other target has to be compiled again, too
    (again,) = run(request)
    assert [v.reference for v in find_release(store, "my-model").variants] == [again.reference] == ["my-model:3-host"]


def test_a_retrained_model_shares_the_code_of_the_old_one(tmp_path: Path, store: Store) -> None:
    files = []
    for seed in (0, 1):
        path = classifier(tmp_path / "net.onnx", seed)
        (compiled,) = run(CompileRequest(path, store, None, engine="tvm"))
        files.append({layer.title: layer.digest for layer in compiled.bundle.image.layers})
    old, new = files
    assert old["engine/model.so"] == new["engine/model.so"]
    assert old["engine/libtvm_runtime.so"] == new["engine/libtvm_runtime.so"]
    assert old["golden-inputs.npz"] == new["golden-inputs.npz"]
    assert old["golden-outputs.npz"] != new["golden-outputs.npz"]
    assert old["engine/weights/0000.bin"] != new["engine/weights/0000.bin"]


def test_a_target_of_another_machine_is_not_measured_and_says_so(store: Store, model: Path) -> None:
    (compiled,) = run(CompileRequest(model, store, None, targets=("raspberry-pi-4",), engine="onnxruntime"))
    assert compiled.to_json()["latency_ms"] == {"onnxruntime": None}
    assert any("not measured" in note for note in compiled.notes)


def test_what_tvm_cannot_take_runs_on_onnxruntime_with_the_reason(tmp_path: Path, store: Store) -> None:
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    path = tmp_path / "det.onnx"
    onnx.save(build(nodes, {"x": (2, 3, 3)}, {"y": (2,)}), path)
    (compiled,) = run(CompileRequest(path, store, None))
    assert compiled.bundle.manifest.engine == "onnxruntime"
    assert any(note.startswith("tvm is out") and "Det" in note for note in compiled.notes)
    with pytest.raises(EngineError, match="Det"):
        run(CompileRequest(path, store, None, engine="tvm"))


def test_a_bundle_whose_graph_is_cut_asks_devices_for_both_engines(tmp_path: Path, store: Store) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("TopK", ["a", "k"], ["y", "i"])]
    weights = {"w": np.random.default_rng(0).normal(size=(16, 64)).astype(np.float32), "k": np.array([4])}
    path = tmp_path / "cut.onnx"
    onnx.save(build(nodes, {"x": (3, 16)}, {"y": (3, 4)}, weights), path)
    (compiled,) = run(CompileRequest(path, store, None, engine="tvm"))
    assert list(compiled.bundle.manifest.requires.engines) == ["onnxruntime"]
    assert any("TopK" in note for note in compiled.notes)
    self_test(load(unpacked(store, compiled, tmp_path / "bundle")), tmp_path / "bundle")


def test_an_engine_that_answers_wrongly_is_out(store: Store, model: Path) -> None:
    with pytest.raises(ParityError, match="differ from the source"):
        run(CompileRequest(model, store, None, engine="tvm", tolerance=Tolerance(max_abs=0, max_rel=0)))
    assert bundle_entries(store) == ()


def test_a_crashing_build_does_not_take_the_caller_with_it(
    tmp_path: Path, store: Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stub").mkdir()
    # found before the installed one, in confined processes only
    (tmp_path / "stub" / "tvm.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stub"))
    (compiled,) = run(CompileRequest(model, store, None))
    assert compiled.bundle.manifest.engine == "onnxruntime"
    assert any("SIGSEGV" in note for note in compiled.notes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"targets": ("rasperry-pi-4",)}, TargetError),
        ({"engine": "tensorrt"}, UsageError),
        ({"name": "no/slashes"}, UsageError),
        ({"version": "../1"}, UsageError),
    ],
)
def test_a_wrong_request_leaves_no_bundle(
    store: Store, model: Path, changes: dict[str, object], error: type[NeoError]
) -> None:
    with pytest.raises(error) as caught:
        run(CompileRequest(model, store, None, **changes))  # type: ignore[arg-type]
    assert caught.value.hint
    assert bundle_entries(store) == ()


def test_one_target_that_fails_leaves_no_bundle_for_the_others(tmp_path: Path, store: Store, model: Path) -> None:
    odd = tmp_path / "odd.toml"
    odd.write_text((Path(__file__).parents[1] / "targets" / "aarch64.toml").read_text().replace('"generic"', '"z80"'))
    with pytest.raises(TargetError, match="z80"):
        run(CompileRequest(model, store, None, targets=("host", str(odd)), engine="tvm"))
    assert bundle_entries(store) == ()


def test_find_bundle_takes_what_compile_printed(store: Store, model: Path) -> None:
    (compiled,) = run(CompileRequest(model, store, None, engine="onnxruntime"))
    row = compiled.to_json()
    for reference in (row["reference"], row["name"], f"{row['name']}:1", row["digest"], row["digest"][7:19]):
        assert find_bundle(store, reference).descriptor.digest == row["digest"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("resnet.pt2", "resnet"),
        ("a b/My Net-symbol.json", "my-net"),
        ("saved_model/", "saved_model"),
        ("model.v2.onnx", "model.v2"),
        ("ü.onnx", "model"),
    ],
)
def test_a_bundle_is_named_after_its_file(file: str, name: str) -> None:
    assert default_name(Path(file)) == name


def test_golden_samples_of_the_users_own_are_the_measure(tmp_path: Path, store: Store, model: Path) -> None:
    np.savez(tmp_path / "sample.npz", x=np.zeros((1, 1, 8, 8), np.float32), y=np.full((1, 10), 7, np.float32))
    with pytest.raises(ParityError):
        run(CompileRequest(model, store, None, golden=tmp_path / "sample.npz"))


def test_a_version_that_is_taken_is_refused_before_the_work_and_replaced_on_request(store: Store, model: Path) -> None:
    request = CompileRequest(model, store, None, engine="onnxruntime", version="7", cache=False)
    (old,) = run(request)
    steps: list[str] = []
    with pytest.raises(StoreError, match=r"my-model:7-host is in .* already"):
        run(request, steps.append)
    assert steps == []
    (new,) = run(replace(request, replace=True))
    (entry,) = bundle_entries(store)
    assert entry.digest == new.bundle.descriptor.digest != old.bundle.descriptor.digest


@pytest.mark.parametrize("version", [None, "7"])
def test_one_target_named_twice_cannot_have_one_version(store: Store, model: Path, version: str | None) -> None:
    with pytest.raises(UsageError, match="two bundles would be for host"):
        run(CompileRequest(model, store, None, targets=("host", "aarch64", "host"), version=version))


def test_a_second_bundle_that_cannot_be_written_leaves_no_bundle(
    store: Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged: list[object] = []

    def stage_one(*given: object) -> object:
        if staged:
            raise DiskFull("no space left to write it")
        staged.append(stage(*given))  # type: ignore[arg-type]
        return staged[0]

    monkeypatch.setattr(pipeline, "stage", stage_one)
    with pytest.raises(DiskFull):
        run(CompileRequest(model, store, None, targets=("host", "aarch64"), engine="onnxruntime"))
    assert len(staged) == 1
    assert bundle_entries(store) == ()


@pytest.mark.parametrize(("network", "said"), [("namespace", False), ("filter", False), ("", True)])
def test_the_report_says_which_confinement_held(
    tmp_path: Path, store: Store, model: Path, monkeypatch: pytest.MonkeyPatch, network: str, said: bool
) -> None:
    held = Confinement(8 << 30, 16 << 30, network, "" if network == "namespace" else "no network namespace: refused")
    monkeypatch.setattr(pipeline, "confinement_here", lambda: held)
    (compiled,) = run(CompileRequest(model, store, None, engine="onnxruntime"))
    report = json.loads((unpacked(store, compiled, tmp_path / "bundle") / REPORT_PATH).read_bytes())
    assert report["confinement"] == held.to_json()
    assert any("could have reached the network" in note for note in report["notes"]) == said
