"""The command line as a user meets it: real processes, exit codes, what stands on which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neo.cli.__main__ import COMMANDS
from tests.models import classifier

Neo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def neo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Neo:
    """Runs `neo ...` with a store and a key of its own."""
    monkeypatch.setenv("NEO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NEO_KEY", str(tmp_path / "operator.key"))
    monkeypatch.delenv("NEO_BROKER", raising=False)

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "neo.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)

    return call


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return classifier(tmp_path / "net.onnx")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help_with_an_example(neo: Neo, command: str) -> None:
    done = neo(command, "--help")
    assert done.returncode == 0
    assert f"neo {command}" in done.stdout.split("Example")[1]


def test_help_imports_nothing_heavy() -> None:
    heavy = [
        "torch",
        "tensorflow",
        "keras",
        "tvm",
        "tvm_ffi",
        "onnx",
        "onnxruntime",
        "numpy",
        "paho",
        "rich",
        "amqtt",
        "cryptography",
    ]
    code = (
        "import sys\nfrom neo.cli.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_from_model_file_to_prediction(neo: Neo, model: Path, tmp_path: Path) -> None:
    done = neo("compile", model, "--engine", "onnxruntime", "--json")
    assert done.returncode == 0, done.stderr
    (bundle,) = json.loads(done.stdout)["bundles"]
    assert bundle["reference"] == "net:1-host"
    assert bundle["parity"]["max_rel"] <= 1e-4
    keys = "reference digest name version target engine precision size_bytes inputs outputs parity latency_ms"
    assert set(f"{keys} peak_rss_mb seconds".split()) <= set(bundle)

    x = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    done = neo("predict", "net", "--input", "x.npz", "--output", "y.npz")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "y.npz") as answer:
        assert answer["y"].shape == (1, 10)
        assert answer["y"].sum() == pytest.approx(1, abs=1e-5)

    measured = json.loads(neo("benchmark", "net:1-host", "--threads", 1, "--runs", 20, "--json").stdout)
    assert measured["runs"] == 20
    assert 0 < measured["median_ms"] <= measured["p90_ms"] <= measured["p99_ms"]
    assert measured["load_ms"] > 0
    assert measured["peak_rss_mb"] > 1

    profiled = neo("benchmark", "net:1-host", "--profile", "--threads", 1, "--runs", 5)
    assert profiled.returncode == 0, profiled.stderr
    assert [word for word in ("Conv", "1x16x8x8", "difference", "GB/s") if word not in profiled.stdout] == []
    profile = json.loads(neo("benchmark", "net:1-host", "--profile", "--runs", 5, "--json").stdout)
    assert (profile["reference"], profile["engine"], profile["runs"]) == ("net:1-host", "onnxruntime", 5)
    assert {"Conv", "MaxPool", "Softmax"} <= {kernel["operator"] for kernel in profile["kernels"]}

    details = json.loads(neo("inspect", bundle["digest"][:19], "--json").stdout)
    assert details["manifest"]["inputs"] == bundle["inputs"]
    assert len(details["signed_by"]) == 1
    assert "net:1-host" in neo("inspect").stdout


def test_an_unsigned_bundle_can_be_signed_later(neo: Neo, model: Path) -> None:
    assert neo("compile", model, "--engine", "onnxruntime", "--no-sign").returncode == 0
    assert json.loads(neo("inspect", "net", "--json").stdout)["signed_by"] == []
    missing = neo("keys", "sign", "net")
    assert missing.returncode == 40
    assert "neo keys generate" in missing.stderr
    made = json.loads(neo("keys", "generate", "--json").stdout)
    assert neo("keys", "sign", "net").returncode == 0
    assert json.loads(neo("inspect", "net", "--json").stdout)["signed_by"] == [made["keyid"]]
    assert json.loads(neo("keys", "show", "--json").stdout) == made
    assert neo("keys", "generate").returncode == 40  # never overwrites


def test_targets_lists_this_machine_and_the_shipped_ones(neo: Neo) -> None:
    names = [target["name"] for target in json.loads(neo("targets", "--json").stdout)["targets"]]
    assert names[0] == "host"
    assert {"aarch64", "raspberry-pi-4", "x86-64-v3"} <= set(names)
    assert json.loads(neo("targets", "raspberry-pi-4", "--json").stdout)["cpu"]["mcpu"] == "cortex-a72"


def test_doctor_finds_everything_in_place_and_a_broker_that_is_not(neo: Neo) -> None:
    findings = json.loads(neo("doctor", "--json").stdout)["findings"]
    assert {finding["check"]: finding["state"] for finding in findings}["linker"] == "ok"
    assert "bf16" in next(finding["found"] for finding in findings if finding["check"] == "this machine")
    assert "network: " in next(finding["found"] for finding in findings if finding["check"] == "confinement")
    done = neo("doctor", "--broker", "mqtt://127.0.0.1:1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][-1]["state"] == "broken"


BAD = [
    (("compile", "missing.onnx"), 10, "missing.onnx"),
    (("compile", "text.onnx"), 10, "text.onnx"),
    (("compile", "cut.onnx"), 10, "cut.onnx"),
    (("compile", "net.onnx", "--target", "toaster"), 20, "raspberry-pi-4"),
    (("compile", "net.onnx", "--input", "x"), 12, "x=float32[1,3,224,224]"),
    (("compile", "net.onnx", "--input", "wrong=float32[1,1,8,8]"), 12, "x=float32[1,1,8,8]"),
    (("compile", "net.onnx", "--input", "x=float32[1,1,9,9]"), 12, "x"),
    (("compile", "net.onnx", "--dim", "N"), 12, "NAME=SIZE"),
    (("compile", "net.onnx", "--engine", "fast"), 2, "onnxruntime"),
    (("compile", "net.onnx", "--signature", "predict"), 2, "leave it out"),
    (("compile", "net.onnx", "--layout", "CHWN"), 2, "NAME=NCHW"),
    (("compile", "net.onnx", "--layout", "y=NHWC"), 12, "four dimensions"),
    (("compile", "net.onnx", "--key", "text.onnx"), 40, "text.onnx"),
    (("compile", "net.onnx", "--golden", "text.onnx"), 12, "text.onnx"),
    (("predict", "net", "--input", "x.npz"), 12, "x.npz"),
    (("predict", "net", "--input", "one.npz"), 30, "neo compile"),
    (("push", "net", "--to", "device", "--broker", "mqtt://127.0.0.1:1"), 30, "neo compile"),
    (("status", "--broker", "mqtt://127.0.0.1:1"), 50, "neo broker"),
    (("status", "--broker", "http://127.0.0.1"), 2, "mqtt://"),
    (("inspect", "nothing"), 30, "neo compile"),
    (("benchmark", "net", "--profile", "--runs", "201"), 2, "--runs 200"),
    (("nonsense",), 2, "nonsense"),
]


@pytest.mark.parametrize(("arguments", "code", "word"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_bad_input_gets_one_message_and_its_exit_code(
    neo: Neo, tmp_path: Path, model: Path, arguments: tuple[str, ...], code: int, word: str
) -> None:
    (tmp_path / "text.onnx").write_text("this is a text\n")
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:700])
    np.savez(tmp_path / "one.npz", x=np.zeros(1))
    done = neo(*arguments)
    assert done.returncode == code, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    store = tmp_path / "store" / "index.json"
    assert not store.exists() or b"bundle" not in store.read_bytes()


def test_debug_shows_the_traceback_and_json_the_error(neo: Neo) -> None:
    done = neo("compile", "missing.onnx", "--json", "--debug")
    assert "Traceback" in done.stderr
    error = json.loads(done.stdout)
    assert error["error"] == "ModelError"
    assert error["exit_code"] == done.returncode == 10
    assert error["hint"]


def test_a_table_that_is_no_terminal_is_not_cut_or_wrapped(neo: Neo) -> None:
    """`neo targets | grep raspberry` finds whole lines."""
    done = neo("targets")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("x86-64-v2")]
    assert "most PCs since 2009, Atom and Celeron gateways" in line


def test_a_command_line_that_is_wrong_is_one_json_object_too(neo: Neo) -> None:
    done = neo("push", "net", "--json")
    assert done.returncode == 2
    failed = json.loads(done.stdout)
    assert (failed["error"], failed["exit_code"]) == ("UsageError", 2)
    assert "--to" in failed["message"]


def test_looking_into_a_folder_makes_no_store_there(neo: Neo, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    asked = neo("inspect", "--store", tmp_path / "etc")
    assert (asked.returncode, "there is no store in" in asked.stderr) == (30, True)
    assert list((tmp_path / "etc").iterdir()) == []


def test_debug_keeps_the_graph_after_every_step(neo: Neo, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of what is in the store already, and of a model that no engine can take."""
    (model.parent / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(model.parent / "temporary"))
    for arguments in ((model, "--debug"), (model, "--debug-folder", model.parent / "steps")):
        done = neo("compile", *arguments, "--engine", "onnxruntime", "--no-sign", "--json")
        assert done.returncode == 0, done.stderr
        assert not json.loads(done.stdout)["bundles"][0]["cached"]
        (folder,) = [line.split(": ", 1)[1] for line in done.stderr.splitlines() if "after every step: " in line]
        names = sorted(path.name for path in Path(folder).iterdir())
        assert names[:2] == ["00-converted.onnx", "01-fold.onnx"]
    assert Path(folder) == model.parent / "steps"
    left = [path.name for path in (model.parent / "temporary").iterdir()]
    assert neo("compile", "missing.onnx", "--debug").returncode == 10
    assert [path.name for path in (model.parent / "temporary").iterdir()] == left
