from __future__ import annotations

import importlib.util
import json
import platform
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from benchmarks.build import build
from benchmarks.latency import main, measure_model
from benchmarks.plot import plot_latency
from benchmarks.race import Pace, Timing
from benchmarks.results import CONTENDERS, Case, contenders, geometric_mean
from benchmarks.tables import latency_tables, markdown_table
from neo.contract.parity import Parity
from neo.errors import EngineError, ResourceLimitExceeded
from tests import models


def case(model: str, **medians_ms: float) -> Case:
    timings = {
        name.replace("_", "-"): Timing(median, (median,), 1.0, 1.0, 50.0, Parity(0.0, 0.0))
        for name, median in medians_ms.items()
    }
    return Case(model, 1, {}, {"tvm": EngineError("no LSTM"), **timings})


def test_the_ratio_is_to_the_faster_peer_and_above_one_where_ours_is_faster() -> None:
    one = case("m", tvm=2.0, neo_ort=4.0, ort=8.0, openvino=6.0)
    assert one.ratio(["tvm"], ["ort", "openvino"]) == 3.0
    assert one.ratio(["tvm", "neo-ort"], ["ort"]) == 4.0


def test_what_did_not_run_has_no_ratio_and_no_part_in_the_mean() -> None:
    missing, known = case("a", ort=1.0), case("b", tvm=2.0, ort=8.0)
    ratios = [one.ratio(["tvm"], ["ort"]) for one in (missing, known)]
    assert ratios == [None, 4.0]
    assert geometric_mean(ratios) == pytest.approx(4.0)
    assert geometric_mean([None]) is None


def test_bf16_runs_only_where_the_processor_has_it() -> None:
    assert contenders(["avx512f", "amx_bf16"]) == CONTENDERS
    assert {contender.precision for contender in contenders(["avx512f"])} == {"fp32"}


