"""What every version wrote is still read, and means what it meant. See golden/README.md."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neo.contract.device import AcceleratorNeed, Capabilities, Gpu, Requirements
from neo.contract.labels import OutputLabels
from neo.contract.manifest import Alternative, ChunkTable, Manifest
from neo.contract.messages import (
    Assignment,
    Chunk,
    DesiredModel,
    DesiredState,
    DeviceState,
    DocumentId,
    Live,
    LiveModel,
    Missing,
    MissingChunks,
    NumberedChunk,
    Presence,
    Refusal,
    Report,
    RollCall,
    Want,
)
from neo.contract.oci import MANIFEST_TYPE, Descriptor
from neo.contract.parity import Tolerance
from neo.contract.tensors import TensorSpec
from neo.engines.tvm.cpu.tuning.cache import Document, Measured, read_documents
from neo.engines.tvm.cpu.units.configuration import Configuration
from neo.engines.tvm.cpu.units.tiles import Tile
from neo.errors import BundleError
from neo.runtime import load
from neo.runtime.engine_folder import EngineFolder, KernelCost, WeightEntry
from neo.runtime.golden import read_golden, self_test
from neo.store import Store
from neo.store.bundles import find_bundle, signatures_of, unpack_bundle
from neo.trust import Statement, load_public_keys, verify_statement
from neo.trust.documents import open_desired, open_report
from neo.trust.statement import ENVELOPE_TYPE, SIGNATURE_TYPE

GOLDEN = Path(__file__).parent / "golden"
X, Y = TensorSpec("x", "float32", (1, 4)), TensorSpec("y", "float32", (1, 3))
SMALL = "sha256:2e8977f62fc00f6ee65c6343242c17e449a6496cbcb36552f52e93f0f7b41920"
ENVELOPE = Descriptor(ENVELOPE_TYPE, "sha256:3e45ea79b6da0f25d6277c18924c87a89fe5f1dd5991b44df20cc4e606314127", 432)
REFERENCE = "small:1-x86-64-v2"
KEYID = "177f4f43ac1ee57f64abb6212d33240c99a870dc9a402ed5ffb69992c07a3690"
SSE = ("pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm")
AVX2 = (*SSE, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe")
AVX512_BF16 = (*AVX2, "avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx512_bf16")


DOCUMENT = DocumentId(7, "sha256:5ddae2ce195f9eea7ce34b55efaaf9253fb764e9c1cce77d2bf1b0fcf7d144dc")
WIDE = TensorSpec("y", "float32", (1, 64))
BASE = Requirements("x86_64", "linux", SSE, "2.28")
ORIN = AcceleratorNeed("cuda", ("8.7",), "8.7", "12.2", 1 << 20)
# version -> the bundle's digest, its output, and its files outside the engine
BUNDLES = {
    "v1": (SMALL, Y, ["golden.npz", "report.json"]),
    "v2": (
        "sha256:9c0900a2b91c912a8bd7bb467f31d66ebb5270bb8d294f0823641346267e21ed",
        WIDE,
        ["golden-inputs.npz", "golden-outputs.npz", "report.json"],
    ),
}


def small(features: tuple[str, ...], **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "name": "small",
        "version": "1",
        "target": "x86-64-v2",
        "requires": Requirements("x86_64", "linux", features, "2.28"),
        "engine": "onnxruntime",
        "engine_version": ">=1.32",
        "precision": "fp32",
        "source": "onnx",
        "inputs": (X,),
        "outputs": (Y,),
        "tolerance": Tolerance(1e-5, 1e-3),
    }
    return Manifest(**{**fields, **changes})


# file -> (how it is read, what it says)
DOCUMENTS: dict[str, tuple[Callable[[bytes], Any], Any]] = {
    "v1/manifest-fp32.json": (Manifest.from_bytes, small(SSE)),
    "v1/manifest-bf16.json": (
        Manifest.from_bytes,
        small(
            AVX512_BF16,
            target="x86-64-v4-bf16",
            engine="tvm",
            engine_version="0.1.14.post1",
            precision="bf16",
            tolerance=Tolerance(1e-5, 5e-2),
        ),
    ),
    "v1/manifest-labels.json": (
        Manifest.from_bytes,
        small(SSE, labels=(OutputLabels("y", "position", ("cat", "dog", "größer")),)),
    ),
    "v1/manifest-needs.json": (
        Manifest.from_bytes,
        small(
            AVX2,
            name="cut",
            target="x86-64-v3",
            requires=Requirements("x86_64", "linux", AVX2, "2.28", {"onnxruntime": ">=1.32"}),
            engine="tvm",
            engine_version="0.1.14.post1",
            inputs=(TensorSpec("x", "float32", (1, 3, 6, 6)),),
            outputs=(TensorSpec("chosen", "int64", ("unk__0", 3)),),
        ),
    ),
    "v1/capabilities.json": (
        Capabilities.from_bytes,
        Capabilities(
            device_id="porch",
            agent_version="0.1.0",
            arch="aarch64",
            os="linux",
            glibc="2.36",
            features=("fp", "asimd", "crc32"),
            cores=4,
            memory_bytes=4 << 30,
            storage_bytes=9 << 30,
            engines={"onnxruntime": "1.31.1", "tvm": "0.1.14.post1"},
        ),
    ),
    "v1/presence.json": (Presence.from_bytes, Presence(online=True, session="5e55", at=1764500000.0)),
    "v1/roll-call.json": (RollCall.from_bytes, RollCall("5e55", asks=True)),
    "v1/assignment.json": (
        Assignment.from_bytes,
        Assignment("a1", REFERENCE, Descriptor(MANIFEST_TYPE, SMALL, 1142), ENVELOPE, "source-1", 1764500000.0),
    ),
    "v1/state-active.json": (
        DeviceState.from_bytes,
        DeviceState(
            session="5e55",
            phase="active",
            assignment="a1",
            live=Live(SMALL, REFERENCE, "onnxruntime", 1764500000.25),
            done_bytes=1234,
            total_bytes=1234,
            error=None,
            url="http://127.0.0.1:8080",
            at=1764500001.5,
        ),
    ),
    "v1/state-failed.json": (
        DeviceState.from_bytes,
        DeviceState(
            session="5e55",
            phase="failed",
            assignment="a2",
            live=None,
            done_bytes=10,
            total_bytes=1234,
            error=BundleError("golden samples differ", hint="compile it again").to_json(),
            url="",
            at=1764500002.0,
        ),
    ),
    "v1/want.json": (Want.from_bytes, Want("porch", SMALL, 4096, 128000)),
    "v1/chunk.bin": (Chunk.from_bytes, Chunk(SMALL, 4096, b"some bytes")),
    "v1/chunk-absent.bin": (Chunk.from_bytes, Chunk(SMALL, 0, b"", absent=True)),
    "v2/missing.json": (
        Missing.from_bytes,
        Missing("porch", "0123456789abcdef", 9, (MissingChunks(SMALL, ((0, 3), (7, 1))),)),
    ),
    "v2/chunk.bin": (NumberedChunk.from_bytes, NumberedChunk(SMALL, 3, 1 << 60, b"some bytes")),
    "v2/chunk-absent.bin": (NumberedChunk.from_bytes, NumberedChunk(SMALL, 0, 0, b"", absent="0123456789abcdef")),
    "v2/chunk-asks.bin": (NumberedChunk.from_bytes, NumberedChunk(SMALL, 0, 7, b"", asks=True)),
    "v2/manifest-plain.json": (Manifest.from_bytes, small(SSE, outputs=(WIDE,))),
    "v2/manifest-full.json": (
        Manifest.from_bytes,
        small(
            SSE,
            outputs=(WIDE,),
            requires=Requirements("x86_64", "linux", SSE, "2.28", accelerators=(ORIN,)),
            layer_precisions={"/conv/0": "bf16"},
            alternatives=(Alternative("onnxruntime", ">=1.32", "fp32", BASE, "alternatives/cpu"),),
            chunks=(ChunkTable("sha256:" + "a" * 64, "sha256:" + "b" * 64, 1 << 17),),
        ),
    ),
    "v2/capabilities-gpu.json": (
        Capabilities.from_bytes,
        Capabilities(
            device_id="pole",
            agent_version="0.1.0",
            arch="aarch64",
            os="linux",
            glibc="2.35",
            features=("fp", "asimd"),
            cores=6,
            memory_bytes=8 << 30,
            storage_bytes=9 << 30,
            engines={"tvm": "0.1.14.post1"},
            accelerators=(Gpu("cuda", "Orin (nvgpu)", "8.7", "12.2", 8 << 30),),
        ),
    ),
}

ENGINES = {
    "v2/engine-onnxruntime": EngineFolder("onnxruntime", (X,), (WIDE,)),
    "v1/engine-onnxruntime": EngineFolder("onnxruntime", (X,), (Y,)),
    "v1/engine-tvm": EngineFolder(
        "tvm",
        (X,),
        (Y,),
        weights=(WeightEntry("weights/small.bin", 0, "float32", (4, 8)),),
        kernels=(KernelCost("fused_matmul_relu", 67, 156, ((1, 3),)),),
        steps=("fused_matmul_relu",),
    ),
    "v1/engine-segments": EngineFolder(
        "tvm",
        (TensorSpec("x", "float32", (1, 3, 6, 6)),),
        (TensorSpec("chosen", "int64", ("unk__0", 3)),),
        segments=("segments/0", "segments/1"),
    ),
}


@pytest.mark.parametrize("file", DOCUMENTS)
def test_a_document_of_any_version_says_what_it_said(file: str) -> None:
    read, expected = DOCUMENTS[file]
    assert read((GOLDEN / file).read_bytes()) == expected


@pytest.mark.parametrize("folder", ENGINES)
def test_an_engine_of_any_version_is_described_as_it_was(folder: str) -> None:
    assert EngineFolder.read(GOLDEN / folder) == ENGINES[folder]


def test_the_segments_of_any_version_are_engines_themselves() -> None:
    first, second = (EngineFolder.read(GOLDEN / "v1/engine-segments/segments" / name) for name in "01")
    assert (first.engine, second.engine) == ("tvm", "onnxruntime")
    assert {spec.name for spec in second.inputs} <= {spec.name for spec in first.outputs}
    assert [weight.offset for weight in first.weights] == [0, 3456, 3968]
    assert (first.weights[0].shape, first.workspace, len(first.kernels)) == ((3, 3, 3, 32), 6464, 6)


def test_no_golden_file_is_left_unread() -> None:
    read = {GOLDEN / file for file in DOCUMENTS} | {GOLDEN / "README.md"}
    read |= {GOLDEN / "v1" / name for name in ("operator.key.pub", "statement.json", "tuning.json")}
    read |= {GOLDEN / "v2" / name for name in ("assignment.key.pub", "desired.json", "report.json")}
    folders = [*(GOLDEN / version / "store" for version in BUNDLES), *(GOLDEN / folder for folder in ENGINES)]
    folders.append(GOLDEN / "v2" / "tuf")  # tests/trust/tuf/test_golden.py reads it
    left = {path for path in GOLDEN.rglob("*") if path.is_file() and not any(path.is_relative_to(f) for f in folders)}
    assert left == read


def test_the_statement_of_any_version_is_verified_with_the_key_file_of_its_time() -> None:
    keys = load_public_keys([GOLDEN / "v1/operator.key.pub"])
    statement = verify_statement((GOLDEN / "v1/statement.json").read_bytes(), keys)
    assert statement == Statement(SMALL, 1142, REFERENCE, (KEYID,))


def test_measurements_of_any_version_are_kept() -> None:
    (document,) = read_documents(GOLDEN / "v1/tuning.json")
    assert isinstance(document, Document)
    assert (document.key.machine["mcpu"], document.key.tvm) == ("x86-64-v3", "0.27.0.post1")
    measured = Measured(Configuration(Tile(6, 2, 8), columns_first=True), 1.25, 12.5, 2, "x (1, 4) float32")
    assert document.kernels == {"matmul 1x4x3": measured}


def test_the_signature_of_a_bundle_of_any_version_is_found(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "v1/store", tmp_path / "store")
    assert signatures_of(Store(tmp_path / "store", create=False), SMALL, SIGNATURE_TYPE) == (ENVELOPE,)


@pytest.mark.parametrize("version", BUNDLES)
def test_a_bundle_of_any_version_is_found_unpacked_and_answers(tmp_path: Path, version: str) -> None:
    digest, output, files = BUNDLES[version]
    shutil.copytree(GOLDEN / version / "store", tmp_path / "store")
    store = Store(tmp_path / "store", create=False)
    bundle = find_bundle(store, "small")
    assert (bundle.descriptor.digest, bundle.manifest) == (digest, small(SSE, outputs=(output,)))
    assert [layer.title for layer in bundle.image.layers if not layer.title.startswith("engine/")] == files
    unpack_bundle(store, bundle, tmp_path / "bundle")
    ((inputs, outputs), *_) = read_golden(tmp_path / "bundle")
    assert (inputs["x"].shape, outputs["y"].shape) == ((1, 4), output.shape)
    predictor = load(tmp_path / "bundle")
    assert self_test(predictor, tmp_path / "bundle").max_rel < 1e-5
    np.testing.assert_allclose(predictor.predict(inputs)["y"], outputs["y"], rtol=1e-5)


def test_a_signed_document_of_any_version_says_what_it_said() -> None:
    found = open_desired(
        (GOLDEN / "v2/desired.json").read_bytes(), load_public_keys([GOLDEN / "v2/assignment.key.pub"])
    )
    model = DesiredModel(REFERENCE, Descriptor(MANIFEST_TYPE, SMALL, 1142), ENVELOPE)
    assert found.id == DOCUMENT
    assert found.state == DesiredState(
        "default", "porch", 7, 1764500000.0, 1796036000.0, {"small": model}, ("source-1",), "ann@build"
    )


def test_a_signed_report_of_any_version_says_what_it_said() -> None:
    found = open_report((GOLDEN / "v2/report.json").read_bytes())
    assert found.report == Report(
        fleet="default",
        device="porch",
        session="5e55",
        sequence=(1 << 32) + 1,
        phase="active",
        document=DOCUMENT,
        live={"small": LiveModel(SMALL, REFERENCE, "onnxruntime", 1764500000.25)},
        done_bytes=1234,
        total_bytes=1234,
        stalled=False,
        error=None,
        retry_at=None,
        refusal=Refusal(
            "sha256:" + "f" * 64, {"error": "TrustError", "message": "not trusted here", "hint": "", "details": {}}
        ),
        refused=1,
        notes=("the clock of this device is not believed",),
        url="http://127.0.0.1:8080",
        at=1764500001.5,
    )
