from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.operators import OperatorCase, measure_operator
from benchmarks.race import Pace, Timing
from benchmarks.recurrent import choose_cells, recurrent_operator, report
from benchmarks.single_operators import write_operator
from neo.contract.parity import Parity
from neo.errors import EngineError, UsageError
from neo.runtime.golden import read_golden


def timing(*round_ms: float) -> Timing:
    return Timing(round_ms[0], round_ms, 1.0, 1.0, 1.0, Parity(0.0, 0.0))


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_cell_alone_is_a_model_that_runs(cell: str, tmp_path: Path) -> None:
    operator = recurrent_operator(cell, directions=2, hidden=8, batch=3, steps=5)
    onnx.checker.check_model(operator.model)
    write_operator(operator, tmp_path)
    ((_, outputs),) = read_golden(tmp_path)
    assert outputs["y"].shape == (5, 2, 3, 8)
    # neither dead nor saturated
    assert 0.01 < np.abs(outputs["y"]).mean() < 0.9


def test_the_work_is_that_of_both_products() -> None:
    assert recurrent_operator("GRU", directions=1, hidden=8, batch=3, steps=5).flops == 2 * 5 * 3 * (3 * 8) * (8 + 8)


def test_a_row_has_the_best_round_of_every_engine() -> None:
    operator = recurrent_operator("LSTM", directions=2, hidden=8, batch=3, steps=5)
    results = {"tvm": timing(3.0, 2.0), "ort": timing(9.0, 4.0), "openvino": EngineError("no such layer")}
    text = report([OperatorCase("recurrent", operator, 1, results)], {1: 1.0})
    assert "| bidirectional LSTM |      8 |     3 |     5 |   2000 |   4000 |           - |" in text
    assert "|     2.00 |" in text
    assert "openvino is out: no such layer" in text


def test_an_unknown_cell_is_refused_with_the_known_ones() -> None:
    assert choose_cells("gru,LSTM") == ("GRU", "LSTM")
    with pytest.raises(UsageError) as refused:
        choose_cells("LSTM,MGU")
    assert "LSTM, GRU, RNN" in str(refused.value.hint)


@pytest.mark.slow
def test_a_cell_is_measured_beside_the_peers() -> None:
    operator = recurrent_operator("LSTM", directions=1, hidden=16, batch=2, steps=4)
    (case,) = measure_operator("recurrent", operator, [1], Pace(1, 0.01, 120))
    assert set(case.results) == {"tvm", "ort", "openvino"}
    for name, result in case.results.items():
        if name == "openvino" and importlib.util.find_spec("openvino") is None:
            assert isinstance(result, EngineError)
            assert "openvino" in result.message
        else:
            assert isinstance(result, Timing), result
            assert result.parity.max_rel < 1e-4