def test_tables_are_aligned_and_name_who_is_out_and_why() -> None:
    text = "\n\n".join(latency_tables([case("lstm", ort=0.4), case("mlp", tvm=0.01, ort=0.02)], contenders([])))
    medians = next(part for part in text.split("## ") if part.startswith("fp32, 1 thread"))
    rows = [line for line in medians.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert next(row for row in rows if "mlp" in row).split("|")[-3].strip() == "2.00"
    assert "over 1 of 2 models" in medians
    assert "- lstm, tvm is out: no LSTM" in text


def test_a_precision_is_compared_with_its_own() -> None:
    one = case("mlp", tvm=1.0, ort=1.0, tvm_bf16=0.5, openvino_bf16=2.0)
    text = "\n\n".join(latency_tables([one], contenders(["avx512_bf16"])))
    bf16 = next(part for part in text.split("## ") if part.startswith("bf16, 1 thread"))
    assert next(row for row in bf16.splitlines() if "mlp" in row).split("|")[-2].strip() == "4.00"
    assert "peer: openvino-bf16. The mean of tvm-bf16 is over 1 of 1 models." in bf16


def test_rounds_that_differ_are_remarked() -> None:
    def remarks(*rounds: float) -> str:
        timing = Timing(1.0, rounds, 1.0, 1.0, 50.0, Parity(0.0, 0.0))
        return "\n".join(latency_tables([Case("mlp", 2, {}, {"ort": timing})], contenders([])))

    assert "mlp, ort, threads 2: unsteady, medians of the rounds 1.000 to 1.500 ms" in remarks(1.0, 1.5)
    assert "unsteady" not in remarks(1.0, 1.1)


def test_a_long_reason_is_one_line_of_the_remarks() -> None:
    failed = Case("unet", 1, {}, {"tvm": EngineError("cannot emit:\n" + "R.nn.conv2d_transpose " * 100)})
    *_, last = "\n".join(latency_tables([failed], contenders([]))).splitlines()
    assert last.startswith("- unet, tvm is out: cannot emit: R.nn.conv2d_transpose")
    assert len(last) < 400


def test_a_table_keeps_its_first_column_left() -> None:
    assert markdown_table(["a", "b"], [["long", "1"]]).splitlines() == [
        "| a    | b |",
        "|------|--:|",
        "| long | 1 |",
    ]


def test_a_build_past_its_limit_is_stopped(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ResourceLimitExceeded, match="stopped"):
        build("tvm", model / "model.onnx", tmp_path / "engine", 0.05)


def test_a_plot_has_a_place_for_engines_that_are_out(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    plot_latency([case("lstm", ort=0.4), case("mlp", tvm=0.01, ort=0.02)], contenders([]), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_all_contenders_meet_on_one_model(model: Path) -> None:
    (found,) = measure_model("classifier", model, CONTENDERS, [1], Pace(1, 0.01, 120))
    assert set(found.results) == {contender.name for contender in CONTENDERS}
    for name in ("tvm", "neo-ort", "ort"):
        result = found.results[name]
        assert isinstance(result, Timing), result
        assert result.parity.max_rel < 1e-4
    if importlib.util.find_spec("openvino") is None:
        assert "openvino" in found.results["openvino"].message  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_program_makes_the_model_measures_it_and_writes_what_it_found(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    arguments = ["--models", "digits", "--threads", "1", "--rounds", "1", "--seconds", "0.01"]
    files = ["--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(main, [*arguments, *files], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "## fp32, 1 thread, median ms" in done.output
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert document["run"]["rounds"] == 1
    (result,) = document["cases"]
    assert result["model"] == "digits"
    assert result["results"]["tvm"]["parity"]["max_rel"] < 1e-4
    assert result["builds"]["tvm"]["seconds"] > 0


@pytest.mark.slow
def test_ours_may_be_built_for_less_than_the_processor_has(tmp_path: Path) -> None:
    target = "x86-64-v2" if platform.machine() == "x86_64" else "aarch64"
    path = models.classifier(tmp_path / "mine.onnx")
    arguments = ["--onnx", str(path), "--target", target, "--rounds", "1", "--seconds", "0.01"]
    done = CliRunner().invoke(main, [*arguments, "--json", str(tmp_path / "out.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert document["run"]["target"] == target
    assert f"ours built for {target}" in done.output
    assert set(document["cases"][0]["results"]) == {"tvm", "neo-ort", "ort", "openvino"}  # no bfloat16 there


@pytest.mark.slow
def test_a_model_of_ones_own_is_measured_alone(tmp_path: Path) -> None:
    path = models.classifier(tmp_path / "mine.onnx")
    arguments = ["--onnx", str(path), "--threads", "1", "--rounds", "1", "--seconds", "0.01"]
    done = CliRunner().invoke(main, [*arguments, "--json", str(tmp_path / "out.json")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (result,) = json.loads((tmp_path / "out.json").read_bytes())["cases"]
    assert result["model"] == "mine"
    assert result["results"]["tvm"]["parity"]["max_rel"] < 1e-4


def test_a_model_of_ones_own_has_fixed_shapes_and_is_onnx(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model", encoding="utf-8")
    done = CliRunner().invoke(main, ["--onnx", str(tmp_path / "text.onnx")])
    assert done.exit_code != 0
    assert "is no ONNX model" in done.output
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    onnx.save(models.build(nodes, {"x": ("batch", 4)}, {"y": ("batch", 4)}), tmp_path / "open.onnx")
    done = CliRunner().invoke(main, ["--onnx", str(tmp_path / "open.onnx")])
    assert done.exit_code != 0
    assert "batch" in done.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--models", "resnet19"], "no model 'resnet19'"),
        (["--threads", "two"], "no list of numbers"),
        (["--threads", "0"], "cores"),
        (["--target", "raspberry-pi-4" if platform.machine() == "x86_64" else "x86-64-v3"], "cannot run"),
    ],
)
def test_a_wrong_argument_is_one_message_and_an_exit_code(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert says in done.output
